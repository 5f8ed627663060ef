"""The settings that the client starts with."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

from dodo_claude.agents.claude.hooks import HOOKS, NO_WORKTREE
from dodo_claude.agents.claude.rules import WORKER_COMMANDS, never
from dodo_claude.agents.claude.settings import settings
from dodo_claude.agents.start import launch
from dodo_claude.config import profiles
from tests.samples.jobs import CLAUDE, JOB, settings_of


def test_settings() -> None:
    hook = {"type": "command", "command": "/bin/sh /h/hook.sh '/a spool'", "timeout": 60}

    def answering(kind: str, what: str) -> dict[str, object]:
        return {**hook, "command": f"{hook['command']} {kind} {what}"}

    made = settings_of(CLAUDE, JOB)
    assert made.pop("statusLine")["type"] == "command"
    assert made == {
        "disableAllHooks": False,
        "prefersReducedMotion": True,
        "hooks": {
            **{name: [{"hooks": [hook]}] for name in HOOKS},
            **{
                name: [{"hooks": [answering("mail", f"/p/.orchestrate/stages/api/mail {name}")]}]
                for name in ("PostToolBatch", "Stop")
            },
            "PermissionRequest": [
                {"hooks": [{**answering("permit", "/p/.orchestrate/stages/api/3/permits"), "timeout": 1860}]}
            ],
            "WorktreeCreate": [{"hooks": [{**hook, "command": NO_WORKTREE}]}],
            "SessionStart": [
                {"matcher": "startup|resume|clear", "hooks": [hook]},
                {
                    "matcher": "compact",
                    "hooks": [answering("answer", "/p/.orchestrate/stages/api/3/reminder.json")],
                },
            ],
        },
        "permissions": {
            "allow": ["Edit(./**)", "Bash(pytest *)", *WORKER_COMMANDS],
            "deny": [*profiles.DIALOGS, *never(CLAUDE, JOB)],
        },
    }


def test_a_hook_waits_for_a_permission_as_long_as_its_dialog_may() -> None:
    made = launch(CLAUDE, replace(JOB, patience=604_800.0), {}, {}).files["settings.json"]
    (entry,) = json.loads(made)["hooks"]["PermissionRequest"]
    assert entry["hooks"][0]["timeout"] == 604_860


def test_what_would_be_asked_can_be_refused() -> None:
    hooks = settings_of(CLAUDE, replace(JOB, deny_dialogs=True))["hooks"]
    answered = {name: entry[0]["hooks"][0]["command"] for name, entry in hooks.items()}
    assert answered["PermissionRequest"].endswith("spool' answer /p/.orchestrate/stages/api/3/denial.json")
    assert answered["Notification"].endswith("spool'")


def test_the_status_line_keeps_what_the_client_tells(tmp_path: Path) -> None:
    command = settings_of(CLAUDE, replace(JOB, folder=tmp_path))["statusLine"]["command"]
    done = subprocess.run(
        ["/bin/sh", "-c", command], input='{"cost": 1}', capture_output=True, text=True, check=True
    )
    assert done.stdout == "dodo_claude: api, attempt 3\n"
    assert (tmp_path / "status.json").read_text() == '{"cost": 1}'
    assert (tmp_path / "status.json").stat().st_mode & 0o777 == 0o600


def test_settings_of_a_worker_in_a_folder_of_its_own() -> None:
    job = replace(JOB, cwd=Path("/p/sub"), by_file=True)
    permissions = settings_of(CLAUDE, job)["permissions"]
    assert permissions == {
        "allow": [
            "Edit(./**)", "Bash(pytest *)", *WORKER_COMMANDS, "Read(//p/.orchestrate/stages/api/3/prompt.md)", "Read(//p/**)",
            "Edit(//p/api/profile.py)",
        ],
        "deny": [*profiles.DIALOGS, *never(CLAUDE, job)],
    }  # fmt: skip


def test_settings_of_a_sandboxed_worker() -> None:
    made = settings_of(replace(CLAUDE, sandbox=True), JOB)
    assert made["sandbox"] == {
        "enabled": True, "failIfUnavailable": True, "allowUnsandboxedCommands": False, "autoAllowBashIfSandboxed": False,
    }  # fmt: skip
    rules = never(replace(CLAUDE, sandbox=True), JOB)
    assert [rule for rule in rules if ".git/" in rule] == ["Edit(./.git/hooks/**)", "Edit(./.git/config)"]
    assert "sandbox" not in settings_of(CLAUDE, JOB)


def test_targets_of_other_stages_are_closed() -> None:
    job = replace(JOB, root=Path("/p"), cwd=Path("/p"), others=("b.txt", "out/[1].txt"))
    rules = json.loads(settings(CLAUDE, job))["permissions"]["deny"]
    assert {"Edit(//p/b.txt)", "Edit(//p/out/\\[1\\].txt)"} <= set(rules)
