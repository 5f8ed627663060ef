"""What messages to a worker and phases rely on, proved again on the real client.

Each test names one fact: how a text given by a hook reaches the model and when it does not, what /compact and
/clear do, and where the size of the context is told.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dodo_claude.agents.claude.versions import CLIENT_VERSION

from .client import VERSION
from .lab import DONT_ASK, HOOKED, WORKER_FLAGS, Lab, Pane, wait_until
from .messages_api import Request, delay, error, say, tool, turns, used

pytestmark = [pytest.mark.client, pytest.mark.tmux]

EVENTS = (*HOOKED, "PostToolBatch", "Notification", "SubagentStop", "PreCompact", "PostCompact")

# So many Stops in a row may ask for more; the text of the last of them waits for the next prompt.
STOP_CAP = 9
# A longer text of a hook reaches the model as the name of a file. Characters, not bytes.
CONTEXT_LIMIT = 10_000

# What stands around a Stop hook's block, which we don't use: where versions differ. What is not here is as the proved one.
_PREFACE = "<system-reminder>\nThe text below is the output of a hook that the user, their organization or this environment set up."
BLOCK_FRAMES = {"2.1.330": ("Stop hook feedback:", ""), "2.1.332": (_PREFACE, "\n</system-reminder>")}

# Compaction is tried again after an error; these tests want the end of it.
NO_RETRY = {"x-should-retry": "false"}


def told(event: str, text: str) -> dict[str, Any]:
    return {"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}}


def block(_event: str, text: str) -> dict[str, Any]:
    return {"decision": "block", "reason": text}


def times(request: Request, text: str) -> int:
    return sum(found.count(text) for found in (*request.user_texts, *request.system_notes))


def delivered(lab: Lab) -> list[str]:
    """The texts that the transcript says were given to the model, as soon as it has the last answer: it lags."""

    def lines() -> list[dict[str, Any]]:
        (path,) = {event["transcript_path"] for event in lab.events()}
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]

    def answers() -> int:
        return len({line["message"]["id"] for line in lines() if line["type"] == "assistant"})

    asked = len(lab.api.requests)
    wait_until(lambda: answers() == asked, lambda: f"{answers()} of {asked} answers in the transcript")
    found = [line["attachment"] for line in lines() if line["type"] == "attachment"]
    return [text for it in found if it["type"] == "hook_additional_context" for text in it["content"]]


def after(lab: Lab, count: int) -> list[str]:
    return [event["hook_event_name"] for event in lab.events()[count:]]


def one_turn(lab: Lab, **settings: Any) -> tuple[Pane, int]:
    """A worker that is idle after its first turn, and how many events that took."""
    pane = lab.start(
        "--settings", str(lab.settings(EVENTS, **settings)), *WORKER_FLAGS, "--", "the first task"
    )
    lab.wait_for("Stop", pane)
    return pane, len(lab.events())


# -- a text given before a tool call ---------------------------------------------------------------------------


def test_pretooluse_text_is_in_the_next_request_once_and_changes_no_verdict(lab: Lab) -> None:
    lab.answer("PreToolUse", told("PreToolUse", "MAIL-1"), told("PreToolUse", "MAIL-2"))
    lab.api.reply = turns(tool("Bash", command="echo hi"), tool("Bash", command="touch denied"))

    pane = lab.start("--settings", str(lab.settings(EVENTS)), *WORKER_FLAGS, "--", "go")

    lab.wait_for("Stop", pane)
    _, second, third = lab.api.requests
    assert [r.is_error for r in (*second.tool_results, *third.tool_results)] == [False, True]
    assert not (lab.project / "denied").exists()
    assert (times(second, "MAIL-1"), times(second, "MAIL-2")) == (1, 0)
    assert (times(third, "MAIL-1"), times(third, "MAIL-2")) == (1, 1)
    assert "PreToolUse:Bash hook additional context: MAIL-2" in third.system_notes
    assert len(lab.named("UserPromptSubmit")) == 1
    assert delivered(lab) == ["MAIL-1", "MAIL-2"]


def test_pretooluse_text_of_a_call_that_was_broken_off_is_lost_and_the_transcript_has_it_not(
    lab: Lab,
) -> None:
    """So what a hook printed is delivered only when the transcript says so."""
    lab.answer("PreToolUse", told("PreToolUse", "MAIL"))
    lab.api.reply = turns(tool("Bash", command="touch started; tail -f /dev/null"))
    settings = lab.settings(EVENTS, permissions={"allow": ["Bash"]})
    pane = lab.start("--settings", str(settings), *DONT_ASK, "--", "go")
    wait_until((lab.project / "started").exists, pane.screen)

    pane.keys("Escape")
    pane.shows("Interrupted")
    pane.submit("go on", lab.root / "paste")

    lab.wait_for("Stop", pane)
    assert times(lab.api.requests[-1], "go on") == 1
    assert [times(request, "MAIL") for request in lab.api.requests] == [0, 0]
    assert delivered(lab) == []
    assert lab.named("PostToolBatch") == []


@pytest.mark.parametrize(("key", "made", "known"), [("Enter", True, ["MAIL"]), ("Escape", False, [])])
def test_pretooluse_text_waits_for_the_dialog_and_answers_nothing(
    lab: Lab, key: str, made: bool, known: list[str]
) -> None:
    lab.answer("PreToolUse", told("PreToolUse", "MAIL"))
    lab.api.reply = turns(tool("Bash", command="touch made"))
    settings = ("--settings", str(lab.settings(EVENTS)), "--permission-mode", "manual")
    pane = lab.start(*settings, "--", "go")

    lab.wait_for("Notification", pane)  # the client's own, some seconds after the dialog opened
    assert "Do you want to proceed?" in pane.screen()
    assert len(lab.api.requests) == 1
    assert not (lab.project / "made").exists()

    pane.keys(key)
    if not made:
        pane.shows("Interrupted")
        pane.submit("go on", lab.root / "paste")
    lab.wait_for("Stop", pane)
    assert (lab.project / "made").exists() is made
    assert times(lab.api.requests[-1], "MAIL") == len(known)
    assert delivered(lab) == known


# -- a text given at a turn's end ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [told, block])
def test_stop_texts_keep_the_turn_going_up_to_a_cap_and_the_last_waits_for_a_prompt(
    lab: Lab, kind: Any
) -> None:
    texts = [f"MAIL-{number:02}" for number in range(STOP_CAP + 1)]
    lab.answer("Stop", *(kind("Stop", text) for text in texts))
    pane, _ = one_turn(lab)

    pane.shows("overriding and ending turn")
    assert [stop["stop_hook_active"] for stop in lab.named("Stop")] == [False, *[True] * (STOP_CAP - 1)]
    assert len(lab.named("UserPromptSubmit")) == 1
    requests = lab.api.requests
    assert len(requests) == STOP_CAP
    for number, request in enumerate(requests):
        seen = [text for text in texts if times(request, text)]
        assert seen == texts[:number]

    pane.submit("go on", lab.root / "paste")
    lab.wait_for("Stop", pane, STOP_CAP + 2)  # the count began anew with the prompt
    assert [[text for text in texts if times(r, text)] for r in lab.api.requests[STOP_CAP:]] == [
        texts[:-1],
        texts,
    ]
    if kind is told:
        assert delivered(lab) == texts


def test_how_stop_texts_read(lab: Lab) -> None:
    lab.answer("Stop", told("Stop", "MAIL"), block("Stop", "BLOCK"))

    one_turn(lab)

    lab.api.wait_for(lambda requests: len(requests) == 3)
    last = lab.api.requests[-1]
    assert "<system-reminder>\nStop hook additional context: MAIL\n</system-reminder>" in last.user_texts
    before, after = BLOCK_FRAMES.get(VERSION, BLOCK_FRAMES[CLIENT_VERSION])
    (blocking,) = (text for text in last.user_texts if "BLOCK" in text)
    assert blocking.startswith(before)
    assert blocking.endswith(f"Stop hook feedback:\nBLOCK{after}")
    (note,) = (note for note in last.system_notes if "BLOCK" in note)
    assert note.startswith("Stop hook blocking error from command: ")


@pytest.mark.parametrize("command", ["echo allowed", "touch denied"])
def test_a_round_of_tools_between_two_stops_begins_their_count_anew(lab: Lab, command: str) -> None:
    count = STOP_CAP + 2
    lab.answer("Stop", *(told("Stop", f"MAIL-{number:02}") for number in range(count)))
    rounds = [reply for _ in range(count) for reply in (tool("Bash", command=command), say("ok"))]
    lab.api.reply = turns(*rounds)
    pane, _ = one_turn(lab)

    lab.wait_for("Stop", pane, count + 1)
    assert len(delivered(lab)) == count


@pytest.mark.parametrize(("cap", "stops"), [("1", 2), ("1000", STOP_CAP + 3)])
def test_a_variable_says_how_many_stops_in_a_row_are_obeyed(lab: Lab, cap: str, stops: int) -> None:
    lab.answer("Stop", *(told("Stop", f"MAIL-{number:02}") for number in range(STOP_CAP + 2)))
    flags = ("--settings", str(lab.settings(EVENTS)), *WORKER_FLAGS)

    pane = lab.start(*flags, "--", "go", more={"CLAUDE_CODE_STOP_HOOK_BLOCK_CAP": cap})

    lab.wait_for("Stop", pane, stops)
    pane.shows(" · done ")  # the turn's end
    assert ("overriding and ending turn" in pane.screen()) is (cap == "1")
    assert len(lab.named("Stop")) == len(lab.api.requests) == stops


@pytest.mark.parametrize("event", ["PreToolUse", "Stop"])
def test_a_longer_text_becomes_the_name_of_a_file(lab: Lab, event: str) -> None:
    fits = "é" * (CONTEXT_LIMIT - 4) + "~END"
    lab.answer(event, told(event, fits), told(event, "x" + fits))
    if event == "PreToolUse":
        lab.api.reply = turns(*[tool("Bash", command="echo hi")] * 2)

    lab.start("--settings", str(lab.settings(EVENTS)), *WORKER_FLAGS, "--", "go")

    lab.api.wait_for(lambda requests: len(requests) == 3)
    last = lab.api.requests[-1]
    assert times(last, fits) == 1
    assert sum("<persisted-output>" in text for text in (*last.user_texts, *last.system_notes)) == 1


def test_the_reason_of_a_block_may_be_longer(lab: Lab) -> None:
    reason = "x" * 16_000 + "~END"
    lab.answer("Stop", block("Stop", reason))

    pane, _ = one_turn(lab)

    lab.wait_for("Stop", pane, 2)
    assert lab.api.requests[-1].contains(f"Stop hook feedback:\n{reason}")


# -- /compact --------------------------------------------------------------------------------------------------


def test_compact_with_a_goal(lab: Lab) -> None:
    """Its hooks, its request, and what the next turn begins with."""
    brief = lab.root / "brief.md"
    brief.write_text("WORKER BRIEF", encoding="utf-8")
    flags = (
        "--settings",
        str(lab.settings(EVENTS)),
        *WORKER_FLAGS,
        "--append-system-prompt-file",
        str(brief),
    )
    pane = lab.start(*flags, "--", "the first task")
    session = lab.wait_for("Stop", pane)["session_id"]
    seen = len(lab.events())
    lab.answer("SessionStart", told("SessionStart", "THE BRIEF AGAIN"))

    pane.submit("/compact GOAL: keep the contract", lab.root / "paste")

    lab.wait_for("PostCompact", pane)
    pre, _, start, post = lab.events()[seen:]
    assert after(lab, seen) == ["PreCompact", "SubagentStop", "SessionStart", "PostCompact"]
    assert (pre["trigger"], pre["custom_instructions"]) == ("manual", "GOAL: keep the contract")
    assert start["source"] == "compact"
    assert post["compact_summary"] == "<summary>Earlier work, summarised by the scripted model.</summary>"
    asked = lab.api.requests[-1]
    assert asked.kind == "compaction"
    assert "Additional Instructions:\nGOAL: keep the contract" in asked.last_user_text

    pane.submit("the second task", lab.root / "paste")  # PostCompact is enough to wait for
    lab.wait_for("Stop", pane, 2)
    told_anew = lab.api.requests[-1]
    assert told_anew.last_user_text == "the second task"
    assert times(told_anew, "THE BRIEF AGAIN") == 1
    assert "WORKER BRIEF" in told_anew.system
    assert told_anew.contains("summarised by the scripted model")
    assert not told_anew.contains("the first task")
    assert {event["session_id"] for event in lab.events()} == {session}


GOAL = "\n".join(f"{number}. keep line {number}" for number in range(10))


def test_a_long_compact_in_one_paste_is_a_prompt(lab: Lab) -> None:
    """More than 800 characters, or four lines, and it is no command any more."""
    pane, seen = one_turn(lab)

    pane.submit(f"/compact {GOAL}", lab.root / "paste")

    lab.wait_for("Stop", pane, 2)
    assert after(lab, seen) == ["UserPromptSubmit", "Stop"]


def test_a_long_compact_in_two_pastes_is_a_command(lab: Lab) -> None:
    pane, _ = one_turn(lab)

    pane.paste("/compact ", lab.root / "paste")
    pane.submit(GOAL, lab.root / "paste")

    lab.wait_for("PostCompact", pane)
    assert lab.named("PreCompact")[0]["custom_instructions"] == GOAL
    assert len(lab.named("UserPromptSubmit")) == 1


def test_nothing_to_compact_is_told_by_no_hook_but_the_idle_notice(lab: Lab) -> None:
    """So it is not asked of a session without a turn since its start, its last /compact or /clear."""
    state = lab.home / ".claude.json"
    table = json.loads(state.read_bytes()) | {"messageIdleNotifThresholdMs": 1000}
    state.write_text(json.dumps(table), encoding="utf-8")
    pane = lab.start("--settings", str(lab.settings(EVENTS)), *WORKER_FLAGS)
    lab.wait_for("SessionStart", pane)
    pane.shows("❯")

    pane.submit("/compact GOAL", lab.root / "paste")

    pane.shows("Not enough messages to compact.")
    assert lab.wait_for("Notification", pane)["notification_type"] == "idle_prompt"
    assert after(lab, 0) == ["SessionStart", "PreCompact", "Notification"]
    assert lab.api.requests == []


@pytest.mark.parametrize(("status", "name"), [(400, "unknown"), (429, "rate_limit"), (500, "server_error")])
def test_a_compaction_that_the_api_refuses_ends_with_stop_failure(lab: Lab, status: int, name: str) -> None:
    """Told from a turn's by its agent_id."""
    lab.api.all_kinds = True
    refusal = error(status, "refused", headers=NO_RETRY)
    lab.api.reply = lambda request: refusal if request.kind == "compaction" else say("ok")
    pane, seen = one_turn(lab)

    pane.submit("/compact GOAL", lab.root / "paste")

    failure = lab.wait_for("StopFailure", pane)
    assert (failure["error"], "agent_id" in failure) == (name, True)
    pane.shows("Error during compaction")
    assert after(lab, seen) == ["PreCompact", "StopFailure"]
    pane.submit("go on", lab.root / "paste")
    lab.wait_for("Stop", pane, 2)
    assert lab.api.requests[-1].contains("the first task")


