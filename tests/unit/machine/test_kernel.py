"""Both ways to ask the kernel give the same answers, of this process and of one that is gone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dodo_claude.machine import kernel

SLEEP = [sys.executable, "-c", "import sys; sys.stdin.read()", "a word", "(odd) name"]


@pytest.fixture(params=["/proc", "psutil"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(kernel, "HAS_PROC", request.param == "/proc")
    return str(request.param)


def test_what_is_told_of_a_child(way: str) -> None:
    child = subprocess.Popen(SLEEP, stdin=subprocess.PIPE, env={"A": "b=c", "PATH": "/bin"})
    try:
        assert {child.pid, os.getpid()} <= {*kernel.pids()}
        assert kernel.parent(child.pid) == os.getpid()
        assert [word for word in kernel.argv(child.pid) if word] == [os.fsencode(word) for word in SLEEP]
        assert sorted(kernel.environ(child.pid).split(b"\0")) == [b"", b"A=b=c", b"PATH=/bin"]
        assert not kernel.is_zombie(child.pid)
        assert 0 <= kernel.cpu_seconds(child.pid) < 60
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert kernel.is_zombie(child.pid)
    child.communicate()
    for ask in (kernel.parent, kernel.argv, kernel.environ, kernel.is_zombie, kernel.cpu_seconds):
        with pytest.raises(OSError, match="No such"):
            ask(child.pid)


def test_what_has_worked_is_told(way: str) -> None:
    used = kernel.cpu_seconds(os.getpid())
    assert used == pytest.approx(sum(os.times()[:2]), abs=0.1)


def test_the_memory_that_is_left(way: str) -> None:
    left = kernel.available_memory()
    assert left is not None
    assert left > 1_000_000


def test_a_machine_with_proc_imports_no_psutil() -> None:
    ask = "import sys; from dodo_claude.machine import processes; processes.below_a_worker(); print('psutil' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout == f"{not kernel.HAS_PROC}\n"
