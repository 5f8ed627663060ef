"""Copies of verified bytes: made, put back, and when a copy is none."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dodo_claude.worker import store

GOOD = b"good\n"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / ".orchestrate"
    folder.mkdir()
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(GOOD)
    path.chmod(0o750)
    return path


def kept(state: Path, path: Path) -> bool:
    return store.keep(state, path, digest(GOOD), len(GOOD))


def back(state: Path, path: Path) -> bool:
    return store.restore(state, digest(GOOD), path, 0o750, 1_000_000_007)


def test_what_was_kept_comes_back_with_its_mode_and_its_time(state: Path, made: Path) -> None:
    assert kept(state, made)
    copy = state / "store" / digest(GOOD)
    assert copy.read_bytes() == GOOD
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    made.unlink()
    assert back(state, made)
    status = made.stat()
    assert (made.read_bytes(), status.st_mode & 0o777, status.st_mtime_ns) == (GOOD, 0o750, 1_000_000_007)
    assert os.listdir(state / "store") == [digest(GOOD)]


def test_a_write_in_place_does_not_reach_the_copy(state: Path, made: Path) -> None:
    assert kept(state, made)
    with made.open("r+b") as stream:
        stream.write(b"evil\n")
    assert back(state, made)
    with made.open("r+b") as stream:  # nor does one into what was put back
        stream.write(b"evil\n")
    assert back(state, made)
    assert made.read_bytes() == GOOD


def test_other_bytes_are_not_kept_under_that_name(state: Path, made: Path) -> None:
    made.write_bytes(b"evil\n")
    assert not kept(state, made)
    assert os.listdir(state / "store") == []


def test_a_damaged_copy_is_none_and_is_made_anew(state: Path, made: Path) -> None:
    assert kept(state, made)
    copy = state / "store" / digest(GOOD)
    copy.write_bytes(b"evil\n")
    other = made.with_name("b.txt")
    assert not back(state, other)
    assert not other.exists()
    assert kept(state, made)
    assert copy.read_bytes() == GOOD


def test_no_link_is_followed(state: Path, made: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (state / "store").symlink_to(elsewhere)
    assert not kept(state, made)
    assert os.listdir(elsewhere) == []
    (state / "store").unlink()
    assert kept(state, made)
    copy = state / "store" / digest(GOOD)
    copy.rename(elsewhere / "copy")
    copy.symlink_to(elsewhere / "copy")
    other = made.with_name("b.txt")
    assert not back(state, other)
    assert not other.exists()
    os.mkfifo(state / "pipe")
    copy.unlink()
    (state / "pipe").rename(copy)
    assert not back(state, other)  # and nobody waits for its other end


def test_a_large_file_is_not_kept(state: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dodo_claude.worker.store.LARGEST", len(GOOD) - 1)
    assert not kept(state, made)
    assert not (state / "store").exists()


def test_where_there_is_no_room_nothing_is_kept(
    state: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dodo_claude.worker.store.ROOM", 1 << 62)
    assert not kept(state, made)
    monkeypatch.setattr("dodo_claude.worker.store.ROOM", 0)

    def full(source: int, target: Path, digest: str) -> bool:
        os.close(source)
        target.write_bytes(b"go")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dodo_claude.worker.store._copy", full)
        assert not kept(state, made)
    assert os.listdir(state / "store") == []
    assert kept(state, made)


def test_what_a_kill_left_is_known_as_garbage(state: Path, made: Path) -> None:
    assert store.copies(state) == {}
    assert kept(state, made)
    half = f".{digest(b'x')}-1.999999999.tmp"
    (state / "store" / half).write_bytes(b"xx")
    (state / "store" / "somebody's").write_bytes(b"xx")
    assert store.copies(state) == {digest(GOOD): len(GOOD), half: 2}
    store.remove(state, [half])
    assert store.copies(state) == {digest(GOOD): len(GOOD)}
