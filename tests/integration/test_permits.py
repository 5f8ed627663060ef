"""Requests for a permission, answered from outside of the pane: allow, deny, too late, from below a worker, with nobody there."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess

import jsonschema
import pytest

from dodo_claude.machine import processes
from tests.integration.scenes import (
    at_gate,
    bash,
    configure,
    events,
    gate,
    open_gate,
    play,
    wait_event,
    write,
)
from tests.project import BIN, Live, Project
from tests.schemas import shape

pytestmark = [
    pytest.mark.tmux,
    pytest.mark.skipif(processes.below_a_worker(), reason="a worker may answer nothing"),
]
BACKEND = {"backend": {"targets": ["it.txt"]}}
ASKS = {"permission": "Bash", "command": "touch asked.txt"}
MANUAL = {"permission_mode": "manual"}


def asking(project: Project, *after: object, stages: dict[str, dict[str, object]] = BACKEND) -> None:
    configure(project, stages, agent=MANUAL | {"allowed_tools": ["Edit(./**)", "Bash"]})
    play(project, {"backend": [[ASKS, *after, write("it.txt")]]})


def request_of(project: Project) -> str:
    return str(wait_event(project, "backend", "PermissionRequest").data["request"])


def blocked(live: Live) -> None:
    live.until(
        "NEEDS A PERSON: Bash touch asked.txt (dodo-claude allow backend, deny backend, or attach backend)"
    )


def test_allow_is_for_that_one_call(project: Project) -> None:
    asking(project)
    with project.started() as live:
        blocked(live)
        request = request_of(project)
        told = json.loads(project.run("dodo-claude", "status", "--json", check=0).out)["stages"][0]
        assert (told["state"], told["about"], told["request"]) == (
            "blocked",
            "Bash touch asked.txt",
            request,
        )
        assert "Bash touch asked.txt (dodo-claude allow backend, deny backend, or attach backend)" in (
            project.run("dodo-claude", "status", check=0).out
        )
        # Of another request, and of one that is none: nothing is answered.
        for other in ("12-1", "../x", ""):
            wrong = project.run("dodo-claude", "allow", "backend", "--request", other, check=1)
            assert wrong.err.startswith(
                "refused: 'backend': that request is over; now it asks for: Bash touch"
            )
        assert not (project.root / "asked.txt").exists()
        # The example of its help.
        ran = project.run("dodo-claude", "allow", "backend", "--request", request, "--json", check=0)
        jsonschema.validate(json.loads(ran.out), shape("permit"))
        assert json.loads(ran.out) == {
            "request": request,
            "state": "given",
            "text": "allowed: Bash touch asked.txt",
        }
        assert live.wait() == 0, live.text
        assert any("allowed by the user: Bash touch asked.txt" in line for line in live.lines)
    assert (project.root / "asked.txt").exists()
    (answer,) = events(project, "backend", "permitted")
    assert answer.data == {
        "answered": request,
        "allow": True,
        "sender": "the user",
        "text": "",
        "what": "Bash touch asked.txt",
    }
    late = project.run("dodo-claude", "allow", "backend", check=1)
    assert late.err.startswith("refused: 'backend': no worker is at work on it")
    assert not (project.log("backend").dir / "1/permits").exists()
    page = project.run("dodo-claude", "report", "--html", "-", check=0).out
    assert "yes, to Bash touch asked.txt" in page


def test_deny_tells_the_worker_why(project: Project) -> None:
    asking(project, gate("go"))
    with project.started() as live:
        blocked(live)
        ran = project.run("dodo-claude", "deny", "backend", "use the library that is there", check=0)
        assert ran.out == "denied: Bash touch asked.txt\n"
        at_gate(project, "go")
        again = project.run("dodo-claude", "deny", "backend", check=1)
        assert again.err.startswith("refused: 'backend': asks for no permission now")
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert not (project.root / "asked.txt").exists()
    calls = [
        call for event in events(project, "backend", "PostToolBatch") for call in event.data["tool_calls"]
    ]  # type: ignore[attr-defined]
    assert calls[0]["tool_response"] == "use the library that is there"
    (answer,) = events(project, "backend", "permitted")
    assert (answer.data["allow"], answer.data["text"]) == (False, "use the library that is there")
    said = project.run("dodo-claude", "events", "--kind", "permitted", check=0).out
    assert "no, to Bash touch asked.txt" in said


def test_answered_at_the_pane_meanwhile(project: Project) -> None:
    """Nothing tells of that yes before the tool has ended: the pane does."""
    configure(project, BACKEND, agent=MANUAL | {"allowed_tools": ["Edit(./**)", "Bash"]})
    asked = {"permission": "Bash", "command": gate("go")["bash"]}
    play(project, {"backend": [[asked, gate("end"), write("it.txt")]]})
    with project.started() as live:
        live.until("NEEDS A PERSON")
        request = request_of(project)
        (socket,) = project.runtime.glob("dodo-claude/*/tmux.sock")
        subprocess.run(["tmux", "-S", str(socket), "send-keys", "-t", "p-backend", "1"], check=True)
        at_gate(project, "go")
        late = project.run("dodo-claude", "deny", "backend", check=1)
        assert late.err.endswith(": was answered in its pane\n")
        open_gate(project, "go")
        at_gate(project, "end")
        later = project.run("dodo-claude", "deny", "backend", "no", "--request", request, check=1)
        assert later.err.startswith("refused: 'backend': asks for no permission now")
        # Its hook, which the client leaves running, has ended.
        place = project.log("backend").dir / "1/permits"
        project.wait_for(lambda: not (place / request).exists(), "the end of its hook")
        open_gate(project, "end")
        assert live.wait() == 0, live.text
    assert not events(project, "backend", "permitted")


def test_no_worker_answers_itself_or_another(project: Project) -> None:
    hide = "env -u DODO_CLAUDE_ROOT -u DODO_CLAUDE_STAGE -u DODO_CLAUDE_NONCE "
    stages: dict[str, dict[str, object]] = {
        **BACKEND,
        "sibling": {"targets": ["s.txt"], "allowed_tools": ["Bash"]},
    }
    asking(project, stages=stages)
    # A rule forbids the command as it stands; a script of its own gets past that.
    for name, word in (("said", ""), ("hidden", hide)):
        project.write(f"{name}.sh", f"{word}{BIN}/dodo-claude allow backend >{name} 2>&1 || true\n")
    tries = [bash(f"{BIN}/dodo-claude allow backend >forbidden"), bash("sh said.sh"), bash("sh hidden.sh")]
    play(
        project,
        {
            "backend": [[ASKS, write("it.txt")]],
            "sibling": [[gate("go"), *tries, write("s.txt"), gate("end")]],
        },
    )
    with project.started() as live:
        blocked(live)
        at_gate(project, "go")
        open_gate(project, "go")
        at_gate(project, "end")
        assert not (project.root / "asked.txt").exists()
        project.run("dodo-claude", "allow", "backend", check=0)
        open_gate(project, "end")
        assert live.wait() == 0, live.text
    assert not (project.root / "forbidden").exists()
    for name in ("said", "hidden"):
        assert project.read(name) == (
            "refused: a worker can't answer a request for a permission, be it its own or another's\n"
        )


def test_on_a_terminal_the_whole_call_is_shown_first(project: Project) -> None:
    configure(project, BACKEND, agent=MANUAL | {"allowed_tools": ["Edit(./**)"]})
    command = f"true {'x' * 300}\n\x1b[2Jtouch asked.txt"
    play(project, {"backend": [[{"permission": "Bash", "command": command}, write("it.txt")]]})

    def at_terminal(answer: bytes) -> tuple[int, str]:
        master, slave = pty.openpty()
        os.write(master, b"y\n")  # what was typed before is no answer
        with subprocess.Popen(
            [f"{BIN}/dodo-claude", "allow", "backend"], stdin=slave, stdout=subprocess.PIPE, text=True,
            cwd=project.root, env=project.environ(),
        ) as process:  # fmt: skip
            assert process.stdout is not None
            said = ""
            while not said.endswith("[y/N] "):
                said += process.stdout.read(1)
            os.write(master, answer)
            said += process.stdout.read()
        os.close(slave)
        os.close(master)
        return process.returncode, said

    with project.started() as live:
        live.until("NEEDS A PERSON")
        status, said = at_terminal(b"n\n")
        assert status == 1
        shown = f"Bash\n  command: true {'x' * 300}\n    \\x1b[2Jtouch asked.txt\n  description: scripted command\n"
        assert said == f"{shown}Allow this one call? [y/N] nothing is answered\n"
        assert not (project.root / "asked.txt").exists()
        status, said = at_terminal(b"y\n")
        assert status == 0
        assert said.startswith(shown)
        assert live.wait() == 0, live.text
    (answer,) = events(project, "backend", "permitted")
    assert answer.data["answered"] == events(project, "backend", "PermissionRequest")[0].data["request"]


def test_it_works_while_no_orchestrator_runs(project: Project) -> None:
    asking(project)
    with project.started() as live:
        blocked(live)
        live.kill(signal.SIGKILL)
    ran = project.run("dodo-claude", "allow", "backend", check=0)
    assert ran.out == "allowed: Bash touch asked.txt\n"
    project.wait_for((project.root / "it.txt").exists, "its work")
    again = project.orchestrate()
    assert again.said("1 stage: 1 done")
    assert project.attempts("backend") == 1
    assert len(events(project, "backend", "permitted")) == 1
