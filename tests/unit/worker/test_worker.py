"""Driving a stage without tmux, doit or a client: what its worker does goes in, the outcome comes out."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dodo_claude.agents import agent
from dodo_claude.config.records import AgentProfile, Monitor, Prompt, Stage
from dodo_claude.machine import processes
from dodo_claude.machine.terminal import Pane
from dodo_claude.state import events as life
from dodo_claude.state.events import Outcome, Result
from dodo_claude.state.journal import Attempt
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.worker import monitors, policy, verify, worker
from dodo_claude.worker.command import Command
from dodo_claude.worker.protect import Watch
from dodo_claude.worker.recovery import drive
from dodo_claude.worker.services import Done
from tests.fakes import (
    AGAIN,
    AWAY,
    DIALOG,
    DRAFT,
    NO_PID,
    STOP,
    WORK,
    FakeFleet,
    Step,
    Turn,
    drop,
)
from tests.samples.attempts import (
    COMMAND,
    DEFINITION,
    GOOD,
    NONCE,
    STAGE,
    SUCCEEDED,
    Desk,
    cut_off,
    told,
)
from tests.samples.transcripts import answer


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    root = tmp_path / "p"
    root.mkdir()
    return Desk(root)


MINE = replace(STAGE, agent=AgentProfile("mine", "command", ("mine",)))


# -- the ways it can go


def test_one_good_turn(desk: Desk) -> None:
    done = desk.drive(STAGE, GOOD)
    assert done.outcome == SUCCEEDED
    assert (done.attempt, done.message, done.repairs) == (1, "made it", 0)
    assert verify.changed(desk.root, done.targets, ["a"]) == []
    assert desk.terminal.calls == [("spawn", "w-api", desk.root), ("close", "w-api")]
    assert desk.kinds() == [
        "begun",
        "spawned",
        "SessionStart",
        "UserPromptSubmit",
        "Stop",
        "verified",
        "outcome",
    ]
    assert (desk.last.dir / "prompt.md").read_text() == "Write a."
    assert (desk.last.dir / "screen.txt").read_text().startswith("its screen\n")
    result = desk.last.result()
    assert result is not None
    assert {key: result[key] for key in ("stage", "result", "session_id", "transcript", "message", "set_aside")} == {
        "stage": "api", "result": "succeeded", "session_id": "s-1", "transcript": "/t.jsonl", "message": "made it", "set_aside": [],
    }  # fmt: skip
    # doit has not heard of it yet: the attempt stays open until it has.
    assert desk.log.open_attempt() is not None


def test_it_is_written_down_before_it_acts(desk: Desk) -> None:
    seen: list[object] = []

    def look() -> None:
        seen.append(desk.kinds())
        seen.append(desk.log.open_attempt() is not None)

    desk.drive(STAGE, replace(GOOD, then=look))
    assert seen == [["begun"], True]


def test_also_a_half_written_environment_goes(desk: Desk) -> None:
    def cut_off() -> None:
        (environment,) = desk.services.runtime.iterdir()
        (desk.services.runtime / f".{environment.name}.99.tmp").write_text("half a secret")

    assert desk.drive(STAGE, replace(GOOD, then=cut_off)).outcome == SUCCEEDED  # `drive` looks


def test_a_folder_of_environments_that_is_gone_is_no_fault(desk: Desk) -> None:
    def gone() -> None:
        shutil.rmtree(desk.services.runtime)

    desk.terminal.turns += (replace(GOOD, then=gone),)
    assert drive(STAGE, DEFINITION, desk.services).outcome == SUCCEEDED


def test_events_that_come_one_by_one(desk: Desk) -> None:
    desk.waker.meanwhile += [lambda step=step: drop(desk.terminal.folder, step) for step in (*WORK, STOP)]
    assert desk.drive(STAGE, Turn({"a": "x"}, events=())).outcome == SUCCEEDED


def test_a_stop_with_background_tasks_is_not_the_end(desk: Desk) -> None:
    busy = ("Stop", {"background_tasks": [{"type": "shell"}]})
    desk.waker.meanwhile += [
        lambda: (desk.root / "a").write_text("late"),
        lambda: [drop(desk.terminal.folder, step) for step in AGAIN],
    ]
    assert desk.drive(replace(STAGE, repairs=0), Turn(events=(*WORK, busy))).outcome == SUCCEEDED


def test_a_stop_that_anothers_hook_may_answer_is_the_end_when_the_client_says_so(desk: Desk) -> None:
    (desk.root / ".claude").mkdir()
    (desk.root / ".claude/settings.json").write_text(
        '{"hooks": {"Stop": [{"hooks": [{"type": "command"}]}]}}'
    )
    transcript = desk.root / "t.jsonl"
    session = ("SessionStart", {"session_id": "s-1", "transcript_path": str(transcript), "source": "startup"})
    stop_again = ("Stop", {**STOP[1], "stop_hook_active": True})

    def ended() -> None:
        stamp = datetime.now(UTC).isoformat()
        transcript.write_text(
            json.dumps({"type": "system", "subtype": "turn_duration", "timestamp": stamp}) + "\n"
        )

    desk.waker.meanwhile += [
        lambda: None,  # nothing is said for a while
        lambda: drop(desk.terminal.folder, stop_again),
        lambda: (desk.root / "a").write_text("what it was sent on for"),
        ended,
    ]
    turn = Turn({"a": "too early"}, (session, WORK[1], STOP))
    assert desk.drive(replace(STAGE, repairs=0), turn).outcome == SUCCEEDED
    assert not desk.waker.meanwhile
    assert desk.kinds()[-3:] == ["Stop", "verified", "outcome"]
    assert desk.text("a") == "what it was sent on for"


def test_a_repair(desk: Desk) -> None:
    done = desk.drive(STAGE, Turn(), Turn({"a": "x"}, AGAIN))
    assert (done.outcome, done.repairs) == (SUCCEEDED, 1)
    order = "The stage 'api' is not done: target 'a' was not written. Please mend this and end your turn."
    assert desk.terminal.calls[1] == ("paste", (order,))
    assert (desk.last.dir / "repair-1.md").read_text() == f"{order}\n"


def test_a_failed_check_is_told_with_its_output(desk: Desk) -> None:
    stage = replace(STAGE, check="cat a; grep -q good a")
    done = desk.drive(stage, Turn({"a": "bad \x1b[31mthing\n"}), Turn({"a": "good"}, AGAIN))
    assert done.outcome == SUCCEEDED
    order, data = desk.terminal.calls[1][1]  # type: ignore[misc]
    assert "check `cat a; grep -q good a` ended with exit status 1: bad thing. Please" in order
    assert data == "\n\nOutput of the check, as data:\nbad thing"


def test_what_the_client_would_take_up_is_told_by_file(desk: Desk) -> None:
    """A failed check's words, and a prompt's data; the author's own mention goes along."""
    prompt = Prompt("See @in and log: @in\n", "\nlog: @in\n", ("@in",))
    stage = replace(STAGE, check="cat a; grep -q good a")
    turns = Turn({"a": "see @in"}), Turn({"a": "good"}, AGAIN)
    assert desk.drive(stage, *turns, prompt=lambda stage: prompt).outcome == SUCCEEDED
    path = desk.last.dir / "repair-1.md"
    assert desk.terminal.calls[1] == ("paste", (worker.MISSING.format(path=path),))
    assert path.read_text().endswith("Output of the check, as data:\nsee @in\n")
    launch = (desk.last.dir / "launch.sh").read_text()
    assert f"Read the file {desk.last.dir}/prompt.md and do what it says. It mentions @in too." in launch
    assert (desk.last.dir / "prompt.md").read_text() == prompt.text


