"""What a stage's freshness hangs on: its definition, its targets' bytes, the messages it quotes, an attempt that a run left.

doit decides what is stale by file_dep and targets; this is the one `uptodate` check with what doit can't see.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from doit.dependency import UptodateCalculator
from doit.task import Task

from dodo_claude.config.records import Config, Stage
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.state.left import Left
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import NOTHING
from dodo_claude.worker import since

# What only the journals tell more of: see since.py.
NOT_DONE = "it is not done"
# Definition values longer than this are kept as a digest; shorter ones can be shown by --explain.
_SHOWN = 80


def definition(stage: Stage, environ: Mapping[str, str] = os.environ) -> dict[str, object]:
    """All that makes the stage's result besides the bytes of its file_deps: key -> short value or digest.

    No id, time or absolute path is in it, so that the same stage has the same definition elsewhere.
    """
    from dodo_claude.agents.brief import BRIEF_VERSION
    from dodo_claude.worker import phases

    parts: dict[str, object] = {
        "targets": list(stage.targets),
        "env": dict(stage.env),
        "cwd": stage.cwd,
    }
    optional = {
        "prompt": stage.prompt,
        "command": stage.command,
        "item": stage.item,
        "check": stage.check,
        "allow_unchanged": stage.allow_unchanged or None,
    }
    parts |= {key: value for key, value in optional.items() if value is not None}
    # Of the caller's variables only those that the prompt shows; as digests, for they may be secrets.
    parts |= {f"env.{name}": f"sha256:{digest_text(environ.get(name, ''))}" for name in stage.prompt_env}
    parts |= {f"{phases.KEY}{number}": phases.digest(phase) for number, phase in enumerate(stage.phases, 1)}
    if stage.agent is not None:
        agent = stage.agent
        parts |= {
            "agent": agent.name,
            "agent.command": [*agent.command, *agent.args],
            "model": agent.model or "the agent's default",
            "permission_mode": agent.permission_mode,
            "allowed_tools": sorted(agent.allowed_tools),
            "disallowed_tools": sorted(agent.disallowed_tools),
            "setting_sources": list(agent.setting_sources),
            "brief": BRIEF_VERSION,
        }
        if agent.sandbox:
            parts["sandbox"] = True
    return {key: _short(value) for key, value in parts.items()}


def _short(value: object) -> object:
    text = repr(value)
    # What looks like a secret is not written into doit's state either.
    shown = len(text) <= _SHOWN and NOTHING.text(text) == text
    return value if shown else f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def definition_digest(made: Mapping[str, object]) -> str:
    """Of a definition."""
    return digest_text(json.dumps(made, sort_keys=True))


def definition_digests(config: Config) -> dict[str, str]:
    """Of each stage whose definition is the same in any environment."""
    return {
        stage.name: definition_digest(definition(stage)) for stage in config.stages if not stage.prompt_env
    }


def digest_text(text: str) -> str:
    """A short digest of a message."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Freshness(UptodateCalculator):
    """doit's `uptodate` callable of one stage. Never raises: doit would end the run."""

    # Made once: doit inspects each callable on each run, which costs more than the check itself.
    __signature__ = inspect.Signature(
        [
            inspect.Parameter("task", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            inspect.Parameter("values", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        ]
    )

    def __init__(
        self, stage: Stage, config: Config, digest: str | None = None, left: Left | None = None
    ) -> None:
        super().__init__()
        self.left = left or Left(config.root / STATE_DIR)
        self.stage = stage
        self.config = config
        self.digest = digest  # of its definition, where that is known already
        self._quoted: dict[str, str] | None = None  # what `messages` was when doit asked last

    def __repr__(self) -> str:
        return "its definition, its targets and what it quotes are as they were, and nobody was cut off at work on it"

    def __call__(self, task: Task, values: Mapping[str, Any]) -> bool:
        try:
            self._quoted = self.messages()
            return next(self.reasons(values), None) is None
        except (OSError, DodoClaudeError):
            return False  # what can't be looked at can't be up to date

    def reasons(self, values: Mapping[str, Any]) -> Iterator[str]:
        """Why the stage is stale by what doit can't see, each in words; lazily, the cheap ones first."""
        recorded = values.get("definition")
        if not isinstance(recorded, dict):
            yield NOT_DONE
            return
        if self.left.possible and self.left.of(self.stage.name):
            from dodo_claude.control.detached import holder

            if (
                holder(self.config.root) is not None
            ):  # who asks is not that run: it does not ask of what it began
                yield "a run is at work on it"
            else:
                yield "an earlier run was cut off while it was at work on it"
        if self.digest is None or values.get("digest") != self.digest:
            yield from since.differences(recorded, definition(self.stage))
        quoted, now = values.get("messages") or {}, self.quoted()
        for name, digest in now.items():
            if quoted.get(name) != digest:
                yield f"the last message of stage '{name}', which its prompt quotes, changed"
        for name in sorted(quoted.keys() - now.keys()):
            yield f"stage '{name}', whose last message its prompt quoted, is not there any more"
        yield from since.changed_targets(self.stage, self.config.root, values.get("targets") or {})

    def made(self) -> dict[str, object]:
        """All that makes the stage's result besides files, what it quotes included."""
        messages = self.messages()
        return {**definition(self.stage), **({"messages": messages} if messages else {})}

    def quoted(self) -> dict[str, str]:
        """As `messages`, when doit last asked, which it does before it starts the stage. Called by any thread."""
        return self.messages() if self._quoted is None else self._quoted

    def messages(self) -> dict[str, str]:
        """The digests of the messages that the prompt quotes, in its report too, as doit's state has them now.

        Only for the thread that opened that state.
        """
        quoted_by = (*self.stage.messages, *self.stage.report)
        groups = dict(self.config.groups) if quoted_by else {}
        found = {}
        for quoted in quoted_by:
            for name in groups.get(quoted, (quoted,)):
                saved = self.get_val(name, "_values_:") or {}
                found[name] = str(saved.get("message", ""))
        return found
