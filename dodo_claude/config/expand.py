"""One stage's table to its stages: defaults merged, items of a foreach written out, templates and paths judged.

Looks at one stage at a time; what two stages must not do to each other is in checks.py. A value that is faulty is
reported and left out, so that the rest can be judged too.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from dodo_claude.config import beside, templates
from dodo_claude.config.documents import Table
from dodo_claude.config.drafts import Draft, Surroundings
from dodo_claude.config.findings import At, Findings, did_you_mean, listed, show
from dodo_claude.config.groups import Group
from dodo_claude.config.locate import KeyPath
from dodo_claude.config.paths import BadPathError, Project, escaped, is_glob
from dodo_claude.config.profiles import SESSIONS
from dodo_claude.config.records import AgentProfile, Phase, Stage
from dodo_claude.config.stage_prompts import PromptRead, StagePrompts, judged
from dodo_claude.config.values import Values, has_template, untemplated
from dodo_claude.text import durations

# tmux would take more, but a name must fit a status line and `attach -t`.
MAX_SESSION = 48

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")
_AGENT_KEYS = (
    "agent", "model", "allowed_tools", "repairs", "idle_timeout", "person_timeout", "on_permission", "max_turns"
)  # fmt: skip


def expand(table: Table, around: Surroundings, group: Group | None) -> list[Draft]:
    """The stages of one table: one, or one for each item of its foreach, of which `group` knows."""
    return _Expansion(table, around, group).drafts()


def template(table: Table, around: Surroundings, group: Group) -> Stage:
    """What all stages of a foreach are made from, with its templates as they are written."""
    return _Expansion(table, around, group).template()


def common(table: Table, around: Surroundings, group: Group) -> Draft:
    """Of a foreach whose items are not known yet what is the same for all of its stages: files and stages that they read.
    Its targets are as they are written."""
    return _Expansion(table, around, group).common()


def protected(values: Collection[str | None] | None, place: KeyPath, project: Project, findings: Findings) -> tuple[str, ...]:  # fmt: skip
    """What `protect` names, each path as the glob that finds it alone."""
    found: dict[str, None] = {}
    for index, value in enumerate(values or ()):
        if value is not None:
            wild = _is_pattern(value, project)
            path = judged(value, (*place, index), project.inside if wild else project.file, findings)
            if path is not None:
                found[path if wild else escaped(path)] = None
    return tuple(found)


def _is_pattern(path: str, project: Project) -> bool:
    """Is it a glob? `app/[id]/page.tsx` is a file's name if there is such a file."""
    return is_glob(path) and ("\0" in path or not project.exists(path))


def default_session(config: str, stage: str) -> str:
    """A session name that tmux takes as it is; a hash keeps apart what shortening would make equal."""
    full = f"{config}-{stage}"
    name = re.sub(r"[^a-z0-9-]+", "-", full.lower())
    if name == full and len(name) <= MAX_SESSION:
        return name
    digest = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: MAX_SESSION - 9].rstrip('-')}-{digest}"


