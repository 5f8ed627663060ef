"""A stage, and a desk that lends an attempt what a run would."""

from __future__ import annotations

import os
import secrets
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from dodo_claude.config.records import AgentProfile, Prompt, Stage
from dodo_claude.machine.files import make_state_dir
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.state import events as life
from dodo_claude.state.events import Outcome, Result
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.worker import verify
from dodo_claude.worker.protect import Guard
from dodo_claude.worker.recovery import drive
from dodo_claude.worker.services import Done, Services
from dodo_claude.worker.witness import Witness
from tests.fakes import (
    FakeFleet,
    FakeLookout,
    FakeSlot,
    FakeTerminal,
    FakeWaker,
    Turn,
)

AGENT = AgentProfile("claude", "claude", ("claude",))


STAGE = Stage(
    name="api", group=None, item=None, prompt="Write a.", prompt_file=None, command=None, file_dep=("in",),
    prompt_files=(), targets=("a",), after=(), agent=AGENT, session="w-api", check=None, repairs=1, timeout=20.0, retries=0,
    env=(), cwd=".", keep="on-failure", allow_unchanged=False, line=1,
)  # fmt: skip


COMMAND = replace(STAGE, agent=None, prompt=None, command="echo x > a")


DEFINITION = {"prompt": "p", "list": ["a"], "env": {}}


GOOD = Turn({"a": "made"})


# Another at each start: what carries it is killed, also by a test that runs beside this one.
NONCE = secrets.token_hex(16)


class Desk:
    """A project's folder with one stage to be driven, and all that is lent to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "in").write_text("input")
        self.waker = FakeWaker()
        self.terminal = FakeTerminal(root, self.waker)
        self.prompts: list[str] = []
        self.fleet = FakeFleet()
        self.lookout = FakeLookout(self.terminal)
        self.services = Services(
            root=root, state=make_state_dir(root), runtime=root / "run", hook=("/bin/sh", "hook.sh"),
            terminal=lambda: self.terminal, waker=self.waker, lookout=self.lookout, stopping=threading.Event(),
            fleet=self.fleet, slot=lambda seconds, give_up: FakeSlot(), witness=Witness(root, root / STATE_DIR),
            prompt=lambda stage: Prompt(str(stage.prompt)), environ={"PATH": os.environ["PATH"], "HOME": str(root)},
            guard=Guard(root, {"PATH": os.environ["PATH"]}),
        )  # fmt: skip
        self.services.runtime.mkdir()
        self.log = StageLog(self.services.state, "api")

    def drive(self, stage: Stage = STAGE, *turns: Turn, **services: Any) -> Done:
        self.terminal.turns += turns
        done = drive(stage, DEFINITION, replace(self.services, **services))
        # Whatever happened: nothing is left to hear, and no secret lies about.
        registered, forgotten = (
            [ring for what, ring in self.waker.calls if what == kind] for kind in ("register", "forget")
        )
        assert registered == forgotten
        assert not self.lookout.watched
        assert os.listdir(self.services.runtime) == []
        assert self.last.result() is not None
        return done

    @property
    def last(self) -> Attempt:
        return Attempt(self.log, self.log.attempts()[-1])

    def kinds(self, number: int = 1) -> list[str]:
        return [event.kind for event in Attempt(self.log, number).replay()]

    def text(self, name: str) -> str | None:
        path = self.root / name
        return path.read_text() if path.exists() else None


SUCCEEDED = Outcome(Result.SUCCEEDED)


def told(done: Done) -> tuple[Result, str]:
    return done.outcome.result, done.outcome.reason


def cut_off(desk: Desk, pid: int, nonce: str = NONCE, **begun: object) -> Attempt:
    """What a run leaves that was killed while its worker worked."""
    (desk.root / "a").write_text("old")
    attempt = desk.log.begin()
    recorded = {
        "definition": DEFINITION,
        "before": verify.fingerprints(desk.root, ["a"]),
        "inputs": verify.fingerprints(desk.root, ["in"]),
        "nonce": nonce,
        **begun,
    }
    verify.keep_copies(desk.root, ["a"], attempt.dir / "before")
    attempt.record("begun", **recorded)
    attempt.record(life.SPAWNED, pane="%9", session="$9", pid=pid)
    (desk.root / "a").write_text("half")
    return attempt