def test_repairs_used_up(desk: Desk) -> None:
    done = desk.drive(replace(STAGE, repairs=2), Turn(), Turn({"a": ""}, AGAIN), Turn(events=AGAIN))
    assert told(done) == (Result.FAILED, "target 'a' is empty")
    assert desk.terminal.names() == ["spawn", "paste", "paste"]
    assert desk.text("a") is None
    assert (desk.last.dir / "partial/a").read_text() == ""


def test_a_persons_draft_is_not_mixed_with_a_repair(desk: Desk) -> None:
    desk.terminal.screens += [DRAFT, DIALOG]
    said = []
    done = desk.drive(
        STAGE, Turn(), Turn({"a": "x"}, AGAIN), report=lambda stage, attempt, view: said.append(view.activity)
    )
    assert done.outcome == SUCCEEDED
    assert desk.terminal.names() == ["spawn", "paste", "close"]
    assert desk.terminal.screens == []
    assert [text for text in said if text.startswith("waits")] == [
        "waits: send or clear the draft in its input box (dodo-claude attach api)",
        "waits: close the dialog, or view, over its input box (dodo-claude attach api)",
    ]


def test_an_empty_box_is_free_when_nobody_looks_any_more(desk: Desk) -> None:
    desk.terminal.screens += [AWAY]
    said = []
    done = desk.drive(
        STAGE, Turn(), Turn({"a": "x"}, AGAIN), report=lambda stage, attempt, view: said.append(view.activity)
    )
    assert done.outcome == SUCCEEDED
    assert not [text for text in said if text.startswith("waits")]


def test_enter_is_pressed_again_and_in_the_end_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "SUBMIT_SECONDS", 0.02)
    done = desk.drive(STAGE, Turn(), Turn(events=()), Turn(events=()), Turn({"a": "x"}, AGAIN))
    assert done.outcome == SUCCEEDED
    assert desk.terminal.names() == ["spawn", "paste", "enter", "enter", "close"]
    done = desk.drive(replace(STAGE, file_dep=()), Turn({"a": ""}))
    assert done.outcome.reason == "its worker did not take the prompt that was pasted into its session"


def test_death_is_retried_with_a_fresh_attempt(desk: Desk) -> None:
    died = Turn({"a": "half"}, WORK, exits=-9)
    seen: list[str | None] = []
    done = desk.drive(
        replace(STAGE, retries=2), died, died, replace(GOOD, then=lambda: seen.append(desk.text("a")))
    )
    assert (done.outcome, done.attempt) == (SUCCEEDED, 3)
    assert desk.log.attempts() == [1, 2, 3]
    first = Attempt(desk.log, 1)
    result = first.result()
    assert result is not None
    assert result["reason"] == "its worker ended in mid-work with signal 9 (out of memory?)"
    assert (first.dir / "partial/a").read_text() == "half"


def test_retries_used_up(desk: Desk) -> None:
    died = Turn(events=(), exits=127)
    done = desk.drive(replace(STAGE, retries=1), died, died)
    assert told(done) == (Result.FAILED, "its worker ended before it began with exit status 127: its screen")
    assert desk.log.attempts() == [1, 2]


def test_what_a_fresh_worker_would_not_do_better_is_not_retried(desk: Desk) -> None:
    done = desk.drive(replace(STAGE, retries=3, repairs=0), Turn())
    assert told(done) == (Result.FAILED, "target 'a' was not written")
    assert desk.log.attempts() == [1]


def test_a_worker_that_leaves_after_its_turn_is_looked_at(desk: Desk) -> None:
    assert desk.drive(STAGE, Turn({"a": "x"}, exits=0)).outcome == SUCCEEDED
    desk.log.settle()
    (desk.root / "a").unlink()
    done = desk.drive(STAGE, Turn(exits=0))
    assert told(done) == (Result.FAILED, "target 'a' was not written")


def test_timed_out(desk: Desk) -> None:
    done = desk.drive(replace(STAGE, timeout=0.1, retries=3), Turn({"a": "half"}, WORK))
    assert told(done) == (Result.TIMED_OUT, "timed out after 0.1 s")
    assert desk.text("a") is None
    assert desk.log.attempts() == [1]


def test_timed_out_at_a_dialog(desk: Desk) -> None:
    dialog = ("PermissionRequest", {"tool_name": "Bash", "tool_input": {"command": "make"}})
    done = desk.drive(replace(STAGE, timeout=0.1), Turn(events=(*WORK, dialog)))
    assert done.outcome.reason == "timed out after 0.1 s (it waited for a person: Bash make)"


def test_no_hook_ever(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "HOOK_SILENCE_SECONDS", 0.05)
    done = desk.drive(STAGE, Turn(events=()))
    assert done.outcome.result is Result.FAILED
    assert done.outcome.reason.startswith("no hook event in 0.1 s")
    assert desk.terminal.names() == ["spawn"]


