"""Starting the user's commands and ending whole process trees, ours only.

A process is ours when its environment carries the attempt's nonce: that holds for children that left
their process group or session, and never for a stranger that got the same process id later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

NONCE = "DODO_CLAUDE_NONCE"
# How long a tree gets to end after SIGTERM before SIGKILL. The client needs some 0.1 s.
GRACE_SECONDS = 5.0
# How often the end of a tree is looked at. There is no event for "the last of these is gone".
_LOOK_SECONDS = 0.02
MAX_OUTPUT = 1_000_000  # bytes kept of a command's output: the first and the last half


@dataclass(frozen=True, slots=True)
class Ended:
    """A command's end: `status` (minus a signal's number), or why we ended it."""

    status: int
    stopped: str = ""  # '', 'timed out' or 'interrupted'


def run_command(
    command: str,
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    timeout: float,
    nonce: str,
    wait: Callable[[int, float], bool],
) -> Ended:
    """Run `command` by /bin/sh in a group of its own, its output to the file `log`.

    `wait(pid, seconds)` returns when something happened or the seconds are over; True: give up. Nothing
    that the command started outlives it: what is left of its tree is killed when it ends.
    """
    deadline = time.monotonic() + timeout
    with log.open("wb") as output:
        os.fchmod(output.fileno(), 0o600)
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=cwd,
            env={**env, NONCE: nonce},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stopped = ""
        while process.poll() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                stopped = "timed out"
            elif wait(process.pid, left):
                stopped = "interrupted"
            if stopped:
                end_tree(process.pid, nonce)
                break
        status = process.wait()
    _kill_rest(process.pid, nonce)
    _cap(log)
    return Ended(status, stopped)


def end_tree(pid: int, nonce: str, grace: float = GRACE_SECONDS) -> None:
    """SIGTERM, then SIGKILL, to the group and session led by `pid` and to all that carry `nonce`."""
    if pid > 1 and ours(pid, nonce) is not False:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while _lives(pid) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
    _kill_rest(pid, nonce)


def _kill_rest(pid: int, nonce: str) -> None:
    for other in _tree(pid, nonce):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(other, signal.SIGKILL)


def ours(pid: int, nonce: str) -> bool | None:
    """Does process `pid` carry `nonce`? None where that can't be seen (no /proc, or it is gone)."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    return f"{NONCE}={nonce}".encode() in environ.split(b"\0") if environ else None


def lives(pid: int, nonce: str) -> bool:
    """Is `pid` a living process of that attempt? 0, which a damaged journal gives, is our own group."""
    return pid > 1 and _lives(pid) and ours(pid, nonce) is not False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # a zombie has ended; its parent just has not looked
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _tree(leader: int, nonce: str) -> list[int]:
    """Living processes that carry `nonce`, wherever they hide, or belong to the leader's session."""
    found = []
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:
        return [-leader] if leader > 1 and _group_lives(leader) else []
    # A stranger that got the leader's id later may lead a session, too.
    sessions = {leader} if leader > 1 and ours(leader, nonce) is not False else set()
    for pid in pids:
        if pid != os.getpid() and (ours(pid, nonce) or _session(pid) in sessions):
            found.append(pid)
    return found


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _group_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _cap(log: Path) -> None:
    """Keep the head and the tail of an output that got too long."""
    size = log.stat().st_size
    if size <= MAX_OUTPUT:
        return
    half = MAX_OUTPUT // 2
    with log.open("rb+") as stream:
        head = stream.read(half)
        stream.seek(size - half)
        tail = stream.read()
        stream.seek(0)
        stream.write(head + f"\n... {size - MAX_OUTPUT} bytes left out ...\n".encode() + tail)
        stream.truncate()
