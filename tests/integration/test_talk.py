"""send, ask, answer, note, progress, compact and events, with workers of the scripted agent at work in tmux."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dodo_claude.state.mail import DELIVERED, REFUSED, Mailbox
from tests.integration.scenes import (
    Step,
    at_gate,
    bash,
    configure,
    events,
    gate,
    happened,
    kill,
    open_gate,
    play,
    wait_event,
    worker_pid,
    write,
)
from tests.project import BIN, Project

pytestmark = pytest.mark.tmux
ONE = {"one": {"targets": ["it.txt"]}}


def told(pattern: str, *steps: Step) -> Step:
    return {"told": pattern, "then": list(steps)}


def mailbox(project: Project, stage: str) -> Mailbox:
    return Mailbox(project.log(stage))


def send(project: Project, stage: str, text: str, *options: str) -> str:
    """The message's id."""
    ran = project.run("dodo-claude", "send", stage, text, "--json", *options, check=0)
    return str(json.loads(ran.out)["id"])


def test_a_message_reaches_a_busy_worker_between_two_steps(project: Project) -> None:
    configure(project, ONE)
    play(project, {"one": [[gate("go"), told("use 8080", write("it.txt", "8080\n"))]]})
    with project.started() as live:
        at_gate(project, "go")
        letter = send(project, "one", "use 8080")
        assert mailbox(project, "one").state(letter) == "new"
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert project.read("it.txt") == "8080\n"
    assert mailbox(project, "one").state(letter) == DELIVERED
    (given,) = [event for event in events(project, "one") if event.data.get("mail")]
    assert (given.kind, given.data["mail"]) == ("PostToolBatch", [letter])
    assert [event.data["letters"] for event in events(project, "one", "received")] == [[letter]]


def test_one_that_comes_while_it_only_talks_is_given_at_its_turns_end(project: Project) -> None:
    configure(project, ONE)
    project.write(
        "scenario.toml",
        """
        [[stages.one.turns]]
        steps = [{ say = "I think." }, { sleep = 1 }, { say = "I am done." }]
        [[stages.one.turns]]
        when = "use 9090"
        steps = [{ write = "it.txt", text = "9090" }]
        """,
    )
    project.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    with project.started() as live:
        wait_event(project, "one", "UserPromptSubmit")
        first, second = (mailbox(project, "one").post(text, "x") for text in ("use 8080", "use 9090"))
        assert live.wait() == 0, live.text
    assert project.read("it.txt") == "9090"
    assert [mailbox(project, "one").state(letter) for letter in (first, second)] == [DELIVERED] * 2


def test_one_whose_turn_ends_all_the_same_is_told_to_go_on(project: Project) -> None:
    """A client ends a turn that hooks have sent on too often, and keeps what the last of them gave for the next prompt."""
    command = f"env CLAUDE_CODE_STOP_HOOK_BLOCK_CAP=1 {sys.executable} -m dodo_claude.agents.scripted"
    configure(project, ONE, agent={"command": command.split()})
    project.write(
        "scenario.toml",
        """
        [stages.one]
        idle_notice = 0.5
        [[stages.one.turns]]
        steps = [{ bash = "touch a.at; while [ ! -e a ]; do sleep 0.02; done" }, { sleep = 1 }, { say = "Done." }]
        [[stages.one.turns]]
        when = "first"
        steps = [{ say = "I see." }, { sleep = 1 }]
        [[stages.one.turns]]
        when = "go on"
        steps = [{ told = "the second", then = [{ write = "it.txt", text = "both" }] }]
        """,
    )
    project.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    with project.started() as live:
        at_gate(project, "a")
        open_gate(project, "a")
        wait_event(project, "one", "PostToolBatch")
        first = mailbox(project, "one").post("the first", "x")
        project.wait_for(lambda: mailbox(project, "one").state(first) == "taken", "the first one's turn")
        second = mailbox(project, "one").post("the second", "x")
        assert live.wait() == 0, live.text
    assert project.read("it.txt") == "both"
    assert [mailbox(project, "one").state(letter) for letter in (first, second)] == [DELIVERED] * 2
    assert [event.kind for event in events(project, "one") if event.data.get("mail")] == ["Stop", "Stop"]
    assert happened(project, "one", "continued")


