"""A project whose state folder is a stranger's: every place in it, what may stand there instead, and what of it is touched."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import dodo_claude
from dodo_claude.state.journal import StageLog
from dodo_claude.state.mail import DELIVERED, QUEUED, Mailbox
from dodo_claude.state.stops import Stops
from tests.project import Project

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
        # What is done before which touch of a file: it is taken away while somebody is at work on it.
        self.deed: tuple[int, Callable[[], object]] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        # A hook can't be taken away: it sleeps while nobody is walked.
        known = event == "open" or event in _FOLDERS or event in _ENTRIES
        if not known or not self.outside or self._busy or not isinstance(args[0], str | bytes | Path):
            return
        self._busy = True
        try:
            path = os.path.abspath(os.fsdecode(args[0]))
            if path != os.fsdecode(args[0]) and sys._getframe(1).f_globals.get("__name__") == "shutil":
                return  # a name in a folder that rmtree holds open, and follows no link out of
            if self.deed is not None and path.startswith(os.path.dirname(self.state)):
                left, do = self.deed
                self.deed = (left - 1, do) if left > 1 else None
                if left == 1:
                    do()
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
