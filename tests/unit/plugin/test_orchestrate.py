"""What `doit help orchestrate` says: the defaults that a run really has."""

from __future__ import annotations

from typing import Any

import pytest

from dodo_claude.plugin.loader import StageLoader
from dodo_claude.plugin.orchestrate import Orchestrate


def told(config: dict[str, Any]) -> str:
    command = Orchestrate(task_loader=StageLoader(), config=config)
    return " ".join(command.help().split())


def test_the_state_is_where_a_run_keeps_it() -> None:
    text = told({})
    assert "--db-file=ARG file used to save successful runs [default: .orchestrate/state.db]" in text
    assert "--backend=ARG Select dependency file backend. [default: orchestrate]" in text
    assert "Available options [default: dodo_claude's own]" in text


@pytest.mark.parametrize(
    ("chosen", "file", "backend"),
    [({"dep_file": "mine.db"}, "mine.db", "dbm"), ({"backend": "json"}, ".doit.db", "json")],
)
def test_what_the_user_chose_is_said(chosen: dict[str, str], file: str, backend: str) -> None:
    text = told({"GLOBAL": chosen})
    assert f"runs [default: {file}]" in text
    assert f"backend. [default: {backend}]" in text
    assert "[default: md5]" in text
