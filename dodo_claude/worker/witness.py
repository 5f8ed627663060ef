"""What stands as verified in a run, and who was at work when something of it changed.

A stage that is done, or up to date, was verified with certain bytes. Nobody else may change these while the run goes
on: the config gives each target to one stage, the client's rules close it to the others. What gets there by other means
is seen here: its verified bytes are put back from the store, what stood there is set aside, and whoever was at work
since the file was last seen is named.

Rules this file keeps: nothing is overwritten that is not kept; a stage is blamed only where it is known to have done it
(its client's own tools say so, or nobody else was at work); what was changed while nobody was at work is a person's,
and left alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dodo_claude.config import inputs
from dodo_claude.machine import files, ours
from dodo_claude.state.journal import StageLog
from dodo_claude.worker import store, verify

# Where an attempt's folder keeps what stood in the place of its verified target.
ASIDE = "overwritten"
# Looks take one part in so many of the time, and a second besides: with very many files not each stage's end has one.
SHARE = 20
FREE = 1.0  # seconds
# A copy that an older version did not make is made, when a run has something to do, of a file that is not larger.
SMALL = 1_000_000  # bytes
# From a stage's end to its being written down.
LAG = 60.0  # seconds
# Names of stages in a text.
NAMED = 3
# The device of a fingerprint of an earlier version, which has none: no file lies there, so its bytes are compared.
_NOWHERE = -1

Wrote = Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Overwritten:
    """A target that was changed after it was verified."""

    stage: str  # whose target it is
    file: str  # relative to the project
    # Who was at work since it was last seen as it should be; the one that did it, if that is known.
    by: tuple[str, ...]
    sure: bool  # the client's own tools say so
    gone: bool  # it was removed
    back: bool  # its verified bytes are in place again
    kept: str  # where what stood there is, relative to the project; '' if it is in its place, or was removed

    @property
    def known(self) -> bool:
        """Is it known who did it?"""
        return len(self.by) == 1

    def text(self) -> str:
        """For the line of its stage."""
        verb = "removed" if self.gone else "changed"
        if self.sure:
            who = f"by {self.by[0]}"
        elif self.by:
            who = f"while {_names(self.by)} {'was' if self.known else 'were'} at work"
        else:
            who = "while no stage was at work"
        return f"'{self.file}' was {verb} after it was verified, {who}: {self._now()}"

    def charge(self) -> str:
        """For the reason of the stage that did it."""
        verb = "removed" if self.gone else "changed"
        did = (
            f"it {verb} '{self.file}'"
            if self.sure
            else f"'{self.file}' was {verb} while it alone was at work"
        )
        return f"{did}, which stage '{self.stage}' had made: {self._now()}"

    def _now(self) -> str:
        if self.back:
            return f"put back; what stood there is kept in {self.kept}" if self.kept else "put back"
        return "left as it is, for it can't be put back" if self.by else "left as it is"


def _names(names: tuple[str, ...]) -> str:
    shown = list(names[:NAMED])
    if len(names) > NAMED:
        shown.append(f"{len(names) - NAMED} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]


class _File:
    """A target as it was verified."""

    __slots__ = ("mark", "mode", "name", "path", "seen", "settled", "signature", "since", "stage")

    def __init__(self, root: Path, stage: str, name: str, mark: verify.Fingerprint) -> None:
        self.stage = stage
        self.name = name
        self.path = f"{root}/{name}"  # a Path's making takes longer than the look
        self.mark = mark
        self.mode = 0o644
        self.since = time.time()  # it was verified before
        self.seen = time.monotonic()
        self.signature: tuple[int, ...] | None = None  # of the file with those bytes; None: to be compared
        self.settled = False  # whoever writes to it from now on gives it another
        with contextlib.suppress(OSError):
            status = os.stat(self.path)
            modified, size, inode, _, changed, device = mark
            known = [modified, size, inode, device]
            # No change of the inode was written down where the file was too young for it to tell.
            if [status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev] == known and (
                changed in (0, status.st_ctime_ns)
            ):
                self._sign(status)

    def _sign(self, status: os.stat_result) -> None:
        self.mode = stat.S_IMODE(status.st_mode)
        self.signature = _signature(status)
        self.settled = max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - inputs.TICK_NS

    def holds(self, *, surely: bool) -> bool:
        """Has it the verified bytes? Not `surely`: as its times, size and place tell, though a clock ticks slowly."""
        try:
            status = os.stat(self.path)
            if self.signature == _signature(status) and (self.settled or not surely):
                return True
            if not stat.S_ISREG(status.st_mode) or status.st_size != self.mark[1]:
                return False
            if verify.digest_file(Path(self.path)) != self.mark[3]:
                return False
        except OSError:
            return False
        self._sign(status)
        return True


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


@dataclass(slots=True)
class _AtWork:
    wrote: Wrote
    since: float  # wall time
    found: int  # how much had been found when it began
    gone: tuple[float, float] | None = None  # when its processes were: monotonic, and wall time


class Witness:
    """Of one run. Thread-safe: stages' threads and doit's main thread call it."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root = root
        self.state = state
        self.tell: Callable[[Overwritten], None] = lambda found: None  # a person
        self.found: list[Overwritten] = []  # all of this run
        self.fallen: dict[str, str] = {}  # stages whose verified bytes are not there any more, and why
        self._files: dict[str, _File] = {}  # what stands, by name
        self._standing: dict[str, tuple[str, ...]] = {}  # of each stage its files
        self._lost: dict[str, str] = {}  # what became of those that stand no more
        self._at_work: dict[str, _AtWork] = {}
        self._ended: dict[
            str, tuple[float, Mapping[str, float]]
        ] = {}  # since the last whole look: when, what it wrote
        self._wrote: dict[str, Mapping[str, float]] = {}  # of each that ended: what its tools wrote
        self._spans: list[
            tuple[str, float, float]
        ] = []  # of each that ended: from when to when it was at work
        self._looked = 0.0  # when all were last seen
        self._start = time.monotonic()
        self._spent = 0.0  # seconds of looking
        self._lock = threading.Lock()

    # -- what stands

    def stands(self, stage: str, marks: Mapping[str, object], *, made: bool = False) -> None:
        """A stage is up to date, or, `made`, done now, with targets of these fingerprints."""
        self._add(stage, self._those(stage, marks), made=made)

    def stood(self, stage: str, marks: Mapping[str, object]) -> None:
        """So an earlier run wrote it down: it stands, if it still is so, until it is begun anew."""
        files = self._those(stage, marks)
        if len(files) == len(marks) and all(file.signature or file.holds(surely=False) for file in files):
            self._add(stage, files)

    def _those(self, stage: str, marks: Mapping[str, object]) -> list[_File]:
        return [
            _File(self.root, stage, name, mark) for name, value in marks.items() if (mark := _mark(value))
        ]

    def _add(self, stage: str, files: Collection[_File], *, made: bool = False) -> None:
        for file in files:
            digest, size = file.mark[3], file.mark[1]
            if made or (size <= SMALL and not store.has(self.state, digest, size)):
                store.keep(self.state, Path(file.path), digest, size)
        with self._lock:
            self._files |= {file.name: file for file in files}
            self._standing[stage] = tuple(file.name for file in files)

    def knows(self, stage: str) -> bool:
        """Is it known what was verified of it?"""
        return stage in self._standing

    # -- who is at work

    def began(self, stage: str, wrote: Wrote = dict) -> None:
        """A stage, or a task, is at work from now on. `wrote`: the files that its client's tools wrote, and when."""
        with self._lock:
            for name in self._standing.pop(stage, ()):
                self._files.pop(name, None)
                self._lost.pop(name, None)
            self.fallen.pop(stage, None)
            self._at_work[stage] = _AtWork(wrote, time.time(), len(self.found))

    def gone(self, stage: str) -> None:
        """Its processes are: what changes from now on is not of its doing. What it did is still to be looked at."""
        with self._lock:
            at_work = self._at_work.get(stage)
            if at_work is not None:
                at_work.gone = at_work.gone or (time.monotonic(), time.time())

    def ended(self, stage: str) -> None:
        """All of it is over."""
        self.gone(stage)
        with self._lock:
            at_work = self._at_work.pop(stage, None)
            if at_work is not None and at_work.gone is not None:
                self._wrote[stage] = wrote = at_work.wrote()
                self._ended[stage] = (at_work.gone[0], wrote)
                self._spans.append((stage, at_work.since, at_work.gone[1]))
            # What was over before anybody began who is at work now was beside nobody.
            began = min((each.since for each in self._at_work.values()), default=float("inf"))
            self._spans = [span for span in self._spans if span[2] >= began]
            names = {span[0] for span in self._spans}
            self._wrote = {name: wrote for name, wrote in self._wrote.items() if name in names}

    def crowded(self, stage: str) -> bool:
        """Is anybody else at work?"""
        with self._lock:
            return any(name != stage and each.gone is None for name, each in self._at_work.items())

    def beside(
        self, stage: str
    ) -> tuple[float, list[tuple[str, float, float]], dict[str, Mapping[str, float]]]:
        """Since when the stage is at work (wall time); who was so since then, from when to when; and what the tools of the
        others wrote."""
        with self._lock:
            own = self._at_work.get(stage)
            since = own.since if own is not None else time.time()
            # They stand in the order in which they were written down, which is nearly that of their ends.
            late = itertools.takewhile(lambda span: span[2] >= since - LAG, reversed(self._spans))
            spans = [span for span in late if span[2] >= since]
            for name, each in self._at_work.items():
                spans.append((name, each.since, each.gone[1] if each.gone is not None else float("inf")))
            wrote = {name: each.wrote() for name, each in self._at_work.items()}
            wrote |= {name: self._wrote[name] for name, _, _ in spans if name not in wrote}
            wrote.pop(stage, None)
            return since, spans, wrote

    # -- looking

    def look(self, reads: Iterable[str] = ()) -> None:
        """Called when a stage ends, which reads the files `reads`: these are looked at in any case."""
        with self._lock:
            if self._spent <= FREE + (time.monotonic() - self._start) / SHARE:
                self._look(surely=False)
            else:
                self._compare([self._files[name] for name in reads if name in self._files], surely=False)

    def lost(self, reads: Iterable[str]) -> tuple[str, ...]:
        """Called before a stage reads these files: of each that is not what was verified what became of it."""
        wanted = [*reads]
        with self._lock:
            self._compare([self._files[name] for name in wanted if name in self._files], surely=False)
            return tuple(self._lost[name] for name in wanted if name in self._lost)

    def last_look(self) -> None:
        """Called before the sums of a run in which somebody was at work: that a clock ticks slowly is no excuse."""
        with self._lock:
            self._look(surely=True)

    def charges(self, stage: str) -> tuple[str, ...]:
        """What the stage at work is known to have overwritten."""
        return tuple(found.charge() for found in self._since_it_began(stage) if found.by == (stage,))

    def disturbed(self, stage: str, reads: Collection[str]) -> tuple[str, ...]:
        """Which of the files that the stage at work reads somebody else changed meanwhile."""
        found = self._since_it_began(stage)
        return tuple(each.text() for each in found if each.file in reads and each.by != (stage,))

    def _since_it_began(self, stage: str) -> list[Overwritten]:
        with self._lock:
            at_work = self._at_work.get(stage)
            return self.found[at_work.found :] if at_work is not None else []

    def _look(self, *, surely: bool) -> None:
        began = time.monotonic()
        self._spent += self._compare(self._files.values(), surely=surely)
        self._looked = began
        self._ended = {stage: end for stage, end in self._ended.items() if end[0] > began}

    def _compare(self, files: Iterable[_File], *, surely: bool) -> float:
        """The seconds that it took to look."""
        began = time.monotonic()
        changed = [file for file in files if not file.holds(surely=surely)]
        seconds = time.monotonic() - began
        for file in changed:
            found = self._found(file)
            self.found.append(found)
            if found.back:
                file.holds(surely=True)  # takes down how it is now
            else:
                del self._files[file.name]
                self._lost[file.name] = found.text()
                self.fallen.setdefault(file.stage, found.text())
            self.tell(found)
        return seconds

    def _found(self, file: _File) -> Overwritten:
        since = max(file.seen, self._looked)
        at_work = {name: wrote for name, (end, wrote) in self._ended.items() if end > since}
        for name, each in self._at_work.items():
            if each.gone is not None and each.gone[0] <= since:
                continue
            at_work[name] = {**at_work.get(name, {}), **each.wrote()}
        real = os.path.realpath(file.path)
        surely = tuple(name for name, wrote in at_work.items() if self._names_it(wrote, file, real))
        who, sure = (surely, True) if len(surely) == 1 else (tuple(at_work), False)
        gone = not os.path.lexists(file.path)
        back, kept = self._put_back(file) if who else (False, "")
        return Overwritten(file.stage, file.name, who, sure, gone, back, kept)

    def _names_it(self, wrote: Mapping[str, float], file: _File, real: str) -> bool:
        return any(
            at >= file.since and real == os.path.realpath(self.root / name) for name, at in wrote.items()
        )

    def _put_back(self, file: _File) -> tuple[bool, str]:
        """Are the verified bytes in place again; and where what stood there is, '' for nowhere else."""
        path = Path(file.path)
        kept = ""
        try:
            if not store.has(self.state, file.mark[3], file.mark[1]) or not verify.is_inside(
                self.root, path.parent
            ):
                return False, ""
            place = None
            if os.path.lexists(path):
                place = verify.free_name(self._aside(file.stage) / file.name)
                verify.move(path, place)
                kept = os.path.relpath(place, self.root)
            else:
                files.make_parents(self.root, path)
            if store.restore(self.state, file.mark[3], path, file.mode, file.mark[0]):
                return True, kept
            if place is not None:  # the copy is damaged: what stood there is better than nothing
                verify.move(place, path)
        except (OSError, ours.NotOursError):  # no room, no right, no store: it is named all the same
            pass
        return False, ""

    def _aside(self, stage: str) -> Path:
        last = StageLog(self.state, stage).last()
        return (last.dir if last is not None else self.state) / ASIDE


def _mark(value: object) -> verify.Fingerprint | None:
    """A fingerprint, also as JSON has it."""
    if not isinstance(value, list | tuple) or len(value) not in (5, 6):
        return None
    modified, size, inode, digest, changed, device = (*value, _NOWHERE)[:6]
    numbers = (modified, size, inode, changed, device)
    if not isinstance(digest, str) or not all(type(each) is int for each in numbers):
        return None
    return (modified, size, inode, digest, changed, device)
