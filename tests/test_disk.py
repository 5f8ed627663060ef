"""A disk that is full or breaks at any moment, and state files that are damaged: old or new, never a third, and a
rerun goes on."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doit.dependency import JSONCodec
from doit.exceptions import InvalidCommand

from dodo_claude.agents.claude import first_run, trust
from dodo_claude.config.config import load_config
from dodo_claude.config.records import Stage
from dodo_claude.machine import files, processes
from dodo_claude.machine.files import make_folder, make_state_dir, write_atomic
from dodo_claude.machine.ours import NotOursError
from dodo_claude.machine.terminal import Pane
from dodo_claude.plugin.backend import DurableDB
from dodo_claude.run import approval
from dodo_claude.run.lock import RunInProgressError
from dodo_claude.run.preflight import PreflightError
from dodo_claude.run.run import Run
from dodo_claude.state import events as life
from dodo_claude.state import journal
from dodo_claude.state.events import Outcome, Result
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.worker.recovery import drive
from dodo_claude.worker.services import Done
from tests.fakes import AGAIN, WORK, FakeTerminal, Turn
from tests.samples.attempts import COMMAND, DEFINITION, GOOD, STAGE, Desk, cut_off

# A run writes a few dozen times; a loop that has not got through by then never will.
MOST = 200
OLD = "the old version"
MADE = "made"


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory, where the system has such a place: hundreds of runs sync hundreds of files."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="dc-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


class Disk:
    """The `nth` change of the disk fails; with `for_good` all after it, too: with no room those that need some."""

    def __init__(self, nth: int, number: int, *, for_good: bool = False) -> None:
        self.left = nth
        self.number = number
        self.for_good = for_good
        self.failed: list[str] = []
        self.on = True

    def fails(self, what: str, *, needs_room: bool) -> bool:
        if not self.on:
            return False
        if self.failed:
            again = self.for_good and (needs_room or self.number != errno.ENOSPC)
            if again:
                self.failed.append(what)
            return again
        self.left -= 1
        if self.left == 0:
            self.failed.append(what)
        return self.left == 0

    def error(self, *names: object) -> OSError:
        return OSError(self.number, os.strerror(self.number), *(str(name) for name in names[:1]))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Others write here, and not under test."""
        before, self.on = self.on, False
        yield
        self.on = before

    def install(self, patch: pytest.MonkeyPatch) -> None:
        def wrap(module: Any, name: str, *, needs_room: bool, fd: bool = False) -> None:
            real = getattr(module, name)

            def call(*args: Any, **kwargs: Any) -> Any:
                if self.fails(name, needs_room=needs_room):
                    raise self.error(*(() if fd else args))
                return real(*args, **kwargs)

            patch.setattr(module, name, call)

        for name in ("replace", "rename", "link", "symlink", "unlink", "ftruncate"):
            if name != "unlink" or self.number != errno.ENOSPC:
                wrap(os, name, needs_room=name in ("link", "symlink"), fd=name == "ftruncate")
        wrap(os, "mkdir", needs_room=True)
        wrap(os, "fsync", needs_room=True, fd=True)
        wrap(os, "sendfile", needs_room=True, fd=True)
        real_open, real_builtin, real_write, real_fdopen = os.open, builtins.open, os.write, os.fdopen

        def open_fd(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & os.O_CREAT and self.fails("open", needs_room=not os.path.lexists(path)):
                raise self.error(path)
            return real_open(path, flags, *args, **kwargs)

        def open_file(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            ours = "opener" not in kwargs and mode.strip("bt") != "r"  # an opener comes to os.open
            if ours and self.fails("open", needs_room=True):
                raise self.error(path)
            return real_builtin(path, mode, *args, **kwargs)

        def write(fd: int, data: bytes) -> int:
            if self.fails("write", needs_room=True):
                real_write(fd, data[: len(data) // 2])
                raise self.error()
            return real_write(fd, data)

        def fdopen(fd: int, *args: Any, **kwargs: Any) -> Any:
            stream = real_fdopen(fd, *args, **kwargs)
            put = stream.write

            def half(text: str) -> int:
                if self.fails("fdopen's write", needs_room=True):
                    put(text[: len(text) // 2])
                    stream.flush()
                    raise self.error()
                return int(put(text))

            if isinstance(stream, io.TextIOWrapper):
                stream.write = half  # type: ignore[method-assign]
            return stream

        patch.setattr(os, "open", open_fd)
        patch.setattr(builtins, "open", open_file)
        patch.setattr(os, "write", write)
        patch.setattr(os, "fdopen", fdopen)


class Workers:
    """Which fake workers live."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.living: set[int] = set()
        patch.setattr(processes, "lives", lambda pid, nonce: pid in self.living)
        patch.setattr(processes, "end_tree", lambda pid, nonce, **_: self.living.discard(pid))


class Terminal(FakeTerminal):
    """What workers and tmux write is not ours: their disk is fine."""

    disk: Disk
    workers: Workers

    def play(self, pane: Pane) -> Pane:
        self.workers.living.add(pane.pid)
        with self.disk.away():
            played = super().play(pane)
        if pane.pid in self.waker.ended:
            self.workers.living.discard(pane.pid)
        return played


def make(root: Path, patch: pytest.MonkeyPatch) -> Desk:
    root.mkdir()
    (root / "a").write_text(OLD)
    desk = Desk(root)
    terminal = Terminal(root, desk.waker)
    terminal.disk, terminal.workers = Disk(0, 0), Workers(patch)
    desk.terminal = terminal
    return desk


TOOL = ("PreToolUse", {"tool_name": "Write"})
DIED = Turn({"a": "half"}, (*WORK, TOOL), exits=-9)
CHECKED = replace(STAGE, check="grep -q made a")


def killed(desk: Desk) -> None:
    cut_off(desk, 4_999_999)
    (desk.log.dir / "1/before/a").write_text(OLD)
    (desk.root / "a").write_text("half")


# What is driven, what the worker does, what an earlier run left -> how it ends.
Scene = tuple[Stage, tuple[Turn, ...], Callable[[Desk], object], Result]
SCENES: Mapping[str, Scene] = {
    "a worker and a check": (CHECKED, (GOOD,), lambda _: None, Result.SUCCEEDED),
    "a repair": (STAGE, (Turn(), Turn({"a": MADE}, AGAIN)), lambda _: None, Result.SUCCEEDED),
    "a death and a resumed session": (replace(STAGE, retries=1), (DIED, GOOD), lambda _: None, Result.SUCCEEDED),
    "a failure": (replace(STAGE, repairs=0), (Turn({"a": ""}),), lambda _: None, Result.FAILED),
    "a command": (
        replace(COMMAND, command="echo told; echo made > a", check="true"),
        (),
        lambda _: None,
        Result.SUCCEEDED,
    ),
    "a command that fails": (replace(COMMAND, command="echo half > a; false"), (), lambda _: None, Result.FAILED),
    "what a killed run left": (STAGE, (GOOD,), killed, Result.SUCCEEDED),
}  # fmt: skip
KINDS = {
    "no room once": (errno.ENOSPC, False),
    "no room from then on": (errno.ENOSPC, True),
    "an error once": (errno.EIO, False),
    "errors from then on": (errno.EIO, True),
}
# A broken disk takes the ways of a full one; so these two have to show less.
BROKEN = ("what a killed run left", "a command that fails")
CASES = [(scene, kind) for scene in SCENES for kind in KINDS if "error" not in kind or scene in BROKEN]


def left_behind(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.endswith(".tmp")]


def kept(root: Path, text: str) -> bool:
    return any(path.read_text(errors="replace").strip() == text for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(("scene", "kind"), CASES)
def test_the_nth_change_of_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: str, kind: str
) -> None:
    stage, turns, before, result = SCENES[scene]
    number, for_good = KINDS[kind]
    failed = []
    for nth in range(1, MOST):
        with monkeypatch.context() as patch:
            desk = make(tmp_path / str(nth), patch)
            before(desk)
            disk = Disk(nth, number, for_good=for_good)
            end = _drive(desk, stage, turns, disk)
            where = f"{nth}: {disk.failed}"
            if not disk.failed:
                assert isinstance(end, Done)
                assert end.outcome.result is result
                break
            failed.append(disk.failed[0])
            _check_after(desk, end, disk, where)
            _goes_on(desk, stage, end, where)
        shutil.rmtree(desk.root)
    else:
        pytest.fail("it never got through")
    assert {"open", "write", "mkdir", "replace", "fsync", "fdopen's write"} <= set(failed)


def _drive(desk: Desk, stage: Stage, turns: tuple[Turn, ...], disk: Disk) -> Done | str:
    """How it ended: done, or the line that its user sees. Any other exception is a fault."""
    terminal = desk.terminal
    assert isinstance(terminal, Terminal)
    terminal.turns, terminal.disk = list(turns), disk
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        try:
            return drive(stage, DEFINITION, desk.services)
        except DodoClaudeError as error:
            return str(error)


def _check_after(desk: Desk, end: Done | str, disk: Disk, where: str) -> None:
    assert isinstance(desk.terminal, Terminal)
    if isinstance(end, str):
        assert "\n" not in end
        if disk.number == errno.ENOSPC:
            assert end.startswith(f"disk full while writing {desk.root}/"), (where, end)
        else:
            assert "Input/output error" in end, (where, end)
    # Workers were told to stop, and nobody is waited for.
    assert not desk.terminal.workers.living, where
    registered, forgotten = (
        [ring for what, ring in desk.waker.calls if what == word] for word in ("register", "forget")
    )
    assert registered == forgotten, where
    # What stood there is there, or kept; what is not verified does not count.
    succeeded = isinstance(end, Done) and end.outcome.result is Result.SUCCEEDED
    now = desk.text("a")
    if succeeded:
        assert now is not None
        assert now.strip() == MADE
    elif not disk.for_good:
        assert now == OLD or (isinstance(end, str) and _unfinished(desk)), (where, now)
    assert succeeded or now == OLD or kept(desk.root, OLD), where
    last = desk.log.last()
    ended = last.result() if last is not None else None
    # Verified, written down in the journal, and nowhere else: it is good, and will be made again.
    assert succeeded or ended is None or ended["result"] != "succeeded" or str(now).strip() == MADE, where
    if disk.number == errno.ENOSPC or not disk.for_good:  # else nothing can be unlinked, either
        assert not left_behind(desk.root), where
        assert os.listdir(desk.services.runtime) == [], where


def _unfinished(desk: Desk) -> bool:
    """The next run knows by itself that there is something to clear away."""
    last = desk.log.last()
    return last is not None and last.result() is None


def _goes_on(desk: Desk, stage: Stage, end: Done | str, where: str) -> None:
    """The disk is fine again: so is the next run, whatever doit was told of this one."""
    if isinstance(end, Done) and end.outcome.result is Result.SUCCEEDED:
        desk.log.settle()
    else:
        desk.log.forget()
    attempts = len(desk.log.attempts())
    mended = replace(stage, command="echo made > a") if stage.command else stage
    done = _drive(desk, mended, (GOOD, GOOD), Disk(0, 0))
    assert isinstance(done, Done), (where, done)
    assert done.outcome == Outcome(Result.SUCCEEDED), (where, done)
    assert str(desk.text("a")).strip() == MADE
    assert len(desk.log.attempts()) == attempts + 1, where
    assert not [path for path in left_behind(desk.log.dir) if path.parent == desk.log.dir], where
    assert all(Attempt(desk.log, number).result() for number in desk.log.attempts()), where
    assert os.listdir(desk.services.runtime) == [], where


def test_a_disk_that_stays_full_piles_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run after run: no attempt is begun, and the session that can be resumed is not forgotten."""
    desk = make(tmp_path / "p", monkeypatch)
    desk.waker.meanwhile.append(desk.services.stopping.set)
    _drive(desk, STAGE, (Turn({"a": "half"}, (*WORK, TOOL)),), Disk(0, 0))
    desk.services.stopping.clear()
    desk.log.forget()
    files = sorted(desk.root.rglob("*"))
    for nth in range(1, 12):
        end = _drive(desk, STAGE, (GOOD,), Disk(nth, errno.ENOSPC, for_good=True))
        assert isinstance(end, str)
        desk.log.forget()
        if len(desk.log.attempts()) > 1:
            break
        assert sorted(desk.root.rglob("*")) == files
    assert isinstance(_drive(desk, STAGE, (GOOD,), Disk(0, 0)), Done)
    assert "--resume s-1 " in (desk.last.dir / "launch.sh").read_text()


def test_what_never_began_moves_no_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = make(tmp_path / "p", monkeypatch)

    def slot(seconds: float, give_up: Callable[[], bool]) -> None:
        desk.services.stopping.set()

    done = drive(STAGE, DEFINITION, replace(desk.services, slot=slot))
    assert done.outcome.result is Result.ABORTED
    assert desk.text("a") == OLD


def test_a_hook_that_finds_no_room_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = make(tmp_path / "p", monkeypatch)
    monkeypatch.setattr(journal, "no_room", lambda folder: True)
    desk.waker.meanwhile.append(lambda: (desk.terminal.folder / "spool/77").write_text('{"hook_ev'))
    end = _drive(desk, STAGE, (Turn({"a": "half"}, WORK),), Disk(0, 0))
    spool = desk.last.spool
    assert end == f"disk full while writing {spool}: No space left on device (free it; then run again)"
    assert os.listdir(spool) == [".unreadable-77"]
    assert desk.text("a") == OLD
    assert not desk.terminal.workers.living  # type: ignore[attr-defined]


def test_the_lock_does_not_need_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orchestrate.toml").write_text(ONE)
    run = Run(load_config(tmp_path / "orchestrate.toml"), {})
    make_state_dir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", _no_room)
        run.take_lock()
    with pytest.raises(RunInProgressError, match="run in progress: pid unknown"):
        Run(run.config, {}).take_lock()
    run.close()


def test_no_room_for_the_plan_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orchestrate.toml").write_text(ONE)
    config = load_config(tmp_path / "orchestrate.toml")
    environ = {"XDG_STATE_HOME": str(tmp_path / "s"), "PATH": os.environ["PATH"]}
    approval.approve(config, environ)
    monkeypatch.setattr(Run, "write_plan", _no_room)
    run = Run(config, environ)
    with pytest.raises(PreflightError, match=r"^disk full while writing "):
        run.start(config.stages)
    run.close()


def _no_room(*args: object, **kwargs: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "plan")


# -- state files cut at every byte


def cuts(path: Path) -> Iterator[int]:
    """Cut `path` after each of its bytes in turn."""
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        yield length
    path.write_bytes(whole)


@contextmanager
def as_it_was(root: Path, copy: Path) -> Iterator[None]:
    """Afterwards `root` holds what it holds now."""
    if not copy.exists():
        shutil.copytree(root, copy)
    yield
    shutil.rmtree(root)
    shutil.copytree(copy, root)


@pytest.mark.parametrize("name", ["1/journal.jsonl", "1/result.json", "open"])
def test_a_finished_stage_whose_record_is_cut_costs_one_rerun_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    desk = make(tmp_path / "p", monkeypatch)
    _drive(desk, STAGE, (GOOD,), Disk(0, 0))
    whole = (desk.log.dir / name).read_bytes()
    step = 29 if len(whole) > 500 else 1
    attempts = []
    for length in [*range(0, len(whole), step), len(whole) - 1, len(whole)]:
        with as_it_was(desk.root, tmp_path / "copy"):
            (desk.log.dir / name).write_bytes(whole[:length])
            done = _drive(desk, STAGE, (GOOD,), Disk(0, 0))
            assert isinstance(done, Done), (length, done)
            assert done.outcome.result is Result.SUCCEEDED
            assert desk.text("a") == MADE
            assert done.attempt == len(desk.log.attempts())
            attempts.append(done.attempt)
    # The journal tells all that matters of the result, and an empty marker opens the newest.
    assert set(attempts) == ({1, 2} if name == "1/journal.jsonl" else {1})
    assert attempts[-2:] == [1, 1]  # without its last newline it is whole


@pytest.mark.parametrize("name", ["1/journal.jsonl", "open"])
def test_an_unfinished_stage_whose_record_is_cut_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    desk = make(tmp_path / "p", monkeypatch)
    killed(desk)
    write_atomic(desk.log.dir / "1/launch.sh", "")
    whole = (desk.log.dir / name).read_bytes()
    step = 29 if len(whole) > 500 else 1
    for length in [*range(0, len(whole), step), len(whole)]:
        with as_it_was(desk.root, tmp_path / "copy"):
            (desk.log.dir / name).write_bytes(whole[:length])
            seen: list[str | None] = []
            turn = replace(GOOD, then=lambda seen=seen: seen.append(desk.text("a")))
            # It looks before it writes.
            turn = replace(turn, writes={}, then=lambda s=seen: (s.append(desk.text("a")), _make(desk)))
            done = _drive(desk, STAGE, (turn,), Disk(0, 0))
            assert isinstance(done, Done), (length, done)
            assert (done.outcome.result, done.attempt) == (Result.SUCCEEDED, 2)
            assert seen == [OLD], length
            assert (desk.log.dir / "1/partial/a").read_text() == "half"


def _make(desk: Desk) -> None:
    (desk.root / "a").write_text(MADE)


def test_a_damaged_result_is_told_by_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = make(tmp_path / "p", monkeypatch)
    _drive(desk, STAGE, (GOOD,), Disk(0, 0))
    (desk.last.dir / "result.json").write_text("{")
    result = desk.last.result()
    assert result is not None
    assert (result["result"], result["message"], result["session_id"]) == ("succeeded", "made it", "s-1")
    assert life.OUTCOME in [event.kind for event in desk.last.replay()]


def test_a_worker_that_doit_forgot_is_ended_before_another_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = make(tmp_path / "p", monkeypatch)
    attempt = cut_off(desk, 77)
    desk.log.forget()
    assert isinstance(desk.terminal, Terminal)
    living = desk.terminal.workers.living
    living.add(77)
    seen: list[bool] = []
    done = _drive(desk, STAGE, (replace(GOOD, then=lambda: seen.append(77 in living)),), Disk(0, 0))
    assert isinstance(done, Done)
    assert (done.attempt, seen) == (2, [False])
    result = attempt.result()
    assert result is not None
    assert result["reason"] == "its run was cut off"


ONE = '[defaults]\nagent = "claude"\n[stages.one]\ncommand = "echo x > a"\ntargets = ["a"]\n'


def test_the_lock_cut_anywhere_still_holds(tmp_path: Path) -> None:
    (tmp_path / "orchestrate.toml").write_text(ONE)
    config = load_config(tmp_path / "orchestrate.toml")
    holder = Run(config, {})
    holder.take_lock()
    for _ in cuts(tmp_path / ".orchestrate/run.lock"):
        with pytest.raises(RunInProgressError, match=r"^run in progress: "):
            Run(config, {}).take_lock()
    holder.close()
    for _ in cuts(tmp_path / ".orchestrate/run.lock"):
        run = Run(config, {})
        run.take_lock()
        run.close()


def test_the_approvals_cut_anywhere_approve_nothing(tmp_path: Path) -> None:
    (tmp_path / "orchestrate.toml").write_text(ONE)
    config = load_config(tmp_path / "orchestrate.toml")
    environ = {"XDG_STATE_HOME": str(tmp_path / "s"), "PATH": os.environ["PATH"]}
    approval.approve(config, environ)
    path = approval.state_file(config.root, environ)
    whole = len(path.read_bytes())
    for length in cuts(path):
        missing = approval.unapproved(config, environ)
        # Only the last newline can be missed.
        assert bool(missing) == (length < whole - 1), length
        if missing:
            with pytest.raises(DodoClaudeError, match="not approved yet"):
                approval.require(config, environ)
    path.write_text("{")
    approval.approve(config, environ)
    assert approval.unapproved(config, environ) == []


def test_the_clients_state_cut_anywhere_is_one_line_and_is_not_overwritten(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    path = first_run.state_file(environ)
    path.write_text(json.dumps({"hasCompletedOnboarding": True, "projects": {"/é": {"x": 1}}, "n": 1}))
    assert trust.record(tmp_path, environ)
    assert trust.problems([tmp_path], {**environ, "ANTHROPIC_API_KEY": "k"}) is not None
    whole = path.read_bytes()
    for length in cuts(path):
        found = trust.problems([tmp_path], environ)
        assert all("\n" not in line for line in found)
        if length < len(whole) - 1:
            assert found, length
            with pytest.raises(DodoClaudeError, match="can't be read"):
                trust.record(tmp_path, environ)
            assert path.read_bytes() == whole[:length]


# -- a lost state


def db_of(root: Path) -> DurableDB:
    return DurableDB(str(make_state_dir(root) / "state.db"), JSONCodec())


def stored(desk: Desk, *, ok: bool = True) -> None:
    """doit hears of the end, and closes its state."""
    db = db_of(desk.root)
    if ok:
        db.set("api", "_values_:", {"definition": DEFINITION})
        db.set("api", "deps:", ("in",))
    else:
        db.remove("api")
    db.dump()


def lose(desk: Desk, data: bytes | None = None) -> None:
    for path in (desk.root / ".orchestrate").glob("state.db*"):
        path.unlink()
    if data is not None:
        (desk.root / ".orchestrate/state.db").write_bytes(data)
    db_of(desk.root).dump()


@pytest.fixture
def done_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A stage that is done and stored."""
    desk = make(tmp_path / "p", monkeypatch)
    _drive(desk, STAGE, (GOOD,), Disk(0, 0))
    stored(desk)
    assert desk.log.open_attempt() is None
    return desk


@pytest.mark.parametrize(
    "data", [None, b"", b"garbage", b"\0" * 9000], ids=["gone", "empty", "garbage", "zeros"]
)
def test_a_lost_state_is_taken_from_the_journals(done_desk: Desk, data: bytes | None) -> None:
    lose(done_desk, data)
    done = _drive(done_desk, STAGE, (), Disk(0, 0))
    assert isinstance(done, Done)
    assert (done.outcome.result, done.attempt) == (Result.SUCCEEDED, 1)
    # Once: doit has it again.
    stored(done_desk)
    assert done_desk.log.open_attempt() is None


AFTER: Mapping[str, Callable[[Desk], object]] = {
    "an input changed": lambda desk: (desk.root / "in").write_text("new"),
    "a target changed": lambda desk: (desk.root / "a").write_text("altered"),
    "the user said forget": lambda desk: stored(desk, ok=False),
    "the user said forget -a": lambda desk: (db := db_of(desk.root), db.remove_all(), db.dump()),
    "it failed later": lambda desk: (
        _drive(desk, replace(STAGE, repairs=0), (Turn({"a": ""}),), Disk(0, 0)),
        stored(desk, ok=False),
    ),
}


@pytest.mark.parametrize("what", AFTER)
@pytest.mark.parametrize("when", ["before", "after"])
def test_not_when(done_desk: Desk, what: str, when: str) -> None:
    if when == "before":  # `doit forget` after the loss was noticed
        lose(done_desk, b"garbage")
    AFTER[what](done_desk)
    if when == "after":
        lose(done_desk, b"garbage")
    attempts = len(done_desk.log.attempts())
    done = _drive(done_desk, STAGE, (replace(GOOD, writes={"a": "again"}),), Disk(0, 0))
    assert isinstance(done, Done)
    assert (done.outcome.result, done.attempt) == (Result.SUCCEEDED, attempts + 1)
    assert done_desk.text("a") == "again"


def test_a_record_that_is_unreadable_is_taken_from_the_journal(
    done_desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    db = db_of(done_desk.root)
    db._conn.execute("update doit set task_data='{' where task_id='api'")
    db._conn.commit()
    assert db.get("api", "_values_:") is None
    db.dump()
    assert "is unreadable" in capsys.readouterr().err
    done = _drive(done_desk, STAGE, (), Disk(0, 0))
    assert isinstance(done, Done)
    assert done.attempt == 1


def test_state_cut_anywhere_costs_no_finished_stage(
    done_desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    path = done_desk.root / ".orchestrate/state.db"
    whole = path.read_bytes()
    for length in [*range(0, 110, 5), *range(128, len(whole), 509), len(whole) - 1, len(whole)]:
        lose(done_desk, whole[:length])
        db = db_of(done_desk.root)
        known = db.get("api", "_values_:") is not None
        db.dump()
        # doit has it, or the next run takes it over.
        assert known or done_desk.log.open_attempt() is not None, length
        if not known:
            stored(done_desk)
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith("dodo_claude: ")


def test_what_is_marked_can_not_be_marked(done_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker stays: the stage is looked at once more, which is harmless."""
    _drive(done_desk, STAGE, (GOOD,), Disk(0, 0))
    monkeypatch.setattr(os, "replace", _no_room)
    stored(done_desk)
    monkeypatch.undo()
    assert done_desk.log.open_attempt() is not None


# -- private, and no link is followed


def test_all_that_is_made_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with pytest.MonkeyPatch.context() as patch:
            desk = make(tmp_path / "p", patch)
            (desk.root / "a").chmod(0o600)
            (desk.root / "d").mkdir()
            _drive(desk, replace(CHECKED, targets=("a", "d/b")), (Turn({"a": "half"}), Turn({"a": "bad"}, AGAIN)), Disk(0, 0))  # fmt: skip
            stored(desk)
            (desk.root / "orchestrate.toml").write_text(ONE)
            run = Run(load_config(desk.root / "orchestrate.toml"), {})
            run.take_lock()
            run.write_plan()
            run.close()
    finally:
        os.umask(before)
    state = desk.root / ".orchestrate"
    for path in [state, *state.rglob("*")]:
        if path.parent.name == "partial":
            continue  # the worker's own
        mode, wanted = stat.S_IMODE(path.stat().st_mode), 0o700 if path.is_dir() else 0o600
        assert mode in ((0o700,) if path.name == "launch.sh" else (wanted,)), (path, oct(mode))


def test_what_others_could_enter_is_closed(tmp_path: Path) -> None:
    (tmp_path / ".orchestrate").mkdir(mode=0o755)
    make_state_dir(tmp_path)
    assert stat.S_IMODE((tmp_path / ".orchestrate").stat().st_mode) == 0o700


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder outside of the project that nobody may write into."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "victim").write_text("mine")
    yield folder
    assert os.listdir(folder) == ["victim"]
    assert (folder / "victim").read_text() == "mine"


@pytest.mark.parametrize("name", [".orchestrate", ".orchestrate/stages", ".orchestrate/stages/api"])
def test_a_folder_that_leads_elsewhere_is_refused(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    desk = make(tmp_path / "p", monkeypatch)
    shutil.rmtree(desk.root / ".orchestrate")
    (desk.root / name).parent.mkdir(exist_ok=True, parents=True)
    (desk.root / name).symlink_to(elsewhere)
    end = ""
    try:
        make_state_dir(desk.root)
        end = str(_drive(desk, STAGE, (GOOD,), Disk(0, 0)))
    except NotOursError as error:
        end = str(error)
    assert "(remove it;" in end
    with pytest.raises(InvalidCommand, match="remove it"):
        db_of_name(desk.root).dump()


def db_of_name(root: Path) -> DurableDB:
    return DurableDB(str(root / ".orchestrate/state.db"), JSONCodec())


@pytest.mark.parametrize("name", ["state.db", "run.lock", "runs"])
def test_a_file_that_leads_elsewhere_is_refused(tmp_path: Path, elsewhere: Path, name: str) -> None:
    root = tmp_path / "p"
    root.mkdir()
    (root / "orchestrate.toml").write_text(ONE)
    target = elsewhere if name == "runs" else elsewhere / "victim"
    (make_state_dir(root) / name).symlink_to(target)
    run = Run(load_config(root / "orchestrate.toml"), {})
    use = {"state.db": lambda: db_of(root), "run.lock": run.take_lock, "runs": run.write_plan}[name]
    with pytest.raises((InvalidCommand, DodoClaudeError, OSError), match=r"symbolic link|remove it"):
        use()
    run.close()


def test_a_temporary_file_that_was_planted_is_not_written_through(tmp_path: Path, elsewhere: Path) -> None:
    temporary = tmp_path / f".f.{os.getpid()}.tmp"
    os.link(elsewhere / "victim", temporary)  # a hard link: O_NOFOLLOW alone would write through it
    write_atomic(tmp_path / "f", "new")
    assert (tmp_path / "f").read_text() == "new"
    temporary.symlink_to(elsewhere / "victim")
    with pytest.raises(NotOursError, match="symbolic link"):
        write_atomic(tmp_path / "f", "newer")
    assert (tmp_path / "f").read_text() == "new"


def test_folders_are_made_whole(tmp_path: Path) -> None:
    make_folder(tmp_path / "x/y/z")
    make_folder(tmp_path / "x/y/z")
    (tmp_path / "f").write_text("")
    with pytest.raises(NotOursError, match="remove it"):
        make_folder(tmp_path / "f")


def test_what_a_killed_process_left_half_written_is_cleared(tmp_path: Path) -> None:
    log = StageLog(make_state_dir(tmp_path), "s")
    log.begin()
    (log.dir / ".open.1.tmp").write_text("half")
    attempt = log.begin()
    (attempt.dir / ".result.json.1.tmp").write_text("half")
    for name in ("before/out/.1.tmp", "partial/out/.1.tmp"):  # copies on their way to their places
        (attempt.dir / name).parent.mkdir(parents=True)
        (attempt.dir / name).write_text("half")
    log.sweep()
    assert sorted(os.listdir(log.dir)) == ["1", "2", "open"]
    assert [path for path in attempt.dir.rglob("*") if path.is_file()] == []
    (attempt.spool / ".9").write_text("half")
    attempt.sweep()
    assert os.listdir(attempt.spool) == []


def test_a_sweep_looks_at_no_older_attempt_once_the_newest_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = StageLog(make_state_dir(tmp_path), "s")
    for _ in range(30):
        attempt = log.begin()
        attempt.finish({"result": "succeeded"})
    looked: list[Path] = []
    find = files.find

    def looking(path: Path, pattern: str) -> Iterator[Path]:
        looked.append(path)
        return find(path, pattern)

    monkeypatch.setattr(files, "find", looking)
    log.sweep()
    assert set(looked) == {attempt.dir}
    (attempt.dir / "result.json").unlink()  # it was cut off: any of them may hold what a kill left of a copy
    log.sweep()
    assert len(set(looked)) == 30


def test_the_markers(tmp_path: Path) -> None:
    state = make_state_dir(tmp_path)
    log = StageLog(state, "s")
    log.forget()
    log.reopen()
    log.settle()
    assert log.last() is None
    for _ in range(2):
        log.begin()
    log.settle()
    log.settle()
    assert sorted(os.listdir(log.dir)) == ["1", "2", "done"]
    journal.reopen_all(state)
    assert [path.name for path in log.dir.glob("[od]*")] == ["open"]
    log.begin()
    log.reopen()  # nothing to be reopened: one is under way
    assert (log.dir / "open").read_text() == "3\n"
    journal.forget_all(state)
    assert sorted(os.listdir(log.dir)) == ["1", "2", "3"]
