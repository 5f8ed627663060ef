"""Folders that change: what the kernel tells, and what looking finds where it tells nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dodo_claude.machine import changes as module
from dodo_claude.machine.changes import Changes
from tests.project import PATIENCE


@pytest.fixture(params=[True, False], ids=["told", "looked"])
def changes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Changes]:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    made = Changes(told=request.param)
    yield made
    made.close()


def until(changes: Changes, folder: Path, name: str) -> None:
    for _ in range(100):
        if (folder, name) in changes.wait(PATIENCE):
            return
    raise AssertionError(name)


def test_what_is_made_written_moved_and_removed_is_told(changes: Changes, tmp_path: Path) -> None:
    assert changes.watch(tmp_path)
    assert not changes.watch(tmp_path)
    (tmp_path / "a").write_text("x")
    until(changes, tmp_path, "a")
    with (tmp_path / "a").open("a") as stream:
        stream.write("y")
    until(changes, tmp_path, "a")
    (tmp_path / "a").rename(tmp_path / "b")
    until(changes, tmp_path, "b")
    (tmp_path / "b").unlink()
    until(changes, tmp_path, "b")


def test_a_folder_that_is_not_there_is_not_watched(changes: Changes, tmp_path: Path) -> None:
    assert not changes.watch(tmp_path / "no")
    (tmp_path / "no").mkdir()
    assert changes.watch(tmp_path / "no")


def test_a_folder_that_went_can_be_watched_again(changes: Changes, tmp_path: Path) -> None:
    folder = tmp_path / "it"
    folder.mkdir()
    changes.watch(tmp_path)
    changes.watch(folder)
    folder.rmdir()
    until(changes, tmp_path, "it")
    changes.wait(0.05)
    folder.mkdir()
    assert changes.watch(folder)
    (folder / "a").touch()
    until(changes, folder, "a")


def test_it_waits_no_longer_than_it_was_told(changes: Changes, tmp_path: Path) -> None:
    changes.watch(tmp_path)
    assert not changes.wait(0.01)


def test_another_thread_can_wake_it(changes: Changes, tmp_path: Path) -> None:
    changes.watch(tmp_path)
    threading.Timer(0.01, changes.wake).start()
    assert not changes.wait(None)


def test_with_no_room_for_more_it_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    changes = Changes()
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    changes.watch(first)

    class Full:
        def inotify_add_watch(self, *_: object) -> int:
            return -1

    monkeypatch.setattr(changes, "_libc", Full())
    assert changes.watch(second)
    assert not changes.is_told
    for folder in (first, second):
        (folder / "a").touch()
        until(changes, folder, "a")
    changes.close()
