"""What is between the stages of a report: what each needs and waits for, their groups, their sums. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dodo_claude.config.records import Config
from dodo_claude.report.record import (
    NOT_RUN,
    SETTLED,
    WAITING,
    GroupReport,
    StageReport,
    Totals,
    counted,
    sum_costs,
)
from dodo_claude.text.states import UP_TO_DATE


def with_needs(config: Config, stages: list[StageReport]) -> list[StageReport]:
    """What each comes after. A group stands for its stages, also where they were named one by one."""
    makers = {target: stage.name for stage in config.stages for target in stage.targets}
    plain = {stage.name: stage for stage in config.stages}
    members = {name: frozenset(stages) for name, stages in config.groups}
    found = []
    for told in stages:
        stage = plain[told.name]
        needs = dict.fromkeys([*stage.after, *(makers[name] for name in stage.file_dep if name in makers)])
        for group in {plain[name].group for name in needs if name in plain} - {None}:
            if group is not None and members.get(group, {""}) <= needs.keys():
                needs = {group: None} | needs
        covered = frozenset[str]().union(*(members[name] for name in needs if name in members))
        found.append(replace(told, needs=tuple(name for name in needs if name not in covered)))
    return found


def with_waits(config: Config, stages: list[StageReport], *, live: bool) -> list[StageReport]:
    """What nobody has looked at waits for those of its needs that are not done."""
    needs = config.needs()
    unsettled = {stage.name for stage in stages if stage.state not in SETTLED}
    # Of a run in progress that one is up to date is what we infer: once its needs are done, it is looked at again.
    inferred = {stage.name for stage in stages if live and stage.state == UP_TO_DATE}
    after: dict[str, list[str]] = {}
    for name in inferred:
        for need in needs[name]:
            after.setdefault(need, []).append(name)
    open_ends = list(unsettled)
    while open_ends:
        new = [name for name in after.get(open_ends.pop(), ()) if name not in unsettled]
        unsettled.update(new)
        open_ends += new
    found = []
    for told in stages:
        if told.state == WAITING or (told.name in inferred and told.name in unsettled):
            waits = tuple(name for name in needs[told.name] if name in unsettled)
            told = replace(told, state=WAITING if live else NOT_RUN, waits_for=waits)
        found.append(told)
    return found


def totals_of(stages: Sequence[StageReport]) -> Totals:
    changed = [file for stage in stages for file in stage.files if file.change in ("new", "changed")]
    return Totals(
        states=counted(stage.state for stage in stages),
        checks=counted(check.result for stage in stages for check in stage.checks),
        attempts=sum(len(stage.attempts) for stage in stages),
        repairs=sum(stage.repairs for stage in stages),
        seconds=round(sum(stage.seconds for stage in stages), 3),
        tokens=sum(stage.tokens for stage in stages),
        cost_usd=sum_costs(stage.cost_usd for stage in stages),
        files=len(changed),
        added=sum(file.added or 0 for file in changed),
        removed=sum(file.removed or 0 for file in changed),
    )


def groups_of(config: Config, stages: Sequence[StageReport]) -> tuple[GroupReport, ...]:
    found = []
    for name, _ in config.groups:
        members = [stage for stage in stages if stage.group == name]
        if members:
            found.append(
                GroupReport(
                    name,
                    counted(stage.state for stage in members),
                    round(sum(stage.seconds for stage in members), 3),
                    sum(stage.tokens for stage in members),
                    sum_costs(stage.cost_usd for stage in members),
                    tuple(stage.name for stage in members),
                )
            )
    return tuple(found)
