"""Starting the user's commands and ending whole process trees, ours only.

A process is ours when its environment carries the attempt's nonce: that holds for children that left
their process group or session, and never for a stranger that got the same process id later.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dodo_claude.machine import files, kernel
from dodo_claude.text.clean import MAX_OUTPUT, left_out
from dodo_claude.text.redact import NOTHING, Redactor

NONCE = "DODO_CLAUDE_NONCE"
# How long a tree gets to end after SIGTERM before SIGKILL. The client needs some 0.1 s.
GRACE_SECONDS = 5.0
# How often the end of a tree is looked at. There is no event for "the last of these is gone".
_LOOK_SECONDS = 0.02
# How old what was counted of all processes may be.
CENSUS_SECONDS = 20.0
# Longer than an exec takes.
_EXEC_SECONDS = 0.002
# A line is waited for up to this length, so that no secret in it is cut in two.
MAX_LINE = 65_536


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
    redact: Redactor = NOTHING,
    hurry: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run `command` by /bin/sh in a group of its own, its output, without secrets, to the file `log`.

    `wait(pid, seconds)` returns when something happened or the seconds are over; True: give up. Nothing
    that the command started outlives it: what is left of its tree is killed when it ends.
    """
    deadline = time.monotonic() + timeout
    with _naming(log), os.fdopen(files.open_file(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=cwd,
            env={**env, NONCE: nonce},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        pump = _Pump(process.stdout, output, redact)
        stopped = ""
        try:
            while process.poll() is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    stopped = "timed out"
                elif wait(process.pid, left):
                    stopped = "interrupted"
                if stopped:
                    end_tree(process.pid, nonce, hurry=hurry)
                    break
            status = process.wait()
        finally:
            _kill_rest(process.pid, nonce)
            process.wait()
            pump.join(GRACE_SECONDS)  # a stranger that holds the pipe must not hold us
        pump.end()
    return Ended(status, stopped)


@contextlib.contextmanager
def _naming(log: Path) -> Iterator[None]:
    """Let an error of writing say to which file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(log)
        raise


class _Pump(threading.Thread):
    """Carries a command's output to its log: secrets taken out, the middle of too much left out."""

    def __init__(self, source: IO[bytes], target: IO[bytes], redact: Redactor) -> None:
        super().__init__(name="dodo-claude-pump", daemon=True)
        self._source, self._target, self._redact = source, target, redact
        self._written = 0
        self._tail = b""
        self._left_out = 0
        self._error: OSError | None = None
        self.start()

    def run(self) -> None:
        pending = b""
        while chunk := self._source.read1(65536):  # type: ignore[attr-defined]  # a BufferedReader
            pending += chunk
            cut = self._safe(pending)
            self._put(pending[:cut])
            pending = pending[cut:]
        self._put(pending)
        self._source.close()

    def _safe(self, pending: bytes) -> int:
        """How much of `pending` can go: whole lines, no key that has begun and not ended."""
        cut = pending.rfind(b"\n") + 1
        key = pending.rfind(b"-----BEGIN ", 0, cut)
        if key >= 0 and b"-----END " not in pending[key:]:
            cut = key
        # A line without an end, or a key without one, is not waited for endlessly.
        return cut if len(pending) - cut < MAX_LINE else len(pending) - self._redact.longest

    def _put(self, data: bytes) -> None:
        if not data or self._error is not None:
            return  # what can't be written is still read: the command must not hang on a full disk
        data = self._redact.text(data.decode("utf-8", "replace")).encode()
        room = MAX_OUTPUT // 2 - self._written
        try:
            self._target.write(data[: max(0, room)])
            self._target.flush()
        except OSError as error:
            self._error = error
        self._written += len(data)
        if room < len(data):
            rest = self._tail + data[max(0, room) :]
            self._left_out += max(0, len(rest) - MAX_OUTPUT // 2)
            self._tail = rest[-(MAX_OUTPUT // 2) :]

    def end(self) -> None:
        """Write the tail. Raises the `OSError` that writing met."""
        if self._error is not None:
            raise self._error
        if self._left_out:
            self._target.write(left_out(self._left_out))
        self._target.write(self._tail)


class Census:
    """What all processes that carry a nonce have used of the CPU, looked up for all who ask at once: to go through
    all of them for each of a hundred silent workers would cost more than all else that is done for them."""

    def __init__(self, seconds: float = CENSUS_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._used: dict[bytes, dict[int, float]] = {}  # nonce -> process id -> seconds

    def cpu_seconds(self, nonce: str, but: int) -> float:
        """CPU time of the living processes that carry `nonce`, without process `but`, some seconds ago at most."""
        with self._lock:
            if time.monotonic() - self._at >= self._seconds:
                self._used = _cpu_seconds()
                self._at = time.monotonic()
            return sum(seconds for pid, seconds in self._used.get(nonce.encode(), {}).items() if pid != but)


def _cpu_seconds() -> dict[bytes, dict[int, float]]:
    used: dict[bytes, dict[int, float]] = {}
    for pid in kernel.pids():
        with contextlib.suppress(OSError, ValueError):
            _, mark, rest = (b"\0" + kernel.environ(pid)).partition(f"\0{NONCE}=".encode())
            if mark:
                used.setdefault(rest.partition(b"\0")[0], {})[pid] = kernel.cpu_seconds(pid)
    return used


def end_tree(
    pid: int, nonce: str, grace: float = GRACE_SECONDS, hurry: Callable[[], bool] = lambda: False
) -> None:
    """SIGTERM, then SIGKILL, to the group and session led by `pid` and to all that carry `nonce`.

    SIGKILL comes after `grace` seconds, or as soon as `hurry` says so.
    """
    if pid > 1 and ours(pid, nonce) is not False:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGTERM)
        _wait_for_end(pid, grace, hurry)
    _kill_rest(pid, nonce)


def _wait_for_end(pid: int, seconds: float, hurry: Callable[[], bool]) -> None:
    """Until `pid` has ended, or the seconds are over, or `hurry` says so."""
    deadline = time.monotonic() + seconds
    ended: select.poll | None = None
    pidfd = -1
    with contextlib.suppress(AttributeError, OSError):  # no pidfd here (macOS), or it is gone
        pidfd = os.pidfd_open(pid)
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
    try:
        while runs(pid) and time.monotonic() < deadline and not hurry():
            if ended is not None:
                ended.poll(_LOOK_SECONDS * 1000)
            else:
                time.sleep(_LOOK_SECONDS)
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _kill_rest(pid: int, nonce: str) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    quiet = 0
    # Looked for until two looks find none: one may have forked since it was looked for, and in the middle
    # of an exec a process shows no environment.
    while quiet < 2 and time.monotonic() < deadline:
        found = _tree(pid, nonce)
        for other in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(other, signal.SIGKILL)
        quiet = 0 if found else quiet + 1
        if quiet < 2:
            time.sleep(_EXEC_SECONDS)


def nonce_of(pid: int) -> str | None:
    """The nonce that process `pid` carries. None where it has none, or that can't be seen."""
    with contextlib.suppress(OSError):
        for entry in kernel.environ(pid).split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == NONCE.encode():
                return value.decode("utf-8", "replace")
    return None


def below_a_worker() -> bool:
    """Did a worker start this process, or what started it? What it may have taken out of its environment, that still has."""
    pid = os.getpid()
    with contextlib.suppress(OSError, ValueError):
        while pid > 1:
            if nonce_of(pid) is not None:
                return True
            pid = kernel.parent(pid)
    return False


def ours(pid: int, nonce: str) -> bool | None:
    """Does process `pid` carry `nonce`? None where that can't be seen, or it is gone."""
    try:
        environ = kernel.environ(pid)
    except OSError:
        return None
    return _carries(environ, f"{NONCE}={nonce}".encode()) if environ else None


def _carries(environ: bytes, mark: bytes) -> bool:
    return mark in environ and mark in environ.split(b"\0")


def lives(pid: int, nonce: str) -> bool:
    """Is `pid` a living process of that attempt? 0, which a damaged journal gives, is our own group."""
    return pid > 1 and runs(pid) and ours(pid, nonce) is not False


def has_word(pid: int, word: str) -> bool:
    """Was process `pid` started with that word? False where nobody can tell."""
    with contextlib.suppress(OSError):
        return pid > 0 and os.fsencode(word) in kernel.argv(pid)
    return False


def runs(pid: int) -> bool:
    """Is there a process of that number that has not ended?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # a zombie has ended; its parent just has not looked
        return not kernel.is_zombie(pid)
    return True


def _tree(leader: int, nonce: str) -> list[int]:
    """Living processes that carry `nonce`, wherever they hide, or belong to the leader's session."""
    found = []
    # A stranger that got the leader's id later may lead a session, too.
    sessions = {leader} if leader > 1 and ours(leader, nonce) is not False else set()
    own, mark = os.getpid(), f"{NONCE}={nonce}".encode()
    for pid in kernel.pids():  # of which there are hundreds, and this is done twice for each stage
        try:
            mine = _carries(kernel.environ(pid), mark)
        except OSError:
            mine = False
        mine = mine or (bool(sessions) and _session(pid) in sessions)
        if mine and pid != own and runs(pid):  # a zombie keeps its session until its parent has looked
            found.append(pid)
    return found


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0