def test_an_idle_worker_gets_it_pasted(project: Project) -> None:
    """Its turn is over and its check runs: no hook comes any more."""
    configure(
        project,
        {"one": {"targets": ["it.txt"], "check": "touch go.at; while [ ! -e go ]; do sleep 0.02; done"}},
    )
    play(project, {"one": [[write("it.txt", "first\n")], [write("it.txt", "second\n")]]})
    with project.started() as live:
        at_gate(project, "go")
        letter = send(project, "one", "once more, please")
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert project.read("it.txt") == "second\n"
    assert mailbox(project, "one").state(letter) == DELIVERED
    (pasted,) = events(project, "one", "mailed")
    assert pasted.data["letters"] == [letter]
    prompts = [event.data["prompt"] for event in events(project, "one", "UserPromptSubmit")]
    assert prompts[1].startswith("You have messages.")
    assert "Message from the user:\nonce more, please" in prompts[1]


def test_none_goes_to_a_worker_at_a_dialog_or_at_its_end(project: Project) -> None:
    configure(project, ONE, agent={"permission_mode": "manual"})
    play(project, {"one": [[{"permission": "Bash", "command": "touch forbidden"}, write("it.txt")]]})
    with project.started() as live:
        live.until("NEEDS A PERSON")
        refused = project.run("dodo-claude", "send", "one", "yes", check=1)
        assert refused.err.startswith("refused: 'one': waits for a person at a dialog: Bash touch forbidden")
        assert project.run("dodo-claude", "send", "one", "1", "--json", check=1).out.startswith('{"id": null')
        assert mailbox(project, "one").letters("new", DELIVERED, REFUSED) == []
        assert not (project.root / "forbidden").exists()
        project.run("dodo-claude", "stop", "one", check=0)
        live.kill(15)
    assert "no worker is at work on it" in project.run("dodo-claude", "send", "one", "hello", check=1).err
    assert (
        "stage 'onne': not found (did you mean 'one'?)"
        in project.run("dodo-claude", "send", "onne", "x", check=2).err
    )


def test_delivery_outlives_the_orchestrator(project: Project) -> None:
    configure(project, ONE)
    play(project, {"one": [[gate("go"), told("use 8080", write("it.txt", "8080\n")), gate("end")]]})
    with project.started() as live:
        at_gate(project, "go")
        live.kill()
    letter = send(project, "one", "use 8080")
    open_gate(project, "go")
    at_gate(project, "end")  # nobody followed it meanwhile
    assert project.read("it.txt") == "8080\n"
    assert mailbox(project, "one").state(letter) == "taken"
    open_gate(project, "end")
    assert project.orchestrate().said("1 stage: 1 done")
    assert mailbox(project, "one").state(letter) == DELIVERED
    assert project.attempts("one") == 1


def test_what_a_dead_worker_was_given_is_not_called_delivered(project: Project) -> None:
    configure(project, ONE, defaults={"retries": 0})
    play(
        project,
        {
            "one": [
                [gate("go"), bash("touch then.at; while [ ! -e then ]; do sleep 0.02; done"), write("it.txt")]
            ]
        },
    )
    with project.started() as live:
        at_gate(project, "go")
        letter = send(project, "one", "use 8080")
        open_gate(project, "go")
        project.wait_for(lambda: mailbox(project, "one").state(letter) not in ("new", None), "it to be taken")
        kill(worker_pid(project, "one"))
        queued = mailbox(project, "one")
        assert live.wait() == 1
    assert queued.state(letter) in ("unknown", DELIVERED)
    states = [event.kind for event in events(project, "one") if letter in str(event.data.get("letters"))]
    assert states in (["lost"], ["received"])
    assert (states == ["lost"]) == (queued.state(letter) == "unknown")


def test_what_waits_when_the_stage_ends_is_refused(project: Project) -> None:
    configure(project, {**ONE, "two": {"command": "true", "after": ["one"]}}, defaults={"retries": 0})
    play(project, {"one": [[gate("go"), {"exit": 3}]]})
    with project.started() as live:
        at_gate(project, "go")
        letter = send(project, "one", "use 8080")
        # It dies before a hook of its comes by.
        kill(worker_pid(project, "one"))
        assert live.wait() == 1
    assert mailbox(project, "one").state(letter) == REFUSED
    assert [event.data["letters"] for event in events(project, "one", REFUSED)] == [[letter]]


