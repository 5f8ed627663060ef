"""What `agents` relies on, proved again on the real client: run this first when the client's version moves.

Each test names one fact.  Where a fact is a cure, the control beside it shows that the illness is still there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid

import pytest

from dodo_claude.agents.claude import trust

from .client import client_home
from .lab import DIALOG_TOOLS, DONT_ASK, HOOKED, WORKER_FLAGS, Lab, wait_until
from .messages_api import error, say, tool, turns

pytestmark = [pytest.mark.client, pytest.mark.tmux]


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


def test_trust_ends_at_the_top_of_a_repository_and_reaches_its_worktrees(lab: Lab) -> None:
    """As trust.py judges it; the cases beside these: tests/unit/agents/claude/test_trust.py."""
    repository, worktree = lab.project / "repository", lab.root / "worktree"
    git = ["git", "-c", "user.name=n", "-c", "user.email=n@localhost", "-C", str(repository)]
    for words in (
        ["init", "-q"],
        ["commit", "-q", "--allow-empty", "-m", "first"],
        ["worktree", "add", "-q", str(worktree)],
    ):
        repository.mkdir(exist_ok=True)
        subprocess.run([*git, *words], check=True, capture_output=True)
    outer, flags = lab.project, ("--settings", str(lab.settings()), *WORKER_FLAGS, "--", "go")
    cases = (
        (outer, repository, False),
        (repository, repository, True),
        (outer, worktree, False),
        (repository, worktree, True),
    )
    for number, (trusted, cwd, starts) in enumerate(cases):
        # A home each: the clients of the others still write to theirs.
        lab.home = client_home(lab.root / f"case-{number}", trusted=[trusted])
        assert trust.is_trusted(cwd, {"HOME": str(lab.home)}) is starts
        lab.project, known = cwd, len(lab.api.requests)
        pane = lab.start(*flags)
        if starts:
            wait_until(lambda known=known: len(lab.api.requests) > known, pane.screen)  # type: ignore[misc]
        else:
            pane.shows("Yes, I trust this folder")
            assert len(lab.api.requests) == known


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
    # How to resume it stands there too, but for a client that has no time to write it.
    assert "the last words" in pane.screen()
