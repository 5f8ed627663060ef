"""The agents that stages can name: the built-in ones, changed and added to by `[agents]`. Owns their defaults.

How an agent is started is not here: the room of agents owns every client's flags.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from dodo_claude.config.findings import Findings, show
from dodo_claude.config.locate import KeyPath
from dodo_claude.config.paths import BadPathError, Project
from dodo_claude.config.records import AgentProfile

# Tools that open a dialog, which nobody would answer.
DIALOGS = ("EnterPlanMode", "ExitPlanMode", "AskUserQuestion")

# Edit(./**) covers Write and confines both to the project.
_CLIENT = {"allowed_tools": ("Edit(./**)",), "disallowed_tools": DIALOGS}
_OF_BASE: Mapping[str, Mapping[str, Any]] = {
    "claude": {"command": ("claude",), **_CLIENT},
    "scripted": {"scenario": "scenario.toml", **_CLIENT},
    "command": {},
}
BUILT_IN = ("claude", "scripted")
# Whose workers stay in a session, and can be spoken to.
SESSIONS = ("claude", "scripted")

# Keys that only one base has a use for.
_ONLY = {"prompt_by": "command", "scenario": "scripted", "sandbox": "claude"}

# What turns the client's questions off altogether, however it is spelled. As permission_mode it can be had, where
# approvable.py finds what it needs; as an argument nobody would look for it.
_BYPASS = ("dangerously-skip-permissions", "bypassPermissions")


def profiles(
    tables: Mapping[str, Any], project: Project, findings: Findings, prefix: str = ""
) -> dict[str, AgentProfile]:
    """Every agent by name; a faulty one too, so that its stages are not blamed for it.

    `prefix` begins the names of all stages of the file that the tables stand in.
    """
    found = {name: _profile(name, {}, ("agents", name), project, findings, prefix) for name in BUILT_IN}
    for name, table in tables.items():
        found[name] = _profile(name, table or {}, ("agents", name), project, findings, prefix)
        if table is not None and not _base(name, table):
            remedy = "give it a command, or base = 'claude' or 'scripted'"
            findings.add(("agents", name), "has neither base nor command", remedy, key=True)
    return found


def _base(name: str, table: Mapping[str, Any]) -> str | None:
    if "base" in table:
        return table["base"] or "command"  # None was reported already
    if name in BUILT_IN:
        return name
    return "command" if "command" in table else None


def _profile(
    name: str, table: Mapping[str, Any], place: KeyPath, project: Project, findings: Findings, prefix: str
) -> AgentProfile:
    base = _base(name, table) or "command"
    values: dict[str, Any] = {**_OF_BASE[base]}
    for key in ("prompt_by", "model", "permission_mode", "scenario", "sandbox"):
        if table.get(key) is not None:
            values[key] = table[key]
    for key in ("allowed_tools", "disallowed_tools", "setting_sources", "args", "env_pass"):
        if table.get(key) is not None:
            values[key] = tuple(value for value in table[key] if value is not None)
    if base != "command":
        values["disallowed_tools"] = tuple(dict.fromkeys((*DIALOGS, *values["disallowed_tools"])))
    if "command" in table:
        values["command"] = _command(table["command"], (*place, "command"), findings)
    elif base == "command" and table.get("base"):
        findings.add(
            (*place, "base"), "a 'command' agent needs a command", "add command = ['program', 'argument']"
        )
    _judge(base, table, place, findings)
    if values.get("scenario") is not None and (base == "scripted" or "scenario" in table):
        try:
            values["scenario"] = project.file(values["scenario"])
        except BadPathError as bad:
            findings.add((*place, "scenario"), bad.text, bad.remedy)
    return AgentProfile(name, base, prefix=prefix, **values)


def _judge(base: str, table: Mapping[str, Any], place: KeyPath, findings: Findings) -> None:
    for key, only in _ONLY.items():
        if key in table and base != only and table.get("base", base) is not None:
            text = f"has no meaning for an agent of base {show(base)}"
            findings.add((*place, key), text, f"only an agent of base {show(only)} has it", key=True)
    for key in ("args", "command"):
        values = table.get(key)
        for index, value in enumerate(values if isinstance(values, list) else [values]):
            if value is not None and any(word in value for word in _BYPASS):
                where = (*place, key, index) if isinstance(values, list) else (*place, key)
                findings.add(
                    where, f"{show(value)} is not supported", "list what the worker may do in allowed_tools"
                )


def _command(value: Any, place: KeyPath, findings: Findings) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            findings.add(place, f"{show(value)} is not a command: {str(error).lower()}")
            return ()
    else:
        words = [word for word in value or [""] if word is not None]
    if value is not None and (not words or not words[0].strip()):
        findings.add(place, "names no program", "write ['program', 'argument']")
    return tuple(words)
