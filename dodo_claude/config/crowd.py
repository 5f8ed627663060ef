"""Workers that may be in each other's way: a note for people, made when they ask what is wrong with a configuration."""

from __future__ import annotations

import graphlib
import itertools
from collections.abc import Mapping, Sequence

from dodo_claude.config.profiles import SESSIONS
from dodo_claude.config.records import Config, Stage

# Rules under which a client's own tools may edit all files of the worker's folder.
_ALL = frozenset({"Edit", "Write", "Edit(./**)", "Edit(**)", "Edit(**/*)", "Edit(./**/*)", "Edit(*)"})
_MODES = frozenset({"acceptEdits", "bypassPermissions"})


def notes(config: Config) -> tuple[str, ...]:
    """One note where two workers may work at once and each may edit the whole project; else none."""
    if config.max_workers < 2:
        return ()
    # Stages of one template, side by side; of a plan that is not there nothing is known.
    for late in config.late:
        if not late.plan and _edits_all(late.template):
            return (_note(f"the stages of '{late.group}'", late.template),)
    free = {stage.name: stage for stage in config.stages if _edits_all(stage)}
    pair = _unordered(config, free) if len(free) > 1 else None
    if pair is None:
        return ()
    planned = all(stage.planned for stage in pair)
    return (_note(f"'{pair[0].name}' and '{pair[1].name}'", pair[1], len(free) - 2, planned=planned),)


def _edits_all(stage: Stage) -> bool:
    agent = stage.agent
    if agent is None or agent.base not in SESSIONS or stage.cwd != ".":
        return False
    return agent.permission_mode in _MODES or not _ALL.isdisjoint(agent.allowed_tools)


def _note(who: str, stage: Stage, more: int = 0, *, planned: bool = False) -> str:
    assert stage.agent is not None
    others = f", as {more} more" if more > 0 else ""
    narrow = (
        f'name what each may edit, allowed_tools = ["Edit(./src/a.py)"], and nothing for all: [agents.{stage.agent.name}] '
        "allowed_tools = []"
    )
    if planned:  # a plan says nothing of tools
        narrow = "max_workers = 1 lets them work one after the other"
    return (
        f"{who} may work at once, and each may edit all files of the project{others}: what is a target of another stage "
        f"is closed to it, but of a file that no stage declares the last one's bytes stand ({narrow})"
    )


def _unordered(config: Config, free: Mapping[str, Stage]) -> tuple[Stage, Stage] | None:
    """Two of these stages that no way through the graph puts one after the other."""
    needs = config.needs()
    place = {name: number for number, name in enumerate(graphlib.TopologicalSorter(needs).static_order())}
    order = [name for name in place if name in free]
    # In a row of stages each of which waits for the one before nothing is side by side; else two neighbours are.
    for first, second in itertools.pairwise(order):
        if not _waits_for(second, first, needs, place):
            return free[first], free[second]
    return None


def _waits_for(name: str, other: str, needs: Mapping[str, Sequence[str]], place: Mapping[str, int]) -> bool:
    """By a way through the graph: what stands before the other in its order waits for none that is behind."""
    seen, todo = set[str](), [name]
    while todo:
        for need in needs.get(todo.pop(), ()):
            if need == other:
                return True
            if need not in seen and place[need] > place[other]:
                seen.add(need)
                todo.append(need)
    return False
