"""The commands by which people and workers talk while a run is in progress: send, ask, answer, allow, deny, note …

A worker runs them from inside its session, where its environment says which it is; everybody else from the
project's folder. What they say is a file that the orchestrator takes, now or when it is back.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dodo_claude.commands.face import complete_stage, faults, say
from dodo_claude.control import steering
from dodo_claude.control.caller import Caller
from dodo_claude.control.project import find_config, project_tmux
from dodo_claude.machine import question, streams
from dodo_claude.state import events as life
from dodo_claude.text import durations
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    pass

# How `send` calls whoever runs the run: a message to it is an event on the bus.
ORCHESTRATOR = "orchestrator"
# How often files are looked at that nothing tells a command of: a message's state, journals that grow.
LOOK_SECONDS = 0.2
# A worker's command ends before its client's limit of two minutes for one.
ASK_WAIT = "100s"


def _text(words: tuple[str, ...]) -> str:
    """What the command was given: its words, or its input for a '-', of which no more is read than anybody may say."""
    from dodo_claude.state.mail import MAX_TEXT

    return streams.read_input(MAX_TEXT + 1) if words == ("-",) else " ".join(words)


def _said(words: tuple[str, ...]) -> str:
    """The same, of what becomes an event."""
    from dodo_claude.state.mail import MAX_TEXT

    text = _text(words)
    if len(text) > MAX_TEXT:
        raise DodoClaudeError(
            f"the text is longer than {MAX_TEXT} characters (put it into a file and name it)"
        )
    return text


@click.command()
@click.argument("worker", shell_complete=complete_stage)
@click.argument("text", nargs=-1, required=True)
@click.option("--wait", default="0s", help="wait so long for what becomes of it, 30s say")
@click.option("--from", "sender", default="the user", help="who says it")
@click.option("--json", "as_json", is_flag=True, help="print id and state as JSON")
def send(worker: str, text: tuple[str, ...], wait: str, sender: str, as_json: bool) -> None:
    """Send TEXT (or '-': the input) to WORKER; it gets it between two of its steps, or when its turn ends.

    Nothing is typed into a session that is busy or asks for a permission: there the message is refused.
    From inside a worker, `send orchestrator` tells whoever follows `dodo-claude events`.

    Exit status: 0 queued or delivered, 1 refused or unknown, 2 no such worker.

    Example: dodo-claude send backend "use port 8080"
    """
    from dodo_claude.state.mail import DELIVERED, FINAL, RefusedError

    with faults():
        here, seconds = Caller(), _seconds("--wait", wait)
        if worker == ORCHESTRATOR:
            steering.drop(here.own()[0], life.MESSAGE, to=ORCHESTRATOR, text=_said(text))
            return
        try:
            mailbox, letter = steering.send(here, worker, _text(text), sender)
        except RefusedError as refused:
            if as_json:
                say(json.dumps({"id": None, "state": "refused", "reason": str(refused)}))
            else:
                say(f"refused: {refused}", err=True)
            sys.exit(1)
        word = steering.receipt(mailbox, letter, seconds)
        say(json.dumps({"id": letter, "state": word}) if as_json else f"{word}: {letter}")
        if word in FINAL and word != DELIVERED:
            sys.exit(1)


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--wait", default=ASK_WAIT, show_default=True, help="how long to wait for the answer here")
@click.option("--deadline", default="30m", show_default=True, help="how long the question stays open")
def ask(text: tuple[str, ...], wait: str, deadline: str) -> None:
    """For a worker: ask a person, or the orchestrator, and print the answer.

    An answer that comes after the wait reaches the worker as a message.

    Example: dodo-claude ask "PostgreSQL or SQLite?"
    """
    import secrets

    with faults():
        here = Caller()
        attempt, mailbox = here.own()
        question, patience = secrets.token_hex(4), _seconds("--wait", wait)
        until = time.time() + max(patience, _seconds("--deadline", deadline))
        asking = _said(text)
        with mailbox.question(question) as answer:
            steering.drop(attempt, life.ASK, id=question, text=asking, until=until)
            found = answer(patience)
        if found is None:
            found = (
                "No answer yet. Go on with what does not need it; if it comes, it comes as a message. "
                "Where you can't wait, decide yourself and say what you assumed."
            )
        say(found)


@click.command()
@click.argument("worker", shell_complete=complete_stage)
@click.argument("text", nargs=-1, required=True)
@click.option("--question", help="its id, where WORKER asked more than one")
def answer(worker: str, text: tuple[str, ...], question: str | None) -> None:
    """Answer what WORKER asks (`dodo-claude events` and the run's own lines show the question).

    Example: dodo-claude answer backend "SQLite"
    """
    with faults():
        say(steering.reply(Caller(), worker, _text(text), question))


@click.command()
@click.argument("worker", shell_complete=complete_stage)
@click.option("--request", metavar="ID", help="only if it is this one that it asks for (see status --json)")
@click.option("--json", "as_json", is_flag=True, help="print request, state and text as JSON")
def allow(worker: str, request: str | None, as_json: bool) -> None:
    """Say yes to the permission that WORKER asks for in a dialog: to this one call, never for always.

    On a terminal it shows all of the call first, and asks; with --request, or elsewhere, it does not (`dodo-claude
    status` shows the call, too). The dialog stays open in its pane meanwhile; what answers first counts.

    Exit status: 0 its client took the answer, 1 refused or not answered, 2 no such worker.

    Example: dodo-claude allow backend
    """
    _decide(worker, None, request, as_json)


@click.command()
@click.argument("worker", shell_complete=complete_stage)
@click.argument("text", nargs=-1)
@click.option("--request", metavar="ID", help="only if it is this one that it asks for (see status --json)")
@click.option("--json", "as_json", is_flag=True, help="print request, state and text as JSON")
def deny(worker: str, text: tuple[str, ...], request: str | None, as_json: bool) -> None:
    """Say no to the permission that WORKER asks for in a dialog; TEXT tells it why, or what to do instead.

    Exit status: 0 its client took the answer, 1 refused, 2 no such worker.

    Example: dodo-claude deny backend "use the library that is there"
    """
    _decide(worker, _text(text), request, as_json)


def _decide(worker: str, refusal: str | None, request: str | None, as_json: bool) -> None:
    from dodo_claude.state.mail import RefusedError

    with faults():
        here, state, sign = Caller(), "given", 0
        try:
            if refusal is None and request is None and not as_json and sys.stdin.isatty():
                request = _confirmed(here, worker)
            request, said = steering.permit(here, worker, refusal, request)
        except RefusedError as refused:
            state, said, sign = "refused", str(refused), 1
        if as_json:
            say(json.dumps({"request": request, "state": state, "text": said}))
        else:
            say(f"refused: {said}" if sign else said, err=bool(sign))
        sys.exit(sign)


def _confirmed(here: Caller, worker: str) -> str | None:
    """Show a person what they are about to allow; the id of just that."""
    request, call = steering.requested(here, worker)
    if not request:
        return None
    say(call)
    if not question.ask("Allow this one call?", sys.stdout):
        say("nothing is answered")
        sys.exit(1)
    return request


@click.command()
@click.argument("text", nargs=-1, required=True)
def note(text: tuple[str, ...]) -> None:
    """Add TEXT (or '-': the input) to the notes that all workers of the project share.

    Example: dodo-claude note "the API listens on port 8080"
    """
    with faults():
        steering.add_note(Caller(), _text(text))


@click.command()
@click.argument("percent", type=click.IntRange(0, 100))
@click.argument("text", nargs=-1)
def progress(percent: int, text: tuple[str, ...]) -> None:
    """For a worker: say how far it is.

    Example: dodo-claude progress 60 "handlers done"
    """
    with faults():
        steering.drop(Caller().own()[0], life.PROGRESS, percent=percent, text=" ".join(text))


@click.command()
@click.argument("worker", shell_complete=complete_stage)
@click.option("-g", "--goal", default="", help="what the summary is to keep in view")
@click.option("--now", is_flag=True, help="interrupt its turn; else it is done when the turn ends")
def compact(worker: str, goal: str, now: bool) -> None:
    """Let WORKER compact its context.

    Example: dodo-claude compact backend -g "Next phase: tests"
    """
    with faults():
        say(steering.compact(Caller(), worker, goal, now=now))


@click.command()
@click.argument("stages", nargs=-1, shell_complete=complete_stage)
@click.option("-f", "--follow", is_flag=True, help="go on as events happen; Ctrl-C ends it")
@click.option(
    "--json", "as_json", is_flag=True, help="a JSON object per line: at, stage, attempt, kind, data"
)
@click.option("--all", "everything", is_flag=True, help="of earlier runs, too")
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="only events of this kind; may be repeated"
)
@click.option("--since", type=float, metavar="AT", help="only events from that `at` on")
@click.option("--until-end", is_flag=True, help="with --follow: end when the run in progress has")
def events(
    stages: tuple[str, ...],
    follow: bool,
    as_json: bool,
    everything: bool,
    kinds: tuple[str, ...],
    since: float | None,
    until_end: bool,
) -> None:
    """Print what happens to the workers: all that their hooks, their commands and we ourselves wrote down.

    Example: dodo-claude events --follow --json
    """
    from dodo_claude.report import runs
    from dodo_claude.state.bus import Bus, line, record

    with faults():
        here = Caller()
        wanted = [here.name(stage) for stage in stages]
        start = 0.0 if everything else runs.last_start(here.state)
        bus = Bus(here.state, wanted, start if since is None else max(start, since))
        going = _under_way() if until_end else lambda: True
        try:
            while True:
                last = not (follow and going())  # looked at before the last read: nothing comes after it
                for told in bus.read():
                    if not kinds or told.event.kind in kinds:
                        say(json.dumps(record(told)) if as_json else line(told))
                if last:
                    break
                time.sleep(LOOK_SECONDS)
        except (KeyboardInterrupt, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be flushed has nobody to read it


COMMANDS = (send, ask, answer, allow, deny, note, progress, compact, events)


def _seconds(option: str, text: str) -> float:
    found = 0.0 if text.strip() in ("0", "0s") else durations.seconds(text)
    if found is None:
        raise DodoClaudeError(f"{option}: '{text}' is no duration (90s, 5m, 2h)")
    return found


def _under_way() -> Callable[[], bool]:
    """A function that says whether a run is in progress here, or about to begin in a session of its own."""
    from dodo_claude.control import detached

    config = find_config()
    tmux = project_tmux(config)
    return lambda: detached.under_way(config, tmux)
