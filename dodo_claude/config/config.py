"""orchestrate.toml from bytes to frozen records, or every fault in it at once. No raw TOML goes further than here.

The way: tomllib reads, schema.py judges the form, expand.py each stage, checks.py the stages together. Nothing is
started, written or changed.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dodo_claude.config import (
    beside,
    checks,
    documents,
    expand,
    foreach,
    inputs,
    language,
    paths,
    plans,
    profiles,
    shapes,
)
from dodo_claude.config.documents import Documents, Table
from dodo_claude.config.drafts import Draft, Surroundings
from dodo_claude.config.findings import Findings, comparing, did_you_mean, listed, show
from dodo_claude.config.groups import Group, Late
from dodo_claude.config.records import (
    ORDERS,
    Absent,
    AgentProfile,
    Budget,
    Config,
    Foreach,
    Monitor,
    Plan,
    Stage,
    enclosing,
)
from dodo_claude.config.settings import LONGEST_DELAY, budget_of, duration_of, size_of
from dodo_claude.text import durations
from dodo_claude.text.errors import ConfigError, Problem
from dodo_claude.text.numbers import grouped

__all__ = ["AgentProfile", "Blueprint", "Budget", "Config", "Monitor", "Stage", "load_config"]

# What doit, and a person, can still look at.
MAX_STAGES = 12_000
# Paths of [defaults] that are protected, counted for each stage that protects more: who protects no more shares them.
MOST_PROTECTED = 1_000_000
# And what all stages of an included file read, as its table says, counted for each of them.
MOST_SHARED = 1_000_000


def load_config(path: Path, *, task_names: Collection[str] = (), agent: str | None = None) -> Config:
    """The configuration of a file. ConfigError names everything that is wrong with it; nothing else is raised.

    `task_names` are taken by tasks of dodo.py, `agent` does every stage's work in place of its own.
    """
    return Blueprint(path, task_names=task_names, agent=agent).config()


@contextlib.contextmanager
def unswept() -> Iterator[None]:
    """All that a configuration is made of stays, so that looking for what went is a quarter of the time in vain."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Blueprint:
    """A file, read once, of which configurations are made: each knows more of the items that stages make.

    ConfigError as by load_config. `made_by` has the targets of dodo.py's tasks and who makes them; None: not known.
    `delayed`: some of its tasks are made in mid-run only.
    """

    def __init__(
        self,
        path: Path,
        *,
        task_names: Collection[str] = (),
        agent: str | None = None,
        made_by: Mapping[str, str] | None = None,
        delayed: bool = False,
    ) -> None:
        self.path = path
        self._tasks = frozenset(task_names)
        self._agent = agent
        self._made_by = made_by
        self._delayed = delayed
        self._seen: dict[str, tuple[str, ...]] = {}  # a run's items stay what they were when it began
        self._plans: dict[str, documents.File] = {}  # and so do its plans
        self._settled: frozenset[str] = frozenset()
        with unswept():
            self.file = documents.read(path)

    def config(self, settled: Collection[str] | None = None) -> Config:
        """The configuration as it is known when the makers of the items of the groups `settled` are done.

        None: when nothing runs, and what is there is taken as it is, if it can be.
        """
        if settled is not None:
            self._settled = frozenset(settled)
            return self._config(settled, self._seen, self._plans)
        try:
            return self._config(None, self._seen, {})
        except ConfigError:
            if not self._hangs_on_what_is_there():
                raise
            # What a stage made, and is not right, is that stage's to mend: it keeps nobody from looking.
            return self._config((), self._seen, {})

    def _hangs_on_what_is_there(self) -> bool:
        """May stages be others before their makers have run?"""
        tables = (
            table
            for file in (self.file, *documents.files(self.file))
            for table in (file.values.get("stages") or {}).values()
        )
        return any(table and ("plan" in table or isinstance(table.get("foreach"), dict)) for table in tables)

    def plan_problems(self, group: str) -> tuple[str, ...]:
        """All that is wrong with the plan of `group` as it is on disk now. Called by any thread."""
        others = dict(self._plans)
        others.pop(group, None)
        try:
            self._config({*self._settled, group}, dict(self._seen), others)
        except ConfigError as error:
            return tuple(map(str, error.problems))
        return ()

    @unswept()
    @language.together()
    @comparing()
    @paths.trying()
    @inputs.once()
    def _config(
        self,
        settled: Collection[str] | None,
        seen: dict[str, tuple[str, ...]],
        read: dict[str, documents.File],
    ) -> Config:
        root = Path(inputs.real(str(self.path.parent)))

        def planned(group: str, path: str) -> documents.File | None:
            there = settled is None and inputs.is_there(f"{root}/{path}")
            if group not in read and (there or group in (settled or ())):
                read[group] = plans.read(root / path, path)
            return read.get(group)

        found = Documents.of(self.file, str(root), planned)
        findings = found.main.findings
        settings: Mapping[str, Any] = self.file.values.get("orchestrate") or {}
        name = settings.get("name") or safe_name(root.name)
        groups = foreach.Search(found.tables, self._made_by, settled, seen).run()
        for table, path, file in found.plans:
            if file is None:
                makers = (table.by_planner.full_name,)
                groups[table.full_name] = Group(table, items=None, makers=makers, plan=path)
        stages, templates, absent, notes = self._stages(found, name, groups)
        _judge_emptiness(found)
        made = Config(
            path=self.path,
            root=root,
            name=name,
            max_workers=settings.get("max_workers", 4),
            socket=(settings.get("tmux") or {}).get("socket", "private"),
            stages=stages,
            groups=_groups(stages, found),
            budget=budget_of(settings.get("budget") or {}, findings),
            retry_delay=duration_of(
                settings, "retry_delay", 30.0, LONGEST_DELAY, "at most 15 minutes", findings
            ),
            max_wait=duration_of(
                settings, "max_wait", 86_400.0, durations.LONGEST, "at most 7 days", findings
            ),
            worker_memory=size_of(settings.get("worker_memory"), 600_000_000, findings),
            foreach=templates,
            included=tuple(file.name for file in documents.files(self.file)),
            notify=tuple(settings.get("notify") or ()),
            notes=(*_notes(self.file), *notes),
            absent=absent,
            plans=tuple(
                Plan(table.full_name, table.by_planner.full_name, path, file.digest if file else None)
                for table, path, file in found.plans
            ),
        )
        findings.raise_any()
        return made

    def _stages(
        self, found: Documents, name: str, groups: Mapping[str, Group]
    ) -> tuple[tuple[Stage, ...], tuple[Foreach, ...], tuple[Absent, ...], list[str]]:
        """All stages, judged alone and together; and what those are made from whose items are files or lines.

        Then the files that they read, that are not there and that nobody makes; and what is to be said of stages.
        """
        around = self._surroundings(found, name, groups)
        shared = {
            table.full_name: expand.expand(table, around[table.document.prefix], None)[0]
            for table in found.includes
        }
        for table in found.includes:
            _judge_shared(table, shared[table.full_name], found, groups)
        drafts, templates = [], []
        unknown: list[tuple[str, Draft]] = []  # of each group whose items are not known
        for table in found.tables:
            group, document = groups.get(table.full_name), table.document
            made = expand.expand(table, around[document.prefix], group)
            for draft in made:
                if document.planner is not None:
                    draft.after[document.planner.full_name] = draft.at
                for outer in document.outer:
                    draft.take(shared[outer.full_name])
            drafts += made
            if group is not None and group.items is None:
                unknown.append((group.name, expand.common(table, around[document.prefix], group)))
            if group is not None and not group.written:
                templates.append(_foreach(group, expand.template(table, around[document.prefix], group)))
            late_plan = groups.get(f"{document.prefix}{table.name}") if table.is_planner else None
            if late_plan is not None:
                templates.append(_foreach(late_plan, made[0].stage))
        late = Late(group for group in groups.values() if group.items is None)
        files = list(documents.files(self.file))
        orders = [self.path.name, *(file.name for file in files)]
        names = [*groups, *_standing(found)]
        stages = checks.connect(drafts, late, names, found.main.project, orders)

        by_dodo = {found.main.project.real(path) for path in self._made_by or ()}

        def others(path: str) -> bool:
            """Can it be made by somebody whose targets no stage has?"""
            by_tasks = self._delayed or found.main.project.real(path) in by_dodo
            return by_tasks or bool(late.makers(path))

        readers = [*((draft.stage.name, draft) for draft in drafts), *unknown]
        lacking = checks.absent(readers, found.main.project, others)
        notes = [*dict.fromkeys(map(str, checks.unproved([*drafts, *(draft for _, draft in unknown)])))]
        if lacking and self._made_by is None and inputs.is_there(str(self.path.with_name("dodo.py"))):
            notes += dict.fromkeys(_doubt(each.path) for each in lacking)
            lacking = ()
        plans.judge_stages(drafts, {each.path for each in lacking})
        more = tuple(f"{file.base}/{name}" for file in files for name in ORDERS)
        if more:
            guarded = checks.once_each(lambda protect: (*protect, *more))
            stages = tuple(stage.with_values(protect=guarded(stage.protect)) for stage in stages)
        return stages, tuple(templates), lacking, notes

    def _surroundings(
        self, found: Documents, name: str, groups: Mapping[str, Group]
    ) -> dict[str, Surroundings]:
        """Of each file, by the prefix of its stages, what they are read against."""
        findings = found.main.findings
        names = [stage for table in found.tables for stage in _names(table, groups.get(table.full_name))]
        if len(names) > MAX_STAGES:
            findings.add(("stages",), f"makes {len(names)} stages", f"at most {MAX_STAGES}")
            findings.raise_any()
        names += [*groups, *_standing(found)]
        _judge_names(names, self._tasks, findings)
        names.sort()
        late = sorted([*found.faulty, *(group.name for group in groups.values() if group.items is None)])
        of_foreach, elsewhere = sorted(groups), sorted(table.full_name for table in found.includes)
        around: dict[str, Surroundings] = {}
        chosen = None
        for document in found.all:
            if document.planner is not None:
                # Its agents and defaults are those of the file that its planner stands in.
                around[document.prefix] = replace(
                    around[document.planner.document.prefix],
                    known=_local(names, document.prefix),
                    late=frozenset(),
                    findings=document.findings,
                )
                _judge_protected(document, around[document.prefix].protect)
                continue
            agents = profiles.profiles(
                document.values.get("agents") or {}, document.project, document.findings, document.prefix
            )
            if document is found.main:
                chosen = _chosen(self._agent, agents, findings)
            defaults = document.values.get("defaults") or {}
            protect = expand.protected(
                defaults.get("protect"), ("defaults", "protect"), document.project, document.findings
            )
            _judge_protected(document, protect)
            around[document.prefix] = Surroundings(
                name=name,
                project=document.project,
                defaults={key: value for key, value in defaults.items() if value is not None},
                agents=agents,
                agent=agents.get(self._agent or "", chosen),
                known=_local(names, document.prefix),
                late=_local(late, document.prefix),
                tasks=self._tasks,
                findings=document.findings,
                monitors=beside.tables(
                    document.values.get("monitors") or {},
                    beside.Names(
                        known=_local(names, document.prefix),
                        groups=_local(of_foreach, document.prefix),
                        late=_local(late, document.prefix),
                        elsewhere=_local(elsewhere, document.prefix),
                    ),
                    document.findings,
                ),
                protect=protect,
            )
        return around


