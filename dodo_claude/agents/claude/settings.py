"""The settings that the client starts with: our hooks, the permissions, the sandbox, the status line."""

from __future__ import annotations

import shlex

from dodo_claude.agents.agent import Job
from dodo_claude.agents.claude.hooks import (
    HOOK_TIMEOUT_SECONDS,
    HOOKS,
    MAIL_HOOKS,
    NO_WORKTREE,
    REFUSED_HOOK,
)
from dodo_claude.agents.claude.modes import BYPASS
from dodo_claude.agents.claude.rules import WORKER_COMMANDS, absolute, never
from dodo_claude.config.records import AgentProfile
from dodo_claude.state import permits
from dodo_claude.state.journal import in_lines


def settings(profile: AgentProfile, job: Job, config_dir: str | None = None) -> str:
    """The client's --settings file: our hooks, the permissions and the sandbox, as JSON. `config_dir`: where it keeps what is
    its own, if not in the home folder."""
    hook = {"type": "command", "command": shlex.join(job.hook), "timeout": HOOK_TIMEOUT_SECONDS}
    denying = {**hook, "command": shlex.join([*job.hook, "answer", str(job.folder / "denial.json")])}
    reminding = {**hook, "command": shlex.join([*job.hook, "answer", str(job.folder / "reminder.json")])}
    listening: dict[str, list[dict[str, object]]] = {name: [{"hooks": [hook]}] for name in HOOKS}
    for name in MAIL_HOOKS:
        listening[name] = [
            {"hooks": [{**hook, "command": shlex.join([*job.hook, "mail", str(job.mail), name])}]}
        ]
    # It waits as long as its dialog may: whoever answers first, here or at the pane, is heard.
    asking = {
        **hook,
        "command": shlex.join([*job.hook, "permit", str(job.folder / permits.FOLDER)]),
        "timeout": int(job.patience) + HOOK_TIMEOUT_SECONDS,
    }
    listening["PermissionRequest"] = [{"hooks": [denying if job.deny_dialogs else asking]}]
    # After a compaction, also one of the client's own making, the worker is told again what it is there for.
    listening["SessionStart"] = [
        {"matcher": "startup|resume|clear", "hooks": [hook]},
        {"matcher": "compact", "hooks": [reminding]},
    ]
    listening[REFUSED_HOOK] = [{"hooks": [{**hook, "command": NO_WORKTREE}]}]
    allow = [*profile.allowed_tools, *WORKER_COMMANDS]
    if job.by_file and job.cwd != job.root:
        allow.append(f"Read({absolute(job.folder)}/prompt.md)")
    if job.cwd != job.root:
        # `Edit(./**)` speaks of the worker's own folder; its targets may lie beside it.
        allow.append(f"Read({absolute(job.root)}/**)")
        allow += [f"Edit({absolute(job.root / target)})" for target in job.targets]
    made: dict[str, object] = {
        # Without this line a project's or a user's settings could switch our hooks off.
        "disableAllHooks": False,
        "hooks": listening,
        # A moving sign takes 8 % of a core as long as the model is waited for, one that stands still 4 %; and a session
        # mostly works with nobody looking.
        "prefersReducedMotion": True,
        # The client tells its status line what the session has cost; nothing else does while it lives.
        "statusLine": {"type": "command", "command": _status_command(job)},
        "permissions": {
            "allow": allow,
            "deny": [*profile.disallowed_tools, *never(profile, job, config_dir)],
        },
    }
    if profile.sandbox:
        made["sandbox"] = {
            "enabled": True,
            # Without it the client would go on unsandboxed, and say so nowhere on its screen.
            "failIfUnavailable": True,
            "allowUnsandboxedCommands": False,
            # A sandbox is a wall more, not a rule less: reads outside of the project are open in it.
            "autoAllowBashIfSandboxed": False,
        }
    if profile.permission_mode == BYPASS:
        # Its warning is a dialog that exits by default; who may use this mode is settled in approval.py.
        made["skipDangerousModePermissionPrompt"] = True
    return in_lines(made)


def _status_command(job: Job) -> str:
    file = shlex.quote(str(job.folder / "status"))
    words = shlex.quote(f"dodo_claude: {job.stage}, attempt {job.attempt}")
    return f"umask 077; cat > {file}.tmp && mv -f {file}.tmp {file}.json; echo {words}"
