"""A folder that is taken away in mid-run: noticed at once, said in one line, workers ended, nothing made in its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dodo_claude.machine.processes import has_word, runs
from tests.integration.scenes import at_gate, configure, gate, open_gate, play, write
from tests.project import Project

pytestmark = pytest.mark.tmux
TWO: dict[str, dict[str, object]] = {
    "one": {"targets": ["it.txt"]},
    "two": {"prompt": None, "command": "touch began; sleep 600; echo x > sub/two.txt", "targets": ["sub/two.txt"]},
    "after": {"prompt": None, "command": "echo x > after.txt", "targets": ["after.txt"], "after": ["one"]},
}  # fmt: skip


def _renamed(root: Path) -> None:
    root.rename(root.with_name("renamed"))


def _parent_renamed(root: Path) -> None:
    root.parent.rename(root.parent.with_name("moved"))


def _replaced(root: Path) -> None:
    other = root.with_name("other")
    (other / ".orchestrate/stages/one").mkdir(parents=True)
    (other / ".orchestrate/notes.md").write_text("not ours\n")
    root.rename(root.with_name("renamed"))
    other.rename(root)


def _state_removed(root: Path) -> None:
    shutil.rmtree(root / ".orchestrate", ignore_errors=True)
    shutil.rmtree(root / ".orchestrate", ignore_errors=True)


@pytest.mark.parametrize("take", [_renamed, _parent_renamed, _replaced, _state_removed])
def test_the_projects_folder_is_taken_away(
    project: Project, tmp_path: Path, take: Callable[[Path], None]
) -> None:
    project.root = tmp_path / "up/project"
    project.root.mkdir(parents=True)
    stages = {
        name: {key: value for key, value in keys.items() if value is not None} for name, keys in TWO.items()
    }
    configure(project, stages)
    play(project, {"one": [[gate("go"), write("it.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        project.wait_for(lambda: (project.root / "began").exists(), "the command")
        before = project.processes()
        assert before
        take(project.root)
        code = live.wait()
    assert code not in (0, None)
    assert "Traceback" not in live.text
    assert "fault" not in live.text
    assert live.text.count("while the run was at work in it") == 1, live.text
    assert not [pid for pid in before if runs(pid)]
    there = sorted(str(path.relative_to(project.root)) for path in project.root.rglob("*"))
    if take is _replaced:
        assert there == [
            ".orchestrate",
            ".orchestrate/notes.md",
            ".orchestrate/stages",
            ".orchestrate/stages/one",
        ]
    elif take in (_renamed, _parent_renamed):
        assert not project.root.exists()
    else:
        assert not (project.root / ".orchestrate").exists()


def test_an_attempts_folder_is_removed(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"]}})
    play(project, {"one": [[gate("go"), write("it.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        before = project.processes()
        assert before
        for _ in range(2):  # what the run writes meanwhile keeps the folder
            shutil.rmtree(project.root / ".orchestrate/stages/one/1", ignore_errors=True)
        assert live.wait() == 1
    assert "FAILED" in live.text
    assert "is gone: somebody removed or moved it" in live.text
    assert "Traceback" not in live.text
    assert not [pid for pid in before if runs(pid)]


def test_the_folder_of_its_sockets_is_removed(project: Project) -> None:
    """The tmux server makes its socket anew: the run goes on, and no server stays that nobody reaches."""
    configure(project, {"one": {"targets": ["it.txt"]}})
    play(project, {"one": [[gate("go"), write("it.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        (worker, *_) = project.processes()
        (server,) = [
            int(pid) for pid in os.listdir("/proc") if pid.isdigit() and has_word(int(pid), _socket(project))
        ]
        assert runs(worker)
        shutil.rmtree(project.runtime / "dodo-claude")
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert "one done" in " ".join(live.text.split())
    assert not runs(server)
    assert not project.processes()


def _socket(project: Project) -> str:
    (found,) = project.runtime.glob("dodo-claude/*/tmux.sock")
    return str(found)
