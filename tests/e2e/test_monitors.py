"""A monitor beside the real client: what its command says reaches the model, once, while it is busy or idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project import Project

from .messages_api import MessagesApi, Reply, Request, say, tool

pytestmark = [pytest.mark.client, pytest.mark.tmux]

CONFIG = """
[orchestrate]
name = "e2e"

[stages.dev]
prompt = "Build it."
targets = ["out.txt"]
allowed_tools = ["Bash(until *)"]
timeout = "60s"
{stage}

[monitors.build]
beside = "dev"
command = "printf x >> runs; cat state"
match = "error"
every = "200ms"
"""
HEAD = "Message from monitor build:"


def times(request: Request, text: str) -> int:
    """How often the model sees it in this request."""
    return sum(found.count(text) for found in (*request.user_texts, *request.system_notes))


def put(project: Project, text: str) -> None:
    """What the monitor's command says from now on: never half of it, which would be news."""
    project.write("state.new", text).rename(project.root / "state")


def runs(project: Project) -> int:
    path = project.root / "runs"
    return len(path.read_text()) if path.exists() else 0


def wait_in_a_tool(name: str) -> Reply:
    """A tool call that lasts until there is a file of that name."""
    return tool("Bash", command=f"until [ -e {name} ]; do sleep 0.05; done", description="wait")


def more_runs(project: Project) -> None:
    seen = runs(project)
    project.wait_for(lambda: runs(project) >= seen + 3, "more runs of the monitor")


def test_a_build_error_reaches_a_busy_worker_exactly_once(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", CONFIG.format(stage=""))
    put(client, "compiling\nmain.c:3: error: no such thing\n")
    root: Path = client.root

    def model(request: Request) -> Reply:
        results = len([m for m in request.messages if m.get("role") == "assistant"])
        if results < 3:
            return wait_in_a_tool(f"go-{results}")
        if results == 3:
            return tool("Write", file_path=str(root / "out.txt"), content="built\n")
        return say("Mended and built.")

    api.reply = model
    with client.started() as live:
        # The error is there while the first call runs, and is found again by each run after it.
        box = client.log("dev").dir / "mail"
        client.wait_for(lambda: list((box / "new").glob("*")), "a message")
        api.wait_for(lambda requests: bool([r for r in requests if r.kind == "turn"]))
        more_runs(client)
        client.write("go-0", "")
        client.wait_for(lambda: len([r for r in api.requests if r.kind == "turn"]) == 2, "the second request")
        more_runs(client)
        client.write("go-1", "")
        client.wait_for(lambda: len([r for r in api.requests if r.kind == "turn"]) == 3, "the third request")
        put(client, "compiling\nlinking\n")  # mended: it is told, too
        client.wait_for(lambda: list((box / "new").glob("*")), "another message")
        client.write("go-2", "")
        assert live.wait() == 0, live.text
    asked = [request for request in api.requests if request.kind == "turn"]
    # The first request is from before; from the next on it stays in the history, as it was, once.
    assert [times(request, HEAD) for request in asked] == [0, 1, 1, 2, 2]
    assert [times(request, "main.c:3: error: no such thing") for request in asked] == [0, 1, 1, 1, 1]
    assert [times(request, "does not say so any more") for request in asked] == [0, 0, 0, 1, 1]
    (note,) = [text for text in asked[1].system_notes if HEAD in text]
    assert "compiling\nmain.c:3: error: no such thing\n</output mark=" in note
    assert client.result("dev")["message"] == "Mended and built."
    assert len(list((box / "delivered").glob("*"))) == 2
    assert client.processes() == []
    assert client.sessions() == []


def test_an_error_keeps_a_worker_from_ending_its_turn(client: Project, api: MessagesApi) -> None:
    """It comes while the last answer is on its way: the Stop hook brings it, and the turn goes on."""
    client.write("orchestrate.toml", CONFIG.format(stage=""))
    put(client, "fine\n")
    box = client.log("dev").dir / "mail"

    def model(request: Request) -> Reply:
        answered = len([m for m in request.messages if m.get("role") == "assistant"])
        if answered == 0:
            return tool("Write", file_path=str(client.root / "out.txt"), content="built\n")
        if answered == 1:
            put(client, "error: too early\n")
            client.wait_for(lambda: list((box / "new").glob("*")), "a message")
            return say("Done.")
        return say("Seen.")

    api.reply = model
    client.orchestrate()
    asked = [request for request in api.requests if request.kind == "turn"]
    assert [times(request, "error: too early") for request in asked] == [0, 0, 1]
    assert client.result("dev")["message"] == "Seen."
    assert client.processes() == []
