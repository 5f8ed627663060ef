"""doit's state: what a kill, a damaged file and a full disk can do to it, seen through doit itself."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doit.dependency import JSONCodec
from doit.exceptions import InvalidCommand

from dodo_claude.config import inputs
from dodo_claude.machine.files import make_state_dir
from dodo_claude.plugin import backend
from dodo_claude.plugin.backend import DurableDB
from dodo_claude.state.journal import StageLog
from tests.project import PATIENCE, Project

# Each task notes that it ran; the note of the next one proves that doit was done with this one.
DODO = """
import os, time
DOIT_CONFIG = {"backend": "orchestrate", "dep_file": ".orchestrate/state.db", "verbosity": 0}

def note(name):
    fd = os.open("ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{name}\\n".encode())
    os.close(fd)
    time.sleep(0.002)

def task_t():
    for number in range(COUNT):
        yield {"name": str(number), "actions": [(note, [f"t:{number}"])], "file_dep": ["dep"], "uptodate": [True]}
"""


def rows(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        found = {row[0] for row in connection.execute("select task_id from doit")}
    connection.close()
    return found


@pytest.fixture
def tasks(project: Project) -> Project:
    project.write("dodo.py", DODO.replace("COUNT", "30"))
    project.write("dep", "x")
    return project


def ran(tasks: Project) -> list[str]:
    """What ran since this was asked last."""
    path = tasks.root / "ran"
    names = path.read_text().split() if path.exists() else []
    path.write_text("")
    return names


def state(tasks: Project) -> Path:
    return tasks.root / ".orchestrate/state.db"


# -- kills


def test_no_finished_task_reruns_however_it_is_killed(project: Project) -> None:
    count, seed = 200, random.randrange(10**6)
    chance = random.Random(seed)
    project.write("dodo.py", DODO.replace("COUNT", str(count)))
    project.write("dep", "x")
    done: set[str] = set()
    for _ in range(15):
        process = subprocess.Popen(
            [sys.executable, "-m", "doit"], cwd=project.root, env=project.environ(), stdout=subprocess.DEVNULL
        )
        wanted, deadline = chance.randrange(1, 14), time.monotonic() + PATIENCE
        while process.poll() is None and _lines(project.root / "ran") < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.0005)  # what it waits for needs the core
        time.sleep(chance.random() * 0.004)
        process.kill()
        process.wait()
        names = ran(project)
        assert not done & set(names), f"seed {seed}"
        done |= set(names[:-1])
        saved = rows(state(project))
        assert done <= saved, f"seed {seed}: {done - saved} lost"
        done |= saved
    assert len(done) > 15
    project.doit(check=0)
    names = ran(project)
    assert sorted(names) == sorted({f"t:{number}" for number in range(count)} - done)
    project.doit(check=0)
    assert ran(project) == []


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


# -- damage


class Watched(sqlite3.Connection):
    """Notes what it is asked."""

    asked: list[str] = []  # noqa: RUF012 (of all of them)

    def execute(self, sql: str, /, *args: object) -> sqlite3.Cursor:
        self.asked.append(sql)
        return super().execute(sql, *args)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], int]:
    """Opens a state and closes it; how often it was checked as a whole."""
    connect = sqlite3.connect
    monkeypatch.setattr(
        backend.sqlite3, "connect", lambda *args, **more: connect(*args, **more, factory=Watched)
    )
    later = time.time_ns() + 10**12  # as if the file had not been written just now
    monkeypatch.setattr(inputs.time, "time_ns", lambda: later)

    def check(root: Path) -> int:
        Watched.asked.clear()
        DurableDB(str(root / ".orchestrate/state.db"), JSONCodec()).dump()
        return sum("integrity_check" in sql for sql in Watched.asked)

    return check


def test_what_was_checked_and_nobody_wrote_since_is_not_checked_again(
    tmp_path: Path, checks: Callable[[Path], int]
) -> None:
    path = tmp_path / ".orchestrate/state.db"
    assert checks(tmp_path) == 1  # it is made
    assert checks(tmp_path) == 1
    assert checks(tmp_path) == 0
    state = DurableDB(str(path), JSONCodec())
    state.set("a", "deps:", [])
    state.dump()
    assert checks(tmp_path) == 1  # what is written is looked at once
    assert checks(tmp_path) == 0
    Path(f"{path}-wal").touch()  # somebody has it open, or died over it
    assert checks(tmp_path) == 1
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert checks(tmp_path) >= 1  # twice where that was damage: the file is made anew


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "\0"])
def test_a_note_that_says_nothing_spares_nothing(
    tmp_path: Path, checks: Callable[[Path], int], text: str
) -> None:
    assert checks(tmp_path) == 1
    (tmp_path / ".orchestrate" / backend.CHECKED).write_text(text)
    assert checks(tmp_path) == 1
    Path(tmp_path / ".orchestrate/state.db-wal").touch()
    (tmp_path / ".orchestrate" / backend.CHECKED).write_text(text)
    assert checks(tmp_path) == 1


def test_what_was_read_at_once_is_forgotten(tmp_path: Path) -> None:
    ours, other = (DurableDB(str(tmp_path / ".orchestrate/state.db"), JSONCodec()) for _ in range(2))
    other.set("a", "deps:", ["x"])
    with ours.at_once():
        other.set("b", "deps:", ["y"])
        assert ours.get("a", "deps:") == ["x"]
        assert ours.get("b", "deps:") is None
    other.remove("a")
    assert ours.get("a", "deps:") is None
    assert ours.get("b", "deps:") == ["y"]
    ours.dump()
    other.dump()


def test_cut_anywhere_it_is_set_aside_and_made_anew(tasks: Project) -> None:
    tasks.doit(check=0)
    whole = state(tasks).read_bytes()
    assert len(ran(tasks)) == 30
    lengths = [0, 1, 99, 100, 4096, len(whole) // 2, len(whole) - 1]
    for length in lengths:
        for path in state(tasks).parent.glob("state.db*"):
            path.unlink()
        state(tasks).write_bytes(whole[:length])
        again = tasks.doit(check=0)
        names = ran(tasks)
        aside = list(state(tasks).parent.glob("state.db.corrupt-*"))
        if aside:
            assert "state.db: is damaged; set aside as " in again.err
            assert len(again.err.splitlines()) == 1, again.err
            assert aside[0].read_bytes() == whole[:length]
            assert len(names) == 30
        # Each task either ran now, or its record was whole.
        assert set(names) | rows(state(tasks)) >= {f"t:{number}" for number in range(30)}
        assert tasks.doit(check=0).err == ""
        assert ran(tasks) == []


@pytest.mark.parametrize(
    "data", [b"garbage", b"\0" * 10_000, os.urandom(20_000), b"SQLite format 3\0" + b"\xff" * 5_000]
)
def test_another_file_in_its_place_is_set_aside(tasks: Project, data: bytes) -> None:
    make_state_dir(tasks.root)
    state(tasks).write_bytes(data)
    first = tasks.doit(check=0)
    assert first.err.count("is damaged; set aside as") == 1
    assert len(ran(tasks)) == 30
    assert tasks.doit(check=0).err == ""
    assert ran(tasks) == []


def test_random_bytes_in_the_middle_cost_reruns_at_most(tasks: Project) -> None:
    tasks.doit(check=0)
    whole = state(tasks).read_bytes()
    chance = random.Random(7)
    for _ in range(4):
        ran(tasks)
        for path in state(tasks).parent.glob("state.db*"):
            path.unlink()
        at = chance.randrange(0, len(whole) - 200)
        state(tasks).write_bytes(whole[:at] + chance.randbytes(200) + whole[at + 200 :])
        done = tasks.doit()
        assert done.code == 0, done.err
        tasks.doit(check=0)


def test_a_record_that_is_no_json_counts_as_not_run(tasks: Project) -> None:
    tasks.doit(check=0)
    ran(tasks)
    with sqlite3.connect(state(tasks)) as connection:
        for number, value in enumerate(["{", "[1]", None, b"\xff\xfe", 7, ""]):
            connection.execute("update doit set task_data=? where task_id=?", (value, f"t:{number}"))
    connection.close()
    again = tasks.doit(check=0)
    assert ran(tasks) == [f"t:{number}" for number in range(6)]
    assert "the record of 't:0' is unreadable; it counts as not run" in again.err
    assert tasks.doit(check=0).err == ""


def test_a_folder_in_its_place_is_one_line(tasks: Project) -> None:
    make_state_dir(tasks.root)
    state(tasks).mkdir()
    done = tasks.doit(check=3)
    assert "state.db: is a folder where a file of ours belongs (remove it" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_file_in_its_folders_place_is_one_line(tasks: Project) -> None:
    tasks.write(".orchestrate", "x")
    done = tasks.doit(check=3)
    assert ".orchestrate: is a file where a folder of ours belongs (remove it" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_folder_without_it_is_made_only_where_it_is_ours(project: Project, tmp_path: Path) -> None:
    with pytest.raises(InvalidCommand, match="unable to open"):
        DurableDB(str(tmp_path / "mine/state.db"), JSONCodec())
    assert not (tmp_path / "mine").exists()
    db = DurableDB(str(tmp_path / ".orchestrate/state.db"), JSONCodec())
    db.dump()
    assert (tmp_path / ".orchestrate").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".orchestrate/.gitignore").exists()


# -- a full disk

LIMITED = (
    "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
    "from doit.doit_cmd import DoitMain; sys.exit(DoitMain().run([]))\n"
)


def test_a_full_disk_is_one_line_and_the_next_run_heals(project: Project) -> None:
    project.write("dodo.py", DODO.replace("COUNT", "60"))
    project.write("dep", "x")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=project.root, env=project.environ(), capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.stderr.count("\n") == 1, done.stderr
    assert "state not saved: " in done.stderr
    assert done.stderr.endswith("(a rerun takes over what was finished)\n")
    assert done.returncode == 0
    assert len(ran(project)) == 60
    saved = rows(state(project))
    assert 0 < len(saved) < 60
    assert project.doit(check=0).err == ""
    assert set(ran(project)) == {f"t:{number}" for number in range(60)} - saved
    assert len(rows(state(project)) & {f"t:{number}" for number in range(60)}) == 60


def test_a_state_that_can_not_be_written_is_one_line(tasks: Project) -> None:
    tasks.doit(check=0)
    held = sqlite3.connect(state(tasks), isolation_level=None)
    held.execute("begin immediate")
    tasks.write("dep", "changed")
    tasks.write(
        "dodo.py",
        "import dodo_claude.plugin.backend as b; b.BUSY_SECONDS = 0.05\n" + DODO.replace("COUNT", "3"),
    )
    done = tasks.doit()
    held.execute("rollback")
    held.close()
    assert done.err.count("\n") == 1, done.err
    assert "database is locked" in done.err


# -- as doit calls it


@pytest.fixture
def db(tmp_path: Path) -> Iterator[DurableDB]:
    made = DurableDB(str(make_state_dir(tmp_path) / "state.db"), JSONCodec())
    yield made
    made.dump()


def save(db: DurableDB, task: str, **values: object) -> None:
    """The keys in doit's order."""
    db.set(task, "_values_:", values)
    db.set(task, "result:", "r")
    db.set(task, "checker:", "MD5Checker")
    db.set(task, "deps:", ())


