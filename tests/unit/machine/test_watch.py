"""The waiting thread: it wakes the right one, on every ring, and nobody otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dodo_claude.machine import changes, watch
from dodo_claude.machine.watch import Watcher, runtime_dir

# How long anything may take that must happen; far above what it takes.
PATIENCE = 20.0


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    if made._thread.is_alive():
        made.close()


def arrive(folder: Path, name: str = "it") -> None:
    """As a hook's event does."""
    with (folder / name).open("w") as stream:
        stream.write("x")


def flush(watcher: Watcher, folder: Path) -> None:
    """Come back when all that happened before has been heard."""
    place = folder / "flush"
    place.mkdir(exist_ok=True)
    event = watcher.register("flush")
    watcher.watch_folder("flush", place)
    arrive(place)
    assert event.wait(PATIENCE)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"])


# -- folders


@pytest.fixture(params=["told", "looking"])
def folders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Two that are there, where inotify is, and where it is not."""
    if request.param == "looking":
        monkeypatch.setattr(changes, "sys", SimpleNamespace(platform="darwin"))
        monkeypatch.setattr(changes, "LOOK_SECONDS", 0.02)
    made = [tmp_path / name for name in ("one", "other")]
    for folder in made:
        folder.mkdir()
    return made


def test_what_arrives_wakes_its_own_event_only(folders: list[Path], watcher: Watcher) -> None:
    one, other = watcher.register("one"), watcher.register("other")
    for name, folder in zip(("one", "other"), folders, strict=True):
        watcher.watch_folder(name, folder)
    arrive(folders[0])
    assert one.wait(PATIENCE)
    flush(watcher, folders[0].parent)
    assert not other.is_set()
    one.clear()
    arrive(folders[0])  # once more, under the same name
    assert one.wait(PATIENCE)


def test_what_is_moved_there_arrives(folders: list[Path], watcher: Watcher) -> None:
    event = watcher.register("one")
    watcher.watch_folder("one", folders[0])
    arrive(folders[1])
    flush(watcher, folders[0].parent)
    assert not event.is_set()
    (folders[1] / "it").rename(folders[0] / "it")
    assert event.wait(PATIENCE)


def test_what_is_not_whole_or_goes_wakes_nobody(watcher: Watcher, tmp_path: Path) -> None:
    arrive(tmp_path, "old")
    event = watcher.register("one")
    watcher.watch_folder("one", tmp_path)
    (tmp_path / "old").unlink()
    with (tmp_path / "it").open("w") as stream:
        stream.write("half")
        stream.flush()
        flush(watcher, tmp_path)
        assert not event.is_set()
    assert event.wait(PATIENCE)


def test_one_ring_of_two_folders(folders: list[Path], watcher: Watcher) -> None:
    event = watcher.register("one")
    for folder in folders:
        watcher.watch_folder("one", folder)
        watcher.watch_folder("one", folder)  # a second time changes nothing
    for folder in folders:
        arrive(folder)
        assert event.wait(PATIENCE)
        flush(watcher, folder.parent)
        event.clear()


def test_a_folder_that_passes_to_another(folders: list[Path], watcher: Watcher) -> None:
    """A stage's mailbox, to its next attempt."""
    old = watcher.register("old")
    watcher.watch_folder("old", folders[0])
    new = watcher.register("new")
    watcher.watch_folder("new", folders[0])
    watcher.forget("old")
    arrive(folders[0])
    assert new.wait(PATIENCE)
    assert not old.is_set()


def test_a_folder_that_is_not_there_or_goes_is_no_fault(folders: list[Path], watcher: Watcher) -> None:
    event = watcher.register("one")
    watcher.watch_folder("one", folders[0] / "no")
    watcher.watch_folder("one", folders[0])
    watcher.watch_folder("one", folders[1])
    folders[0].rmdir()
    flush(watcher, folders[1].parent)
    event.clear()
    arrive(folders[1])
    assert event.wait(PATIENCE)
    watcher.forget("one")


