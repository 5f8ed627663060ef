"""The monitors beside a worker: each is the program monitor.py in a pane of its own. Owns when one starts and ends.

    .orchestrate/stages/<stage>/<attempt>/monitors/NAME   locked by the monitor while it lives: its process, the
                                                          key of what it told last
    <runtime>/monitor-<ring>-NAME                         its orders, environment and all, until it has read them

Rules this file keeps: a monitor carries a nonce of its own, so that its work is no life sign of the worker's and all
that it starts is found again; it does not outlive its attempt; of two that are started by mistake one goes at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from dodo_claude.config.records import Monitor, Stage
from dodo_claude.machine import files, importing, processes
from dodo_claude.machine.files import make_folder, write_atomic
from dodo_claude.machine.terminal import Pane
from dodo_claude.state.journal import Attempt
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.worker.services import Services

# A monitor gets so long to end its command, which gets half of it, before both are killed.
GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Orders:
    """All that a monitor has to know."""

    stage: str
    item: str | None
    state: str  # .orchestrate
    root: str
    place: str  # its file of the attempt
    nonce: str  # its own
    worker: int  # the process that it ends with
    worker_nonce: str
    monitor: Monitor
    environ: Mapping[str, str]  # of its command

    def write(self, path: Path) -> None:
        """For the eyes of its user alone, in memory: a variable may be a secret."""
        write_atomic(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Orders:
        """The orders in `path`, which goes: FileNotFoundError when another monitor took them."""
        value = json.loads(files.read(path))
        files.remove(path)
        env = tuple((name, text) for name, text in value["monitor"]["env"])
        return cls(**{**value, "monitor": Monitor(**{**value["monitor"], "env": env})})


class Note(NamedTuple):
    """What a monitor says of itself."""

    pid: int = 0
    told: str = ""  # what its worker was told last: see monitor.Judge


def take(path: Path) -> int | None:
    """The file of a monitor, locked; None while another process has it."""
    fd = files.open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def write_note(fd: int, note: Note) -> None:
    """Replace what the file says."""
    text = " ".join(map(str, note)) + "\n"
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)


def read_note(path: Path) -> Note:
    """What the file says; nothing when its monitor has not written yet."""
    with contextlib.suppress(OSError, ValueError):
        pid, told = files.read_text(path).rstrip("\n").split(" ")
        return Note(int(pid), told)
    return Note()


def start(stage: Stage, attempt: Attempt, pane: Pane, nonce: str, services: Services) -> list[str]:
    """Start the monitors of the worker in `pane`, those that live left as they are. What kept one from starting."""
    folder = attempt.dir / "monitors"
    if stage.monitors:
        make_folder(folder)
    problems = []
    for monitor in stage.monitors:
        try:
            _start(monitor, _orders(monitor, stage, folder, pane, nonce, services), pane, services)
        except DodoClaudeError as error:
            problems.append(one_line(f"monitor '{monitor.name}' can't be started: {error}"))
    return problems


def _orders(
    monitor: Monitor, stage: Stage, folder: Path, pane: Pane, nonce: str, services: Services
) -> Orders:
    return Orders(
        stage=stage.name,
        item=stage.item,
        state=str(services.state),
        root=str(services.root),
        place=str(folder / monitor.name),
        nonce=_nonce(nonce, monitor.name),
        worker=pane.pid,
        worker_nonce=nonce,
        monitor=monitor,
        environ={**services.environ, **dict(monitor.env), "DODO_CLAUDE_STAGE": stage.name},
    )


def _start(monitor: Monitor, orders: Orders, pane: Pane, services: Services) -> None:
    place, told = Path(orders.place), ""
    if files.is_file(place):
        if _lives(place):
            return
        told = read_note(place).told  # it died: the next one does not say the same again
        _end(place.parent, monitor.name, orders.worker_nonce, services.runtime, services.hurry.is_set)
    fd = take(place)
    if fd is not None:
        write_note(fd, Note(0, told))
        os.close(fd)
    path = _orders_file(services.runtime, orders.worker_nonce, monitor.name)
    orders.write(path)
    given = {name: services.environ[name] for name in ("PATH", "HOME") if name in services.environ}
    variables = {**given, "LANG": "C.UTF-8", processes.NONCE: orders.nonce}
    argv = [
        "env", "-i", *(f"{name}={value}" for name, value in variables.items()),
        *importing.python("dodo_claude.worker.monitor", str(path)),
    ]  # fmt: skip
    try:
        services.terminal().split(pane, argv, services.root)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def end(attempt: Attempt, nonce: str, runtime: Path, hurry: Callable[[], bool] = lambda: False) -> None:
    """End the monitors of an attempt, and all that they started."""
    folder = attempt.dir / "monitors"
    for name in _names(folder):
        _end(folder, name, nonce, runtime, hurry)


def _end(folder: Path, name: str, nonce: str, runtime: Path, hurry: Callable[[], bool]) -> None:
    _orders_file(runtime, nonce, name).unlink(missing_ok=True)
    place = folder / name
    pid = read_note(place).pid if _lives(place) else 0
    processes.end_tree(pid, _nonce(nonce, name), GRACE_SECONDS, hurry)
    files.remove(place, missing_ok=True)


def _lives(place: Path) -> bool:
    fd = take(place)
    if fd is not None:
        os.close(fd)
    return fd is None


def _names(folder: Path) -> list[str]:
    return sorted(name for name in files.names(folder) if not name.startswith("."))


def _nonce(nonce: str, name: str) -> str:
    return f"{nonce}-monitor-{name}"


def _orders_file(runtime: Path, nonce: str, name: str) -> Path:
    return runtime / f"monitor-{nonce[:16]}-{name}"
