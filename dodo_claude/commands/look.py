"""The commands by which a person sees and steers what runs: status, interrupt, doctor, and completion for their shell."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dodo_claude.commands.face import complete_stage, faults, say
from dodo_claude.control import project, steering
from dodo_claude.control.caller import Caller
from dodo_claude.control.project import (
    FILE,
    find_root,
    here,
)
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    pass


@click.command()
@click.option("--json", "as_json", is_flag=True, help="as JSON, for programs")
def status(as_json: bool) -> None:
    """Say of each stage how it is now, what its worker does and has used, whether a run is in progress, and what is in tmux.

    It is told from the journals, so it works with no run going on, too.

    Example: dodo-claude status --json
    """
    from dodo_claude.report import status as now

    with faults():
        found = project.find_status()
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        say(now.to_json(found) if as_json else now.text(found, width), nl=False)


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
@click.option("--web", "in_browser", is_flag=True, help="in a browser: serve it and print the address, once")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="with --web: that port (default: one that is free)"
)
@click.option(
    "--host", metavar="ADDR", help="with --web: listen on that address, unencrypted (default: 127.0.0.1)"
)
@click.option("--control", is_flag=True, help="with --web: keys that act work in the browser, too")
def dashboard(in_browser: bool, port: int | None, host: str | None, control: bool) -> None:
    """Show the project in this terminal, live: the graph of its stages, and of each its worker's screen, events, prompt,
    files, check and messages; with keys to attach, send, answer, interrupt, stop and try again (? shows them).

    It works with no run going on, too. Leaving it ends nothing. Needs: pip install 'dodo-claude[dashboard]'

    Example: dodo-claude dashboard
    """
    from importlib.util import find_spec

    with faults():
        for name, needed in (
            ("Textual", "textual"),
            ("textual-serve", "textual_serve"),
            ("aiohttp", "aiohttp"),
        ):
            if (in_browser or needed == "textual") and find_spec(needed) is None:
                raise DodoClaudeError(f"dashboard: needs {name} (pip install 'dodo-claude[dashboard]')")
        if in_browser:
            from dodo_claude.dashboard import web

            sys.exit(
                web.dashboard(find_root(), host=host or "127.0.0.1", port=port or 0, control=control, say=say)
            )
        if control or port is not None or host is not None:
            raise DodoClaudeError("dashboard: --port, --host and --control are for --web (add it)")
        from dodo_claude.dashboard.dashboard import show

        show()


COMMANDS = (status, interrupt, doctor, completion, dashboard)
