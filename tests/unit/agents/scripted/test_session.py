"""Prompts and keys of a session, its signals and its ends."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agents.scripted.terminal import CTRL_C, ENTER, ESC, PATIENCE, answer


def test_positional_prompt_is_verbatim(start: Any) -> None:
    prompt = '-x /path #!\ttab\r\n"quoted" $HOME `x`;  '
    agent = start(
        '{ say = "one" }, { say = "two\\nlines" }', "--allowedTools", "Edit(./**)", "Bash", "--", prompt
    )
    assert agent.await_event("Stop")["last_assistant_message"] == "two\nlines"
    assert agent.events("UserPromptSubmit")[0]["prompt"] == prompt
    assert agent.names() == ["SessionStart", "UserPromptSubmit", "Stop"]
    agent.await_done()
    assert "this is NOT Claude" in agent.screen
    assert "● two\r\n  lines" in agent.screen
    assert "❯\xa0\x1b[7m" in agent.screen


def test_pasted_prompts(start: Any) -> None:
    agent = start('{ say = "ok" }')
    agent.await_event("SessionStart")
    long_line = "x" * 801
    cases = [
        ("one\ttab\r\ntwo\x07\x1b[31m three  \n", "one    tab\ntwo three", ""),
        ("y" * 800, "y" * 800, ""),
        (long_line, long_line, "[Pasted text #1]"),
        ("1\n2\n3\n4", "1\n2\n3\n4", "[Pasted text #2 +3 lines]"),
    ]
    for number, (pasted, text, placeholder) in enumerate(cases, 1):
        agent.paste(pasted)
        agent.type(ENTER)
        prompt = agent.await_event("UserPromptSubmit", number)["prompt"]
        if placeholder:
            agent.await_text(placeholder)
            found = re.fullmatch(
                r'\n\n<pasted_content id="(\w{4})">\n(.*)\n</pasted_content id="\1">\n', prompt, re.DOTALL
            )
            assert found
            prompt = found[2]
        assert prompt == text
        agent.await_event("Stop", number)
        agent.await_done(number)


def test_a_large_paste_arrives_whole(start: Any) -> None:
    agent = start('{ say = "ok" }')
    agent.await_event("SessionStart")
    text = "".join(f"{number} é😀\n" for number in range(10_000))
    agent.paste("draft " + text)
    agent.type(ENTER)
    assert text.rstrip() in agent.await_event("UserPromptSubmit")["prompt"]


def test_typing_and_editing(start: Any) -> None:
    agent = start('{ say = "ok" }')
    agent.await_event("SessionStart")
    agent.type("first\\" + ENTER + "secomd\x7f\x7fnd" + ENTER)
    assert agent.await_event("UserPromptSubmit")["prompt"] == "first\nsecond"
    agent.await_done()
    agent.type("gone\x15" + "also gone" + CTRL_C + ENTER + "/unknown" + ENTER)
    agent.await_text("Unknown command: /unknown")
    agent.type("/path/with/slash" + ENTER)
    assert agent.await_event("UserPromptSubmit", 2)["prompt"] == "/path/with/slash"


def test_prompts_typed_while_busy_are_announced_at_once_and_merged(start: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    scenario = f"""
    [[stages.backend.turns]]
    steps = [{{ bash = "read x < {gate}" }}]
    [[stages.backend.turns]]
    steps = [{{ say = "both" }}]
    """
    agent = start(scenario, "--allowedTools", "Bash", "--", "one")
    agent.await_event("PreToolUse")
    agent.type("two" + ENTER + "three" + ENTER)
    agent.await_event("UserPromptSubmit", 3)
    agent.await_text("Queued")
    assert not agent.events("Stop")
    gate.write_text("go\n")
    assert agent.await_event("Stop", 2)["last_assistant_message"] == "both"
    agent.await_done(2)
    assert len(agent.events("Stop")) == 2
    assert len({record["prompt_id"] for record in agent.events("UserPromptSubmit")}) == 3


def test_a_blocked_prompt_comes_back(start: Any) -> None:
    agent = start(
        '{ say = "x" }', "--", "Go", answers={"UserPromptSubmit": answer(decision="block", reason="no")}
    )
    agent.await_text("operation blocked by hook")
    agent.await_text("❯\xa0Go")
    assert not agent.events("Stop")


def test_text_before_the_start_keeps_but_loses_its_enter(start: Any) -> None:
    agent = start('[stages.backend]\nslow_start = 0.3\nsteps = [{ say = "ok" }]')
    agent.type("early" + ENTER)
    agent.await_text("❯\xa0early")
    agent.type(ENTER)
    assert agent.await_event("UserPromptSubmit")["prompt"] == "early"


def test_the_first_enter_after_a_paste_can_be_lost(start: Any) -> None:
    agent = start('[stages.backend]\nignore_first_enter = true\nsteps = [{ say = "ok" }]')
    agent.await_event("SessionStart")
    agent.paste("text")
    agent.type(ENTER)
    agent.await_text("❯\xa0text")
    agent.type("!" + ENTER)
    assert agent.await_event("UserPromptSubmit")["prompt"] == "text!"


def test_esc_interrupts_without_a_hook(start: Any) -> None:
    agent = start('{ say = "working" }, { hang = true }', "--", "Go")
    agent.await_text("● working")
    agent.await_text("esc to interrupt")
    agent.type(ESC)
    agent.await_text("Interrupted · What should Claude do instead?")
    agent.type("next" + ENTER)
    agent.await_event("UserPromptSubmit", 2)
    assert agent.names() == ["SessionStart", "UserPromptSubmit", "UserPromptSubmit"]


def test_esc_before_anything_came_gives_the_prompt_back(start: Any) -> None:
    agent = start("{ hang = true }", "--", "Go slowly")
    agent.await_text("esc to interrupt")
    agent.type(ESC)
    agent.await_text("❯\xa0Go slowly")
    assert "Interrupted" not in agent.screen


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 0)],
    ids=["term", "hup", "int"],
)
def test_signals(start: Any, number: int, code: int) -> None:
    agent = start("{ hang = true }", "--", "Go")
    agent.await_event("UserPromptSubmit")
    agent.process.send_signal(number)
    assert agent.await_exit() == code
    assert agent.events("SessionEnd")[0]["reason"] == "other"


def test_exit_by_keys(start: Any) -> None:
    agent = start('{ say = "x" }')
    agent.await_event("SessionStart")
    agent.type(CTRL_C)
    agent.await_text("Press Ctrl-C again to exit")
    agent.type(CTRL_C)
    assert agent.await_exit() == 0
    again = start('{ say = "x" }')
    again.await_event("SessionStart", 2)
    again.type("/exit" + ENTER)
    assert again.await_exit() == 0
    assert [record["reason"] for record in again.events("SessionEnd")] == ["prompt_input_exit"] * 2
    assert again.screen.endswith("\x1b[?2004l\x1b[?1004l\x1b[?25h")


def test_a_lost_terminal_ends_the_session(start: Any) -> None:
    agent = start("{ hang = true }", "--", "Go")
    agent.await_event("UserPromptSubmit")
    spare, agent.master = agent.master, os.open(os.devnull, os.O_RDONLY)
    os.close(spare)
    agent.process.wait(PATIENCE)
    assert agent.process.returncode == 143
    assert agent.events("SessionEnd")[0]["reason"] == "other"
