"""The line that a run prints of a stage when its view has changed, and what a person is called for then."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dodo_claude.config.records import Config, Stage
from dodo_claude.machine import notify
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.state.events import Ask, State, View
from dodo_claude.text.clean import clean_line

if TYPE_CHECKING:
    from dodo_claude.run.fleet import Fleet

_MAX_ACTIVITY = 100  # characters of a worker's present activity
_MAX_MESSAGE = 200  # and of a message to it
# Around what a monitor quotes.
_FENCE = re.compile(r"^</?output [^\n]*mark=[^\n]*>\n?", re.MULTILINE)


class Line(NamedTuple):
    """What is printed of a stage, '' for nothing; and what a person is called for, if for anything."""

    text: str
    kind: str = ""  # of notify
    call: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a stage's view a line may be about: without a change of it there is none."""

    attempt: int
    state: State
    activity: str
    pane: str | None
    unheard: float
    unheard_for: str
    posted: tuple[str, str, str]
    blocked_on: str | None
    prompts: int
    repairs: int
    phase: int
    said: tuple[int | None, str]  # how far it is: percent, and in words
    asks: tuple[Ask, ...]

    @classmethod
    def of(cls, view: View, attempt: int) -> Seen:
        return cls(
            attempt, view.state, view.activity, view.pane, view.unheard, view.unheard_for, view.posted,
            view.blocked_on, view.prompts, view.repairs, view.phase, (view.percent, view.progress), view.asks,
        )  # fmt: skip


def of_view(
    stage: Stage,
    attempt: int,
    view: View,
    before: Seen | None,
    *,
    config: Config | None,
    fleet: Fleet | None,
    quiet: bool,
) -> Line:
    """What there is to say of `view`, after what was seen `before`. `quiet`: only what matters."""
    # What only checks again is as one that starts, for good, but has no pane.
    starts = view.state is State.STARTING and view.pane
    if starts and (before is None or (before.state, before.pane) != (State.STARTING, view.pane)):
        again = f" (attempt {attempt}{_after(stage, attempt, config)})" if attempt > 1 else ""
        where = f", phase {view.phase + 1} of {len(stage.phases)}" if view.phase else ""
        return Line(f"started in tmux session {stage.session}{where}{again}")
    if view.state is State.BLOCKED:
        return _blocked(stage, view, before, config)
    if view.state is State.PAUSED and (before is None or before.state is not State.PAUSED):
        from dodo_claude.agents import faults

        kind = faults.kind_of(view.error or "", view.error_text)
        what = "hit a limit" if kind == "rate_limit" else faults.pause(kind)
        return Line(f"{what} ({view.error}); all workers wait{until(fleet)}")
    if view.unheard and (
        before is None or (view.unheard, view.unheard_for) != (before.unheard, before.unheard_for)
    ):
        from dodo_claude.worker.since import silence

        return Line(silence(view))
    if view.asks and (before is None or view.asks[-1] not in before.asks):
        what = relative(view.asks[-1].text, config)
        answer = f"ASKS: {what} (dodo-claude answer {stage.name} TEXT)"
        return Line(answer, notify.ASKS, f"{stage.name} asks: {what}")
    return Line("" if quiet else _at_work(stage, view, before, config))


def _blocked(stage: Stage, view: View, before: Seen | None, config: Config | None) -> Line:
    from dodo_claude.report.status import answers

    what = relative(view.blocked_on or "a dialog", config)
    how = answers(stage.name) if view.request else f"dodo-claude attach {stage.name}"
    text = f"NEEDS A PERSON: {what} ({how})"
    if before is None or before.state is not State.BLOCKED:
        return Line(text, notify.NEEDS_HUMAN, f"{stage.name} needs a person: {what}")
    return Line(text)


def _at_work(stage: Stage, view: View, before: Seen | None, config: Config | None) -> str:
    """Of one with which all is well."""
    if view.posted[0] and (before is None or before.posted != view.posted):
        _, sender, text = view.posted
        return _clip(f"{sender} says to it: {relative(_gist(text), config)}", _MAX_MESSAGE)
    if before is not None and before.phase != view.phase and view.phase:
        made = sizes(stage.phases[view.phase - 1].targets)
        return f"phase {view.phase} of {len(stage.phases)} done{': ' if made else ''}{made}"
    said = (view.percent, view.progress)
    if view.percent is not None and (before is None or (before.said, before.asks) != (said, view.asks)):
        return _clip(f"{view.percent} % {relative(view.progress, config)}".rstrip())
    gone = view.state is State.EXITED and view.outcome is None
    if view.activity in ("", "thinking") or gone:
        return ""
    if before is not None and before.activity == view.activity:
        return ""
    return _clip(relative(view.activity, config))


def _after(stage: Stage, attempt: int, config: Config | None) -> str:
    """How the attempt before that one ended, if not well; whichever run that was in."""
    from dodo_claude.state.journal import Attempt, StageLog
    from dodo_claude.worker.since import ended

    if config is None:
        return ""
    before = Attempt(StageLog(config.root / STATE_DIR, stage.name), attempt - 1)
    how = ended(before.result() or {})
    return f"; attempt {attempt - 1} {_clip(relative(how, config))}" if how else ""


def until(fleet: Fleet | None) -> str:
    """When the pause ends, as it goes on from 'all workers wait'."""
    wall = fleet.paused_until if fleet is not None else None
    return time.strftime(" until %H:%M:%S", time.localtime(wall)) if wall else ""


def relative(text: str, config: Config | None) -> str:
    """One line, in which the project's files are named as in it."""
    return clean_line(text if config is None else text.replace(f"{config.root}/", ""))


def sizes(targets: Sequence[str]) -> str:
    """'api/profile.py (86 lines)', for each target."""
    shown = []
    for name in targets[:3]:
        try:
            with open(name, "rb") as stream:
                count = sum(1 for _ in stream)
        except OSError:
            continue
        shown.append(f"{name} ({count} line{'' if count == 1 else 's'})")
    more = len(targets) - 3
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _gist(text: str) -> str:
    """A message in a line."""
    return " ".join(_FENCE.sub("", text).split())


def _clip(text: str, most: int = _MAX_ACTIVITY) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