def _judge_protected(document: documents.Document, protect: Collection[str]) -> None:
    more = sum(
        bool(table and table.get("protect")) for table in (document.values.get("stages") or {}).values()
    )
    if len(protect) * more > MOST_PROTECTED:
        most = grouped(MOST_PROTECTED)
        text = f"{len(protect)} entries are added to those of {more} stages, more than {most} in all"
        remedy = "name the files of a folder by a glob, such as 'src/**'"
        owner = document if document.planner is None else document.planner.document
        owner.findings.add(("defaults", "protect"), text, remedy)
        owner.findings.raise_any()


def _judge_shared(table: Table, draft: Draft, found: Documents, groups: Mapping[str, Group]) -> None:  # fmt: skip
    start = f"{table.full_name}:"
    count = len(draft.file_dep)
    stages = count and sum(
        len(_names(inner, groups.get(inner.full_name)))
        for inner in found.tables
        if inner.full_name.startswith(start)
    )
    if count * stages > MOST_SHARED:
        most = grouped(MOST_SHARED)
        text = f"{count} entries are read by each of {stages} stages, more than {most} in all"
        remedy = "let one stage put them together, and the others read what it made"
        table.document.findings.add((*table.place, "file_dep"), text, remedy)
        table.document.findings.raise_any()


