"""The board of a run that is under way: what is known of its stages, drawn whenever the screen asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TextIO

from dodo_claude.config.records import Config, Stage
from dodo_claude.machine.question import Streams
from dodo_claude.plugin import lines
from dodo_claude.report import board
from dodo_claude.state.stops import not_begun
from dodo_claude.text.clean import clean_line
from dodo_claude.text.states import SETTLED

if TYPE_CHECKING:
    from dodo_claude.plugin.screen import Screen
    from dodo_claude.run.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Sources:
    """What the board asks while it is drawn. A run may learn of stages, and has a fleet once it works."""

    config: Callable[[], Config]
    fleet: Callable[[], Fleet | None]
    # Of stages those that people stopped, and why.
    stopped: Callable[[Iterable[str]], Mapping[str, str]]
    stopping: Callable[[], str]  # why the run ends, once it was told to
    workers: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """The stages of this run."""

    config: Config  # of which they are
    order: list[str]  # as in the graph
    needs: dict[str, tuple[str, ...]]
    stages: dict[str, Stage]


class LiveBoard:
    """One run's. Any thread may tell it of a stage; each stage is told of by one at a time.

    `chosen`: the stages of the run; `past`: of each its seconds, when it last ran; `start`: when the run began.
    """

    def __init__(
        self,
        stream: TextIO,
        sources: Sources,
        chosen: frozenset[str],
        past: Mapping[str, float],
        start: float,
    ) -> None:
        self._stream = stream
        self._sources = sources
        self._chosen = chosen
        self._past = past
        self._start = start
        self._told: dict[str, board.Told] = {}
        self._plan: _Plan | None = None
        self._screen: Screen | None = None
        self._streams: Streams | None = None

    @property
    def screen(self) -> Screen | None:
        """Where it is shown; None: not yet."""
        return self._screen

    def note(self, name: str, **facts: Any) -> None:
        """These fields of what is told of a stage are other ones now."""
        if "state" in facts:
            facts["ended"] = time.monotonic()
        self._told[name] = replace(self._told.get(name, board.Told()), **facts)
        if self._screen is not None:
            self._screen.changed()

    def show(self, *, held: bool) -> Screen:
        """Put it on the terminal, with what a dodo.py's task prints by itself above it."""
        from dodo_claude.plugin.screen import Screen  # rich: not before there is something on it

        self._screen = Screen(self._stream, self._draw, held=held)
        self._streams = Streams(self._screen.above)
        return self._screen

    def close(self) -> None:
        """Take it away."""
        if self._streams is not None:
            self._streams.restore()
        if self._screen is not None:
            self._screen.close()

    def _draw(self, width: int, height: int) -> list[board.Line]:
        plan = self._planned()
        now, fleet, told = time.monotonic(), self._sources.fleet(), self._told
        over = {name for name, known in list(told.items()) if known.state in SETTLED}
        stopped = self._sources.stopped(name for name in plan.order if name not in told)
        rows = []
        for name in plan.order:
            waits = [need for need in plan.needs[name] if need not in over and need in plan.stages]
            used = fleet.used_by(name) if fleet is not None else (0, None)
            row = board.row(
                name, told.get(name, board.Told()), waits, now, used, worker=plan.stages[name].agent is not None,
                stopped=not_begun(stopped[name]) if name in stopped else "",
            )  # fmt: skip
            rows.append(replace(row, what=row.what.replace(f"{plan.config.root}/", "")))
        totals = fleet.totals() if fleet is not None else None
        shown = board.Board(
            name=plan.config.name,
            rows=tuple(rows),
            seconds=now - self._start,
            left=board.time_left(plan.order, plan.needs, told, self._past, self._sources.workers, now),
            tokens=totals.usage.tokens if totals is not None else 0,
            cost=totals.cost if totals is not None else None,
            notice=self._notice(fleet),
        )
        return board.lines(shown, width, height)

    def _planned(self) -> _Plan:
        """The stages of this run in the graph's order. A run may learn of more."""
        config, plan = self._sources.config(), self._plan
        if plan is None or plan.config is not config:
            if plan is not None:
                self._chosen |= {stage.name for stage in config.stages} - {*plan.stages}
            needs = config.needs()
            stages = {stage.name: stage for stage in config.stages if stage.name in self._chosen}
            plan = self._plan = _Plan(config, board.in_order(list(stages), needs), needs, stages)
        return plan

    def _notice(self, fleet: Fleet | None) -> str:
        """What holds all of them."""
        if stopping := self._sources.stopping():
            return stopping
        if fleet is None:
            return ""
        if fleet.paused_until is not None:
            return f"{fleet.paused_for}: all workers wait{lines.until(fleet)}"
        return f"nothing more is started: {clean_line(fleet.stopped)}" if fleet.stopped is not None else ""
