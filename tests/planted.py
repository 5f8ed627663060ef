"""A project whose state folder is a stranger's: every place in it, what may stand there instead, and who looks at it."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from click.testing import CliRunner
from doit.doit_cmd import DoitMain

import dodo_claude
from dodo_claude import cli, mcp_server
from dodo_claude.following import Following
from dodo_claude.journal import StageLog
from dodo_claude.mail import DELIVERED, QUEUED, Mailbox
from dodo_claude.project import find_config
from dodo_claude.stops import Stops
from tests.project import Project
from tests.test_idle import working_in

PACKAGE = str(Path(dodo_claude.__file__).parent)
TEXT = """
[orchestrate]
name = "planted"
[stages.a]
command = "cat in.txt > a.txt"
file_dep = ["in.txt"]
targets = ["a.txt"]
[stages.b]
command = "echo b > b.txt; echo said"
targets = ["b.txt"]
check = "echo checked; test -e good"
"""
# Of our harness alone: what waits for a pipe is ended, and the test fails.
HANGS_SECONDS = 60.0
KINDS = ("link", "pipe", "other kind", "cut", "emptied", "random bytes")


def lay_out(project: Project) -> None:
    """A project that ran twice: a is done, b failed by its check; with all that may lie in the state folder."""
    project.write("in.txt", "one\n")
    project.write("orchestrate.toml", TEXT)
    project.orchestrate(check=1)
    project.write("in.txt", "two\n")
    project.orchestrate(check=1)
    state = project.root / ".orchestrate"
    log = StageLog(state, "a")
    box, last = Mailbox(log), log.last()
    assert last is not None
    box.open(last.number)
    for name in (QUEUED, DELIVERED):
        letter = box.post("a word", "somebody")
        (box.dir / name).mkdir(exist_ok=True)
        (box.dir / QUEUED / letter).rename(box.dir / name / letter)
    (box.dir / "asks").mkdir()
    (box.dir / "asks/q.answer").write_text("yes")
    for folder in ("permits", "monitors", "before"):
        (last.dir / folder).mkdir(exist_ok=True)
    (last.dir / "permits/1.claim").write_text("")
    (last.dir / "monitors/m").write_text("1 x\n")
    (last.dir / "before/a.txt").write_text("one\n")
    for name in ("prompt.md", "prompt-phase-2.md", "screen.txt", "check.log", "summary-1.md", "handover.md"):
        (last.dir / name).write_text("a text\n")
    (last.dir / "status.json").write_text('{"cost": {"total_cost_usd": 1}}')
    last.drop("Notification", message="a note")
    Stops(state).give("b", "the user", "pid 1 since then")
    (state / "notes.md").write_text("- a note\n")
    (state / "removed-runs").write_text("")
    (state / "state.checked").write_text("[]")
    (state / "open").unlink(missing_ok=True)
    # Its worker is at work, as far as anybody can tell.
    shutil.copytree(last.dir, log.dir / "9")
    (log.dir / "9/result.json").unlink()
    (log.dir / "open").write_text("9\n")


def places(state: Path) -> list[str]:
    """All there is, relative to the state folder; '.' is itself."""
    return [".", *sorted(str(path.relative_to(state)) for path in state.rglob("*"))]


def plant(state: Path, place: str, kind: str, outside: Path) -> bool:
    """Put something else in that place. False: there is nothing of that kind to put there."""
    path, folder = state / place, (state / place).is_dir()
    dice = random.Random(f"{place} {kind}")
    if kind == "link":  # what it leads to would do, if somebody followed it
        shutil.move(path, outside / "behind")
        path.symlink_to(outside / "behind")
    elif kind in ("pipe", "other kind"):
        data = b"" if folder else path.read_bytes()
        shutil.rmtree(path) if folder else path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif folder:
            path.write_bytes(b"no folder\n")
        else:
            path.mkdir()
            (path / "in it").write_bytes(data)
    elif folder:
        for entry in path.iterdir():
            if kind == "emptied" or (kind == "cut" and dice.random() < 0.5):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        return kind != "random bytes"
    elif kind == "random bytes":
        path.write_bytes(dice.randbytes(dice.choice([1, 40, 5000])))
    else:
        os.truncate(path, 0 if kind == "emptied" else dice.randrange(path.stat().st_size or 1))
    return True


class HungError(Exception):
    """Somebody waited for what never comes."""


# -- who looks


def _click(*args: str) -> Callable[[], str]:
    def call() -> str:
        ran = CliRunner().invoke(cli.main, args)
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return ran.output

    return call


def _doit(*args: str) -> Callable[[], str]:
    def call() -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            DoitMain().run([*args, "-o", os.devnull] if args[0] == "orchestrate" else [*args])
        return out.getvalue()

    return call


def _desk(name: str, *args: str) -> Callable[[], str]:
    def call() -> str:
        from dodo_claude.errors import DodoClaudeError

        try:
            return str(getattr(mcp_server.Desk(), name)(*args))
        except DodoClaudeError as error:
            return str(error)

    return call


def _dashboard() -> str:
    following = Following(find_config, lambda config: {}, lambda: None)
    try:
        following._begin()
        return str(following.desk)
    finally:
        following.close()


READERS: dict[str, Callable[[], str]] = {
    "status": _click("status"),
    "status --json": _click("status", "--json"),
    "log a": _click("log", "a"),
    "log b": _click("log", "b"),
    "events": _click("events"),
    "report": _click("report"),
    "report --format html": _click("report", "--format", "html", "-o", "-"),
    "gc": _click("gc", "--keep", "1"),
    "gc --dry-run": _click("gc", "--dry-run", "--json"),
    "check": _click("check"),
    "note": _click("note", "a word"),
    "progress": _click("progress", "5"),
    "send": _click("send", "a", "a word"),
    "answer": _click("answer", "a", "yes"),
    "ask": _click("ask", "--timeout", "1s", "what?"),
    "allow": _click("allow", "a"),
    "deny": _click("deny", "a"),
    "interrupt": _click("interrupt", "a"),
    "compact": _click("compact", "a"),
    "capture": _click("capture", "a"),
    "attach": _click("attach", "a"),
    "stop": _click("stop", "a"),
    "stop --all": _click("stop", "--all"),
    "recheck": _click("recheck", "b"),
    "completion": _click("completion", "bash"),
    "mcp status": _desk("status"),
    "mcp report": _desk("report"),
    "mcp notes": _desk("notes"),
    "dashboard": _dashboard,
    "doit list": _doit("list", "--status"),
    "doit forget": _doit("forget", "a"),
    "doit ignore": _doit("ignore", "a"),
    "doit reset-dep": _doit("reset-dep"),
    "doit orchestrate --explain": _doit("orchestrate", "--explain"),
    "doit orchestrate": _doit("orchestrate"),
}


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Whatever waits for ever fails."""

    def late(number: int, frame: FrameType | None) -> None:
        raise HungError(f"waited for {HANGS_SECONDS:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, HANGS_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# -- what they touch

_FOLDERS = {"os.listdir", "os.scandir", "sqlite3.connect", "os.chmod", "os.chdir"}
_ENTRIES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}


