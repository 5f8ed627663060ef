"""Who may start, as far as there is memory for one more."""

from __future__ import annotations

import pytest

from dodo_claude.run.fleet import Limits
from tests.samples.fleets import Rig


def test_memory_is_waited_for_but_the_first_always_starts() -> None:
    rig = Rig()
    rig.free = 412_000_000
    assert rig.fleet.admit("a") is None
    rig.clock.passes(60)
    assert rig.fleet.admit("b") == "waits for memory: 412 MB free, 700 MB needed"
    rig.free = 700_000_000
    assert rig.fleet.admit("b") is None


def test_a_worker_that_just_started_has_its_memory_still_to_take() -> None:
    rig = Rig()
    rig.free = 2_000_000_000
    assert [rig.fleet.admit(key) is None for key in "abcd"] == [True, True, True, False]
    assert rig.fleet.admit("d") == "waits for memory: 200 MB free, 700 MB needed"
    rig.clock.passes(10)
    rig.free = 1_300_000_000
    assert rig.fleet.admit("d") is None
    assert rig.fleet.admit("e") is None  # what d has still to take leaves just enough
    assert rig.fleet.admit("f") == "waits for memory: 100 MB free, 700 MB needed"


def test_room_is_made_by_an_end() -> None:
    rig = Rig()
    rig.free = 1_000_000_000
    assert rig.fleet.admit("a") is None
    assert rig.fleet.admit("b") is not None
    rig.fleet.ended("a")
    assert rig.heard == 1
    assert rig.fleet.admit("b") is None
    rig.fleet.ended("a")  # once more: nothing new
    assert rig.heard == 1


def test_an_attempt_after_another_is_the_same_worker() -> None:
    rig = Rig()
    rig.free = 0
    assert rig.fleet.admit("a") is None
    assert rig.fleet.admit("a") is None


def test_small_workers_need_little() -> None:
    rig = Rig()
    rig.free = 250_000_000
    assert rig.fleet.admit("a", large=False) is None
    assert rig.fleet.admit("b", large=False) is None
    assert rig.fleet.admit("c", large=False) == "waits for memory: 130 MB free, 160 MB needed"


def test_a_worker_of_an_earlier_run_has_its_memory() -> None:
    rig = Rig()
    rig.free = 700_000_000
    rig.fleet.adopted("old")
    assert rig.fleet.admit("a") is None
    rig.fleet.ended("a")
    rig.free = 0
    assert rig.fleet.admit("a") is not None


@pytest.mark.parametrize(("memory", "free"), [(0, 0), (600_000_000, None)])
def test_nobody_looks_or_nobody_knows(memory: int, free: int | None) -> None:
    rig = Rig(Limits(worker_memory=memory))
    rig.free = free
    assert [rig.fleet.admit(number) for number in range(50)] == [None] * 50
