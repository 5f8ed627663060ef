"""Fixtures: a project in a temporary folder with a tmux server, a HOME and a runtime folder of its own."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

if os.environ.get("TMUX_BIN"):
    # Another tmux, for all that the tests start: a folder that holds it as `tmux` comes first in every PATH. Processes
    # of xdist inherit that.
    other = tempfile.mkdtemp(prefix="dc-tmux-", dir="/tmp")
    atexit.register(shutil.rmtree, other, ignore_errors=True)
    os.symlink(os.path.abspath(os.environ.pop("TMUX_BIN")), f"{other}/tmux")
    os.environ |= {"TESTS_TMUX": other, "PATH": f"{other}:{os.environ['PATH']}"}

from tests.project import Project, kill_servers
from tests.samples.scenes import Scene

# How long an example takes tells of the machine's load, not of what is tested.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# They take longest, some of them because they install something: begun last, they would let the other cores idle.
FIRST = (
    "tests/e2e/test_orchestrator.py",
    "tests/integration/test_demo.py",
    "tests/test_wheel.py",
    "tests/integration/test_big_map.py",
    "tests/test_templates.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; the order of all others stays."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A short XDG_RUNTIME_DIR (a socket's path has room for some 100 bytes); its servers end with the test."""
    folder = Path(tempfile.mkdtemp(prefix="dc-", dir="/tmp"))
    yield folder
    kill_servers(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def project(tmp_path: Path, runtime: Path) -> Iterator[Project]:
    """An empty project. No process that carries one of its nonces outlives the test."""
    root = tmp_path / "project"
    root.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    made = Project(root, home, runtime)
    yield made
    kill_servers(runtime)
    left = made.processes()
    for pid in left:
        os.kill(pid, 9)
    assert not left, f"processes left behind: {left}"


@pytest.fixture(scope="session", autouse=True)
def _no_outer_tmux() -> None:
    """The suite may run inside tmux; what it starts must not know."""
    os.environ.pop("TMUX", None)
    os.environ.pop("TMUX_PANE", None)
    if shutil.which("tmux") is None:
        pytest.exit("tmux is needed for the tests (apt install tmux)")
    subprocess.run(["tmux", "-V"], check=True, capture_output=True)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A project whose journals tell of a run, at a time of the test's own."""
    return Scene(tmp_path, monkeypatch)
