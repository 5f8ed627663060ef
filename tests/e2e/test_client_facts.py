"""What `agents` relies on, proved again on the real client: run this first when the client's version moves.

Each test names one fact.  Where a fact is a cure, the control beside it shows that the illness is still there.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .client import client_env, client_home
from .messages_api import MessagesApi, error, say, tool, turns

pytestmark = [pytest.mark.client, pytest.mark.tmux]

# The client answers within a second or two; a loaded machine gets more.
PATIENCE = 20.0

# Enough events for these tests; a name the client does not know would make it refuse the whole file.
HOOKED = (
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PermissionRequest",
    "Stop",
    "StopFailure",
    "SessionEnd",
)

DIALOG_TOOLS = ("EnterPlanMode", "ExitPlanMode", "AskUserQuestion")

DONT_ASK = ("--permission-mode", "dontAsk")
WORKER_FLAGS = (
    *("--setting-sources", "user", "--strict-mcp-config", *DONT_ASK),
    *("--allowedTools", "Edit(./**)", "Bash(pytest *)"),
    *("--disallowedTools", *DIALOG_TOOLS),
)

HOOK = """#!/bin/sh
now=$(date +%s%N)
cat > {spool}/.$now.$$ && mv {spool}/.$now.$$ {spool}/$now.$$.json
"""


def wait_until(true: Callable[[], object], what: Callable[[], str], patience: float = PATIENCE) -> None:
    """Poll; `what` describes the state in which it was given up."""
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"not within {patience:g} s:\n{what()}")
        time.sleep(0.02)


@dataclass
class Tmux:
    """A server of our own on a private socket; panes stay when their process has ended."""

    socket: Path
    pids: list[int] = field(default_factory=list)

    def __call__(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self.socket), "-f", "/dev/null", *arguments]
        env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
        return done.stdout.rstrip("\n")

    def start(self, script: Path, cwd: Path) -> Pane:
        new = (
            "new-session",
            "-d",
            "-P",
            "-F",
            "#{pane_id} #{pane_pid}",
            "-x",
            "120",
            "-y",
            "40",
            "-c",
            str(cwd),
        )
        remain = ("start-server", ";", "set-option", "-g", "remain-on-exit", "on", ";")
        pane, pid = self(*remain, *new, f"exec sh {shlex.quote(str(script))}").split()
        self.pids.append(int(pid))
        return Pane(self, pane, int(pid))

    def close(self) -> None:
        if self.pids:
            self("kill-server")  # hangs up every pane
        for pid in self.pids:
            end = time.monotonic() + 5
            while _alive(pid):
                if time.monotonic() > end:
                    os.killpg(pid, signal.SIGKILL)
                    break
                time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[0]
        )
    except (ProcessLookupError, PermissionError, FileNotFoundError):
        return False
    return state != "Z"


@dataclass
class Pane:
    """One client on a terminal."""

    tmux: Tmux
    id: str
    pid: int

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", self.id)

    def shows(self, text: str) -> None:
        wait_until(lambda: text in self.screen(), lambda: f"{text!r} on\n{self.screen()}")

    def keys(self, *names: str) -> None:
        self.tmux("send-keys", "-t", self.id, *names)

    def paste(self, text: str, scratch: Path) -> None:
        scratch.write_bytes(text.encode())
        self.tmux("load-buffer", "-b", "b", str(scratch))
        self.tmux("paste-buffer", "-p", "-r", "-d", "-b", "b", "-t", self.id)

    def exit_status(self) -> str:
        """Wait for the end; the exit code, or "" after a signal the client did not handle."""

        def ask(name: str) -> str:
            return self.tmux("display-message", "-p", "-t", self.id, f"#{{{name}}}")

        def known() -> str:
            # tmux 3.3a closes the pane, but may leave its process unreaped and the status empty until another child
            # of its own ends: give it one.
            if ask("pane_dead") == "1":
                self.tmux("run-shell", "true")
            return ask("pane_dead_status") or ask("pane_dead_signal")

        wait_until(known, self.screen)
        return ask("pane_dead_status")


@dataclass
class Lab:
    """A project folder, a home that trusts it, a model that follows `api.reply`, hooks that drop files in `spool`."""

    claude: Path
    root: Path
    project: Path
    home: Path
    spool: Path
    api: MessagesApi
    tmux: Tmux

    def settings(self, hooked: tuple[str, ...] = HOOKED, **more: Any) -> Path:
        """A --settings file whose hooks report to `spool`."""
        path = self.root / "settings.json"
        path.write_text(json.dumps({"hooks": self.hooks(self.spool, hooked), **more}), encoding="utf-8")
        return path

    def hooks(self, spool: Path, hooked: tuple[str, ...] = HOOKED) -> dict[str, Any]:
        spool.mkdir(exist_ok=True)
        script = spool.with_suffix(".sh")
        script.write_text(HOOK.format(spool=shlex.quote(str(spool))), encoding="utf-8")
        hook = {"type": "command", "command": f"sh {shlex.quote(str(script))}"}
        return {name: [{"hooks": [hook]}] for name in hooked}

    def events(self, spool: Path | None = None) -> list[dict[str, Any]]:
        """What the hooks wrote so far, oldest first."""
        files = sorted((spool or self.spool).glob("*.json"), key=lambda f: int(f.name.partition(".")[0]))
        return [json.loads(f.read_bytes()) for f in files]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self.events() if e["hook_event_name"] == name]

    def wait_for(self, name: str, pane: Pane, times: int = 1) -> dict[str, Any]:
        def state() -> str:
            return f"{name} x{times}; saw {[e['hook_event_name'] for e in self.events()]}\n{pane.screen()}"

        wait_until(lambda: len(self.named(name)) >= times, state)
        return self.named(name)[times - 1]

    def ask(self, prompt: str, *flags: str) -> subprocess.CompletedProcess[str]:
        """Print mode: one turn without a terminal."""
        return subprocess.run(
            [self.claude, "-p", *flags, "--", prompt],
            check=False,
            cwd=self.project,
            env=client_env(self.home, self.api.base_url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self, *arguments: str, without: Iterable[str] = ()) -> Pane:
        """On a terminal, `without` these variables of the environment."""
        env = {**client_env(self.home, self.api.base_url), "CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN": "1"}
        env = {name: value for name, value in env.items() if name not in without}
        words = ["env", "-i", *(f"{k}={v}" for k, v in env.items()), str(self.claude), *arguments]
        script = self.root / "launch.sh"
        script.write_bytes(b"exec " + " ".join(map(shlex.quote, words)).encode() + b"\n")
        return self.tmux.start(script, self.project)


@pytest.fixture
def lab(claude: Path, tmp_path: Path) -> Iterator[Lab]:
    tmp_path = tmp_path.resolve()
    project = tmp_path / "project"
    project.mkdir()
    home = client_home(tmp_path, [project])
    # Not below tmp_path: a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="dc") as short, MessagesApi(turns()) as api:
        lab = Lab(claude, tmp_path, project, home, tmp_path / "spool", api, Tmux(Path(short) / "tmux"))
        try:
            yield lab
        finally:
            lab.tmux.close()
        assert api.faults == []


# -- permissions -------------------------------------------------------------------------------------------------


def test_edit_rule_lets_write_and_edit_pass_in_cwd_only_and_opens_no_dialog(lab: Lab) -> None:
    outside = lab.root / "outside"
    outside.mkdir()
    (lab.project / "link").symlink_to(outside)
    (lab.project / "old.txt").write_text("old", encoding="utf-8")
    steps = {
        "write": tool("Write", file_path=str(lab.project / "deep" / "new.txt"), content="new"),
        "read": tool("Read", file_path=str(lab.project / "old.txt")),
        "edit": tool("Edit", file_path=str(lab.project / "old.txt"), old_string="old", new_string="changed"),
        "absolute": tool("Write", file_path=str(outside / "a.txt"), content="a"),
        "parent": tool("Write", file_path="../outside/b.txt", content="b"),
        "hidden parent": tool("Write", file_path=f"{lab.project}/deep/../../outside/c.txt", content="c"),
        "link": tool("Write", file_path=str(lab.project / "link" / "d.txt"), content="d"),
        "redirect": tool("Bash", command="echo e > ../outside/e.txt"),
        "git": tool("Write", file_path=str(lab.project / ".git" / "hooks" / "x"), content="x"),
    }
    lab.api.reply = turns(*steps.values())

    pane = lab.start("--settings", str(lab.settings()), *WORKER_FLAGS, "--", "go")

    lab.wait_for("Stop", pane)
    results = [r.tool_results[0].is_error for r in lab.api.requests[1:]]
    assert dict(zip(steps, results, strict=True)) == {
        name: name not in ("write", "read", "edit") for name in steps
    }
    assert (lab.project / "deep" / "new.txt").read_text(encoding="utf-8") == "new"
    assert (lab.project / "old.txt").read_text(encoding="utf-8") == "changed"
    assert list(outside.iterdir()) == []
    assert lab.named("PermissionRequest") == []


def test_absolute_rules_reach_the_project_from_a_subfolder(lab: Lab) -> None:
    """A rule that begins with // is an absolute path."""
    project = lab.project
    (project / "top.txt").write_text("top", encoding="utf-8")
    lab.project = project / "part"  # the session's cwd
    lab.project.mkdir()
    steps = (
        tool("Read", file_path=str(project / "top.txt")),
        tool("Write", file_path=str(project / "new.txt"), content="new"),
        tool("Write", file_path=str(lab.root / "out.txt"), content="out"),
    )
    lab.api.reply = turns(*steps)
    allow = [f"Edit(/{project}/**)", f"Read(/{project}/**)"]

    lab.ask(
        "go",
        "--settings",
        str(lab.settings(permissions={"allow": allow})),
        "--setting-sources",
        "user",
        *DONT_ASK,
    )

    assert [r.tool_results[0].is_error for r in lab.api.requests[1:]] == [False, False, True]


