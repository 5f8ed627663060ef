"""Graphs of stages that take a while and make a file each, and the least time that each can take. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Node(NamedTuple):
    """A stage that works for `seconds` once those of `needs` are done."""

    seconds: float
    needs: tuple[str, ...] = ()


Graph = Mapping[str, Node]


def independent(count: int, seconds: float) -> dict[str, Node]:
    return {f"s{number}": Node(seconds) for number in range(count)}


def chain(count: int, seconds: float, name: str = "c") -> dict[str, Node]:
    return {
        f"{name}{number}": Node(seconds, (f"{name}{number - 1}",) if number else ())
        for number in range(count)
    }


def layers(deep: int, wide: int, seconds: float) -> dict[str, Node]:
    """Each stage needs all of the layer before."""
    return {
        f"l{layer}-{number}": Node(
            seconds, tuple(f"l{layer - 1}-{other}" for other in range(wide)) if layer else ()
        )
        for layer in range(deep)
        for number in range(wide)
    }


def gathered(count: int, seconds: float) -> dict[str, Node]:
    """A map and what needs all of it."""
    made = independent(count, seconds)
    return {**made, "all": Node(seconds, tuple(made))}


def chain_defined_last(count: int, length: int, seconds: float) -> dict[str, Node]:
    return {**independent(count, seconds), **chain(length, seconds)}


def bound(graph: Graph, slots: int, seconds: Mapping[str, float] | None = None) -> float:
    """No schedule is shorter: all that a stage needs, one after the other or spread over all slots, and then the longest
    path from there; or all work spread over all slots. `seconds`: instead of the nodes'."""
    long = {name: node.seconds for name, node in graph.items()} | dict(seconds or {})
    before: dict[str, set[str]] = {}
    begins: dict[str, float] = {}
    for name, node in graph.items():  # what is needed is defined before
        before[name] = set(node.needs).union(*(before[other] for other in node.needs))
        path = max((begins[other] + long[other] for other in node.needs), default=0.0)
        begins[name] = max(path, sum(long[other] for other in before[name]) / slots)
    ends = max(begins[name] + long[name] for name in graph)
    return max(ends, sum(long[name] for name in graph) / slots)


def least(graph: Graph, slots: int) -> float:
    """What a list schedule, longest remaining path first, takes without any overhead: often more than the bound."""
    remaining: dict[str, float] = {}
    for name in reversed(list(graph)):
        after = [remaining[other] for other, node in graph.items() if name in node.needs]
        remaining[name] = graph[name].seconds + max(after, default=0.0)
    order = {name: index for index, name in enumerate(graph)}
    running: list[tuple[float, str]] = []
    done: set[str] = set()
    now, waiting = 0.0, set(graph)
    while waiting or running:
        ready = [name for name in waiting if done.issuperset(graph[name].needs)]
        for name in sorted(ready, key=lambda name: (-remaining[name], order[name]))[: slots - len(running)]:
            waiting.remove(name)
            running.append((now + graph[name].seconds, name))
        now = min(end for end, _ in running)
        done |= {name for end, name in running if end == now}
        running = [item for item in running if item[0] != now]
    return now
