"""Telling a person who looks elsewhere: the terminal's bell, a desktop notification, and a command of the user's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from dodo_claude.text.clean import clean_line

# Kinds of what is told.
NEEDS_HUMAN, ASKS, FAILED, FINISHED = "needs-human", "asks", "failed", "finished"
# A command of the user's that takes longer hangs, and is killed.
COMMAND_SECONDS = 60.0


def notify(title: str, text: str, terminal: TextIO, environ: Mapping[str, str] = os.environ) -> None:
    """Ring the bell and show `text`. Never fails, never waits, writes nothing where no person looks."""
    with contextlib.suppress(OSError, ValueError):
        if terminal.isatty():
            terminal.write(f"\a{sequence(title, text, environ)}")
            terminal.flush()
    program = shutil.which("notify-send")
    if program is None or not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return
    with contextlib.suppress(OSError):
        _start([program, "--app-name=dodo_claude", "--", _plain(title), _plain(text)], None, environ)


def sequence(title: str, text: str, environ: Mapping[str, str]) -> str:
    """What a terminal shows as a notification; one that knows it not shows nothing.

    OSC 777 where that is what is known, else OSC 9: some terminals know both, and would show both.
    """
    title, text = _plain(title), _plain(text)
    if "VTE_VERSION" in environ or environ.get("TERM", "").startswith(("rxvt", "foot")):
        return f"\x1b]777;notify;{title.replace(';', ',')};{text.replace(';', ',')}\x1b\\"
    return f"\x1b]9;{title}: {text}\x1b\\"


def run(
    command: Sequence[str], said: Mapping[str, str], folder: Path, environ: Mapping[str, str]
) -> str | None:
    """Start the user's command and tell it what is `said`. Why it could not be started; None if it was.

    It gets that as JSON on its input and as variables, never as words of a command: workers make up texts.
    """
    told = {name: _plain(text) for name, text in said.items()}
    variables = {f"DODO_CLAUDE_NOTIFY_{name.upper()}": text for name, text in told.items()}
    try:
        _start(list(command), folder, {**environ, **variables}, json.dumps(told) + "\n")
    except (OSError, ValueError) as error:
        return f"{command[0]}: {getattr(error, 'strerror', None) or error}"
    return None


def _start(argv: list[str], folder: Path | None, environ: Mapping[str, str], text: str = "") -> None:
    """Start a program that nobody waits for, but for a thread that takes its end."""
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    # A few hundred bytes: a pipe takes them at once, whether they are read or not.
    with contextlib.suppress(OSError), process.stdin as stream:
        stream.write(text.encode())
    threading.Thread(target=_reap, args=(process,), name="dodo-claude-notify", daemon=True).start()


def _reap(process: subprocess.Popen[bytes], seconds: float = COMMAND_SECONDS) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it started: the session is its own
        process.wait()


def _plain(text: str) -> str:
    return clean_line(text)[:200]
