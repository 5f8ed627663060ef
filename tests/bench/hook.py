"""hook: what one event costs the client that waits for it, beside the start of a program that does nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from dodo_claude.machine.files import make_state_dir
from dodo_claude.run.run import HOOK
from dodo_claude.state.journal import StageLog
from tests.bench.frame import Figure, Found, in_turn, milliseconds, ratio, spread
from tests.bench.lab import Lab
from tests.bench.tools import on_path

NAME = "hook"
TITLE = (
    "One hook event, from the start of hook.sh to its exit, with a run that listens. The event comes by a pipe. `fork`: "
    "fork and exec of `true` in the same way; `cat`: `sh -c 'cat >FILE'`. What the client itself does about it is left out."
)
AT_ONCE = 50
LARGE = 100_000  # bytes of an event
_F_SETPIPE_SZ = 1031
# Listens to the folder that it is given, as a run does: a process of its own, which the client is not.
RUN = """
import sys
from pathlib import Path
from dodo_claude.machine.watch import Watcher
watcher = Watcher()
watcher.register("ring")
watcher.watch_folder("ring", Path(sys.argv[1]))
print(flush=True)
sys.stdin.read()
"""


class Listener:
    """An attempt, and a run that listens to its bell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.attempt = StageLog(make_state_dir(folder), "stage").begin()
        for name in ("new", "taken"):
            (folder / "mail" / name).mkdir(parents=True)
        self.run = subprocess.Popen(
            [sys.executable, "-c", RUN, str(self.attempt.spool)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.run.stdout is not None
        self.run.stdout.readline()

    def close(self) -> None:
        self.run.communicate()

    @property
    def hook(self) -> list[str]:
        return ["/bin/sh", str(HOOK), str(self.attempt.spool)]

    @property
    def mail_hook(self) -> list[str]:
        """That of an event that takes messages along, of which there are none."""
        return [*self.hook, "mail", str(self.folder / "mail"), "Stop"]


def event(size: int, number: int = 0) -> bytes:
    """A tool's call of so many bytes."""
    empty = {"hook_event_name": "PreToolUse", "session_id": f"{number:036}", "tool_input": {"content": ""}}
    empty["tool_input"] = {"content": "x" * (size - len(json.dumps(empty)))}
    return json.dumps(empty).encode()


def start(argv: Sequence[str], data: bytes = b"") -> int:
    """Start a program that finds `data` on its standard input; its process id."""
    read, write = os.pipe()
    if len(data) > 1 << 16:
        import fcntl

        fcntl.fcntl(write, _F_SETPIPE_SZ, 1 << 18)  # so that nobody need write while it is timed
    os.write(write, data)
    os.close(write)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        actions = [
            (os.POSIX_SPAWN_DUP2, read, 0),
            (os.POSIX_SPAWN_DUP2, null, 1),
            (os.POSIX_SPAWN_CLOSE, read),
        ]
        return os.posix_spawn(argv[0], list(argv), os.environ, file_actions=actions)
    finally:
        os.close(read)
        os.close(null)


def timed(argv: Sequence[str], data: bytes = b"") -> tuple[float, float]:
    """Seconds until such a program has ended, and of CPU that it and those that it waited for took."""
    before = time.perf_counter()
    _, _, usage = os.wait4(start(argv, data), 0)
    return time.perf_counter() - before, usage.ru_utime + usage.ru_stime


def together(argv: Sequence[str], sent: Sequence[bytes]) -> float:
    """Seconds until as many such programs, started at once, have all ended."""
    before = time.perf_counter()
    for pid in [start(argv, data) for data in sent]:
        os.waitpid(pid, 0)
    return time.perf_counter() - before


def run(lab: Lab) -> Iterator[Found]:
    listener = Listener(lab.folder("hook"))
    small, large = event(400), event(LARGE)
    fork = [str(on_path("true"))]
    cat = ["/bin/sh", "-c", f"cat >{listener.folder}/file"]

    cpu: dict[str, list[float]] = {}

    def one(name: str, argv: Sequence[str], data: bytes = b"") -> float:
        took, used = timed(argv, data)
        cpu.setdefault(name, []).append(used)
        listener.attempt.collect()
        return took

    programs = {
        "fork": (fork, b""),
        "small": (listener.hook, small),
        "small, takes messages along": (listener.mail_hook, small),
        "100 KB": (listener.hook, large),
        "cat of 100 KB": (cat, large),
    }
    try:
        takers = {name: partial(one, name, argv, data) for name, (argv, data) in programs.items()}
        found = in_turn(lab.rounds(200, 5), takers, warm=3)
        yield from (milliseconds(f"{NAME}/{name}", values) for name, values in found.items())
        yield ratio(f"{NAME}/small/of fork", found["small"], found["fork"])
        yield ratio(f"{NAME}/small/of fork, CPU", cpu["small"], cpu["fork"])
        yield ratio(
            f"{NAME}/small, takes messages along/of fork", found["small, takes messages along"], found["fork"]
        )
        yield from _at_once(lab, listener)
    finally:
        listener.close()


def _at_once(lab: Lab, listener: Listener) -> Iterator[Found]:
    sent = [event(400 + 1000 * number, number) for number in range(AT_ONCE)]
    whole: list[float] = []

    def hooks() -> float:
        took = together(listener.hook, sent)
        # What is torn is no JSON, and is set aside.
        arrived = {event.data["session_id"] for event in listener.attempt.collect()}
        whole.append(len(arrived))
        return took / AT_ONCE

    found = in_turn(
        lab.rounds(15),
        {"hooks": hooks, "forks": lambda: together([str(on_path("true"))], [b""] * AT_ONCE) / AT_ONCE},
    )
    yield milliseconds(f"{NAME}/{AT_ONCE} at once/each", found["hooks"], "of different sizes up to 50 KB")
    yield ratio(f"{NAME}/{AT_ONCE} at once/of fork", found["hooks"], found["forks"])
    least = spread([min(whole)])  # one round in which an event is lost is one too many
    yield Figure(f"{NAME}/{AT_ONCE} at once/whole", "", least, f"the least of {len(whole)} rounds")