def test_an_empty_summary_is_told_by_no_hook(lab: Lab) -> None:
    lab.api.all_kinds = True
    lab.api.reply = lambda request: say("" if request.kind == "compaction" else "ok")
    pane, seen = one_turn(lab)

    pane.submit("/compact GOAL", lab.root / "paste")

    pane.shows("Error during compaction")
    pane.submit("go on", lab.root / "paste")
    lab.wait_for("Stop", pane, 2)
    names = [name for name in after(lab, seen) if name != "SubagentStop"]  # of which there are one or two
    assert names == ["PreCompact", "UserPromptSubmit", "Stop"]


def test_escape_puts_compact_back_into_the_box(lab: Lab) -> None:
    lab.api.all_kinds = True
    lab.api.reply = lambda request: delay(60) if request.kind == "compaction" else say("ok")
    pane, seen = one_turn(lab)
    pane.submit("/compact GOAL", lab.root / "paste")
    pane.shows("Compacting")

    pane.keys("Escape")

    wait_until(lambda: "Compacting" not in pane.screen(), pane.screen)
    pane.shows("❯\xa0/compact GOAL")
    assert after(lab, seen) == ["PreCompact"]


# -- /clear ----------------------------------------------------------------------------------------------------


def test_clear_begins_another_session_with_the_same_brief(lab: Lab) -> None:
    brief = lab.root / "brief.md"
    brief.write_text("WORKER BRIEF", encoding="utf-8")
    settings = lab.settings(EVENTS, statusLine=status_line(lab))
    flags = ("--settings", str(settings), *WORKER_FLAGS, "--append-system-prompt-file", str(brief))
    pane = lab.start(*flags, "--", "the first task")
    first = lab.wait_for("Stop", pane)
    wait_until(lambda: context(lab), pane.screen)
    seen = len(lab.events())
    lab.answer("SessionStart", told("SessionStart", "AFTER CLEAR"))

    pane.submit("/clear", lab.root / "paste")
    lab.wait_for("SessionStart", pane, 2)
    pane.submit("the second task", lab.root / "paste")  # SessionStart is enough to wait for
    lab.wait_for("Stop", pane, 2)

    end, start, *rest = lab.events()[seen:]
    assert (end["hook_event_name"], end["reason"]) == ("SessionEnd", "clear")
    assert end["session_id"] == first["session_id"]
    assert (start["hook_event_name"], start["source"]) == ("SessionStart", "clear")
    assert start["session_id"] != first["session_id"]
    assert start["transcript_path"] != first["transcript_path"]
    assert {event["session_id"] for event in rest} == {start["session_id"]}
    request = lab.api.requests[-1]
    assert request.session_id == start["session_id"]
    assert "WORKER BRIEF" in request.system
    assert times(request, "AFTER CLEAR") == 1
    assert not request.contains("the first task")
    wait_until(
        lambda: (status(lab) or {}).get("session_id") == start["session_id"] and context(lab), pane.screen
    )


