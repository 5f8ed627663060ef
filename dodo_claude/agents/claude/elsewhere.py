"""What the client keeps and reads besides ours: other settings, and its registry of sessions. Who else may be asked at a turn's end, and whether a session is idle."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dodo_claude.config.records import AgentProfile

# An administrator's settings hold for every session, whatever its sources.
_MANAGED = Path("/etc/claude-code")
# Arguments that bring more settings, or hooks of their own.
_BRING_HOOKS = ("--settings", "--plugin", "--agent", "--managed-settings")


def config_dir(environ: Mapping[str, str]) -> Path:
    """Where the client with these variables keeps what is its own."""
    own = environ.get("CLAUDE_CONFIG_DIR")
    return Path(own) if own else Path(environ.get("HOME") or os.path.expanduser("~")) / ".claude"


def settings_files(profile: AgentProfile, cwd: Path, environ: Mapping[str, str]) -> list[Path]:
    """The settings files that the client reads besides ours when it starts in `cwd`, an administrator's last; they need not
    exist. `environ`: the worker's own."""
    of_source = {
        "user": config_dir(environ) / "settings.json",
        "project": cwd / ".claude" / "settings.json",
        "local": cwd / ".claude" / "settings.local.json",
    }
    more = sorted((_MANAGED / "managed-settings.d").glob("*.json"))
    named = [of_source[source] for source in profile.setting_sources if source in of_source]
    return [*named, _MANAGED / "managed-settings.json", *more]


def settings_fault(data: bytes) -> str:
    """Why the client can't take a settings file for one, with the place in it; '' when it can.

    As the client reads them: no comments, no NaN; an empty file will do.
    """
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    if not text.strip() or data.startswith(codecs.BOM_UTF16_LE):
        return ""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        return f":{error.lineno}:{error.colno}: is not JSON ({error.msg})"
    except (ValueError, RecursionError):
        return ": is not JSON"
    return "" if isinstance(value, dict) else ": is not a JSON object"


def _no_constant(name: str) -> object:
    raise ValueError(name)


def may_hold(profile: AgentProfile, tables: Iterable[object]) -> bool:
    """May a Stop hook that is not ours send a worker on? `tables`: what its settings files hold. Plugins bring hooks
    that stand in none of them, and so may skills, which a worker has by a rule alone."""
    if any(word.startswith(_BRING_HOOKS) for word in (*profile.command, *profile.args)):
        return True
    if any(rule.partition("(")[0] == "Skill" for rule in profile.allowed_tools):
        return True
    for table in tables:
        if isinstance(table, Mapping):
            hooks, plugins = table.get("hooks"), table.get("enabledPlugins")
            if (isinstance(hooks, Mapping) and hooks.get("Stop")) or plugins:
                return True
    return False


def session_file(environ: Mapping[str, str], pid: int) -> Path:
    """Where the client of that process says how its session is."""
    return config_dir(environ) / "sessions" / f"{pid}.json"


def idle_since(session: object, session_id: str | None) -> float:
    """Since when the registry's entry says that the session is idle, in wall time; 0 when it does not."""
    if not isinstance(session, Mapping) or session.get("sessionId") != session_id:
        return 0.0
    since = session.get("statusUpdatedAt")
    return since / 1000 if session.get("status") == "idle" and type(since) is int else 0.0
