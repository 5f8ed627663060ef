"""What is known of an installed client before any worker starts: its version, and the settings files that it will read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dodo_claude.agents.claude import elsewhere, versions
from dodo_claude.agents.table import agent_of
from dodo_claude.config.records import Config, Stage
from dodo_claude.machine import files
from dodo_claude.machine.files import make_private, user_state, write_atomic

# `claude --version` takes 20 ms; the first one after a start of the machine reads 400 MB.
VERSION_SECONDS = 30.0
# So many programs are remembered.
KEPT = 20
# Only what says that it is the client is held to its versions: a wrapper may have one of its own.
_TELLS = re.compile(r"\A(\d+\.\d+\.\d+) \(Claude Code\)")


def version(program: str) -> str | None:
    """What the client at the path `program` says of its version; None of what is no client, or says nothing.

    Runs it: so only once the user approved what this project runs, or found on PATH.
    """
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([program, "--version"], capture_output=True, text=True, errors="replace", check=False,
                              timeout=VERSION_SECONDS, stdin=subprocess.DEVNULL)  # fmt: skip
        found = _TELLS.match(done.stdout)
        return found[1] if found else None
    return None


def remembered_version(program: str, environ: Mapping[str, str]) -> str | None:
    """`version`, asked once for each state of the program's file: a run does not wait for it again.

    What is too old is asked each time: behind a wrapper, whose file stays as it is, there may be another by now.
    """
    path, name = user_state(environ) / "clients.json", os.path.realpath(program)
    with contextlib.suppress(OSError):
        status = os.stat(name)
        mark = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
        known = _remembered(path)
        then, told = known.pop(name, ("", ""))
        if then == mark and not versions.is_too_old(told):
            return told
        found = version(program)
        if found is not None:
            known[name] = (mark, found)
            with contextlib.suppress(OSError):  # it is asked again
                make_private(path.parent)
                kept = dict(list(known.items())[-KEPT:])
                write_atomic(path, json.dumps(kept, indent=1) + "\n", durable=False)
        return found
    return None


def _remembered(path: Path) -> dict[str, tuple[str, str]]:
    """Program -> what told its file's state, its version. What can't be read is not known."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        value = json.loads(files.read(path))
        return {str(name): (str(mark), str(told)) for name, (mark, told) in value.items()}
    return {}


def too_old(stages: Iterable[Stage], environ: Mapping[str, str]) -> list[str]:
    """Which clients of `stages` can't be worked with, a line each. Called when the user has approved what runs."""
    programs: dict[str | None, None] = {}
    for stage in stages:
        # With words after it, it is a wrapper, whose --version is its own.
        if stage.agent is not None and agent_of(stage.agent).can.setup and len(stage.agent.command) == 1:
            programs[shutil.which(stage.agent.command[0], path=environ.get("PATH"))] = None
    problems = []
    for program in filter(None, programs):
        told = remembered_version(program, environ)
        if told is not None and versions.is_too_old(told):
            problems.append(too_old_line(program, told))
    return problems


def too_old_line(program: str, told: str) -> str:
    """That, and what to do."""
    return (
        f"claude: {told} at {program} is too old: dodo_claude needs {versions.LOWEST_CLIENT_VERSION} or newer "
        "(run `claude update`, or npm install -g @anthropic-ai/claude-code@latest)"
    )


# -- the settings files that it reads


def settings_problems(config: Config, stages: Iterable[Stage], environ: Mapping[str, str]) -> list[str]:
    """The settings files that workers of `stages` would read, and can't: a line each.

    Over any fault in one the client stops at a dialog. What may stand in them is known to the client alone, and told by its
    dialog; that it is JSON at all can be told before.
    """
    problems = []
    for path in dict.fromkeys(_settings_files(config, stages, environ)):
        with contextlib.suppress(OSError):  # what is not there, or not to be read, it goes without
            fault = elsewhere.settings_fault(path.read_bytes())
            if fault:
                problems.append(
                    f"{path}{fault}: over that the client stops at a dialog before any worker begins (mend the file)"
                )
    return problems


def _settings_files(config: Config, stages: Iterable[Stage], environ: Mapping[str, str]) -> Iterator[Path]:
    for stage in stages:
        if stage.agent is not None and agent_of(stage.agent).can.setup:
            own = {**environ, **dict(stage.env)}
            yield from elsewhere.settings_files(stage.agent, config.root / stage.cwd, own)
