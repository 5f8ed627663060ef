"""The commands by which people and workers talk while a run is in progress: send, ask, answer, allow, deny, note …

A worker runs them from inside its session, where its environment says which it is; everybody else from the
project's folder. What they say is a file that the orchestrator takes, now or when it is back.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dodo_claude.control.project import (
    complete_stage,
    faults,
    find_config,
    find_root,
    project_tmux,
    say,
    stage_name,
)
from dodo_claude.machine import files, question, streams
from dodo_claude.machine.files import STATE_DIR
from dodo_claude.machine.processes import NONCE
from dodo_claude.state import basis
from dodo_claude.state import lifecycle as life
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text import durations
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor

if TYPE_CHECKING:
    from dodo_claude.state.events import Told
    from dodo_claude.state.mail import Mailbox

# Who speaks, where it is a program that a worker, a command or a monitor started and no worker.
SOMETHING = "a stage's program"
# How `send` calls whoever runs the run: a message to it is an event on the bus.
ORCHESTRATOR = "orchestrator"
# How often files are looked at that nothing tells a command of: a message's state, journals that grow.
LOOK_SECONDS = 0.2
# A worker's command ends before its client's limit of two minutes for one.
ASK_WAIT = "100s"
MAX_NOTE = 2_000  # characters


class Here:
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


def drop(attempt: Attempt, kind: str, **data: object) -> None:
    """Tell the orchestrator: what arrives in the spool wakes it."""
    try:
        attempt.drop(kind, **data)
    except OSError as error:
        raise DodoClaudeError(
            f"{attempt.spool}: {error.strerror} (is this attempt still at work?)"
        ) from error


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
        here, seconds = Here(), _seconds("--wait", wait)
        if worker == ORCHESTRATOR:
            drop(here.own()[0], life.MESSAGE, to=ORCHESTRATOR, text=_said(text))
            return
        name = here.name(worker)
        mailbox = here.mailbox(name)
        try:
            letter = mailbox.post(_text(text), here.sender(sender))
        except RefusedError as refused:
            if as_json:
                say(json.dumps({"id": None, "state": "refused", "reason": str(refused)}))
            else:
                say(f"refused: {refused}", err=True)
            sys.exit(1)
        word = receipt(mailbox, letter, seconds)
        say(json.dumps({"id": letter, "state": word}) if as_json else f"{word}: {letter}")
        if word in FINAL and word != DELIVERED:
            sys.exit(1)


def receipt(mailbox: Mailbox, letter: str, seconds: float) -> str:
    """What became of a message, waited for so long at most, in a word."""
    from dodo_claude.state.mail import FINAL, QUEUED

    state, deadline = mailbox.state(letter) or QUEUED, time.monotonic() + seconds
    while state not in FINAL and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        state = mailbox.state(letter) or QUEUED
    return state if state in FINAL else "queued" if state == QUEUED else "on its way"


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
        here = Here()
        attempt, mailbox = here.own()
        question, patience = secrets.token_hex(4), _seconds("--wait", wait)
        until = time.time() + max(patience, _seconds("--deadline", deadline))
        asking = _said(text)
        with mailbox.question(question) as answer:
            drop(attempt, life.ASK, id=question, text=asking, until=until)
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
        say(reply(Here(), worker, _text(text), question))


def reply(here: Here, worker: str, said: str, question: str | None = None, sender: str = "the user") -> str:
    """Answer what `worker` asks; what was done, in a line."""
    name = here.name(worker)
    attempt, mailbox = here.at_work(name)
    asks = [ask for ask in attempt.view().asks if question in (None, ask.id)]
    if not asks:
        raise DodoClaudeError(f"'{name}': asks nothing now (dodo-claude send {name} TEXT tells it something)")
    sender = here.sender(sender)
    letter = mailbox.answer(asks[0].id, said, sender)
    drop(attempt, life.ANSWERED, id=asks[0].id, text=said, sender=sender)
    how = "it goes on" if letter is None else f"sent as message {letter}"
    return f"answered: {one_line(asks[0].text)} ({how})"


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
        here, state, sign = Here(), "given", 0
        try:
            if refusal is None and request is None and not as_json and sys.stdin.isatty():
                request = _confirmed(here, worker)
            request, said = permit(here, worker, refusal, request)
        except RefusedError as refused:
            state, said, sign = "refused", str(refused), 1
        if as_json:
            say(json.dumps({"request": request, "state": state, "text": said}))
        else:
            say(f"refused: {said}" if sign else said, err=bool(sign))
        sys.exit(sign)


def _confirmed(here: Here, worker: str) -> str | None:
    """Show a person what they are about to allow; the id of just that."""
    request, call = requested(here, worker)
    if not request:
        return None
    say(call)
    if not question.ask("Allow this one call?", sys.stdout):
        say("nothing is answered")
        sys.exit(1)
    return request


def requested(here: Here, worker: str) -> tuple[str, str]:
    """What `worker` asks a permission for: the request's id, and all of the call for people; '' when it asks for none."""
    attempt, _ = here.at_work(here.name(worker))
    request = attempt.view().request
    for event in attempt.events():
        if request and event.data.get("request") == request:
            inputs = event.data.get("tool_input")
            lines = [str(event.data.get("tool_name"))]
            for key, value in inputs.items() if isinstance(inputs, Mapping) else ():
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                lines += [f"{key}: {text}".replace("\n", "\n    ")]
            text = here.redact.text("\n  ".join(lines))
            return request, "\n".join(one_line(row) for row in text.split("\n"))
    return "", ""


