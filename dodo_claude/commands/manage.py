"""The commands that end, mend and tidy: stop, interrupt, recheck, gc, doctor; and those for a shell and for a Claude."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from dodo_claude.commands.face import complete_stage, faults, say
from dodo_claude.control import steering
from dodo_claude.control.caller import Caller
from dodo_claude.control.project import (
    FILE,
    find_config,
    find_root,
    here,
    stage_name,
)
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError


@click.command()
@click.argument("worker", shell_complete=complete_stage)
def interrupt(worker: str) -> None:
    """Press Escape in WORKER's session: its turn ends, and it waits for a word of yours.

    A message (dodo-claude send) or what you type into its session lets it go on; without any it is told to go on
    after `person_timeout`. At a dialog Escape would be an answer, so there it is refused.

    Exit status: 0 done, 1 refused, 2 no such worker.

    Example: dodo-claude interrupt backend
    """
    from dodo_claude.state.mail import RefusedError

    with faults():
        here = Caller()
        here.at_work(here.name(worker))
        try:
            say(steering.interrupt(here, worker))
        except RefusedError as refused:
            say(f"refused: {refused}", err=True)
            sys.exit(1)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="a JSON object per line: name, result, text, remedy")
@click.option(
    "--client",
    is_flag=True,
    help="try the real client, too: offline, then with one short prompt to your account",
)
def doctor(as_json: bool, client: bool) -> None:
    """Say what works here, what does not, and how to mend it: tmux, the client, trust, approval, files, disk, hooks.

    In a project's folder that is looked at, too. Hooks are tried in a session of the scripted agent.

    Exit status: 0 all is well, or there for you to say yes to (a note), 1 something is wrong.

    Example: dodo-claude doctor
    """
    from dodo_claude.control import doctor as surgery
    from dodo_claude.control.finding import WRONG

    with faults():
        wrong = False
        for found in surgery.look(_file(), os.environ, client=client):
            wrong = wrong or found.result == WRONG
            if as_json:
                say(json.dumps(found.record()))
            else:
                remedy = f" ({found.remedy})" if found.remedy else ""
                say(one_line(f"{found.result:<5}  {found.name}: {found.text}{remedy}"))
        if wrong:
            sys.exit(1)


def _file() -> Path | None:
    here()  # from a folder that is gone nothing can be tried
    try:
        return find_root() / FILE
    except DodoClaudeError:
        return None  # the machine can be looked at without a project


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what lets SHELL complete commands, options, and the names of stages and templates.

    \b
    bash, in ~/.bashrc:  eval "$(dodo-claude completion bash)"
    zsh, in ~/.zshrc:    eval "$(dodo-claude completion zsh)"
    fish:                dodo-claude completion fish > ~/.config/fish/completions/dodo-claude.fish

    Example: dodo-claude completion bash
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    variables = {"complete_func": "_dodo_claude_completion", "complete_var": "_DODO_CLAUDE_COMPLETE", "prog_name": "dodo-claude"}  # fmt: skip
    say((BASH if shell == "bash" else found.source_template) % variables)


# Click's own goes by COMP_WORDS, which bash cuts at each ':' of a stage's name; this one goes by the line, and gives
# back only what follows the last ':'.
BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line="${COMP_LINE:0:$COMP_POINT}" reply kind value cut
    local -a words
    IFS=$' \\t\\n' read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    cut="${words[-1]%%"${words[-1]##*[:=]}"}"
    COMPREPLY=()
    for reply in $(env COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) %(complete_var)s=bash_complete "$1"); do
        IFS=',' read -r kind value <<< "$reply"
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$cut"}") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


@click.command()
@click.option(
    "--keep", default=10, show_default=True, metavar="N", type=click.IntRange(1), help="how many runs stay"
)
@click.option("--dry-run", is_flag=True, help="only say what would go")
@click.option("--json", "as_json", is_flag=True, help="as JSON, for programs")
def gc(keep: int, dry_run: bool, as_json: bool) -> None:
    """Remove what old runs left behind: their reports, and the attempts of theirs that nothing needs any more.

    The last N runs stay whole, and of each stage the last N attempts, the one whose result counts, and what a rerun
    or a resumed session goes on from. Copies of files of yours, or of a worker's, that are nowhere else stay, too.

    Exit status: 0 done, 2 an error, 3 a run is in progress.

    Example: dodo-claude gc --keep 5 --dry-run
    """
    import sys

    from dodo_claude.machine.files import disk_problem
    from dodo_claude.run import garbage, lock
    from dodo_claude.run import gc as collector

    with faults():
        root = find_root()
        fd = None
        try:
            if (root / ".orchestrate").is_dir():  # else nothing ever ran
                fd = lock.take(root)
            old = collector.look(root, keep)
            if not dry_run:
                collector.remove(root, old)
        except lock.RunInProgressError as error:
            say(f"gc: {error}", err=True)
            sys.exit(3)
        except OSError as error:
            raise DodoClaudeError(f"gc: {disk_problem(error, root / '.orchestrate')}") from error
        finally:
            if fd is not None:
                os.close(fd)
        tell = garbage.to_json if as_json else garbage.text
        say(tell(old, removed=not dry_run), nl=False)


@click.command()
@click.argument("stage", shell_complete=complete_stage)
@click.option(
    "--agent", metavar="AGENT", help="the agent that worked on it, if `doit orchestrate --agent` chose one"
)
def recheck(stage: str, agent: str | None) -> None:
    """Check again what STAGE's last attempt made, with the check as it is now. Nobody works.

    For an attempt that failed by nothing but its check, and a stage that has changed in nothing else since. `doit
    orchestrate` does it by itself, before a worker starts, when the check or what it runs is another; this does it also
    when neither is.

    Exit status: 0 the check passed, 1 it did not, 2 there is nothing to check again, 3 a run is in progress.

    Example: dodo-claude recheck backend
    """
    from dodo_claude.commands import again
    from dodo_claude.config.config import load_config
    from dodo_claude.run.lock import RunInProgressError

    with faults():
        config = load_config(find_root() / FILE, agent=agent)
        try:
            good, said = again.recheck(config, stage_name(config, stage), os.environ)
        except RunInProgressError as error:
            say(f"recheck: {error}", err=True)
            sys.exit(3)
        say(said)
        sys.exit(0 if good else 1)


@click.command()
@click.argument("worker", required=False, shell_complete=complete_stage)
@click.option("--all", "everything", is_flag=True, help="all workers of this project")
def stop(worker: str | None, everything: bool) -> None:
    """Stop WORKER, a stage or a group: end what is at work on it, remove its session; `run` is a detached run.

    The run in progress does not try it again, and does not run what needs it; all else goes on. The next run goes on with it,
    in the same session. With --all, nothing of this project goes on. Says of each stage what was done.

    Example: dodo-claude stop backend
    """
    from dodo_claude.control import stopping
    from dodo_claude.state.stops import USER

    with faults():
        if bool(worker) == everything:
            raise DodoClaudeError("stop: name one worker, or --all")
        sender = Caller().sender(USER)
        say("\n".join(stopping.stop(find_config(), worker, sender)) or stopping.NOTHING)


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path))
def mcp(folder: Path) -> None:
    """Serve MCP on standard input and output, for a Claude that orchestrates the project in FOLDER (default: this one).

    Example: dodo-claude mcp
    """
    from dodo_claude.commands.mcp import serve

    with faults():
        serve(folder)


COMMANDS = (interrupt, doctor, completion, gc, recheck, stop, mcp)
