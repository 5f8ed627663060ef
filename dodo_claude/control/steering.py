"""What a person does to a stage from the dashboard. Each says in a line what was done, or raises `DodoClaudeError`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from dodo_claude.commands import talk
from dodo_claude.config.records import Config
from dodo_claude.control import stopping
from dodo_claude.machine import importing
from dodo_claude.state import lifecycle as life
from dodo_claude.text.errors import DodoClaudeError


def send(worker: str, text: str) -> str:
    here = talk.Here()
    mailbox = here.mailbox(worker)
    letter = mailbox.post(text, here.sender("the user"))
    return f"{worker}: message {talk.receipt(mailbox, letter, 0.0)}"


def permit(worker: str, refusal: str | None, request: str) -> str:
    """Answer that request, and no other: with yes, or for `refusal` with no."""
    return talk.permit(talk.Here(), worker, refusal, request)[1]


def compact(worker: str, goal: str) -> str:
    attempt, _ = talk.Here().at_work(worker)
    talk.drop(attempt, life.COMPACT, goal=goal, now=False)
    return f"'{worker}' compacts its context when its turn ends"


def stop(config: Config, worker: str) -> str:
    return "; ".join(stopping.stop(config, worker))


def orchestrate(root: Path, names: Sequence[str]) -> str:
    """Start a run in a session of its own; of all that is left, when no names are given."""
    done = subprocess.run(
        importing.python("doit", "orchestrate", "--detach", *names),
        cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise DodoClaudeError(
            done.stderr.strip() or done.stdout.strip() or f"doit ended with {done.returncode}"
        )
    return done.stdout.strip()
