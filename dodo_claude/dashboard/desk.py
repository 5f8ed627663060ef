"""What the dashboard shows, as lines of text: the graph of the stages, their head, their tabs. Pure.

following.py knows how the stages are, dashboard.py puts the lines on a terminal. Rule this file keeps: a text from
elsewhere is cleaned before it is a piece of a line, and nothing in a piece is ever read as markup.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dodo_claude.report import board, status
from dodo_claude.report.board import Line, Piece, cut
from dodo_claude.report.details import Change, Details, Excerpt
from dodo_claude.report.status import RunStatus, StageStatus
from dodo_claude.state.bus import telling
from dodo_claude.state.events import Event, View
from dodo_claude.text.cells import cells, clip, clock, count, dollars, fill
from dodo_claude.text.clean import clean_line, clean_text
from dodo_claude.text.redact import NOTHING, Redactor
from dodo_claude.text.states import (  # fmt: skip
    AT_WORK,
    BLOCKED,
    DONE,
    FAILED,
    MARKS,
    NEEDS_A_PERSON,
    NOT_RUN,
    PAUSED,
    RUNNING,
    STOPPED,
    WAITING,
)

LOOKS: Mapping[str, str] = {**board.LOOKS, NOT_RUN: "dim"}
# What `retry` is for.
LEFT = (FAILED, STOPPED, NOT_RUN)
TABS = ("screen", "events", "prompt", "files", "check", "messages")
# Levels of the graph that are indented; deeper ones stand below the last.
MOST_LEVELS = 6
# Columns of the list from which on it has more of them.
WITH_TOKENS, WITH_WHAT = 52, 78
# Of the list itself: a third of a wide terminal, and at least so many.
LEAST_LIST, MOST_LIST = 34, 84
# Below so many columns only one of list and tabs is shown.
NARROW = 60
LONGEST_TEXT = 300  # characters of an event's text


@dataclass(frozen=True, slots=True)
class Desk:
    """A project at one moment. Stages are in the graph's order; times are of the wall clock."""

    name: str
    run: RunStatus
    stages: Mapping[str, StageStatus]
    needs: Mapping[str, tuple[str, ...]]
    started: float = 0.0  # of the run; 0: there was none
    ended: float | None = None
    notice: str = ""  # what holds all of them, or what is wrong with orchestrate.toml


EMPTY = Desk("", RunStatus(None, False, None, None, None, None), {}, {})


# -- how a stage is


def lived(stage: StageStatus, view: View, more: float = 0.0, tokens: int = 0, cost: float | None = None) -> StageStatus:  # fmt: skip
    """`stage`, as its worker is by now. `more`: seconds, tokens and dollars since it was looked at."""
    state, about = status.at_work(view)
    return replace(
        stage,
        state=state,
        about=clean_line(about),
        request=(view.request or None) if state == BLOCKED else None,
        activity=clean_line(view.activity),
        percent=view.percent,
        progress=clean_line(view.progress),
        seconds=stage.seconds + more,
        tokens=stage.tokens + tokens,
        cost_usd=stage.cost_usd if cost is None else (stage.cost_usd or 0.0) + cost,
        silent=status.silent(view) if state == RUNNING else None,
    )


def with_waits(desk: Desk) -> Desk:
    """What has not begun waits for those of its needs that are not done."""
    over = {name for name, stage in desk.stages.items() if stage.state == DONE}
    found = dict(desk.stages)
    for name, stage in desk.stages.items():
        if stage.state in (WAITING, NOT_RUN):
            waits = tuple(need for need in desk.needs.get(name, ()) if need in found and need not in over)
            if waits != stage.waits_for:
                found[name] = replace(stage, waits_for=waits)
    return replace(desk, stages=found)


