"""Who calls: a worker, a program that one started, or a person; and in which project. Owns the proof of it."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from dodo_claude.control.project import find_config, find_root, stage_name
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.machine.processes import NONCE
from dodo_claude.state import basis
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor

if TYPE_CHECKING:
    from dodo_claude.state.mail import Mailbox

# Who speaks, where it is a program that a worker, a command or a monitor started and no worker.
SOMETHING = "a stage's program"


class Caller:
    """Who runs the command, and in which project."""

    def __init__(self) -> None:
        self.root = find_root()
        self.state = self.root / STATE_DIR
        self.redact = Redactor(os.environ)

    @cached_property
    def worker(self) -> Attempt | None:
        """The attempt of the worker that runs the command; None: none does. DodoClaudeError where only the names of one are there.

        Its nonce is the proof: no other worker is given that.
        """
        stage = os.environ.get("DODO_CLAUDE_STAGE")
        if stage is None or "DODO_CLAUDE_ROOT" not in os.environ:
            return None
        number, nonce = os.environ.get("DODO_CLAUDE_ATTEMPT", ""), os.environ.get(NONCE, "")
        attempt = Attempt(self.log(stage), int(number) if number.isdecimal() else 0)
        first = next(attempt.replay(), None)
        known = basis.after(basis.Basis(), first).nonce if first is not None else None
        if not nonce or nonce != known:
            raise DodoClaudeError(
                f"who runs this is not the worker of stage '{stage}' (leave its session's variables as they are)"
            )
        return attempt

    @property
    def stage(self) -> str | None:
        """That worker's stage."""
        return self.worker.log.stage if self.worker is not None else None

    def log(self, stage: str) -> StageLog:
        return StageLog(self.state, stage, self.redact)

    def mailbox(self, stage: str) -> Mailbox:
        from dodo_claude.state.mail import Mailbox

        return Mailbox(self.log(stage))

    def name(self, worker: str) -> str:
        """The stage that `worker` names."""
        return stage_name(find_config(), worker)

    def sender(self, other: str) -> str:
        """Whose name a message bears: the worker's that sends it, or `other`, if no stage's program pretends to be that."""
        from dodo_claude.machine import processes

        if self.stage is not None:
            return f"worker {self.stage}"
        return SOMETHING if processes.below_a_worker() else other

    def own(self) -> tuple[Attempt, Mailbox]:
        """The attempt of the worker that runs the command, and its mail."""
        from dodo_claude.state.mail import Mailbox

        if self.worker is None:
            raise DodoClaudeError("only a worker can say that (run it from inside a worker's session)")
        return self.worker, Mailbox(self.worker.log)

    def at_work(self, stage: str) -> tuple[Attempt, Mailbox]:
        """The attempt that is under way at `stage`."""
        from dodo_claude.state.mail import RefusedError

        mailbox = self.mailbox(stage)
        place = mailbox.at_work()
        if place is None:
            raise RefusedError(f"'{stage}': no worker is at work on it (dodo-claude status shows who is)")
        return Attempt(self.log(stage), int(str(place.get("attempt")))), mailbox
