"""The dashboard's keys in words: which are of use now, and what each does. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dodo_claude.dashboard.desk import LEFT, wrapped
from dodo_claude.report.board import Line, Piece, cut
from dodo_claude.report.status import StageStatus
from dodo_claude.text.states import (  # fmt: skip
    ASKS,
    AT_WORK,
    WAITING,
)

Key = tuple[str, str]


# Every key and what it does, for the help; the foot has those that are of use now.
HELP: Sequence[tuple[str, str]] = (
    ("↑ ↓ k j", "choose a stage; home, end: the first, the last"),
    ("w", "the next stage that waits for you, or failed"),
    ("/", "only stages with these words in their names, or a state; escape: all"),
    ("1 … 6  ← →", "screen, events, prompt, files, check, messages"),
    ("pgup pgdn", "scroll what stands there; < >: sideways"),
    ("z", "the right side alone, and back"),
    ("enter a", "attach: its own session; Ctrl-b d comes back, on its own tmux server Ctrl-b L"),
    ("m", "send the worker a message"),
    ("r", "answer what it asks"),
    ("y n", "allow, or deny, what it asks for in a dialog"),
    ("i", "interrupt its turn; it waits for your word then"),
    ("c", "let it compact its context"),
    ("x", "stop it, after a question"),
    ("t", "run again what failed or was not run; T: all that is left"),
    ("?", "this help"),
    ("q", "leave; runs and workers go on"),
)


def help_lines(width: int) -> list[Line]:
    """All keys, and what each does."""
    found: list[Line] = []
    for names, text in HELP:
        for number, line in enumerate(wrapped([((text, ""),)], max(10, width - 13))):
            found.append(((f"{'' if number else names:<13}", "bold cyan"), *line))
    return found


def stops(stage: StageStatus, *, live: bool) -> bool:
    """Is there something of it to stop: at work, to come in a run in progress, or a session that is kept?"""
    return bool(stage.in_tmux or stage.state in AT_WORK or (live and stage.state == WAITING))


def keys(
    stage: StageStatus | None, *, live: bool, attaches: bool, filtered: bool, shows_only: bool = False
) -> list[Key]:  # fmt: skip
    """The keys that are of use now, the most telling first."""
    found: list[Key] = []
    if stage is not None and not shows_only:
        works = stage.state in AT_WORK
        if stage.state == ASKS:
            found.append(("r", "answer"))
        if stage.request is not None:
            found += [("y", "allow"), ("n", "deny")]
        if attaches and stage.in_tmux:
            found.append(("a", "attach"))
        if works and stage.agent is not None:
            found += [("m", "message"), ("i", "interrupt"), ("c", "compact")]
        if stops(stage, live=live):
            found.append(("x", "stop"))
        if stage.state in LEFT and not live:
            found += [("t", "try again"), ("T", "run all")]
    found += [("esc", "all")] if filtered else []
    return [
        *found,
        ("w", "for you"),
        ("1-6", "tabs"),
        ("/", "filter"),
        ("z", "zoom"),
        ("?", "help"),
        ("q", "quit"),
    ]


def foot(found: Sequence[Key], width: int) -> tuple[Line, list[tuple[int, int, str]]]:
    """The keys in a line, and where each stands. Help and the way out are always there."""
    always = [key for key in found if key[0] in "?q"]
    rest = [key for key in found if key not in always]
    while rest and sum(len(key) + len(name) + 3 for key, name in (*rest, *always)) > width:
        rest.pop()
    line: list[Piece] = []
    places, at = [], 0
    for key, name in (*rest, *always):
        line += [(f" {key} ", "bold reverse"), (f"{name} ", "")]
        long = len(key) + len(name) + 3
        places.append((at, at + long, key))
        at += long
    return cut(line, width), places