# -- the size of the context -----------------------------------------------------------------------------------


def status_line(lab: Lab) -> dict[str, Any]:
    file = lab.root / "status"
    return {"type": "command", "command": f"cat > {file}.tmp && mv -f {file}.tmp {file}.json"}


def status(lab: Lab) -> dict[str, Any] | None:
    file = lab.root / "status.json"
    return json.loads(file.read_bytes()) if file.exists() else None


def context(lab: Lab) -> int | None:
    """The used percentage; None before the first answer."""
    told = status(lab)
    return told and told["context_window"]["used_percentage"]


def test_status_line_tells_how_full_the_context_is(lab: Lab) -> None:
    sizes = (104_000, 430_000, 656_000, 100_000)
    lab.api.reply = turns(*(say("ok") + used(size, 50) for size in sizes))
    pane, _ = one_turn(lab, statusLine=status_line(lab))
    wait_until(lambda: context(lab) == 10, pane.screen)
    for number, percentage in ((2, 43), (3, 66)):
        pane.submit("go on", lab.root / "paste")
        lab.wait_for("Stop", pane, number)
        wait_until(lambda wanted=percentage: context(lab) == wanted, pane.screen)  # type: ignore[misc]

    pane.submit("/compact GOAL", lab.root / "paste")
    lab.wait_for("PostCompact", pane)
    wait_until(lambda: context(lab) == 0, pane.screen)

    pane.submit("go on", lab.root / "paste")
    wait_until(lambda: context(lab) == 10, pane.screen)
    lines = Path(lab.events()[0]["transcript_path"]).read_text(encoding="utf-8").splitlines()
    known = [line for line in map(json.loads, lines) if line["type"] in ("assistant", "system")]
    sizes_told = [
        line["message"]["usage"]["input_tokens"]
        if "message" in line
        else line["compactMetadata"]["preTokens"]
        for line in known
        if "message" in line or line.get("subtype") == "compact_boundary"
    ]
    assert sizes_told == [*sizes[:3], sizes[2] + 50, sizes[3]]


