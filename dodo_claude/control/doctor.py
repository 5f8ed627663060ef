"""Looking whether orchestrations can run here: each thing that a run stands on, what is wrong with it, how to mend it.

Changes nothing of the project's: what is tried is tried in a folder of its own, which is removed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from dodo_claude.agents import start
from dodo_claude.agents.claude import clients, first_run, trust, versions
from dodo_claude.agents.faults import FATAL
from dodo_claude.agents.table import agent_of
from dodo_claude.config.config import load_config
from dodo_claude.config.findings import first_problems
from dodo_claude.config.records import AgentProfile, Config
from dodo_claude.control import drift, trial
from dodo_claude.control.finding import NOTE, OK, WRONG, Finding, wrong
from dodo_claude.machine import watch
from dodo_claude.machine.files import disk_problem
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.run import approval, preflight, safeguards
from dodo_claude.state.events import OUTCOME
from dodo_claude.state.journal import StageLog
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import ConfigError, DodoClaudeError

# Less free disk than this is no room for a run; less than that is soon none.
NO_ROOM, LITTLE_ROOM = 100_000_000, 1_000_000_000  # bytes
# How long a trial session may take; the client answers one short prompt in it.
TRIAL_SECONDS = 45.0
# So much of why one failed is told.
SHOWN = 300  # characters
BY_HAND = "run claude by hand, say a word to it, and mend what it answers"
# The hooks that any session of one short turn tells of; those of a tool besides.
TURN_HOOKS = ("SessionStart", "UserPromptSubmit", "Stop")
TOOL_HOOKS = ("PreToolUse", "PostToolBatch")

_SCRIPTED = """\
[orchestrate]
name = "doctor"
worker_memory = "0MB"

[stages.trial]
agent = "scripted"
prompt = "Say where dodo-claude is."
targets = ["found.txt"]
keep = "never"
allowed_tools = ["Bash"]
retries = 0
timeout = "90s"
"""
_SCENARIO = """\
[stages.trial]
steps = [{ bash = "command -v dodo-claude > found.txt" }]
"""
_CLIENT = """\
[orchestrate]
name = "doctor"
worker_memory = "0MB"
budget = { turns = 5 }

[agents.tried]
base = "claude"
command = COMMAND

[stages.trial]
agent = "tried"
prompt = "Answer with the word ready, and use no tool."
keep = "never"
retries = 0
repairs = 0
timeout = "30s"
env = { CLAUDE_CODE_MAX_RETRIES = "1" }    # what refuses a key will do so again: say it at once
"""


def look(file: Path | None, environ: Mapping[str, str], *, client: bool = False) -> Iterator[Finding]:
    """All findings, as they are made. `file`: the project's orchestrate.toml. `client`: try the real client, too."""
    yield _versions()
    yield from _tried("tmux", _tmux)
    config: Config | None = None
    if file is None:
        yield Finding("project", NOTE, "no orchestrate.toml here or above; only the machine is looked at")
    else:
        try:
            config = load_config(file)
            if config.absent:
                told = (each.problem for each in config.absent)
                raise ConfigError(first_problems(told, len(config.absent), file.name))
            count = len(config.stages)
            yield Finding("orchestrate.toml", OK, f"{count} stage{'' if count == 1 else 's'}, no problems")
        except DodoClaudeError as error:
            more = str(error).count("\n")
            text = str(error).partition("\n")[0] + (f" and {more} more" if more else "")
            yield Finding("orchestrate.toml", WRONG, text, "dodo-claude check shows all")
    yield from _client(config, environ)
    if config is not None:
        yield from _project(config, environ)
    yield from _tried("runtime folder", lambda: _runtime(config.root if config is not None else Path.cwd()))
    yield from _disk(config, environ)
    yield _path(environ)
    yield from _tried("hooks", lambda: _hooks(environ))
    if client:
        folder = config.root if config is not None else Path.cwd()
        for command in _commands(config, environ):
            yield from _tried_client(command, folder, environ)


