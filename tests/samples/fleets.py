"""A fleet on a clock that the test sets, with all that surrounds it in the test's hands."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from dodo_claude.run.fleet import Fleet, Limits

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC).timestamp()
PARIS = ZoneInfo("Europe/Paris")
RESETS_AT_3PM = (
    "API Error: Request rejected (429) · Claude usage limit reached. Your limit will reset at 3pm (UTC)."
)
OVERLOADED = "API Error: Repeated 529 Overloaded errors."
HOUR = 3600.0


class FakeClock:
    def __init__(self) -> None:
        self.wall, self.steady = NOW, 1000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class Rig:
    """A fleet with all that surrounds it in the test's hands."""

    def __init__(self, limits: Limits | None = None, *, random: float = 1.0) -> None:
        self.clock = FakeClock()
        self.free: int | None = None
        self.heard = 0
        self.fleet = Fleet(
            Limits() if limits is None else limits,
            self.clock,
            lambda: random,
            memory=lambda: self.free,
            zone=PARIS,
            listener=self._hear,
        )

    def _hear(self) -> None:
        self.heard += 1
        self.fleet.pause_left()  # would hang if the lock were held


def at(hour: float) -> float:
    """The wall time of an hour of NOW's day, UTC."""
    return NOW + (hour - 13) * HOUR
