"""What the kernel tells of processes, and of the memory that is left. Owns where that is read.

By /proc where there is one: a look at the environments of 140 processes takes 1 ms so and 5 by psutil, and there are two
for each stage. Elsewhere (macOS) by psutil, which is imported then only. What can't be seen raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

HAS_PROC = os.path.isdir("/proc/self")


def pids() -> list[int]:
    """The ids of all processes."""
    if HAS_PROC:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    import psutil

    return psutil.pids()


def environ(pid: int) -> bytes:
    """With which environment it was started: `NAME=value`, each ended by a NUL."""
    if HAS_PROC:
        return _read(pid, "environ")
    with _seen(pid) as process:
        return b"".join(os.fsencode(f"{name}={value}\0") for name, value in process.environ().items())


def argv(pid: int) -> list[bytes]:
    """The words it was started with."""
    if HAS_PROC:
        return _read(pid, "cmdline").split(b"\0")
    with _seen(pid) as process:
        return [os.fsencode(word) for word in process.cmdline()]


def parent(pid: int) -> int:
    """The id of the process that it is a child of."""
    if HAS_PROC:
        return int(_status(pid)[1])
    with _seen(pid) as process:
        return process.ppid()


def is_zombie(pid: int) -> bool:
    """Has it ended, and its parent just has not looked?"""
    if HAS_PROC:
        return _status(pid)[0] == b"Z"
    import psutil

    with _seen(pid) as process:
        return process.status() == psutil.STATUS_ZOMBIE


def cpu_seconds(pid: int) -> float:
    """How long it has used a processor, itself and in the kernel."""
    if HAS_PROC:
        fields = _status(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime
    with _seen(pid) as process:
        times = process.cpu_times()
        return times.user + times.system


def available_memory() -> int | None:
    """Bytes that new processes can have without swapping; None where that is not told."""
    if not HAS_PROC:
        import psutil

        return psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _status(pid: int) -> list[bytes]:
    """What stands in /proc/PID/stat behind the name, which may hold blanks and brackets: state, parent, …"""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    if len(fields) < 13:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return fields


def _read(pid: int, name: str) -> bytes:
    """A file of /proc. By no `Path`, which interns the parts of its name: a stage asks about thousands, and Python
    then makes its table of interned strings (1 MB) anew every 50 stages, in whichever thread it is."""
    fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while chunk := os.read(fd, 65_536):
            data += chunk
        return data
    finally:
        os.close(fd)


@contextlib.contextmanager
def _seen(pid: int) -> Iterator[psutil.Process]:
    import psutil

    try:
        yield psutil.Process(pid)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
    except psutil.AccessDenied:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from None