def permit(
    here: Here, worker: str, refusal: str | None, request: str | None = None, sender: str = "the user"
) -> tuple[str, str]:
    """Answer the permission that `worker` asks for: with yes, or for `refusal`, which may be empty, with no.

    `request` is the one that is meant; None: whichever it asks for now. Returns its id and what was done, in a line.
    Raises `RefusedError` when that is not asked (any more), and for a worker: none may answer itself or another.
    """
    from dodo_claude.agents import agents
    from dodo_claude.machine import processes
    from dodo_claude.machine.terminal import Pane
    from dodo_claude.state import permits
    from dodo_claude.state.mail import RefusedError

    if here.stage is not None or processes.below_a_worker():
        raise RefusedError("a worker can't answer a request for a permission, be it its own or another's")
    if refusal is not None and len(refusal) > MAX_NOTE:
        raise RefusedError(f"the reason is longer than {MAX_NOTE} characters")
    name = here.name(worker)
    attempt, _ = here.at_work(name)
    view = attempt.view()
    asked = here.redact.text(one_line((view.blocked_on or "").replace(f"{here.root}/", "")))
    if view.state is not life.State.BLOCKED:
        raise RefusedError(f"'{name}': asks for no permission now (dodo-claude status shows who does)")
    if request is not None and request != view.request:
        raise RefusedError(f"'{name}': that request is over; now it asks for: {asked}")
    at_pane = f"(dodo-claude attach {name} to answer it there)"
    if not view.request:
        raise RefusedError(f"'{name}': {asked}: can be answered in its pane only {at_pane}")
    if refusal is None and asked.partition(" ")[0] in agents.PERSONAL_TOOLS:
        raise RefusedError(f"'{name}': {asked}: from here it can only be denied {at_pane}")
    pane = Pane(view.pane or "", "", view.pid or 0)
    tmux = project_tmux(find_config())
    # Of a yes at the pane the client tells only when the tool has ended.
    if permits.is_over(lambda: agents.input_box(tmux.capture(pane, escapes=True)) == "absent", view.since):
        raise RefusedError(f"'{name}': {asked}: was answered in its pane")
    no = "not allowed by the user; find another way" if refusal == "" else refusal
    try:
        permits.give(
            attempt, view.request, agents.verdict(no),
            allow=no is None, what=asked, text=no or "", sender=here.sender(sender),
        )  # fmt: skip
    except RefusedError as refused:
        raise RefusedError(f"'{name}': {asked}: {refused}") from refused
    return view.request, f"{'allowed' if no is None else 'denied'}: {asked}"