def _notes(main: documents.File) -> Iterator[str]:
    for file in documents.files(main):
        keys = [key for key in file.values.get("orchestrate") or {} if key != "name"]
        if keys:
            yield f"{file.name}: {listed(keys)} of [orchestrate] count where it runs by itself; here {main.name}'s do"


def _judge_emptiness(found: Documents) -> None:
    """A file of no stages is hardly what anybody wanted; one in which something else is wrong, may have some."""
    if found.main.findings.problems:
        return
    for document in found.all:
        if not document.values.get("stages"):
            text, remedy = "has no stages", "write a table [stages.NAME] with a prompt or a command for each"
            document.findings.put(Problem(document.findings.file, 1, 1, "", text, remedy))


def _doubt(path: str) -> str:
    return f"{show(path)} is not there, and no stage makes it: a task of dodo.py has to"


def _local(names: list[str], prefix: str) -> frozenset[str]:
    """Those of `names`, sorted, that a file may use, as it writes them."""
    found = itertools.takewhile(
        lambda name: name.startswith(prefix), itertools.islice(names, bisect_left(names, prefix), None)
    )
    return frozenset(name.removeprefix(prefix) for name in found)


def _standing(found: Documents) -> list[str]:
    """The names that stand for all stages of a file."""
    return [table.full_name for table in (*found.includes, *(table for table, _, _ in found.plans))]


