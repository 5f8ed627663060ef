"""Process trees: nothing of ours is left, nothing of others' is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dodo_claude.machine import kernel, processes
from dodo_claude.machine.processes import NONCE, Census, Ended, end_tree, lives, ours, run_command
from dodo_claude.text.clean import MAX_OUTPUT

PATIENCE = 30.0


def with_nonce(nonce: str) -> list[int]:
    """Living processes that carry it."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and processes.runs(int(name)) and ours(int(name), nonce):
            found.append(int(name))
    return found


@pytest.fixture(autouse=True, params=["/proc", "psutil"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test asks the kernel in both ways."""
    monkeypatch.setattr(kernel, "HAS_PROC", request.param == "/proc")
    return str(request.param)


@pytest.fixture
def nonce(request: pytest.FixtureRequest) -> Iterator[str]:
    value = f"test-{os.getpid()}-{time.time_ns()}"
    yield value
    left = with_nonce(value)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def run(command: str, tmp_path: Path, nonce: str, timeout: float = PATIENCE, **env: str) -> Ended:
    def wait(pid: int, seconds: float) -> bool:
        fd = os.pidfd_open(pid)
        try:
            import select

            select.select([fd], [], [], seconds)
        finally:
            os.close(fd)
        return False

    return run_command(
        command, cwd=tmp_path, env={"PATH": os.environ["PATH"], **env}, log=tmp_path / "log", timeout=timeout,
        nonce=nonce, wait=wait,
    )  # fmt: skip


def output(tmp_path: Path) -> str:
    return (tmp_path / "log").read_text()


def until(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


STATUSES = {
    "true": 0,
    "exit 7": 7,
    "no-such-program-at-all": 127,
    "kill -9 $$": -9,
    "kill -15 $$": -15,
    "kill -SEGV $$": -11,
    "test -z \"$(cat)\"": 0,  # its standard input is empty, not ours
    "echo a; echo b >&2": 0,
}  # fmt: skip


@pytest.mark.parametrize("command", STATUSES)
def test_status(command: str, tmp_path: Path, nonce: str) -> None:
    assert run(command, tmp_path, nonce) == Ended(STATUSES[command])


def test_output_environment_and_folder(tmp_path: Path, nonce: str) -> None:
    assert (
        run(
            'echo "$A"; echo err >&2; pwd; env | cut -d= -f1 | sort | tr "\\n" " "',
            tmp_path,
            nonce,
            A="$(x) é",
        ).status
        == 0
    )
    lines = output(tmp_path).splitlines()
    assert lines[:3] == ["$(x) é", "err", str(tmp_path)]
    assert (
        {"A", "PATH", NONCE} <= set(lines[3].split()) <= {"A", "PATH", NONCE, "PWD", "OLDPWD", "SHLVL", "_"}
    )
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "hiding",
    ["sleep 1000 &", "setsid sleep 1000 &", "nohup sleep 1000 >/dev/null 2>&1 &", "(trap '' TERM HUP; sleep 1000) &",
     "(setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & wait') &", "env -i sleep 1000 &"],
)  # fmt: skip
def test_what_a_command_leaves_running_is_ended(hiding: str, tmp_path: Path, nonce: str) -> None:
    assert run(f"{hiding}\necho $! > child; exit 3", tmp_path, nonce) == Ended(3)
    assert with_nonce(nonce) == []
    child = int((tmp_path / "child").read_text())
    assert not processes.runs(child)


def test_a_timeout_ends_the_whole_tree(tmp_path: Path, nonce: str) -> None:
    ended = run("echo before; setsid sleep 1000 & sleep 1000", tmp_path, nonce, timeout=0.3)
    assert ended == Ended(-15, "timed out")
    assert output(tmp_path) == "before\n"


def test_interrupted(tmp_path: Path, nonce: str) -> None:
    waits: list[float] = []

    def wait(pid: int, seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    ended = run_command(
        "sleep 1000",
        cwd=tmp_path,
        env=dict(os.environ),
        log=tmp_path / "log",
        timeout=50,
        nonce=nonce,
        wait=wait,
    )
    assert ended == Ended(-15, "interrupted")
    assert len(waits) == 3
    assert 0 < waits[2] <= waits[0] <= 50


@pytest.mark.parametrize("size", [MAX_OUTPUT - 1, MAX_OUTPUT, MAX_OUTPUT + 1, 100_000_000])
def test_output_keeps_head_and_tail(size: int, tmp_path: Path, nonce: str) -> None:
    run(f"printf HEAD; head -c {size - 8} /dev/zero | tr '\\0' x; printf TAIL", tmp_path, nonce)
    data = (tmp_path / "log").read_bytes()
    assert data.startswith(b"HEAD")
    assert data.endswith(b"TAIL")
    if size <= MAX_OUTPUT:
        assert len(data) == size
    else:
        assert f"\n... {size - MAX_OUTPUT} bytes left out ...\n".encode() in data
        assert len(data) <= MAX_OUTPUT + 60


def test_a_command_that_can_not_start_leaves_nothing(tmp_path: Path, nonce: str) -> None:
    with pytest.raises(FileNotFoundError):
        run_command(
            "true", cwd=tmp_path / "missing", env={}, log=tmp_path / "log", timeout=1, nonce=nonce,
            wait=lambda pid, seconds: False,
        )  # fmt: skip


# -- trees


def start(nonce: str, script: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"{script}"],
        env={"PATH": os.environ["PATH"], NONCE: nonce},
        cwd=tmp_path,
        start_new_session=True,
    )
    until(tmp_path / "up")
    return process


def test_end_tree_asks_first(tmp_path: Path, nonce: str) -> None:
    process = start(nonce, "trap 'echo bye > said; exit 0' TERM; touch up; sleep 1000 & wait", tmp_path)
    end_tree(process.pid, nonce, grace=PATIENCE)
    assert process.wait(PATIENCE) == 0
    assert (tmp_path / "said").read_text() == "bye\n"
    assert with_nonce(nonce) == []


def test_end_tree_does_not_ask_for_ever(tmp_path: Path, nonce: str) -> None:
    process = start(
        nonce,
        "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; touch up; sleep 1000' & sleep 1000",
        tmp_path,
    )
    end_tree(process.pid, nonce, grace=0.05)
    # The shell, or first its sleep, of whose end it tells in its own.
    assert process.wait(PATIENCE) in (-9, 128 + 9)
    assert with_nonce(nonce) == []


def test_the_rest_of_a_tree_whose_head_is_gone(tmp_path: Path, nonce: str) -> None:
    process = start(nonce, "setsid sleep 1000 & touch up; exit 0", tmp_path)
    process.wait(PATIENCE)
    assert with_nonce(nonce) != []
    end_tree(process.pid, nonce)
    assert with_nonce(nonce) == []


def test_a_stranger_with_the_same_id_is_left_alone(tmp_path: Path, nonce: str) -> None:
    strangers = [
        subprocess.Popen(["sleep", "1000"], env={**os.environ, NONCE: other}, start_new_session=True)
        for other in ("other", f"{nonce}0", nonce[:-1])
    ]
    for stranger in strangers:
        assert ours(stranger.pid, nonce) is False
        assert not lives(stranger.pid, nonce)
        end_tree(stranger.pid, nonce, grace=0.05)
        assert stranger.poll() is None
    for stranger in strangers:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("pid", [0, 1, -1])
def test_a_damaged_record_hits_nobody(pid: int) -> None:
    """kill(0) means our own group, kill(-1) everybody: in a process of its own, since it would end this one."""
    script = (
        "import os, sys; from dodo_claude.machine.processes import end_tree, lives\n"
        f"os.setsid(); assert not lives({pid}, 'x'); end_tree({pid}, 'x', grace=0.05); print('alive')"
    )
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
    assert child.poll() is None
    child.kill()
    child.wait()


def test_a_look_at_all_processes_fills_no_table_of_pythons(
    nonce: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Interned names of thousands of processes a stage cost each thread 1 MB, kept for the rest of the run."""
    if way != "/proc":
        pytest.skip("psutil does as it likes")
    interned: list[str] = []
    monkeypatch.setattr(sys, "intern", lambda text: interned.append(text) or text)
    end_tree(0, nonce)
    Census().cpu_seconds(nonce, but=0)
    assert not lives(os.getpid(), nonce)
    assert interned == []


@pytest.mark.parametrize("below", [True, False])
def test_what_a_worker_started_knows_it_without_its_environment(nonce: str, below: bool) -> None:
    if processes.below_a_worker():
        pytest.skip("a worker runs the tests")
    ask = "from dodo_claude.machine import processes; print(processes.below_a_worker())"
    shell = 'env -i "$0" -c "$1"; true'  # it stays between the two
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, ask],
        env={**os.environ, **({NONCE: nonce} if below else {})}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{below}\n"


def test_a_census_is_taken_once_for_all_who_ask(
    tmp_path: Path, nonce: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = start(nonce, "touch up; while :; do :; done", tmp_path)
    try:
        deadline = time.monotonic() + PATIENCE
        while Census().cpu_seconds(nonce, but=0) < 0.05:
            assert time.monotonic() < deadline
        assert Census().cpu_seconds(nonce, but=busy.pid) == 0
        looked: list[str] = []
        pids = kernel.pids
        monkeypatch.setattr(kernel, "pids", lambda: looked.append("all") or pids())
        census = Census(seconds=PATIENCE)
        assert census.cpu_seconds(nonce, but=0) == census.cpu_seconds(nonce, but=0) > 0
        assert census.cpu_seconds("another", but=0) == 0
        assert looked == ["all"]
        lasting = Census(seconds=0)
        lasting.cpu_seconds(nonce, but=0)
        lasting.cpu_seconds(nonce, but=0)
        assert len(looked) == 3
    finally:
        end_tree(busy.pid, nonce)
        busy.wait()


def test_lives_knows_a_zombie_and_nobody(tmp_path: Path, nonce: str) -> None:
    process = start(nonce, "touch up; exit 0", tmp_path)
    deadline = time.monotonic() + PATIENCE
    while lives(process.pid, nonce):
        assert time.monotonic() < deadline
    assert os.path.exists(f"/proc/{process.pid}")  # nobody has waited for it yet
    process.wait()
    assert not lives(process.pid, nonce)
    assert not lives(2**22 + 1, nonce)
    assert lives(os.getpid(), nonce) is False