@click.command()
@click.argument("text", nargs=-1, required=True)
def note(text: tuple[str, ...]) -> None:
    """Add TEXT (or '-': the input) to the notes that all workers of the project share.

    Example: dodo-claude note "the API listens on port 8080"
    """
    with faults():
        add_note(Here(), _text(text))


def add_note(here: Here, said: str, sender: str = "the user") -> None:
    """Add `said` to the notes that all workers share."""
    said = here.redact.text(said).strip()
    if not said or len(said) > MAX_NOTE:
        raise DodoClaudeError(
            f"note: must have 1 to {MAX_NOTE} characters (put more into a file and name it)"
        )
    who = here.stage or here.sender(sender)
    path = here.state / "notes.md"
    line = f"- {time.strftime('%Y-%m-%d %H:%M')} {one_line(who)}: {said.replace(chr(10), chr(10) + '  ')}\n"
    try:
        files.append(path, line.encode())
    except OSError as error:
        raise DodoClaudeError(f"{path}: {error.strerror} (has the project run yet?)") from error
    if here.stage is not None:
        drop(here.own()[0], life.NOTE, text=said)


@click.command()
@click.argument("percent", type=click.IntRange(0, 100))
@click.argument("text", nargs=-1)
def progress(percent: int, text: tuple[str, ...]) -> None:
    """For a worker: say how far it is.

    Example: dodo-claude progress 60 "handlers done"
    """
    with faults():
        drop(Here().own()[0], life.PROGRESS, percent=percent, text=" ".join(text))


@click.command()
@click.argument("worker", shell_complete=complete_stage)
@click.option("-g", "--goal", default="", help="what the summary is to keep in view")
@click.option("--now", is_flag=True, help="interrupt its turn; else it is done when the turn ends")
def compact(worker: str, goal: str, now: bool) -> None:
    """Let WORKER compact its context.

    Example: dodo-claude compact backend -g "Next phase: tests"
    """
    with faults():
        here = Here()
        name = here.name(worker)
        attempt, _ = here.at_work(name)
        drop(attempt, life.COMPACT, goal=goal, now=now)
        say(f"'{name}' compacts its context {'now' if now else 'when its turn ends'}")


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
    from dodo_claude.state.events import Bus

    with faults():
        here = Here()
        wanted = [here.name(stage) for stage in stages]
        start = 0.0 if everything else last_start(here.state)
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


def last_start(state: Path) -> float:
    """When the last run began, in wall-clock seconds; 0.0 when there was none."""
    try:
        return max(
            (os.lstat(plan).st_mtime for plan in files.find(state / "runs", "*/plan.toml")), default=0.0
        )
    except OSError:
        return 0.0


def _under_way() -> Callable[[], bool]:
    """A function that says whether a run is in progress here, or about to begin in a session of its own."""
    from dodo_claude.control import detached

    config = find_config()
    tmux = project_tmux(config)
    return lambda: detached.under_way(config, tmux)


def record(told: Told) -> Mapping[str, object]:
    """An event for programs."""
    event = told.event
    return {
        "at": event.at,
        "stage": told.stage,
        "attempt": told.attempt,
        "kind": event.kind,
        "data": _encodable(event.data),
    }


def _encodable(value: object) -> object:
    """`value` without halves of surrogate pairs: a worker can write them, and most readers of JSON refuse them."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value


def line(told: Told) -> str:
    """An event for people, in one line."""
    from dodo_claude.state.events import telling

    event = told.event
    stamp = time.strftime("%H:%M:%S", time.localtime(event.at))
    text = one_line(" ".join(telling(event).split()))
    return f"{stamp}  {told.stage:<14}  {event.kind:<16}  {text[:200]}".rstrip()
