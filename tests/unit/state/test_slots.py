"""Slots over threads and processes: never more holders than slots, none lost, none that waits for itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dodo_claude.state.slots import DEEPEST, VARIABLE, Slots
from dodo_claude.text.errors import DodoClaudeError

# Long enough for a loaded machine; nothing here waits that long when all is well.
PATIENCE = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "slots: of\na run"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test starts end with it."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def start(running: list[subprocess.Popen[str]], code: str, *args: str, **env: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | env,
    )
    running.append(process)
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


HOLD = """
import sys
from pathlib import Path
from dodo_claude.state.slots import Slots
slots = Slots(Path(sys.argv[1]), int(sys.argv[2]))
held = [slots.take(10) for _ in range(int(sys.argv[3]))]
print(*[slot.name for slot in held], flush=True)
sys.stdin.read()
"""


def test_as_many_as_there_are(folder: Path) -> None:
    slots = Slots(folder, 3)
    held = [slots.take(0) for _ in range(4)]
    assert [slot.name if slot else None for slot in held] == ["0", "1", "2", None]
    assert held[1] is not None
    held[1].release()
    held[1].release()
    again = slots.take(0)
    assert again is not None
    assert again.name == "1"
    held[1].release()  # the old one is none any more
    assert slots.take(0) is None


def test_two_runs_of_one_process_share_them(folder: Path) -> None:
    first, second = Slots(folder, 1), Slots(folder, 1)
    with first.take(0) or pytest.fail("none free"):
        assert second.take(0) is None
    assert second.take(0) is not None


def test_a_wait_ends_when_its_time_is_over_or_it_is_given_up(folder: Path) -> None:
    slots = Slots(folder, 1)
    held = slots.take()
    asked: list[object] = []
    assert slots.take(0.1, lambda: asked.append(None)) is None
    assert asked  # it was not at once
    stopping = threading.Event()
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(slots.take(None, stopping.is_set)))
    waiting.start()
    stopping.set()
    slots.wake()
    waiting.join(PATIENCE)
    assert found == [None]
    assert held is not None


def test_threads_never_hold_more_than_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dodo_claude.state.slots.LOOK_SECONDS", 1e6)  # they are told of each end
    slots = Slots(folder, 3)
    lock, now, most = threading.Lock(), [0], [0]

    def work() -> None:
        for _ in range(20):
            slot = slots.take()
            assert slot is not None
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.001)
            with lock:
                now[0] -= 1
            slot.release()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert most == [3]
    assert now == [0]
    assert not any(thread.is_alive() for thread in threads)


def test_a_waiting_stage_sleeps(folder: Path, running: list[subprocess.Popen[str]]) -> None:
    holder = start(running, HOLD, str(folder), "1", "1")
    assert said(holder) == "0"
    slots = Slots(folder, 1)
    asked: list[float] = []
    assert slots.take(1.1, lambda: asked.append(time.monotonic())) is None
    assert len(asked) <= 6


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_slots_die_with_their_holder(
    folder: Path, running: list[subprocess.Popen[str]], how: signal.Signals | None
) -> None:
    holder = start(running, HOLD, str(folder), "2", "2")
    assert said(holder) == "0 1"
    slots = Slots(folder, 2)
    assert slots.take(0) is None
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(slots.take(PATIENCE)))
    waiting.start()
    if how is None:
        assert holder.stdin is not None
        holder.stdin.close()
    else:
        holder.send_signal(how)
    waiting.join(PATIENCE)
    assert found[0] is not None
    holder.wait()
    assert slots.take(0) is not None


FORKED = """
import os, sys
from pathlib import Path
from dodo_claude.state.slots import Slots
slot = Slots(Path(sys.argv[1]), 1).take(0)
if os.fork() == 0:  # without exec: the file stays open here
    sys.stdin.read()
    os._exit(0)
slot.release()
print("released", flush=True)
os.wait()
"""


def test_a_child_that_outlives_the_stage_holds_nothing(
    folder: Path, running: list[subprocess.Popen[str]]
) -> None:
    process = start(running, FORKED, str(folder))
    assert said(process) == "released"
    assert Slots(folder, 1).take(0) is not None
    process.communicate(timeout=PATIENCE)


COUNTED = """
import os, sys, time
from pathlib import Path
from dodo_claude.state.slots import Slots
folder, log = Path(sys.argv[1]), sys.argv[2]
slots = Slots(folder, 2)
fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for _ in range(15):
    with slots.take(20):
        os.write(fd, b"+")
        time.sleep(0.002)
        os.write(fd, b"-")
