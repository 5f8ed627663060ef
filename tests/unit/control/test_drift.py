"""What a client tells of itself against what is known. The sessions themselves: tests/e2e/test_doctor.py."""

from __future__ import annotations

import json

import pytest

from dodo_claude.agents.claude import hooks
from dodo_claude.control import drift

HOOKS = ", ".join(sorted(hooks.KNOWN_HOOKS))


def init(*tools: str) -> str:
    return "a warning\n[]\n" + json.dumps({"type": "system", "subtype": "init", "tools": tools}) + "\n{}\n"


@pytest.mark.parametrize(("said", "result", "text"), [
    (init("Bash", "Task", "Write"), "ok", "3, all known"),
    (init("Bash", "Teleport", "Beam"), "note", "3, of which dodo_claude does not know Beam, Teleport"),
    (init(), "note", "it does not tell which it has"),
    ("", "note", "it does not tell which it has"),
])  # fmt: skip
def test_tools(said: str, result: str, text: str) -> None:
    found = drift._tools(said)
    assert (found.result, found.text) == (result, text)


@pytest.mark.parametrize(("said", "result", "text"), [
    (f"x.json › hooks.NoSuchEvent: ignored. Valid events: {HOOKS}\n\nRemote Control\n", "ok", f"{len(hooks.KNOWN_HOOKS)}, all known"),
    (f"Valid events: {HOOKS}, Moonrise\n", "note", f"{len(hooks.KNOWN_HOOKS) + 1}, of which dodo_claude does not know Moonrise"),
    (f"Valid events: {HOOKS.replace('PostToolBatch, ', '')}\n", "WRONG", "PostToolBatch: not known to it"),
    ("No installation issues found.", "note", "it does not tell which it has"),
])  # fmt: skip
def test_hook_events(said: str, result: str, text: str) -> None:
    found = drift._hooks(said)
    assert (found.result, found.text) == (result, text)


def test_what_we_listen_to_is_known() -> None:
    assert hooks.needed_hooks() <= hooks.KNOWN_HOOKS
