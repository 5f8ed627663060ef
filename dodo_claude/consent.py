"""What the user is asked before a run, or says by --trust: may this project run its commands, may the client work here?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TextIO

from dodo_claude import approval, trust
from dodo_claude.run import Run


def settle(run: Run, *, give: bool, ask: bool, out: TextIO, stale: Callable[[str | None], bool]) -> None:
    """With `give` (--trust), or a yes at the terminal where `ask` allows a question, write both down.

    `stale(base)` tells whether anything would run; with a base, a worker of that kind: nothing is asked for
    nothing. Where neither is given nothing happens here: the first stage that starts looks at the approvals.
    """
    if give or ask:
        _approval(run, give=give, out=out, stale=stale)
        _trust(run, give=give, out=out, stale=stale)


def _approval(run: Run, *, give: bool, out: TextIO, stale: Callable[[str | None], bool]) -> None:
    config = run.config
    missing = approval.unapproved(config, run.environ)
    if not missing:
        return
    if give:
        approval.require_own_files(config)
        approval.approve(config, run.environ)
        out.write("approved: what this project runs\n")
    elif stale(None):
        approval.require_own_files(config)
        if approval.was_asked(config, run.environ):
            head = "This project would run things on your machine that changed since you approved it"
        else:
            head = "This project runs these commands on your machine, as you"
        lines = "".join(f"    {line}\n" for line in approval.listing(missing))
        out.write(f"{head}:\n{lines}")
        if not _yes("Run them?"):
            raise approval.ApprovalError("not approved: nothing was started")
        approval.approve(config, run.environ)


def _trust(run: Run, *, give: bool, out: TextIO, stale: Callable[[str | None], bool]) -> None:
    config = run.config
    clients = {
        stage.agent.command[0]
        for stage in config.workers
        if stage.agent is not None and stage.agent.base == "claude"
    }
    if not clients:
        return
    if give:
        if trust.record(config.root, run.environ):
            out.write(f"recorded: {config.root} is trusted\n")
        return
    question = f"Claude Code does not trust {config.root} yet. Do you trust its files?"
    if any(shutil.which(client, path=run.environ.get("PATH")) is None for client in clients):
        return  # the preflight says that it is missing; a question would be for nothing
    if stale("claude") and not trust.is_trusted(config.root, run.environ) and _yes(question):
        trust.record(config.root, run.environ)


def _yes(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
