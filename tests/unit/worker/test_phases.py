"""A stage in phases: each verified before the next, compacted or handed over between, resumed at the one that failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.agents import brief
from dodo_claude.config.records import Phase, Stage
from dodo_claude.state import events as life
from dodo_claude.state.events import Outcome, Result
from dodo_claude.state.journal import Attempt
from dodo_claude.worker import phases, policy
from dodo_claude.worker.worker import Worker
from tests.fakes import AGAIN, WORK, Turn
from tests.samples.attempts import DEFINITION, GOOD, STAGE, SUCCEEDED, Desk, told

COMPACTED = Turn(
    events=("PreCompact", ("SessionStart", {"source": "compact", "session_id": "s-1"}), "PostCompact")
)
CLEARED = Turn(
    events=(
        ("SessionEnd", {"reason": "clear", "session_id": "s-1"}),
        ("SessionStart", {"source": "clear", "session_id": "s-2", "transcript_path": "/u.jsonl"}),
    )
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    root = tmp_path / "p"
    root.mkdir()
    return Desk(root)


def phase(prompt: str, *targets: str, **keys: object) -> Phase:
    return replace(Phase(prompt, None, (), (), (), targets, None), **keys)


def stage(*parts: Phase, **keys: object) -> Stage:
    targets = tuple(name for part in parts for name in part.targets)
    return replace(STAGE, prompt=None, phases=parts, targets=targets, **keys)


def pastes(desk: Desk) -> list[tuple[str, ...]]:
    return [call[1] for call in desk.terminal.calls if call[0] == "paste"]


TWO = stage(phase("Plan.", "a"), phase("Make.", "b"))
FIRST = Turn({"a": "plan"})
SECOND = Turn({"b": "made"}, AGAIN)


def test_each_phase_is_given_when_the_one_before_is_verified(desk: Desk) -> None:
    done = desk.drive(TWO, FIRST, SECOND)
    assert done.outcome == SUCCEEDED
    assert set(done.targets) == {"a", "b"}
    folder = desk.last.dir
    assert (folder / "prompt.md").read_text() == "This is phase 1 of 2 of your work.\n\nPlan."
    text = "This is phase 2 of 2 of your work. Done and verified: phase 1 (a).\n\nMake."
    assert pastes(desk) == [(text,)]
    assert (folder / "prompt-phase-2.md").read_text() == text
    assert [kind for kind in desk.kinds() if kind.islower()] == [
        "begun", "spawned", "verified", "phase", "given", "verified", "outcome"
    ]  # fmt: skip
    result = desk.last.result()
    assert result is not None
    assert [entry["done"] for entry in result["phases"]] == [1]


def test_no_phase_is_given_before_the_one_before_is_verified(desk: Desk) -> None:
    done = desk.drive(TWO, Turn(), Turn({"b": "made"}, AGAIN))
    assert told(done) == (Result.FAILED, "phase 1 of 2: target 'a' was not written")
    assert [text for (text, *_) in pastes(desk)] == [
        "The stage 'api' is not done: target 'a' was not written. Please mend this and end your turn."
    ]


def test_each_phase_has_its_own_repairs_and_check(desk: Desk) -> None:
    parts = stage(phase("Plan.", "a", check="grep -q good a"), phase("Make.", "b"))
    done = desk.drive(parts, Turn({"a": "bad"}), Turn({"a": "good"}, AGAIN), Turn({}, AGAIN), SECOND)
    assert done.outcome == SUCCEEDED
    orders = [text.startswith("The stage 'api' is not done") for (text, *_) in pastes(desk)]
    assert orders == [True, False, True]
    # All of them are counted, and what each said is kept.
    assert done.repairs == 2
    said = [(desk.last.dir / f"repair-{number}.md").read_text() for number in (1, 2)]
    assert "check `grep -q good a`" in said[0]
    assert "target 'b' was not written" in said[1]


def test_the_stages_own_check_and_earlier_targets_count_at_the_end(desk: Desk) -> None:
    def drop_the_plan() -> None:
        (desk.root / "a").unlink()

    done = desk.drive(replace(TWO, repairs=0), FIRST, replace(SECOND, then=drop_the_plan))
    assert told(done) == (Result.FAILED, "phase 2 of 2: target 'a' was not written")
    done = desk.drive(replace(TWO, repairs=0, check="false"), FIRST, SECOND)
    assert told(done) == (Result.FAILED, "phase 2 of 2: check `false` ended with exit status 1")


def test_the_context_is_compacted_with_its_goal_before_the_prompt(desk: Desk) -> None:
    parts = stage(phase("Plan.", "a"), phase("Make.", "b", compact="Next:\nmake b"))
    reminders = []

    def reminded() -> None:
        reminders.append((desk.last.dir / "reminder.json").read_text())

    done = desk.drive(parts, FIRST, replace(COMPACTED, then=reminded), SECOND)
    assert done.outcome == SUCCEEDED
    # Of the phase that is over it is told no more.
    assert "your next task comes now. This is phase 2 of 2" in reminders[0]
    # In two pastes: one of more than three lines would be a prompt.
    assert pastes(desk)[0] == ("/compact ", "Next:\nmake b")
    assert pastes(desk)[1][0].endswith("Make.")
    kinds = desk.kinds()
    assert kinds.index("cleared") < kinds.index("PostCompact") < kinds.index("given")
    assert '"SessionStart"' in (desk.last.dir / "reminder.json").read_text()
    assert (
        f"is in {desk.last.dir / 'prompt-phase-2.md'}: read it"
        in (desk.last.dir / "reminder.json").read_text()
    )


def test_a_compaction_that_fails_is_gone_without(desk: Desk) -> None:
    parts = stage(phase("Plan.", "a"), phase("Make.", "b", compact="x"))
    failed = Turn(events=("PreCompact", ("StopFailure", {"error": "server_error", "agent_id": "a"})))
    assert desk.drive(parts, FIRST, failed, SECOND).outcome == SUCCEEDED
    assert len(pastes(desk)) == 2


def test_what_the_session_before_cost_counts_once(desk: Desk) -> None:
    """The status line lags: right after the /clear it still tells of the old session."""
    parts = stage(phase("Plan.", "a"), phase("Make.", "b", handover=True))

    def says(session: str, dollars: float) -> Callable[[], object]:
        status = {"session_id": session, "cost": {"total_cost_usd": dollars}}
        return lambda: (desk.last.dir / "status.json").write_text(json.dumps(status))

    summing = Turn(events=AGAIN, then=says("s-1", 2.0))
    again = (("UserPromptSubmit", {"session_id": "s-2"}), ("Stop", {"session_id": "s-2"}))
    made = Turn({"b": "made"}, again, then=says("s-2", 0.5))
    assert (
        desk.drive(parts, replace(FIRST, then=says("s-1", 1.5)), summing, CLEARED, made).outcome == SUCCEEDED
    )
    result = desk.last.result()
    assert result is not None
    assert result["cost_usd"] == 2.5


def test_a_fresh_session_begins_from_a_summary(desk: Desk) -> None:
    parts = stage(phase("Plan.", "a"), phase("Make.", "b", handover=True))
    summing = Turn(
        events=(
            ("UserPromptSubmit", {"prompt": "sum up"}),
            ("Stop", {"last_assistant_message": "It is all in a."}),
        )
    )
    again = (("UserPromptSubmit", {"session_id": "s-2"}), ("Stop", {"session_id": "s-2"}))
    done = desk.drive(parts, FIRST, summing, CLEARED, Turn({"b": "made"}, again))
    assert done.outcome == SUCCEEDED
    asked, cleared, given = pastes(desk)
    assert asked[0].startswith("The next phase will be done by a fresh session")
    assert cleared == ("/clear",)
    summary = desk.last.dir / "summary-1.md"
    assert summary.read_text() == "It is all in a.\n"
    assert f"told in {summary}: read it first" in given[0]
    result = desk.last.result()
    assert result is not None
    assert result["session_id"] == "s-2"


@pytest.mark.parametrize(("context", "words"), [(71, ["/compact", "The stage"]), (69, ["The stage"])])
def test_a_full_context_is_compacted_before_a_repair(desk: Desk, context: int, words: list[str]) -> None:
    """The client tells how full it is a moment after its Stop hook, and no hook tells of that."""

    def told_late() -> None:
        status = {"context_window": {"used_percentage": context}}
        (desk.last.dir / "status.json").write_text(json.dumps(status))

    desk.waker.meanwhile = [told_late]
    turns = (Turn(), COMPACTED) if context > 70 else (Turn(),)
    done = desk.drive(replace(STAGE, compact_at=70.0), *turns, Turn({"a": "made"}, AGAIN))
    assert done.outcome == SUCCEEDED
    assert [text.rpartition(" 'api'")[0] or text for (text, *_) in pastes(desk)] == words


def test_how_full_a_context_is_is_not_waited_for_endlessly(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "CONTEXT_SECONDS", 0.05)
    done = desk.drive(replace(STAGE, compact_at=70.0), Turn(), Turn({"a": "made"}, AGAIN))
    assert done.outcome == SUCCEEDED
    assert len(pastes(desk)) == 1


@pytest.mark.parametrize("text", ["Make it. " * 100, "Make\nit\nwell."])
def test_a_long_prompt_is_a_file_to_read(desk: Desk, text: str) -> None:
    parts = stage(phase("Plan.", "a"), phase(text, "b"))
    assert desk.drive(parts, FIRST, SECOND).outcome == SUCCEEDED
    path = desk.last.dir / "prompt-phase-2.md"
    assert pastes(desk)[0][0].endswith(f"Read the file {path} and do what it says.")
    assert path.read_text().endswith(text)


# -- reruns


DEFINED = {**DEFINITION, "phase 1": "one", "phase 2": "two"}


def attempt(desk: Desk, number: int) -> dict[str, object]:
    found = Attempt(desk.log, number).result()
    assert found is not None
    return found


def drive(desk: Desk, parts: Stage, definition: dict[str, object], *turns: Turn) -> Outcome:
    from dodo_claude.worker.recovery import drive as real

    desk.terminal.turns = list(turns)
    desk.terminal.calls.clear()
    return real(parts, definition, desk.services).outcome


def test_a_rerun_goes_on_with_the_phase_that_failed(desk: Desk) -> None:
    parts = replace(TWO, repairs=0)
    assert drive(desk, parts, DEFINED, FIRST, Turn({}, AGAIN)).result is Result.FAILED
    assert desk.text("a") == "plan"  # it stays where it is
    desk.log.forget()
    assert drive(desk, parts, {**DEFINED, "phase 2": "mended"}, Turn({"b": "made"})) == SUCCEEDED
    assert (desk.last.dir / "prompt.md").read_text().endswith("phase 1 (a).\n\nMake.")
    assert pastes(desk) == []


@pytest.mark.parametrize("what", ["its definition", "its target", "what all phases share", "an input"])
def test_a_phase_that_is_not_as_it_was_is_done_again(desk: Desk, what: str) -> None:
    parts = replace(TWO, repairs=0)
    assert drive(desk, parts, DEFINED, FIRST, Turn({}, AGAIN)).result is Result.FAILED
    desk.log.forget()
    definition = dict(DEFINED)
    if what == "its definition":
        definition["phase 1"] = "other"
    elif what == "its target":
        (desk.root / "a").write_text("by hand")
    elif what == "what all phases share":
        definition["model"] = "other"
    else:
        (desk.root / "in").write_text("other")
    assert drive(desk, parts, definition, Turn({"a": "again"}), SECOND) == SUCCEEDED
    assert (desk.last.dir / "prompt.md").read_text().endswith("Plan.")


def test_what_only_a_later_phase_reads_makes_no_earlier_one_stale(desk: Desk) -> None:
    parts = stage(phase("Plan.", "a"), phase("Make.", "b", prompt_files=("in",)), repairs=0)
    assert drive(desk, parts, DEFINED, FIRST, Turn({}, AGAIN)).result is Result.FAILED
    desk.log.forget()
    (desk.root / "in").write_text("other")
    assert drive(desk, parts, DEFINED, Turn({"b": "made"})) == SUCCEEDED


def test_a_worker_that_dies_between_two_phases_is_resumed_with_the_next_prompt(desk: Desk) -> None:
    parts = stage(phase("Plan.", "a"), phase("Make.", "b", compact="x"), retries=1)
    died = Turn(events=(), exits=9)
    assert drive(desk, parts, DEFINED, FIRST, died, Turn({"b": "made"})) == SUCCEEDED
    assert attempt(desk, 1)["reason"] == "its worker ended before phase 2 of 2 began"
    assert (desk.last.dir / "prompt.md").read_text().endswith("Make.")
    assert "--resume" in (desk.last.dir / "launch.sh").read_text()


KILLED = Turn(events=WORK, exits=-9)


def test_a_worker_killed_in_a_phase_is_told_where_its_task_is_and_given_the_next(desk: Desk) -> None:
    """Its client may not have written that phase's prompt down; and the prompt after it is no resumption's."""
    parts = stage(phase("Plan.", "a"), phase("Make.", "b"), phase("Test.", "c"), retries=1)
    killed = Turn(events=(("UserPromptSubmit", {"prompt": "x"}),), exits=-9)
    last = Turn({"c": "tested"}, AGAIN)
    assert drive(desk, parts, DEFINED, FIRST, killed, Turn({"b": "made"}), last) == SUCCEEDED
    folder = desk.last.dir
    words = (folder / "prompt.md").read_text()
    assert words.startswith("Your session was cut off. Please go on")
    assert str(folder / "task.md") in words
    assert (folder / "task.md").read_text().startswith("This is phase 2 of 3 of your work.")
    assert [text for (text,) in pastes(desk)][-1].startswith("This is phase 3 of 3 of your work.")


def test_a_compaction_of_a_resumed_session_is_told_of_the_task_and_not_of_the_resumption(desk: Desk) -> None:
    assert drive(desk, replace(STAGE, retries=1), DEFINITION, KILLED, GOOD) == SUCCEEDED
    folder = desk.last.dir
    assert (folder / "task.md").read_text() == "Write a."
    assert str(folder / "task.md") in (folder / "reminder.json").read_text()


def test_a_summary_is_not_lost_with_its_worker(desk: Desk) -> None:
    """The worker dies when its context is cleared: there is no session to resume, and a summary to begin with."""
    parts = stage(phase("Plan.", "a"), phase("Make.", "b", handover=True), retries=1)
    summing = Turn(events=(("UserPromptSubmit", {}), ("Stop", {"last_assistant_message": "All in a."})))
    died = replace(CLEARED, exits=-9)
    assert drive(desk, parts, DEFINED, FIRST, summing, died, Turn({"b": "made"})) == SUCCEEDED
    folder = desk.last.dir
    assert folder.name == "2"
    assert "--resume" not in (folder / "launch.sh").read_text()
    assert (folder / "summary-1.md").read_text() == "All in a.\n"
    assert f"told in {folder / 'summary-1.md'}" in (folder / "prompt.md").read_text()


def test_a_session_that_was_never_written_down_is_followed_by_a_fresh_one(desk: Desk) -> None:
    parts = stage(phase("Plan.", "a"), phase("Make.", "b"), retries=3)
    killed = Turn(events=(("UserPromptSubmit", {}),), exits=-9)
    not_found = Turn(events=(), exits=1)
    assert drive(desk, parts, DEFINED, FIRST, killed, not_found, Turn({"b": "made"})) == SUCCEEDED
    assert ["--resume" in (desk.log.dir / number / "launch.sh").read_text() for number in "123"] == [
        False, True, False
    ]  # fmt: skip
    assert (desk.last.dir / "prompt.md").read_text().endswith("phase 1 (a).\n\nMake.")


def test_a_prompt_that_a_killed_run_did_not_paste_is_pasted_with_its_secrets(desk: Desk) -> None:
    """The journal has it without them."""
    secret = "sk-ant-api03-" + "Zk3x9Q" * 8
    parts = stage(phase("Plan.", "a"), phase(f"Use {secret}.", "b"))
    worker = Worker(parts, DEFINED, desk.services, desk.log.begin())
    worker.view = replace(worker.view, phase=1)
    (worker.attempt.dir / "prompt-phase-2.md").write_text(f"Use {secret}.")
    worker._note(life.GIVEN, text=f"Use {secret}.")
    assert worker.sent == [f"Use {secret}."]
    assert secret not in worker.attempt.journal.read_text()


# -- pure


def test_a_part_is_a_stage() -> None:
    part = phases.part(TWO, 1)
    assert (part.prompt, part.targets, part.name, part.phases) == ("Make.", ("b",), "api", ())
    assert phases.part(STAGE, 0) is STAGE
    assert phases.count(STAGE) == 1


def test_marks_differ_with_what_a_phase_is_made_from() -> None:
    assert phases.mark(DEFINED, 0) != phases.mark(DEFINED, 1)
    assert phases.mark(DEFINED, 0) == phases.mark(
        {**DEFINED, "phase 2": "x", "targets": ["b"], "check": "y"}, 0
    )
    assert phases.mark(DEFINED, 0) != phases.mark({**DEFINED, "model": "x"}, 0)


@pytest.mark.parametrize("done", [[], [None], [3], [{"mark": "x"}], [{"mark": None, "targets": 3}]])
def test_a_damaged_record_holds_nothing(tmp_path: Path, done: list[object]) -> None:
    assert phases.kept(TWO, DEFINED, tmp_path, done, []) == []


def test_the_brief_tells_of_phases() -> None:
    from tests.samples.jobs import JOB

    assert "The work comes in 2 phases: end your turn after each" in brief.brief(replace(JOB, phases=2))
    assert "phases" not in brief.brief(JOB)
