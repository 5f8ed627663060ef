"""A report in words: as text that fits a terminal, and as Markdown.

Rule this file keeps: what a worker or a program wrote is data. In Markdown it means itself, escaped or in a fence that
nothing in it can end.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dodo_claude.machine.files import write_atomic
from dodo_claude.report.record import (
    FAILED,
    SETTLED,
    WAITING,
    CheckReport,
    FileReport,
    GroupReport,
    RunReport,
    StageReport,
    Totals,
    counted,
    to_json,
)
from dodo_claude.text.cells import cells
from dodo_claude.text.clean import clean_line
from dodo_claude.text.durations import in_words
from dodo_claude.text.numbers import grouped
from dodo_claude.text.states import UP_TO_DATE

WIDTH = 80  # columns of the terminal's text
# A message may have 100,000 characters: that of many stages must fit a person, or a prompt.
LONGEST_MESSAGE = 4_000  # in Markdown
PROMPT_MESSAGES = 80_000  # of all stages, in a prompt
SHORTEST_MESSAGE = 300
SHOWN_LINES, SHOWN_CHARACTERS = 4, 300  # of a message in the terminal's text
SHOWN_MESSAGES = 5  # to a worker, in the terminal's text
SHOWN_UNDECLARED = 5  # files in the terminal's text
SHOWN_OVERWRITTEN = 5  # files; the JSON has all
OUTPUT_LINES = 8  # of a failed check's output
# A group with more stages is told by what is left of it.
SHOWN_MEMBERS = 12


def write(folder: Path, told: RunReport) -> Path:
    """Write report.json and report.md into a run's folder; the path of the latter."""
    write_atomic(folder / "report.json", to_json(told))
    write_atomic(folder / "report.md", markdown(told))
    return folder / "report.md"


