"""May this project run here? Owns what the user approved; what there is to approve is approvable.py's, and whether it is
safe at all safeguards.py's. Asks nobody: consent.py does.

An orchestrate.toml is code. Before the first worker or command of a project starts, its user has seen what will run
without a model's judgement: commands, checks, how workers are started and what they may do. What was approved lies in
the user's state folder, as digests, where no repository can bring it along. Approvals add up, so that going back and
forth between two branches asks for each of them once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dodo_claude.config.records import Config, Plan
from dodo_claude.machine.files import make_private, user_state, write_atomic
from dodo_claude.run import safeguards
from dodo_claude.run.approvable import Item, items
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

# Characters shown of one command; how many are left out is said.
SHOWN = 500
# Names of stages that one line of the list gives, and lines that the list has.
SHOWN_NAMES = 4
SHOWN_LINES = 60
# Approvals kept of one thing: enough for the branches of a project, and the file stays small.
KEPT = 20


class ApprovalError(DodoClaudeError):
    """The project may not run: a line for each reason, with its remedy."""


# -- what was approved


def state_file(root: Path, environ: Mapping[str, str]) -> Path:
    """Where the approvals of the project at `root` lie."""
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return user_state(environ) / "approved" / f"{name}.json"


def _read(path: Path) -> dict[str, list[str]]:
    """What was approved: of each thing the digests. What can't be read approves nothing."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return {}
            value = json.load(stream)
        return {str(what): [str(digest) for digest in digests] for what, digests in value["approved"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def unapproved(config: Config, environ: Mapping[str, str]) -> list[Item]:
    """What would run and was not approved as it is now; nothing when all was."""
    return _missing(config, _read(state_file(config.root, environ)))


def _missing(config: Config, approved: Mapping[str, list[str]]) -> list[Item]:
    return [item for item in items(config) if item.digest not in approved.get(item.what, ())]


def split(config: Config, missing: Iterable[Item]) -> tuple[list[Item], list[Plan]]:
    """What was not approved: what is not of a plan; and the plans of the rest."""
    own, waiting = [], {}
    for item in missing:
        plan = None if item.kind == "file" else next((p for p in config.plans if p.has(item.name)), None)
        if plan is None:
            own.append(item)
        else:
            waiting[plan.group] = plan
    return own, list(waiting.values())


def was_asked(config: Config, environ: Mapping[str, str]) -> bool:
    """Has the user ever approved this project?"""
    return bool(_read(state_file(config.root, environ)))


def approve(config: Config, environ: Mapping[str, str], *, plan: Plan | None = None) -> None:
    """Write down that the user lets `config`, or that `plan` of it, run as it is now.

    DodoClaudeError when that can't be written.
    """
    path = state_file(config.root, environ)
    try:
        make_private(path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path.with_name(".lock"), flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            approved = _read(path)
            given = [
                item
                for item in items(config)
                if plan is None or (item.kind != "file" and plan.has(item.name))
            ]
            if all(item.digest in approved.get(item.what, ()) for item in given):
                return
            for item in given:
                others = [digest for digest in approved.get(item.what, ()) if digest != item.digest]
                approved[item.what] = [*others, item.digest][-KEPT:]
            # Its root is for people: our name of the file is a digest.
            value = {"root": os.fsencode(config.root).decode("utf-8", "replace"), "approved": approved}
            write_atomic(path, json.dumps(value, indent=1) + "\n")
        finally:
            os.close(fd)
    except OSError as error:
        raise DodoClaudeError(
            f"{error.filename or path}: can't be written: {error.strerror or error} (what you approve is kept there)"
        ) from error


def have_confirmed(
    config: Config, environ: Mapping[str, str], plan: Plan, confirm: Callable[[Config, Plan], bool] | None
) -> None:
    """Have a person look at a plan, if there is one to say yes. ApprovalError when nobody does."""
    if confirm is None:
        raise ApprovalError(
            f"its plan waits for your yes: read {plan.file} (then `doit orchestrate` in a terminal, or with --yes)"
        )
    if not confirm(config, plan):
        raise ApprovalError(
            f"not confirmed: nothing of {plan.file} was started (run it again, edit the file before, or "
            f"`doit forget {plan.planner}` to have it planned anew)"
        )
    approve(config, environ, plan=plan)


def summary(missing: list[Item], *, asked: bool) -> str:
    """One line: that, or what, was not approved."""
    if not asked:
        return "you have not approved yet what this project runs on your machine"
    names = [item.what for item in missing]
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return one_line(f"changed since you approved: {', '.join(names[:SHOWN_NAMES])}{more}")


def listing(missing: list[Item]) -> list[str]:
    """`missing` as lines for a person, things that are alike together. Nothing in them acts on a terminal."""
    alike: dict[tuple[str, str], list[str]] = {}
    for item in missing:
        alike.setdefault((item.kind, item.text), []).append(item.name)
    lines = []
    for (kind, text), names in alike.items():
        shown = ", ".join(f"'{name}'" for name in names[:SHOWN_NAMES])
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        cut = f"… ({len(text) - SHOWN} more characters)" if len(text) > SHOWN else ""
        lines.append(one_line(f"{kind} {shown}{more}: {text[:SHOWN]}{cut}"))
    if len(lines) > SHOWN_LINES:
        left = len(lines) - SHOWN_LINES
        lines[SHOWN_LINES:] = [f"… and {left} more: read orchestrate.toml"]
    return lines


# -- before anything starts


def require_own_files(config: Config) -> None:
    """ApprovalError when somebody else could write what runs: there is no use in approving that."""
    problems = safeguards.unsafe_files(config)
    if problems:
        raise ApprovalError("\n".join(problems))


def require(config: Config, environ: Mapping[str, str]) -> None:
    """Called before the first stage of a run starts, by whatever command. ApprovalError when it must not."""
    problems = [
        *safeguards.unsafe_files(config),
        *safeguards.bypass_problems(config, environ),
        *safeguards.sandbox_problems(config, environ),
    ]
    if problems:
        raise ApprovalError("\n".join(problems))
    missing = unapproved(config, environ)
    if missing:
        raise ApprovalError(
            f"{summary(missing, asked=was_asked(config, environ))} "
            "(run `doit orchestrate` in a terminal and look at it, or `doit orchestrate --trust`)"
        )
    safeguards.warn(config)
