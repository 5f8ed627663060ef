"""A run in a folder of its own, as `dodo-claude doctor` tries things: whatever becomes of it, nothing of it is left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import FrameType

from dodo_claude.machine import importing, processes, watch
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.report import runs
from dodo_claude.run import project_tmux
from dodo_claude.state import slots
from dodo_claude.text.errors import DodoClaudeError

PREFIX = "doctor-"
# Whatever else is called like one of these has no such file, and is nobody's to remove.
_LOCK, _HELD = ".dodo-claude-doctor", b"a trial of dodo-claude doctor\n"
# A run that is asked to end takes its worker down first, with a second for each to go.
END_SECONDS = 20.0
# So long after its end something of a client may still write into its folder.
LAST_WORDS_SECONDS = 1.0


@contextlib.contextmanager
def place(parent: Path | None) -> Iterator[Path]:
    """A new folder in `parent`, or among the temporary ones: with a tmux server's end it goes at the end of all this.

    Also when Ctrl-C, SIGTERM or SIGHUP ends it. What one left that was killed outright goes now.
    """
    _sweep(parent or Path(tempfile.gettempdir()))
    with _ends_in_order():
        root = Path(os.path.realpath(tempfile.mkdtemp(prefix=PREFIX, dir=parent)))
        fd = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, _HELD)
            yield root
        finally:
            with _undisturbed():
                _clear(root)
                os.close(fd)


def environment(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` for a run in `root`, which is no part of any other; its approval lies there, too."""
    outer = ("DODO_CLAUDE_ROOT", "DODO_CLAUDE_STAGE", slots.VARIABLE)
    return {
        **{name: value for name, value in environ.items() if name not in outer},
        "XDG_STATE_HOME": str(root / "state"),
    }


def orchestrate(root: Path, env: Mapping[str, str], seconds: float, *options: str) -> tuple[int, str]:
    """`doit orchestrate` in `root`, for so many seconds at most: its exit status, and what came of it in one line."""
    before = {span.id for span in runs.runs(root / STATE_DIR)}
    process = subprocess.Popen(
        importing.python("doit", "orchestrate", "--yes", *options),
        cwd=root, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace", start_new_session=True,  # a Ctrl-C is ours: it is asked to end, once
    )  # fmt: skip
    try:
        said, complained = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        return 1, f"it took longer than {seconds:g} s"
    except BaseException:
        with _undisturbed():
            _end(process)
        raise
    # Its own record first; where nothing began there is none, and its complaint says why.
    words = _reason(root, before) or " ".join(
        line.removeprefix("ERROR: ") for line in complained.splitlines()
    )
    return process.returncode, words or said.strip().rpartition("\n")[2] or "it said nothing"


def _reason(root: Path, before: Collection[str]) -> str:
    """Why a stage of the run that is none of those is not done, the first one's."""
    state = root / STATE_DIR
    told = [runs.saved(state, span.id) for span in runs.runs(state) if span.id not in before]
    return next((stage.reason for each in told if each for stage in each.stages if stage.reason), "")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = left.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            fd = os.open(left / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its holder lives: that fails
                if os.pread(fd, 100, 0) == _HELD:  # else it is about to be held
                    _clear(left)
            finally:
                os.close(fd)


def _clear(root: Path) -> None:
    runtime = watch.runtime_dir(root)
    pids: list[int] = []
    with contextlib.suppress(OSError, DodoClaudeError):
        tmux = project_tmux.own_tmux(root, os.environ)
        for session_id, mark in tmux.server.sessions().values():
            pids += tmux.server.pids(session_id)
            tmux.server.end(session_id, mark)
        tmux.server.stop()
    _await_end(pids)
    shutil.rmtree(runtime, ignore_errors=True)
    # A client that ends writes its state once more, and may have a helper that does so after it.
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    shutil.rmtree(root, ignore_errors=True)
    while time.monotonic() < deadline:
        time.sleep(LAST_WORDS_SECONDS / 5)
        if not root.exists():
            break
        shutil.rmtree(root, ignore_errors=True)


def _await_end(pids: list[int]) -> None:
    """Of the panes that hung up: what does not go by itself is killed."""
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    while any(map(processes.runs, pids)) and time.monotonic() < deadline:
        time.sleep(LAST_WORDS_SECONDS / 20)
    for pid in filter(processes.runs, pids):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def _ends_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP raise, as Ctrl-C does."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handling((signal.SIGTERM, signal.SIGHUP), end):
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Nothing ends it meanwhile: it takes a second or two."""
    with _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handling(numbers: tuple[signal.Signals, ...], handler: signal._HANDLER) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # whoever has the main thread has the signals
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)
