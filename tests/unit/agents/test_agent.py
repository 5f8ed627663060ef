"""Another agent is one more module and one row of the table: a made-up one, whose events, arguments and screen are its own."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import dodo_claude
from dodo_claude.agents import start, table
from dodo_claude.agents.agent import Agent, Can, Job, Launch
from dodo_claude.config import profiles
from dodo_claude.config.records import AgentProfile
from dodo_claude.machine.files import make_state_dir
from dodo_claude.state import events as life
from dodo_claude.state.events import State
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.state.lifecycle import advance
from dodo_claude.state.mail import Mailbox
from dodo_claude.state.vocabulary import Vocabulary
from tests.fakes import NO_PID, Turn
from tests.samples.attempts import STAGE, SUCCEEDED, Desk, cut_off
from tests.samples.jobs import JOB

HOOK = Path(dodo_claude.__file__).parent / "agents/hook.sh"


class Loom(Agent):
    """What such a module would hold."""

    can = Can(hooks=True)
    vocabulary = Vocabulary(
        kinds={
            "session.open": "SessionStart", "prompt.taken": "UserPromptSubmit", "tool.before": "PreToolUse",
            "round.over": "PostToolBatch", "turn.over": "Stop", "turn.broken": "StopFailure",
        },
        fields={
            "event": "hook_event_name", "session": "session_id", "said": "last_assistant_message",
            "tool": "tool_name", "input": "tool_input", "why": "error", "calls": "tool_calls",
        },
        values={"error": {"busy": "overloaded", "no-key": "authentication_failed"}},
    )  # fmt: skip
    box = "loom>"

    def launch(self, profile: AgentProfile, job: Job, variables: dict[str, str]) -> Launch:
        words = [*profile.command, f"+listen={shlex.join(job.hook)}", f"+id={job.session_id}", "+begin"]
        return Launch(f'{shlex.join(words)} "$prompt"', variables, {"loom.cfg": "quiet\n"})

    def input_box(self, screen: str) -> str:
        last = screen.rstrip("\n").rpartition("\n")[2]
        if not last.startswith(self.box):
            return "absent"
        return "draft" if last.removeprefix(self.box).strip() else "free"

    def goes_by_file(self, prompt: str) -> bool:
        return prompt.startswith("+")

    def aims_at(self, call: object) -> str | None:
        given = call.get("tool_input") if isinstance(call, dict) else None
        return str(given["path"]) if isinstance(given, dict) and "path" in given else None


PROFILE = AgentProfile("loom", "loom", ("loom",))
MADE_UP = replace(STAGE, agent=PROFILE)
FREE, TYPED, ASKS = "woven\nloom> ", "woven\nloom> half a word", "woven\nGo on? [y/n]"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setitem(table.AGENTS, "loom", Loom())
    root = tmp_path / "p"
    root.mkdir()
    made = Desk(root)
    made.terminal.screens = [FREE] * 100
    return made


numbers = itertools.count(1)


def say(attempt: Attempt, event: str, **fields: object) -> None:
    """Its hook, in its own words."""
    (attempt.spool / str(next(numbers))).write_text(json.dumps({"event": event, "session": "s", **fields}))


OPEN = (("session.open", {}), ("prompt.taken", {}))
OVER = ("turn.over", {"said": "woven"})
AGAIN = (("prompt.taken", {}), OVER)


def turn(desk: Desk, *events: tuple[str, dict[str, object]], **writes: str) -> Turn:
    def tell() -> None:
        for event, fields in events:
            say(desk.last, event, **fields)

    return Turn(writes, events=(), then=tell)


# -- its start


@pytest.mark.usefixtures("desk")
def test_it_is_started_in_its_own_way() -> None:
    made = start.launch(PROFILE, JOB, {"PATH": "/bin", "ANTHROPIC_API_KEY": "k"}, {"MINE": "1"})
    assert made.command == (
        "loom '+listen=/bin/sh /h/hook.sh '\"'\"'/a spool'\"'\"'' "
        '+id=11111111-2222-3333-4444-555555555555 +begin "$prompt"'
    )
    assert made.env["MINE"] == "1"
    assert "ANTHROPIC_API_KEY" not in made.env
    assert set(made.files) == {"loom.cfg", "agent.json"}


def test_a_real_process_tells_by_real_hooks(desk: Desk, tmp_path: Path) -> None:
    """Its launch script starts it, its hook writes what it says, and the journal has that in our words."""
    program = tmp_path / "loom"
    program.write_text(
        "#!/bin/sh\nfor word; do case $word in +listen=*) hook=${word#+listen=};; esac; done\n"
        'say() { printf %s "$1" | eval "$hook"; sleep 0.02; }\n'
        """say '{"event": "session.open", "session": "s"}'\nsay '{"event": "prompt.taken", "session": "s"}'\n"""
        """say '{"event": "tool.before", "tool": "weave", "input": {"command": "plain"}}'\n"""
        """say '{"event": "turn.over", "said": "woven"}'\n"""
    )
    program.chmod(0o755)
    attempt = desk.log.begin()
    job = replace(
        JOB,
        root=desk.root,
        cwd=desk.root,
        folder=attempt.dir,
        hook=("/bin/sh", str(HOOK), str(attempt.spool)),
    )
    launch = start.launch(replace(PROFILE, command=(str(program),)), job, {"PATH": "/usr/bin:/bin"}, {})
    for name, text in {**launch.files, "prompt.md": "weave", "env": start.env_script(launch.env)}.items():
        (attempt.dir / name).write_text(text)
    (attempt.dir / "launch.sh").write_text(start.launch_script(job, launch.command, attempt.dir / "env"))
    subprocess.run(["/bin/sh", str(attempt.dir / "launch.sh")], check=True, timeout=30)
    view = life.View()
    for event in attempt.collect():
        view = advance(view, event)
    assert [event.kind for event in attempt.replay()] == [
        "SessionStart",
        "UserPromptSubmit",
        "PreToolUse",
        "Stop",
    ]
    assert (view.state, view.session_id, view.message, view.tools) == (State.IDLE, "s", "woven", 1)


# -- a stage that it works on


def test_one_good_turn(desk: Desk) -> None:
    used = ("tool.before", {"tool": "weave", "input": {"path": "a"}})
    done = desk.drive(MADE_UP, turn(desk, *OPEN, used, ("round.over", {}), OVER, a="made"))
    assert done.outcome == SUCCEEDED
    assert done.message == "woven"
    told = [kind for kind in desk.kinds() if kind[0].isupper()]
    assert told == ["SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolBatch", "Stop"]


def test_it_is_told_what_is_missing_once_its_input_box_is_free(desk: Desk) -> None:
    desk.terminal.screens = [TYPED, ASKS, *[FREE] * 100]
    more = turn(desk, *AGAIN, a="made")
    done = desk.drive(MADE_UP, turn(desk, *OPEN, OVER), more)
    assert done.outcome == SUCCEEDED
    assert done.repairs == 1
    assert desk.terminal.names().count("paste") == 1


def test_a_message_waits_until_its_turn_is_over(desk: Desk) -> None:
    def send() -> None:
        Mailbox(desk.log).post("use wool", "you")
        say(desk.last, OVER[0], **OVER[1])

    desk.waker.meanwhile = [send]
    done = desk.drive(MADE_UP, turn(desk, *OPEN, a="made"), turn(desk, *AGAIN))
    assert done.outcome == SUCCEEDED
    (pasted,) = (text for name, *text in desk.terminal.calls if name == "paste")
    assert "use wool" in str(pasted)


def test_an_error_in_its_words_pauses_all(desk: Desk) -> None:
    broken = ("turn.broken", {"why": "busy", "said": "the loom is busy"})
    again = turn(desk, *AGAIN, a="made")
    assert desk.drive(MADE_UP, turn(desk, *OPEN, broken), again).outcome == SUCCEEDED
    assert ("pause", "overloaded", "the loom is busy") in desk.fleet.told


def test_an_error_in_its_words_stops_all(desk: Desk) -> None:
    done = desk.drive(MADE_UP, turn(desk, *OPEN, ("turn.broken", {"why": "no-key"})))
    assert (done.outcome.kind, done.outcome.fatal) == ("authentication_failed", True)


# -- what it can't


@pytest.mark.parametrize("compacts", [False, True])
def test_its_context_is_compacted_only_if_that_can_be(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, compacts: bool
) -> None:
    monkeypatch.setattr(Loom, "can", Can(hooks=True, compact=compacts))
    monkeypatch.setattr(Loom, "context", lambda self, status: 99.0)
    lacking = turn(desk, *OPEN, OVER)

    def full() -> None:
        lacking.then()
        (desk.last.dir / "status.json").write_text("{}")

    room = [
        turn(desk, ("PreCompact", {}), ("session.open", {"source": "compact"}), ("PostCompact", {}))
    ] * compacts
    done = desk.drive(
        replace(MADE_UP, compact_at=50.0), replace(lacking, then=full), *room, turn(desk, *AGAIN, a="made")
    )
    assert done.outcome == SUCCEEDED
    assert any("/compact" in str(call) for call in desk.terminal.calls) is compacts


def test_a_session_that_was_cut_off_is_not_gone_on_with(desk: Desk) -> None:
    attempt = cut_off(desk, NO_PID)
    say(attempt, "session.open")
    say(attempt, "prompt.taken")
    (attempt.dir / "agent.json").write_text(start.launch(PROFILE, JOB, {}, {}).files["agent.json"])
    done = desk.drive(MADE_UP, turn(desk, *OPEN, OVER, a="made"))
    assert done.outcome == SUCCEEDED
    assert f"+id={attempt.view().session_id}" not in (desk.last.dir / "launch.sh").read_text()


# -- who looks on from elsewhere


@pytest.fixture
def attempt(desk: Desk) -> Attempt:
    made = StageLog(make_state_dir(desk.root), "watched").begin()
    (made.dir / "agent.json").write_text(start.launch(PROFILE, JOB, {}, {}).files["agent.json"])
    return made


def test_whoever_looks_on_reads_its_words_as_its_run_does(attempt: Attempt) -> None:
    say(attempt, "session.open")
    say(attempt, "prompt.taken")
    assert attempt.view().state is State.RUNNING
    assert table.agent_at(attempt.dir).input_box(TYPED) == "draft"
    kinds = [event.kind for event in attempt.collect()]
    assert kinds == [event.kind for event in attempt.replay()] == ["SessionStart", "UserPromptSubmit"]


def test_its_words_are_no_way_to_say_what_no_worker_may(attempt: Attempt) -> None:
    words = json.loads((attempt.dir / "agent.json").read_text())
    words["kinds"]["sly"] = life.VERIFIED
    (attempt.dir / "agent.json").write_text(json.dumps(words))
    say(attempt, "sly")
    assert attempt.collect() == []


def test_what_a_worker_itself_says_is_in_our_words_already(attempt: Attempt) -> None:
    attempt.drop(life.NOTE, text="hello", said="kept")
    (event,) = attempt.collect()
    assert (event.kind, event.data["text"], event.data["said"]) == (life.NOTE, "hello", "kept")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"base": "loom"}', '{"kinds": 1, "fields": {}, "values": {}, "base": ""}', "[" * 9999]
)
def test_words_that_are_damaged_are_none(attempt: Attempt, text: str) -> None:
    (attempt.dir / "agent.json").write_text(text)
    attempt.drop("Stop")
    assert [event.kind for event in attempt.collect()] == ["Stop"]
    assert table.agent_at(attempt.dir) is table.AGENTS["claude"]


def test_a_link_in_the_place_of_its_words_is_not_followed(attempt: Attempt) -> None:
    (attempt.dir / "agent.json").rename(attempt.dir / "elsewhere")
    (attempt.dir / "agent.json").symlink_to("elsewhere")
    assert table.agent_at(attempt.dir) is table.AGENTS["claude"]


def test_an_attempt_of_an_agent_that_is_gone_can_be_looked_at(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(table.AGENTS, "loom")
    assert table.agent_at(attempt.dir).can == Can()


# -- the table


def test_the_table_has_the_bases_that_the_configuration_knows() -> None:
    file = json.loads((Path(profiles.__file__).parent / "orchestrate.schema.json").read_text())
    assert {*table.AGENTS} == {
        *file["properties"]["agents"]["additionalProperties"]["properties"]["base"]["enum"]
    }
    assert {base for base, agent in table.AGENTS.items() if agent.can.hooks} == {*profiles.SESSIONS}


def test_a_stage_without_an_agent_can_nothing() -> None:
    assert table.agent_of(None).can == Can()
