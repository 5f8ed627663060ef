"""Requests for a permission of the real client, answered from outside of its pane."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from dodo_claude.agents.claude.screens import BOX
from dodo_claude.machine import processes
from dodo_claude.machine.tmux import Tmux
from tests.e2e.replies import by_stage, stages, write
from tests.integration.scenes import at_gate, events, open_gate, wait_event
from tests.project import Project

from .lab import Lab
from .messages_api import MessagesApi, say, tool, turns

pytestmark = [
    pytest.mark.client,
    pytest.mark.tmux,
    pytest.mark.skipif(processes.below_a_worker(), reason="a worker may answer nothing"),
]
MANUAL = "[agents.claude]\npermission_mode = 'manual'\nallowed_tools = []"
ONE = "[stages.one]\nprompt = 'Make it.'\ntargets = ['it.txt']\n"


def press(client: Project, *keys: str) -> None:
    (socket,) = client.runtime.glob("dodo-claude/*/tmux.sock")
    pane = str(wait_event(client, "one", "spawned").data["pane"])
    subprocess.run(["tmux", "-S", str(socket), "send-keys", "-t", pane, *keys], check=True)


def results(api: MessagesApi) -> list[str]:
    return [result.text for request in api.requests for result in request.tool_results]


def decisions(client: Project) -> list[str]:
    """What its transcript says of decisions by a hook: the client acted on them."""
    path = str(wait_event(client, "one", "SessionStart").data["transcript_path"])
    with open(path, encoding="utf-8") as stream:
        lines = [json.loads(line) for line in stream]
    found = [line["attachment"] for line in lines if line["type"] == "attachment"]
    return [str(each["decision"]) for each in found if each["type"] == "hook_permission_decision"]


def test_allow_and_deny_from_outside(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", stages(MANUAL, ONE))
    refused = tool("Bash", command="touch forbidden", description="x")
    api.reply = by_stage(one=turns(refused, write(client.root / "it.txt", "good\n"), say("Done.")))
    with client.started() as live:
        live.until("NEEDS A PERSON: Bash touch forbidden (dodo-claude allow one, deny one, or attach one)")
        ran = client.run("dodo-claude", "deny", "one", 'no "touch", please', check=0)
        assert ran.out == "denied: Bash touch forbidden\n"
        live.until("NEEDS A PERSON: Write it.txt")
        # Its hook and its dialog begin at the same time: the one may be there before the other.
        question = "Do you want to create it.txt?"
        client.wait_for(lambda: question in client.run("dodo-claude", "capture", "one").out, "its dialog")
        assert not (client.root / "it.txt").exists()
        ran = client.run("dodo-claude", "allow", "one", check=0)
        assert ran.out == "allowed: Write it.txt\n"
        assert live.wait() == 0, live.text
    assert client.read("it.txt") == "good\n"
    assert not (client.root / "forbidden").exists()
    assert results(api)[0] == 'no "touch", please'
    assert decisions(client) == ["deny", "allow"]
    assert [event.data["allow"] for event in events(client, "one", "permitted")] == [False, True]


def test_answered_in_its_pane_meanwhile(client: Project, api: MessagesApi) -> None:
    """The tool runs: no hook tells of the yes, and the hook that waits is left alone by the client."""
    client.write("orchestrate.toml", stages(MANUAL, ONE))
    gate = tool(
        "Bash",
        command="touch go.at; while [ ! -e go ]; do sleep 0.05; done; echo x > it.txt",
        description="x",
    )
    api.reply = by_stage(one=turns(gate, say("Done.")))
    with client.started() as live:
        live.until("NEEDS A PERSON")
        request = str(wait_event(client, "one", "PermissionRequest").data["request"])
        pane = str(wait_event(client, "one", "spawned").data["pane"])
        (socket,) = client.runtime.glob("dodo-claude/*/tmux.sock")
        client.wait_for(lambda: Tmux(socket).without(BOX) == {pane}, "a screen without an input box")
        press(client, "Enter")
        at_gate(client, "go")
        client.wait_for(lambda: Tmux(socket).without(BOX) == set(), "its input box")
        # Which the lookout will see, long before anybody has waited too long for it.
        os.kill(int(request.partition("-")[0]), 0)
        late = client.run("dodo-claude", "deny", "one", check=1)
        assert late.err.endswith("was answered in its pane\n")
        open_gate(client, "go")
        assert live.wait() == 0, live.text
    assert client.read("it.txt") == "x\n"
    assert decisions(client) == []
    assert not events(client, "one", "permitted")


def test_its_orchestrator_is_killed_while_it_waits(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", stages(MANUAL, ONE))
    api.reply = by_stage(one=turns(write(client.root / "it.txt", "x\n"), say("Done.")))
    with client.started() as live:
        live.until("NEEDS A PERSON")
        live.kill(signal.SIGKILL)
    client.run("dodo-claude", "allow", "one", check=0)
    client.wait_for((client.root / "it.txt").exists, "the file")
    assert client.orchestrate().said("1 stage: 1 done")
    assert client.attempts("one") == 1
    assert decisions(client) == ["allow"]


def test_a_question_and_a_plan_can_be_denied_and_not_allowed(lab: Lab) -> None:
    """Measured: a hook's yes leaves these dialogs open."""
    yes, no = ({"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": {"behavior": how, "message": "not now"}}} for how in ("allow", "deny"))  # fmt: skip
    option = {"label": "A", "description": "a"}
    ask = tool("AskUserQuestion", questions=[{"question": "Which?", "header": "H", "multiSelect": False, "options": [option, {**option, "label": "B"}]}])  # fmt: skip
    lab.api.reply = turns(ask, say("Well."), ask, say("Done."))
    lab.answer("PermissionRequest", no, yes)
    pane = lab.start("--settings", str(lab.settings()), "--permission-mode", "manual", "--", "Go")
    lab.wait_for("Stop", pane)
    assert [result.text for result in lab.api.requests[-1].tool_results] == ["not now"]
    pane.submit("Again", lab.root / "paste")
    lab.wait_for("PermissionRequest", pane, 2)
    pane.shows("Enter to select")
    assert len(lab.named("Stop")) == 1
