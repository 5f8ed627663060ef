"""The page's timeline: attempts stand where they were in time."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dodo_claude.report.page import page
from dodo_claude.report.timeline import Axis
from tests.samples.reports import ATTEMPT, STAGE
from tests.samples.runs import run_of


def bars(document: str) -> list[tuple[float, float]]:
    part = document.split('<h2 id="timeline">')[1].split("</section>")[0]
    return [
        (float(x), float(width)) for x, width in re.findall(r'<rect x="([\d.]+)%" width="([\d.]+)%"', part)
    ]


def test_attempts_stand_where_they_were_in_time() -> None:
    first = replace(ATTEMPT, number=1, began=100.0, seconds=10.0)
    second = replace(ATTEMPT, number=2, began=125.0, seconds=25.0)
    document = page(run_of(replace(STAGE, attempts=(first, second))), {})
    assert bars(document) == [(0.0, 20.0), (50.0, 50.0)]
    # One that was taken over from a run before, and one of no time at all, stay within the run's time.
    odd = (replace(first, began=10.0, seconds=5.0), replace(first, began=150.0, seconds=0.0))
    assert bars(page(run_of(replace(STAGE, attempts=odd)), {})) == [(0.0, 10.0), (99.6, 0.4)]


@pytest.mark.parametrize("seconds", [0.0, 0.3, 7.0, 61.0, 3_000.0, 86_400.0, 600_000.0])
def test_the_axis_has_a_few_labels(seconds: float) -> None:
    attempt = replace(ATTEMPT, began=100.0, seconds=seconds)
    axis = Axis(run_of(replace(STAGE, attempts=(attempt,)), seconds=seconds))
    labels = [*axis.labels()]
    assert labels[0] == (0.0, "0")
    assert 2 <= len(labels) <= 7
    assert all(at < 96 for at, _ in labels)
