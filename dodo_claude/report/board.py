"""The board of a run as lines of text: what it shows of each stage, and what of it fits a terminal. Pure.

screen.py puts it on a terminal; live_board.py knows what happened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from dodo_claude.report import status
from dodo_claude.state.events import View
from dodo_claude.text.cells import cells, clip, clock, count, dollars, fill
from dodo_claude.text.clean import clean_line
from dodo_claude.text.durations import roughly
from dodo_claude.text.states import (  # fmt: skip
    ASKS,
    AT_WORK,
    BLOCKED,
    DONE,
    FAILED,
    IDLE,
    IGNORED,
    NEEDS_A_PERSON,
    NOT_RUN,
    PAUSED,
    RUNNING,
    STOPPED,
    UP_TO_DATE,
    WAITING,
)

# A piece of a line: its text, and how it looks, in rich's words.
Piece = tuple[str, str]
Line = tuple[Piece, ...]

LOOKS: Mapping[str, str] = {
    RUNNING: "cyan", IDLE: "cyan", BLOCKED: "bold yellow", ASKS: "bold yellow", PAUSED: "magenta",
    DONE: "green", UP_TO_DATE: "dim", IGNORED: "dim", FAILED: "bold red", STOPPED: "red", NOT_RUN: "red", WAITING: "dim",
}  # fmt: skip
# The board leaves the upper half of a terminal to what was printed, but has at least so many lines.
FEWEST_LINES = 8
MOST_NAME = 24  # columns
LEAST_WHAT = 16  # columns of the last one; before it has less, tokens and cost go


@dataclass(frozen=True, slots=True)
class Told:
    """What was said of one stage so far. Times are of one clock that does not jump."""

    state: str | None = None  # of a report, once doit is done with it
    began: float | None = None
    ended: float | None = None
    tries: int = 1  # attempts in this run
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One stage."""

    name: str
    state: str
    seconds: float | None = None
    percent: int | None = None
    tokens: int = 0
    cost: float | None = None
    what: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """All of it."""

    name: str
    rows: tuple[Row, ...]  # in the graph's order
    seconds: float
    left: float | None = None  # seconds, as the past tells; None: it tells nothing
    tokens: int = 0
    cost: float | None = None
    notice: str = ""  # what holds all of them


# -- made of what was said


