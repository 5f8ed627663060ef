"""The page's timeline: when which attempt was at work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from dodo_claude.report.markup import BARS, Html, class_of, join, left_out, state_of, tag
from dodo_claude.report.record import AttemptReport, GroupReport, RunReport, StageReport
from dodo_claude.report.words import SHOWN_MEMBERS, many, states_of
from dodo_claude.text.durations import in_words
from dodo_claude.text.states import STOPPED

CALM_ROWS = 40  # a longer timeline scrolls by itself
MOST_ROWS = 200  # of the timeline, and in each of its groups
MOST_BARS = 2_000  # of one group
MOST_LANES = 40


class Axis:
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


class Timeline:
    """The rows of it. `link`: makes a link to a stage of its name."""

    def __init__(self, axis: Axis, link: Callable[..., Html]) -> None:
        self.axis = axis
        self.link = link

    def drawn(self, parts: Iterable[tuple[GroupReport | None, list[StageReport]]]) -> Html | None:
        """Each stage by itself, each large group in one row; None if nothing was worked on."""
        rows: list[Html] = []
        idle = hidden = 0
        for group, stages in parts:
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
                left_out(hidden, "stage", "below, under Stages"),
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
            tag("span", state_of(stage.state), f" {in_words(stage.seconds)}", class_="facts"),
        )

    def _told(self, each: AttemptReport) -> str:
        since = max(0.0, each.began - self.axis.start)
        return (
            f"attempt {each.number} {each.result} after {in_words(each.seconds)}, begun at {in_words(since)}"
        )

    def _bar(self, each: AttemptReport, y: float, height: float, title: str = "") -> Html:
        at, width = self.axis.span(each)
        return tag(
            "rect", tag("title", title or self._told(each)), x=f"{at:.3f}%", width=f"{width:.3f}%", y=y, height=height,
            rx=2 if height > 6 else 1, class_=class_of(BARS.get(each.result, STOPPED)),
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
        facts = ", ".join([states_of(group.states), in_words(group.seconds)])
        return tag(
            "li",
            tag("bdi", group.name, class_="name", title=group.name),
            tag("svg", *bars, class_="track", height=max(height, 16), role="img", aria_label=f"{group.name}: {facts}"),
            tag("span", f"{many(len(stages), 'stage')}, {in_words(group.seconds)}", class_="facts"),
            tag(
                "details",
                tag("summary", "each of ", tag("bdi", group.name)),
                tag("ol", *rows),
                left_out(len(stages) - len(rows), "stage", "below, under Stages"),
            ),
        )  # fmt: skip
