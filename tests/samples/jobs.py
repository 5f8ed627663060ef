"""What an agent is asked to start."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from pathlib import Path

from dodo_claude.agents.agent import Job
from dodo_claude.agents.start import launch
from dodo_claude.config import profiles
from dodo_claude.config.records import AgentProfile

# Another at each start: what carries it is killed, also by a test that runs beside this one.
NONCE = secrets.token_hex(16)


JOB = Job(
    stage="api",
    attempt=3,
    root=Path("/p"),
    cwd=Path("/p"),
    folder=Path("/p/.orchestrate/stages/api/3"),
    session_id="11111111-2222-3333-4444-555555555555",
    nonce=NONCE,
    targets=("api/profile.py",),
    check="make test",
    hook=("/bin/sh", "/h/hook.sh", "/a spool"),
    resume=False,
    deny_dialogs=False,
    handover=None,
    by_file=False,
    mail=Path("/p/.orchestrate/stages/api/mail"),
    notes=Path("/p/.orchestrate/notes.md"),
)
# What each agent is by its profile, and what is the same of how each is started.
CLAUDE = AgentProfile(
    "claude",
    "claude",
    ("claude",),
    allowed_tools=("Edit(./**)", "Bash(pytest *)"),
    disallowed_tools=profiles.DIALOGS,
)
SCRIPTED = replace(CLAUDE, name="scripted", base="scripted", command=(), scenario="play.toml")
COMMAND = AgentProfile("mine", "command", ("my-agent", "--now"), args=("it's",))
ARGUMENTS = (
    "--session-id 11111111-2222-3333-4444-555555555555 --settings /p/.orchestrate/stages/api/3/settings.json "
    "--setting-sources user --strict-mcp-config --permission-mode dontAsk "
    "--tools Agent,Bash,Edit,NotebookEdit,Read,ReportFindings,Skill,TaskCreate,TaskGet,TaskList,TaskStop,TaskUpdate,TodoWrite,"
    "ToolSearch,WebFetch,WebSearch,Write,ListMcpResourcesTool,ReadMcpResourceDirTool,ReadMcpResourceTool,RefreshMcpTools "
    "--name api "
    "--append-system-prompt-file /p/.orchestrate/stages/api/3/brief.md "
    "--debug-file /p/.orchestrate/stages/api/3/client/errors.log"
)
OFF = "--disallowedTools EnterPlanMode ExitPlanMode AskUserQuestion"
FIXED = {
    "TERM": "screen-256color",
    "DODO_CLAUDE_STAGE": "api",
    "DODO_CLAUDE_ATTEMPT": "3",
    "DODO_CLAUDE_NONCE": NONCE,
    "DODO_CLAUDE_ROOT": "/p",
}
CAP = {"CLAUDE_CODE_STOP_HOOK_BLOCK_CAP": "1000"}


def settings_of(profile: AgentProfile, job: Job) -> dict[str, object]:
    return dict(json.loads(launch(profile, job, {}, {}).files["settings.json"]))
