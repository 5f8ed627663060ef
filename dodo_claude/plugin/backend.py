"""doit's state in SQLite, committed whenever a task ends: a killed run loses nothing that was finished.

doit's own backends write once, at the end of a run. Here a task's row is committed on the last key that
doit sets for it, and when doit removes it. With that commit the stage's open attempt is settled: from
then on there is nothing of it to recover.

When this file is lost, or damaged and set aside, the attempts that it was made of are opened again: a stage
whose last one succeeded, with the same definition, inputs and targets as now, is taken over and not run. What
doit removed on purpose (`doit forget`, a failure) stays removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from doit.dependency import SqliteDB
from doit.exceptions import InvalidCommand

from dodo_claude.config import inputs
from dodo_claude.machine import files, ours
from dodo_claude.machine.files import disk_problem, make_state_dir, no_room, write_atomic
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.state.journal import StageLog, forget_all, reopen_all
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

# doit sets this key last in `save_success`, and alone when a task is ignored.
_LAST_KEYS = frozenset({"deps:", "ignore:"})
# Another doit command may hold the file for as long as it takes to commit one row.
BUSY_SECONDS = 10.0
# In the state folder.
CHECKED = "state.checked"
_FULL = "disk is full"
_BROKEN = ("malformed", "not a database", "file is encrypted")


class DurableDB(SqliteDB):
    """doit's sqlite3 backend, durable task by task. All calls come from doit's main thread."""

    desc = "sqlite3, committed when a task ends"

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:
        path = Path(name)
        # Only our own state folder is ours to make; elsewhere the user named the file.
        self._state = path.parent if path.parent.name == STATE_DIR else None
        if self._state is not None:
            try:
                make_state_dir(self._state.parent)
                for suffix in ("", "-wal", "-shm", "-journal"):  # sqlite itself would follow a link
                    files.is_file(name + suffix)
            except DodoClaudeError as error:
                raise InvalidCommand(str(error)) from error
            except OSError as error:
                raise InvalidCommand(disk_problem(error, path.parent)) from error
        self._failed = False
        self._cache: dict[str, dict[str, Any]]
        self._dirty: set[str]
        self._closed = False
        self._rows: dict[str, Any] | None = None
        self._seen: inputs.Signature | None = None  # the file as it was checked now
        self.before: inputs.Signature | None = None  # the file before it was opened, if nobody had it open
        self._checked = self._read_checked()
        super().__init__(name, codec, module_name=module_name)

    def _sqlite3(self, name: str) -> sqlite3.Connection:
        try:
            return self._open(name)
        except DodoClaudeError as error:
            raise InvalidCommand(str(error)) from error
        except OSError as error:
            raise InvalidCommand(disk_problem(error, name)) from error
        except sqlite3.DatabaseError as error:
            # Of what may come out of here, doit prints this kind as one line.
            if _FULL in str(error) or (self._state is not None and no_room(self._state)):
                raise InvalidCommand(f"disk full while writing {name} (free it; then run again)") from error
            if not any(word in str(error) for word in _BROKEN):
                raise InvalidCommand(f"{name}: {error}") from error
        self._set_aside(name)
        return self._open(name)

    def _open(self, name: str) -> sqlite3.Connection:
        if self._state is not None:  # sqlite itself would let the group read it
            os.close(files.open_file(name, os.O_RDWR | os.O_CREAT))
        self.before = seen = self._untouched(name)
        connection = sqlite3.connect(name, timeout=BUSY_SECONDS, isolation_level="DEFERRED")
        try:
            connection.execute("pragma journal_mode=WAL")
            connection.execute("pragma synchronous=FULL")
            if connection.execute("select 1 from sqlite_master where name='doit'").fetchone() is None:
                # Before the table is there: a kill in between must not hide that the state is lost.
                if self._state is not None:
                    reopen_all(self._state)
                connection.execute(
                    "create table if not exists doit (task_id text not null primary key, task_data json)"
                )
            if seen is None or self._checked != seen:
                # The whole check: the quick one does not miss an index that is cut off.
                (verdict,) = connection.execute("pragma integrity_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError(f"malformed: {verdict}")
                self._seen = seen
        except BaseException:
            connection.close()
            raise
        return connection

    def _untouched(self, name: str) -> inputs.Signature | None:
        """What nobody has the file open, and wrote to it since it was so, tells; None: somebody has, or may."""
        return None if os.path.lexists(f"{name}-wal") else inputs.settled(inputs.signature(name))

    def _read_checked(self) -> object:
        """The signature of the file that was checked last: of 10000 rows the check takes a tenth of a second."""
        if self._state is not None:
            with contextlib.suppress(OSError, ValueError, RecursionError, DodoClaudeError):
                return json.loads(files.read(self._state / CHECKED))
        return ()

    def _write_checked(self) -> None:
        """Only if it still is the file that was checked, unwritten since."""
        if self._state is not None and self._seen is not None and self._untouched(self.name) == self._seen:
            with contextlib.suppress(OSError, DodoClaudeError):
                write_atomic(self._state / CHECKED, json.dumps(self._seen))

    def _set_aside(self, name: str) -> None:
        stamp = time.time_ns()
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                files.move(Path(name + suffix), Path(f"{name}.corrupt-{stamp}{suffix}"))
        _warn(
            f"{name}: is damaged; set aside as {name}.corrupt-{stamp}; finished stages are taken over as their "
            "journals tell, all else counts as not run"
        )

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Read all rows now, for who wants to see most of them: a question for each takes four times as long.

        What was read is forgotten: a run that goes on for hours sees what other commands do meanwhile.
        """
        with contextlib.suppress(sqlite3.Error):
            self._rows = dict(self._conn.execute("select task_id, task_data from doit"))
        try:
            yield
        finally:
            self._rows = None
            self._cache = {name: self._cache[name] for name in self._dirty}

    def _get_task_data(self, task_id: str) -> dict[str, Any]:
        try:
            if self._rows is not None:
                row = (self._rows[task_id],) if task_id in self._rows else None
            else:
                row = self._conn.execute("select task_data from doit where task_id=?", (task_id,)).fetchone()
            if row is None:
                return {}
            data = self.codec.decode(row[0])
        except sqlite3.ProgrammingError:
            raise  # a fault of ours: the connection is another thread's
        except (ValueError, TypeError, RecursionError, sqlite3.Error):
            data = None
        if not isinstance(data, dict):
            _warn(f"{self.name}: the record of '{task_id}' is unreadable; it counts as not run")
            if self._state is not None:
                with contextlib.suppress(OSError, DodoClaudeError):
                    StageLog(self._state, task_id).reopen()
            return {}
        return data

    def set(self, task_id: str, dependency: str, value: Any) -> None:
        """Store a value; the task's last one commits its row."""
        if task_id not in self._cache:
            # The base class would write back only the new keys and lose the others of the row.
            self._cache[task_id] = self._get_task_data(task_id)
        super().set(task_id, dependency, value)
        if dependency in _LAST_KEYS:
            # Encoded first: a value that JSON can't hold must not cost what is stored.
            encoded = self.codec.encode(self._cache[task_id])
            if self._commit("insert or replace into doit values (?,?)", (task_id, encoded)):
                self._dirty.discard(task_id)
                del self._cache[task_id]  # a run with many tasks would keep all their values to its end
                if self._state is not None:
                    self._mark(StageLog(self._state, task_id).settle)

    def remove(self, task_id: str) -> None:
        """Forget a task, at once."""
        self._cache.pop(task_id, None)
        self._dirty.discard(task_id)
        if self._commit("delete from doit where task_id=?", (task_id,)) and self._state is not None:
            self._mark(StageLog(self._state, task_id).forget)

    def remove_all(self) -> None:
        """Forget all tasks, at once."""
        self._cache = {}
        self._dirty = set()
        if self._commit("delete from doit", ()) and self._state is not None:
            state = self._state
            self._mark(lambda: forget_all(state))

    def dump(self) -> None:
        """Close. What is dirty still is a task that never ended, or one whose commit failed."""
        if self._closed:
            return
        self._closed = True
        try:
            super().dump()
        except sqlite3.Error as error:
            self._complain(error)
            self._conn.close()
        self._write_checked()

    def _commit(self, statement: str, values: tuple[object, ...]) -> bool:
        try:
            ours.check(self.name)  # sqlite would write into a state folder that was moved away
            self._conn.execute(statement, values)
            self._conn.commit()
        except (sqlite3.Error, OSError, DodoClaudeError) as error:
            self._complain(error)
            with contextlib.suppress(sqlite3.Error):
                self._conn.rollback()
            return False
        return True

    def _mark(self, change: Callable[[], None]) -> None:
        try:
            change()
        except (OSError, DodoClaudeError) as error:
            self._complain(error)  # an attempt that stays open is looked at once more, that is all

    def _complain(self, error: sqlite3.Error | OSError | DodoClaudeError) -> None:
        if not self._failed and not isinstance(error, ours.GoneError):  # which the run says
            self._failed = True
            _warn(f"{self.name}: state not saved: {error} (a rerun takes over what was finished)")


def keep_unrun(dep_manager: Any) -> None:
    """Let a task that was not run, for want of what it needs, keep its record.

    doit's runners drop the record of every task that "failed", which for them is also one whose dependency failed, or
    whose file_dep is missing: then all below a failed stage would be done again for the same bytes.
    """

    def remove_success(task: Any) -> None:
        if task.executed:
            dep_manager.remove(task.name)

    dep_manager.remove_success = remove_success


def _warn(text: str) -> None:
    sys.stderr.write(f"dodo_claude: {one_line(text)}\n")
