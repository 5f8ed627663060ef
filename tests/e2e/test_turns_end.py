"""When a worker's turn is over: with the real client, and Stop hooks of the user's own that do not agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.scenes import events, results
from tests.project import Project

from .lab import DONT_ASK, Lab, wait_until
from .messages_api import MessagesApi, Reply, Request, delay, say, tool

pytestmark = [pytest.mark.client, pytest.mark.tmux]

# Sends the worker on so many times, each after so many seconds.
SENDS_ON = """#!/bin/sh
echo asked >> {asked}
sleep {seconds}
[ "$(wc -l < {asked})" -gt {times} ] || echo '{{"decision": "block", "reason": "Write more, said the hook."}}'
"""
STAGE = """
[orchestrate]
name = 'e2e'
[stages.one]
prompt = 'Write a.txt.'
targets = ['a.txt']
timeout = '60s'
"""


def their_hook(home: Path, text: str) -> None:
    script = home / "theirs.sh"
    script.write_text(text, encoding="utf-8")
    (home / ".claude").mkdir(exist_ok=True)
    hook = {"type": "command", "command": f"sh '{script}'"}
    settings = {"hooks": {"Stop": [{"hooks": [hook]}]}}
    (home / ".claude/settings.json").write_text(json.dumps(settings), encoding="utf-8")


@pytest.mark.parametrize(("times", "seconds"), [(1, 0), (2, 0), (1, 1)])
def test_a_worker_that_the_users_hook_sends_on_is_left_to_its_work(
    client: Project, api: MessagesApi, times: int, seconds: float
) -> None:
    """Its target is there at the first Stop already: it would be done, and ended with its request in flight."""
    asked, home = client.root.parent / "asked", client.root.parent / "client/home"
    their_hook(home, SENDS_ON.format(asked=asked, seconds=seconds, times=times))
    client.write("orchestrate.toml", STAGE)

    def reply(request: Request) -> Reply:
        more = sum("Write more, said the hook" in text for text in request.user_texts)
        name = f"more-{more}.txt" if more else "a.txt"
        if request.tool_results:
            return say(f"{name} is written.")
        return delay(0.5) + tool("Write", file_path=str(client.root / name), content="x\n")

    api.reply = reply
    assert client.orchestrate().said("1 stage: 1 done")
    assert results(client, "one") == ["succeeded"]
    made = sorted(path.name for path in client.root.glob("more-*.txt"))
    assert made == [f"more-{number}.txt" for number in range(1, times + 1)]
    assert len(api.requests) == 2 * (times + 1)
    assert len(events(client, "one", "Stop")) == times + 1
    assert client.result("one")["repairs"] == 0
    assert client.processes() == []


@pytest.mark.parametrize("hook", ["sleep 0.3", "echo no >&2; exit 1", """echo '{"continue": false}'"""])
def test_a_hook_that_lets_the_turn_end_costs_no_more_than_the_clients_word(
    client: Project, api: MessagesApi, hook: str
) -> None:
    their_hook(client.root.parent / "client/home", hook)
    client.write("orchestrate.toml", STAGE)
    api.reply = lambda request: (
        say("Done.")
        if request.tool_results
        else tool("Write", file_path=str(client.root / "a.txt"), content="x\n")
    )
    assert client.orchestrate().said("1 stage: 1 done")
    kinds = [event.kind for event in events(client, "one")]
    assert (kinds.count("Stop"), kinds.count("verified")) == (1, 1)
    # It is not the client's notice that it is idle, a minute later, that is waited for.
    assert "Notification" not in kinds[kinds.index("Stop") : kinds.index("verified")]


def test_what_the_client_says_after_all_hooks(lab: Lab) -> None:
    """A line in its transcript for each round of them, one more when the turn is over, and its registry."""
    their_hook(lab.home, SENDS_ON.format(asked=lab.root / "asked", seconds=0.2, times=1))
    pane = lab.start("--settings", str(lab.settings()), "--setting-sources", "user", *DONT_ASK, "--", "go")
    second = lab.wait_for("Stop", pane, 2)
    path = Path(second["transcript_path"])

    def told() -> list[str]:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [line.get("subtype", "") for line in lines if line["type"] == "system"]

    wait_until(lambda: "turn_duration" in told(), lambda: f"{told()}\n{pane.screen()}")
    assert told() == ["stop_hook_summary", "stop_hook_summary", "turn_duration"]
    session = lab.home / ".claude/sessions" / f"{pane.pid}.json"
    wait_until(lambda: json.loads(session.read_bytes())["status"] == "idle", pane.screen)
    about = json.loads(session.read_bytes())
    assert about["sessionId"] == second["session_id"]
    assert type(about["statusUpdatedAt"]) is int
