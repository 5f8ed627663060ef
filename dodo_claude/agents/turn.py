"""Is a worker's turn over? One function decides it, from all that its client says. Reads no clock, file or screen.

A Stop hook says that the model has nothing more to do. That is the turn's end at once, unless something else says
otherwise: a task in the background, a prompt that is scheduled, our own answer with a message (lifecycle.py sees to
that), or another Stop hook. All Stop hooks run at the same time and know nothing of each other's answers: any of them
may send the worker on, and its next request is out within 0.1-0.3 s. So where there are others, the turn is over when the client
says so after them: by `turn_duration` in its transcript (0.1-0.4 s after the last of the hooks), by its registry of
sessions, or by its notice that it is idle (a minute later).
"""

from __future__ import annotations

from dataclasses import dataclass

from dodo_claude.state.events import View


@dataclass(frozen=True, slots=True)
class Signs:
    """What the client says besides its hooks. Times are wall time, 0: never."""

    others: bool = False  # others than ours may be asked at a turn's end
    ended: float = 0.0  # when it last wrote down that a turn was over
    idle: float = 0.0  # since when its registry calls it idle


NO_SIGNS = Signs()


def is_over(view: View, signs: Signs) -> bool:
    """Is the turn of this idle worker over, so that it may be judged, spoken to, or ended?"""
    return not (view.background or view.scheduled or is_held_open(view, signs))


def is_held_open(view: View, signs: Signs) -> bool:
    """May another's hook have sent it on at its last Stop?"""
    return signs.others and 0.0 < view.stopped > max(signs.ended, signs.idle)
