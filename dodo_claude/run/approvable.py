"""What of a project its user approves: all that runs there without a model's judgement, or rules what a model may do.

Not in it: prompts (a model judges them, within the rules that are looked at) and the programs that a check runs
(a check is what the user trusts to judge; its scripts are the stages' own daily work).
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dodo_claude.agents.table import agent_of
from dodo_claude.config.records import AgentProfile, Config, Stage

# A settings file or a hook's script is smaller.
MAX_FILE = 10_000_000


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that runs without a model's judgement, or that rules what a model may do."""

    kind: str  # "check", "worker"
    name: str  # of the stage or file
    text: str  # what a person has to see of it
    exact: str  # what is approved: no two things that differ have the same

    @property
    def what(self) -> str:
        """It by name: `check of stage 'backend'`."""
        return f"{self.kind} '{self.name}'"

    @property
    def digest(self) -> str:
        """Of all of it."""
        return hashlib.sha256(self.exact.encode("utf-8", "surrogateescape")).hexdigest()


def items(config: Config) -> list[Item]:
    """All that `config` runs, in the file's order; then the files that decide over it."""
    found: list[Item] = []
    if config.notify:
        exact = json.dumps(["notify", list(config.notify)])
        found.append(Item("command", "orchestrate.notify", shlex.join(config.notify), exact))
    for stage in _as_written(config):
        place = ["" if stage.cwd == "." else stage.cwd, list(map(list, stage.env))]
        for kind, command in (("command", stage.command), *(("check", check) for check in stage.checks)):
            if command is not None:
                text = _in_place(stage.cwd, stage.env, command)
                found.append(Item(f"{kind} of stage", stage.name, text, json.dumps([kind, command, place])))
        if stage.agent is not None:
            exact = json.dumps(["worker", _facts(stage.agent), place])
            text = _in_place(stage.cwd, stage.env, _worker(stage.agent))
            found.append(Item("worker of stage", stage.name, text, exact))
        for monitor in stage.monitors:
            text = _in_place(monitor.cwd, monitor.env, monitor.command)
            exact = json.dumps(["monitor", monitor.command, monitor.cwd, list(map(list, monitor.env))])
            found.append(Item(f"monitor '{monitor.name}' of stage", stage.name, text, exact))
    return [*found, *_plans(config), *files(config)]


def _plans(config: Config) -> Iterator[Item]:
    """The plans that workers wrote, byte by byte: nobody else has seen them yet."""
    for plan in config.plans:
        if plan.digest is not None:
            count = sum(plan.has(stage.name) for stage in config.stages)
            text = f"{count} stage{'' if count == 1 else 's'} in {plan.file}"
            yield Item("plan", plan.group, text, json.dumps(["plan", plan.digest]))


def _as_written(config: Config) -> list[Stage]:
    """The stages; of a foreach over files or lines what they are made from: a new file asks no new question.

    An item is letters, digits and a few signs, and what it is put into for a shell is quoted.
    """
    templates = {foreach.group: foreach.template for foreach in config.foreach}
    known: dict[str, Stage] = {}
    for stage in config.workers:
        template = templates.get(stage.group or "", stage)
        known.setdefault(template.name, template)
    return list(known.values())


def _in_place(cwd: str, variables: Iterable[tuple[str, str]], command: str) -> str:
    """`command` with its folder and its variables, as a shell would have them."""
    folder = "" if cwd == "." else f"cd {shlex.quote(cwd)} && "
    env = "".join(f"{name}={shlex.quote(value)} " for name, value in variables)
    return folder + env + command


def _facts(agent: AgentProfile) -> list[object]:
    # The model is left out: it is a choice of quality, not of what may be done here.
    return [
        agent.base, agent.command, agent.args, agent.prompt_by, agent.permission_mode, agent.sandbox,
        sorted(agent.allowed_tools), sorted(agent.disallowed_tools), sorted(agent.setting_sources), sorted(agent.env_pass),
    ]  # fmt: skip


def _worker(agent: AgentProfile) -> str:
    program = shlex.join([*agent.command, *agent.args]) or agent.base
    parts = [program]
    if agent_of(agent).can.hooks:
        parts.append(f"permission mode {agent.permission_mode}")
        parts.append(f"may use {', '.join(agent.allowed_tools) or 'no tool that changes anything'}")
        if agent.sandbox:
            parts.append("sandboxed")
        taken = [source for source in agent.setting_sources if source != "user"]
        if taken:
            parts.append(f"with this project's settings ({', '.join(taken)})")
    if agent.env_pass:
        parts.append(f"gets your {', '.join(agent.env_pass)}")
    return "; ".join(parts)


def files(config: Config) -> list[Item]:
    """The files whose bytes decide what a worker's client runs.

    A client's settings and the hooks' scripts only where an agent takes the project's settings over: without
    that the client does not read them. .mcp.json only where an agent's arguments name it, as any other file
    that they name: the client is always told to take no other.
    """
    root = config.root
    # Relative path -> what is in it, for a person.
    names = dict.fromkeys(_named(config.notify, root), "named by orchestrate.notify")
    for stage in config.workers:
        agent = stage.agent
        if agent is None:
            continue
        for name in _named([*agent.command, *agent.args], root):
            names.setdefault(name, f"named by agent '{agent.name}'")
        for folder in (".", stage.cwd) if agent_of(agent).can.setup else ():
            for source, file in (("project", "settings.json"), ("local", "settings.local.json")):
                path = os.path.normpath(os.path.join(folder, ".claude", file))
                if source not in agent.setting_sources or path in names or not (root / path).is_file():
                    continue
                commands = list(_commands(root / path))
                names[path] = "; ".join(commands) or "runs no command"
                for command in commands:
                    for name in _named(_words(command, root), root):
                        names.setdefault(name, f"named by {path}")
    return [Item("file", name, text, json.dumps(["file", _digest(root / name)])) for name, text in names.items()]  # fmt: skip


def _commands(path: Path) -> Iterator[str]:
    """All that a client's settings file has to say under `command`, or as a helper, wherever."""
    try:
        todo: list[object] = [json.loads(path.read_bytes()[:MAX_FILE])]
    except (OSError, ValueError, RecursionError):
        return  # the client will not read it either; its bytes count all the same
    while todo:
        value = todo.pop(0)
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, str) and (key == "command" or "helper" in key.lower()):
                    yield inner
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def _words(command: str, root: Path) -> list[str]:
    for name in ("${CLAUDE_PROJECT_DIR}", "$CLAUDE_PROJECT_DIR"):
        command = command.replace(name, str(root))
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _named(words: Iterable[str], root: Path) -> list[str]:
    """Which of `words`, or what stands behind a `=` in them, are files of the project; relative."""
    found = []
    for word in words:
        for part in (word, word.partition("=")[2]):
            path = os.path.normpath(os.path.join(root, part))
            if part and "\0" not in part and path.startswith(f"{root}/") and os.path.isfile(path):
                found.append(os.path.relpath(path, root))
    return found


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"
