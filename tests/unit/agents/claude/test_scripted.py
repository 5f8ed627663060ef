"""How the scripted agent is started in the place of the client."""

from __future__ import annotations

import shlex
import sys

from dodo_claude.agents.start import launch
from tests.samples.jobs import ARGUMENTS, CAP, FIXED, JOB, OFF, SCRIPTED


def test_scripted() -> None:
    made = launch(SCRIPTED, JOB, {"CLAUDE_CONFIG_DIR": "/real", "ANTHROPIC_API_KEY": "k"}, {})
    assert (
        made.command
        == f'{shlex.quote(sys.executable)} -E -P -m dodo_claude.agents.scripted {ARGUMENTS} {OFF} -- "$prompt"'
    )
    assert made.env == {
        "LANG": "C.UTF-8", **FIXED, **CAP,
        "CLAUDE_CONFIG_DIR": "/p/.orchestrate/scripted", "DODO_CLAUDE_SCENARIO": "/p/play.toml",
    }  # fmt: skip
