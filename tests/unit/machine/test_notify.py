"""Telling a person who looks elsewhere: what a terminal gets, the user's command, and what runs call it for."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dodo_claude.config.config import load_config
from dodo_claude.machine import notify
from dodo_claude.plugin.reporter import StageReporter
from dodo_claude.run import approval
from tests.integration.scenes import at_gate, bash, configure, gate, on_terminal, open_gate, play, write
from tests.project import BIN, Project


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# -- the terminal


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm"}, "\x1b]9;a;b: needs; you\x1b\\"),
        ({"TERM": "xterm", "VTE_VERSION": "7600"}, "\x1b]777;notify;a,b;needs, you\x1b\\"),
        ({"TERM": "rxvt-unicode-256color"}, "\x1b]777;notify;a,b;needs, you\x1b\\"),
        ({"TERM": "foot"}, "\x1b]777;notify;a,b;needs, you\x1b\\"),
    ],
)
def test_a_terminal_is_told_in_the_words_it_knows(environ: dict[str, str], expected: str) -> None:
    terminal = Terminal()
    notify.notify("a;b", "needs; you\x1b", terminal, environ)
    assert terminal.getvalue() == f"\a{expected}"


def test_where_nobody_looks_nothing_is_written() -> None:
    paper = io.StringIO()
    notify.notify("a", "b", paper, {"TERM": "xterm"})
    assert paper.getvalue() == ""
    closed = Terminal()
    closed.close()
    notify.notify("a", "b", closed, {"TERM": "xterm"})  # no error


# -- the user's command


SAID = {"kind": "asks", "stage": "one", "text": "$(touch x)\nlines\x1b", "project": "p"}


def test_it_is_told_as_data_and_not_by_a_shell(tmp_path: Path) -> None:
    program = tmp_path / "tell"
    program.write_text(
        '#!/bin/sh\n{ printf "%s\\n" "$PWD" "$@" "$DODO_CLAUDE_NOTIFY_TEXT"; cat; } > said.new; mv said.new said\n'
    )
    program.chmod(0o755)
    assert notify.run(["./tell", "$HOME; x"], SAID, tmp_path, os.environ) is None
    _wait(tmp_path / "said")
    *words, told = (tmp_path / "said").read_text().splitlines()
    assert words == [str(tmp_path), "$HOME; x", "$(touch x) lines"]
    assert json.loads(told) == {**SAID, "text": "$(touch x) lines"}


def test_its_failure_is_told_and_no_more(tmp_path: Path) -> None:
    assert notify.run(["./no"], SAID, tmp_path, os.environ) == "./no: No such file or directory"
    assert notify.run(["a\0b"], SAID, tmp_path, os.environ) is not None
    assert notify.run(["false"], SAID, tmp_path, os.environ) is None  # reads nothing, and fails


def test_one_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    # Each end of the pipe's writers is seen at once: no clock is needed.
    reading, writing = os.pipe()
    program = ["sh", "-c", "sleep 600 & echo up; wait"]
    process = subprocess.Popen(program, stdout=writing, start_new_session=True)
    os.close(writing)
    with open(reading) as stream:
        assert stream.readline() == "up\n"
        notify._reap(process, 0.01)
        assert stream.read() == ""
    assert process.returncode == -9


def _wait(path: Path) -> None:
    done = subprocess.run(
        ["timeout", "20", "sh", "-c", f"until [ -e {path} ]; do sleep 0.01; done"], check=False
    )
    assert done.returncode == 0


def test_it_is_approved_like_a_command(tmp_path: Path) -> None:
    (tmp_path / "tell.py").write_text("1")
    file = tmp_path / "orchestrate.toml"
    file.write_text("[orchestrate]\nnotify = ['python3', 'tell.py']\n[stages.one]\ncommand = 'true'\n")
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    approval.approve(load_config(file), environ)
    assert approval.unapproved(load_config(file), environ) == []
    (tmp_path / "tell.py").write_text("2")
    assert [item.what for item in approval.unapproved(load_config(file), environ)] == ["file 'tell.py'"]
    file.write_text(file.read_text().replace("'tell.py'", "'-c', 'x'"))
    (item,) = approval.unapproved(load_config(file), environ)
    assert (item.what, item.text) == ("command 'orchestrate.notify'", "python3 -c x")


# -- what a run calls it for


def told(project: Project) -> list[Any]:
    path = project.root / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


TELL = """
import json, sys
with open("told", "a") as stream:
    stream.write(json.dumps([*sys.argv[1:], json.load(sys.stdin)]) + "\\n")