def in_order(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The stages so that each comes after what it needs; else as they were."""
    known, found = set(names), dict[str, None]()
    for name in names:
        stack = [name]
        while stack:
            here = stack[-1]
            # Nothing that is on its way already: a circle is for others to find.
            before = [
                need
                for need in needs.get(here, ())
                if need in known and need not in found and need not in stack
            ]
            if before:
                stack += reversed(before)
            else:
                found[stack.pop()] = None
    return list(found)


def row(
    name: str, told: Told, needs: Iterable[str], now: float, used: tuple[int, float | None] = (0, None), *, worker: bool = True,
    stopped: str = "",
) -> Row:  # fmt: skip
    """`needs`: what it still waits for. `worker`: not a plain command. `stopped`: why it is not begun, if somebody said so."""
    seconds = None if told.began is None else (told.ended or now) - told.began
    if told.state is not None:
        return Row(name, told.state, seconds, None, *used)
    waits = tuple(needs)
    if told.began is None and stopped:
        return Row(name, STOPPED, what=clean_line(stopped))
    if told.began is None:
        return Row(name, WAITING, what=f"for {', '.join(waits)}" if waits else "for a free worker")
    view = told.view
    if view is None:
        return Row(name, RUNNING, seconds, what="starts")
    if worker and view.pane is None:  # it has a thread of ours, and no worker yet
        return Row(name, WAITING, seconds, None, *used, what=clean_line(view.activity))
    state, about = status.at_work(view)
    said = view.progress if state == RUNNING else ""
    again = f"attempt {told.tries}" if told.tries > 1 else ""
    parts = map(clean_line, (about, again, said, view.activity))
    what = "  ".join(dict.fromkeys(filter(None, parts)))
    return Row(name, state, seconds, view.percent, *used, what=what)


def time_left(
    order: Sequence[str], needs: Mapping[str, Sequence[str]], told: Mapping[str, Told], past: Mapping[str, float],
    workers: int, now: float,
) -> float | None:  # fmt: skip
    """Seconds until all is done, if each stage takes what it took last time, and a new one what is usual."""
    if not past:
        return None
    usual = median(past.values())
    ends: dict[str, float] = {}
    work = 0.0
    for name in order:
        here = told.get(name, Told())
        if here.state is not None:
            continue
        spent = 0.0 if here.began is None else now - here.began
        rest = max(0.0, past.get(name, usual) - spent)
        work += rest
        ends[name] = rest + max((ends.get(need, 0.0) for need in needs.get(name, ())), default=0.0)
    return max(max(ends.values(), default=0.0), work / max(1, workers))


# -- told


def lines(board: Board, width: int, height: int) -> list[Line]:
    """At most `height` lines of at most `width` columns."""
    if width < 1 or height < 1:
        return []
    room = min(height, max(FEWEST_LINES, height // 2))
    found = [_clipped(_head(board), width)]
    if board.notice and room > 1:
        found.append(_clipped(((board.notice, "bold magenta"),), width))
    room -= len(found)
    if room <= 0:
        return found
    shown, rest = _chosen(board.rows, room)
    found += _table(shown, width)
    if rest:
        found.append(_clipped((("… ", "dim"), (_counts(rest), "dim")), width))
    return found


def _head(board: Board) -> Line:
    states = [row.state for row in board.rows]
    over = sum(state in (DONE, UP_TO_DATE, IGNORED) for state in states)
    parts: list[Piece] = [(board.name, "bold"), (f"{over} of {len(states)} done", "")]
    parts += [
        (f"{number} {words}", look)
        for number, words, look in (
            (sum(state in AT_WORK for state in states), "at work", "cyan"),
            (sum(state in NEEDS_A_PERSON for state in states), "for you", "bold yellow"),
            (sum(state == FAILED for state in states), "failed", "bold red"),
        )
        if number
    ]
    parts.append((clock(board.seconds), ""))
    if board.left is not None and board.left >= 1:
        parts.append((f"about {roughly(board.left)} left", ""))
    if board.tokens:
        parts.append((f"{count(board.tokens)} tokens", ""))
    if board.cost is not None:
        parts.append((dollars(board.cost), ""))
    between: Piece = (" · ", "dim")
    return (("── ", "dim"), *[piece for part in parts for piece in (between, part)][1:])


def _chosen(rows: Sequence[Row], room: int) -> tuple[list[Row], list[Row]]:
    """The rows to show, in their order, and those that are told in one line, for which there is room then."""
    if len(rows) <= room:
        return list(rows), []
    room -= 1
    # Who needs a person first, then who works, then what failed.
    ranks = {**dict.fromkeys(AT_WORK, 1), **dict.fromkeys(NEEDS_A_PERSON, 0), FAILED: 2}
    wanted = [
        number
        for number, row in enumerate(rows)
        if row.state in ranks or (row.seconds and row.state == WAITING)
    ]
    best = sorted(wanted, key=lambda number: ranks.get(rows[number].state, 3))[:room]
    kept = set(best)
    return [rows[number] for number in sorted(kept)], [
        row for number, row in enumerate(rows) if number not in kept
    ]


def _counts(rows: Collection[Row]) -> str:
    states = [row.state for row in rows]
    order = dict.fromkeys((*AT_WORK, FAILED, STOPPED, NOT_RUN, WAITING, DONE, UP_TO_DATE, IGNORED))
    return ", ".join(f"{states.count(state)} {state}" for state in order if state in states)


def _table(rows: Sequence[Row], width: int) -> list[Line]:
    names = min(MOST_NAME, max((cells(row.name) for row in rows), default=0), max(8, width // 3))
    states = max((len(row.state) for row in rows), default=0)
    columns: list[tuple[int, list[str]]] = [
        (7, ["" if row.seconds is None else clock(row.seconds) for row in rows]),
        (4, ["" if row.percent is None else f"{row.percent}%" for row in rows]),
        (5, [count(row.tokens) if row.tokens else "" for row in rows]),
        (7, [dollars(row.cost) for row in rows]),
    ]
    used = [(wide, texts) for wide, texts in columns if any(texts)]
    taken = names + 2 + states
    while used and taken + sum(wide + 1 for wide, _ in used) + 2 + LEAST_WHAT > width:
        used.pop()
    found = []
    for number, row in enumerate(rows):
        look = LOOKS.get(row.state, "")
        numbers = "".join(f" {texts[number]:>{wide}}" for wide, texts in used)
        quiet = "dim" if row.state in (WAITING, UP_TO_DATE, IGNORED) else ""
        line = (
            (fill(row.name, names), quiet), ("  ", ""), (fill(row.state, states), look), (numbers, quiet),
            (f"  {row.what}" if row.what else "", "yellow" if row.state in NEEDS_A_PERSON else quiet),
        )  # fmt: skip
        found.append(_clipped(line, width))
    return found


def cut(line: Iterable[Piece], width: int) -> Line:
    """At most so many columns of a line."""
    found: list[Piece] = []
    for text, look in line:
        fits = clip(text, width)
        if fits:
            found.append((fits, look))
        width -= cells(fits)
        if fits != text:
            break
    return tuple(found)


def _clipped(line: Line, width: int) -> Line:
    found = list(cut(line, width))
    if found:  # blanks at its end say nothing, and would wrap when the terminal shrinks
        found[-1] = (found[-1][0].rstrip(), found[-1][1])
    return tuple(piece for piece in found if piece[0])