def test_disallowed_dialog_tools_are_not_offered_and_refused(lab: Lab) -> None:
    question = {
        "question": "Which?",
        "header": "h",
        "multiSelect": False,
        "options": [{"label": a, "description": a} for a in "AB"],
    }
    lab.api.reply = turns(
        tool("EnterPlanMode"),
        tool("ExitPlanMode", plan="p"),
        tool("AskUserQuestion", questions=[question]),
        say("still here"),
    )

    pane = lab.start("--settings", str(lab.settings()), *WORKER_FLAGS, "--", "go")

    assert lab.wait_for("Stop", pane)["permission_mode"] == "dontAsk"
    assert [r.tool_results[0].is_error for r in lab.api.requests[1:]] == [True, True, True]
    offered = {name for request in lab.api.requests for name in request.tools}
    assert "Write" in offered
    assert offered.isdisjoint(DIALOG_TOOLS)
    assert lab.named("PermissionRequest") == []


def test_without_disallowing_it_plan_mode_can_be_entered(lab: Lab) -> None:
    """The control: this is what the flag is for."""
    lab.api.reply = turns(tool("EnterPlanMode"))

    pane = lab.start("--settings", str(lab.settings()), *DONT_ASK, "--", "go")

    assert lab.wait_for("Stop", pane)["permission_mode"] == "plan"