def stored(db: DurableDB) -> set[str]:
    """What another process sees now."""
    with sqlite3.connect(db.name) as connection:
        found = {row[0] for row in connection.execute("select task_id from doit")}
    connection.close()
    return found


def test_a_task_is_stored_on_its_last_key_and_not_before(db: DurableDB) -> None:
    db.set("a", "_values_:", {})
    db.set("a", "result:", "r")
    assert stored(db) == set()
    db.set("a", "deps:", ())
    assert stored(db) == {"a"}
    db.set("b", "ignore:", "1")
    assert stored(db) == {"a", "b"}


def test_what_is_stored_is_not_kept_besides(db: DurableDB) -> None:
    """Else a run would grow by the values of each task, which nobody but a task that needs it asks for."""
    for number in range(3):
        save(db, f"t{number}", long="x" * 1000)
    assert db._cache == {}
    assert db.get("t1", "_values_:") == {"long": "x" * 1000}
    assert (db.get("t1", "result:"), db.in_("t1"), db.in_("t3")) == ("r", True, False)


def test_a_second_process_keeps_what_the_row_had(db: DurableDB, tmp_path: Path) -> None:
    save(db, "a", x=1)
    other = DurableDB(db.name, JSONCodec())
    other.set("a", "ignore:", "1")
    other.dump()
    third = DurableDB(db.name, JSONCodec())
    assert third.get("a", "ignore:") == "1"
    assert third.get("a", "_values_:") == {"x": 1}
    third.dump()