class Touched:
    """What of `outside` this process opens, lists, makes or removes; and who but files.py touches `state`."""

    def __init__(self) -> None:
        self.outside = self.state = ""
        self.there: list[str] = []
        self.others: set[str] = set()
        self._busy = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        # A hook can't be taken away: it sleeps while nobody is walked.
        known = event == "open" or event in _FOLDERS or event in _ENTRIES
        if not known or not self.outside or self._busy or not isinstance(args[0], str | bytes | Path):
            return
        self._busy = True
        try:
            path = os.path.abspath(os.fsdecode(args[0]))
            entry = event in _ENTRIES or (event == "open" and int(args[2] or 0) & os.O_NOFOLLOW)
            real = os.path.realpath(os.path.dirname(path) if entry else path)
            if real.startswith(self.outside):
                self.there.append(f"{event} {path}")
            if path.startswith(f"{self.state}/") and event != "sqlite3.connect" and (who := _caller()):
                self.others.add(f"{who}: {event} {path.removeprefix(self.state)}")
        finally:
            self._busy = False

    @contextlib.contextmanager
    def listening(self, state: Path, outside: Path) -> Iterator[None]:
        self.there, self.outside, self.state = [], str(outside), str(state)
        try:
            yield
        finally:
            self.outside = ""


def _caller() -> str | None:
    """The module of ours that asked for it, if that is not the one that may."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            return None if name.endswith("/files.py") else f"{os.path.basename(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All that is in a folder, byte for byte, with the modes."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            os.fsencode(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


class Stranger:
    """The project as it was laid out, again and again."""

    def __init__(self, project: Project, tmp: Path, touched: Touched) -> None:
        self.project, self.touched = project, touched
        self.state, self.outside, self.whole = project.root / ".orchestrate", tmp / "outside", tmp / "whole"
        shutil.copytree(self.state, self.whole)
        self.places = places(self.whole)

    def again(self) -> None:
        for folder in (self.state, self.outside):
            if folder.is_symlink() or folder.is_file() or folder.is_fifo():
                folder.unlink()
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.whole, self.state)
        self.outside.mkdir()

    def look(self, place: str, kind: str | bytes, reader: str) -> None:
        """One planted place, one reader: nothing is touched outside, nothing hangs, no traceback."""
        self.again()
        if isinstance(kind, bytes):
            (self.state / place).write_bytes(kind)
        elif not plant(self.state, place, kind, self.outside):
            return
        before = contents(self.outside)
        with working_in(self.project.root), in_time(), self.touched.listening(self.state, self.outside):
            said = READERS[reader]()
        assert "Traceback" not in said, said
        assert contents(self.outside) == before
        assert not self.touched.there


def approved(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in this process see the project's surroundings."""
    for name, value in project.environ().items():
        monkeypatch.setenv(name, value)
    project.approve()