# -- hooks and where settings come from --------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "kept"), [({"disableAllHooks": False}, True), ({}, False)])
def test_project_cannot_switch_our_hooks_off_if_we_say_so_first(
    lab: Lab, ours: dict[str, bool], kept: bool
) -> None:
    (lab.project / ".claude").mkdir()
    (lab.project / ".claude" / "settings.json").write_text('{"disableAllHooks": true}', encoding="utf-8")

    lab.ask("go", "--settings", str(lab.settings(HOOKED, **ours)), *DONT_ASK)

    assert [bool(lab.named(name)) for name in ("SessionStart", "UserPromptSubmit", "Stop")] == [kept] * 3


@pytest.mark.parametrize(("flags", "read"), [(("--setting-sources", "user"), False), ((), True)])
def test_user_source_leaves_the_project_out(lab: Lab, flags: tuple[str, ...], read: bool) -> None:
    """Its hooks and its CLAUDE.md; the hooks of --settings stay."""
    theirs = lab.root / "theirs"
    (lab.project / ".claude").mkdir()
    project_settings = lab.project / ".claude" / "settings.json"
    project_settings.write_text(json.dumps({"hooks": lab.hooks(theirs)}), encoding="utf-8")
    (lab.project / "CLAUDE.md").write_text("PROJECT MEMORY", encoding="utf-8")

    lab.ask("go", "--settings", str(lab.settings()), *flags, *DONT_ASK)

    assert lab.named("Stop")
    assert bool(lab.events(theirs)) is read
    assert lab.api.requests[0].contains("PROJECT MEMORY") is read


def test_unknown_hook_event_opens_a_dialog_before_anything_runs(lab: Lab) -> None:
    """So only names of this version may be written."""
    pane = lab.start("--settings", str(lab.settings((*HOOKED, "NoSuchEvent"))), *WORKER_FLAGS, "--", "go")

    pane.shows('Unknown hook event "NoSuchEvent"')
    pane.shows("Enter to confirm")
    assert lab.events() == []
    assert lab.api.requests == []


# -- start -------------------------------------------------------------------------------------------------------


def test_untrusted_folder_asks_and_enter_means_no(lab: Lab) -> None:
    """So trust is checked before a client is started; no hook tells of this dialog."""
    client_home(lab.root, trusted=[])

    pane = lab.start("--settings", str(lab.settings()), *WORKER_FLAGS, "--", "go")

    pane.shows("Yes, I trust this folder")
    assert [line.strip() for line in pane.screen().splitlines() if "❯" in line] == ["❯ No, exit"]
    assert lab.events() == []
    # Keys are ignored for about 0.3 s after the dialog appears, and after each ignored key again.
    time.sleep(1)
    pane.keys("Enter")
    assert pane.exit_status() == "1"
    assert lab.api.requests == []


