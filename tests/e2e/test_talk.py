"""Talking with workers of the real client: a message to a busy one, to an idle one, to one at a dialog; a question."""

from __future__ import annotations

import json

import pytest

from dodo_claude.state.mail import DELIVERED, Mailbox
from tests.e2e.gates import GATE, gate, send
from tests.e2e.replies import by_stage, stages, write
from tests.integration.scenes import at_gate, events, open_gate
from tests.project import BIN, Project

from .messages_api import MessagesApi, Reply, Request, say, tool, turns

pytestmark = [pytest.mark.client, pytest.mark.tmux]
ONE = "[stages.one]\nprompt = 'Make it.'\ntargets = ['it.txt']\n"


def told(request: Request, text: str) -> bool:
    return request.contains(text)


def test_a_message_reaches_a_busy_client_and_one_at_its_turns_end(client: Project, api: MessagesApi) -> None:
    client.write(
        "orchestrate.toml",
        stages(ONE + "allowed_tools = ['Bash']\ncheck = \"" + GATE.format("check") + '"'),
    )
    path = client.root / "it.txt"
    api.reply = by_stage(
        one=turns(
            gate("go"), write(path, "first\n"), say("Done."), write(path, "second\n"), say("Done again.")
        )
    )
    box = Mailbox(client.log("one"))
    with client.started() as live:
        at_gate(client, "go")
        busy = send(client, "use port 8080")
        open_gate(client, "go")
        at_gate(client, "check")  # its turn is over
        assert box.state(busy) == DELIVERED
        idle = send(client, "once more, please")
        open_gate(client, "check")
        assert live.wait() == 0, live.text
    assert box.state(idle) == DELIVERED
    assert path.read_text() == "second\n"
    requests = [request for request in api.requests if request.kind == "turn"]
    hearing = [told(request, "Message from the user:\nuse port 8080") for request in requests]
    # The request after the gate is the first that has it; none before; it is said once.
    assert hearing.index(True) == 1
    assert all(hearing[1:])
    last = json.dumps(requests[-1].messages)
    assert last.count("use port 8080") == 1
    assert last.count("once more, please") == 1
    prompts = [event.data["prompt"] for event in events(client, "one", "UserPromptSubmit")]
    assert len(prompts) == 2
    assert str(prompts[1]).startswith("You have messages.")


def test_a_message_while_the_client_only_talks_keeps_the_turn_going(
    client: Project, api: MessagesApi
) -> None:
    client.write("orchestrate.toml", stages(ONE))
    path = client.root / "it.txt"
    box = Mailbox(client.log("one"))
    sent: list[str] = []

    def talk(request: Request) -> Reply:
        if not sent:  # asked while the answer is made: the next hook is the turn's end
            sent.append(box.post("write it.txt", "the user"))
            return say("I think.")
        return write(path, "x\n") if not path.exists() else say("Done.")

    api.reply = by_stage(one=talk)
    ran = client.orchestrate()
    assert ran.said("1 stage: 1 done")
    assert box.state(sent[0]) == DELIVERED
    assert client.result("one")["repairs"] == 0
    assert len(events(client, "one", "UserPromptSubmit")) == 1
    assert [bool(event.data.get("mail")) for event in events(client, "one", "Stop")] == [True, False]


def test_no_message_goes_into_a_permission_dialog(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", stages("[agents.claude]\npermission_mode = 'manual'", ONE))
    api.reply = by_stage(
        one=turns(tool("Bash", command="touch forbidden", description="x"), then=say("Done."))
    )
    with client.started() as live:
        live.until("NEEDS A PERSON")
        for text in ("1", "yes"):
            refused = client.run("dodo-claude", "send", "one", text, check=1)
            assert refused.err.startswith(
                "refused: 'one': waits for a person at a dialog: Bash touch forbidden"
            )
        # The client may tell of its dialog before it has drawn it.
        question = "Do you want to proceed?"
        client.wait_for(lambda: question in client.run("dodo-claude", "capture", "one").out, "its dialog")
        assert not (client.root / "forbidden").exists()
        assert len([request for request in api.requests if request.kind == "turn"]) == 1
        live.kill(15)
    assert not (client.root / "forbidden").exists()
    assert Mailbox(client.log("one")).letters("new", "delivered", "refused") == []


def test_a_worker_speaks_without_being_asked_for_a_permission(client: Project, api: MessagesApi) -> None:
    """progress, note, ask by its own Bash, in dontAsk mode, allowed by no rule of the user's."""
    client.write("orchestrate.toml", stages(ONE))
    path = client.root / "it.txt"
    api.reply = by_stage(
        one=turns(
            tool("Bash", command='dodo-claude progress 60 "handlers done"', description="x"),
            tool("Bash", command='dodo-claude note "the port is 8080"', description="x"),
            tool("Bash", command='dodo-claude ask "SQLite or PostgreSQL?" --wait 50s', description="x"),
            write(path, "x\n"),
            say("Done."),
        )
    )
    client.env["PATH"] = client.environ()["PATH"].replace(f"{BIN}:", "")  # it finds the program all the same
    with client.started() as live:
        live.until("ASKS: SQLite or PostgreSQL?")
        client.run("dodo-claude", "answer", "one", "SQLite", check=0)
        assert live.wait() == 0, live.text
    assert "60 % handlers done" in live.text
    assert "one: the port is 8080" in client.read(".orchestrate/notes.md")
    results = [result.text for request in api.requests for result in request.tool_results]
    assert "SQLite" in results


def test_its_list_of_tasks_tells_how_far_it_is(client: Project, api: MessagesApi) -> None:
    """Nobody asks it to: the client's own tools for that are on, and their hooks tell."""
    client.write("orchestrate.toml", stages(ONE))

    def task(subject: str) -> Reply:
        return tool("TaskCreate", subject=subject, description=subject, activeForm=subject)

    api.reply = by_stage(
        one=turns(
            task("read"),
            task("write"),
            tool("TaskUpdate", taskId="1", status="completed"),
            write(client.root / "it.txt", "x\n"),
            say("Done."),
        )
    )
    ran = client.orchestrate()
    assert ran.said("one 50 % read")
