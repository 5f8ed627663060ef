"""The template hierarchical: two sub-orchestrations and their join, each mended alone, and its checks see faults."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dodo_claude.commands.start import templates_dir
from tests.project import Project

STAGES = ("reader:code", "reader:notes", "writer:code", "writer:notes", "join")


@pytest.fixture
def sides(project: Project) -> Project:
    project.begin("init", "hierarchical", "d")
    project.root /= "d"
    return project


def play(project: Project, *args: str, check: int = 0) -> list[str]:
    return project.orchestrate("--agent", "scripted", *args, check=check).lines


@pytest.mark.tmux
def test_both_sides_are_made_joined_and_mended_alone(sides: Project) -> None:
    assert "5 stages: 5 done" in play(sides)[-2]
    assert sides.run("python3", "convert.py", "212 F", "C", check=0).out == "100.0 C\n"
    assert "`read(text)`" in sides.read(".orchestrate/stages/join/1/prompt.md")
    assert "It refuses units" in sides.read(".orchestrate/stages/join/1/prompt.md")
    assert 'path="measure.py"' in sides.read(".orchestrate/stages/reader:notes/1/prompt.md")
    assert "5 stages: 5 up to date" in play(sides)[-1]

    sides.edit("reader/request.md", "(20.0, 'C')", "(21.0, 'C')")
    lines = play(sides, check=1)
    assert [line.partition(": check")[0] for line in lines if "FAILED" in line] == ["reader:code FAILED"]
    assert "reader:notes not run: needs reader:code" in lines
    assert any(line.startswith("join not run: needs reader") for line in lines)
    assert {"writer:code up to date", "writer:notes up to date"} <= {*lines}
    sides.edit("reader/request.md", "(21.0, 'C')", "(20.0, 'C')")
    # What the check that asked for another thing was against is good again, and nobody has to work for it.
    assert "5 stages: 1 done, 4 up to date" in play(sides)[-2]
    sides.edit("reader/request.md", '"20 Q"', '"2 Q"')
    sides.edit("reader/request.md", "'20 Q'", "'2 Q'")
    # The module is made again with the same bytes, but its worker's words are not in doubt: nobody else has to run.
    assert "5 stages: 1 done, 4 up to date" in play(sides)[-2]
    assert sides.attempts("reader:code") == 4
    assert sides.sessions() == []


@pytest.mark.tmux
def test_one_side_by_name_and_by_itself(sides: Project) -> None:
    assert "2 stages: 2 done" in play(sides, "reader")[-2]
    assert not (sides.root / "writer/text.py").exists()
    sides.root /= "writer"
    assert "2 stages: 2 done" in play(sides)[-2]
    assert sides.read("notes.md").startswith("# text.py")


CHECKS = (("reader", "check_code.py"), ("reader", "check_notes.py"), ("writer", "check_code.py"), ("writer", "check_notes.py"), (".", "check_join.py"))  # fmt: skip
TAKEN = {
    "reader/measure.py": {}, "writer/text.py": {},
    "reader/notes.md": {"function": "read", "refused": "It refuses all else"},
    "writer/notes.md": {"function": "write", "refused": "It refuses all else"},
    "convert.py": {"read": "read", "write": "write"},
}  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The template with all its targets in place, as its scenarios write them."""
    shutil.copytree(templates_dir() / "hierarchical", tmp_path, dirs_exist_ok=True)
    for target, taken in TAKEN.items():
        path = tmp_path / target
        origin = path.parent / "scenario" / path.name
        origin = (
            origin if origin.is_file() else origin.with_name(f"{path.name}.txt")
        )  # no code with braces in it
        text = origin.read_text(encoding="utf-8")
        for name, value in taken.items():
            text = text.replace(f"{{{name}}}", value)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def judged(root: Path, check: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", f"checks/{check}"], cwd=root, capture_output=True, text=True, timeout=30, check=False
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_good_work_passes_and_leaves_no_file(made: Path) -> None:
    before = sorted(made.rglob("*"))
    for folder, check in CHECKS:
        code, said = judged(made / folder, check)
        assert code == 0, said
    assert sorted(made.rglob("*")) == before


@pytest.mark.parametrize(
    ("folder", "check", "file", "old", "new", "fault"),
    [
        ("reader", "check_code.py", "reader/measure.py", "|ft", "", "1 of 4 examples of request.md fail"),
        ("reader", "check_notes.py", "reader/notes.md", "read(text)", "read(words)", "does not tell of `read(text)`"),
        ("writer", "check_notes.py", "writer/notes.md", "ValueError", "fault", "does not say what is refused"),
        ("writer", "check_code.py", "writer/text.py", " + 0.0", "", "1 of 3 examples"),
        (".", "check_join.py", "convert.py", "5 / 9", "5 / 8", "'60.4 F', not '68.0 F'") ,
        (".", "check_join.py", "convert.py", "from writer.text import write", "write = '{0:.1f} {1}'.format", "does not import writer.text"),
        (".", "check_join.py", "convert.py", "if kind != other", "if False", "20 C' m: exit status 0, not 1"),
        (".", "check_join.py", "convert.py", "except ValueError", "except KeyError", "exit status 1, not 1 with one line"),
    ],
)  # fmt: skip
def test_a_fault_is_seen(
    made: Path, folder: str, check: str, file: str, old: str, new: str, fault: str
) -> None:
    text = (made / file).read_text(encoding="utf-8")
    assert old in text
    (made / file).write_text(text.replace(old, new), encoding="utf-8")
    code, said = judged(made / folder, check)
    assert code == 1, said
    assert fault in said