"""


@pytest.mark.tmux
def test_who_is_needed_what_failed_and_the_end(project: Project) -> None:
    project.write("tell.py", TELL)
    configure(
        project,
        {"asks": {"targets": ["a.txt"], "allowed_tools": ["Bash"]}, "blocked": {"targets": ["b.txt"]}, "bad": {"command": "exit 3"}},
        agent={"permission_mode": "manual", "allowed_tools": ["Edit(./**)"]},
        defaults={"keep": "screen"},
        notify=["python3", "tell.py", "mine"],
    )  # fmt: skip
    play(
        project,
        {
            "asks": [[bash(f"{BIN}/dodo-claude ask 'SQLite?' --wait 50s"), gate("go"), write("a.txt")]],
            "blocked": [[{"permission": "Bash", "command": "true"}, gate("on"), write("b.txt")]],
        },
    )
    with project.started() as live:
        live.until("ASKS")
        live.until("NEEDS A PERSON")
        project.wait_for(lambda: len(told(project)) >= 3, "three calls")
        project.wait_for(lambda: windows(project) == {"p-asks": "? asks", "p-blocked": "! blocked"}, "marks")
        project.run("dodo-claude", "answer", "asks", "yes", check=0)
        at_gate(project, "go")
        project.wait_for(lambda: windows(project)["p-asks"] == "asks", "no mark")
        open_gate(project, "go")
        (socket,) = project.runtime.glob("dodo-claude/*/tmux.sock")
        subprocess.run(["tmux", "-S", str(socket), "send-keys", "-t", "p-blocked", "Escape"], check=True)
        project.wait_for(lambda: windows(project).get("p-asks") == "✓ asks", "a mark of the end")
        live.process.send_signal(15)
        live.wait()
    project.wait_for(lambda: len(told(project)) >= 4, "the last call")
    assert {word for word, _ in told(project)} == {"mine"}
    calls = {call["kind"]: call for _, call in told(project)}
    assert {call["project"] for call in calls.values()} == {"p"}
    assert (calls["asks"]["stage"], calls["asks"]["text"]) == ("asks", "asks asks: SQLite?")
    blocked = calls["needs-human"]
    assert (blocked["stage"], blocked["text"]) == ("blocked", "blocked needs a person: Bash true")
    assert calls["failed"]["stage"] == "bad"
    assert "exit status 3" in calls["failed"]["text"]
    assert calls["finished"]["stage"] == ""
    assert calls["finished"]["text"].startswith("3 stages: 1 done, 1 failed, 1 stopped")
    assert windows(project)["p-blocked"] == "✗ blocked"
    project.run("dodo-claude", "stop", "--all", check=0)


def windows(project: Project) -> dict[str, str]:
    (socket,) = project.runtime.glob("dodo-claude/*/tmux.sock")
    done = subprocess.run(
        ["tmux", "-u", "-S", str(socket), "list-windows", "-a", "-F", "#{session_name}=#{window_name}"],
        capture_output=True, text=True, check=False, env=project.environ(),
    )  # fmt: skip
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_a_command_that_is_not_there_is_named_once(project: Project) -> None:
    configure(project, {"bad": {"command": "exit 3"}, "good": {"command": "true"}}, notify=["./no-such"])
    ran = project.orchestrate(check=1)
    said = [line for line in ran.lines if "no-such" in line]
    assert said == [
        "notify could not be started: ./no-such: No such file or directory (mend orchestrate.notify)"
    ]
    assert ran.said("2 stages: 1 done, 1 failed")


def test_nothing_to_do_rings_no_bell(project: Project) -> None:
    configure(project, {"one": {"command": "touch it.txt; echo x > it.txt", "targets": ["it.txt"]}})
    with on_terminal(project, term="xterm") as terminal:
        assert terminal.wait() == 0
        assert terminal.said.count("\a\x1b]9;dodo_claude: 1 stage: 1 done") == 1
    with on_terminal(project, term="xterm") as terminal:
        assert terminal.wait() == 0
        assert "\a" not in terminal.said


@pytest.mark.parametrize("text", ["notify = 'say'", "notify = [3]", "notify = ['']"])
def test_it_is_a_list_of_texts(project: Project, text: str) -> None:
    project.write("orchestrate.toml", f"[orchestrate]\n{text}\n[stages.one]\ncommand = 'true'\n")
    ran = project.run("dodo-claude", "check", check=2)
    assert ran.err.startswith("orchestrate.toml:2:")
    assert "orchestrate.notify" in ran.err


def test_no_secret_leaves_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: Project) -> None:
    """Why a client did not start is the last line of its screen, as it stood there."""
    monkeypatch.setenv("MY_API_KEY", "s3cret-value")
    told: list[str] = []
    monkeypatch.setattr(notify, "run", lambda command, said, folder, environ: told.append(said["text"]))
    configure(project, {"bad": {"command": "exit 3"}}, notify=["x"])
    reporter = StageReporter(io.StringIO(), {})
    reporter.config = load_config(project.root / "orchestrate.toml")
    reporter._call(notify.FAILED, "bad", "bad failed: wrong key s3cret-value")
    assert told == ["bad failed: wrong key [redacted]"]