# -- what a worker's commands may do ---------------------------------------------------------------------------


def test_a_worker_runs_the_one_command_that_a_rule_allows_in_the_clients_environment(lab: Lab) -> None:
    commands = lab.root / "bin"
    commands.mkdir()
    command = commands / "dodo-claude"
    command.write_text(
        '#!/bin/sh\nprintf "%s|" "$@" "$DODO_CLAUDE_STAGE"\n[ "$2" != - ] || cat\n', encoding="utf-8"
    )
    command.chmod(0o755)
    runs = {
        'dodo-claude note "x y"': "note|x y|backend|",
        "dodo-claude note 'a; $HOME `b`'": "note|a; $HOME `b`|backend|",
        'dodo-claude note "a\nb"': "note|a\nb|backend|",
        "dodo-claude note - <<'E'\na\nb\nE": "note|-|backend|a\nb",
    }
    refused = (
        'dodo-claude note "$DODO_CLAUDE_STAGE"',
        "dodo-claude note x && touch made",
        "dodo-claude send other x",
    )
    settings = lab.settings(EVENTS, permissions={"allow": ["Bash(dodo-claude note *)"]})
    lab.api.reply = turns(*(tool("Bash", command=text) for text in (*runs, *refused)))
    path = f"{commands}:/usr/bin:/bin"

    pane = lab.start(
        *("--settings", str(settings), *WORKER_FLAGS, "--", "go"),
        more={"DODO_CLAUDE_STAGE": "backend", "PATH": f"{path}:{lab.claude.parent}"},
    )

    lab.wait_for("Stop", pane)
    results = [request.tool_results[0] for request in lab.api.requests[1:]]
    assert [r.text for r in results if not r.is_error] == list(runs.values())
    assert [r.is_error for r in results] == [False] * len(runs) + [True] * len(refused)
    assert lab.named("PermissionRequest") == []
