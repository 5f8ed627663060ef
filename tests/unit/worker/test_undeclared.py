"""What stages change besides their targets: what is known of it, and what is told of."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from dodo_claude.worker import undeclared
from dodo_claude.worker.undeclared import Tree, Undeclared, clashes, of_stage


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("ignored\n")
    (tmp_path / "old").write_text("old")
    subprocess.run(["git", "-C", str(tmp_path), "add", "old"], check=True)
    return tmp_path


def later(path: Path, text: str) -> float:
    """Write, and wait until the file system's clock went on."""
    began = time.time()
    while True:
        path.write_text(text)
        if path.stat().st_ctime > began:
            return began
        time.sleep(0.005)


def tree(root: Path) -> Tree:
    return Tree(root, {"PATH": "/usr/bin:/bin", "HOME": str(root), "GIT_DIR": "/nowhere"})


def test_what_git_knows_or_would_is_looked_at(repository: Path) -> None:
    began = later(repository / "new", "x")
    for name in ("old", "ignored"):
        (repository / name).write_text("changed")
    (repository / "deep").mkdir()
    (repository / "deep/ü\n").write_text("x")
    found = tree(repository).changed_since(began)
    assert sorted(found) == ["deep/ü\n", "new", "old"]
    assert all(at >= began for at in found.values())
    assert tree(repository).changed_since(time.time() + 1) == {}


def test_nobody_runs_what_a_repository_names(repository: Path) -> None:
    """A worker can write to its repository's configuration."""
    (repository / "run").write_text("#!/bin/sh\ntouch ran\ncat\n")
    (repository / "run").chmod(0o755)
    for key in ("core.fsmonitor", "filter.x.clean", "filter.x.smudge"):
        subprocess.run(["git", "-C", str(repository), "config", key, "./run"], check=True)
    (repository / ".gitattributes").write_text("* filter=x\n")
    began = later(repository / "old", "other")
    assert "old" in tree(repository).changed_since(began)
    assert not (repository / "ran").exists()


def test_without_git_nothing_is_known_and_git_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = tree(tmp_path)
    (tmp_path / "new").write_text("x")
    assert looks.changed_since(0.0) == {}
    monkeypatch.setattr(Tree, "_names", lambda self: pytest.fail("asked again"))
    assert looks.changed_since(0.0) == {}


def test_too_many_files_are_not_looked_at(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dodo_claude.worker.undeclared.MOST_FILES", 1)
    looks = tree(repository)
    looks.changed_since(0.0)
    assert not looks._there


def test_looks_take_a_share_of_the_time_only(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = tree(repository)
    monkeypatch.setattr("dodo_claude.worker.undeclared.SHARE", 1e9)
    monkeypatch.setattr("dodo_claude.worker.undeclared.FREE", 0.0)
    looks._start -= 1e6
    assert "old" in looks.changed_since(0.0)
    assert looks.changed_since(0.0) == {}


def found(
    root: Path,
    wrote: dict[str, float] | None = None,
    others: dict[str, dict[str, float]] | None = None,
    changed: dict[str, float] | None = None,
) -> list[Undeclared]:
    spans = [("b", 0.0, float("inf")), ("c", 10.0, 20.0)]
    return of_stage("b", root, {"b.txt", "c.txt"}, wrote or {}, others or {}, changed or {}, spans)


@pytest.mark.parametrize("folder", ["real", os.fsdecode(b"caf\xe9")])
def test_a_target_that_is_named_by_way_of_a_link_is_one_whatever_the_folder_is_called(
    tmp_path: Path, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / "link").symlink_to(folder)
    wrote = {"link/b.txt": 1.0, f"{folder}/b.txt": 2.0, "link/other/b.txt": 3.0}
    changed = {f"{folder}/b.txt": 2.0, "b.txt": 4.0}
    told = of_stage("b", tmp_path, {"link/b.txt", "c.txt"}, wrote, {}, changed, ())
    assert [each.path for each in told] == ["b.txt", f"{folder}/other/b.txt"]


def test_what_its_tools_wrote_is_known_and_who_else_was_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(".")
    wrote = {"b.txt": 1.0, "link/notes": 2.0, "../out": 3.0}
    changed = {
        "notes": 2.5,
        "early": 5.0,
        "both": 15.0,
        "c.txt": 16.0,
        "theirs": 17.0,
        "x/__pycache__/y": 18.0,
    }
    assert found(tmp_path, wrote, {"c": {"theirs": 17.0}}, changed) == [
        Undeclared("both", False, ("c",), 15.0),
        Undeclared("early", False, (), 5.0),
        Undeclared("notes", True, (), 2.0),
    ]


def test_very_many_are_cut(tmp_path: Path) -> None:
    changed = {f"file{number}": 1.0 for number in range(1000)}
    assert len(found(tmp_path, changed=changed)) == undeclared.MOST


A, B = Undeclared("x", True, (), 1.0), Undeclared("x", True, (), 2.0)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({"a": [A], "b": [B]}, "'x' is no stage's target and was changed by a and b: what the last one wrote stands"),
        # One after the other, by programs.
        (
            {"a": [Undeclared("x", False, (), 1.0)], "b": [Undeclared("x", False, (), 2.0)]},
            "'x' is no stage's target and was changed by a and b: what the last one wrote stands",
        ),
        # It may have been b both times.
        (
            {"a": [Undeclared("x", False, ("b",), 1.0)], "b": [Undeclared("x", False, (), 2.0)]},
            "'x' is no stage's target and was changed more than once while a and b were at work: what the last one wrote "
            "stands",
        ),
        # One write, seen twice.
        ({"a": [Undeclared("x", False, ("b",), 1.0)], "b": [Undeclared("x", False, ("a",), 1.0)]}, None),
        ({"a": [A]}, None),
        ({"a": [A], "b": [Undeclared("y", True, (), 2.0)]}, None),
    ],
)  # fmt: skip
def test_what_more_than_one_changed_is_told(stages: dict[str, list[Undeclared]], said: str | None) -> None:
    assert list(clashes(stages)) == ([said] if said else [])
