"""What holds after every round of chaos, as one function: `check`. Changes nothing, starts nothing.

The journals and the process table are asked, not the package: whoever judges must not share a fault with the judged.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.project import Project

# How long a hook that its worker's end left behind may take to end.
LINGER_SECONDS = 1.0
TEMPORARY = ("**/.*.tmp", "**/env-*", "**/paste-*", "**/.probe-*", "**/spool/.[!u]*")
SETTLED = ("succeeded", "failed", "timed out", "aborted")


@dataclass
class Told:
    """What one attempt's journal tells, and its result."""

    number: int
    events: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None

    def first(self, *kinds: str, since: float = 0.0) -> float | None:
        """When the first event of these kinds happened, at `since` or later."""
        return next((e["at"] for e in self.events if e["kind"] in kinds and e["at"] >= since), None)

    def outcome(self) -> str | None:
        found = [event["data"].get("result") for event in self.events if event["kind"] == "outcome"]
        return found[-1] if found else None

    def lives(self) -> list[tuple[float, float | None]]:
        """From when to when it had a worker, as far as it was written down."""
        spans: list[tuple[float, float | None]] = []
        for event in self.events:
            if event["kind"] == "spawned":
                spans.append((event["at"], None))
            elif event["kind"] in ("exited", "outcome") and spans and spans[-1][1] is None:
                spans[-1] = (spans[-1][0], event["at"])
        return spans


def _is_ours(line: bytes) -> bool:
    """Does the beginning of an event name one that no hook told of?"""
    return line.partition(b'"kind": "')[2][:1].islower()


def read_attempt(folder: Path) -> Told:
    told = Told(int(folder.name))
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().split(b"\n") if journal.exists() else [b""]
    for index, line in enumerate(lines):
        if not line:
            continue
        try:
            told.events.append(json.loads(line))
        except ValueError:
            # A kill in mid-write leaves a beginning; whoever writes next ends its line. A hook's event, still in
            # the spool then, comes again whole.
            torn = line.startswith(b'{"at": ') and line.count(b'{"at": ') == 1 and not line.endswith(b"}}")
            again = index == len(lines) - 1 or b'"kind": "' not in line or _is_ours(line)
            if not torn or not (again or lines[index + 1].startswith(line)):
                told.problems.append(f"{journal}:{index + 1}: {line[:80]!r} is no event")
    try:
        told.result = json.loads((folder / "result.json").read_bytes())
    except FileNotFoundError:
        pass
    except ValueError:
        told.problems.append(f"{folder}/result.json: cut")
    return told


def attempts(project: Project) -> dict[str, list[Told]]:
    """All that was ever tried, by stage, oldest first."""
    found = {}
    for stage in (project.root / ".orchestrate").glob("stages/*/"):
        numbers = sorted(
            (path for path in stage.iterdir() if path.name.isdecimal()), key=lambda p: int(p.name)
        )
        found[unquote(stage.name)] = [read_attempt(path) for path in numbers]
    return found