def _names(table: Table, group: Group | None) -> list[str]:
    if group is None:
        return [table.full_name]
    return [f"{table.full_name}:{item}" for item in group.items or ()]


def _foreach(group: Group, template: Stage) -> Foreach:
    return Foreach(
        group=group.name,
        template=template,
        source=group.source,
        makers=group.makers,
        late=group.items is None,
        targets=tuple(shapes.expression_of(shape) for shape in group.shapes),
        plan=group.plan is not None,
    )


def safe_name(folder: str) -> str:
    """A name for an orchestration made of its folder's."""
    return re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:32].rstrip("-") or "project"


def _judge_names(names: Collection[str], tasks: frozenset[str], findings: Findings) -> None:
    for name in names:
        if name in tasks:
            stage = name.partition(":")[0]
            text = f"{show(name)} is the name of a task in dodo.py, or of a command of doit"
            findings.add(("stages", stage), text, "rename the stage", key=True)


def _chosen(name: str | None, agents: Mapping[str, AgentProfile], findings: Findings) -> AgentProfile | None:
    if name is None or name in agents:
        return None if name is None else agents[name]
    remedy = did_you_mean(name, agents, f"known agents: {listed(sorted(agents))}")
    findings.put(Problem(findings.file, 1, 1, "--agent", f"unknown agent {show(name)}", remedy))
    return None


def _groups(stages: tuple[Stage, ...], found: Documents) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Of each foreach and each included file the stages, in the order of the first of them."""
    included = set(_standing(found))
    groups: dict[str, list[str]] = {}
    for stage in stages:
        for group in reversed(enclosing(stage.name)):
            if group in included or group == stage.group:
                groups.setdefault(group, []).append(stage.name)
    for name in included - {*groups}:
        groups[name] = []
    return tuple((group, tuple(names)) for group, names in groups.items())