def test_settled_when_stored_and_when_removed(db: DurableDB, tmp_path: Path) -> None:
    logs = {name: StageLog(tmp_path / ".orchestrate", name) for name in ("a", "b", "c", "d/e")}
    for log in logs.values():
        log.begin()

    def opened() -> set[str]:
        return {name for name, log in logs.items() if log.open_attempt() is not None}

    db.set("a", "_values_:", {})
    assert opened() == {"a", "b", "c", "d/e"}
    db.set("a", "deps:", ())
    assert opened() == {"b", "c", "d/e"}
    db.remove("b")  # doit does so when a task fails
    assert opened() == {"c", "d/e"}
    for name in ("c", "d/e"):
        save(db, name)
        logs[name].begin()
    db.remove_all()
    assert opened() == set()
    assert stored(db) == set()


def test_not_settled_when_it_could_not_be_stored(
    db: DurableDB, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = StageLog(tmp_path / ".orchestrate", "a")
    log.begin()
    db._conn.execute("pragma query_only=on")
    save(db, "a")
    db.remove("a")
    assert log.open_attempt() is not None
    assert capsys.readouterr().err.count("state not saved") == 1
    db._conn.execute("pragma query_only=off")


def test_a_value_that_json_can_not_hold_costs_nothing_that_is_stored(db: DurableDB) -> None:
    save(db, "a", x=1)
    db.set("a", "_values_:", {"x": object()})
    with pytest.raises(TypeError):
        db.set("a", "deps:", ())
    db.remove("b")
    assert stored(db) == {"a"}
    other = DurableDB(db.name, JSONCodec())
    assert other.get("a", "_values_:") == {"x": 1}
    other.dump()
    db._dirty.clear()


def test_any_tasks_name(db: DurableDB) -> None:
    """A dodo.py's tasks come here, too."""
    for name in ("x" * 400, "é" * 200, "..", "a/b", "a b", "t:1"):
        save(db, name)
        db.remove(name)


def test_closing_twice(db: DurableDB) -> None:
    db.dump()
    db.dump()


# -- doit's own commands


def test_forget_and_ignore(tasks: Project) -> None:
    tasks.doit(check=0)
    assert len(ran(tasks)) == 30
    tasks.doit("forget", "t:3", check=0)
    tasks.doit(check=0)
    assert ran(tasks) == ["t:3"]
    tasks.doit("ignore", "t:4", check=0)
    tasks.write("dep", "changed")
    tasks.doit(check=0)
    assert set(ran(tasks)) == {f"t:{number}" for number in range(30)} - {"t:4"}
    tasks.doit("forget", "t:4", check=0)
    tasks.doit(check=0)
    assert ran(tasks) == ["t:4"]
    tasks.doit("forget", "-a", check=0)
    assert rows(state(tasks)) == set()
    tasks.doit(check=0)
    assert len(ran(tasks)) == 30


def test_a_task_that_fails_is_not_stored(tasks: Project) -> None:
    tasks.write(
        "dodo.py",
        DODO.replace("COUNT", "2")
        + "\ndef task_bad():\n    return {'actions': ['false'], 'file_dep': ['dep']}\n",
    )
    tasks.doit("-c", check=1)
    assert rows(state(tasks)) >= {"t:0", "t:1"}
    assert "bad" not in rows(state(tasks))
