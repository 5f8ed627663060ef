"""Which tmux server a project's workers are in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.machine.server import Server
from dodo_claude.run import project_tmux
from tests.samples.stages import config_of


def test_the_users_own_server_is_never_stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = project_tmux.open_tmux(replace(config_of(root), socket="default"), {})
    monkeypatch.setattr(Server, "cmd", lambda self, name, *args: pytest.fail(f"tmux {name}"))
    terminal.server.stop_if_empty()
