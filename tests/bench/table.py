"""A run's figures as Markdown and JSON, and the tables in the READMEs. Pure, but for `renew`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.frame import Figure, Found, Skipped
from tests.bench.goals import Verdict, verdicts

BEGIN = "<!-- bench: made by tests/bench/run --update; do not edit by hand -->"
END = "<!-- /bench -->"


@dataclass(frozen=True)
class Report:
    """One run: where and when, and what was found by bench, in order. `titles`: what each bench measures."""

    surroundings: Mapping[str, str]
    titles: Mapping[str, str]
    found: Sequence[Found] = field(default_factory=tuple)

    @property
    def verdicts(self) -> list[Verdict]:
        return verdicts(self.found)


def number(value: float) -> str:
    """With three digits that mean something."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"


def measure(value: float, unit: str) -> str:
    return f"{number(value)}×" if unit == "×" else f"{number(value)} {unit}".strip()


def summary(report: Report) -> str:
    """The goals: what was aimed at, what was reached."""
    lines = ["| measured | goal | reached | met |", "|---|---|---|---|"]
    for verdict in report.verdicts:
        goal, figure = verdict.goal, verdict.figure
        sign = "≥" if goal.at_least else "≤"
        if figure is None or verdict.far is None:
            lines.append(
                f"| {goal.figure} | {sign} {number(goal.limit)} | – | not measured: {verdict.why_not} |"
            )
            continue
        met = "yes" if verdict.met else f"no: {number(verdict.far)}× the goal"
        if not verdict.met and goal.at_least:
            met = f"no: 1/{number(verdict.far)} of the goal"
        reached = measure(figure.spread.median, figure.unit)
        lines.append(f"| {goal.figure} | {sign} {measure(goal.limit, figure.unit)} | {reached} | {met} |")
    return "\n".join(lines)


def details(report: Report) -> str:
    """All figures, a table for each bench."""
    parts = []
    for bench, title in report.titles.items():
        mine = [item for item in report.found if item.name.partition("/")[0] == bench]
        if not mine:
            continue
        lines = [
            f"### {bench}",
            "",
            title,
            "",
            "| what | median | quartiles | of | |",
            "|---|---|---|---|---|",
        ]
        for item in mine:
            what = item.name.partition("/")[2] or bench
            if isinstance(item, Skipped):
                lines.append(f"| {what} | – | | | skipped: {item.why} |")
            else:
                lines.append(_row(what, item))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _row(what: str, figure: Figure) -> str:
    spread = figure.spread
    quartiles = f"{number(spread.low)} – {number(spread.high)}" if spread.number > 1 else ""
    return (
        f"| {what} | {measure(spread.median, figure.unit)} | {quartiles} | {spread.number} | {figure.note} |"
    )


def markdown(report: Report) -> str:
    """Everything."""
    where = "\n".join(f"- {name}: {value}" for name, value in report.surroundings.items())
    return f"{where}\n\n## Goals\n\n{summary(report)}\n\n## Figures\n\n{details(report)}\n"


def as_json(report: Report) -> str:
    def plain(item: Found) -> dict[str, Any]:
        if isinstance(item, Skipped):
            return {"name": item.name, "skipped": item.why}
        told = {"name": item.name, "unit": item.unit, **item.spread._asdict()}
        return {**told, "note": item.note} if item.note else told

    goals = [
        {
            "figure": verdict.goal.figure,
            "at_least" if verdict.goal.at_least else "at_most": verdict.goal.limit,
            "why": verdict.goal.why,
            "met": verdict.met,
            "far": verdict.far,
        }
        for verdict in report.verdicts
    ]
    told = {
        "surroundings": dict(report.surroundings),
        "goals": goals,
        "figures": [plain(item) for item in report.found],
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def with_table(text: str, table: str) -> str:
    """`text` with `table` between its marks. ValueError when it has none."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if pattern.search(text) is None:
        raise ValueError(f"no marks: {BEGIN} … {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{table.strip()}\n\n{END}", text)


def renew(path: Path, table: str) -> None:
    path.write_text(with_table(path.read_text(encoding="utf-8"), table), encoding="utf-8")