"""


def test_processes_never_hold_more_than_there_are(
    folder: Path, tmp_path: Path, running: list[subprocess.Popen[str]]
) -> None:
    log = tmp_path / "log"
    for process in [start(running, COUNTED, str(folder), str(log)) for _ in range(4)]:
        assert process.wait(PATIENCE) == 0
    now, most = 0, 0
    for sign in log.read_text():
        now += 1 if sign == "+" else -1
        most = max(most, now)
    assert (now, most) == (0, 2)
    assert len(log.read_text()) == 4 * 15 * 2


# Runs in runs.

NESTED = """
import os, subprocess, sys
from pathlib import Path
from dodo_claude.state.slots import Slots
deep = int(sys.argv[1])
slots = Slots.of_parent(os.environ)
for _ in range(2):  # one stage after the other, each with a run in it
    with slots.take(20) as slot:
        print(slot.name, flush=True)
        if deep:
            subprocess.run([sys.executable, "-c", os.environ["CODE"], str(deep - 1)],
                           env=os.environ | slot.environ, check=True)
"""


def test_a_run_in_a_run_in_a_run_on_one_slot(folder: Path, running: list[subprocess.Popen[str]]) -> None:
    slot = Slots(folder, 1).take(0)
    assert slot is not None
    process = start(running, NESTED, "2", CODE=NESTED, **slot.environ)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    one = ["0.sub", *["0.sub.sub", *["0.sub.sub.sub"] * 2] * 2]
    assert out.split() == one * 2


def test_a_nested_run_uses_what_is_free_besides_and_gives_it_back(folder: Path) -> None:
    parent = Slots(folder, 3)
    held = [parent.take(0), parent.take(0)]
    assert held[1] is not None
    nested = Slots.of_parent(held[1].environ)
    assert nested is not None
    taken = [nested.take(0) for _ in range(3)]
    assert [slot.name if slot else None for slot in taken] == ["1.sub", "2", None]
    assert parent.take(0) is None
    assert taken[1] is not None
    taken[1].release()
    assert parent.take(0) is not None


def test_two_runs_of_one_worker_share_its_place(folder: Path) -> None:
    slot = Slots(folder, 1).take(0)
    assert slot is not None
    first, second = Slots.of_parent(slot.environ), Slots.of_parent(slot.environ)
    assert first is not None
    assert second is not None
    held = first.take(0)
    assert held is not None
    assert second.take(0) is None
    held.release()
    assert second.take(0) is not None


def test_outside_of_any_run_and_after_its_end_there_is_no_parent(tmp_path: Path) -> None:
    assert Slots.of_parent({}) is None
    assert Slots.of_parent({VARIABLE: ""}) is None
    assert Slots.of_parent({VARIABLE: f"{tmp_path}/gone:4:0"}) is None


@pytest.mark.parametrize(
    "value",
    [
        "x",
        "slots:4:0",
        "/slots:4",
        "/slots:0:0",
        "/slots:999:0",
        "/slots:4:../0",
        "/slots:4:0.sub/x",
        "/a\0:4:0",
    ],
)
def test_a_value_that_is_none_of_ours(value: str) -> None:
    with pytest.raises(DodoClaudeError, match="is none of ours"):
        Slots.of_parent({VARIABLE: value})


def test_a_folder_that_others_may_write_to(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    for name in ("open", "link", "file"):
        with pytest.raises(DodoClaudeError, match="is not a folder that only you may write to"):
            Slots.of_parent({VARIABLE: f"{tmp_path}/{name}:4:0"})


def test_runs_that_start_each_other_for_ever(folder: Path) -> None:
    with pytest.raises(DodoClaudeError, match="8 deep: they start each other"):
        Slots.of_parent({VARIABLE: f"{folder}:4:0{'.sub' * DEEPEST}"})


def test_a_link_in_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Slots(folder, 1).take(0)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Slots(tmp_path / "gone", 1).take(0)


def test_no_file_stays_open(folder: Path) -> None:
    slots = Slots(folder, 2)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(50):
        with slots.take(0) or pytest.fail("none free"), slots.take(0) or pytest.fail("none free"):
            assert Slots(folder, 2).take(0) is None
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
