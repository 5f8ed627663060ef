"""The wheel is built, installed into a bare venv, and used as a newcomer would."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.project import Project
from tests.schemas import NAMES

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.wheel, pytest.mark.tmux]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (made,) = folder.glob("*.whl")
    return made


def test_it_holds_what_runs_need(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "dodo_claude/agents/hook.sh",
        "dodo_claude/dashboard/web.html",
        "dodo_claude/config/orchestrate.schema.json",
        *(f"dodo_claude/schemas/{name}.schema.json" for name in NAMES),
        "dodo_claude/claude/orchestrate-parallel-dev.md",
        "dodo_claude/claude/orchestrate-status.md",
        "dodo_claude/templates/parallel-feature/orchestrate.toml",
        "dodo_claude/templates/parallel-feature/scenario.toml",
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "demo/")) or "__pycache__" in name]


def test_its_readme_has_no_picture_that_pypi_could_not_show(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert "Description-Content-Type: text/markdown" in text
    assert "## A five-minute tour" in text
    assert "![" not in text
    assert not re.search(r"\]\((?!https?:|#)", text)  # nor a link that leads nowhere there


def test_a_newcomer_installs_it_and_runs_a_template(wheel: Path, project: Project, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    pip = [str(home / "bin/pip"), "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True)

    def run(*argv: str, cwd: Path) -> str:
        done = subprocess.run(
            [str(home / "bin" / argv[0]), *argv[1:]],
            cwd=cwd,
            env={**project.environ(), "PATH": f"{home / 'bin'}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("dodo-claude", "init", "parallel-feature", ".", cwd=project.root)
    assert "no problems" in run("dodo-claude", "check", cwd=project.root)
    first = run("doit", "orchestrate", "--agent", "scripted", cwd=project.root)
    assert "3 stages: 3 done" in first
    again = run("doit", "orchestrate", "--agent", "scripted", cwd=project.root)
    assert "3 stages: 3 up to date" in again
