"""orchestrate.toml from bytes to frozen records, or every fault in it at once. No raw TOML goes further than here.

The way: tomllib reads, schema.py judges the form, expand.py each stage, checks.py the stages together. Nothing is
started, written or changed.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dodo_claude import beside, checks, durations, expand, locate, profiles, schema
from dodo_claude.errors import ConfigError, Problem
from dodo_claude.findings import Findings, did_you_mean, listed, show
from dodo_claude.paths import Project
from dodo_claude.records import AgentProfile, Budget, Config, Monitor, Stage
from dodo_claude.sources import UnreadableError, read_text

__all__ = ["AgentProfile", "Budget", "Config", "Monitor", "Stage", "load_config"]

# A file of 20000 stages with prompts of their own is smaller; what is larger is no configuration.
MAX_FILE = 10_000_000
# What doit, and a person, can still look at.
MAX_STAGES = 20_000
# Nothing of ours nests deeper than six; what does could exhaust the stack of whatever walks over it.
MAX_DEPTH = 32
# Before a further attempt: one that waits longer is better made by the next run.
LONGEST_DELAY = 900.0  # seconds
# What one worker may be said to need, in bytes.
MOST_MEMORY = 10**12
_SIZE = re.compile(r" *(?P<number>[0-9.]+) *(?P<prefix>[kKMGT]?)(?P<binary>i?)B *")
_TOO_DEEP = "lists or tables are nested too deeply"

_REMEDIES = (  # of what tomllib says, which is the fact only
    ("cannot declare", "a table is given once: put all its keys together"),
    ("cannot overwrite", "a key is given once in its table"),
    ("cannot mutate", "a key is given once in its table"),
    ("duplicate inline table key", "a key is given once in its table"),
    ("invalid value", "a text needs quotes around it"),
    ("illegal character '\\n'", 'a text over several lines is written """like this"""'),
    ("expected '=' after a key", "a line is key = value, a table [name]"),
    ("unterminated string", "a quote is missing"),
    ("unclosed array", "a ] is missing, or a comma"),
)


# How tomllib names a table: as the tuple of its names.
_TABLE = re.compile(r"\('.*?',?\)")


def load_config(path: Path, *, task_names: Collection[str] = (), agent: str | None = None) -> Config:
    """The configuration of a file. ConfigError names everything that is wrong with it; nothing else is raised.

    `task_names` are taken by tasks of dodo.py, `agent` does every stage's work in place of its own.
    """
    text = _text(path)
    document, positions = _parsed(path.name, text)
    findings = Findings(path.name, positions)
    schema.judge(document, findings)
    root = Path(os.path.realpath(path.parent))
    project = Project(str(root))
    settings: Mapping[str, Any] = document.get("orchestrate") or {}
    name = settings.get("name") or safe_name(root.name)
    drafts = _drafts(document, name, project, frozenset(task_names), agent, findings)
    stages = checks.connect(drafts, project, path.name, findings)
    budget = _budget(settings.get("budget") or {}, findings)
    retry_delay = _duration(settings, "retry_delay", 30.0, LONGEST_DELAY, "at most 15 minutes", findings)
    max_wait = _duration(settings, "max_wait", 86_400.0, durations.LONGEST, "at most 7 days", findings)
    worker_memory = _size(settings.get("worker_memory"), 600_000_000, findings)
    findings.raise_any()
    return Config(
        path=path,
        root=root,
        name=name,
        max_workers=settings.get("max_workers", 4),
        socket=(settings.get("tmux") or {}).get("socket", "private"),
        stages=stages,
        groups=_groups(stages),
        budget=budget,
        retry_delay=retry_delay,
        max_wait=max_wait,
        worker_memory=worker_memory,
    )


def safe_name(folder: str) -> str:
    """A name for an orchestration made of its folder's."""
    return re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:32].rstrip("-") or "project"


def _budget(table: Mapping[str, Any], findings: Findings) -> Budget:
    given = {key: value for key, value in table.items() if value is not None}
    cost = given.get("cost_usd")
    if cost is not None and math.isnan(cost):  # passes for a number between any two
        findings.add(("orchestrate", "budget", "cost_usd"), "nan is not a number")
    return Budget(**given)