def test_with_no_watch_to_be_had_it_looks(
    folders: list[Path], watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's limit on watches is reached in the middle of a run: no event is missed for it."""
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.02)
    one, other = watcher.register("one"), watcher.register("other")
    watcher.watch_folder("one", folders[0])
    flush(watcher, folders[0].parent)
    with monkeypatch.context() as patch:
        patch.setattr(watcher._changes, "_libc", SimpleNamespace(inotify_add_watch=lambda *_: -1))
        watcher.watch_folder("other", folders[1])
    for folder, event in zip(folders, (one, other), strict=True):
        arrive(folder)
        assert event.wait(PATIENCE)


def test_every_worker_hears_after_each_of_its_events(tmp_path: Path, watcher: Watcher) -> None:
    """200 workers, 50 events each: whoever clears before it looks misses none."""
    names = [f"{number:016x}" for number in range(200)]
    events = {name: watcher.register(name) for name in names}
    for name in names:
        (tmp_path / name).mkdir()
        watcher.watch_folder(name, tmp_path / name)

    def arrive_all() -> None:
        for number in range(50):
            for name in names:
                arrive(tmp_path / name, str(number))

    thread = threading.Thread(target=arrive_all)
    thread.start()
    seen = dict.fromkeys(names, 0)
    while min(seen.values()) < 50:
        for name, event in events.items():
            assert seen[name] == 50 or event.wait(PATIENCE)
            event.clear()
            seen[name] = len(os.listdir(tmp_path / name))
    thread.join(PATIENCE)


def test_ring_all(watcher: Watcher) -> None:
    events = [watcher.register(name) for name in "abc"]
    watcher.ring_all()
    assert all(event.is_set() for event in events)


def test_idle_it_never_wakes_up(tmp_path: Path, watcher: Watcher) -> None:
    process = sleeper()
    watcher.register("one")
    watcher.watch_process("one", process.pid)
    flush(watcher, tmp_path)
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


def test_one_that_ended_and_whose_parent_has_not_looked(way: str, watcher: Watcher) -> None:
    """tmux may leave a pane's process so for long."""
    event = watcher.register("one")
    process = sleeper()
    watcher.watch_process("one", process.pid)
    process.kill()
    assert event.wait(PATIENCE)
    assert watcher.gone(process.pid)
    process.wait()


def test_one_that_is_gone_already_rings_at_once(way: str, watcher: Watcher) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    event = watcher.register("one")
    watcher.watch_process("one", process.pid)
    assert event.wait(PATIENCE)
    assert watcher.gone(process.pid)


def test_a_forgotten_one_rings_no_more(way: str, tmp_path: Path, watcher: Watcher) -> None:
    event = watcher.register("one")
    process = sleeper()
    watcher.watch_process("one", process.pid)
    watcher.watch_folder("one", tmp_path)
    watcher.forget("one")
    process.kill()
    process.wait()
    arrive(tmp_path)
    flush(watcher, tmp_path)
    assert not event.is_set()
    watcher.forget("one")


def test_forgetting_while_waiting_mixes_up_no_processes(tmp_path: Path, watcher: Watcher) -> None:
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
        flush(watcher, tmp_path)
        assert not watcher.gone(lasting.pid)
        assert not event.is_set()
        watcher.forget(f"long-{number}")
    lasting.kill()
    lasting.wait()


def test_close_ends_the_thread_and_leaks_no_descriptor(tmp_path: Path) -> None:
    process = sleeper()
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    for _ in range(5):
        watcher = Watcher()
        for name in ("one", "two"):
            watcher.register(name)
            watcher.watch_folder(name, tmp_path)
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
    script = "import sys; from pathlib import Path; from dodo_claude.machine.watch import runtime_dir; print(runtime_dir(Path(sys.argv[1])))"
    env = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=env, capture_output=True, text=True, check=True
    )
    folder = Path(done.stdout.strip())
    assert folder.parent == Path(f"/tmp/dodo-claude-{os.getuid()}")
    folder.rmdir()