def test_a_dialog_over_the_settings_ends_it_soon_and_the_run(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "START_LOOK_SECONDS", 0.01)
    screen = (Path(__file__).parents[2] / "data/screens/settings-hook.txt").read_text()
    desk.terminal.screens += ["", screen, screen]
    done = desk.drive(replace(STAGE, retries=3), Turn(events=()))
    assert done.outcome.reason.startswith(
        "the client stopped at a dialog before it began: /home/you/home/.claude/settings.json: hooks.NoSuch: "
    )
    assert str(desk.fleet.stopped).endswith("(mend that file; then run again)")
    assert desk.log.attempts() == [1]


def test_nothing_begins_once_the_run_is_stopped(desk: Desk) -> None:
    desk.services.stopping.set()
    done = drive(STAGE, DEFINITION, desk.services)
    assert told(done) == (Result.ABORTED, "interrupted")
    assert desk.log.attempts() == []
    assert desk.terminal.calls == []


def test_interrupted(desk: Desk) -> None:
    desk.waker.meanwhile.append(desk.services.stopping.set)
    done = desk.drive(replace(STAGE, retries=3), Turn({"a": "half"}, WORK))
    assert told(done) == (Result.ABORTED, "interrupted")
    assert desk.text("a") is None
    assert desk.log.attempts() == [1]


def test_the_api_gave_up(desk: Desk) -> None:
    failed = ("StopFailure", {"error": "server_error", "last_assistant_message": "529"})
    done = desk.drive(STAGE, Turn(events=(*WORK, failed)), Turn({"a": "made"}, AGAIN))
    assert (done.outcome, done.attempt) == (SUCCEEDED, 1)
    assert desk.fleet.told == [("pause", "server_error", "529")]
    assert desk.terminal.calls[1] == ("paste", ("Please go on with the stage where you stopped.",))
    assert desk.kinds()[4:7] == ["StopFailure", "paused", "continued"] or "continued" in desk.kinds()


def test_a_session_that_died_is_resumed(desk: Desk) -> None:
    tool = ("PreToolUse", {"tool_name": "Write"})
    died = Turn({"a": "half"}, (*WORK, tool), exits=-9)
    seen: list[str | None] = []
    good = Turn({"a": "whole"}, then=lambda: seen.append(desk.text("a")))
    done = desk.drive(replace(STAGE, retries=1), died, good)
    assert (done.outcome, done.attempt) == (SUCCEEDED, 2)
    script = (desk.last.dir / "launch.sh").read_text()
    assert "--resume s-1 " in script
    assert "Please go on" in (desk.last.dir / "prompt.md").read_text()
    assert desk.fleet.told == [("failed", "died", "api")]


def test_of_attempts_that_ended_nothing_waits_for_pythons_collector(desk: Desk) -> None:
    """Which comes the later the more there is: until then a run would grow with each stage."""
    tool = ("PreToolUse", {"tool_name": "Write"})

    def there() -> list[object]:
        return [each for each in gc.get_objects() if type(each) in (worker.Worker, Command, Attempt, Watch)]

    gc.collect()
    others = there()  # a test that failed keeps what it had
    gc.disable()
    try:
        desk.drive(replace(STAGE, retries=1), Turn({"a": "half"}, (*WORK, tool), exits=-9), GOOD)
        desk.drive(COMMAND)
        kept = [each for each in there() if not any(each is other for other in others)]
    finally:
        gc.enable()
    assert kept == []


def test_a_resumed_session_finds_what_it_had_made_and_is_judged_by_what_was_before(desk: Desk) -> None:
    (desk.root / "a").write_text("old")
    tool = ("PreToolUse", {"tool_name": "Write"})
    desk.waker.meanwhile.append(desk.services.stopping.set)
    assert desk.drive(STAGE, Turn({"a": "new"}, (*WORK, tool))).outcome.result is Result.ABORTED
    assert desk.text("a") == "old"
    desk.services.stopping.clear()
    desk.log.settle()
    # It writes nothing more: what it had made counts, since it was put back.
    assert desk.drive(STAGE, Turn()).outcome == SUCCEEDED
    assert desk.text("a") == "new"


def test_a_session_that_does_not_get_on_is_not_resumed_for_ever(desk: Desk) -> None:
    died = Turn(events=WORK, exits=1)
    desk.drive(replace(STAGE, retries=5), *[died] * 6)
    scripts = [(Attempt(desk.log, number).dir / "launch.sh").read_text() for number in desk.log.attempts()]
    resumed = ["--resume" in script for script in scripts]
    assert resumed[:4] == [False, True, True, False]
    assert "handover.md" in (Attempt(desk.log, 4).dir / "brief.md").read_text()


def session(desk: Desk, *answers: str, dollars: float | None = None) -> tuple[Step, ...]:
    """The events of a session whose transcript is a file, with so many answers more in it, and its cost told."""
    path = desk.root / "session.jsonl"
    with path.open("a") as file:
        file.writelines(f"{answer(name)}\n" for name in answers)
    if dollars is not None:
        status = {"session_id": "s-1", "cost": {"total_cost_usd": dollars}}
        (desk.terminal.folder / "status.json").write_text(json.dumps(status))
    start = {"session_id": "s-1", "transcript_path": str(path), "source": "startup"}
    return ("SessionStart", start), WORK[1]


def test_what_a_session_used_in_an_earlier_run_is_no_part_of_this_ones_budget(desk: Desk) -> None:
    """Tokens, turns and dollars: else a run that its budget stopped could never go on."""
    at_work = Turn(
        then=lambda: [drop(desk.terminal.folder, step) for step in session(desk, "1", "2", dollars=0.85)],
        events=(),
    )
    desk.waker.meanwhile += [lambda: None, desk.services.stopping.set]
    desk.drive(STAGE, at_work)
    first = desk.fleet.totals()
    assert (first.usage.turns, first.cost) == (2, 0.85)
    desk.services.stopping.clear()
    desk.log.settle()
    with (desk.root / "session.jsonl").open("a") as file:  # a client that ends well writes down what it cost
        file.write('{"type": "cost-state", "totalCostUSD": 0.85}\n')
    fleet = FakeFleet()
    desk.fleet = fleet

    def goes_on() -> None:
        for step in (*session(desk, "3", dollars=1.10), STOP):
            drop(desk.terminal.folder, step)

    assert desk.drive(STAGE, Turn({"a": "x"}, (), then=goes_on), fleet=fleet).outcome == SUCCEEDED
    assert "--resume s-1 " in (desk.last.dir / "launch.sh").read_text()
    second = fleet.totals()
    assert second.usage.turns == 1
    assert second.usage.tokens == first.usage.tokens / 2
    assert second.cost == pytest.approx(0.25)
    # What is written down of the attempt is the session's, as before.
    result = desk.last.result()
    assert result is not None
    assert (result["tokens"], result["cost_usd"]) == (first.usage.tokens * 3 / 2, pytest.approx(1.10))


