"""May this project run here? Owns what the user approved, and the two consents that bypassPermissions needs; who may have
written its files is ownership.py's. Asks nobody: commands.py does.

An orchestrate.toml is code. Before the first worker or command of a project starts, its user has seen what will run
without a model's judgement: commands, checks, how workers are started and what they may do. What was approved lies in
the user's state folder, as digests, where no repository can bring it along. Approvals add up, so that going back and
forth between two branches asks for each of them once.

Not looked at: prompts (a model judges them, within the rules that are looked at) and the programs that a check runs
(a check is what the user trusts to judge; its scripts are the stages' own daily work).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dodo_claude.agents.claude import modes
from dodo_claude.agents.table import agent_of
from dodo_claude.config.records import AgentProfile, Config, Plan, Stage
from dodo_claude.machine import ownership
from dodo_claude.machine.files import make_private, user_state, write_atomic
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

# The command line's consent to bypassPermissions; `--allow-bypass` sets it for one run.
ALLOW_BYPASS = "DODO_CLAUDE_ALLOW_BYPASS"
# What container engines put into their containers: Docker, Podman.
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
# Characters shown of one command; how many are left out is said.
SHOWN = 500
# Names of stages that one line of the list gives, and lines that the list has.
SHOWN_NAMES = 4
SHOWN_LINES = 60
# Approvals kept of one thing: enough for the branches of a project, and the file stays small.
KEPT = 20
# A settings file or a hook's script is smaller.
MAX_FILE = 10_000_000


class ApprovalError(DodoClaudeError):
    """The project may not run: a line for each reason, with its remedy."""


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


# -- what is approved


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
    return [*found, *_plans(config), *_files(config)]


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


def _files(config: Config) -> list[Item]:
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


# -- what was approved


def state_file(root: Path, environ: Mapping[str, str]) -> Path:
    """Where the approvals of the project at `root` lie."""
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return user_state(environ) / "approved" / f"{name}.json"


def _read(path: Path) -> dict[str, list[str]]:
    """What was approved: of each thing the digests. What can't be read approves nothing."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return {}
            value = json.load(stream)
        return {str(what): [str(digest) for digest in digests] for what, digests in value["approved"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def unapproved(config: Config, environ: Mapping[str, str]) -> list[Item]:
    """What would run and was not approved as it is now; nothing when all was."""
    return _missing(config, _read(state_file(config.root, environ)))


def _missing(config: Config, approved: Mapping[str, list[str]]) -> list[Item]:
    return [item for item in items(config) if item.digest not in approved.get(item.what, ())]


def split(config: Config, missing: Iterable[Item]) -> tuple[list[Item], list[Plan]]:
    """What was not approved: what is not of a plan; and the plans of the rest."""
    own, waiting = [], {}
    for item in missing:
        plan = None if item.kind == "file" else next((p for p in config.plans if p.has(item.name)), None)
        if plan is None:
            own.append(item)
        else:
            waiting[plan.group] = plan
    return own, list(waiting.values())


def was_asked(config: Config, environ: Mapping[str, str]) -> bool:
    """Has the user ever approved this project?"""
    return bool(_read(state_file(config.root, environ)))


def approve(config: Config, environ: Mapping[str, str], *, plan: Plan | None = None) -> None:
    """Write down that the user lets `config`, or that `plan` of it, run as it is now.

    DodoClaudeError when that can't be written.
    """
    path = state_file(config.root, environ)
    try:
        make_private(path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path.with_name(".lock"), flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            approved = _read(path)
            given = [
                item
                for item in items(config)
                if plan is None or (item.kind != "file" and plan.has(item.name))
            ]
            if all(item.digest in approved.get(item.what, ()) for item in given):
                return
            for item in given:
                others = [digest for digest in approved.get(item.what, ()) if digest != item.digest]
                approved[item.what] = [*others, item.digest][-KEPT:]
            # Its root is for people: our name of the file is a digest.
            value = {"root": os.fsencode(config.root).decode("utf-8", "replace"), "approved": approved}
            write_atomic(path, json.dumps(value, indent=1) + "\n")
        finally:
            os.close(fd)
    except OSError as error:
        raise DodoClaudeError(
            f"{error.filename or path}: can't be written: {error.strerror or error} (what you approve is kept there)"
        ) from error


def summary(missing: list[Item], *, asked: bool) -> str:
    """One line: that, or what, was not approved."""
    if not asked:
        return "you have not approved yet what this project runs on your machine"
    names = [item.what for item in missing]
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return one_line(f"changed since you approved: {', '.join(names[:SHOWN_NAMES])}{more}")


def listing(missing: list[Item]) -> list[str]:
    """`missing` as lines for a person, things that are alike together. Nothing in them acts on a terminal."""
    alike: dict[tuple[str, str], list[str]] = {}
    for item in missing:
        alike.setdefault((item.kind, item.text), []).append(item.name)
    lines = []
    for (kind, text), names in alike.items():
        shown = ", ".join(f"'{name}'" for name in names[:SHOWN_NAMES])
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        cut = f"… ({len(text) - SHOWN} more characters)" if len(text) > SHOWN else ""
        lines.append(one_line(f"{kind} {shown}{more}: {text[:SHOWN]}{cut}"))
    if len(lines) > SHOWN_LINES:
        left = len(lines) - SHOWN_LINES
        lines[SHOWN_LINES:] = [f"… and {left} more: read orchestrate.toml"]
    return lines


# -- who may have written it


def unsafe_files(config: Config) -> list[str]:
    """The files of `config` that somebody else could write, or did: a line each, with the remedy."""
    names = [config.path.name, *config.included, "dodo.py", *ownership.configuration(config.root)]
    names += [plan.file for plan in config.plans if plan.digest is not None]
    for stage in config.workers:
        names += [stage.prompt_file] if stage.prompt_file is not None else []
        if stage.agent is not None and agent_of(stage.agent).can.scenario:
            names.append(stage.agent.scenario or "scenario.toml")
    names += [item.name for item in _files(config)]
    found = [ownership.fault(config.root, name) for name in dict.fromkeys(names)]
    folders = [config.root, *(config.root / name for name in map(os.path.dirname, config.included))]
    return [fault for fault in [*map(ownership.open_folder, folders), *found] if fault is not None]


# -- bypassPermissions and the sandbox


def _agents(config: Config) -> dict[str, AgentProfile]:
    return {stage.agent.full_name: stage.agent for stage in config.workers if stage.agent is not None}


def bypass_problems(config: Config, environ: Mapping[str, str], marks: Iterable[Path] = CONTAINER_MARKS) -> list[str]:  # fmt: skip
    """What an agent without permission rules lacks: a line each. The key alone, which a repository brings, is not enough."""
    problems = []
    contained = any(mark.exists() for mark in marks)
    for name, agent in _agents(config).items():
        if agent.permission_mode != modes.BYPASS:
            continue
        if environ.get(ALLOW_BYPASS) != "1":
            problems.append(
                f"agents.{name}: permission_mode '{modes.BYPASS}' needs your consent for this run as well "
                f"(--allow-bypass, or {ALLOW_BYPASS}=1; better: list what the worker may do in allowed_tools)"
            )
        if not contained and not agent.sandbox:
            problems.append(
                f"agents.{name}: permission_mode '{modes.BYPASS}' needs a place where it can do no harm: this is no "
                "container (run it in one, or set sandbox = true)"
            )
    return problems


def sandbox_problems(config: Config, environ: Mapping[str, str]) -> list[str]:
    """What the client's sandbox lacks here, a line each."""
    if not sys.platform.startswith("linux"):
        return []  # macOS has its own
    problems = []
    for name, agent in _agents(config).items():
        path = environ.get("PATH", os.defpath)
        missing = [
            program for program in modes.SANDBOX_PROGRAMS if agent.sandbox and not shutil.which(program, path=path)
        ]  # fmt: skip
        if missing:
            packages = " ".join(modes.SANDBOX_PROGRAMS[program] for program in missing)
            problems.append(
                f"agents.{name}: sandbox: {' and '.join(missing)} not found on PATH (apt install {packages})"
            )
    return problems


# -- before anything starts


def require_own_files(config: Config) -> None:
    """ApprovalError when somebody else could write what runs: there is no use in approving that."""
    problems = unsafe_files(config)
    if problems:
        raise ApprovalError("\n".join(problems))


def require(config: Config, environ: Mapping[str, str]) -> None:
    """Called before the first stage of a run starts, by whatever command. ApprovalError when it must not."""
    problems = [
        *unsafe_files(config),
        *bypass_problems(config, environ),
        *sandbox_problems(config, environ),
    ]
    if problems:
        raise ApprovalError("\n".join(problems))
    missing = unapproved(config, environ)
    if missing:
        raise ApprovalError(
            f"{summary(missing, asked=was_asked(config, environ))} "
            "(run `doit orchestrate` in a terminal and look at it, or `doit orchestrate --trust`)"
        )
    warn(config)


def warn(config: Config) -> None:
    """Say on stderr, on each run, which agents work without permission rules."""
    for name, agent in _agents(config).items():
        if agent.permission_mode == modes.BYPASS:
            where = "in the client's sandbox" if agent.sandbox else "in this container"
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(
                    f"WARNING: agent '{one_line(name)}' works without permission rules, {where}\n"
                )