def test_without_credentials_the_turn_fails_and_no_dialog_opens(lab: Lab) -> None:
    pane = lab.start(
        "--settings", str(lab.settings()), *WORKER_FLAGS, "--", "go", without=["ANTHROPIC_API_KEY"]
    )

    failure = lab.wait_for("StopFailure", pane)
    assert failure["error"] == "authentication_failed"
    assert "Not logged in" in failure["last_assistant_message"]
    assert lab.api.requests == []


def test_strict_mcp_config_starts_without_asking_about_project_servers(lab: Lab) -> None:
    servers = {"mcpServers": {"theirs": {"command": "false"}}}
    (lab.project / ".mcp.json").write_text(json.dumps(servers), encoding="utf-8")
    flags = ("--settings", str(lab.settings()), *DONT_ASK)

    asking = lab.start(*flags, "--", "go")
    asking.shows("New MCP server found")
    assert lab.named("UserPromptSubmit") == []

    lab.wait_for("Stop", lab.start(*flags, "--strict-mcp-config", "--", "go"))


def test_order_of_arguments_ids_and_first_prompt(lab: Lab) -> None:
    """Lists of tools end at the next option and at "--"; the prompt arrives byte for byte, in hook and model."""
    prompt = "-x \"q\" 's' $(id) `id` $HOME \\n \ttab 👩‍👩‍👧 é\r\n" + "long line; " * 8000 + "\n/end;\\  \n"
    memory = lab.root / "memory.md"
    memory.write_text("WORKER MEMORY", encoding="utf-8")
    session = str(uuid.uuid4())
    files = ("--settings", str(lab.settings()), "--append-system-prompt-file", str(memory))

    pane = lab.start(*files, *WORKER_FLAGS, "--session-id", session, "--", prompt)

    assert lab.wait_for("UserPromptSubmit", pane)["prompt"] == prompt
    assert lab.wait_for("Stop", pane)["session_id"] == session
    (request,) = lab.api.requests
    assert request.last_user_text == prompt
    assert request.session_id == session
    assert "WORKER MEMORY" in request.system


def test_first_prompt_that_looks_like_a_command_is_one(lab: Lab) -> None:
    """Even after "--": neither hook nor model sees it.  A path with a second slash is a prompt."""
    flags = ("--settings", str(lab.settings()), *WORKER_FLAGS, "--")

    lab.start(*flags, "/nosuch thing").shows("Unknown command")
    assert lab.named("UserPromptSubmit") == []

    pane = lab.start(*flags, "/some/path is a prompt")
    assert lab.wait_for("UserPromptSubmit", pane)["prompt"] == "/some/path is a prompt"


# -- a turn's end, a second prompt, the end ----------------------------------------------------------------------


def test_paste_right_after_stop_is_submitted_and_short_first_line_stays_outside_the_wrapper(lab: Lab) -> None:
    block = "\n".join(f"{n:02} FAILED tests/test_x.py::test_{n} - assert {n} == 0" for n in range(40))
    pane = lab.start("--settings", str(lab.settings()), *WORKER_FLAGS, "--", "go")
    lab.wait_for("Stop", pane)

    pane.paste("The check failed: ", lab.root / "paste")
    pane.paste(block, lab.root / "paste")
    pane.keys("Enter")

    prompt = lab.wait_for("UserPromptSubmit", pane, times=2)["prompt"]
    before, _, inside = prompt.partition("<pasted_content")
    assert before.rstrip() == "The check failed:"
    assert block in inside
    lab.wait_for("Stop", pane, times=2)
    assert lab.api.requests[-1].last_user_text == prompt


def test_api_error_ends_the_turn_with_stop_failure(lab: Lab) -> None:
    lab.api.reply = turns(error(429, "limit", headers={"x-should-retry": "false"}))

    pane = lab.start("--settings", str(lab.settings()), *WORKER_FLAGS, "--", "go")

    assert lab.wait_for("StopFailure", pane)["error"] == "rate_limit"
    assert lab.named("Stop") == []


def test_sigterm_runs_session_end_and_leaves_the_conversation_readable(lab: Lab) -> None:
    lab.api.reply = turns(then=say("the last words"))
    pane = lab.start("--settings", str(lab.settings()), *WORKER_FLAGS, "--", "go")
    lab.wait_for("Stop", pane)
    pane.shows("the last words")

    os.killpg(pane.pid, signal.SIGTERM)

    assert pane.exit_status() == "143"
    assert lab.named("SessionEnd")[0]["reason"] == "other"
    assert "the last words" in pane.screen()
    assert "claude --resume" in pane.screen()
