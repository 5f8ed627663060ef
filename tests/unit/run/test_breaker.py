"""The circuit breaker: what is alike, and what is an accident."""

from __future__ import annotations

import pytest

from tests.samples.fleets import Rig


@pytest.mark.parametrize(
    ("failures", "stops"),
    [
        ([("died", 0), ("died", 0), ("died", 0)], True),
        ([("died", 0), ("died", 300), ("died", 300)], True),
        ([("died", 0), ("died", 300), ("died", 301)], False),
        ([("died", 0), ("died", 300), ("died", 301), ("died", 299)], True),
        ([("died", 0), ("hung", 0), ("died", 0), ("hung", 0)], False),
        ([("died", 0), ("hung", 0), ("died", 0), ("died", 0)], True),
        ([("verification", 0)] * 9, False),
        ([("", 0)] * 9, False),
    ],
)
def test_three_alike_in_ten_minutes(failures: list[tuple[str, float]], stops: bool) -> None:
    rig = Rig()
    for kind, later in failures:
        rig.clock.passes(later)
        rig.fleet.failed(kind)
        rig.fleet.progress()
    reason = "3 workers failed alike in 10 min (died): no further starts" if stops else None
    assert rig.fleet.stopped == reason


def test_one_stage_that_fails_again_and_again_stops_nobody_else() -> None:
    rig = Rig()
    for who in ["a"] * 5 + ["b", "a", "b"] * 3:
        rig.fleet.failed("died", who)
    assert rig.fleet.stopped is None
    rig.fleet.failed("died", "c")
    assert rig.fleet.stopped == "3 workers failed alike in 10 min (died): no further starts"
