"""What runs of long ago left behind, and what of it may go: `dodo-claude gc`. Only the holder of the run's lock may.

Rules this file keeps:
* What a rerun, a resumed session, a prompt or the report of a kept run looks at stays: see `_needed`.
* Only what we wrote ourselves goes, known by its name. Of a file that a person or a worker made the only copy stays,
  as `stages/<stage>/kept/<attempt>/…`.
* An attempt is there or it is not, whenever this is killed; the next time does the rest.
"""

from __future__ import annotations

import contextlib
import re
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from dodo_claude.machine import files
from dodo_claude.machine.files import make_folder
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.report import runs
from dodo_claude.report.attempts import COPIES, TEMPORARY, touched
from dodo_claude.run.garbage import Garbage, OldAttempt, OldCopy, OldRun
from dodo_claude.state.events import Result
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.worker import store, verify

# What we write into the folder of an attempt, besides those copies, and into that of a run.
_OURS = re.compile(
    r"(prompt|repair|summary)(-[a-z0-9-]+)?\.md|(brief|task|handover)\.md|(settings|denial|reminder|result|status)\.json"
    r"|messages-.*\.md|status(\.tmp)?|launch\.sh|journal\.jsonl|(check|output)\.log|screen\.txt|spool|monitors|client|paste-.*|\..*\.tmp"
)
_OF_A_RUN = re.compile(r"report\.(json|md|html)|\..*\.tmp")
_GONE = ".gone-"


def look(root: Path, keep: int) -> Garbage:
    """What may go of the project in `root` when its last `keep` runs stay, and as many attempts of each stage."""
    state = root / STATE_DIR
    known = runs.runs(state)
    old, kept = known[:-keep], known[-keep:]
    since = kept[0].started - runs.SLACK if kept else float("inf")
    return Garbage(
        keep,
        tuple(OldRun(run.id, _size(state / "runs" / run.id)) for run in old if _is_folder(state / "runs" / run.id)),
        tuple(each for log in _stages(state) for each in _old(root, log, keep, since)),
        tuple(_old_copies(state)),
    )  # fmt: skip


def remove(root: Path, garbage: Garbage) -> None:
    """Let it go."""
    state = root / STATE_DIR
    for left in files.find(state, f"stages/*/{_GONE}*"):  # somebody was killed over it
        files.remove_tree(left)
    runs.note_removed(state, [run.id for run in garbage.runs])
    for run in garbage.runs:
        folder = state / "runs" / run.id
        for name in sorted(files.names(folder)):
            if _OF_A_RUN.fullmatch(name):
                files.remove(folder / name)
        files.remove(folder / "plan.toml", missing_ok=True)  # last: without it, it is no run any more
        with contextlib.suppress(OSError):  # somebody put a file of their own there
            files.remove_folder(folder)
    for each in garbage.attempts:
        stage = root / each.folder
        folder, kept = stage / str(each.number), stage / "kept" / str(each.number)
        for name in each.keeps:
            make_folder((kept / name).parent)
            files.move(folder / name, verify.free_name(kept / name))
        gone = stage / f"{_GONE}{each.number}"
        files.move(folder, gone)
        files.remove_tree(gone)
    store.remove(state, [copy.name for copy in garbage.copies])


def _old_copies(state: Path) -> Iterator[OldCopy]:
    """What is in the store and was not made by the last success of a stage."""
    found = store.copies(state)
    for log in _stages(state) if found else ():
        for number in reversed(log.attempts()):
            result = Attempt(log, number).result()
            if result is not None and result.get("result") == Result.SUCCEEDED.value:
                targets = result.get("targets")
                for mark in targets.values() if isinstance(targets, dict) else ():
                    found.pop(str(mark[3]) if isinstance(mark, list) and len(mark) in (5, 6) else "", None)
                break
    return (OldCopy(name, size) for name, size in sorted(found.items()))


def _stages(state: Path) -> Iterator[StageLog]:
    """All that ever ran, also those that orchestrate.toml does not have any more."""
    for folder in files.find(state / "stages", "*"):
        if files.is_folder(folder):
            log = StageLog(state, unquote(folder.name))
            log.dir = folder  # a long name is a digest there
            yield log


