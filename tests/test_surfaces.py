"""No surface shows a stranger's text raw: every command, over a project whose every text has signs that a terminal acts on.

Such a project is a clone that brought its `.orchestrate` along, or one whose workers write what they like. Nobody approved it.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dodo_claude.commands import main, mcp, see
from dodo_claude.control.project import find_config, find_status
from dodo_claude.dashboard import desk
from dodo_claude.machine import tmux
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.plugin import reporter
from dodo_claude.report import board, details
from dodo_claude.run import approval
from dodo_claude.state.bus import Bus
from dodo_claude.state.events import State, View
from dodo_claude.state.journal import StageLog, folder_name
from dodo_claude.text.clean import clean_text
from dodo_claude.text.errors import DodoClaudeError
from tests.project import Project
from tests.samples.dirty import MARK, dirty

IN_NAMES = "\x1b[2J\x07\u202e"
NONCE = "0" * 32
NOBODY = 2**22 - 3  # a process id that nothing has
BEFORE = 1_760_000_000.0
TOML = """
[agents.other]
command = ["true", "\\u001b[2J\\u202e"]
[stages.asks]
prompt = "Do it.\\u001b]0;t\\u0007\\u202e"
targets = ["asks.txt"]
[stages.blocked]
prompt = "x"
targets = ["blocked.txt"]
[stages.failed]
prompt = "x"
targets = ["failed.txt"]
check = "echo '\\u001b[2J\\u202e'; false"
[stages.stopped]
prompt = "x"
targets = ["stopped.txt"]
[stages.good]
command = "echo '\\u001b[31m\\u2066'; true"
[stages.each]
foreach = ["one", "two"]
prompt = "x {{ item }}"
agent = "other"
targets = ["{{ item }}.txt"]
"""


def events(*more: tuple[str, dict[str, Any]]) -> str:
    """A journal with an event of each kind that tells something, `more` at its end."""
    mark = [1, 2, 3, "0" * 64, 0, 1]
    begun = {
        "nonce": NONCE,
        "resumes": 0,
        "phase": 0,
        "inputs": {f"in{IN_NAMES}": mark},
        "before": {f"b{IN_NAMES}": mark},
    }
    found: list[tuple[str, dict[str, Any]]] = [
        ("begun", {**begun, "definition": {"agent": f"claude{MARK}", f"k{IN_NAMES}": f"v{MARK}"}}),
        ("spawned", {"pane": "%0", "pid": NOBODY, "session": f"s{MARK}"}),
        ("SessionStart", dirty({"session_id": "s", "transcript_path": "/nowhere", "source": "startup"})),
        ("UserPromptSubmit", dirty({"prompt": "do"})),
        ("PreToolUse", {"tool_name": f"Bash{MARK}", "tool_input": dirty({"command": "ls", "description": "look"})}),
        ("note", dirty({"text": "noted"})),
        ("message", dirty({"to": "orchestrator", "text": "said"})),
        ("progress", {"percent": 40, **dirty({"text": "half"})}),
        ("paused", {"until": time.time() + 60, **dirty({"reason": "limit", "text": "limit"})}),
        ("verified", {"ok": False, "problems": dirty(["check `x` ended with 1"])}),
        ("StopFailure", dirty({"error": "rate_limit", "error_details": "x", "message": "x"})),
        (f"Odd{MARK}", dirty({"reason": "why"})),
        *more,
    ]  # fmt: skip
    lines = [{"at": time.time(), "kind": kind, "data": data} for kind, data in found]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


RESULT = {
    "stage": "x", "reason": "why", "retry": False, "began": BEFORE, "seconds": 3.0, "prompts": 1, "tools": 2, "repairs": 1,
    "session_id": "s", "transcript": "/nowhere", "message": "said\n" + "long" * 30_000, "tokens": 5, "cost_usd": 0.1,
    "targets": {}, "set_aside": ["a"], "undeclared": [{"path": "p", "known": False, "beside": ["q"]}],
    "by_check": True, "check": "c", "check_files": {},
}  # fmt: skip


def attempt(root: Path, stage: str, journal: str, result: str | None = None) -> None:
    folder = root / STATE_DIR / "stages" / folder_name(stage) / "1"
    files = {"journal.jsonl": journal, "partial/p": MARK, f"partial/{IN_NAMES}": MARK, "status.json": json.dumps(dirty({"a": "b"}))}  # fmt: skip
    for name in ("prompt.md", "check.log", "output.log", "handover.md", "screen.txt", "prompt-phase-2.md"):
        files[name] = f"text{MARK}\n{MARK}\n" + "long" * 30_000 + "\n"
    if result is not None:
        files["result.json"] = json.dumps({**dirty(RESULT), "result": result})
    for name, text in files.items():
        write(folder / name, text)
    write(folder.parent / "open", "1\n")
    write(folder.parent / "mail" / "at_work", json.dumps({"attempt": 1, "more": MARK}))
    letter = {"id": "1-a", "at": time.time(), **dirty({"from": "worker good", "text": "letter"})}
    write(folder.parent / "mail" / "letters" / "1-a.json", json.dumps(letter))
    write(folder.parent / "mail" / "refused" / "1-a", MARK)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


@pytest.fixture
def clone(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    root, state = project.root, project.root / STATE_DIR
    project.write("orchestrate.toml", TOML)
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    question = {"id": f"q{MARK}", "text": f"which?{MARK}", "until": time.time() + 600}
    attempt(root, "asks", events(("ask", question)))
    dialog = {"tool_name": f"Bash{MARK}", "tool_input": {"command": f"rm{MARK}", f"k{MARK}": f"v{MARK}"}, "request": f"7-8{MARK}"}  # fmt: skip
    attempt(root, "blocked", events(("PermissionRequest", dialog)))
    attempt(root, "failed", events(("outcome", dirty({"result": "failed", "reason": "why"}))), "failed")
    attempt(root, "stopped", events(), "aborted")
    attempt(root, "good", events(), "succeeded")
    attempt(root, f"unknown{IN_NAMES}", events(), f"odd{MARK}")
    run = state / "runs" / f"20261129-100000-7{IN_NAMES}"
    write(run / "plan.toml", f'started = "2026-11-29T10:00:00"\n[run]\nchosen = ["x{IN_NAMES}"]\n')
    write(state / "removed-runs", f"old{MARK}\n")
    write(state / "notes.md", f"- a note{MARK}\n")
    write(state / "stops" / "asks", json.dumps(dirty({"sender": "me", "run": "pid 7"})))
    write(state / "run.lock", f"pid {NOBODY} since now{MARK}\n")
    write(state / ".gitignore", "*\n")
    monkeypatch.chdir(root)
    for name, value in project.environ().items():
        monkeypatch.setenv(name, value)
    with open(state / "run.lock", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield project


def shows_nothing_raw(what: str, text: str) -> None:
    found = [line for line in text.split("\n") if clean_text(line) != line]
    assert not found, f"{what}: {found[:3]!r}"


# Of each command the ways in which it is called; None: why it is not.
CALLS: dict[str, list[list[str]] | None] = {
    "allow": [["blocked"], ["blocked", "--json"]],
    "answer": [["asks", "this"], ["blocked", "this"]],
    "ask": [["what?"]],
    "attach": [["asks"]],
    "capture": [["asks"], ["run"]],
    "check": [[], ["--json"], [f"no{IN_NAMES}.toml"]],
    "compact": [["asks"]],
    "completion": [["bash"]],
    "dashboard": None,  # its lines are looked at below
    "deny": [["blocked", "no"]],
    "doctor": None,  # looks at the machine; its line is cleaned as it is made
    "events": [["--all"], ["--all", "--json"], ["asks"]],
    "gc": [["--dry-run"], ["--dry-run", "--json"]],
    "init": [[f"no{IN_NAMES}"]],
    "interrupt": [["asks"], ["blocked"]],
    "log": [["asks"], ["blocked"], ["failed"], ["stopped"], ["good"], [f"unknown{IN_NAMES}"]],
    "mcp": None,  # its tools are called below
    "note": [["text"]],
    "plan": [["--folder", ".", "x"]],
    "progress": [["30", "text"]],
    "recheck": [["failed"]],
    "report": [[], ["--markdown"], ["--json"], ["--html", "-"], ["--run", f"x{IN_NAMES}"], ["--run", f"old{MARK[:-1]}"]],
    "send": [["asks", "text"], ["blocked", "text"], ["blocked", "text", "--json"], ["orchestrator", "x"]],
    "status": [[], ["--json"]],
    "stop": [["nobody"]],
}  # fmt: skip


def test_every_command_is_called_or_has_a_reason() -> None:
    assert CALLS.keys() == main.main.commands.keys()


@pytest.mark.parametrize("is_held", [True, False], ids=["run in progress", "no run"])
def test_no_command_shows_it_raw(clone: Project, monkeypatch: pytest.MonkeyPatch, is_held: bool) -> None:
    if not is_held:
        (clone.root / STATE_DIR / "run.lock").unlink()
    shown = ""
    for name, calls in CALLS.items():
        for arguments in calls or ():
            result = CliRunner().invoke(main.main, [name, *arguments], prog_name="dodo-claude")
            assert isinstance(result.exception, SystemExit | None), (name, result.exc_info)
            shows_nothing_raw(f"{name} {arguments}", result.output)
            shown += result.output
    # It was there to be shown.
    for said in ("which?", "rm", "said", "why", "half", "letter"):
        assert said in shown


def test_no_line_of_a_log_is_endless(clone: Project) -> None:
    write(
        clone.root / STATE_DIR / "stages/stopped/1/result.json",
        json.dumps({"result": "odd" * 30_000, "reason": "x" * 100_000}),
    )
    for stage in ("failed", "good", "stopped"):
        output = CliRunner().invoke(main.main, ["log", stage]).output
        assert "more characters" in output
        assert max(map(len, output.splitlines())) < 2_500


def test_no_tool_of_mcp_gives_it_raw(clone: Project) -> None:
    tools = mcp.Tools()
    told = {
        "list_workers": tools.list_workers(),
        "status": tools.status(),
        "report": tools.report("text") + tools.report("json") + tools.report("markdown"),
        "notes": tools.notes(),
    }
    for what, text in told.items():
        shows_nothing_raw(what, text)
    for call in (
        lambda: tools.send("blocked", "x"),
        lambda: tools.answer("blocked", "x"),
        lambda: tools.read_screen("asks"),
    ):
        with pytest.raises(DodoClaudeError) as refused:
            call()
        shows_nothing_raw("an error", str(refused.value))


def test_no_line_of_the_dashboard_has_it(clone: Project) -> None:
    config, now = find_config(), find_status()
    lines: list[desk.Line] = []
    for stage, told in zip(config.stages, now.stages, strict=True):
        more = details.latest(config, stage, 0.0, live=False)
        lines += [desk.row(told, 0, "  ", 200), *desk.title(told, 200)]
        lines += [
            *desk.prompt(more),
            *desk.files([(name, 1) for name in stage.targets], more),
            *desk.messages(more),
        ]
        lines += desk.check(stage.checks, more, told.about)
        last = StageLog(clone.root / STATE_DIR, stage.name).last()
        lines += [desk.event_line(event) for event in (last.replay() if last else ())]
    assert len(lines) > 60
    for line in lines:
        text = "".join(piece for piece, _ in line)
        assert "\n" not in text
        shows_nothing_raw("dashboard", text)
    assert Bus(clone.root / STATE_DIR).read()


def test_doit_shows_nothing_raw_before_anybody_approved(clone: Project) -> None:
    for arguments in (
        ["orchestrate", "--explain"],
        ["list", "--all", "--status"],
        ["info", "asks"],
        ["orchestrate"],
    ):
        ran = clone.run("doit", *arguments)
        shows_nothing_raw(f"doit {arguments}", ran.out + ran.err)


class Screen:
    """In place of tmux: a terminal that would show it."""

    def capture_session(self, session: str, *, history: int = 0) -> str:
        return f"screen {session}{MARK}\n{MARK}"


def test_a_captured_screen_is_text(clone: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (see, mcp):
        monkeypatch.setattr(module, "find_session", lambda worker: (Screen(), worker))
    captured = CliRunner().invoke(main.main, ["capture", "asks"]).output
    for text in (captured, mcp.Tools().read_screen("asks")):
        assert "screen asks" in text
        shows_nothing_raw("a screen", text)


def test_what_is_approved_is_shown_with_its_escapes(clone: Project) -> None:
    lines = approval.listing(approval.unapproved(find_config(), os.environ))
    assert any("\\x1b[2J" in line for line in lines)
    for line in lines:
        shows_nothing_raw("approval", line)


def test_no_line_of_a_run_has_it() -> None:
    out = io.StringIO()
    told = reporter.StageReporter(out, {"show_out": True, "failure_verbosity": 0})
    told._line("a", f"FAILED: why{MARK}\nsecond")
    told.noted(f"note{MARK}\nsecond")
    told.reported(f"report{MARK}\nsecond")
    assert len(out.getvalue().splitlines()) == 3
    shows_nothing_raw("a run's lines", out.getvalue())
    view = View(state=State.RUNNING, pane="%0", activity=f"Bash{MARK}\nx", progress=f"half{MARK}")
    for state in (view, replace(view, state=State.BLOCKED, blocked_on=f"rm{MARK}"), replace(view, pane=None)):
        row = board.row("a", board.Told(began=1.0, view=state), (), 2.0)
        text = "".join(
            piece for line in board.lines(board.Board("p", (row,), 1.0), 200, 9) for piece, _ in line
        )
        assert "Bash" in text
        shows_nothing_raw("the board", text)
        assert "\n" not in text


@pytest.mark.parametrize("name", ["main", "start", "see", "say", "manage", "face"])
def test_the_commands_have_one_way_out(name: str) -> None:
    source = next(Path(main.__file__).parents[1].glob(f"*/{name}.py")).read_text(encoding="utf-8")
    assert source.count("click.echo") == (name == "face")
    assert not re.findall(r"std(out|err)\.write", source)


def test_a_damaged_result_is_no_fault_of_ours(clone: Project) -> None:
    path = clone.root / STATE_DIR / "stages" / "failed" / "1" / "result.json"
    for text in (
        '{"undeclared": ["a", {"path": 1, "beside": [2]}, {"beside": 3}], "seconds": "x", "message": 3}',
        "{}",
        "[1]",
    ):
        path.write_text(text)
        result = CliRunner().invoke(main.main, ["log", "failed"])
        assert result.exit_code == 0, result.exc_info


def test_a_window_has_a_plain_name() -> None:
    assert tmux._window_name(f"a {MARK}b\nc") == "a 1m?b c"