def test_within_one_run_a_resumed_session_counts_once(desk: Desk) -> None:
    died = Turn(
        events=(),
        exits=-9,
        then=lambda: [drop(desk.terminal.folder, step) for step in session(desk, "1", "2", dollars=0.5)],
    )

    def goes_on() -> None:
        # Killed, it wrote down no cost: the next process counts from 0.
        for step in (*session(desk, "3", dollars=0.2), STOP):
            drop(desk.terminal.folder, step)

    done = desk.drive(replace(STAGE, retries=1), died, Turn({"a": "x"}, (), then=goes_on))
    assert (done.outcome, done.attempt) == (SUCCEEDED, 2)
    totals = desk.fleet.totals()
    assert totals.usage.turns == 3
    assert totals.cost == pytest.approx(0.7)


def test_an_error_that_hits_all_stops_the_fleet(desk: Desk) -> None:
    failed = ("StopFailure", {"error": "billing_error", "last_assistant_message": "no credit"})
    desk.drive(replace(STAGE, retries=3), Turn(events=(*WORK, failed)))
    assert "no credit" in str(desk.fleet.stopped)


GUARDED = ["in", "checks/c.sh", "orchestrate.toml", ".git/hooks/post-merge", "tests/t.py"]


def edits(desk: Desk, name: str, *tools: Step, stage: Stage = STAGE) -> Done:
    """A worker uses these tools; meanwhile somebody changes a file that it may not change."""
    for path in ("checks", ".git/hooks", "tests"):
        (desk.root / path).mkdir(parents=True, exist_ok=True)
    (desk.root / "checks/c.sh").write_text("exit 0")
    (desk.root / "tests/t.py").write_text("test")
    stage = replace(stage, check="sh checks/c.sh", protect=("tests/*",))
    wrote = {"a": "made", name: "exit 0 # evil"}
    if stage.agent is MINE.agent:  # no hooks: its end is all that it tells
        return desk.drive(stage, Turn(wrote, (), exits=0))
    return desk.drive(stage, Turn(wrote, (*WORK, *tools, STOP)))


def tool(name: str, **given: str) -> Step:
    return ("PreToolUse", {"tool_name": name, "tool_input": given})


@pytest.mark.parametrize("name", GUARDED)
def test_a_stage_that_edits_what_it_may_not_fails(desk: Desk, name: str) -> None:
    done = edits(desk, name, tool("Write", file_path=str(desk.root / name)))
    assert done.outcome.result is Result.FAILED
    assert f"'{name}' was " in done.outcome.reason
    assert desk.text("a") is None
    assert (desk.last.dir / "partial/a").read_text() == "made"


@pytest.mark.parametrize("name", GUARDED)
def test_where_it_can_not_be_told_who_did_the_session_goes_on_with_the_next_run(
    desk: Desk, name: str
) -> None:
    done = edits(desk, name, tool("Bash", command="make"))
    assert done.outcome.result is Result.ABORTED
    assert f"'{name}' was " in done.outcome.reason
    assert "while it ran" in done.outcome.reason
    assert "may not edit" not in done.outcome.reason
    done = desk.drive(
        replace(STAGE, check="sh checks/c.sh", protect=("tests/*",)), Turn(events=(*WORK, STOP))
    )
    assert done.outcome == SUCCEEDED
    script = (desk.last.dir / "launch.sh").read_text()
    assert "--resume" in script
    assert ("Changed since you read it: in." in (desk.last.dir / "prompt.md").read_text()) is (name == "in")


@pytest.mark.parametrize("name", GUARDED[1:])
def test_what_a_person_edits_meanwhile_is_not_its_charge(desk: Desk, name: str) -> None:
    done = edits(desk, name, tool("Read", file_path="x"), tool("Edit", file_path=str(desk.root / "a")))
    assert done.outcome == SUCCEEDED


def test_an_input_that_a_person_edits_meanwhile_is_worked_on_again(desk: Desk) -> None:
    done = edits(desk, "in", tool("Read", file_path="in"))
    assert told(done) == (
        Result.ABORTED,
        "its input 'in' was changed while it ran: what it made may not fit it (look at it; the next run goes on from here)",
    )


def test_a_command_agent_tells_nothing_of_what_it_does(desk: Desk) -> None:
    done = edits(desk, "orchestrate.toml", stage=MINE)
    assert done.outcome.result is Result.ABORTED
    assert "'orchestrate.toml' was made while it ran" in done.outcome.reason
    assert "who did can't be told" in done.outcome.reason


def test_silence_is_nudged_interrupted_and_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LOOK_SECONDS", 0.0)
    done = desk.drive(
        replace(STAGE, idle_timeout=0.05),
        Turn(events=WORK),
        Turn(events=()),
        Turn(events=()),
        Turn(events=()),
    )
    assert done.outcome.kind == "silent"
    assert [name for name in desk.terminal.names() if name in ("paste", "escape")] == [
        "paste",
        "escape",
        "paste",
    ]


def test_a_dialog_that_no_hook_tells_of_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LOOK_SECONDS", 0.0)
    desk.terminal.screens += ["Do you trust this?\n ❯ 1. No, exit"] * 2
    views: list[str | None] = []
    done = desk.drive(
        replace(STAGE, person_timeout=0.05),
        Turn(events=WORK),
        report=lambda stage, attempt, view: views.append(view.blocked_on),
    )
    assert "Do you trust this?" in done.outcome.reason
    assert "paste" not in desk.terminal.names()


def test_no_targets_and_no_check_is_done_at_its_stop(desk: Desk) -> None:
    assert desk.drive(replace(STAGE, targets=()), Turn()).outcome == SUCCEEDED


