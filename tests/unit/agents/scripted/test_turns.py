"""Turns: which one answers, what keeps one going, and what is no turn: resuming, /compact, /clear."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from dodo_claude.agents.scripted.turns import STOP_BLOCK_CAP
from tests.unit.agents.scripted.terminal import ENTER, ENVIRONMENT, ESC, answer, once, told


def test_a_resumed_session_goes_on_with_the_next_turn(start: Any) -> None:
    scenario = """
    [[stages.backend.turns]]
    steps = [{ say = "Begun." }, { kill = 9 }]
    [[stages.backend.turns]]
    steps = [{ say = "Finished." }]
    """
    first = start(scenario, "--", "Go")
    assert first.await_exit() == -signal.SIGKILL
    again = start(scenario, "--resume", first.session)
    resumed = again.await_event("SessionStart", 2)
    assert (resumed["source"], resumed["session_id"]) == ("resume", first.session)
    assert resumed["context_tokens"] > 0
    again.await_text("● Begun.")
    again.type("go on" + ENTER)
    assert again.await_event("Stop")["last_assistant_message"] == "Finished."


BASH = ("--permission-mode", "dontAsk", "--allowedTools", "Bash")
AGAIN = """
[[stages.backend.turns]]
again = true
steps = [
    { capture = "name", from_prompt = 'write (\\w+)' },
    { say = "Begun {name}." },
    { bash = "test -e flag || { touch flag; kill -9 $PPID; }" },
    { say = "Finished {name}." },
]
[[stages.backend.turns]]
steps = [{ say = "Mended." }]
"""


def test_one_that_was_cut_off_in_a_turn_that_says_so_begins_it_anew(start: Any) -> None:
    first = start(AGAIN, *BASH, "--", "Please write it")
    assert first.await_exit() == -signal.SIGKILL
    again = start(AGAIN, *BASH, "--resume", first.session, "--", "Your session was cut off. Go on")
    assert again.await_event("Stop")["last_assistant_message"] == "Finished it."
    again.await_done()
    # Its end is an end: the next prompt has the next turn, also in a session that is resumed after it.
    last = start(AGAIN, *BASH, "--resume", first.session)
    last.await_event("SessionStart", 3)
    last.type("and?" + ENTER)
    assert last.await_event("Stop", 2)["last_assistant_message"] == "Mended."


def test_a_blocked_stop_goes_on_with_the_next_turn(start: Any, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    scenario = """
    [[stages.backend.turns]]
    steps = [{ say = "first" }]
    [[stages.backend.turns]]
    when = "write it"
    steps = [{ say = "second" }]
    """
    command = f"cat >/dev/null; if mkdir {flag} 2>/dev/null; then echo 'write it' >&2; exit 2; fi"
    agent = start(scenario, "--", "Go", answers={"Stop": command})
    agent.await_event("Stop", 2)
    agent.await_done()
    stops = [
        (record["stop_hook_active"], record["last_assistant_message"]) for record in agent.events("Stop")
    ]
    assert stops == [(False, "first"), (True, "second")]
    assert len(agent.events("UserPromptSubmit")) == 1


MORE = answer(decision="block", reason="more")


def test_blocks_of_stop_are_capped(start: Any) -> None:
    agent = start('{ say = "x" }', "--", "Go", answers={"Stop": MORE})
    agent.await_done()
    assert len(agent.events("Stop")) == STOP_BLOCK_CAP + 1
    assert f"from ending {STOP_BLOCK_CAP + 1} consecutive times" in agent.screen
    agent.type("again" + ENTER)  # a prompt begins the count anew
    agent.await_done(2)
    assert len(agent.events("Stop")) == 2 * (STOP_BLOCK_CAP + 1)


def test_a_variable_moves_the_cap(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "CLAUDE_CODE_STOP_HOOK_BLOCK_CAP", "3")
    agent = start('{ say = "x" }', "--", "Go", answers={"Stop": MORE})
    agent.await_done()
    assert len(agent.events("Stop")) == 4


def test_a_round_of_tools_begins_the_count_of_blocks_anew(start: Any, tmp_path: Path) -> None:
    count = STOP_BLOCK_CAP + 4
    more = f"cat >/dev/null; echo x >>{tmp_path}/n; [ $(wc -l <{tmp_path}/n) -gt {count} ] || {{ {MORE}; }} </dev/null"
    agent = start('{ bash = "true" }', "--allowedTools", "Bash", "--", "Go", answers={"Stop": more})
    agent.await_done()
    assert len(agent.events("Stop")) == count + 1


def test_a_text_told_at_a_stop_is_answered_as_a_prompt_is(start: Any, tmp_path: Path) -> None:
    scenario = """
    [[stages.backend.turns]]
    steps = [{ say = "first" }]
    [[stages.backend.turns]]
    when = "never"
    steps = [{ say = "wrong" }]
    [[stages.backend.turns]]
    when = "line"
    steps = [{ told = "line", then = [{ say = "twice" }] }, { capture = "n", from_told = 'line (\\d+)' }, { say = "{n}" }]
    """
    agent = start(
        scenario, "--", "Go", answers={"Stop": once(tmp_path, told("Stop", "build broke at line 7"))}
    )
    agent.await_event("Stop", 2)
    agent.await_done()
    stops = [(stop["stop_hook_active"], stop["last_assistant_message"]) for stop in agent.events("Stop")]
    assert stops == [(False, "first"), (True, "7")]
    assert len(agent.events("UserPromptSubmit")) == 1
    agent.await_text("⎿  Stop hook says: build broke at line 7")


def test_a_text_that_was_overridden_waits_for_the_next_prompt(
    start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "CLAUDE_CODE_STOP_HOOK_BLOCK_CAP", "1")
    scenario = """
    [[stages.backend.turns]]
    steps = [{ say = "x" }]
    [[stages.backend.turns]]
    steps = [{ say = "answered" }]
    [[stages.backend.turns]]
    steps = [{ say = "-" }, { told = "MAIL 1", then = [{ say = "twice" }] }, { told = "MAIL 2", then = [{ say = "heard" }] }]
    """
    number = f"cat >/dev/null; echo x >>{tmp_path}/n; n=$(wc -l <{tmp_path}/n); [ $n -lt 3 ] || exit 0; "
    tell = """printf '{"hookSpecificOutput":{"additionalContext":"MAIL %s"}}' $n"""
    agent = start(scenario, "--", "Go", answers={"Stop": number + tell})
    agent.await_done()
    assert len(agent.events("Stop")) == 2
    agent.type("next" + ENTER)
    agent.await_event("Stop", 3)
    said = [stop["last_assistant_message"] for stop in agent.events("Stop")]
    assert said == ["x", "answered", "heard"]


def test_a_compaction_can_be_blocked_and_clear_changes_the_session(start: Any) -> None:
    agent = start('{ say = "x" }', answers={"PreCompact": answer(decision="block", reason="not now")})
    agent.await_event("SessionStart")
    agent.type("/compact next phase" + ENTER)
    assert agent.await_event("PreCompact")["custom_instructions"] == "next phase"
    agent.await_text("not now")
    agent.type("/clear" + ENTER)
    assert agent.await_event("SessionStart", 2)["source"] == "clear"
    ids = [record["session_id"] for record in agent.events("SessionStart")]
    assert ids[0] == agent.session != ids[1]
    assert not agent.events("PostCompact")
    assert set(agent.events("SessionStart")[1]) == {
        *("session_id", "transcript_path", "cwd", "hook_event_name", "source")
    }


def test_a_compaction_tells_of_itself_in_this_order(start: Any) -> None:
    agent = start('{ say = "x" }', "--", "Go")
    agent.await_done()
    agent.paste("/compact ")
    agent.paste("1. keep\n2. the\n3. api\n4. contract")
    agent.type(ENTER)
    post = agent.await_event("PostCompact")
    assert agent.names()[3:] == ["PreCompact", "SubagentStop", "SessionStart", "PostCompact"]
    pre = agent.events("PreCompact")[0]
    assert pre["custom_instructions"] == "1. keep\n2. the\n3. api\n4. contract"
    assert post["session_id"] == agent.session
    agent.await_text("Compacted (ctrl+o")
    lines = [json.loads(line) for line in Path(post["transcript_path"]).read_text().splitlines()]
    (boundary,) = [line for line in lines if line.get("subtype") == "compact_boundary"]
    assert boundary["compactMetadata"]["preTokens"] > 0


def test_a_long_compact_in_one_paste_is_a_prompt(start: Any) -> None:
    agent = start('{ say = "x" }', "--", "Go")
    agent.await_done()
    agent.paste("/compact 1\n2\n3\n4")
    agent.type(ENTER)
    assert "/compact 1" in agent.await_event("UserPromptSubmit", 2)["prompt"]
    assert not agent.events("PreCompact")


def test_without_a_turn_there_is_nothing_to_compact(start: Any) -> None:
    agent = start("[stages.backend]\nidle_notice = 0.05\nsteps = [{ say = 'x' }]")
    agent.await_event("SessionStart")
    agent.type("/compact" + ENTER)
    agent.await_text("Not enough messages to compact.")
    assert agent.await_event("Notification")["notification_type"] == "idle_prompt"
    assert agent.names() == ["SessionStart", "PreCompact", "Notification"]
    agent.type("Go" + ENTER)
    agent.await_done()
    agent.type("/compact" + ENTER)
    agent.await_event("PostCompact")
    agent.await_text("Compacted")
    agent.type("/compact" + ENTER)
    agent.until(lambda: agent.screen.count("Not enough messages") == 2, "a second refusal")
    assert len(agent.events("PostCompact")) == 1


def test_compactions_fail_as_the_scenario_says(start: Any) -> None:
    fails = 'compact_fails = ["rate_limit", "empty"]'
    agent = start(f'[stages.backend]\n{fails}\nsteps = [{{ say = "x" }}]', "--", "Go")
    agent.await_done()
    agent.type("/compact" + ENTER)
    failure = agent.await_event("StopFailure")
    assert (failure["error"], bool(failure["agent_id"])) == ("rate_limit", True)
    agent.await_text("Error during compaction: API Error")
    agent.type("/compact" + ENTER)
    agent.await_text("summarization produced empty response")
    assert agent.names()[3:] == ["PreCompact", "StopFailure", "PreCompact", "SubagentStop"]
    agent.type("/compact" + ENTER)
    agent.await_event("PostCompact")


def test_esc_puts_compact_back_into_the_box(start: Any) -> None:
    agent = start('[stages.backend]\ncompact_seconds = 60\nsteps = [{ say = "x" }]', "--", "Go")
    agent.await_done()
    agent.type("/compact GOAL" + ENTER)
    agent.await_text("compacting conversation")
    agent.type(ESC)
    agent.await_text("❯\xa0/compact GOAL")
    assert agent.names()[3:] == ["PreCompact"]


def test_a_compaction_takes_what_was_told_and_its_hook_tells_anew(start: Any) -> None:
    scenario = """
    [[stages.backend.turns]]
    steps = [{ say = "x" }]
    [[stages.backend.turns]]
    steps = [{ capture = "who", from_told = 'from (\\w+)' }, { say = "{who}" }]
    """
    source = """$(sed 's/.*"source": "\\([a-z]*\\)".*/\\1/')"""
    command = f"""printf '{{"hookSpecificOutput":{{"additionalContext":"from %s"}}}}' {source}"""
    agent = start(scenario, "--", "Go", answers={"SessionStart": command})
    agent.await_done()
    agent.type("/compact" + ENTER)
    agent.await_event("PostCompact")
    agent.type("next" + ENTER)
    assert agent.await_event("Stop", 2)["last_assistant_message"] == "compact"
    agent.type("/clear" + ENTER)
    agent.await_event("SessionStart", 3)
    agent.type("next" + ENTER)
    assert agent.await_event("Stop", 3)["last_assistant_message"] == "clear"
