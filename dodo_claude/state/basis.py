"""What an attempt was made from and what of it is verified: a fold of its events, as `lifecycle.View` is of its worker's.

The one owner of what these events mean to whoever comes later. Reads no clock and no screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from dodo_claude.state.events import BEGUN, CHECKED, PHASE, VERIFIED, Event
from dodo_claude.state.journal import Attempt

# The events that tell of it.
KINDS = frozenset({BEGUN, CHECKED, PHASE, VERIFIED})


@dataclass(frozen=True, slots=True)
class Basis:
    """Marks are fingerprints as JSON has them: see verify.py."""

    begun: Mapping[str, object] = field(default_factory=dict)  # what it began with; empty: nothing tells
    inputs: Mapping[str, object] = field(default_factory=dict)  # their marks, as its own check left them
    phases: tuple[object, ...] = ()  # of each that is verified, what was written down of it
    problems: tuple[str, ...] | None = None  # of the last verification; None: there was none

    def table(self, key: str) -> Mapping[str, object]:
        """A table of what it began with; empty where there is none."""
        return _table(self.begun.get(key))

    @property
    def nonce(self) -> str | None:
        """What its processes are known by."""
        nonce = self.begun.get("nonce")
        return nonce if isinstance(nonce, str) else None


def after(basis: Basis, event: Event) -> Basis:
    """The basis after `event`; others than KINDS leave it as it is."""
    if event.kind == BEGUN:
        return Basis(event.data, _table(event.data.get("inputs")), tuple(_list(event.data.get("verified"))))
    if event.kind == CHECKED:
        return replace(basis, inputs={**basis.inputs, **_table(event.data.get("inputs"))})
    if event.kind == PHASE:
        return replace(basis, phases=(*basis.phases, dict(event.data)))
    if event.kind == VERIFIED:
        return replace(basis, problems=tuple(map(str, _list(event.data.get("problems")))))
    return basis


def of(attempt: Attempt) -> Basis:
    """As its journal tells; of one without a journal, nothing. Raises `OSError`."""
    basis = Basis()
    for event in attempt.outline(KINDS)[2]:
        basis = after(basis, event)
    return basis


def _table(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
