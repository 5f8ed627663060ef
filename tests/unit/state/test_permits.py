"""Is a request for a permission still asked, by the screen? (The rest needs a hook, or a run: test_hook, integration/.)"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from dodo_claude.state import permits


def looks(*seen: bool) -> tuple[Callable[[], bool], list[bool]]:
    """A screen that shows the dialog or not, look after look; the last for ever. And what was looked at."""
    looked: list[bool] = []

    def look() -> bool:
        looked.append(seen[min(len(looked), len(seen) - 1)])
        return looked[-1]

    return look, looked


def test_a_dialog_that_is_drawn_after_its_hook_began_is_asked() -> None:
    look, looked = looks(False, False, True)
    assert not permits.is_over(look, time.time())
    assert looked == [False, False, True]


def test_one_that_had_its_time_and_is_not_there_is_over_at_the_first_look() -> None:
    look, looked = looks(False)
    assert permits.is_over(look, time.time() - permits.DRAW_SECONDS)
    assert looked == [False]


@pytest.mark.parametrize("since", [0.0, 3600.0], ids=["now", "in the future"])
def test_none_is_waited_for_longer_than_that(monkeypatch: pytest.MonkeyPatch, since: float) -> None:
    monkeypatch.setattr(permits, "DRAW_SECONDS", 0.1)
    look, looked = looks(False)
    assert permits.is_over(look, time.time() + since)
    assert len(looked) > 1
