"""What an agent is asked to start."""

from __future__ import annotations

import secrets
from pathlib import Path

from dodo_claude.agents.agents import Job

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
