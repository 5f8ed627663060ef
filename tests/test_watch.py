"""The waiting thread: it wakes the right one, on every ring, and nobody otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dodo_claude import watch
from dodo_claude.watch import Watcher, make_bell, runtime_dir

# How long anything may take that must happen; far above what it takes.
PATIENCE = 20.0


@pytest.fixture
def bell(tmp_path: Path) -> Path:
    return make_bell(tmp_path)


@pytest.fixture
def watcher(bell: Path) -> Iterator[Watcher]:
    made = Watcher(bell)
    yield made
    if made._thread.is_alive():
        made.close()


def ring(bell: Path, data: bytes) -> None:
    fd = os.open(bell, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def flush(bell: Path, watcher: Watcher) -> None:
    """Come back when all that was rung before has been heard."""
    event = watcher.register("flush")
    ring(bell, b"\nflush\n")
    assert event.wait(PATIENCE)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"])


# -- rings


def test_a_ring_wakes_its_own_event_only(bell: Path, watcher: Watcher) -> None:
    one, other = watcher.register("one"), watcher.register("other")
    ring(bell, b"one\n")
    assert one.wait(PATIENCE)
    flush(bell, watcher)
    assert not other.is_set()


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"\n\n\n",
        b"nobody\n",
        b"\xff\xfe\0\n",
        b"on",
        b"x" * 3000,
        b"x" * 3000 + b"\n",
        b"one \n One\n",
        b"one\r\n",
    ],
    ids=lambda noise: repr(noise[:10]),
)
def test_noise_wakes_nobody_and_hides_no_ring(bell: Path, watcher: Watcher, noise: bytes) -> None:
    event = watcher.register("one")
    ring(bell, noise + b"\n")
    flush(bell, watcher)
    assert event.is_set() == (noise == b"on\n")
    ring(bell, b"one\n")
    assert event.wait(PATIENCE)


def test_noise_without_an_end_takes_no_memory(watcher: Watcher, bell: Path) -> None:
    rest = b""
    for _ in range(50):
        ring(bell, b"x" * 4000)
        rest = watcher._read_bell(rest)
        assert len(rest) <= 64
    # The thread itself may have read some of it; it lives on.
    ring(bell, b"\n")
    flush(bell, watcher)


def test_a_ring_that_comes_in_two_parts(bell: Path, watcher: Watcher) -> None:
    event = watcher.register("0123456789abcdef")
    ring(bell, b"01234567")
    ring(bell, b"89abcdef\n")
    assert event.wait(PATIENCE)


def test_a_full_bell_stops_nobody(bell: Path) -> None:
    """Each of 200 workers rings 50 times while the thread is kept from reading."""
    watcher = Watcher(bell)
    events = [watcher.register(f"{number:016x}") for number in range(200)]
    with watcher._lock:  # the thread stands still at its first ring
        for _ in range(50):
            for number in range(200):
                try:
                    ring(bell, f"{number:016x}\n".encode())
                except BlockingIOError:
                    break
    for number in range(200):
        while True:
            try:
                ring(bell, f"{number:016x}\n".encode())
                break
            except BlockingIOError:
                time.sleep(0.001)
    for event in events:
        assert event.wait(PATIENCE)
    watcher.close()


def test_every_worker_hears_after_each_of_its_rings(bell: Path, watcher: Watcher) -> None:
    """200 workers, 50 rings each: whoever clears before it looks misses none."""
    names = [f"{number:016x}" for number in range(200)]
    events = {name: watcher.register(name) for name in names}
    sent = dict.fromkeys(names, 0)

    def ring_all() -> None:
        fd = os.open(bell, os.O_WRONLY)  # blocking, as a hook's
        for _ in range(50):
            for name in names:
                sent[name] += 1
                os.write(fd, f"{name}\n".encode())
        os.close(fd)

    thread = threading.Thread(target=ring_all)
    thread.start()
    seen = dict.fromkeys(names, 0)
    while min(seen.values()) < 50:
        for name, event in events.items():
            assert seen[name] == 50 or event.wait(PATIENCE)
            event.clear()
            seen[name] = sent[name]
    thread.join(PATIENCE)


def test_ring_all(watcher: Watcher) -> None:
    events = [watcher.register(name) for name in "abc"]
    watcher.ring_all()
    assert all(event.is_set() for event in events)


def test_idle_it_never_wakes_up(bell: Path, watcher: Watcher) -> None:
    process = sleeper()
    watcher.register("one")
    watcher.watch_process("one", process.pid)
    flush(bell, watcher)
    status = Path(f"/proc/self/task/{watcher._thread.native_id}/status")
    if not status.exists():
        pytest.skip("no /proc")

    def switches() -> int:
        return sum(
            int(line.split()[1]) for line in status.read_text().splitlines() if "_ctxt_switches" in line
        )

    time.sleep(0.2)  # it goes back to its wait
    before = switches()
    time.sleep(1.0)
    assert switches() - before <= 2
    process.kill()
    process.wait()


# -- processes


@pytest.fixture(params=["pidfd", "asking"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "asking":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)
    return str(request.param)


def test_the_end_of_a_process_rings(way: str, watcher: Watcher) -> None:
    event, other = watcher.register("one"), watcher.register("other")
    process, stays = sleeper(), sleeper()
    watcher.watch_process("one", process.pid)
    watcher.watch_process("one", process.pid)  # a second time changes nothing
    watcher.watch_process("other", stays.pid)
    assert not watcher.gone(process.pid)
    process.kill()
    process.wait()
    assert event.wait(PATIENCE)
    assert watcher.gone(process.pid)
    assert not watcher.gone(stays.pid)
    assert not other.is_set()
    stays.kill()
    stays.wait()
    assert other.wait(PATIENCE)


def test_one_that_is_gone_already_rings_at_once(way: str, watcher: Watcher) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    event = watcher.register("one")
    watcher.watch_process("one", process.pid)
    assert event.wait(PATIENCE)
    assert watcher.gone(process.pid)


def test_a_forgotten_one_rings_no_more(way: str, bell: Path, watcher: Watcher) -> None:
    event = watcher.register("one")
    process = sleeper()
    watcher.watch_process("one", process.pid)
    watcher.forget("one")
    process.kill()
    process.wait()
    ring(bell, b"one\n")
    flush(bell, watcher)
    assert not event.is_set()
    watcher.forget("one")


def test_forgetting_while_waiting_mixes_up_no_processes(bell: Path, watcher: Watcher) -> None:
    """Descriptors are numbers that come again: the end of one must never be taken for another's."""
    lasting = sleeper()
    for number in range(60):
        short = subprocess.Popen(["sleep", "1000"])
        watcher.register(f"short-{number}")
        watcher.watch_process(f"short-{number}", short.pid)
        short.kill()
        watcher.forget(f"short-{number}")
        event = watcher.register(f"long-{number}")
        watcher.watch_process(f"long-{number}", lasting.pid)
        short.wait()
        flush(bell, watcher)
        assert not watcher.gone(lasting.pid)
        assert not event.is_set()
        watcher.forget(f"long-{number}")
    lasting.kill()
    lasting.wait()