def levels(order: Sequence[str], needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How deep in the graph each is: one more than the deepest of its needs. `order`: each after its needs."""
    found: dict[str, int] = {}
    for name in order:
        found[name] = max((found[need] + 1 for need in needs.get(name, ()) if need in found), default=0)
    return found


def matching(desk: Desk, words: str) -> list[str]:
    """The stages of a filter: each word is in its name, or is its state."""
    wanted = words.lower().split()
    return [
        name
        for name, stage in desk.stages.items()
        if all(word in name.lower() or word == stage.state or word == (stage.group or "").lower() for word in wanted)
    ]  # fmt: skip


def next_for_a_person(desk: Desk, shown: Sequence[str], chosen: str | None) -> str | None:
    """The next stage after `chosen`, round and round, that waits for a person; failed ones count when none does."""
    at = shown.index(chosen) + 1 if chosen in shown else 0
    turned = [*shown[at:], *shown[:at]]
    for states in (NEEDS_A_PERSON, (FAILED,)):
        for name in turned:
            if desk.stages[name].state in states:
                return name
    return None


def first_to_see(desk: Desk, shown: Sequence[str]) -> str | None:
    """Who is chosen when nobody was: who waits for a person, who works, what failed, the first."""
    for states in (NEEDS_A_PERSON, AT_WORK, (FAILED,)):
        for name in shown:
            if desk.stages[name].state in states:
                return name
    return shown[0] if shown else None


# -- the head


def head(desk: Desk, now: float, width: int) -> list[Line]:
    """How the run is: one line, and a second one when something holds all."""
    rows = tuple(board.Row(stage.name, stage.state) for stage in desk.stages.values())
    end = (now if desk.run.live else desk.ended) or desk.started
    shown = board.Board(
        name=desk.name,
        rows=rows,
        seconds=max(0.0, end - desk.started) if desk.started else 0.0,
        tokens=sum(stage.tokens for stage in desk.stages.values()),
        cost=_cost(desk.stages.values()),
    )
    (line,) = board.lines(shown, 10_000, 1)
    word: Piece = ("runs", "bold cyan") if desk.run.live else ("no run", "dim")
    found = [cut((*line, (" · ", "dim"), word), width)]
    if desk.notice:
        found.append(cut(((clean_line(desk.notice), "bold magenta"),), width))
    return found


def _cost(stages: Iterable[StageStatus]) -> float | None:
    known = [stage.cost_usd for stage in stages if stage.cost_usd is not None]
    return sum(known) if known else None


# -- the graph


def edges(shown: Sequence[str], needs: Mapping[str, Sequence[str]], chosen: str | None) -> list[str]:
    """Of each row what is drawn before it: lines from what the chosen stage needs, and to what needs it."""
    found = ["  "] * len(shown)
    if chosen is None or chosen not in shown:
        return found
    here = shown.index(chosen)
    before = {number for number, name in enumerate(shown[:here]) if name in needs.get(chosen, ())}
    after = {number for number in range(here + 1, len(shown)) if chosen in needs.get(shown[number], ())}
    top, end = min(before, default=here), max(after, default=here)
    for number in range(top, end + 1):
        ends = number in (top, end)
        if number == here:
            found[number] = "▶ " if top == end else "╭▶" if here == top else "╰▶" if here == end else "├▶"
        elif number in before or number in after:
            found[number] = ("╭─" if number == top else "╰─") if ends else "├─"
        else:
            found[number] = "│ "
    return found


def row(stage: StageStatus, level: int, edge: str, width: int, *, is_chosen: bool = False) -> Line:
    """A stage in the list, in exactly so many columns."""
    look = LOOKS.get(stage.state, "")
    quiet = "dim" if stage.state in (WAITING, NOT_RUN) else ""
    step = 2 if width >= WITH_TOKENS else 1
    indent = " " * (step * min(level, MOST_LEVELS))
    wide = width >= WITH_TOKENS
    done = "" if stage.percent is None or stage.state not in AT_WORK else f"{stage.percent}%"
    numbers = [fill_left(done, 4)] if wide or done else []
    numbers.append(fill_left(clock(stage.seconds) if stage.seconds else "", 7 if wide else 0))
    if wide:
        numbers.append(fill_left(count(stage.tokens) if stage.tokens else "", 5))
        numbers.append(fill_left(dollars(stage.cost_usd), 6))
    said = what(stage)
    # What is to be said counts more than numbers where there is no room for both.
    telling = bool(said) and (stage.state in (WAITING, NOT_RUN, *NEEDS_A_PERSON, PAUSED) or not stage.seconds)
    tail = " ".join(numbers) if width >= WITH_WHAT or not telling else ""
    start = edge + indent
    room = width - cells(start) - 2 - (cells(tail) + 1 if tail else 0)
    if width >= WITH_WHAT:
        name = fill(stage.name, min(room, max(16, width // 3) - len(indent)))
    else:
        name = clip(stage.name, room) if telling else fill(stage.name, room)
    line: list[Piece] = [(edge, "cyan"), (indent, ""), (MARKS.get(stage.state, " "), look), (" ", "")]
    line.append((name, "bold" if is_chosen else quiet))
    if tail:
        line.append((f" {tail}", quiet))
    if said and (telling or width >= WITH_WHAT):
        line.append((f"  {said}", "yellow" if stage.state in NEEDS_A_PERSON else "dim"))
    whole = cut(line, width)
    left = width - sum(cells(text) for text, _ in whole)
    return (*whole, (" " * left, "")) if left else whole


def what(stage: StageStatus) -> str:
    """What there is to say about a stage, in a line."""
    if stage.state in (WAITING, NOT_RUN) and stage.waits_for:
        return f"← {', '.join(stage.waits_for)}"
    return "  ".join(status.said(stage))


def fill_left(text: str, columns: int) -> str:
    return " " * (columns - cells(text)) + text


def title(stage: StageStatus | None, width: int) -> list[Line]:
    """Two lines about the chosen stage, above its tabs."""
    if stage is None:
        return [(("no stage", "dim"),), ()]
    first: list[Piece] = [
        (f"{MARKS.get(stage.state, ' ')} ", LOOKS.get(stage.state, "")),
        (stage.name, "bold"),
        (f"  {stage.state}", LOOKS.get(stage.state, "")),
    ]
    used = [
        f"attempt {stage.attempt}" if stage.attempt else "",
        clock(stage.seconds) if stage.seconds else "",
        f"{count(stage.tokens)} tokens" if stage.tokens else "",
        dollars(stage.cost_usd),
        stage.agent or "command",
        {"running": "in tmux", "ended": "in tmux, ended"}.get(stage.in_tmux or "", ""),
    ]
    numbers: Piece = (f"  {' · '.join(filter(None, used))}", "dim")
    said = what(stage)
    if not said:
        return [cut(first, width), cut((numbers,), width)]
    look = "bold yellow" if stage.state in NEEDS_A_PERSON else "red" if stage.state == FAILED else ""
    return [cut((*first, numbers), width), cut(((f"  {said}", look),), width)]


def tab_bar(chosen: str, width: int) -> tuple[Line, list[tuple[int, int, str]]]:
    """The names of the tabs, and of each from which column to which it stands."""
    wide = sum(len(name) + 4 for name in TABS) <= width
    line: list[Piece] = []
    places, at = [], 0
    for number, name in enumerate(TABS, 1):
        text = f" {number} {name} " if wide else f" {name}"
        line.append((text, "bold reverse" if name == chosen else "dim"))
        places.append((at, at + len(text), name))
        at += len(text)
    return cut(line, width), places


# -- the tabs


def event_line(event: Event, root: str = "", *, wide: bool = True, redact: Redactor = NOTHING) -> Line:
    """An event in one line: when, what, and what of it says most."""
    stamp = time.strftime("%H:%M:%S", time.localtime(event.at)) if 0 <= event.at < 1e11 else "        "
    look = "bold" if event.kind[:1].islower() else "cyan"
    text = redact.text(telling(event)[: 4 * LONGEST_TEXT])
    text = clean_line(text.replace(root, "") if root else text)
    kind = fill(clean_line(event.kind), 18 if wide else 13)
    return ((f"{stamp} ", "dim"), (f"{kind} ", look), (text[:LONGEST_TEXT], ""))


def prompt(told: Details | None) -> list[Line]:
    if told is None or not told.prompts:
        return _none("no prompt was written yet")
    found: list[Line] = []
    for name, excerpt in told.prompts:
        found += [*([()] if found else []), ((name, "bold"),), *_text(excerpt)]
    return found


def files(targets: Sequence[tuple[str, int | None]], told: Details | None) -> list[Line]:
    """The targets (path, and size if it is there), then what changed in them."""
    found: list[Line] = []
    for path, size in targets:
        mark: Piece = ("✓ ", "green") if size else ("· ", "dim")
        found.append((mark, (clean_line(path), ""), (f"  {size:,} bytes" if size is not None else "  not there", "dim")))  # fmt: skip
    for change in told.changes if told is not None else ():
        found += [(), *_change(change)]
    if told is not None and told.files_left_out:
        found += [(), ((f"… {told.files_left_out} more files", "dim"),)]
    return found or _none("it makes no files that are known by name")


def _change(change: Change) -> list[Line]:
    found: list[Line] = [((f"{change.path}: ", "bold"), (change.change, "bold"))]
    if change.why:
        return [*found, ((f"  {change.why}", "dim"),)]
    for text in change.lines:
        text = _fitting(text)
        look = "green"
        if change.is_diff:
            look = {"+": "green", "-": "red", "@": "cyan"}.get(text[:1], "")
        found.append((("" if change.is_diff else "+", look), (text, look)))
    if change.left_out:
        found.append(((f"… {change.left_out} more lines", "dim"),))
    return found


def check(checks: Sequence[str], told: Details | None, reason: str = "") -> list[Line]:
    """The commands that judge, or do, the stage, and what was said at the last time."""
    found: list[Line] = [(("$ ", "dim"), (clean_line(command), "bold")) for command in checks]
    if reason:
        found += [(), ((clean_line(reason), "red"),)]
    if told is not None and told.output.text.strip():
        found += [(), *_text(told.output)]
    elif found:
        found += [(), (("no output was kept", "dim"),)]
    return found or _none("nothing checks it but its targets")


def messages(told: Details | None) -> list[Line]:
    """All that was said: by the worker, to it, about it."""
    found: list[Line] = []
    for remark in told.remarks if told is not None else ():
        stamp = time.strftime("%H:%M:%S", time.localtime(remark.at))
        found += [
            *([()] if found else []),
            ((f"{stamp} ", "dim"), (remark.who, "bold cyan"), (f" {remark.what}", "dim")),
            *_text(remark.text),
        ]
    if told is not None and told.message.text.strip():
        found += [*([()] if found else []), (("its last message", "bold"),), *_text(told.message)]
    return found or _none("nothing was said yet")


def _text(excerpt: Excerpt) -> list[Line]:
    found: list[Line] = [((_fitting(line), ""),) for line in clean_text(excerpt.text).split("\n")]
    if excerpt.left_out:
        found.append(((f"… {excerpt.left_out} more characters", "dim"),))
    return found


def _fitting(line: str) -> str:
    """A line as it stands, in columns."""
    return clean_text(line).replace("\n", " ").expandtabs(4)


def _none(text: str) -> list[Line]:
    return [((text, "dim"),)]


# -- the keys


# -- lines


def wrapped(lines: Iterable[Line], width: int) -> list[Line]:
    """The lines with those broken that have more columns; a break is where a word ends, if one does."""
    found: list[Line] = []
    for line in lines:
        while sum(cells(text) for text, _ in line) > width > 0:
            kept, line = _broken(line, width)
            found.append(kept)
        found.append(line)
    return found


def _broken(line: Line, width: int) -> tuple[Line, Line]:
    """The first `width` columns, and the rest."""
    kept: list[Piece] = []
    for number, (text, look) in enumerate(line):
        if cells(text) <= width:
            kept.append((text, look))
            width -= cells(text)
            continue
        at = 0
        for char in text:
            width -= cells(char)
            if width < 0:
                break
            at += 1
        if not at and not kept:
            at = 1  # a wide character in a narrow place: it must get somewhere
        blank = text.rfind(" ", 0, at + 1)
        if blank > at // 2:
            return (*kept, (text[:blank], look)), ((text[blank + 1 :], look), *line[number + 1 :])
        return (*kept, (text[:at], look)), ((text[at:], look), *line[number + 1 :])
    return tuple(kept), ()


def list_width(width: int) -> int:
    """Columns of the list beside the tabs."""
    return max(LEAST_LIST, min(MOST_LIST, width * 2 // 5))
