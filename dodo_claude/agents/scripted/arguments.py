"""The start: command line, settings file and environment into one Launch, or the client's refusal. Starts nothing."""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple

from dodo_claude.agents.scripted.permissions import Rules
from dodo_claude.agents.scripted.scenario import Stage, load_stage, scenario_error
from dodo_claude.agents.scripted.transcript import new_id, transcript_path

MANY = -1
MODES = ("acceptEdits", "auto", "bypassPermissions", "manual", "dontAsk", "plan")
OPTIONS = {
    "--session-id": 1,
    "--resume": 1,
    "--settings": 1,
    "--permission-mode": 1,
    "--model": 1,
    "--append-system-prompt": 1,
    "--append-system-prompt-file": 1,
    "--autocompact": 1,
    "--setting-sources": 1,
    "--name": 1,
    "--debug-file": 1,
    "--allowedTools": MANY,
    "--disallowedTools": MANY,
    "--tools": MANY,
    "--mcp-config": MANY,
    "--add-dir": MANY,
    "--strict-mcp-config": 0,
}


class StartError(Exception):
    """The agent does not start: one line for the person, exit code 1."""


def read_arguments(words: list[str]) -> tuple[dict[str, list[str]], str | None]:
    """The options with their values, and the prompt. A variadic option takes all words up to the next option,
    a prompt among them: that is why the client wants `--` before the prompt."""
    options: dict[str, list[str]] = {}
    prompt: str | None = None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            prompt = rest[0] if prompt is None and rest else prompt
            break
        if not word.startswith("-") or word == "-":
            prompt = word if prompt is None else prompt
            continue
        name, equals, value = word.partition("=")
        if name not in OPTIONS:
            raise StartError(f"error: unknown option '{name}'")
        values = options.setdefault(name, [])
        if equals:
            values.append(value)
        elif OPTIONS[name] == 1:
            if not rest:
                raise StartError(f"error: option '{name} <value>' argument missing")
            values.append(rest.pop(0))
        while OPTIONS[name] == MANY and not equals and rest and not rest[0].startswith("-"):
            values.append(rest.pop(0))
    return options, prompt


def read_mode(mode: str) -> str:
    """The permission mode, unless it is none, or one that this user cannot have."""
    if mode not in MODES:
        problem = f"argument '{mode}' is invalid. Allowed choices are {', '.join(MODES)}."
        raise StartError(f"error: option '--permission-mode <mode>' {problem}")
    if mode == "auto":
        raise StartError("error: the scripted agent plays no auto mode; give another --permission-mode")
    if mode == "bypassPermissions" and os.geteuid() == 0 and not os.environ.get("IS_SANDBOX"):
        raise StartError("bypassPermissions cannot be used with root/sudo privileges for security reasons")
    return mode


def read_settings(source: str) -> dict[str, Any]:
    """The --settings file, or the JSON text given in its place."""
    if not source:
        return {}
    try:
        if source.lstrip().startswith("{"):
            table = json.loads(source)
        else:
            with open(source, encoding="utf-8") as file:
                table = json.load(file)
    except OSError as error:
        raise StartError(f"Error: Settings file not found: {source} ({error.strerror})") from None
    except ValueError as error:
        raise StartError(f"Settings Error: {source}: {error}") from None
    if not isinstance(table, dict):
        raise StartError(f"Settings Error: {source}: not an object")
    return table


def read_speed() -> float:
    """The factor on all sleeps; 0 leaves them out."""
    text = os.environ.get("DODO_CLAUDE_SCRIPTED_SPEED") or "1"
    try:
        return max(float(text), 0.0)
    except ValueError:
        raise StartError(f"scripted agent: DODO_CLAUDE_SCRIPTED_SPEED: '{text}' is not a number") from None


def read_stage() -> Stage:
    """The stage that the environment names."""
    scenario = os.environ.get("DODO_CLAUDE_SCENARIO")
    name = os.environ.get("DODO_CLAUDE_SCENARIO_STAGE") or os.environ.get("DODO_CLAUDE_STAGE")
    if not scenario or not name:
        unset = "DODO_CLAUDE_STAGE" if scenario else "DODO_CLAUDE_SCENARIO"
        raise StartError(f"scripted agent: {unset} is not set; name the scenario file and the stage to play")
    try:
        return load_stage(scenario, name)
    except scenario_error() as error:
        more = len(error.problems) - 1
        raise StartError(error.problems[0] + (f" (and {more} more)" if more else "")) from None


def gather_rules(options: dict[str, list[str]], source: str, settings: dict[str, Any], cwd: str) -> Rules:
    """The rules of the command line and of the settings, which were read from `source`."""
    permissions = settings.get("permissions") or {}
    # In a settings file '/' leads to the folder of the file; everywhere else to the working directory.
    folder = cwd if source.lstrip().startswith("{") else os.path.dirname(os.path.abspath(source))

    def rules(option: str, key: str) -> tuple[str, ...]:
        given = [rule for text in options.get(option, []) for rule in split_rules(text)]
        return (*given, *(re.sub(r"\(/(?=[^/])", f"(/{folder}/", rule) for rule in permissions.get(key, [])))

    return Rules(rules("--allowedTools", "allow"), rules("--disallowedTools", "deny"), cwd)


def split_rules(text: str) -> list[str]:
    """One value of --allowedTools: rules apart by commas or blanks, those within brackets belonging to a rule."""
    return re.findall(r"[^\s,(]+(?:\([^)]*\))?", text)


class Launch(NamedTuple):
    """All that a session starts with."""

    session: str
    resumes: bool
    prompt: str | None
    mode: str
    model: str
    settings: dict[str, Any]
    rules: Rules
    stage: Stage
    # A factor on all sleeps.
    speed: float
    # Where errors are logged; "": nowhere.
    log: str


def read_launch(words: list[str]) -> Launch:
    """What the session is to be; StartError where the client would not start either, or we cannot play."""
    options, prompt = read_arguments(words)

    def last(name: str, otherwise: str = "") -> str:
        return (options.get(name) or [otherwise])[-1]

    mode = read_mode(last("--permission-mode", "manual"))
    source, resumes, cwd = last("--settings"), "--resume" in options, os.getcwd()
    settings = read_settings(source)
    stage, speed = read_stage(), read_speed()
    session = last("--resume") or last("--session-id") or new_id()
    known = os.path.exists(transcript_path(session, cwd))
    if resumes and not known:
        raise StartError(f"No conversation found with session ID: {session}")
    if known and not resumes:
        raise StartError(f"Error: Session ID {session} is already in use.")
    if not os.isatty(0) or not os.isatty(1):
        raise StartError("scripted agent: it needs a terminal; start it in tmux")
    rules = gather_rules(options, source, settings, cwd)
    model = last("--model") or "scripted"
    return Launch(session, resumes, prompt, mode, model, settings, rules, stage, speed, last("--debug-file"))
