"""What people, and programs for them, do to a worker at work: send, answer, permit, note, compact, interrupt.

Each says in a line what was done. It raises `DodoClaudeError` where it can't be done, of which `RefusedError` is the
kind that says: not now.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dodo_claude.control.caller import Caller
from dodo_claude.control.project import find_config, find_session, project_tmux
from dodo_claude.machine import files
from dodo_claude.state import events as life
from dodo_claude.state.journal import Attempt
from dodo_claude.state.stops import USER
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.state.mail import Mailbox

# How often a message's state is looked at, of which nothing tells.
LOOK_SECONDS = 0.2
MAX_NOTE = 2_000  # characters


def drop(attempt: Attempt, kind: str, **data: object) -> None:
    """Tell the orchestrator: what arrives in the spool wakes it."""
    try:
        attempt.drop(kind, **data)
    except OSError as error:
        raise DodoClaudeError(
            f"{attempt.spool}: {error.strerror} (is this attempt still at work?)"
        ) from error


def send(caller: Caller, worker: str, text: str, sender: str = USER) -> tuple[Mailbox, str]:
    """Send a message to `worker`: the mailbox that it lies in, and its id."""
    mailbox = caller.mailbox(caller.name(worker))
    return mailbox, mailbox.post(text, caller.sender(sender))


def receipt(mailbox: Mailbox, letter: str, seconds: float) -> str:
    """What became of a message, waited for so long at most, in a word."""
    from dodo_claude.state.mail import FINAL, QUEUED

    state, deadline = mailbox.state(letter) or QUEUED, time.monotonic() + seconds
    while state not in FINAL and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        state = mailbox.state(letter) or QUEUED
    return state if state in FINAL else "queued" if state == QUEUED else "on its way"


def reply(caller: Caller, worker: str, said: str, question: str | None = None, sender: str = USER) -> str:
    """Answer what `worker` asks; what was done, in a line."""
    name = caller.name(worker)
    attempt, mailbox = caller.at_work(name)
    asks = [ask for ask in attempt.view().asks if question in (None, ask.id)]
    if not asks:
        raise DodoClaudeError(f"'{name}': asks nothing now (dodo-claude send {name} TEXT tells it something)")
    sender = caller.sender(sender)
    letter = mailbox.answer(asks[0].id, said, sender)
    drop(attempt, life.ANSWERED, id=asks[0].id, text=said, sender=sender)
    how = "it goes on" if letter is None else f"sent as message {letter}"
    return f"answered: {one_line(asks[0].text)} ({how})"


def requested(caller: Caller, worker: str) -> tuple[str, str]:
    """What `worker` asks a permission for: the request's id, and all of the call for people; '' when it asks for none."""
    attempt, _ = caller.at_work(caller.name(worker))
    request = attempt.view().request
    for event in attempt.events():
        if request and event.data.get("request") == request:
            inputs = event.data.get("tool_input")
            lines = [str(event.data.get("tool_name"))]
            for key, value in inputs.items() if isinstance(inputs, Mapping) else ():
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                lines += [f"{key}: {text}".replace("\n", "\n    ")]
            text = caller.redact.text("\n  ".join(lines))
            return request, "\n".join(one_line(row) for row in text.split("\n"))
    return "", ""