class _Expansion:
    def __init__(self, table: Table, around: Surroundings, group: Group | None) -> None:
        self._name = table.name
        self._local_name = table.local_name
        self._is_planner = table.is_planner
        self._plan = table.document.planner
        self._around = around
        self._findings = around.findings
        self._own = table.values
        self._prefix = table.document.prefix
        self._group = group
        given = {key: value for key, value in table.values.items() if value is not None}
        self._table = {**around.defaults, **given}
        self._agent = None if "command" in self._own else self._profile()
        self._prompts = StagePrompts(table, around, self._agent)

    def drafts(self) -> list[Draft]:
        prompt = self._prompts.of()
        self._judge_command()
        self._judge_phases()
        if self._group is None:
            return [self._draft(None, prompt)]
        if self._group.items is None:
            self._stage(Values(self._findings, None, self._name, raw=True), prompt)  # for its faults
        return [self._draft(item, prompt) for item in self._group.items or ()]

    def template(self) -> Stage:
        return self._stage(Values(self._findings, None, self._name, raw=True), self._prompts.of())

    def common(self) -> Draft:
        at = self._at(("stages", self._name))
        draft = Draft(self.template(), at, at)
        project = self._around.project
        for value, place in self._strings("file_dep"):
            if not is_glob(value) and not templates.is_template(value):
                path = self._path(value, place, project.file)
                if path is not None:
                    draft.file_dep.setdefault(path, self._at(place))
        draft.targets = {value: self._at(place) for value, place in self._strings("targets")}
        prompt = self._prompts.of()
        if prompt is not None:
            names = tuple(self._prefix + name for name in prompt.uses.stages)
            draft.stage = draft.stage.with_values(messages=names)
        for written in prompt.uses.files if prompt is not None else ():
            assert prompt is not None
            with suppress(BadPathError):  # reported where the stage is judged
                path = project.file(written)
                draft.file_dep.setdefault(path, self._at(prompt.place))
                line = prompt.uses.line("files", written)
                draft.said.setdefault(path, partial(self._prompts.problem, prompt, line, ""))
        return draft

    def _place(self, key: str) -> KeyPath:
        return ("stages", self._name, key) if key in self._own else ("defaults", key)

    def _at(self, place: KeyPath) -> At:
        return At(self._findings, place)

    def _draft(self, item: str | None, prompt: PromptRead | None) -> Draft:
        name = self._local_name if item is None else f"{self._name}:{item}"
        text = Values(self._findings, item, name)
        at = self._at(("stages", self._name))
        draft = Draft(self._stage(text, prompt), at, at)
        self._name_session(draft, text)
        self._name_files(draft, text)
        self._name_stages(draft)
        if prompt is not None and (used := self._prompts.name_uses(draft, prompt)):
            draft.stage = draft.stage.with_values(**used)
        if draft.stage.phases:
            self._name_phases(draft)
        return draft

    def _stage(self, text: Values, prompt: PromptRead | None) -> Stage:
        """The stage with what stands in its table alone."""
        name, item = text.stage, text.item
        stage = Stage(
            name=self._prefix + name,
            group=None if self._group is None else self._prefix + self._name,
            prefix=self._prefix,
            folder=self._around.project.base,
            item=item,
            prompt=prompt.source if prompt else None,
            prompt_file=prompt.file if prompt else None,
            command=text.of(self._own.get("command"), self._place("command"), quoted=True),
            file_dep=(),
            prompt_files=(),
            targets=(),
            after=(),
            agent=self._with_tools(text),
            session=default_session(self._around.name, self._prefix + name),
            # A planner's plan is checked by us; the default one is for what its stages make.
            check=text.of(
                (self._own if self._is_planner else self._table).get("check"),
                self._place("check"),
                quoted=True,
            ),
            repairs=self._table.get("repairs", 2 if self._is_planner else 1),
            timeout=self._duration("timeout", "30m"),
            retries=self._table.get("retries", 3),
            env=self._env(text),
            cwd=self._cwd(text),
            keep=self._table.get("keep", "on-failure"),
            allow_unchanged=self._table.get("allow_unchanged", False),
            line=self._findings.positions.of(("stages", self._name))[0],
            idle_timeout=self._duration("idle_timeout", "15m"),
            person_timeout=self._duration("person_timeout", "30m"),
            on_permission=self._table.get("on_permission", "ask"),
            max_turns=self._table.get("max_turns", 200),
            protect=self._protected,
            phases=self._phases(text),
            plan=self._path(
                self._own.get("plan"), ("stages", self._name, "plan"), self._around.project.target
            )
            if self._is_planner
            else None,
            planned=None if self._plan is None else self._findings.file,
            compact_at=float(str(self._table["compact_at"]).rstrip("% "))
            if self._table.get("compact_at")
            else None,
        )
        chosen = self._around.agent is not None
        return beside.with_monitors(
            stage, self._around.monitors, self._around.project, text.of, chosen=chosen, raw=text.raw
        )

    def _env(self, text: Values) -> tuple[tuple[str, str], ...]:
        """Its own and that of [defaults]: what needs no rendering is one and the same for all stages."""
        own, shared = self._own.get("env") or {}, self._around.defaults.get("env") or {}
        if not own and not shared:
            return ()
        common = untemplated(tuple(shared.items()))
        if common is None:
            common = tuple(
                (key, text.of(value, ("defaults", "env", key)) or "")
                for key, value in sorted(shared.items())
                if key not in own
            )
        if not own:
            return common
        place = ("stages", self._name, "env")
        mine = [(key, text.of(value, (*place, key)) or "") for key, value in own.items()]
        return tuple(sorted([*(pair for pair in common if pair[0] not in own), *mine]))

    def _duration(self, key: str, default: str) -> float:
        text = self._table.get(key) or default
        found = durations.seconds(text) or 0.0
        if not 0 < found <= durations.LONGEST:
            self._findings.add_once(
                self._place(key), f"{show(text)} is out of range", "more than 0 and at most 7 days"
            )
        return found

    @functools.cached_property
    def _protected(self) -> tuple[str, ...]:
        """Its own and those of [defaults]: what the project protects, no stage sets free by naming more."""
        own, place = self._own.get("protect"), ("stages", self._name, "protect")
        if not own:
            return self._around.protect
        mine = protected(own, place, self._around.project, self._findings)
        return tuple(dict.fromkeys((*self._around.protect, *mine)))

    def _cwd(self, text: Values) -> str:
        if not self._table.get("cwd"):
            return self._around.project.base or "."
        place = self._place("cwd")
        value = text.of(self._table["cwd"], place)
        if text.raw and value is not None:
            return value
        return self._path(value, place, self._around.project.folder) or "."

    def _profile(self) -> AgentProfile | None:
        """The agent with what this stage changes of it; None, and reported, when there is none of that name."""
        name = self._table.get("agent") or "claude"
        agent = self._around.agent or self._around.agents.get(name)
        if name not in self._around.agents:
            remedy = did_you_mean(
                name, self._around.agents, f"known agents: {listed(sorted(self._around.agents))}"
            )
            self._findings.add_once(self._place("agent"), f"unknown agent {show(name)}", remedy)
        if agent is None:
            return None
        model = self._table.get("model") or agent.model
        return agent if model == agent.model else replace(agent, model=model)

    def _with_tools(self, text: Values) -> AgentProfile | None:
        """The agent with what this stage, for this item, allows besides."""
        if self._agent is None:
            return None
        given = self._table.get("allowed_tools")
        if not given:
            return self._agent
        if has_template(tuple(given)):
            place = self._place("allowed_tools")
            given = [text.of(tool, (*place, index)) for index, tool in enumerate(given)]
        return _allowing(self._agent, tuple(given))

    def _judge_command(self) -> None:
        if "command" in self._own and not {"prompt", "prompt_file"} & self._own.keys():
            for key in _AGENT_KEYS:
                if key in self._own:
                    place = ("stages", self._name, key)
                    self._findings.add(place, "has no meaning here", "a command has no agent", key=True)

    def _name_session(self, draft: Draft, text: Values) -> None:
        place = ("stages", self._name, "session")
        session = text.of(self._own.get("session"), place)
        if session is None:
            return
        draft.session = self._at(place)
        if not _SESSION.fullmatch(session):
            remedy = "use letters, digits, '_' and '-', at most 48, starting with a letter or a digit"
            draft.session.complain(f"{show(session)} is not a session name", remedy)
        draft.stage = draft.stage.with_values(session=session)

    def _name_files(self, draft: Draft, text: Values) -> None:
        project = self._around.project
        if draft.stage.plan is not None:
            draft.targets[draft.stage.plan] = self._at(("stages", self._name, "plan"))
        for value, place in self._strings("targets"):
            path = self._path(text.of(value, place), place, project.target)
            if path is not None and path in draft.targets:
                self._findings.add_once(place, f"target {show(path)} is given twice", "leave one of them out")
            elif path is not None:
                draft.targets[path] = self._at(place)
        for value, place in self._strings("file_dep"):
            source = text.of(value, place)
            if source is not None and _is_pattern(source, project):
                path = self._path(source, place, project.inside)
                kept = draft.globs
            else:
                path = self._path(source, place, project.file)
                kept = draft.file_dep
            if path is not None:
                kept.setdefault(path, self._at(place))
        if self._group is not None:
            self._name_item(draft, self._group)

    def _name_item(self, draft: Draft, group: Group) -> None:
        """An item that is a file is read, unless it is changed in place; who makes the items comes first."""
        assert draft.stage.item is not None
        path = self._around.project.inside(draft.stage.item) if group.globs else None
        if path is not None and path not in draft.targets:
            draft.file_dep.setdefault(path, self._at(group.place))
        for maker in group.makers:
            draft.after.setdefault(maker, self._at(group.place))

    def _name_stages(self, draft: Draft) -> None:
        for name, place in self._strings("after"):
            if (known := self._around.known_name(name, self._prefix)) is not None:
                draft.after.setdefault(known, self._at(place))
            elif name in self._around.tasks:
                remedy = "order it by a file_dep on one of its targets"
                self._findings.add_once(place, f"{show(name)} is a task of dodo.py, not a stage", remedy)
            else:
                self._findings.add_once(
                    place, f"unknown stage {show(name)}", self._around.nearest_stage(name)
                )

    # Phases: each is judged like a stage's own prompt, targets and check.

    def _phase_tables(self) -> Iterator[tuple[Mapping[str, Any], KeyPath]]:
        for index, table in enumerate(self._own.get("phases") or ()):
            if table is not None:
                yield table, ("stages", self._name, "phases", index)

    def _phases(self, text: Values) -> tuple[Phase, ...]:
        """Of those whose prompt can be read; of the others it was reported."""
        found = []
        for table, place in self._phase_tables():
            prompt = self._prompts.of(table, place)
            if prompt is None:
                continue
            targets = [
                path
                if text.raw
                else self._path(path, (*place, "targets", index), self._around.project.target)
                for index, value in enumerate(table.get("targets") or ())
                if (path := text.of(value, (*place, "targets", index))) is not None
            ]
            phase = Phase(
                prompt=prompt.source,
                prompt_file=prompt.file,
                prompt_files=(),
                messages=tuple(self._prefix + name for name in prompt.uses.stages),
                prompt_env=prompt.uses.env,
                targets=tuple(path for path in targets if path is not None),
                check=text.of(table.get("check"), (*place, "check"), quoted=True),
                compact=text.of(table.get("compact"), (*place, "compact")),
                handover=table.get("handover") is True,
            )
            found.append(phase)
        return tuple(found)

    def _name_phases(self, draft: Draft) -> None:
        """What the phases name, for the stage; what an earlier phase made, a later one may read."""
        made: set[str] = set()
        phases: list[Phase] = []
        readable = [
            (table, place, prompt)
            for table, place in self._phase_tables()
            if (prompt := self._prompts.of(table, place)) is not None
        ]
        for (_, place, prompt), phase in zip(readable, draft.stage.phases, strict=True):
            uses = self._prompts.name_uses(draft, prompt, made)
            phases.append(replace(phase, prompt_files=uses.get("prompt_files", ())))
            for index, path in enumerate(phase.targets):
                if path in draft.targets:
                    fact, remedy = f"target {show(path)} is given twice", "leave one of them out"
                    self._findings.add_once((*place, "targets", index), fact, remedy)
                draft.targets.setdefault(path, self._at((*place, "targets", index)))
            made.update(phase.targets)
        messages = [name for phase in phases for name in phase.messages]
        names = [name for phase in phases for name in phase.prompt_env]
        if phases:
            draft.stage = draft.stage.with_values(
                phases=tuple(phases),
                messages=tuple(dict.fromkeys(messages)),
                prompt_env=tuple(dict.fromkeys(names)),
            )

    def _judge_phases(self) -> None:
        for index, (table, place) in enumerate(self._phase_tables()):
            for key in ("compact", "handover"):
                if index == 0 and table.get(key):
                    self._findings.add(
                        (*place, key), "has no meaning in the first phase", "nothing came before it"
                    )
            if table.get("compact") is not None and table.get("handover"):
                text, remedy = "can't stand beside 'compact'", "a fresh session has nothing to compact"
                self._findings.add((*place, "handover"), text, remedy, key=True)
        if self._own.get("phases") and self._agent is not None and self._agent.base not in SESSIONS:
            text = f"agent '{self._agent.name}' is a command, which takes one prompt"
            self._findings.add(("stages", self._name, "phases"), text, "make a stage of each phase", key=True)

    def _strings(self, key: str) -> Iterator[tuple[str, KeyPath]]:
        for index, value in enumerate(self._own.get(key) or ()):
            if value is not None:
                yield value, ("stages", self._name, key, index)

    def _path(self, value: str | None, place: KeyPath, judge: Callable[[str], str]) -> str | None:
        return None if value is None else judged(value, place, judge, self._findings)


# What [defaults] say, each of many stages asks.


@functools.lru_cache(maxsize=64)
def _allowing(agent: AgentProfile, tools: tuple[str | None, ...]) -> AgentProfile:
    more = (tool for tool in tools if tool is not None)
    return replace(agent, allowed_tools=tuple(dict.fromkeys((*agent.allowed_tools, *more))))
