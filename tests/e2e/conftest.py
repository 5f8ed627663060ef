"""The real client and its stand-in API, for all end-to-end tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import Project

from .client import CHOSEN, VERSION, ClientUnavailable, claude_path, client_env, client_home
from .lab import Lab, Tmux
from .messages_api import MessagesApi, Reply, Request, turns
from .proved import FACTS, HERE, is_proved


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if is_proved():
        why = f"proved for {VERSION} by these very tests (`python -m tests.e2e.proved` proves it anew)"
        for item in items:
            if item.path.name in FACTS and item.path.parent == HERE:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def claude() -> Path:
    """The client's executable; where it can't be had, what needs it is skipped and says why. A chosen one must be had."""
    try:
        return claude_path()
    except ClientUnavailable as reason:
        if CHOSEN:
            pytest.fail(f"CLAUDE_VERSION={CHOSEN}: {reason}")
        pytest.skip(f"the real client can't be had: {reason}")


@pytest.fixture
def api() -> Iterator[MessagesApi]:
    """The loopback stand-in; a test sets its `reply`."""

    def nothing(request: Request) -> Reply:
        raise AssertionError("a test must set the reply")

    with MessagesApi(nothing) as server:
        yield server
        assert not server.faults


@pytest.fixture
def client(project: Project, claude: Path, api: MessagesApi, tmp_path: Path) -> Project:
    """A trusted project whose workers are real clients that talk to the stand-in."""
    home = client_home(tmp_path / "client", trusted=[project.root])
    env = client_env(home, api.base_url)
    env["PATH"] = f"{claude.parent}:{project.environ()['PATH']}"
    project.env |= env
    return project


@pytest.fixture
def lab(claude: Path, tmp_path: Path) -> Iterator[Lab]:
    tmp_path = tmp_path.resolve()
    project = tmp_path / "project"
    project.mkdir()
    home = client_home(tmp_path, [project])
    # Not below tmp_path: a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="dc") as short, MessagesApi(turns()) as api:
        lab = Lab(claude, tmp_path, project, home, tmp_path / "spool", api, Tmux(Path(short) / "tmux"))
        try:
            yield lab
        finally:
            lab.tmux.close()
        assert api.faults == []
