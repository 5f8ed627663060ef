"""hook: what one event costs the client that waits for it, beside the start of a program that does nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dodo_claude.run import HOOK
from dodo_claude.watch import Watcher, make_bell
from tests.bench.frame import Figure, Found, in_turn, milliseconds, ratio, spread
from tests.bench.lab import Lab

NAME = "hook"
TITLE = (
    "One hook event, from the start of hook.sh to its exit, with a run that listens. The event comes by a pipe. `fork`: "
    "fork and exec of `true` in the same way; `cat`: `sh -c 'cat >FILE'`. What the client itself does about it is left out."
)
AT_ONCE = 50
LARGE = 100_000  # bytes of an event
_F_SETPIPE_SZ = 1031


class Spool:
    """An attempt's spool with a run that listens to its bell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("tmp", "new"):
            (folder / "spool" / name).mkdir(parents=True)
        (folder / "mail" / "new").mkdir(parents=True)
        self.bell = make_bell(folder)
        self.watcher = Watcher(self.bell)
        self.awake = self.watcher.register("ring")

    @property
    def hook(self) -> list[str]:
        return ["/bin/sh", str(HOOK), str(self.folder / "spool"), str(self.bell), "ring"]

    @property
    def mail_hook(self) -> list[str]:
        """That of an event that takes messages along, of which there are none."""
        return [*self.hook, "mail", str(self.folder / "mail"), "Stop"]

    def take(self) -> list[bytes]:
        """What arrived, which is then gone."""
        found = []
        for path in (self.folder / "spool" / "new").iterdir():
            found.append(path.read_bytes())
            path.unlink()
        return found


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


def timed(argv: Sequence[str], data: bytes = b"", times: int = 1) -> float:
    """Seconds until all of `times` such programs, started at once, have ended."""
    before = time.perf_counter()
    for pid in [start(argv, data) for _ in range(times)]:
        os.waitpid(pid, 0)
    return time.perf_counter() - before


def run(lab: Lab) -> Iterator[Found]:
    spool = Spool(lab.folder("hook"))
    small, large = event(400), event(LARGE)
    fork = ["/bin/true"]
    cat = ["/bin/sh", "-c", f"cat >{spool.folder}/file"]

    def one(argv: Sequence[str], data: bytes = b"") -> float:
        took = timed(argv, data)
        spool.take()
        return took

    try:
        found = in_turn(
            lab.rounds(200, 5),
            {
                "fork": lambda: one(fork),
                "small": lambda: one(spool.hook, small),
                "small, takes messages along": lambda: one(spool.mail_hook, small),
                "100 KB": lambda: one(spool.hook, large),
                "cat of 100 KB": lambda: one(cat, large),
            },
            warm=3,
        )
        yield from (milliseconds(f"{NAME}/{name}", values) for name, values in found.items())
        yield ratio(f"{NAME}/small/of fork", found["small"], found["fork"])
        yield ratio(
            f"{NAME}/small, takes messages along/of fork", found["small, takes messages along"], found["fork"]
        )
        yield from _at_once(lab, spool)
    finally:
        spool.watcher.close()


def _at_once(lab: Lab, spool: Spool) -> Iterator[Found]:
    sent = [event(400 + 1000 * number, number) for number in range(AT_ONCE)]
    whole: list[float] = []

    def hooks() -> float:
        before = time.perf_counter()
        for pid in [start(spool.hook, data) for data in sent]:
            os.waitpid(pid, 0)
        took = time.perf_counter() - before
        arrived = spool.take()
        whole.append(sum(data in arrived for data in sent))
        return took / AT_ONCE

    found = in_turn(
        lab.rounds(15),
        {"hooks": hooks, "forks": lambda: timed(["/bin/true"], times=AT_ONCE) / AT_ONCE},
    )
    yield milliseconds(f"{NAME}/{AT_ONCE} at once/each", found["hooks"], "of different sizes up to 50 KB")
    yield ratio(f"{NAME}/{AT_ONCE} at once/of fork", found["hooks"], found["forks"])
    yield Figure(
        f"{NAME}/{AT_ONCE} at once/whole", "", spread(whole), f"of {AT_ONCE}, at the least {min(whole):g}"
    )