def _duration(
    table: Mapping[str, Any], key: str, default: float, most: float, words: str, findings: Findings
) -> float:
    """A duration of [orchestrate] in seconds; 0 is one."""
    text = table.get(key)
    if text is None:
        return default
    found = durations.seconds(text) or 0.0
    if found > most:
        findings.add(("orchestrate", key), f"{show(text)} is out of range", words)
    return found


def _size(text: str | None, default: int, findings: Findings) -> int:
    """The bytes that such as '600MB' stands for: the schema's pattern has judged its form."""
    found = _SIZE.fullmatch(text or "")
    if found is None:
        return default
    base = 1024 if found["binary"] else 1000
    size = int(float(found["number"]) * base ** " KMGT".index(found["prefix"].upper() or " "))
    if size > MOST_MEMORY:
        findings.add(("orchestrate", "worker_memory"), f"{show(text)} is out of range", "at most 1TB")
    return size


def _text(path: Path) -> str:
    try:
        return read_text(path, MAX_FILE)
    except UnreadableError as error:
        problem = Problem(path.name, error.line, error.column, "", error.text, error.remedy)
        raise ConfigError((problem,)) from None


def _parsed(file: str, text: str) -> tuple[dict[str, Any], locate.Positions]:
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ConfigError((Problem(file, 1, 1, "", _TOO_DEEP),)) from None
    except ValueError as error:  # TOMLDecodeError is one, and a number of 5000 digits gives a plain one
        line, column, message = locate.syntax_error(error, text)
        message = _TABLE.sub(_dotted_name, message[:1].lower() + message[1:])
        remedy = next((remedy for start, remedy in _REMEDIES if message.startswith(start)), "")
        raise ConfigError((Problem(file, line, column, "", message, remedy),)) from None
    positions = locate.locate(text)
    if len(deepest := positions.deepest()) > MAX_DEPTH:
        raise ConfigError((Problem(file, *positions.of(deepest), "", _TOO_DEEP),))
    return document, positions


def _dotted_name(found: re.Match[str]) -> str:
    return ".".join(re.findall(r"'(.*?)'", found[0]))


def _drafts(
    document: Mapping[str, Any],
    name: str,
    project: Project,
    tasks: frozenset[str],
    agent: str | None,
    findings: Findings,
) -> list[expand.Draft]:
    """All stages, each judged alone."""
    tables = {stage: table or {} for stage, table in (document.get("stages") or {}).items()}
    items = {stage: [f"{stage}:{item}" for item in table["foreach"] or () if item is not None]
             for stage, table in tables.items() if "foreach" in table}  # fmt: skip
    names = [name for stage in tables for name in items.get(stage, [stage])]
    if len(names) > MAX_STAGES:
        findings.add(("stages",), f"makes {len(names)} stages", f"at most {MAX_STAGES}")
        findings.raise_any()
    _judge_names([*names, *items], tasks, findings)
    agents = profiles.profiles(document.get("agents") or {}, project, findings)
    defaults = {key: value for key, value in (document.get("defaults") or {}).items() if value is not None}
    around = expand.Surroundings(
        name=name,
        project=project,
        defaults=defaults,
        agents=agents,
        agent=_chosen(agent, agents, findings),
        known=frozenset((*names, *items)),
        tasks=tasks,
        findings=findings,
        monitors=beside.tables(document.get("monitors") or {}, (*names, *items), items, findings),
    )
    return [draft for stage, table in tables.items() for draft in expand.expand(stage, table, around)]


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
    findings.put(Problem(findings.file, 1, 1, "", f"unknown agent {show(name)}", remedy))
    return None


def _groups(stages: tuple[Stage, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    groups: dict[str, list[str]] = {}
    for stage in stages:
        if stage.group is not None:
            groups.setdefault(stage.group, []).append(stage.name)
    return tuple((group, tuple(names)) for group, names in groups.items())
