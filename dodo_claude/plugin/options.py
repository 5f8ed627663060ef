"""The options of `doit orchestrate`: those of doit's `run`, some with other defaults, and our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from doit.cmd_run import Run as DoitRun

_OWN_OPTIONS: tuple[dict[str, Any], ...] = (
    {
        "section": "orchestrate", "name": "agent", "short": "", "long": "agent", "type": str, "default": None,
        "help": "let AGENT do every stage that has a prompt (one of [agents], 'claude' or 'scripted')",
    },
    {
        "section": "orchestrate", "name": "trust", "short": "", "long": "trust", "type": bool, "default": False,
        "help": "approve what this project runs, and record in the client's settings that you trust it",
    },
    {
        "section": "orchestrate", "name": "yes", "short": "y", "long": "yes", "type": bool, "default": False,
        "help": "ask nothing: run what a planner planned; where another question would be needed, stop with an error",
    },
    {
        "section": "orchestrate", "name": "allow_bypass", "short": "", "long": "allow-bypass", "type": bool,
        "default": False,
        "help": "let agents with permission_mode bypassPermissions work (in a container, or with sandbox)",
    },
    {
        "section": "orchestrate", "name": "detach", "short": "", "long": "detach", "type": bool, "default": False,
        "help": "run in a tmux session of its own, which outlives this terminal (dodo-claude status shows it)",
    },
    {
        "section": "orchestrate", "name": "board", "short": "", "long": "board", "inverse": "no-board", "type": bool,
        "default": None, "help": "show a live board of the stages [default: on a terminal]",
    },
    {
        "section": "orchestrate", "name": "dry_run", "short": "", "long": "dry-run", "type": bool, "default": False,
        "help": "say which stages would run; start nothing",
    },
    {
        "section": "orchestrate", "name": "explain", "short": "", "long": "explain", "type": bool, "default": False,
        "help": "say for each stage why it is or is not stale; start nothing",
    },
)  # fmt: skip
# What differs from `doit run`: threads (a stage mostly waits), as many as max_workers says, and a failed
# stage does not stop those that do not need it.
_DEFAULTS = {"par_type": "thread", "num_process": None, "reporter": "orchestrate", "continue": True}
_HELP = {"num_process": "number of workers at a time [default: max_workers of orchestrate.toml]"}


def _run_options() -> Iterator[dict[str, Any]]:
    for option in DoitRun.cmd_options:
        name = option["name"]
        if name in _DEFAULTS:
            option = {**option, "default": _DEFAULTS[name]}
        if name in _HELP:
            option["help"] = _HELP[name]
        yield option


OPTIONS = (*_run_options(), *_OWN_OPTIONS)
