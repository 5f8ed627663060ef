"""Files of ours: no link is followed, no pipe waited for. That nobody but one module opens them is in test_odd.py."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from dodo_claude.machine import files, ours
from tests.project import BIN, Project


def test_the_users_folders_are_private_whatever_the_umask(project: Project) -> None:
    project.write("orchestrate.toml", '[stages.a]\ncommand = "echo x > a"\ntargets = ["a"]\n')
    ran = project.run("/bin/sh", "-c", f"umask 000; {BIN}/doit orchestrate --trust", check=0)
    assert ran.said("1 stage: 1 done")
    made = [
        *project.home.rglob("*"),
        *project.runtime.rglob("*"),
        *(project.root / ".orchestrate").rglob("*"),
    ]
    assert project.home / ".local/state/dodo-claude/approved" in made
    assert [path for path in made if path.lstat().st_mode & 0o077 and not path.is_socket()] == []


@pytest.mark.parametrize("name", ["XDG_STATE_HOME", "HOME"])
def test_what_was_approved_is_never_looked_for_in_the_project(project: Project, name: str) -> None:
    project.write("orchestrate.toml", '[stages.a]\ncommand = "echo x > a"\ntargets = ["a"]\n')
    project.env[name] = "here"
    refused = name == "HOME"
    project.run("doit", "orchestrate", "--explain", check=0)
    ran = project.run("doit", "orchestrate", "--trust", check=3 if refused else 0)
    assert ran.err.startswith("ERROR: HOME: 'here' is not absolute") is refused
    assert len(ran.err.splitlines()) == refused, ran.err
    for command in ("check", "status", "report"):
        assert len(project.run("dodo-claude", command).err.splitlines()) <= 1
    assert not (project.root / "here").exists()


# -- the rules, one by one


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return files.make_state_dir(tmp_path)


def test_no_way_leads_through_a_link(state: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/x").write_text("theirs")
    (state / "stages").symlink_to(tmp_path / "outside")
    path = state / "stages/x"
    for touch in (
        files.read, files.status, files.is_file, files.remove, lambda path: files.append(path, b"ours"),
        lambda path: files.write_atomic(path, "ours"), lambda path: files.move(path, state / "y"),
        lambda path: files.make_folder(path.with_name("z")), lambda path: files.names(path.parent),
        lambda path: files.remove_tree(path.parent), lambda path: [*files.find(state / "stages", "*")],
    ):  # fmt: skip
        with pytest.raises(
            ours.NotOursError, match=r"stages: is a symbolic link where a folder of ours belongs"
        ):
            touch(path)
    assert [*files.find(state, "*/x")] == []
    assert os.listdir(tmp_path / "outside") == ["x"]


def test_a_relative_path_leads_through_no_link_either(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """doit names its database so."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/x").write_text("theirs")
    (state / "stages").symlink_to(tmp_path / "outside")
    monkeypatch.chdir(tmp_path)
    path = Path(".orchestrate/stages/x")
    for touch in (
        files.remove,
        files.read,
        files.is_file,
        lambda path: files.move(path, Path(".orchestrate/y")),
    ):
        with pytest.raises(ours.NotOursError, match="is a symbolic link where a folder of ours belongs"):
            touch(path)
    assert os.listdir(tmp_path / "outside") == ["x"]


def test_a_file_is_a_plain_file(state: Path) -> None:
    os.mkfifo(state / "pipe")
    (state / "folder").mkdir()
    for name, kind in (("pipe", "a pipe"), ("folder", "a folder")):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT):
            with pytest.raises(ours.NotOursError, match=f"{name}: is {kind} where a file of ours belongs"):
                files.open_file(state / name, flags)
    (state / "large").write_bytes(b"x" * 11)
    assert len(files.read(state / "large", 11)) == 11
    with pytest.raises(ours.NotOursError, match="is larger than 10 bytes"):
        files.read(state / "large", 10)


def test_a_look_at_little_needs_little_memory(state: Path) -> None:
    """However large it might be. A thread of each stage looks after each event: what room was made for once, it keeps."""
    (state / "empty").touch()
    (state / "little").write_bytes(b"x" * 11)
    tracemalloc.start()
    try:
        assert [
            len(files.read(state / name, limit)) for name in ("empty", "little") for limit in (10**8, None)
        ] == [0, 0, 11, 11]
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_folder_of_a_like_name_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / ".orchestrated").symlink_to(tmp_path / "real")
    files.write_atomic(tmp_path / ".orchestrated/x", "ours")
    assert files.read_text(tmp_path / ".orchestrated/x") == "ours"


def test_a_state_folder_that_is_held_is_that_one_or_none(state: Path, tmp_path: Path) -> None:
    ours.hold(state)
    try:
        files.make_folder(state / "a/b")
        state.rename(tmp_path / "moved")
        with pytest.raises(ours.GoneError, match=r"\.orchestrate: is gone: it was moved or removed"):
            files.make_folder(state / "a/b")
        state.mkdir()
        for touch in (lambda: files.append(state / "x", b"x"), lambda: files.make_state_dir(tmp_path)):
            with pytest.raises(ours.GoneError, match="is another folder now"):
                touch()
        assert os.listdir(state) == []
        assert "another folder" in (ours.lost(state) or "")
    finally:
        ours.let_go(state)
    assert ours.lost(state) is None


def test_nobody_but_its_maker_makes_the_state_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.make_folder(tmp_path / ".orchestrate/stages/a")
    assert os.listdir(tmp_path) == []