def permit(
    caller: Caller, worker: str, refusal: str | None, request: str | None = None, sender: str = USER
) -> tuple[str, str]:
    """Answer the permission that `worker` asks for: with yes, or for `refusal`, which may be empty, with no.

    `request` is the one that is meant; None: whichever it asks for now. Returns its id and what was done, in a line.
    Raises `RefusedError` when that is not asked (any more), and for a worker: none may answer itself or another.
    """
    from dodo_claude.agents.table import agent_at
    from dodo_claude.machine import processes
    from dodo_claude.machine.terminal import Pane
    from dodo_claude.state import permits
    from dodo_claude.state.mail import RefusedError

    if caller.stage is not None or processes.below_a_worker():
        raise RefusedError("a worker can't answer a request for a permission, be it its own or another's")
    if refusal is not None and len(refusal) > MAX_NOTE:
        raise RefusedError(f"the reason is longer than {MAX_NOTE} characters")
    name = caller.name(worker)
    attempt, _ = caller.at_work(name)
    view, agent = attempt.view(), agent_at(attempt.dir)
    asked = caller.redact.text(one_line((view.blocked_on or "").replace(f"{caller.root}/", "")))
    if view.state is not life.State.BLOCKED:
        raise RefusedError(f"'{name}': asks for no permission now (dodo-claude status shows who does)")
    if request is not None and request != view.request:
        raise RefusedError(f"'{name}': that request is over; now it asks for: {asked}")
    at_pane = f"(dodo-claude attach {name} to answer it there)"
    if not view.request:
        raise RefusedError(f"'{name}': {asked}: can be answered in its pane only {at_pane}")
    if refusal is None and agent.is_personal(asked.partition(" ")[0]):
        raise RefusedError(f"'{name}': {asked}: from here it can only be denied {at_pane}")
    pane = Pane(view.pane or "", "", view.pid or 0)
    tmux = project_tmux(find_config())
    # Of a yes at the pane the client tells only when the tool has ended.
    if permits.is_over(lambda: agent.input_box(tmux.capture(pane, escapes=True)) == "absent", view.since):
        raise RefusedError(f"'{name}': {asked}: was answered in its pane")
    no = "not allowed by the user; find another way" if refusal == "" else refusal
    try:
        permits.give(
            attempt, view.request, agent.verdict(no),
            allow=no is None, what=asked, text=no or "", sender=caller.sender(sender),
        )  # fmt: skip
    except RefusedError as refused:
        raise RefusedError(f"'{name}': {asked}: {refused}") from refused
    return view.request, f"{'allowed' if no is None else 'denied'}: {asked}"


def add_note(caller: Caller, said: str, sender: str = USER) -> None:
    """Add `said` to the notes that all workers share."""
    said = caller.redact.text(said).strip()
    if not said or len(said) > MAX_NOTE:
        raise DodoClaudeError(
            f"note: must have 1 to {MAX_NOTE} characters (put more into a file and name it)"
        )
    who = caller.stage or caller.sender(sender)
    path = caller.state / "notes.md"
    line = f"- {time.strftime('%Y-%m-%d %H:%M')} {one_line(who)}: {said.replace(chr(10), chr(10) + '  ')}\n"
    try:
        files.append(path, line.encode())
    except OSError as error:
        raise DodoClaudeError(f"{path}: {error.strerror} (has the project run yet?)") from error
    if caller.stage is not None:
        drop(caller.own()[0], life.NOTE, text=said)


def compact(caller: Caller, worker: str, goal: str, *, now: bool = False) -> str:
    """Let `worker` compact its context, keeping `goal` in view: when its turn ends, or `now`, which interrupts it."""
    from dodo_claude.agents.table import agent_at
    from dodo_claude.state.mail import RefusedError

    name = caller.name(worker)
    attempt, _ = caller.at_work(name)
    if not agent_at(attempt.dir).can.compact:
        raise RefusedError(f"'{name}': its agent can't compact its context")
    drop(attempt, life.COMPACT, goal=goal, now=now)
    return f"'{name}' compacts its context {'now' if now else 'when its turn ends'}"


def interrupt(caller: Caller, worker: str) -> str:
    """Press Escape in `worker`'s session; what was done, in a line. Raises `RefusedError` where that would be wrong."""
    from dodo_claude.agents.table import agent_at
    from dodo_claude.machine.terminal import Pane
    from dodo_claude.state.mail import RefusedError

    name = caller.name(worker)
    attempt, _ = caller.at_work(name)
    view = attempt.view()
    tmux, session = find_session(name)
    pane = Pane(view.pane or session, session, view.pid or 0)
    refused = ""
    if view.state is life.State.BLOCKED:
        refused = f"waits for a person at a dialog: {one_line(view.blocked_on or '')} (dodo-claude attach {name} to answer it)"
    elif view.state is not life.State.RUNNING:
        refused = f"is {view.state.value}: there is no turn to interrupt"
    elif agent_at(attempt.dir).input_box(tmux.capture(pane, escapes=True)) == "absent":
        refused = f"shows no input box, but a dialog, say (dodo-claude attach {name})"
    if refused:
        raise RefusedError(f"'{name}': {refused}")
    tmux.press(pane, "Escape")
    drop(attempt, life.INTERRUPT, sender=caller.sender(USER))
    return f"interrupted '{name}'; it waits: dodo-claude send {name} TEXT"
