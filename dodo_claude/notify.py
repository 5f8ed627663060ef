"""Telling a person who looks elsewhere: the terminal's bell, and a desktop notification where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TextIO


def notify(title: str, text: str, terminal: TextIO) -> None:
    """Ring the bell and show `text`. Never fails, never waits, writes nothing where no person looks."""
    with contextlib.suppress(OSError, ValueError):
        if terminal.isatty():
            # OSC 9 is shown as a notification by those terminals that know it, and ignored by the others.
            terminal.write(f"\a\x1b]9;{_plain(title)}: {_plain(text)}\x1b\\")
            terminal.flush()
    program = shutil.which("notify-send")
    if program is None or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    with contextlib.suppress(OSError):
        subprocess.Popen(
            [program, "--app-name=dodo_claude", "--", _plain(title), _plain(text)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:200]
