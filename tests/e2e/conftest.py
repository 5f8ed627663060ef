"""The real client and its stand-in API, for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import Project

from .client import ClientUnavailable, claude_path, client_env, client_home
from .messages_api import MessagesApi, Reply, Request


@pytest.fixture(scope="session")
def claude() -> Path:
    """The client's executable; where it can't be had, what needs it is skipped and says why."""
    try:
        return claude_path()
    except ClientUnavailable as reason:
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
