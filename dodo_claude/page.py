"""A report as one HTML page that needs nothing else: no script, no address, no font from elsewhere.

Rules this file keeps: all markup comes from `tag`, which cleans and escapes whatever is not markup already; names and
texts of others are in no id and no link; what there is no room for is counted, and where it is is said.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from dodo_claude.cells import cells
from dodo_claude.details import Change, Details, Excerpt
from dodo_claude.records import enclosing
from dodo_claude.rendered import (
    SHOWN_MEMBERS,
    change_of,
    duration,
    facts_of,
    grouped,
    head,
    many,
    moment,
    states_of,
    usage_of,
    verdict_of,
)
from dodo_claude.report import (
    DONE,
    FAILED,
    IGNORED,
    NOT_RUN,
    RUNNING,
    STOPPED,
    UP_TO_DATE,
    WAITING,
    AttemptReport,
    CheckReport,
    FileReport,
    GroupReport,
    RunReport,
    StageReport,
    clean,
    clean_line,
)

CSS = Path(__file__).with_name("page.css")
MARKS = {
    DONE: "✓", UP_TO_DATE: "=", IGNORED: "–", FAILED: "✗", STOPPED: "■", RUNNING: "▶", WAITING: "…", NOT_RUN: "○"
}  # fmt: skip
# How an attempt's bar looks.
BARS = {
    "succeeded": DONE, "failed": FAILED, "timed out": FAILED, "aborted": STOPPED, "running": RUNNING, "cut off": STOPPED
}  # fmt: skip
OPEN_FAILED = 5  # with more of them, they stay folded
CALM_LEFT = 15  # with more lines of what is left, it scrolls by itself
MOST_LEFT = 100
CALM_ROWS = 40  # a longer timeline scrolls by itself
MOST_ROWS = 200  # of the timeline, and in each of its groups
MOST_BARS = 2_000  # of one group
MOST_LANES = 40
MOST_BOXES = 300  # of the graph
ALIKE = 6  # more stages that are alike in the graph are one box
MOST_NEEDS = 30  # names in one line


# -- markup


class Html(str):
    """Markup. Any other string is text."""

    __slots__ = ()


Child = str | None
_VOID = frozenset({"meta"})


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Html:
    """An element. Text in it, and in its attributes, is cleaned and escaped; None is nothing.

    `class_` is the attribute class, and `aria_label` is aria-label.
    """
    found = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        found.append(key if value is True else f'{key}="{_escaped(shown)}"')
    start = f"<{' '.join(found)}>"
    return Html(start if name in _VOID else f"{start}{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Html:
    """Several, one after the other."""
    return Html(
        "".join(
            child if isinstance(child, Html) else _escaped(child) for child in children if child is not None
        )
    )


def _escaped(text: str) -> str:
    # Most texts are short and plain: there is nothing to clean.
    return html.escape(text if text.isascii() and text.isprintable() else clean(text))


def _pre(*children: Child, **attributes: str) -> Html:
    # The parser drops a first newline: ours, rather than the text's.
    return tag("pre", "\n", *children, **attributes)


# -- the page


def page(told: RunReport, details: Mapping[str, Details]) -> str:
    """The report as a document. `details`: of those stages for which there is room."""
    of = _Page(told, details)
    title = f"{told.name}: {states_of(told.totals.states) or 'no stage'}"
    parts = [
        ("left", "What is left", of.left()),
        ("timeline", "Timeline", of.timeline()),
        ("graph", "Graph", of.graph()),
        ("stages", "Stages", of.stages()),
    ]
    shown = [(id, heading, part) for id, heading, part in parts if part]
    links = (tag("li", tag("a", heading, href=f"#{id}")) for id, heading, _ in shown)
    body = tag(
        "body",
        tag("header", tag("h1", told.name), of.course(), of.totals()),
        tag("nav", tag("ul", *links), aria_label="Parts of this report"),
        tag(
            "main",
            *(tag("section", tag("h2", heading, id=id), part) for id, heading, part in shown),
        ),
        of.footer(),
    )
    css = f"{CSS.read_text(encoding='utf-8')}:root {{ --tick: {of.axis.tick_percent:.4f}%; }}\n"
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    meta = join(
        [
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("meta", name="generator", content=GENERATOR),
        ]
    )
    document = tag("html", tag("head", meta, tag("title", title), tag("style", Html(css))), body, lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


GENERATOR = "dodo-claude report"


def is_page(text: str) -> bool:
    """Does a document begin as ours do?"""
    return text.startswith("<!DOCTYPE html>\n<html") and f'content="{GENERATOR}"' in text[:2_000]


class _Axis:
    """The run's time from left to right."""

    def __init__(self, told: RunReport) -> None:
        ends = (each.began + each.seconds for stage in told.stages for each in stage.attempts)
        self.start = told.started
        self.length = max(told.seconds, max(ends, default=0.0) - told.started, 0.1)
        steps = [
            0.02,
            0.05,
            0.1,
            0.2,
            0.5,
            1,
            2,
            5,
            10,
            20,
            30,
            60,
            120,
            300,
            600,
            1200,
            1800,
            3600,
            7200,
            14400,
        ]
        day = 43_200.0
        self.tick = next((step for step in steps if self.length / step <= 6), None) or day * max(
            1, -(-self.length // (6 * day))
        )

    @property
    def tick_percent(self) -> float:
        return 100 * self.tick / self.length

    def span(self, attempt: AttemptReport) -> tuple[float, float]:
        """Where an attempt's bar begins and how long it is, in percent."""
        begin = min(max(0.0, attempt.began - self.start), self.length)
        end = min(begin + max(0.0, attempt.seconds), self.length)
        width = max(100 * (end - begin) / self.length, 0.4)
        return min(100 * begin / self.length, 100 - width), width

    def labels(self) -> Iterator[tuple[float, str]]:
        at = 0.0
        while at <= self.length * 0.95:
            yield 100 * at / self.length, "0" if at == 0 else _tick(at)
            at += self.tick


def _tick(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    if seconds < 3600:
        whole, rest = divmod(round(seconds), 60)
        return f"{whole} min" if not rest else f"{whole}:{rest:02} min"
    return f"{seconds / 3600:g} h"


def _class(state: str) -> str:
    return state.replace(" ", "-")


def _mark(state: str) -> Html:
    return tag("span", f"{MARKS[state]} ", class_=_class(state), aria_hidden="true")


def _state(state: str) -> Html:
    return tag("span", _mark(state), state, class_=f"state {_class(state)}")


class _Page:
    def __init__(self, told: RunReport, details: Mapping[str, Details]) -> None:
        self.told = told
        self.details = details
        self.axis = _Axis(told)
        self.ids = {stage.name: f"s{number}" for number, stage in enumerate(told.stages, 1)}
        self.groups = {group.name: group for group in told.groups}
        failed = sum(stage.state == FAILED for stage in told.stages)
        self.unfold = {FAILED} if failed <= OPEN_FAILED else set()
        if len(told.stages) == 1:
            self.unfold = {told.stages[0].state}

    def parts(self) -> Iterator[tuple[GroupReport | None, list[StageReport]]]:
        """Each stage by itself, and each group once, where its first stage stands."""
        members = defaultdict(list)
        for stage in self.told.stages:
            members[stage.group].append(stage)
        seen = set()
        for stage in self.told.stages:
            group = self.groups.get(stage.group or "")
            if group is None:
                yield None, [stage]
            elif group.name not in seen:
                seen.add(group.name)
                yield group, members[group.name]

    def link(self, name: str, *children: Child, **attributes: str) -> Html:
        id = self.ids.get(name)
        return tag("a", *children, href=f"#{id}", **attributes) if id else tag("bdi", *children)

    # the top

    def course(self) -> Html:
        word = {"running": "has run for", "cut off": "was cut off after"}.get(self.told.state, "took")
        return join(
            [
                tag(
                    "p", "Run ", tag("code", self.told.run), f" started {moment(self.told.started)}, {word} "
                    f"{duration(self.told.seconds)}.", class_="quiet",
                ),
                tag("p", "Stopped: ", tag("bdi", self.told.stopped), class_="reason stopped") if self.told.stopped else None,
            ]
        )  # fmt: skip

    def totals(self) -> Html:
        sums = self.told.totals
        cost = "not told" if sums.cost_usd is None else f"{sums.cost_usd:.2f} USD"
        rows: list[tuple[str, str, str]] = [
            ("stages", grouped(len(self.told.stages)), ""),
            *((state, join([_mark(state), grouped(count)]), "") for state, count in sums.states.items()),
            ("workers' time", duration(sums.seconds), ""),
            ("attempts", grouped(sums.attempts), many(sums.repairs, "repair")),
            ("tokens", grouped(sums.tokens), ""),
            ("cost", cost, ""),
            (
                "files made or changed",
                grouped(sums.files),
                f"+{grouped(sums.added)} −{grouped(sums.removed)} lines",
            ),
            ("checks and commands", grouped(sum(sums.checks.values())), states_of(sums.checks)),
        ]
        cells = (
            tag("div", tag("dt", name), tag("dd", value, tag("span", more, class_="quiet") if more else None))
            for name, value, more in rows
        )
        return tag("dl", *cells, class_="totals")

    def left(self) -> Html:
        state = {stage.name: stage.state for stage in self.told.stages}
        rows = [
            tag(
                "li", self.link(left.stage, left.stage), ": ", tag("bdi", left.why),
                class_=_class(state.get(left.stage, NOT_RUN)),
            )
            for left in self.told.left[:MOST_LEFT]
        ]  # fmt: skip
        more = len(self.told.left) - len(rows)
        if not rows:
            return tag("p", "Nothing: all stages are done.")
        return join(
            [
                tag("ul", *rows, class_="left")
                if len(rows) <= CALM_LEFT
                else tag("ul", *rows, class_="left many", tabindex=0, aria_label="What is left"),
                tag("p", f"And {many(more, 'more stage')}: see below.") if more else None,
                tag("p", tag("code", "doit orchestrate"), " goes on with what is left.", class_="quiet small")
                if self.told.state != "running"
                else None,
            ]
        )

    def footer(self) -> Html:
        worked = [stage for stage in self.told.stages if stage.attempts]
        without = sum(stage.name not in self.details for stage in worked)
        folder = f".orchestrate/runs/{self.told.run}"
        notes = [f"Times of day are local ones. The same numbers, for programs, are in {folder}/report.json."]
        if without:
            notes.append(
                f"Of {many(without, 'stage')} prompts, files, outputs and messages are left out here: they are in the "
                "folders of their attempts."
            )
        return tag(
            "footer", tag("h2", "About this page"), *(tag("p", note, class_="quiet small") for note in notes)
        )

    # the timeline

    def timeline(self) -> Html | None:
        rows: list[Html] = []
        idle = hidden = 0
        for group, stages in self.parts():
            worked = [stage for stage in stages if stage.attempts]
            idle += len(stages) - len(worked)
            if not worked:
                continue
            if len(rows) >= MOST_ROWS:
                hidden += len(worked)
            elif group is not None and len(worked) > SHOWN_MEMBERS:
                rows.append(self._lanes(group, worked))
            else:
                rows += [self._row(stage) for stage in worked]
        if not rows:
            return None
        texts = (
            tag("text", label, x=f"{at:.3f}%", y="12", text_anchor="middle" if at else "start")
            for at, label in self.axis.labels()
        )
        axis = tag("svg", *texts, class_="axis", height="16", aria_hidden="true")
        top = tag("li", tag("span", class_="blank"), axis, tag("span", class_="blank"), aria_hidden="true")
        return join(
            [
                tag("ol", top, *rows, class_="times") if len(rows) <= CALM_ROWS else tag(
                    "ol", top, *rows, class_="times many", tabindex=0, aria_label="Timeline"
                ),
                _left_out(hidden, "stage", "below, under Stages"),
                tag("p", f"{many(idle, 'stage')} had nothing to do, or did not start.", class_="quiet small") if idle else None,
            ]
        )  # fmt: skip

    def _row(self, stage: StageReport) -> Html:
        bars = [self._bar(each, 2, 12) for each in stage.attempts]
        label = "; ".join(self._told(each) for each in stage.attempts[:20])
        return tag(
            "li",
            self.link(stage.name, stage.name, title=stage.name),
            tag("svg", *bars, class_="track", height="16", role="img", aria_label=label),
            tag("span", _state(stage.state), f" {duration(stage.seconds)}", class_="facts"),
        )

    def _told(self, each: AttemptReport) -> str:
        since = max(0.0, each.began - self.axis.start)
        return (
            f"attempt {each.number} {each.result} after {duration(each.seconds)}, begun at {duration(since)}"
        )

    def _bar(self, each: AttemptReport, y: float, height: float, title: str = "") -> Html:
        at, width = self.axis.span(each)
        return tag(
            "rect", tag("title", title or self._told(each)), x=f"{at:.3f}%", width=f"{width:.3f}%", y=y, height=height,
            rx=2 if height > 6 else 1, class_=_class(BARS.get(each.result, STOPPED)),
        )  # fmt: skip

    def _lanes(self, group: GroupReport, stages: Sequence[StageReport]) -> Html:
        """A large group: its attempts in as many lanes as there were at a time."""
        attempts = sorted(
            ((each.began, stage, each) for stage in stages for each in stage.attempts),
            key=lambda found: found[0],
        )
        ends: list[float] = []
        bars = []
        for began, stage, each in attempts[:MOST_BARS]:
            lane = next((number for number, end in enumerate(ends) if end <= began), len(ends))
            ends[lane : lane + 1] = [began + each.seconds]
            bars.append(
                self._bar(each, 2 + 6 * min(lane, MOST_LANES), 5.0, f"{stage.name}: {self._told(each)}")
            )
        height = 4 + 6 * min(len(ends), MOST_LANES + 1)
        rows = [self._row(stage) for stage in stages[:MOST_ROWS]]
        facts = ", ".join([states_of(group.states), duration(group.seconds)])
        return tag(
            "li",
            tag("bdi", group.name, class_="name", title=group.name),
            tag("svg", *bars, class_="track", height=max(height, 16), role="img", aria_label=f"{group.name}: {facts}"),
            tag("span", f"{many(len(stages), 'stage')}, {duration(group.seconds)}", class_="facts"),
            tag(
                "details",
                tag("summary", "each of ", tag("bdi", group.name)),
                tag("ol", *rows),
                _left_out(len(stages) - len(rows), "stage", "below, under Stages"),
            ),
        )  # fmt: skip

    # the graph

    def graph(self) -> Html | None:
        return _Graph(self.told.stages).drawn(self.ids) if len(self.told.stages) > 1 else None

    # the stages

    def stages(self) -> Html:
        return join(
            tag(
                "details",
                tag("summary", tag("h3", group.name), " ", tag("span", _group_facts(group), class_="quiet")),
                tag("div", *(self._stage(stage, 4) for stage in stages), class_="members"),
                class_="group", open=len(stages) <= SHOWN_MEMBERS,
            )
            if group is not None
            else self._stage(stages[0], 3)
            for group, stages in self.parts()
        )  # fmt: skip

    def _stage(self, stage: StageReport, level: int) -> Html:
        facts = facts_of(stage)
        title = join(
            [
                _mark(stage.state), tag(f"h{level}", stage.name), " ",
                tag("span", stage.state, class_=f"state {_class(stage.state)}"),
                tag("span", f" {facts}", class_="quiet") if facts else None,
            ]
        )  # fmt: skip
        id = self.ids[stage.name]
        known = self.details.get(stage.name)
        if known is None and not stage.attempts and not stage.reason and not stage.checks:
            return tag("div", title, self._needs(stage), id=id, class_="line")
        inside = [
            tag("p", tag("bdi", stage.reason), class_="reason") if stage.reason else None,
            self._needs(stage),
            *(self._worked(stage, known, level + 1) if known is not None else self._in_short(stage)),
        ]
        return tag(
            "details",
            tag("summary", title),
            tag("div", *inside, id=id, class_="inside"),
            class_="stage", open=stage.state in self.unfold,
        )  # fmt: skip

    def _needs(self, stage: StageReport) -> Html | None:
        def names(names: Sequence[str]) -> Iterator[Child]:
            for number, name in enumerate(names[:MOST_NEEDS]):
                yield ", " if number else None
                yield self.link(name, name)
            if len(names) > MOST_NEEDS:
                yield f" and {len(names) - MOST_NEEDS} more"

        by = ["by ", tag("bdi", stage.agent), "; "] if stage.agent and stage.attempts else []
        after = ["comes after ", *names(stage.needs)] if stage.needs else ["needs no other stage"]
        waits = ["; waits for ", *names(stage.waits_for)] if stage.waits_for else []
        return tag("p", *by, *after, *waits, ".", class_="quiet small")

    def _in_short(self, stage: StageReport) -> Iterator[Html | None]:
        """What the report itself has, where there was no room for more."""
        for file in stage.files:
            yield tag("p", tag("code", file.path), f" {change_of(file)}", class_="small")
        for check in stage.checks:
            yield tag("p", *_check_line(check, stage), class_="small")
        if stage.attempts:
            folder = tag("code", f"{stage.attempts[-1].folder}/")
            yield tag("p", "More is left out here: it is in ", folder, class_="quiet small")

    def _worked(self, stage: StageReport, known: Details, level: int) -> Iterator[Html | None]:
        folder = stage.attempts[-1].folder if stage.attempts else ""
        if known.message.text:
            yield from _part(level, "Last message", _excerpt(known.message, folder))
        if stage.checks:
            yield from _part(level, "Checks", *_checks(stage, known.output, folder))
        if stage.files:
            yield from _part(level, "Files", *_files(stage, known, folder))
        if stage.attempts:
            yield from _part(level, "Attempts", self._attempts(stage.attempts))
        if known.remarks:
            yield from _part(level, "Messages", *self._talk(known))
        for title, prompt in known.prompts:
            lines = tag("summary", f"{many(len(prompt.text) + prompt.left_out, 'character')}")
            yield from _part(level, title.capitalize(), tag("details", lines, _excerpt(prompt, folder)))

    def _attempts(self, attempts: Sequence[AttemptReport]) -> Html:
        rows = []
        for each in attempts:
            since = each.began - self.axis.start
            state = BARS.get(each.result, STOPPED)
            facts = [
                f"begun at +{duration(since)}" if since >= 0 else "begun in an earlier run",
                f"took {duration(each.seconds)}",
                *(
                    many(count, noun)
                    for count, noun in (
                        (each.prompts, "prompt"),
                        (each.tools, "tool"),
                        (each.repairs, "repair"),
                    )
                    if count
                ),
                *usage_of(0, each.tokens, each.cost_usd),
            ]
            how = tag("span", _mark(state), f"{each.number} {each.result}", class_=f"state {_class(state)}")
            why = tag("p", "ended: ", tag("bdi", each.why)) if each.why else None
            folder = tag("p", tag("code", f"{each.folder}/"), class_="quiet")
            rows.append(tag("li", how, ": ", ", ".join(facts), why, folder))
        return tag("ol", *rows, class_="talk")

    def _talk(self, known: Details) -> Iterator[Html | None]:
        rows = []
        for remark in known.remarks:
            since = remark.at - self.axis.start
            at = f"+{duration(since)} " if since >= 0 else ""
            left = f" (and {many(remark.text.left_out, 'more character')})" if remark.text.left_out else None
            who = tag("span", at, tag("bdi", remark.who), f" {remark.what}", class_="quiet small")
            said = join([tag("span", remark.text.text, class_="said"), left]) if remark.text.text else None
            rows.append(tag("li", who, ": " if said else None, said))
        yield tag("ul", *rows, class_="talk")
        yield _left_out(known.remarks_left_out, "message", "in the middle; dodo-claude events tells them")


def _group_facts(group: GroupReport) -> str:
    return ", ".join(
        [
            f"{many(len(group.stages), 'stage')}: {states_of(group.states)}",
            *usage_of(group.seconds, group.tokens, group.cost_usd),
        ]
    )


def _part(level: int, title: str, *children: Child) -> Iterator[Html]:
    yield tag(f"h{level}", title, class_="part")
    yield join(children)


def _left_out(count: int, noun: str, where: str) -> Html | None:
    text = f"{many(count, f'more {noun}')}: {where}."
    return tag("p", text, class_="quiet small") if count > 0 else None


def _excerpt(excerpt: Excerpt, folder: str) -> Html:
    return join([_pre(excerpt.text), _rest(excerpt, folder)])


def _rest(excerpt: Excerpt, folder: str) -> Html | None:
    if not excerpt.left_out:
        return None
    text = f"{many(excerpt.left_out, 'character')} are left out here; all of it is in "
    return tag("p", text, tag("code", f"{folder}/"), class_="quiet small")


def _check_line(check: CheckReport, stage: StageReport) -> tuple[Child, ...]:
    state = {"passed": DONE, "failed": FAILED}.get(check.result, NOT_RUN)
    words = tag("span", _mark(state), verdict_of(check, stage), class_=f"state {_class(state)}")
    return words, ": ", tag("code", check.command)


def _checks(stage: StageReport, output: Excerpt, folder: str) -> Iterator[Html]:
    for check in stage.checks:
        yield tag("p", *_check_line(check, stage))
        if check.output:
            yield _pre(check.output)
    # One that passed may have said something, too: the last one's words are kept.
    if output.text and not any(check.output for check in stage.checks):
        yield tag("details", tag("summary", "what it said"), _excerpt(output, folder))


def _files(stage: StageReport, known: Details, folder: str) -> Iterator[Html | None]:
    changes = {change.path: change for change in known.changes}
    for file in stage.files:
        change = changes.get(file.path)
        title = join(_file_line(file))
        if change is None:
            yield tag("p", title)
        elif change.why:
            yield tag("p", title, tag("span", f" ({change.why})", class_="quiet"))
        else:
            yield tag("details", tag("summary", title), *_lines(change, folder))
    if known.files_left_out:
        yield tag(
            "p", f"Of {many(known.files_left_out, 'file')} the text is left out here.", class_="quiet small"
        )


def _file_line(file: FileReport) -> Iterator[Child]:
    yield tag("code", file.path)
    yield f" {change_of(file)}"
    if file.kept:
        yield join([", kept in ", tag("code", file.kept)])


_DIFF = {"+": "added", "-": "removed", "@": "hunk"}


def _lines(change: Change, folder: str) -> Iterator[Html | None]:
    if change.is_diff:
        yield _pre(*(tag("span", line, class_=_DIFF.get(line[:1])) for line in change.lines))
    else:
        yield _pre("\n".join(change.lines))
    yield _left_out(change.left_out, "line", f"left out here; what stood there before is in {folder}/before/")


# -- the graph

WIDTH, ROW, PAD = 200, 20, 12
NAME_COLUMNS = 22  # characters of a name in a box
SQUARES, PITCH = 14, 13  # of a large box: in a row, pixels from one to the next
MOST_SQUARES = 20 * SQUARES
GAP_ALONG, GAP_ACROSS = 56, 14
DEEP = 10  # a graph with more layers goes down the page


@dataclass(eq=False)
class _Box:
    """A stage, or several that are drawn as one."""

    name: str
    stages: list[StageReport]
    layer: int
    needs: list[_Box] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0

    @property
    def alone(self) -> bool:
        return len(self.stages) == 1

    @property
    def height(self) -> float:
        if self.alone:
            return ROW + 10
        if len(self.stages) <= SHOWN_MEMBERS:
            return ROW * (len(self.stages) + 1) + 12
        rows = -(-len(self.stages) // SQUARES) if len(self.stages) <= MOST_SQUARES else 1
        return 2 * ROW + 12 + rows * PITCH


class _Graph:
    def __init__(self, stages: Sequence[StageReport]) -> None:
        self.stages = stages
        self.members: dict[str, list[str]] = defaultdict(list)
        for stage in stages:
            for group in enclosing(stage.name):
                self.members[group].append(stage.name)
        self.layers = self._layers()
        self.boxes = self._boxes()

    def _layers(self) -> dict[str, int]:
        """How many stages stand before each, one after the other; a group is where its last stage is."""
        names = {stage.name for stage in self.stages}
        needs = {
            stage.name: [name for name in stage.needs if name in names or name in self.members]
            for stage in self.stages
        }
        groups = {name: members for name, members in self.members.items() if name not in names}
        found: dict[str, int] = {}
        try:
            order = list(TopologicalSorter({**needs, **groups}).static_order())
        except CycleError:  # of a file that somebody changed
            return dict.fromkeys(names, 0)
        for name in order:
            if name in groups:
                found[name] = max(found[member] for member in groups[name])
            else:
                found[name] = max((found[need] + 1 for need in needs[name]), default=0)
        return {name: found[name] for name in names}

    def _boxes(self) -> list[_Box]:
        used: dict[str, list[str]] = defaultdict(list)
        for stage in self.stages:
            for name in stage.needs:
                used[name].append(stage.name)
        # Never over layers: so what is one box waits for none that waits for it.
        places = [
            (stage.group, self.layers[stage.name])
            if stage.group
            else (None, self.layers[stage.name], stage.needs, tuple(used[stage.name]))
            for stage in self.stages
        ]
        together: dict[object, list[StageReport]] = defaultdict(list)
        for stage, place in zip(self.stages, places, strict=True):
            together[place].append(stage)
        boxes: list[_Box] = []
        for stages in together.values():
            layer, group = self.layers[stages[0].name], stages[0].group
            if len(stages) > (1 if group else ALIKE):
                boxes.append(_Box(group or many(len(stages), "stage"), stages, layer))
            else:
                boxes += [_Box(stage.name, [stage], layer) for stage in stages]
        self._connect(boxes)
        return boxes

    def _connect(self, boxes: list[_Box]) -> None:
        place = {stage.name: number for number, box in enumerate(boxes) for stage in box.stages}
        groups = {
            name: {place[member] for member in members}
            for name, members in self.members.items()
            if name not in place
        }
        before = [0] * len(boxes)  # as sets of bits
        for number in sorted(range(len(boxes)), key=lambda number: boxes[number].layer):
            box = boxes[number]
            names = {name for stage in box.stages for name in stage.needs}
            needs = {place[name] for name in names if name in place}.union(
                *(groups[name] for name in names if name in groups)
            )
            needs = {need for need in needs if boxes[need].layer < box.layer}
            further = 0
            for need in needs:
                further |= before[need]
                before[number] |= before[need] | 1 << need
            # An edge to what is before another need tells nothing new.
            box.needs = [boxes[need] for need in sorted(needs) if not further >> need & 1]

    def drawn(self, ids: Mapping[str, str]) -> Html:
        if len(self.boxes) > MOST_BOXES:
            return tag(
                "p",
                f"With {len(self.boxes)} boxes it is too large to be drawn: each stage says what it comes after.",
            )
        width, height = self._place()
        down = self._is_deep()
        edges = (self._edge(need, box, down) for box in self.boxes for need in box.needs)
        drawing = tag(
            "svg",
            tag("g", *edges, aria_hidden="true"),
            *(_drawn(box, ids) for box in self.boxes),
            width=width, height=height, viewBox=f"0 0 {width:g} {height:g}", role="group",
            aria_label="Stages, from those that need nothing to those that need the others",
        )  # fmt: skip
        states = {stage.state for stage in self.stages}
        legend = (tag("li", _state(state)) for state in MARKS if state in states)
        return join(
            [
                tag(
                    "div",
                    drawing,
                    class_="graph",
                    tabindex=0,
                    role="region",
                    aria_label="Graph of the stages",
                ),
                tag("ul", *legend, class_="legend"),
            ]
        )

    def _is_deep(self) -> bool:
        return max(self.layers.values(), default=0) >= DEEP

    def _place(self) -> tuple[float, float]:
        """Layer after layer to the right; those of a deep graph down."""
        layers: dict[int, list[_Box]] = defaultdict(list)
        for box in self.boxes:
            layers[box.layer].append(box)
        down = self._is_deep()

        def across(box: _Box) -> float:
            return WIDTH if down else box.height

        extent = max(sum(map(across, boxes)) + GAP_ACROSS * (len(boxes) - 1) for boxes in layers.values())
        along, gap = float(PAD), GAP_ALONG / 2 if down else GAP_ALONG
        for _, boxes in sorted(layers.items()):
            # Near what it needs: fewer edges cross.
            boxes.sort(key=lambda box: sum(n.x if down else n.y for n in box.needs) / max(1, len(box.needs)))
            spare = extent - sum(map(across, boxes)) - GAP_ACROSS * (len(boxes) - 1)
            at = PAD if down else PAD + spare / 2
            for box in boxes:
                box.x, box.y = (at, along) if down else (along, at)
                at += across(box) + GAP_ACROSS
            along += (max(box.height for box in boxes) if down else WIDTH) + gap
        along += PAD - gap
        return (extent + 2 * PAD, along) if down else (along, extent + 2 * PAD)

    def _edge(self, need: _Box, box: _Box, down: bool) -> Html:
        if down:
            x1, y1, x2, y2 = need.x + WIDTH / 2, need.y + need.height, box.x + WIDTH / 2, box.y
            bend = f"{x1:g} {(y1 + y2) / 2:g} {x2:g} {(y1 + y2) / 2:g}"
        else:
            x1, y1, x2, y2 = need.x + WIDTH, need.y + need.height / 2, box.x, box.y + box.height / 2
            bend = f"{(x1 + x2) / 2:g} {y1:g} {(x1 + x2) / 2:g} {y2:g}"
        return tag("path", d=f"M{x1:g} {y1:g}C{bend} {x2:g} {y2:g}", class_="edge")


def _drawn(box: _Box, ids: Mapping[str, str]) -> Html:
    x, y, first = box.x, box.y, box.stages[0]
    frame = tag("rect", x=x, y=y, width=WIDTH, height=box.height, rx=5, class_="box")
    if box.alone:
        return tag("g", frame, _line(first, first.name, x, y + 20, ids))
    count = f"{many(len(box.stages), 'stage')}"
    if len(box.stages) <= SHOWN_MEMBERS:
        title = tag("text", _short(box.name), tag("title", box.name), x=x + 10, y=y + 18, class_="sum")
        # Under the name of their group, theirs need not say it again.
        rows = (
            _line(stage, stage.name.removeprefix(f"{box.name}:"), x, y + 18 + ROW * number, ids)
            for number, stage in enumerate(box.stages, 1)
        )
        return tag("g", frame, title, *rows)
    states: dict[str, int] = defaultdict(int)
    for stage in box.stages:
        states[stage.state] += 1
    ordered = {state: states[state] for state in MARKS if state in states}
    name = box.name if first.group else "alike"
    title = tag(
        "a", tag("text", _short(name), tag("title", name), x=x + 10, y=y + 18), href=f"#{ids[first.name]}",
        aria_label=f"{name}: {count}: {states_of(ordered)}",
    )  # fmt: skip
    told = states_of(ordered) if len(ordered) == 1 else f"{len(box.stages)}: {states_of(ordered)}"
    sums = tag(
        "text", _short(told, 26), tag("title", states_of(ordered)), x=x + 10, y=y + 18 + ROW, class_="sum"
    )
    return tag("g", frame, title, sums, *_squares(box, ordered))


def _squares(box: _Box, states: Mapping[str, int]) -> Iterator[Html]:
    x, y = box.x + 9, box.y + 2 * ROW + 6
    if len(box.stages) > MOST_SQUARES:
        for state, count in states.items():
            width = (WIDTH - 18) * count / len(box.stages)
            title = tag("title", f"{count} {state}")
            yield tag("rect", title, x=x, y=y, width=max(width, 1.0), height=PITCH - 3, class_=_class(state))
            x += width
        return
    for number, stage in enumerate(box.stages):
        row, column = divmod(number, SQUARES)
        yield tag(
            "rect", tag("title", f"{stage.name}: {stage.state}"), x=x + column * PITCH, y=y + row * PITCH,
            width=PITCH - 3, height=PITCH - 3, rx=2, class_=_class(stage.state),
        )  # fmt: skip


def _line(stage: StageReport, name: str, x: float, y: float, ids: Mapping[str, str]) -> Html:
    return tag(
        "a",
        tag("title", f"{stage.name}: {stage.state}"),
        tag("text", MARKS[stage.state], x=x + 10, y=y, class_=f"mark {_class(stage.state)}", aria_hidden="true"),
        tag("text", _short(name), x=x + 28, y=y),
        href=f"#{ids[stage.name]}", aria_label=f"{stage.name}: {stage.state}",
    )  # fmt: skip


def _short(name: str, columns: int = NAME_COLUMNS) -> str:
    """`name` as far as it fits a box."""
    name = clean_line(name)
    return name if cells(name) <= columns else f"{head(name, columns - 1)}…"