def _cut(text: str, most: int) -> str:
    """`text`, of which the middle is left out if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    left = len(text) - most
    return f"{text[: most // 2]}\n[… {left} of {len(text)} characters are left out here …]\n{text[len(text) - (most - most // 2) :]}"


# -- words that the renderings share


def many(count: int, noun: str) -> str:
    return f"{grouped(count)} {noun}{'' if count == 1 else 's'}"


def states_of(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in states.items())


def moment(at: float) -> str:
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    return "at an unknown time"


def usage_of(seconds: float, tokens: int, cost: float | None) -> list[str]:
    found = [in_words(seconds)] if seconds else []
    found += [f"{grouped(tokens)} tokens"] if tokens else []
    return [*found, *([f"{cost:.2f} USD"] if cost is not None else [])]


def facts_of(stage: StageReport) -> str:
    """'42 s, 2 attempts, 1 repair, 12 300 tokens, 0.12 USD'"""
    found = usage_of(stage.seconds, stage.tokens, stage.cost_usd)
    if stage.repairs:
        found.insert(1 if stage.seconds else 0, many(stage.repairs, "repair"))
    if len(stage.attempts) > 1:
        found.insert(1 if stage.seconds else 0, many(len(stage.attempts), "attempt"))
    return ", ".join(found)


def change_of(file: FileReport) -> str:
    """'new, 86 lines', 'changed, +12 -3', 'new, 2 048 bytes'"""
    size = many(file.bytes, "byte") if file.lines is None else many(file.lines, "line")
    counts = file.added is not None and file.change in ("changed", "set aside")
    more = f", +{grouped(file.added or 0)} -{grouped(file.removed or 0)}" if counts else ""
    return f"{file.change}, {size}{more}"


def besides(stage: StageReport, most: int) -> str:
    """'besides its targets: notes.md, build/x (or c)'; of more than `most` the number."""
    shown = [
        f"{file.path}{'' if file.known or not file.beside else f' (or {_names(file.beside)})'}"
        for file in stage.undeclared[:most]
    ]
    more = len(stage.undeclared) - len(shown)
    return f"besides its targets: {', '.join(shown)}{f' and {more} more' if more > 0 else ''}"


def _names(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def overwritten(told: RunReport) -> list[str]:
    """What was overwritten, a line each, of very many the first: all may be done, and the run did not exit 0 all the same."""
    lines = [
        f"overwritten, so the run did not exit 0: {each.stage}: {each.text}"
        for each in told.overwritten[:SHOWN_OVERWRITTEN]
    ]
    more = len(told.overwritten) - len(lines)
    return [*lines, f"overwritten: {many(more, 'more file')}"] if more > 0 else lines


def course_of(told: RunReport) -> str:
    word = {"ended": "took", "running": "has run for", "cut off": "was cut off after"}.get(told.state, "took")
    return f"started {moment(told.started)}, {word} {in_words(told.seconds)}"


def sums_of(totals: Totals) -> str:
    """'workers 5 min in 7 attempts, 12 300 tokens, 0.12 USD; 4 files made or changed, +310 -12 lines'"""
    used = ", ".join(usage_of(0, totals.tokens, totals.cost_usd))
    text = f"workers {in_words(totals.seconds)} in {many(totals.attempts, 'attempt')}"
    text += f", {used}" if used else ""
    if totals.files:
        text += f"; {many(totals.files, 'file')} made or changed, +{totals.added} -{totals.removed} lines"
    return text


def verdict_of(check: CheckReport, stage: StageReport) -> str:
    since = " (up to date)" if stage.state == UP_TO_DATE and check.result == "passed" else ""
    return f"{check.kind} {check.result}{since}"


# -- for a terminal


def text(told: RunReport) -> str:
    """The report in at most 80 columns."""
    out: list[str] = []
    out += _fill(f"{told.name}: {many(len(told.stages), 'stage')}: {states_of(told.totals.states)}")
    out += _fill(f"run {told.run}: {course_of(told)}")
    out += _fill(sums_of(told.totals))
    if told.totals.checks:
        out += _fill(f"checks and commands: {states_of(told.totals.checks)}")
    if told.stopped:
        out += _fill(f"stopped: {told.stopped}")
    for line in overwritten(told):
        out += _fill(line, 0, 2)
    out.append("")
    width = min(max((cells(stage.name) for stage in told.stages), default=0), 30)
    groups = {group.name: group for group in told.groups}
    large = {group.name for group in told.groups if len(group.stages) > SHOWN_MEMBERS}
    for stage in told.stages:
        group = groups.pop(stage.group or "", None)
        if group is not None:
            facts = ", ".join(
                [states_of(group.states), *usage_of(group.seconds, group.tokens, group.cost_usd)]
            )
            out += _fill(f"{group.name}: {many(len(group.stages), 'stage')}: {facts}")
        if stage.group not in large or stage.state not in SETTLED:
            out += _stage_lines(stage, width)
    if told.left:
        out += ["", "left:"]
        for left in told.left:
            out += _fill(f"{left.stage}: {left.why}", 2, 4)
        if told.state != "running":
            out += _fill("doit orchestrate goes on with what is left")
    return "\n".join(out).rstrip("\n") + "\n"


def _stage_lines(stage: StageReport, width: int) -> list[str]:
    name = clean_line(stage.name)
    pad = " " * max(0, width - cells(name))
    state = stage.state.upper() if stage.state == FAILED else stage.state
    facts = facts_of(stage)
    needs = f"{'for' if stage.state == WAITING else 'needs'} {', '.join(stage.waits_for)}"
    facts = ", ".join(filter(None, (facts, needs if stage.waits_for else "")))
    out = _fill(f"{name}{pad}  {state:<10}  {facts}".rstrip(), 0, 4, keep=True)
    for each in stage.attempts[:-1]:
        if each.why:
            out += _fill(f"attempt {each.number} {each.result}: {each.why}", 4, 6)
    # What a failed check's line says below is not said twice.
    if stage.reason and not stage.waits_for and not any(check.result == FAILED for check in stage.checks):
        out += _fill(stage.reason, 4)
    for file in stage.files:
        out += _fill(f"{file.path}: {change_of(file)}", 4, 6)
        if file.kept:
            out += _fill(f"kept in {file.kept}", 6)
    if stage.undeclared:
        out += _fill(besides(stage, SHOWN_UNDECLARED), 4, 6)
    for check in stage.checks if stage.attempts else ():
        out += _fill(f"{verdict_of(check, stage)}: {check.command}", 4, 6)
        for line in check.output.splitlines()[-OUTPUT_LINES:]:
            out += _fill(line, 8)
    for said in stage.messages[:SHOWN_MESSAGES]:
        out += _fill(f"{said.sender} said to it: {_cut_line(said.text)}", 4, 6)
    if len(stage.messages) > SHOWN_MESSAGES:
        out += _fill(f"and {many(len(stage.messages) - SHOWN_MESSAGES, 'more message')} to it", 4)
    if stage.message and stage.attempts:
        out += _said_lines(stage)
    return out


def _cut_line(text: str) -> str:
    line = clean_line(text)
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"


def _said_lines(stage: StageReport) -> list[str]:
    lines = [line for line in stage.message.splitlines() if line.strip()]
    said = "\n".join(lines[:SHOWN_LINES])
    more = len(said) > SHOWN_CHARACTERS or len(lines) > SHOWN_LINES
    out = ["    says:"]
    for line in said[:SHOWN_CHARACTERS].splitlines():
        out += _fill(line, 6)
    return out + (_fill(f"… (dodo-claude log {stage.name})", 6) if more else [])


def _fill(text: str, indent: int = 0, further: int | None = None, *, keep: bool = False) -> list[str]:
    """`text` in lines of at most `WIDTH` columns; a word that is longer is cut. `keep`: its blanks stay."""
    text = text.expandtabs(4)
    words = re.findall(r" *[^ ]+", text) if keep else [f" {word}" for word in text.split()]
    starts = (" " * indent, " " * (indent if further is None else further))
    lines: list[str] = []
    line = ""
    for word in words:
        if line and cells(line) + cells(word) > WIDTH - len(starts[bool(lines)]):
            lines.append(starts[bool(lines)] + line)
            line = ""
        line += word if line or (keep and not lines and not line) else word.lstrip(" ")
        while cells(line) > WIDTH - len(starts[bool(lines)]):
            first = head(line, WIDTH - len(starts[bool(lines)]))
            lines.append(starts[bool(lines)] + first)
            line = line[len(first) :]
    return [*lines, starts[bool(lines)] + line] if line else lines


def head(text: str, columns: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += cells(char)
        if used > columns:
            return text[:index]
    return text


# -- as Markdown


def markdown(told: RunReport) -> str:
    """The report as a document that stands alone."""
    lines = [
        f"# {_escaped(told.name)}: report of run {_escaped(told.run)}",
        "",
        f"{many(len(told.stages), 'stage')}: {states_of(told.totals.states)}. {course_of(told).capitalize()}; "
        f"{sums_of(told.totals)}.",
    ]
    if told.stopped:
        lines += ["", f"Stopped: {_escaped(told.stopped)}"]
    for line in overwritten(told):
        lines += ["", _escaped(line[:1].upper() + line[1:])]
    lines += _table(told.stages, told.groups)
    lines += _build_and_tests(told.stages, told.totals.checks)
    lines += ["", "## What is left", ""]
    lines += [f"- {_escaped(left.stage)}: {_escaped(left.why)}" for left in told.left] or ["Nothing."]
    for stage in told.stages:
        if stage.attempts or stage.state == FAILED:
            lines += _section(stage, LONGEST_MESSAGE)
    return "\n".join(lines) + "\n"


def stages_markdown(stages: Sequence[StageReport]) -> str:
    """What a prompt is told of the stages before it: no run, no time of day."""
    most = max(SHORTEST_MESSAGE, min(LONGEST_MESSAGE, PROMPT_MESSAGES // max(1, len(stages))))
    lines = ["# Report of the stages before", "", *_table(stages, ())[1:]]
    lines += _build_and_tests(stages, counted(check.result for stage in stages for check in stage.checks))
    for stage in stages:
        lines += _section(stage, most)
    return "\n".join(lines) + "\n"


def _table(stages: Sequence[StageReport], groups: Sequence[GroupReport]) -> list[str]:
    lines = [
        "",
        "| stage | state | time | attempts | repairs | tokens | USD |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    waiting = {group.name: group for group in groups}

    def row(*cells: str) -> str:
        return f"| {' | '.join(cells)} |"

    for stage in stages:
        group = waiting.pop(stage.group or "", None)
        if group is not None:
            used = (in_words(group.seconds), "", "", grouped(group.tokens), _money(group.cost_usd))
            lines.append(row(f"**{_escaped(group.name)}**", states_of(group.states), *used))
        tries = (str(len(stage.attempts)), str(stage.repairs))
        used = (in_words(stage.seconds), *tries, grouped(stage.tokens), _money(stage.cost_usd))
        lines.append(row(_escaped(stage.name), stage.state, *(used if stage.attempts else [""] * 5)))
    return lines


def _money(cost: float | None) -> str:
    return "" if cost is None else f"{cost:.2f}"


def _build_and_tests(stages: Sequence[StageReport], counts: Mapping[str, int]) -> list[str]:
    lines = ["", "## Build and tests", ""]
    told = [
        f"- {_escaped(stage.name)}: {verdict_of(check, stage)}: {_code(check.command)}"
        for stage in stages
        for check in stage.checks
    ]
    return [*lines, f"{states_of(counts)}.", "", *told] if told else [*lines, "No stage has a check."]


def _section(stage: StageReport, most: int) -> list[str]:
    facts = ", ".join(filter(None, (f"by {_escaped(stage.agent)}" if stage.agent else "", facts_of(stage))))
    lines = ["", f"## {_escaped(stage.name)}", "", f"{stage.state}{f' ({facts})' if facts else ''}"]
    if stage.reason:
        lines[-1] += f": {_escaped(stage.reason)}"
    if len(stage.attempts) > 1 or (stage.attempts and stage.state not in SETTLED):
        lines.append("")
        for each in stage.attempts:
            cause = f": {_escaped(each.why)}" if each.why else ""
            lines.append(
                f"- attempt {each.number} {each.result} after {in_words(each.seconds)}{cause} ({_code(each.folder)})"
            )
    if stage.files:
        lines += ["", "Files:", ""]
        for file in stage.files:
            kept = f", kept in {_code(file.kept)}" if file.kept else ""
            lines.append(f"- {_code(file.path)}: {change_of(file)}{kept}")
    if stage.undeclared:
        lines += ["", "Besides its targets it changed, or may have:", ""]
        for other in stage.undeclared:
            beside = "" if other.known or not other.beside else f" (or {_escaped(_names(other.beside))})"
            lines.append(f"- {_code(other.path)}{beside}")
    for check in stage.checks:
        if check.output:
            tail = "\n".join(check.output.splitlines()[-4 * OUTPUT_LINES :])
            lines += ["", f"The end of what the {check.kind} said:", "", _fenced(_cut(tail, most))]
    if stage.messages:
        lines += ["", "Messages to its worker:", ""]
        lines += [f"- {_escaped(said.sender)}: {_escaped(_cut_line(said.text))}" for said in stage.messages]
    if stage.message:
        lines += ["", "Last message:", "", _fenced(_cut(stage.message, most))]
    return lines


def _escaped(text: str) -> str:
    """`text` in a line of Markdown, meaning itself."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", clean_line(text))


def _code(text: str) -> str:
    """`text` as a code span, whatever backticks it holds."""
    line = clean_line(text)
    ticks = "`" * (_longest(line) + 1)
    space = " " if line[:1] == "`" or line[-1:] == "`" else ""
    return f"{ticks}{space}{line}{space}{ticks}" if line else ""


def _fenced(text: str) -> str:
    """`text` as a code block that nothing in it can end."""
    ticks = "`" * max(3, _longest(text) + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def _longest(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


RENDERINGS: Mapping[str, Callable[[RunReport], str]] = {"text": text, "markdown": markdown, "json": to_json}