def worker(command: str) -> Step:
    """What a worker says by a command of ours."""
    return bash(f"{BIN}/dodo-claude {command}")


def test_a_worker_says_how_far_it_is_and_notes_what_others_should_know(project: Project) -> None:
    configure(project, {**ONE, "two": {"targets": ["too.txt"], "after": ["one"]}})
    play(
        project,
        {
            "one": [[
                worker('progress 60 "handlers done"'), worker('note "the port is 8080"'), worker('send orchestrator "look at me"'),
                write("it.txt"),
            ]],
            "two": [[bash("grep -q 8080 .orchestrate/notes.md"), worker("note -- 'and mine'"), write("too.txt")]],
        },
    )  # fmt: skip
    ran = project.orchestrate()
    assert ran.said("one 60 % handlers done")
    assert ran.said("one says: look at me")
    lines = project.read(".orchestrate/notes.md").splitlines()
    assert [line.split(" ", 3)[3] for line in lines] == ["one: the port is 8080", "two: and mine"]
    kinds = {event.kind: event.data for event in events(project, "one") if event.kind.islower()}
    assert kinds["progress"] == {"percent": 60, "text": "handlers done"}
    assert kinds["message"] == {"to": "orchestrator", "text": "look at me"}


def test_a_question_is_answered_while_its_worker_waits(project: Project) -> None:
    configure(project, ONE)
    play(project, {"one": [[worker('ask "SQLite or PostgreSQL?" --wait 50s > answer.txt'), write("it.txt")]]})
    with project.started() as live:
        live.until("ASKS: SQLite or PostgreSQL? (dodo-claude answer one TEXT)")
        ran = project.run("dodo-claude", "answer", "one", "SQLite", check=0)
        assert ran.out == "answered: SQLite or PostgreSQL? (it goes on)\n"
        assert live.wait() == 0, live.text
    assert project.read("answer.txt") == "SQLite\n"


def test_an_answer_that_comes_late_is_a_message(project: Project) -> None:
    configure(project, ONE)
    play(project, {"one": [[
        worker('ask "SQLite or PostgreSQL?" --wait 0s > answer.txt'), gate("go"), told("SQLite", write("it.txt", "SQLite\n")),
    ]]})  # fmt: skip
    with project.started() as live:
        at_gate(project, "go")
        assert "No answer yet" in project.read("answer.txt")
        ran = project.run("dodo-claude", "answer", "one", "SQLite", check=0)
        assert "sent as message" in ran.out
        assert "asks nothing now" in project.run("dodo-claude", "answer", "one", "again", check=2).err
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert project.read("it.txt") == "SQLite\n"


