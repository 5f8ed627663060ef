"""A report as one HTML page that needs nothing else: no script, no address, no font from elsewhere.

Rules this file keeps: names and texts of others are in no id and no link; what there is no room for is counted, and
where it is is said.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dodo_claude.report.details import Change, Details, Excerpt
from dodo_claude.report.graph import Graph
from dodo_claude.report.markup import BARS, Child, Html, class_of, join, left_out, mark, pre, tag
from dodo_claude.report.record import (
    FAILED,
    NOT_RUN,
    AttemptReport,
    CheckReport,
    FileReport,
    GroupReport,
    RunReport,
    StageReport,
)
from dodo_claude.report.timeline import Axis, Timeline
from dodo_claude.report.words import (
    SHOWN_MEMBERS,
    besides,
    change_of,
    facts_of,
    many,
    moment,
    overwritten,
    states_of,
    usage_of,
    verdict_of,
)
from dodo_claude.text.durations import in_words
from dodo_claude.text.numbers import grouped
from dodo_claude.text.states import DONE, STOPPED

CSS = Path(__file__).with_name("page.css")
OPEN_FAILED = 5  # with more of them, they stay folded
CALM_LEFT = 15  # with more lines of what is left, it scrolls by itself
MOST_LEFT = 100
MOST_NEEDS = 30  # names in one line


# -- the page


def page(told: RunReport, details: Mapping[str, Details]) -> str:
    """The report as a document. `details`: of those stages for which there is room."""
    of = _Page(told, details)
    title = f"{told.name}: {states_of(told.totals.states) or 'no stage'}"
    parts = [
        ("left", "What is left", of.left()),
        ("timeline", "Timeline", Timeline(of.axis, of.link).drawn(of.parts())),
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


class _Page:
    def __init__(self, told: RunReport, details: Mapping[str, Details]) -> None:
        self.told = told
        self.details = details
        self.axis = Axis(told)
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
                    f"{in_words(self.told.seconds)}.", class_="quiet",
                ),
                tag("p", "Stopped: ", tag("bdi", self.told.stopped), class_="reason stopped") if self.told.stopped else None,
                *(tag("p", tag("bdi", line[:1].upper() + line[1:]), class_="reason failed") for line in overwritten(self.told)),
            ]
        )  # fmt: skip

    def totals(self) -> Html:
        sums = self.told.totals
        cost = "not told" if sums.cost_usd is None else f"{sums.cost_usd:.2f} USD"
        rows: list[tuple[str, str, str]] = [
            ("stages", grouped(len(self.told.stages)), ""),
            *((state, join([mark(state), grouped(count)]), "") for state, count in sums.states.items()),
            ("workers' time", in_words(sums.seconds), ""),
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
                class_=class_of(state.get(left.stage, NOT_RUN)),
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

    # the graph

    def graph(self) -> Html | None:
        return Graph(self.told.stages).drawn(self.ids) if len(self.told.stages) > 1 else None

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
                mark(stage.state), tag(f"h{level}", stage.name), " ",
                tag("span", stage.state, class_=f"state {class_of(stage.state)}"),
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
        if stage.undeclared:
            yield tag("p", besides(stage, MOST_NEEDS), class_="small")
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
        if stage.undeclared:
            yield from _part(level, "Besides its targets", _besides(stage))
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
                f"begun at +{in_words(since)}" if since >= 0 else "begun in an earlier run",
                f"took {in_words(each.seconds)}",
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
            how = tag("span", mark(state), f"{each.number} {each.result}", class_=f"state {class_of(state)}")
            why = tag("p", "ended: ", tag("bdi", each.why)) if each.why else None
            folder = tag("p", tag("code", f"{each.folder}/"), class_="quiet")
            rows.append(tag("li", how, ": ", ", ".join(facts), why, folder))
        return tag("ol", *rows, class_="talk")

    def _talk(self, known: Details) -> Iterator[Html | None]:
        rows = []
        for remark in known.remarks:
            since = remark.at - self.axis.start
            at = f"+{in_words(since)} " if since >= 0 else ""
            left = f" (and {many(remark.text.left_out, 'more character')})" if remark.text.left_out else None
            who = tag("span", at, tag("bdi", remark.who), f" {remark.what}", class_="quiet small")
            said = join([tag("span", remark.text.text, class_="said"), left]) if remark.text.text else None
            rows.append(tag("li", who, ": " if said else None, said))
        yield tag("ul", *rows, class_="talk")
        yield left_out(known.remarks_left_out, "message", "in the middle; dodo-claude events tells them")


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


def _excerpt(excerpt: Excerpt, folder: str) -> Html:
    return join([pre(excerpt.text), _rest(excerpt, folder)])


def _rest(excerpt: Excerpt, folder: str) -> Html | None:
    if not excerpt.left_out:
        return None
    text = f"{many(excerpt.left_out, 'character')} are left out here; all of it is in "
    return tag("p", text, tag("code", f"{folder}/"), class_="quiet small")


def _check_line(check: CheckReport, stage: StageReport) -> tuple[Child, ...]:
    state = {"passed": DONE, "failed": FAILED}.get(check.result, NOT_RUN)
    words = tag("span", mark(state), verdict_of(check, stage), class_=f"state {class_of(state)}")
    return words, ": ", tag("code", check.command)


def _checks(stage: StageReport, output: Excerpt, folder: str) -> Iterator[Html]:
    for check in stage.checks:
        yield tag("p", *_check_line(check, stage))
        if check.output:
            yield pre(check.output)
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


def _besides(stage: StageReport) -> Html:
    rows = []
    for file in stage.undeclared:
        seen = "" if file.known else " changed while it was at work"
        more = f"; so were {', '.join(file.beside[:MOST_NEEDS])}" if file.beside and not file.known else ""
        rows.append(tag("li", tag("code", file.path), tag("span", f"{seen}{more}", class_="quiet")))
    return tag("ul", *rows)


def _file_line(file: FileReport) -> Iterator[Child]:
    yield tag("code", file.path)
    yield f" {change_of(file)}"
    if file.kept:
        yield join([", kept in ", tag("code", file.kept)])


_DIFF = {"+": "added", "-": "removed", "@": "hunk"}


def _lines(change: Change, folder: str) -> Iterator[Html | None]:
    if change.is_diff:
        yield pre(*(tag("span", line, class_=_DIFF.get(line[:1])) for line in change.lines))
    else:
        yield pre("\n".join(change.lines))
    yield left_out(change.left_out, "line", f"left out here; what stood there before is in {folder}/before/")
