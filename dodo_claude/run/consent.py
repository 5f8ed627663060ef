"""What the user is asked before a run, or says by --trust: may this project run its commands, may the client work here?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TextIO

from dodo_claude.agents.claude import trust
from dodo_claude.agents.table import agent_of
from dodo_claude.config import plans
from dodo_claude.config.records import AgentProfile, Config, Plan
from dodo_claude.machine import question
from dodo_claude.run import approval
from dodo_claude.run.run import Run
from dodo_claude.text.clean import one_line

# Would anything run; with a question about agents, a worker of one that answers it with yes?
Stale = Callable[[Callable[[AgentProfile], bool] | None], bool]


def settle(
    run: Run,
    *,
    give: bool,
    ask: bool,
    out: TextIO,
    stale: Stale,
    dodo: str | None = None,
) -> None:
    """With `give` (--trust), or a yes at the terminal where `ask` allows a question, write both down.

    `stale` tells whether anything would run: nothing is asked for nothing. Where neither is given nothing happens here: the first stage that starts looks at the approvals.
    `dodo`: the dodo.py that doit imported before it came to us.
    """
    if give or ask:
        _approval(run, give=give, out=out, stale=stale, dodo=dodo)
        _trust(run, give=give, out=out, stale=stale)


def _approval(run: Run, *, give: bool, out: TextIO, stale: Stale, dodo: str | None) -> None:
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
        shown = approval.listing(missing)
        if dodo is not None:
            shown.append(
                one_line(
                    f"{dodo} is doit's: doit has run it already, to read its tasks, and runs these unasked"
                )
            )
        lines = "".join(f"    {line}\n" for line in shown)
        out.write(f"{head}:\n{lines}")
        if not question.ask("Run them?", out):
            raise approval.ApprovalError("not approved: nothing was started")
        approval.approve(config, run.environ)


def _trust(run: Run, *, give: bool, out: TextIO, stale: Stale) -> None:
    config = run.config
    clients = {
        stage.agent.command[0]
        for stage in config.workers
        if stage.agent is not None and agent_of(stage.agent).can.setup
    }
    if not clients:
        return
    folders = trust.folders(config, config.workers)
    if give:
        for folder in folders:
            if trust.record(folder, run.environ):
                out.write(f"recorded: {one_line(str(folder))} is trusted\n")
        return
    if any(shutil.which(client, path=run.environ.get("PATH")) is None for client in clients):
        return  # the preflight says that it is missing; a question would be for nothing
    if not stale(lambda agent: agent_of(agent).can.setup):
        return
    for folder in folders:
        text = f"Claude Code does not trust {folder} yet. Do you trust its files?"
        if not trust.is_trusted(folder, run.environ) and question.ask(text, out):
            trust.record(folder, run.environ)


def confirmation(run: Run, *, yes: bool, ask: bool, out: TextIO) -> Callable[[Config, Plan], bool] | None:
    """How a plan is confirmed in mid-run: by --yes, by a person at the terminal, or not at all (None)."""
    if not (yes or ask):
        return None

    def confirm(config: Config, plan: Plan) -> bool:
        approval.require_own_files(config)
        lines = "".join(f"{line}\n" for line in plans.table(config, plan))
        count = sum(plan.has(stage.name) for stage in config.stages)
        text = f"Run {'this stage' if count == 1 else f'these {count} stages'}?"
        with run.asking():
            out.write(f"\n{lines}\n")
            out.flush()
            # Other stages go on, and a Ctrl-C, which is the run's to handle, ends the question.
            return yes or question.ask(text, out, run.stopping)

    return confirm
