"""The lookout: it looks at all who are silent at once, rarer and rarer, and rings those whose screens are strange."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from dodo_claude.run.lookout import Lookout
from dodo_claude.worker import policy

# How long anything may take that must happen; far above what it takes.
PATIENCE = 20.0


class Scene:
    """What the lookout sees, how often it looked, and whom it rang."""

    def __init__(self) -> None:
        self.strange: set[str] = set()
        self.looks: list[float] = []
        self.rung: list[str] = []
        self.happened = threading.Condition()
        self.lookout = Lookout(self._look, self._ring)

    def _look(self) -> set[str]:
        with self.happened:
            self.looks.append(time.monotonic())
            self.happened.notify_all()
            return self.strange

    def _ring(self, ring: str) -> None:
        with self.happened:
            self.rung.append(ring)
            self.happened.notify_all()

    def until_looked(self, times: int) -> None:
        with self.happened:
            assert self.happened.wait_for(lambda: len(self.looks) >= times, PATIENCE)

    def until_rung(self, *rings: str) -> None:
        with self.happened:
            assert self.happened.wait_for(lambda: sorted(self.rung) == sorted(rings), PATIENCE), self.rung


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(policy, "LOOK_SECONDS", 0.05)
    made = Scene()
    yield made
    made.lookout.close()


def test_without_anybody_to_look_at_there_is_no_thread(scene: Scene) -> None:
    before = threading.active_count()
    assert not scene.lookout.was_strange("a")
    scene.lookout.forget("a")
    assert threading.active_count() == before


def test_a_strange_screen_is_told_once(scene: Scene) -> None:
    scene.strange = {"%2"}
    now = time.monotonic()
    scene.lookout.watch("fine", "%1", now, box=True)
    scene.lookout.watch("odd", "%2", now, box=True)
    scene.until_rung("odd")
    assert not scene.lookout.was_strange("fine")
    assert scene.lookout.was_strange("odd")
    assert not scene.lookout.was_strange("odd")
    assert len(scene.looks) == 1
    assert scene.looks[0] >= now + 0.05


def test_what_is_strange_is_told_by_what_should_be_there(scene: Scene) -> None:
    """A dialog that is open; then it was answered, in its pane."""
    scene.strange = {"%1"}
    heard = time.monotonic()
    scene.lookout.watch("dialog", "%1", heard, box=False)
    scene.lookout.watch("answered", "%2", heard, box=False)
    scene.until_rung("answered")
    scene.lookout.watch("answered", "%2", heard, box=True)  # it goes on, silent: that is fine now
    scene.until_looked(2)
    assert not scene.lookout.was_strange("answered")
    assert not scene.lookout.was_strange("dialog")


def test_a_hundred_are_one_look(scene: Scene) -> None:
    now = time.monotonic() - 1
    scene.strange = {"%7"}
    for number in range(100):
        scene.lookout.watch(f"w{number}", f"%{number}", now + number / 1000, box=True)
    scene.until_rung("w7")
    # The first may have been looked at before the last was there.
    assert len(scene.looks) <= 3


def test_who_is_heard_of_or_forgotten_is_not_looked_at(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LOOK_SECONDS", 0.3)
    scene.strange = {"%1", "%2", "%3"}
    now = time.monotonic()
    for ring, pane in (("speaks", "%1"), ("ends", "%2"), ("silent", "%3")):
        scene.lookout.watch(ring, pane, now, box=True)
    scene.lookout.forget("ends")
    scene.lookout.watch("speaks", "%1", now + PATIENCE, box=True)
    scene.until_rung("silent")
    assert scene.rung == ["silent"]


def test_one_that_falls_silent_while_the_thread_sleeps(scene: Scene) -> None:
    scene.lookout.watch("late", "%1", time.monotonic() + PATIENCE, box=True)
    scene.strange = {"%2"}
    scene.lookout.watch("soon", "%2", time.monotonic(), box=True)
    scene.until_rung("soon")


def test_it_looks_again_and_what_is_mended_is_not_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LOOK_AGAIN_SECONDS", 0.05)
    heard = time.monotonic()
    scene.strange = {"%1"}
    scene.lookout.watch("a", "%1", heard, box=True)
    scene.until_rung("a")
    scene.lookout.watch(
        "a", "%1", heard, box=True
    )  # it looked for itself, and nothing happened: that is no news
    scene.until_rung("a", "a")
    scene.strange = set()
    scene.until_looked(len(scene.looks) + 2)
    assert not scene.lookout.was_strange("a")


def test_a_terminal_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LOOK_SECONDS", 0.0)
    looking, go_on = threading.Event(), threading.Event()

    def hang() -> set[str]:
        looking.set()
        assert go_on.wait(PATIENCE)
        return set()

    lookout = Lookout(hang, lambda ring: None)
    lookout.watch("a", "%1", time.monotonic(), box=True)
    assert looking.wait(PATIENCE)
    lookout.watch("b", "%2", time.monotonic(), box=True)
    assert not lookout.was_strange("a")
    lookout.forget("a")
    go_on.set()
    lookout.close()


def test_idle_it_never_wakes_up(scene: Scene) -> None:
    scene.lookout.watch("a", "%1", time.monotonic() + PATIENCE, box=True)
    time.sleep(0.2)
    assert scene.looks == []


def test_the_longer_it_is_silent_the_rarer_it_is_looked_at() -> None:
    heard, looks = 100.0, [float("-inf")]
    while looks[-1] < heard + 900:
        looks.append(policy.next_look(heard, looks[-1]))
    gaps = [after - before for before, after in itertools.pairwise(looks[1:])]
    assert looks[1] == heard + policy.LOOK_SECONDS
    assert gaps == sorted(gaps)
    assert gaps[0] == policy.LOOK_AGAIN_SECONDS
    assert len(looks) <= 10
    assert policy.next_look(looks[-1] + 1, looks[-1]) == looks[-1] + 1 + policy.LOOK_SECONDS
