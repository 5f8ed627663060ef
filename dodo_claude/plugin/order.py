"""Which of the tasks that are ready goes first: the one from which the way to the end is the longest.

A way's length is in seconds, of the stages' last runs; one that never ran counts as the median of the others. So a
long chain does not wait for a crowd of short stages that happen to stand before it in the file.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

# Of a stage when none ever ran: then only the number of stages on a way counts.
UNKNOWN_SECONDS = 1.0


class Needs(Protocol):
    """What is looked at of a doit task."""

    name: str
    task_dep: Iterable[str]
    setup_tasks: Iterable[str]
    calc_dep: Iterable[str]


def ways(
    tasks: Mapping[str, Any],
    selected: Iterable[str],
    works: Callable[[Any], bool],
    past: Callable[[str], float | None],
) -> dict[str, float]:
    """Of each task that is selected, or needed: the seconds from its start to the end of the longest chain it begins.

    `works`: does that task take time? `past`: how long it took last.
    """
    order = list(_needed_first(tasks, selected))
    seconds = {name: past(name) for name in order if works(tasks[name])}
    known = [each for each in seconds.values() if each is not None]
    usual = statistics.median(known) if known else UNKNOWN_SECONDS
    found = dict.fromkeys(order, 0.0)
    for name in reversed(order):
        own = seconds.get(name, 0.0)
        found[name] += usual if own is None else own
        for need in _needs(tasks[name]):
            if need in found:
                found[need] = max(found[need], found[name])
    return found


def _needed_first(tasks: Mapping[str, Any], selected: Iterable[str]) -> Iterator[str]:
    """The selected tasks and what they need, each after all that it needs. No recursion: chains may be long."""
    seen: set[str] = set()
    for first in selected:
        if first in seen or first not in tasks:
            continue
        seen.add(first)
        path = [(first, _needs(tasks[first]))]
        while path:
            name, needs = path[-1]
            for need in needs:
                if need not in seen and need in tasks:
                    seen.add(need)
                    path.append((need, _needs(tasks[need])))
                    break
            else:
                path.pop()
                yield name


def _needs(task: Needs) -> Iterator[str]:
    yield from task.task_dep
    yield from task.setup_tasks
    yield from task.calc_dep


class Ready:
    """The tasks that are ready, first come first served until `order` is told; then by the longest way."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any]] = []
        self._count = 0
        self._ways: Mapping[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, node: Any, *, back: bool = False) -> None:
        """`node` is doit's, of a task. `back`: it was the first that was taken, and goes before those of equal ways."""
        self._count += 1
        count = 0 if back else self._count
        heapq.heappush(self._heap, (-self._ways.get(node.task.name, 0.0), count, node))

    def take(self) -> Any:
        return heapq.heappop(self._heap)[2]

    def order(self, found: Mapping[str, float]) -> None:
        """Go by these ways from here on."""
        self._ways = found
        self._heap = [(-found.get(node.task.name, 0.0), count, node) for _, count, node in self._heap]
        heapq.heapify(self._heap)