def _old(root: Path, log: StageLog, keep: int, since: float) -> Iterator[OldAttempt]:
    needed = _needed(log, keep, since)
    old = [number for number in log.attempts() if number not in needed and _is_folder(log.dir / str(number))]
    if not old:
        return
    elsewhere = _Elsewhere(root)
    for folder in (*(log.dir / str(number) for number in sorted(needed)), *files.find(log.dir / "kept", "*")):
        for path in _copies(folder):
            elsewhere.add(path.relative_to(folder), path)
    found = []
    for number in reversed(old):  # of several that are the same the newest stays
        folder = log.dir / str(number)
        keeps = [
            Path(name) for name in files.names(folder) if not _OURS.fullmatch(name) and name not in COPIES
        ]
        for path in _copies(folder):
            if not elsewhere.has(path.relative_to(folder), path):
                keeps.append(path.relative_to(folder))
                elsewhere.add(path.relative_to(folder), path)
        kept_bytes = sum(_size(folder / name) for name in keeps)
        found.append(
            OldAttempt(
                log.stage, str(log.dir.relative_to(root)), number, _size(folder) - kept_bytes,
                tuple(sorted(map(str, keeps))), kept_bytes,
            )
        )  # fmt: skip
    yield from reversed(found)


def _needed(log: StageLog, keep: int, since: float) -> set[int]:
    """The attempts of a stage that stay."""
    numbers = log.attempts()
    needed = set(numbers[-keep:])
    sessions: dict[int, object] = {}
    copies: dict[int, object] = {}
    # The newest that did anything: the next attempt may go on from it.
    newest, good = True, False
    for number in reversed(numbers):
        attempt = Attempt(log, number)
        result = attempt.result()
        began = next(attempt.replay(), None)
        sessions[number] = (result or {}).get("session_id")
        copies[number] = began.data.get("copies") if began is not None else None
        succeeded = result is not None and result.get("result") == Result.SUCCEEDED.value
        # Without a result somebody may be at work on it; the last success is what counts, and what prompts quote.
        if newest or result is None or (succeeded and not good) or touched(attempt) >= since:
            needed.add(number)
        good = good or succeeded
        idle = (
            result is not None and result.get("result") == Result.ABORTED.value and not result.get("prompts")
        )
        newest = newest and idle
    for marker in ("open", "done"):
        with contextlib.suppress(OSError, ValueError):
            needed.add(int(files.read_text(log.dir / marker)))
    while (
        True
    ):  # a session that goes on: what it used before is taken off, and what stood there before is compared
        going_on = {sessions.get(number) for number in needed} - {None}
        more = {copies.get(number) for number in needed} - {None}
        added = {number for number in numbers if sessions.get(number) in going_on or number in more} - needed
        if not added:
            return needed
        needed |= added


# -- files


class _Elsewhere:
    """The bytes of a stage's files that are not going, by the files' names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[Path, set[str]] = defaultdict(set)

    def add(self, place: Path, path: Path) -> None:
        """`place`: 'before/…' or 'partial/…'."""
        mark = verify.fingerprint(path) if not path.is_symlink() else None
        if mark is not None:
            self._known[Path(*place.parts[1:])].add(mark[3])

    def has(self, place: Path, path: Path) -> bool:
        if TEMPORARY.fullmatch(path.name):
            return True  # half a copy of another
        mark = verify.fingerprint(path) if not path.is_symlink() else None
        if mark is None:
            return False  # a link, a pipe: who knows what for
        name = Path(*place.parts[1:])
        now = self.root / name
        return (
            mark[1] == 0
            or mark[3] in self._known[name]
            or (not now.is_symlink() and verify.same_bytes(now, mark))
        )


def _copies(folder: Path) -> Iterator[Path]:
    """Whatever lies in the folders of copies of an attempt, but the folders in them."""
    for name in COPIES:
        if (folder / name).is_symlink():
            yield folder / name
            continue
        yield from (path for path in files.find(folder / name, "**/*") if not _is_folder(path))


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISDIR(path.lstat().st_mode)
    return False


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; no link is followed."""
    with contextlib.suppress(OSError):
        if not _is_folder(path):
            return path.lstat().st_size
        return sum(_size(path / name) for name in files.names(path))
    return 0