def living(root: Path | None = None) -> dict[str, dict[str, dict[str, list[int]]]]:
    """Every living process that a stage started: project -> stage -> nonce -> process ids."""
    found: dict[str, dict[str, dict[str, list[int]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            environ = Path(f"/proc/{entry}/environ").read_bytes()
            if b"DODO_CLAUDE_NONCE=" not in environ:
                continue
            table = dict(item.partition(b"=")[::2] for item in environ.split(b"\0"))
            state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        place = table.get(b"DODO_CLAUDE_ROOT", b"").decode()
        if state not in "ZX" and (root is None or place == str(root)):
            name, nonce = table.get(b"DODO_CLAUDE_STAGE", b"").decode(), table[b"DODO_CLAUDE_NONCE"].decode()
            found[place][name][nonce].append(int(entry))
    return found


def check(
    project: Project,
    *,
    over: bool,
    settled: bool = False,
    stages: Collection[str] = (),
    since: Mapping[str, int] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> list[str]:
    """What is wrong, a line each.

    `over`: the run ended by itself, so nothing of it may be left. `settled`: it ended for each of `stages` with a
    result, or was not begun because of one it needs. `since`: the attempts before the present definitions;
    of those after, none may follow a success. `files`: the user's, and their bytes.
    """
    told = attempts(project)
    problems = _journals(told) + _doubles(told) + _reruns(told, since or {})
    problems += [
        f"user's file changed: {name}"
        for name, data in (files or {}).items()
        if _bytes(project, name) != data
    ]
    problems += _traces(project)
    if over:
        problems += _left_behind(project)
        problems += [
            f"unsettled: {name} {attempt.number}"
            for name, tries in told.items()
            for attempt in tries
            # Between the two a kill may come; the journal is the one that is written first.
            if ((attempt.result or {}).get("result") or attempt.outcome()) not in SETTLED
            # Cut off before it was begun, it has nothing to tell.
            and (attempt.events or attempt is tries[-1])
        ]
    if settled:
        problems += _unexplained(told, stages, since or {})
    return problems


def came_back(project: Project, stopped: Mapping[str, int]) -> list[str]:
    """Stages that a person stopped, with their last attempt then, of which the same run began another, or which it calls done."""
    told = attempts(project)
    problems = []
    for name, number in stopped.items():
        last = told[name][-1]
        reason = (last.result or {}).get("reason")
        if last.number > number:
            problems.append(f"came back: {name}: {last.number} began after {number} was stopped")
        elif reason != "stopped by you":
            problems.append(f"came back: {name} {number} ended otherwise: {reason}")
    return problems


def _bytes(project: Project, name: str) -> bytes | None:
    try:
        return (project.root / name).read_bytes()
    except OSError:
        return None


def _journals(told: Mapping[str, list[Told]]) -> list[str]:
    return [problem for tries in told.values() for attempt in tries for problem in attempt.problems]


def _doubles(told: Mapping[str, list[Told]]) -> list[str]:
    """Two workers of one stage at once, by what was written down."""
    problems = []
    for name, tries in told.items():
        spans = [(attempt.number, *span) for attempt in tries for span in attempt.lives()]
        for (number, _, end), (later, start, _) in itertools.pairwise(spans):
            if end is None or end > start:
                problems.append(f"two workers: {name}: {later} began before {number} ended")
    return problems


def _reruns(told: Mapping[str, list[Told]], since: Mapping[str, int]) -> list[str]:
    problems = []
    for name, tries in told.items():
        recent = [attempt for attempt in tries if attempt.number > since.get(name, 0)]
        good = [attempt.number for attempt in recent if attempt.outcome() == "succeeded"]
        if good and recent[-1].number > good[0]:
            problems.append(f"rerun: {name} was finished by attempt {good[0]}, and {recent[-1].number} began")
    return problems


def _traces(project: Project) -> list[str]:
    return [
        f"traceback: {path}: {path.read_text()[-400:]}"
        for path in (project.root / ".orchestrate").glob("fault-*.txt")
    ]


def _left_behind(project: Project) -> list[str]:
    state = project.root / ".orchestrate"
    problems = []
    left = _patiently(lambda: living(project.root).get(str(project.root)) or project.processes())
    if left:
        problems.append(f"orphans: {left}")
    orders = [path.name for path in (state / "stops").glob("*")]
    if orders:
        problems.append(f"orphans: orders to stop {orders}")
    sessions = project.sessions()
    if sessions:
        problems.append(f"orphans: tmux sessions {sessions}")
    serving = _patiently(lambda: servers(project))
    if serving:
        problems.append(f"orphans: tmux servers {serving}")
    try:
        lock = os.open(state / "run.lock", os.O_RDWR)
    except FileNotFoundError:
        lock = None
    if lock is not None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            problems.append("run.lock is held")
        os.close(lock)
    for top in (state, *project.runtime.glob("dodo-claude/*/")):
        for pattern in TEMPORARY:
            problems += [
                f"temporary: {path.relative_to(top)}"
                for path in top.glob(pattern)
                if not stat.S_ISDIR(path.lstat().st_mode) and not path.is_relative_to(state / "scripted")
            ]
    return problems


def servers(project: Project) -> list[int]:
    """tmux servers that were started with a socket of ours."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].rpartition(b"/")[2].startswith(b"tmux") and any(
                word.startswith(os.fsencode(project.runtime) + b"/") for word in words
            ):
                found.append(int(entry))
    return found


def _patiently(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LINGER_SECONDS
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _unexplained(
    told: Mapping[str, list[Told]], stages: Collection[str], since: Mapping[str, int]
) -> list[str]:
    """Stages that neither came to an end nor had a reason not to."""
    ends = {}
    for name in stages:
        recent = [attempt for attempt in told.get(name, []) if attempt.number > since.get(name, 0)]
        last = recent[-1] if recent else None
        ends[name] = None if last is None else last.result or {"result": last.outcome()}
    problems = [
        f"unexplained: {name}: {end}"
        for name, end in ends.items()
        if end is not None and end.get("result") != "succeeded" and not end.get("reason")
    ]
    if None in ends.values() and all(
        (end or {}).get("result") in (None, "succeeded") for end in ends.values()
    ):
        problems.append(f"unexplained: never begun: {[name for name, end in ends.items() if end is None]}")
    return problems
