"""Turns: which one answers, what keeps one going, and what is no turn: resuming, /compact, /clear."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from dodo_claude.scripted.turns import STOP_BLOCK_CAP
from tests.scripted.terminal import ENTER, answer


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


def test_blocks_of_stop_are_capped(start: Any) -> None:
    agent = start('{ say = "x" }', "--", "Go", answers={"Stop": answer(decision="block", reason="more")})
    agent.await_done()
    assert len(agent.events("Stop")) == STOP_BLOCK_CAP + 1


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