def test_one_worker_tells_another(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"]}, "two": {"targets": ["too.txt"]}}, max_workers=2)
    play(
        project,
        {
            "one": [[gate("go"), told("the contract is in too.txt", write("it.txt"))]],
            "two": [[write("too.txt"), worker('send one "the contract is in too.txt"'), gate("end")]],
        },
    )
    with project.started("-n", "2") as live:
        at_gate(project, "go")
        at_gate(project, "end")
        open_gate(project, "go")
        open_gate(project, "end")
        assert live.wait() == 0, live.text
    (letter,) = mailbox(project, "one").letters(DELIVERED)
    found = mailbox(project, "one").letter(letter)
    assert found is not None
    assert found.sender == "worker two"


def test_the_bus_tells_all_that_happened_and_goes_on(project: Project, tmp_path: Path) -> None:
    configure(project, {**ONE, "two": {"targets": ["too.txt"], "after": ["one"]}})
    play(
        project, {"one": [[worker("progress 50"), write("it.txt")]], "two": [[gate("go"), write("too.txt")]]}
    )
    with project.started() as live:
        at_gate(project, "go")
        with subprocess.Popen(
            [str(BIN / "dodo-claude"), "events", "--follow", "--json"],
            cwd=project.root, env=project.environ(), stdout=subprocess.PIPE, text=True,
            # A shell lets what it starts in the background hear no Ctrl-C, and so may whoever started the tests.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as bus:  # fmt: skip
            assert bus.stdout is not None
            seen = []
            open_gate(project, "go")
            while not seen or (seen[-1]["stage"], seen[-1]["kind"]) != ("two", "outcome"):
                seen.append(json.loads(bus.stdout.readline()))
            bus.send_signal(signal.SIGINT)
            try:
                assert bus.wait(20) == 0
            finally:
                bus.kill()
        assert live.wait() == 0
    assert [event["at"] for event in seen] == sorted(event["at"] for event in seen)
    for stage in ("one", "two"):
        told_of = [(event["kind"], event["at"]) for event in seen if event["stage"] == stage]
        # The journal has them as they were read: a hook's event may have happened before what was written down meanwhile.
        happened = sorted(events(project, stage), key=lambda event: event.at)
        assert told_of == [(event.kind, event.at) for event in happened]
    plain = project.run("dodo-claude", "events", "one", check=0)
    assert all(line.split()[1] == "one" for line in plain.out.splitlines())
    assert any(line.endswith("progress          50 %") for line in plain.out.splitlines())
    # Of a run in which nothing happens there is nothing to tell; of the earlier ones there is, if asked.
    everything = project.run("dodo-claude", "events", "--all", "--json", check=0).out.splitlines()
    assert len(everything) == len(seen)
    outcomes = project.run(
        "dodo-claude", "events", "--json", "--kind", "progress", "--kind", "outcome", check=0
    ).out
    told_of = [(event["stage"], event["kind"]) for event in map(json.loads, outcomes.splitlines())]
    assert told_of == [("one", "progress"), ("one", "outcome"), ("two", "outcome")]
    last = json.loads(outcomes.splitlines()[-1])["at"]
    late = project.run(
        "dodo-claude", "events", "--json", "--kind", "outcome", "--since", str(last), check=0
    ).out
    assert [json.loads(line)["stage"] for line in late.splitlines()] == ["two"]


def test_the_bus_ends_with_a_run_in_a_session_of_its_own(project: Project) -> None:
    """From its very beginning, when nobody holds the lock yet, to its last event."""
    configure(project, ONE)
    play(project, {"one": [[gate("go"), write("it.txt")]]})
    project.orchestrate("--detach")
    with subprocess.Popen(
        [str(BIN / "dodo-claude"), "events", "--follow", "--until-end", "--json", "--kind", "outcome"],
        cwd=project.root, env=project.environ(), stdout=subprocess.PIPE, text=True,
    ) as bus:  # fmt: skip
        at_gate(project, "go")
        assert bus.poll() is None
        open_gate(project, "go")
        out, _ = bus.communicate(timeout=60)
        assert bus.returncode == 0
    assert [json.loads(line)["data"]["result"] for line in out.splitlines()] == ["succeeded"]
    # Nobody runs: what there is, then the end.
    again = project.run("dodo-claude", "events", "-f", "--until-end", "--kind", "outcome", check=0)
    assert len(again.out.splitlines()) == 1


def test_what_only_a_worker_can_say(project: Project) -> None:
    configure(project, ONE)
    for command in (("progress", "50"), ("ask", "what?"), ("send", "orchestrator", "x")):
        ran = project.run("dodo-claude", *command, check=2)
        assert ran.err == "only a worker can say that (run it from inside a worker's session)\n"
    assert "no worker is at work" in project.run("dodo-claude", "compact", "one", check=2).err
    assert happened(project, "one", "begun") is False


def test_compacted_by_hand_in_mid_turn(project: Project) -> None:
    configure(project, ONE, defaults={"repairs": 1})
    # A context without a turn that ended is too short to be compacted: the first one is.
    play(project, {"one": [[{"say": "Done?"}], [gate("go"), write("no.txt")], [write("it.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        ran = project.run("dodo-claude", "compact", "one", "-g", "Next phase: tests", "--now", check=0)
        assert ran.out == "'one' compacts its context now\n"
        assert live.wait() == 0, live.text
    compacted = wait_event(project, "one", "PreCompact")
    assert compacted.data["custom_instructions"] == "Next phase: tests"
    kinds = project.kinds("one")
    assert kinds.index("interrupted") < kinds.index("PostCompact") < kinds.index("continued")
    assert not (project.root / "no.txt").exists()