def test_an_empty_prompt_starts_nobody(desk: Desk) -> None:
    done = desk.drive(STAGE, prompt=lambda stage: Prompt(" \n\x1b\x00"))
    assert told(done) == (Result.FAILED, "stage 'api': its prompt is empty once its variables are filled in")
    assert desk.terminal.calls == []


def test_a_target_changed_while_the_worker_was_ended_is_verified_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A background process of the worker's that goes on writing until it is killed."""
    ends: list[Callable[[], object]] = [lambda: (desk.root / "a").write_text("")]

    def end_tree(pid: int, nonce: str, **_: object) -> None:
        if ends:
            ends.pop()()

    monkeypatch.setattr(processes, "end_tree", end_tree)
    done = desk.drive(replace(STAGE, check="true"), GOOD)
    assert desk.kinds().count("checking") == 1
    assert told(done) == (Result.FAILED, "target 'a' is empty")
    assert desk.kinds().count("verified") == 2
    desk.log.settle()
    ends.append(lambda: (desk.root / "a").write_text("changed, but fine"))
    done = desk.drive(STAGE, GOOD)
    assert done.outcome == SUCCEEDED
    assert verify.changed(desk.root, done.targets, ["a"]) == []


def test_a_turn_that_began_while_the_worker_was_ended_was_cut_off(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt of ours was still queued: what it had half made again is no verified work."""

    def begins() -> None:
        (desk.root / "a").write_text("half")
        event = {"hook_event_name": "PreToolUse", "tool_name": "Write", "tool_input": {"file_path": "a"}}
        (desk.last.spool / "99999").write_text(json.dumps(event))

    ends: list[Callable[[], object]] = [begins]
    monkeypatch.setattr(processes, "end_tree", lambda pid, nonce, **_: ends.pop()() if ends else None)
    done = desk.drive(STAGE, GOOD)
    assert done.outcome.result is Result.FAILED
    assert done.outcome.reason.startswith("its worker ended in mid-work with ")
    assert done.outcome.retry
    assert not (desk.root / "a").exists()


# -- half-made work


def test_the_old_version_comes_back(desk: Desk) -> None:
    (desk.root / "a").write_text("old")
    done = desk.drive(STAGE, Turn({"a": "half"}, WORK, exits=1))
    assert done.outcome.result is Result.FAILED
    assert desk.text("a") == "old"
    assert (desk.last.dir / "partial/a").read_text() == "half"
    result = desk.last.result()
    assert result is not None
    assert result["set_aside"] == ["a"]


def test_a_target_nobody_touched_fails_and_stays(desk: Desk) -> None:
    (desk.root / "a").write_text("old")
    done = desk.drive(replace(STAGE, repairs=0), Turn())
    assert done.outcome.reason == "target 'a' was not changed in this attempt"
    assert desk.text("a") == "old"
    desk.log.settle()
    assert desk.drive(replace(STAGE, allow_unchanged=True), Turn()).outcome == SUCCEEDED


def test_its_folder_is_made(desk: Desk) -> None:
    stage = replace(STAGE, targets=("deep/er/a",))
    assert desk.drive(stage, Turn({"deep/er/a": "x"})).outcome == SUCCEEDED


# -- what stays

KEEPS = [
    # keep, what happens -> its tree is ended, its session is closed
    ("never", GOOD, True, True),
    ("never", Turn(), True, True),
    ("on-failure", GOOD, True, True),
    ("on-failure", Turn(), True, False),
    ("screen", GOOD, True, False),
    ("screen", Turn(), True, False),
    ("always", GOOD, False, False),
    ("always", Turn(), False, False),
    ("always", Turn(events=WORK), True, False),  # it would go on working
    ("never", Turn(events=WORK), True, True),
]


@pytest.mark.parametrize(("keep", "turn", "ended", "closed"), KEEPS)
def test_keep(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, keep: str, turn: Turn, ended: bool, closed: bool
) -> None:
    ends: list[int] = []
    monkeypatch.setattr(processes, "end_tree", lambda pid, nonce, **_: ends.append(pid))
    desk.drive(replace(STAGE, keep=keep, repairs=0, timeout=0.3), turn)
    assert bool(ends) == ended
    assert ("close" in desk.terminal.names()) == closed
    assert (desk.last.dir / "screen.txt").exists()


# -- commands


def test_a_command(desk: Desk) -> None:
    assert desk.drive(COMMAND).outcome == SUCCEEDED
    assert desk.text("a") == "x\n"
    assert desk.terminal.calls == []
    assert desk.kinds() == ["begun", "outcome"]


def test_a_command_that_fails(desk: Desk) -> None:
    done = desk.drive(replace(COMMAND, command="echo half > a; echo sad >&2; exit 3"))
    log = ".orchestrate/stages/api/1/output.log"
    assert told(done) == (Result.FAILED, f"its command ended with exit status 3: sad (see {log})")
    assert (desk.root / log).read_text() == "sad\n"
    assert desk.text("a") is None


def test_a_command_with_a_check_and_an_environment(desk: Desk) -> None:
    stage = replace(
        COMMAND,
        command='echo "$X $DODO_CLAUDE_STAGE" > a',
        check='test "$(cat a)" = "1 api"',
        env=(("X", "1"),),
    )
    assert desk.drive(stage).outcome == SUCCEEDED
    desk.log.settle()
    done = desk.drive(replace(stage, check="echo no; false"))
    assert done.outcome.reason == "check `echo no; false` ended with exit status 1: no"


def test_a_command_that_takes_too_long(desk: Desk) -> None:
    done = desk.drive(replace(COMMAND, command="echo half > a; sleep 1000", timeout=0.1))
    assert told(done) == (Result.TIMED_OUT, "timed out after 0.1 s")
    assert desk.text("a") is None


def test_a_command_that_is_interrupted(desk: Desk) -> None:
    desk.waker.meanwhile.append(desk.services.stopping.set)
    done = desk.drive(replace(COMMAND, command="sleep 1000"))
    assert told(done) == (Result.ABORTED, "interrupted")


def test_an_agent_that_is_a_command_is_run_again_for_a_repair(desk: Desk) -> None:
    done = desk.drive(MINE, Turn(events=(), exits=0), Turn({"a": "x"}, (), exits=0))
    assert (done.outcome, done.repairs) == (SUCCEEDED, 1)
    assert desk.terminal.names() == ["spawn", "respawn", "close"]
    assert (desk.last.dir / "prompt-0.md").read_text() == "Write a."
    assert (
        (desk.last.dir / "prompt.md")
        .read_text()
        .startswith("Write a.\n\nThe stage 'api' is not done: target 'a'")
    )


# -- taking over what a killed run left


def finished(desk: Desk) -> None:
    """An attempt that succeeded, of which doit was never told."""
    assert desk.drive(STAGE, GOOD).outcome == SUCCEEDED
    desk.terminal.calls.clear()


def test_a_finished_attempt_is_taken_over(desk: Desk) -> None:
    finished(desk)
    done = desk.drive(STAGE)
    assert done.outcome.result is Result.SUCCEEDED
    assert (done.attempt, done.message) == (1, "made it")
    assert verify.changed(desk.root, done.targets, ["a"]) == []
    assert desk.terminal.calls == []
    assert desk.log.attempts() == [1]


@pytest.mark.parametrize("left", ["", "{", None])
def test_also_when_a_kill_came_before_its_result_was_written(desk: Desk, left: str | None) -> None:
    finished(desk)
    path = desk.last.dir / "result.json"
    path.unlink() if left is None else path.write_text(left)
    done = desk.drive(STAGE)
    assert (done.attempt, done.message) == (1, "made it")
    assert desk.terminal.calls == []


CHANGES: dict[str, Callable[[Desk], tuple[Stage, dict[str, object]]]] = {
    "an input": lambda desk: ((desk.root / "in").write_text("new"), (STAGE, {}))[1],
    "one more input": lambda desk: (
        (desk.root / "more").write_text("x"),
        (replace(STAGE, file_dep=("in", "more")), {}),
    )[1],
    "a target": lambda desk: ((desk.root / "a").write_text("altered"), (STAGE, {}))[1],
    "a target is gone": lambda desk: ((desk.root / "a").unlink(), (STAGE, {}))[1],
    "one more target": lambda desk: (replace(STAGE, targets=("a", "in")), {}),
    "-a": lambda desk: (STAGE, {"force": True}),
    "doit has settled it": lambda desk: (desk.log.settle(), (STAGE, {}))[1],
}


@pytest.mark.parametrize("what", CHANGES)
def test_not_when_something_changed(desk: Desk, what: str) -> None:
    finished(desk)
    stage, services = CHANGES[what](desk)
    again = Turn({"a": "made again", **({"in": "x"} if "in" in stage.targets else {})})
    done = desk.drive(stage, again, **services)
    assert done.outcome == SUCCEEDED
    assert done.attempt == 2
    assert desk.text("a") == "made again"


def test_a_worker_whose_input_is_gone_is_not_started(desk: Desk) -> None:
    finished(desk)
    (desk.root / "in").unlink()
    done = desk.drive(STAGE)
    assert done.outcome == Outcome(Result.FAILED, "its input 'in' is not there, or can't be read")
    assert desk.terminal.calls == []
    assert (desk.root / "a").exists()


def test_not_when_the_definition_changed(desk: Desk) -> None:
    finished(desk)
    desk.terminal.turns.append(Turn({"a": "made again"}))
    assert drive(STAGE, {**DEFINITION, "prompt": "q"}, desk.services).attempt == 2


def test_a_failed_attempt_is_not_taken_over(desk: Desk) -> None:
    desk.drive(replace(STAGE, repairs=0), Turn())
    assert desk.drive(STAGE, GOOD).attempt == 2


@pytest.fixture
def live() -> Iterator[subprocess.Popen[bytes]]:
    """A worker that lives."""
    process = subprocess.Popen(
        ["sleep", "1000"], env={processes.NONCE: NONCE, "PATH": os.environ["PATH"]}, start_new_session=True
    )
    while (
        processes.nonce_of(process.pid) is None
    ):  # in the midst of an exec nobody's environment is to be seen
        time.sleep(0.001)
    yield process
    process.kill()
    process.wait()


def reap(process: subprocess.Popen[bytes]) -> int:
    return process.wait(20)


def test_a_worker_that_lives_is_adopted(desk: Desk, live: subprocess.Popen[bytes]) -> None:
    attempt = cut_off(desk, live.pid)
    for step in (*WORK, STOP):
        drop(attempt.dir, step)
    done = desk.drive(replace(STAGE, keep="screen"))
    assert (done.outcome, done.attempt) == (SUCCEEDED, 1)
    assert desk.text("a") == "half"
    assert desk.terminal.calls == []
    assert ("watch", live.pid) in desk.waker.calls
    assert reap(live) == -15


def test_what_an_adopted_worker_used_before_is_no_part_of_this_runs_budget(
    desk: Desk, live: subprocess.Popen[bytes]
) -> None:
    attempt = cut_off(desk, live.pid)
    desk.terminal.folder = attempt.dir
    for kind, data in session(desk, "1", "2", dollars=0.85):  # type: ignore[misc]
        attempt.record(kind, **data)

    def goes_on() -> None:
        session(desk, "3", dollars=1.10)
        drop(attempt.dir, STOP)

    desk.waker.meanwhile.append(goes_on)
    assert desk.drive(STAGE).outcome == SUCCEEDED
    totals = desk.fleet.totals()
    assert totals.usage.turns == 1
    assert totals.cost == pytest.approx(0.25)


def test_an_adopted_worker_can_be_told_what_is_missing(desk: Desk, live: subprocess.Popen[bytes]) -> None:
    attempt = cut_off(desk, live.pid)
    (desk.root / "a").write_text("")
    for step in (*WORK, STOP):
        drop(attempt.dir, step)
    desk.terminal.folder = attempt.dir
    done = desk.drive(STAGE, Turn({"a": "x"}, AGAIN))
    assert (done.outcome, done.attempt, done.repairs) == (SUCCEEDED, 1, 1)
    assert desk.terminal.names() == ["paste", "close"]


def test_what_was_to_be_read_and_not_told_is_told_by_the_next_run(
    desk: Desk, live: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "SUBMIT_SECONDS", 0.05)
    attempt = cut_off(desk, live.pid)
    for kind, data in (*WORK, STOP):
        attempt.record(kind, **data)
    path = attempt.dir / "repair-1.md"
    path.write_text(f"Mend it.{worker.DATA}see @in\n")
    attempt.record(life.SENT, text="Mend it.")
    desk.terminal.folder = attempt.dir
    assert desk.drive(STAGE, Turn({"a": "x"}, AGAIN)).outcome == SUCCEEDED
    assert desk.terminal.calls[0] == ("paste", (worker.MISSING.format(path=path),))


@pytest.mark.parametrize("box", ["empty", "full"])
def test_what_was_written_down_and_not_sent_is_sent_by_the_next_run(
    desk: Desk, live: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, box: str
) -> None:
    monkeypatch.setattr(policy, "SUBMIT_SECONDS", 0.05)
    attempt = cut_off(desk, live.pid)
    for kind, data in (*WORK, STOP):
        attempt.record(kind, **data)
    (attempt.dir / "repair-1.md").write_text(f"Mend it.{worker.DATA}1 failed\n")
    attempt.record(life.SENT, text="Mend it.")
    desk.terminal.folder = attempt.dir
    if box == "full":
        desk.terminal.screens.append(DRAFT)
    done = desk.drive(STAGE, Turn({"a": "x"}, AGAIN))
    assert (done.outcome, done.attempt) == (SUCCEEDED, 1)
    sent = ("paste", ("Mend it.", f"{worker.DATA}1 failed\n"))
    assert desk.terminal.calls[0] == (sent if box == "empty" else ("enter",))


def test_time_spent_before_counts_for_an_adopted_worker(desk: Desk, live: subprocess.Popen[bytes]) -> None:
    attempt = cut_off(desk, live.pid)
    lines = [json.loads(line) for line in attempt.journal.read_text().splitlines()]
    for line in lines:
        line["at"] -= 100
    attempt.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = desk.drive(replace(STAGE, timeout=99.0))
    assert told(done) == (Result.TIMED_OUT, "timed out after 99 s")
    assert desk.text("a") == "old"
    assert reap(live) == -15


@pytest.mark.parametrize("what", ["input", "definition"])
def test_a_worker_of_another_definition_is_ended_first(
    desk: Desk, live: subprocess.Popen[bytes], what: str
) -> None:
    changed = (
        {"definition": {"prompt": "another"}} if what == "definition" else {"inputs": {"in": [1, 2, 3, "x"]}}
    )
    cut_off(desk, live.pid, **changed)
    gone: list[bool] = []
    done = desk.drive(STAGE, replace(GOOD, then=lambda: gone.append(not processes.runs(live.pid))))
    assert (done.outcome, done.attempt) == (SUCCEEDED, 2)
    assert gone == [True], "two workers on one stage"
    first = Attempt(desk.log, 1).result()
    assert first is not None
    assert (first["result"], first["reason"]) == ("aborted", "its run was cut off")
    assert (desk.log.dir / "1/partial/a").read_text() == "half"
    assert (desk.last.dir / "before/a").read_text() == "old"


def test_with_force_a_living_worker_is_ended_first(desk: Desk, live: subprocess.Popen[bytes]) -> None:
    cut_off(desk, live.pid)
    done = desk.drive(STAGE, replace(GOOD, then=lambda: reap(live)), force=True)
    assert (done.outcome, done.attempt) == (SUCCEEDED, 2)


def test_a_dead_worker_is_followed_by_a_new_one_on_clean_ground(desk: Desk) -> None:
    cut_off(desk, 4_999_999)
    seen: list[str | None] = []
    done = desk.drive(STAGE, replace(Turn(exits=1), then=lambda: seen.append(desk.text("a"))))
    assert seen == ["old"]
    assert (done.outcome.result, done.attempt) == (Result.FAILED, 2)


def test_a_stranger_with_the_workers_id_is_neither_adopted_nor_killed(
    desk: Desk, live: subprocess.Popen[bytes]
) -> None:
    cut_off(desk, live.pid, nonce="another")
    assert desk.drive(STAGE, GOOD).attempt == 2
    assert live.poll() is None


@pytest.mark.parametrize("cut", ["", "begun", "spawned"])
def test_cut_off_early_or_with_a_torn_journal(desk: Desk, cut: str) -> None:
    attempt = cut_off(desk, 4_999_999)
    lines = attempt.journal.read_bytes().splitlines(keepends=True)
    attempt.journal.write_bytes(
        b"".join(lines[: ["", "begun", "spawned"].index(cut)])
        + b'{"kind": "spawned", "at": 1, "data": {}}\n{"ki'
    )
    done = desk.drive(STAGE, GOOD)
    assert (done.outcome, done.attempt) == (SUCCEEDED, 2)


def test_a_command_agent_that_can_not_be_run_again_says_so(desk: Desk, live: subprocess.Popen[bytes]) -> None:
    attempt = cut_off(desk, live.pid)
    (attempt.dir / "prompt.md").write_text("p")
    (attempt.dir / "launch.sh").write_text("")
    (desk.root / "a").unlink()
    live.kill()
    live.wait()
    desk.terminal.statuses[live.pid] = 0
    run = worker.Worker.recalled(MINE, DEFINITION, desk.services, attempt)
    done = run.run()
    assert told(done) == (Result.FAILED, "api: its command ended while nobody followed it; run again")


# -- our own faults


def test_a_fault_of_ours_leaves_no_worker_and_no_half_made_target(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Pane] = []
    monkeypatch.setattr(worker.Worker, "remove", lambda run: ended.append(run.pane))

    def broken(stage: Stage, attempt: int, view: life.View) -> None:
        if view.state is life.State.IDLE:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        desk.drive(STAGE, GOOD, report=broken)
    assert len(ended) == 1
    assert desk.text("a") is None
    assert ("forget", desk.waker.calls[0][1]) in desk.waker.calls


@pytest.mark.parametrize("kind", ["begun", "spawned", "Stop", "verified", "outcome"])
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The disk is full from one note on, and for all that follows."""
    real = Attempt._append
    full: list[life.Event] = []

    def append(self: Attempt, event: life.Event) -> life.Event:
        if full or event.kind == kind:
            full.append(event)
            raise OSError(errno.ENOSPC, "No space left on device", str(self.journal))
        return real(self, event)

    monkeypatch.setattr(Attempt, "_append", append)
    with pytest.raises(DodoClaudeError, match=r"journal\.jsonl: No space left on device \(free it") as caught:
        desk.drive(STAGE, GOOD)
    assert "\n" not in str(caught.value)
    assert desk.log.open_attempt() is not None
    monkeypatch.undo()
    done = desk.drive(STAGE, GOOD)
    assert (done.outcome, done.attempt) == (SUCCEEDED, 2)


def test_a_terminal_that_refuses_is_one_line(desk: Desk) -> None:
    def refuse() -> None:
        raise DodoClaudeError("tmux new-session: no")

    done = desk.drive(STAGE, Turn(events=(), then=refuse))
    assert told(done) == (Result.FAILED, "tmux new-session: no")


# -- monitors

MONITOR = Monitor(
    name="build", command="make", match="error", message=None, recovered=None, recovered_match=None, context=3,
    every=None, debounce=1.0, env=(("A", "secret"),), cwd=".",
)  # fmt: skip


def test_a_monitor_is_started_beside_the_worker_and_leaves_no_orders(desk: Desk) -> None:
    orders = []

    def read(pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        orders.append(monitors.Orders.read(Path(argv[-1])))
        Path(argv[-1]).write_text("as it would be read later")
        return Pane("%2", pane.session, NO_PID)

    desk.terminal.split = read  # type: ignore[method-assign]
    desk.drive(replace(STAGE, monitors=(MONITOR,)), GOOD)
    (one,) = orders
    assert one.monitor == MONITOR
    assert one.nonce == f"{one.worker_nonce}-monitor-build"
    assert one.environ["A"] == "secret"
    assert list((desk.last.dir / "monitors").iterdir()) == []


def test_a_monitor_that_cannot_be_started_is_told_and_the_worker_goes_on(desk: Desk) -> None:
    said: list[str] = []

    def refuse(pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        raise DodoClaudeError("tmux split-window: no")

    desk.terminal.split = refuse  # type: ignore[method-assign]
    done = desk.drive(
        replace(STAGE, monitors=(MONITOR,)),
        GOOD,
        report=lambda stage, number, view: said.append(view.activity),
    )
    assert done.outcome.result is Result.SUCCEEDED
    assert "monitor 'build' can't be started: tmux split-window: no" in said


def test_an_agent_that_takes_no_messages_has_no_monitor(desk: Desk) -> None:
    desk.drive(replace(MINE, monitors=(MONITOR,)), Turn({"a": "made"}, events=(), exits=0))
    assert "split" not in desk.terminal.names()


# -- what no hook tells


def refusal(seconds: float = 0.0) -> str:
    at = datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()
    return f"{at} [ERROR] API error (attempt 1/11): 401 401 {{}}\n"


def unheard(desk: Desk) -> list[tuple[str, object]]:
    kinds = (life.UNHEARD, life.HEARD)
    return [(event.kind, event.data.get("text")) for event in desk.last.replay() if event.kind in kinds]


def test_what_the_clients_log_says_is_told_and_the_log_goes_with_it(desk: Desk) -> None:
    def done() -> None:
        (desk.root / "a").write_text("made")
        drop(desk.terminal.folder, STOP)

    log = desk.services.state / "stages/api/1" / agent.CLIENT_LOG
    desk.waker.meanwhile = [lambda: log.write_text(refusal(1.0)), done]
    assert desk.drive(STAGE, Turn(events=WORK)).outcome == SUCCEEDED
    assert unheard(desk) == [(life.UNHEARD, "401 401 {}")]
    assert ("folder", log.parent) in desk.waker.calls
    assert not log.parent.exists()


def test_what_was_refused_before_the_turns_end_is_not_told_after_it(desk: Desk) -> None:
    def last() -> None:
        (desk.root / "a").write_text("made")
        (desk.services.state / "stages/api/1" / agent.CLIENT_LOG).write_text(refusal())
        drop(desk.terminal.folder, STOP)

    desk.waker.meanwhile = [last]
    assert desk.drive(STAGE, Turn(events=WORK)).outcome == SUCCEEDED
    assert unheard(desk) == []


def test_a_long_silence_is_told_until_the_model_says_something(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def says() -> None:
        at = datetime.now(UTC).isoformat()
        (tmp_path / "t.jsonl").write_text(answer("m", timestamp=at) + "\n")

    monkeypatch.setattr(policy, "QUIET_SECONDS", 1e-9)
    began = ("SessionStart", {"session_id": "s", "transcript_path": str(tmp_path / "t.jsonl")})
    done = [lambda: None, lambda: None, says, lambda: drop(desk.terminal.folder, STOP)]
    desk.waker.meanwhile = done
    desk.drive(STAGE, Turn({"a": "made"}, events=(began, *WORK[1:])))
    assert unheard(desk)[:2] == [(life.UNHEARD, ""), (life.HEARD, None)]


def test_what_its_client_refused_it_is_named_with_whose_rule_it_was(desk: Desk, tmp_path: Path) -> None:
    line = {
        "type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t1"}]},
        "permissionDecision": {"ruleSource": "userSettings"},
    }  # fmt: skip
    (tmp_path / "t.jsonl").write_text(json.dumps(line, separators=(",", ":")) + "\n")
    began = ("SessionStart", {"session_id": "s", "transcript_path": str(tmp_path / "t.jsonl")})
    calls = [
        {"tool_name": "Bash", "tool_input": {"command": name}, "tool_use_id": name, "tool_response": said}
        for name, said in (
            ("t1", "Permission to use Bash with command t1 has been denied."),
            (
                "t2",
                "Permission to use Bash has been denied because Claude Code is running in don't ask mode.",
            ),
        )
    ]
    steps: tuple[Step, ...] = (began, *WORK[1:], ("PostToolBatch", {"tool_calls": calls}), STOP)
    done = desk.drive(replace(STAGE, repairs=0), Turn(events=steps))
    assert done.outcome.reason == (
        "target 'a' was not written; its client refused it Bash t1 (by a deny rule of the user's settings), "
        "Bash t2 (no rule allows it)"
    )
    assert [event.data["what"] for event in desk.last.replay() if event.kind == life.DENIED] == [
        "Bash t1",
        "Bash t2",
    ]
    assert desk.drive(STAGE, Turn({"a": "made"}, events=steps)).outcome == SUCCEEDED
