"""A worker's requests for a permission, answered from outside of its pane.

The client shows its dialog and runs its PermissionRequest hook at the same time, and takes what answers first. So
the hook sleeps until somebody answers here, and the person at the pane loses nothing.

    .orchestrate/stages/<stage>/<attempt>/permits/
        ID         a FIFO, on which the hook sleeps; gone when no hook does
        ID.claim   somebody answers it, or its dialog is over: made once, so no request has two answers
        ID.answer  what the hook is to print; ID.said, the event that tells of it
        ID.given   the hook took it

Rules this file keeps: an answer is for one request, and counts once; whoever gives one knows that a hook took it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from dodo_claude.machine import files, ours
from dodo_claude.machine.files import write_atomic
from dodo_claude.state.events import PERMITTED
from dodo_claude.state.journal import Attempt
from dodo_claude.state.mail import RefusedError

FOLDER = "permits"
# A hook that sleeps takes an answer in some milliseconds.
TAKE_SECONDS = 10.0
LOOK_SECONDS = 0.02
# Its client may begin the hook before it has drawn the dialog (2.1.332 on a busy machine).
DRAW_SECONDS = 2.0
_ID = re.compile(r"[0-9][0-9.-]*")


def folder(attempt: Attempt) -> Path:
    """Where the requests of an attempt's worker are."""
    return attempt.dir / FOLDER


def give(
    attempt: Attempt, request: str, answer: str,
    *, allow: bool = True, what: str = "", text: str = "", sender: str = "the user",
) -> None:  # fmt: skip
    """Let the hook that waits for `request` print `answer`, and tell of it: was the call `what` allowed, else why not.

    Raises `RefusedError` when no hook waits, or not any more.
    """
    if not _claim(attempt, request):
        raise RefusedError("it was answered already")
    path = folder(attempt) / request
    said = {"answered": request, "allow": allow, "what": what, "text": text, "sender": sender}
    event = {"hook_event_name": PERMITTED, **said}
    write_atomic(path.with_name(f"{request}.said"), json.dumps(event))
    write_atomic(path.with_name(f"{request}.answer"), answer)
    if not files.poke(path, b"\n"):
        raise RefusedError("it was answered in its pane, or its client is gone")
    given, deadline = path.with_name(f"{request}.given"), time.monotonic() + TAKE_SECONDS
    while not files.is_file(given):
        if time.monotonic() > deadline:
            with contextlib.suppress(FileNotFoundError):  # it took it in this moment
                files.move(path.with_name(f"{request}.answer"), path.with_name(f"{request}.late"))
                raise RefusedError("its client did not take the answer")
        time.sleep(LOOK_SECONDS)  # nothing tells of a rename but a watcher, which is more than this is worth


def is_over(dialog: Callable[[], bool], since: float) -> bool:
    """Is there no dialog on its screen any more? One that was asked for at `since`, wall time, is waited for: it may not be
    drawn yet."""
    deadline = time.monotonic() + min(DRAW_SECONDS, since + DRAW_SECONDS - time.time())
    while not dialog():
        if time.monotonic() >= deadline:
            return True
        time.sleep(LOOK_SECONDS)  # nothing tells that a dialog was drawn
    return False


def let_go(attempt: Attempt, request: str) -> None:
    """The dialog is over: the client leaves its hook running, and ignores it; so it ends without a word."""
    with contextlib.suppress(OSError):
        if _claim(attempt, request):
            files.poke(folder(attempt) / request, b"\n")


def sweep(attempt: Attempt) -> None:
    """Its worker is gone: what is left of its requests is nobody's."""
    with contextlib.suppress(OSError, ours.NotOursError):
        files.remove_tree(folder(attempt))


def _claim(attempt: Attempt, request: str) -> bool:
    # Its name comes from a spool that a worker can write to.
    if not _ID.fullmatch(request):
        return False
    try:
        claim = ours.check(folder(attempt) / f"{request}.claim")
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except (FileExistsError, FileNotFoundError):
        return False
    return True
