"""Data with an at-sign reaches the real client's model as written, and brings nothing along; an author's own is attached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dodo_claude.state.mail import DELIVERED, Mailbox
from tests.e2e.gates import GATE, gate, send
from tests.integration.scenes import at_gate, open_gate
from tests.project import Project

from .lab import WORKER_FLAGS, Lab
from .messages_api import MessagesApi, Reply, Request, Script, say, tool, turns

pytestmark = [pytest.mark.client, pytest.mark.tmux]

NOTE, OWN = "CONTENT-OF-THE-NOTE", "CONTENT-OF-THE-AUTHORS-FILE"
SAID = "log: see @note.txt there"


@pytest.fixture
def mentioning(client: Project) -> Project:
    client.write("note.txt", f"{NOTE}\n")
    client.write("own.txt", f"{OWN}\n")
    client.write("log.txt", f"{SAID}\n")
    return client


def model(client: Project, *targets: str) -> Script:
    """Reads the file that it is told to read, then writes each target, in turn, once for a turn."""
    made = iter(targets)

    def reply(request: Request) -> Reply:
        order = re.search(r"Read the file (\S+\.md)", request.last_user_text)
        done = [result.text for result in request.tool_results]
        if order and not done:
            return tool("Read", file_path=order[1].rstrip(":"))
        if done and not any("1\t" in text for text in done):
            return say("Written.")
        name = next(made, None)
        if name is None:
            return say("Nothing more.")
        return tool("Write", file_path=str(client.root / name.split()[0]), content=f"{name}\n")

    return reply


def brought_along(api: MessagesApi, text: str) -> bool:
    return any(request.contains(text) for request in api.requests)


def test_quoted_files_and_items(mentioning: Project, api: MessagesApi) -> None:
    mentioning.write(
        "orchestrate.toml",
        """
        [orchestrate]
        name = 'e2e'
        [stages.quotes]
        prompt = "Sum up @own.txt and {{ files['log.txt'] }}"
        targets = ['quotes.txt']
        timeout = '60s'
        [stages.items]
        foreach = ['logs/@note.txt']
        after = ['quotes']
        prompt = 'Look at {{ item | name }} now.'
        targets = ['items.txt']
        timeout = '60s'
        """,
    )
    api.reply = model(mentioning, "quotes.txt", "items.txt")
    assert mentioning.orchestrate().said("2 stages: 2 done")
    assert not brought_along(api, NOTE)
    assert brought_along(api, OWN)
    assert brought_along(api, SAID)
    assert brought_along(api, "Look at @note.txt now.")


def test_a_quoted_file_that_mentions_nothing_that_exists_stays_in_the_prompt(
    mentioning: Project, api: MessagesApi
) -> None:
    mentioning.write("code.py", "@property\ndef a(): ...\n")
    mentioning.write(
        "orchestrate.toml",
        """
        [orchestrate]
        name = 'e2e'
        [stages.one]
        prompt = "See @own.txt, mend {{ files['code.py'] }}"
        targets = ['one.txt']
        timeout = '60s'
        """,
    )
    api.reply = model(mentioning, "one.txt")
    assert mentioning.orchestrate().said("1 stage: 1 done")
    assert "\n@property\ndef a(): ...\n" in api.requests[0].last_user_text
    assert brought_along(api, OWN)


def test_what_a_check_says_and_a_phase(mentioning: Project, api: MessagesApi) -> None:
    """A failed check's last words stand in the order itself; a phase's prompt is pasted."""
    mentioning.write(
        "orchestrate.toml",
        """
        [orchestrate]
        name = 'e2e'
        [stages.one]
        foreach = ['logs/@note.txt']
        timeout = '90s'
        [[stages.one.phases]]
        prompt = 'Begin.'
        targets = ['first.txt']
        check = 'cat log.txt; grep -q good first.txt'
        [[stages.one.phases]]
        prompt = 'Go on with {{ item | name }} and @own.txt.'
        targets = ['second.txt']
        """,
    )
    api.reply = model(mentioning, "first.txt", "first.txt good", "second.txt")
    ran = mentioning.orchestrate()
    assert ran.said("1 stage: 1 done")
    assert not brought_along(api, NOTE)
    assert brought_along(api, OWN)
    assert brought_along(api, SAID)
    assert brought_along(api, "Go on with @note.txt and @own.txt.")


PASTES = [["order", "\n\nOutput of the check, as data:\nsee @note.txt"], ["order", "\n".join(["line"] * 40) + "\n@note.txt"]]  # fmt: skip


@pytest.mark.parametrize("texts", [["see @note.txt"], *PASTES])
def test_a_paste_is_taken_up_by_the_client_also_in_its_frame(lab: Lab, texts: list[str]) -> None:
    """The control: why it may not hold data with an at-sign."""
    (lab.project / "note.txt").write_text(NOTE)
    pane = lab.start("--settings", str(lab.settings()), *WORKER_FLAGS, "--", "go")
    lab.wait_for("Stop", pane)
    for text in texts:
        pane.paste(text, lab.root / "paste")
    pane.keys("Enter")
    lab.wait_for("Stop", pane, 2)
    assert lab.api.requests[-1].contains(NOTE)


@pytest.mark.parametrize("event", ["SessionStart", "PostToolBatch", "Stop"])
def test_what_a_hook_says_is_as_written(lab: Lab, event: str) -> None:
    (lab.project / "note.txt").write_text(NOTE)
    lab.answer(event, {"hookSpecificOutput": {"hookEventName": event, "additionalContext": "see\n@note.txt"}})
    lab.api.reply = turns(tool("Bash", command="echo hi"), say("a"), say("b"))
    hooked = ("SessionStart", "UserPromptSubmit", "PostToolBatch", "Stop")
    pane = lab.start("--settings", str(lab.settings(hooked)), *WORKER_FLAGS, "--", "go")
    lab.api.wait_for(lambda requests: any(request.contains("see\n@note.txt") for request in requests))
    lab.wait_for("Stop", pane)
    assert not any(request.contains(NOTE) for request in lab.api.requests)


def test_messages_to_a_busy_worker_and_to_an_idle_one(mentioning: Project, api: MessagesApi) -> None:
    mentioning.write(
        "orchestrate.toml",
        f"""
        [orchestrate]
        name = 'e2e'
        [stages.one]
        prompt = 'Make it.'
        targets = ['it.txt']
        allowed_tools = ['Bash']
        check = "{GATE.format("check")}"
        timeout = '60s'
        """,
    )
    read = "{}"
    path = mentioning.root / "it.txt"

    def reply(request: Request) -> Reply:
        nonlocal read
        order = re.search(r"Read the file (\S+\.md)", request.last_user_text)
        if order and not request.tool_results:
            read = order[1]
            return tool("Read", file_path=read)
        return next(rest)

    rest = iter(
        [gate("go"), tool("Write", file_path=str(path), content="x\n"), say("Done."), say("Heard it.")]
    )
    api.reply = reply
    box = Mailbox(mentioning.log("one"))
    with mentioning.started() as live:
        at_gate(mentioning, "go")
        busy = send(mentioning, "busy, see @note.txt")
        open_gate(mentioning, "go")
        at_gate(mentioning, "check")
        idle = send(mentioning, "idle, see @note.txt")
        open_gate(mentioning, "check")
        assert live.wait() == 0, live.text
    assert {box.state(busy), box.state(idle)} == {DELIVERED}
    assert not brought_along(api, NOTE)
    assert brought_along(api, "Message from the user:\nbusy, see @note.txt")
    assert brought_along(api, "idle, see @note.txt")
    assert "Message from the user:\nidle, see @note.txt" in Path(read).read_text(encoding="utf-8")