def test_close_ends_the_thread_and_leaks_no_descriptor(bell: Path) -> None:
    process = sleeper()
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    for _ in range(5):
        watcher = Watcher(bell)
        for name in ("one", "two"):
            watcher.register(name)
        watcher.watch_process("one", process.pid)
        watcher.forget("one")
        watcher.watch_process("two", process.pid)
        watcher.close()
        assert not watcher._thread.is_alive()
    if before:
        assert set(os.listdir("/proc/self/fd")) == before
    process.kill()
    process.wait()


# -- the folder


def test_runtime_dir_is_private_short_and_the_projects(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    folder = runtime_dir(Path("/a/project"))
    assert folder == runtime_dir(Path("/a/project"))
    assert folder != runtime_dir(Path("/another"))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.parent == runtime
    assert len(str(folder.relative_to(runtime))) < 30


def test_runtime_dir_of_a_path_that_is_no_utf8(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert runtime_dir(Path(os.fsdecode(b"/caf\xe9"))).is_dir()


@pytest.mark.parametrize("which", ["top", "own"])
@pytest.mark.parametrize("what", ["link", "open", "file"])
def test_runtime_dir_refuses_what_others_could_write(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, what: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    own = runtime_dir(Path("/a"))
    place = own if which == "own" else own.parent
    own.rmdir()
    if which == "top":
        own.parent.rmdir()
    if what == "link":
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(mode=0o700)
        place.symlink_to(elsewhere)
    elif what == "file":
        place.write_text("")
    else:
        place.mkdir()
        place.chmod(0o777)
    with pytest.raises(PermissionError, match=f"{place}: must be a folder of yours with mode 0700"):
        runtime_dir(Path("/a"))


def test_without_a_runtime_folder_it_is_under_tmp(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from dodo_claude.watch import runtime_dir; print(runtime_dir(Path(sys.argv[1])))"
    env = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=env, capture_output=True, text=True, check=True
    )
    folder = Path(done.stdout.strip())
    assert folder.parent == Path(f"/tmp/dodo-claude-{os.getuid()}")
    folder.rmdir()


def test_a_plain_file_for_a_bell_makes_way(tmp_path: Path) -> None:
    (tmp_path / "bell").write_text("x")
    assert make_bell(tmp_path).is_fifo()
    assert make_bell(tmp_path).is_fifo()
