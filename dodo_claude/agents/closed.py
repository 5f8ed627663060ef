"""Which of the other stages' targets are closed to a worker."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable

# Each closed file is a rule that the client reads: 1000 take it 0.3 s more of CPU. Of more the nearest are closed.
MOST_CLOSED = 500


def closed(targets: Iterable[str], own: Collection[str]) -> tuple[str, ...]:
    """The targets that the client of a stage with the targets `own` may not edit: all others, or, of very many, those
    that stand nearest to its own. `targets`: of all stages, in the order of paths. What gets to the rest is seen by
    witness.py."""
    found = tuple(targets)
    if len(found) > MOST_CLOSED:
        each = MOST_CLOSED // max(1, min(len(own), MOST_CLOSED))
        near: set[str] = set()
        for name in sorted(own)[:MOST_CLOSED] or found[:1]:
            at = bisect.bisect_left(found, name)
            first = max(0, min(at - each // 2, len(found) - each))
            near.update(found[first : first + each])
        found = tuple(sorted(near))
    return tuple(name for name in found if name not in own)
