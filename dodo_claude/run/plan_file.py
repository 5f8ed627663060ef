"""The frozen plan: what a run is about to do, as `runs/<id>/plan.toml`, and the proof that it reads back."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import toml  # a writer only: its reader takes wrong files and refuses right ones

from dodo_claude import __version__
from dodo_claude.config.records import Config, Monitor, Phase, Stage
from dodo_claude.machine.files import write_atomic
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor

# Of a stage and its phases what is no key of theirs: their names, where they stand, and what was found in their prompts.
_NO_KEYS = frozenset(
    ("name", "group", "line", "prefix", "folder", "planned", "agent", "messages", "prompt_env", "prompt_files", "prompt_globs",
     "report")
)  # fmt: skip
_IN_SECONDS = frozenset(("timeout", "idle_timeout", "person_timeout", "every", "debounce"))


def content(config: Config, run_id: str, started: float, chosen: frozenset[str] | None) -> dict[str, Any]:
    """What stands in the plan of a run of `config`; secrets, too. `chosen`: its stages, if they are not all."""
    return {
        "run": {
            "id": run_id,
            # To the millisecond: what happened before is no part of this run.
            "started": datetime.fromtimestamp(started).astimezone().isoformat(timespec="milliseconds"),
            "dodo_claude": __version__,
            "name": config.name,
            "max_workers": config.max_workers,
            "tmux": config.socket,
            **({} if chosen is None else {"chosen": sorted(chosen)}),
        },
        "stages": {stage.name: _stage(stage) for stage in config.stages},
        "late": {
            late.group: {"items": late.source, "known_after": list(late.makers)} for late in config.late
        },
    }


def write(folder: Path, plan: Mapping[str, Mapping[str, Any]]) -> Path:
    """Freeze `plan` as `plan.toml` in `folder`. DodoClaudeError when it can't be so written that it reads back."""
    text = _tables(plan)
    if _read_back(text) != plan:
        # Some strings come out of the writer as other strings, or as no TOML: they go in as hex.
        plan = _armoured(plan)
        text = _tables(plan)
        if _read_back(text) != plan:
            raise DodoClaudeError(
                f"{folder}/plan.toml: can't be written so that it reads back (please report it)"
            )
    path = folder / "plan.toml"
    write_atomic(path, text)
    return path


def _stage(stage: Stage) -> dict[str, object]:
    """All keys of a stage that have a value, as they count for it."""
    entry = _keys(stage)
    if stage.agent is not None:
        entry |= {"agent": stage.agent.name, "allowed_tools": list(stage.agent.allowed_tools)}
        if stage.agent.model is not None:
            entry["model"] = stage.agent.model
    if stage.phases:
        entry["phases"] = [_keys(phase) for phase in stage.phases]
    if stage.monitors:
        entry["monitors"] = {monitor.name: _keys(monitor) for monitor in stage.monitors}
    return entry


def _keys(record: Stage | Phase | Monitor) -> dict[str, object]:
    """Its own keys, one by one as its class has them, but for those that are records themselves."""
    table: dict[str, object] = {}
    for name in record.__dataclass_fields__:
        value = getattr(record, name)
        if name in _NO_KEYS or value is None or name in ("phases", "monitors"):
            continue
        if name == "env":
            hidden = Redactor(dict(value))
            value = {variable: hidden.text(text) for variable, text in value}
        table[f"{name}_seconds" if name in _IN_SECONDS else name] = (
            list(value) if isinstance(value, tuple) else value
        )
    return table


def _written(value: Mapping[str, Any]) -> str:
    """`value` as TOML, or what is none when the writer breaks down over it."""
    try:
        return toml.dumps(value)
    except (IndexError, ValueError):  # for one, of a string that begins with a control character
        return "="


def _tables(plan: Mapping[str, Mapping[str, Any]]) -> str:
    """A plan as TOML. Table by table, since the writer's time goes by the square of what it is given."""
    parts = [{"run": plan["run"]}]
    for key in ("stages", "late"):
        parts += [{key: {name: table}} for name, table in plan[key].items()] or [{key: {}}]
    return "\n".join(map(_written, parts))


def _read_back(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _armoured(value: Any) -> Any:
    """`value` with each string that `toml` can't write right as 'hex:…' of its UTF-8."""
    if isinstance(value, dict):
        return {key: _armoured(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_armoured(item) for item in value]
    if isinstance(value, str) and _read_back(_written({"x": value})) != {"x": value}:
        return f"hex:{value.encode().hex()}"
    return value
