"""What the agent keeps of its conversation: the texts of hooks, and how full the context is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dodo_claude.agents.scripted.agent import TOLD_CHARS
from tests.unit.agents.scripted.terminal import ENTER, ESC, Terminal, once, told

SAMPLE = Path(__file__).parents[3] / "data" / "statusLine.json"
# The prompt cache, of which the scripted agent has none.
LEFT_OUT = {"prompt_cache"}
HEARS = '{ bash = "true" }, { told = "MAIL", then = [{ say = "heard" }] }, { told = "MAIL", then = [{ say = "twice" }] }'
ALLOWED = ("--permission-mode", "dontAsk", "--allowedTools", "Bash(true)", "--", "Go")


def attachments(agent: Terminal) -> list[tuple[str, list[str]]]:
    lines = map(json.loads, Path(agent.events()[0]["transcript_path"]).read_text().splitlines())
    found = [line["attachment"] for line in lines if line["type"] == "attachment"]
    return [(it["hookName"], it["content"]) for it in found if it["type"] == "hook_additional_context"]


@pytest.mark.parametrize("event", ["PreToolUse", "PostToolUse", "PostToolBatch"])
def test_a_text_told_at_a_call_is_heard_once_after_it(start: Any, tmp_path: Path, event: str) -> None:
    agent = start(HEARS, *ALLOWED, answers={event: once(tmp_path, told(event, "MAIL"))})
    assert agent.await_event("Stop")["last_assistant_message"] == "heard"
    name = event if event == "PostToolBatch" else f"{event}:Bash"
    assert attachments(agent) == [(name, ["MAIL"])]
    assert len(agent.events("PostToolUse")) == 1


def test_a_text_told_at_a_denied_call_is_heard_and_allows_nothing(start: Any, tmp_path: Path) -> None:
    steps = HEARS.replace('"true"', '"touch ran"')
    agent = start(steps, *ALLOWED, answers={"PreToolUse": once(tmp_path, told("PreToolUse", "MAIL"))})
    assert agent.await_event("Stop")["last_assistant_message"] == "heard"
    assert not (agent.cwd / "ran").exists()


@pytest.mark.parametrize(("key", "heard"), [(ENTER, True), (ESC, False)])
def test_a_text_waits_for_the_dialog_and_is_lost_with_the_call(
    start: Any, tmp_path: Path, key: str, heard: bool
) -> None:
    scenario = """
    [[stages.backend.turns]]
    steps = [{ permission = "Bash", command = "touch ran" }]
    [[stages.backend.turns]]
    steps = [{ say = "silence" }, { told = "MAIL", then = [{ say = "heard" }] }]
    """
    answers = {"PreToolUse": once(tmp_path, told("PreToolUse", "MAIL"))}
    agent = start(scenario, "--permission-mode", "manual", "--", "Go", answers=answers)
    agent.await_text("Do you want to proceed?")
    assert not (agent.cwd / "ran").exists()
    assert attachments(agent) == []
    agent.type(key)
    agent.await_text("Worked for" if heard else "Interrupted")
    agent.type("next" + ENTER)
    stop = agent.await_event("Stop", 2 if heard else 1)
    assert stop["last_assistant_message"] == ("heard" if heard else "silence")
    assert (agent.cwd / "ran").exists() is heard


@pytest.mark.parametrize("event", ["SessionStart", "UserPromptSubmit"])
def test_a_text_told_before_the_turn_is_there_when_it_begins(start: Any, event: str) -> None:
    agent = start(
        '{ told = "MAIL", then = [{ say = "heard" }] }', "--", "Go", answers={event: told(event, "MAIL")}
    )
    assert agent.await_event("Stop")["last_assistant_message"] == "heard"


def test_a_captured_text_is_the_newest_that_fits(start: Any) -> None:
    steps = """
      { bash = "true" }, { capture = "a", from_told = 'from (\\w+)' }, { capture = "b", from_told = 'start (\\w+)' },
      { say = "{a} {b}" }, { capture = "c", from_told = '(nothing)' },
    """
    answers = {
        "SessionStart": told("SessionStart", "start here from alice"),
        "PreToolUse": told("PreToolUse", "from bob"),
    }
    agent = start(steps, *ALLOWED, answers=answers)
    assert "What I was told has nothing that fits" in agent.await_event("Stop")["last_assistant_message"]
    agent.await_text("● bob here")


def test_a_long_text_becomes_the_name_of_a_file(start: Any) -> None:
    fits = "é" * (TOLD_CHARS - 3) + "END"
    steps = '{ bash = "true" }, { say = "cut" }, { told = "END", then = [{ say = "whole" }] }'
    agent = start(steps, *ALLOWED, answers={"PreToolUse": told("PreToolUse", fits)})
    assert agent.await_event("Stop")["last_assistant_message"] == "whole"
    other = start(steps, *ALLOWED, answers={"PreToolUse": told("PreToolUse", "x" + fits)})
    other.await_event("Stop", 2)
    assert other.events("Stop")[1]["last_assistant_message"] == "cut"
    (kept,) = other.home.rglob("tool-results/*")
    assert kept.read_text() == "x" + fits


def test_a_matcher_picks_the_start(start: Any) -> None:
    hook = {"type": "command", "command": told("SessionStart", "after a compaction")}
    steps = '{ say = "-" }, { told = "compaction", then = [{ say = "heard" }] }'
    agent = start(steps, "--", "Go", matched={"SessionStart": {"matcher": "compact", "hooks": [hook]}})
    assert agent.await_event("Stop")["last_assistant_message"] == "-"
    agent.await_done()
    agent.type("/compact" + ENTER)
    agent.await_event("PostCompact")
    agent.type("next" + ENTER)
    assert agent.await_event("Stop", 2)["last_assistant_message"] == "heard"


# -- the status line


def with_status(start: Any, folder: Path, scenario: str, *words: str) -> tuple[Any, Path]:
    file = folder / "status.jsonl"
    command = f"cat >>{file}; echo >>{file}; echo what it shows"
    return start(scenario, *words, statusLine={"type": "command", "command": command}), file


def statuses(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def shares(file: Path) -> list[float | None]:
    return [status["context_window"]["used_percentage"] for status in statuses(file)]


def test_the_status_line_tells_how_full_the_context_is(start: Any, tmp_path: Path) -> None:
    scenario = """
    [stages.backend]
    context = 10.4
    [[stages.backend.turns]]
    steps = [{ say = "one" }]
    [[stages.backend.turns]]
    context = 65.5
    steps = [{ say = "two" }]
    [[stages.backend.turns]]
    context = 5
    steps = [{ say = "three" }]
    """
    agent, file = with_status(start, tmp_path, scenario)

    def await_share(share: float | None) -> None:
        agent.until(lambda: shares(file)[-1:] == [share], f"{share} in {shares(file)}")

    await_share(None)
    agent.await_text("  what it shows")
    for share in (10, 66):
        agent.type("go on" + ENTER)
        await_share(share)
    told_by_transcript = [
        json.loads(line)["message"]["usage"]["input_tokens"]
        for line in Path(agent.events()[-1]["transcript_path"]).read_text().splitlines()
        if json.loads(line)["type"] == "assistant"
    ]
    assert told_by_transcript == [104_000, 655_000]
    agent.type("/compact" + ENTER)
    await_share(0)
    agent.type("go on" + ENTER)
    await_share(5)
    agent.type("/clear" + ENTER)
    await_share(None)
    first, *_, last = statuses(file)
    assert last["session_id"] == agent.events("SessionStart")[-1]["session_id"] != first["session_id"]


def test_the_status_line_comes_after_the_stop(start: Any, tmp_path: Path) -> None:
    agent, file = with_status(start, tmp_path, '{ say = "x" }')
    agent.until(lambda: shares(file) == [None], "the first status")
    agent.type("go on" + ENTER)
    agent.until(lambda: len(shares(file)) == 2, "a second status")
    assert agent.record.stat().st_mtime_ns < file.stat().st_mtime_ns  # the Stop's record is the last one
    assert agent.names()[-1] == "Stop"


def test_the_status_line_has_the_clients_keys(start: Any, tmp_path: Path) -> None:
    agent, file = with_status(start, tmp_path, '{ say = "x" }', "--", "Go")
    agent.until(lambda: len(shares(file)) >= 1 and shares(file)[-1] is not None, "a status")
    real, ours = json.loads(SAMPLE.read_text()), statuses(file)[-1]
    assert set(ours) == set(real) - LEFT_OUT
    for key, value in real.items():
        if isinstance(value, dict) and key not in LEFT_OUT:
            assert set(ours[key]) == set(value), key


def test_a_conversation_grows(start: Any) -> None:
    agent = start('{ say = "one word after the other, and then some more" }', "--", "Go")
    agent.await_done()
    agent.type("go on" + ENTER)
    stop = agent.await_event("Stop", 2)
    lines = map(json.loads, Path(stop["transcript_path"]).read_text().splitlines())
    used = [line["message"]["usage"]["input_tokens"] for line in lines if line["type"] == "assistant"]
    assert used[0] < used[1]