def _tried(name: str, look: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield look()
    except DodoClaudeError as error:
        yield wrong(name, str(error).partition("\n")[0])
    except OSError as error:
        yield wrong(name, disk_problem(error, name))


def _versions() -> Finding:
    doit, python = metadata.version("doit"), ".".join(map(str, sys.version_info[:3]))
    text = f"Python {python}, doit {doit}, dodo_claude {metadata.version('dodo-claude')}"
    if not doit.startswith("0.37."):
        return Finding("versions", WRONG, text, "pip install 'doit>=0.37,<0.38'")
    return Finding("versions", OK, text)


def _tmux() -> Finding:
    from dodo_claude.machine.server import PROVED, check_version

    return Finding("tmux", OK, f"{check_version()} (proved on {', '.join(PROVED)})")


def _client(config: Config | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    stages = [stage for stage in config.workers if stage.agent is not None and agent_of(stage.agent).can.setup] if config is not None else []  # fmt: skip
    used = {stage.agent.command[0] for stage in stages if stage.agent is not None}
    for program in sorted(used) or ["claude"]:
        binary = shutil.which(program, path=environ.get("PATH"))
        if binary is None:
            text = f"'{program}' not found on PATH"
            if used:
                yield Finding(
                    "client", WRONG, text, "npm install -g @anthropic-ai/claude-code, or --agent scripted"
                )
            else:
                yield Finding("client", NOTE, f"{text}; no stage here needs it")
        elif config is not None and os.sep in program and approval.unapproved(config, environ):
            yield Finding(
                "client", NOTE, f"{binary} is not asked for its version: you have not approved it yet"
            )
        else:
            yield _version(binary)
    if config is not None and stages:
        yield from _trust(trust.folders(config, stages), environ)
        problems = clients.settings_problems(config, stages, environ)
        yield from (wrong("client's settings", problem) for problem in problems)
        if not problems:
            yield Finding("client's settings", OK, "each file that workers read is JSON")


def _trust(folders: Sequence[Path], environ: Mapping[str, str]) -> Iterator[Finding]:
    problems = trust.problems((), environ)  # those that no yes to a run mends
    untrusted: list[Path] = []
    with contextlib.suppress(DodoClaudeError):  # it is one of them
        untrusted = trust.untrusted(folders, environ)
    for folder in untrusted:
        text = f"the client does not trust {folder} yet; doit orchestrate asks in a terminal whether you do"
        yield Finding("trust", NOTE, text, "say yes there, or doit orchestrate --trust")
    yield from (wrong("trust", problem) for problem in problems)
    if not problems and not untrusted:
        yield Finding("trust", OK, f"the client trusts {', '.join(map(str, folders))}")


def _version(binary: str) -> Finding:
    told, proved = clients.version(binary), versions.CLIENT_VERSION
    if told is None:
        return Finding("client", WRONG, f"{binary} --version tells no version", f"run {binary} by hand")
    if versions.is_too_old(told):
        return wrong("client", clients.too_old_line(binary, told).removeprefix("claude: "))
    if told != proved:
        return Finding("client", NOTE, f"{told} at {binary}; dodo_claude was proved on {proved}",
                       "dodo-claude doctor --client tries it")  # fmt: skip
    return Finding("client", OK, f"{told} at {binary}")


def _project(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    unsafe = safeguards.unsafe_files(config)
    yield from (wrong("files", problem) for problem in unsafe)
    if not unsafe:
        yield Finding("files", OK, "nobody else can write what runs here")
    try:
        missing = approval.unapproved(config, environ)
    except DodoClaudeError as error:  # no place of the user's own to look in
        yield wrong("approval", str(error))
        return
    if missing:
        text = approval.summary(missing, asked=approval.was_asked(config, environ))
        remedy = "run doit orchestrate in a terminal and look at it, or doit orchestrate --trust"
        yield Finding("approval", NOTE, text, remedy)
    else:
        yield Finding("approval", OK, "you approved what this project runs")
    for problem in (
        *safeguards.bypass_problems(config, environ),
        *safeguards.sandbox_problems(config, environ),
    ):
        yield wrong("agents", problem)
    yield from _state_folder(config)


def _state_folder(config: Config) -> Iterator[Finding]:
    if not os.path.lexists(config.root / STATE_DIR):  # a run makes it; this does not
        refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(config.root))
        good = os.access(config.root, os.W_OK | os.X_OK)
        problems = [] if good else [disk_problem(refused, config.root)]
    else:
        try:
            problems = preflight.unwritable(config) or preflight.closed(config)
        except DodoClaudeError as error:  # what stands there is none of ours
            problems = [str(error)]
    yield from (wrong("state folder", problem) for problem in problems)
    if not problems:
        yield Finding("state folder", OK, f"{config.root / STATE_DIR} can be written")


def _runtime(root: Path) -> Finding:
    folder = watch.runtime_dir(root)
    socket = folder / "tmux.sock"
    if len(os.fsencode(socket)) > 100:
        return Finding("runtime folder", WRONG, f"{socket}: too long for a socket's path",
                       "set XDG_RUNTIME_DIR to a short one")  # fmt: skip
    return Finding("runtime folder", OK, str(folder))


def _disk(config: Config | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    places = {config.root if config is not None else Path.cwd(), Path(tempfile.gettempdir())}
    places.add(Path(environ.get("HOME") or os.path.expanduser("~")))
    disks: dict[int, list[Path]] = {}
    for place in sorted(places):
        with contextlib.suppress(OSError):
            disks.setdefault(_disk_of(place), []).append(place)
    for beside in disks.values():
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(beside[0]).free
            text = f"{free / 1e9:.1f} GB free at {' and '.join(map(str, beside))}"
            result = WRONG if free < NO_ROOM else NOTE if free < LITTLE_ROOM else OK
            yield Finding("disk", result, text, "" if result == OK else "free some")


def _disk_of(place: Path) -> int:
    return place.stat().st_dev


def _path(environ: Mapping[str, str]) -> Finding:
    path = start.worker_env(AgentProfile("scripted", "scripted"), environ).get("PATH")
    found = shutil.which("dodo-claude", path=path)
    if found is None:
        return Finding("worker's PATH", WRONG, "dodo-claude is not on it: workers can't tell or ask anything",
                       "put the folder of dodo-claude on your PATH")  # fmt: skip
    return Finding("worker's PATH", OK, f"dodo-claude is {found}")


# -- a trial


def _hooks(environ: Mapping[str, str]) -> Finding:
    with trial.place(None) as root:
        (root / "scenario.toml").write_text(_SCENARIO, encoding="utf-8")
        return _trial("hooks", root, _SCRIPTED, {**environ, "DODO_CLAUDE_SCRIPTED_SPEED": "0"})


def _account(command: tuple[str, ...], folder: Path, environ: Mapping[str, str]) -> Finding:
    """Inside `folder`, if the client trusts it."""
    if not trust.problems((), environ) and trust.untrusted([folder], environ):
        found = wrong("client's hooks", first_run.untrusted(folder))
        return replace(found, result=NOTE, text=f"not tried with your account: {found.text}")
    inside = folder / STATE_DIR if (folder / STATE_DIR).is_dir() else folder
    with trial.place(inside) as root:
        text = _CLIENT.replace("COMMAND", json.dumps(command))
        found = _trial("client's hooks", root, text, environ)
        return found if found.remedy or found.result == OK else replace(found, remedy=BY_HAND)


def _trial(name: str, root: Path, text: str, environ: Mapping[str, str]) -> Finding:
    """A run of one stage: did its worker tell of itself?"""
    (root / "orchestrate.toml").write_text(text, encoding="utf-8")
    env = trial.environment(root, environ)
    config = load_config(root / "orchestrate.toml")
    approval.approve(config, env)
    code, said = trial.orchestrate(root, env, TRIAL_SECONDS)
    scripted = agent_of(config.stages[0].agent).can.scenario
    last = StageLog(root / STATE_DIR, "trial").last()
    heard = {event.kind: event for event in last.replay()} if last is not None else {}
    hooks = (*TURN_HOOKS, *(TOOL_HOOKS if scripted else ()))
    silent = [hook for hook in hooks if hook not in heard]
    if code != 0:
        found = wrong(name, f"a trial session failed: {one_line(said)}")
        found = replace(found, text=found.text[:SHOWN])
        cause = str(heard[OUTCOME].data.get("cause")) if OUTCOME in heard else ""
        return found if found.remedy else replace(found, remedy=FATAL.get(cause, ""))
    if silent:
        return Finding(name, WRONG, f"a trial session told nothing of {', '.join(silent)}")
    who = "the scripted agent" if scripted else "the client"
    return Finding(name, OK, f"a trial session of {who} told of itself")


def _tried_client(command: tuple[str, ...], folder: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """One client: first by itself, then with the user's account and settings."""
    name = os.path.join(folder, command[0]) if os.sep in command[0] else command[0]
    program = shutil.which(name, path=environ.get("PATH"))
    if program is None or versions.is_too_old(clients.version(program) or versions.CLIENT_VERSION):
        return  # that is said already
    command = (program, *command[1:])
    try:
        found = drift.look(command, environ)
    except (DodoClaudeError, OSError) as error:
        found = [Finding("client's start", WRONG, str(error).partition("\n")[0])]
    yield from found
    if all(finding.result != WRONG for finding in found):
        yield from _tried("client's hooks", lambda: _account(command, folder, environ))


def _commands(config: Config | None, environ: Mapping[str, str]) -> list[tuple[str, ...]]:
    used = {stage.agent.command: None for stage in config.workers
            if stage.agent is not None and agent_of(stage.agent).can.setup} if config is not None else {}  # fmt: skip
    if config is not None and any(os.sep in command[0] for command in used):
        unapproved = approval.unapproved(config, environ)
        used = {command: None for command in used if not (unapproved and os.sep in command[0])}
    return list(used) or [("claude",)]
