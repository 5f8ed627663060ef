"""The project's lock: one run at a time, and what a killed one was writing goes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dodo_claude.machine.files import make_state_dir
from dodo_claude.machine.ours import NotOursError
from dodo_claude.run import lock
from dodo_claude.run.lock import RunInProgressError
from dodo_claude.run.run import Run

PATIENCE = 30.0


HOLDER = (
    "import sys; from pathlib import Path; from dodo_claude.config.records import Config; from dodo_claude.run.run import Run\n"
    "root = Path(sys.argv[1]); run = Run(Config(root / 'o.toml', root, 'x', 1, 'private', (), ()))\n"
    "run.take_lock(); print('held', flush=True); sys.stdin.readline()\n"
)


def test_one_run_at_a_time(run: Run, root: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    text = rf"^run in progress: pid {holder.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \(wait for it, or stop it with Ctrl-C there\)$"
    for call in (run.take_lock, lambda: run.start([]), run.services):
        with pytest.raises(RunInProgressError, match=text):
            call()
    holder.kill()  # nothing is left to be cleared away by hand
    holder.wait(PATIENCE)
    holder.stdin.close()
    holder.stdout.close()
    run.take_lock()
    run.take_lock()
    assert f"pid {os.getpid()} since" in (root / ".orchestrate/run.lock").read_text()


def test_the_lock_is_let_go(run: Run, root: Path) -> None:
    run.take_lock()
    other = Run(run.config)
    with pytest.raises(RunInProgressError):
        other.take_lock()
    run.close()
    other.take_lock()
    other.close()


def test_who_only_asks_keeps_no_run_from_starting(run: Run, root: Path) -> None:
    run.take_lock()
    run.close()
    asks = os.open(root / ".orchestrate/run.lock", os.O_RDONLY)
    fcntl.flock(asks, fcntl.LOCK_SH)
    threading.Timer(0.01, os.close, [asks]).start()
    run.take_lock()


def test_what_a_killed_run_was_writing_goes_also_when_nothing_is_to_do(run: Run, root: Path) -> None:
    folder = root / ".orchestrate" / "runs" / "20261122-183644-9578"
    folder.mkdir(parents=True)
    remains, ours = folder / ".report.json.4194305.tmp", folder / f".report.md.{os.getpid()}.tmp"
    remains.touch()
    ours.touch()
    run.take_lock()
    assert os.listdir(folder) == [ours.name], "and what somebody is writing now stays"


def test_what_a_killed_run_was_writing_of_a_stage_goes_also_when_it_is_up_to_date(
    run: Run, root: Path
) -> None:
    attempt = root / ".orchestrate/stages/a/1"
    remains = [
        attempt / ".screen.txt.4194305.tmp",
        attempt.parent / ".open.4194305.tmp",
        attempt.parent / "mail/new/.x.4194305.tmp",
    ]
    ours = attempt / f".screen.txt.{os.getpid()}.tmp"
    for path in (*remains, ours):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    run.take_lock()
    assert [path for path in (*remains, ours) if path.exists()] == [ours]


def test_what_a_killed_run_left_of_a_copy_is_swept(run: Run, root: Path) -> None:
    folder = make_state_dir(root) / "store"
    folder.mkdir()
    digest = "0" * 64
    half, ours = folder / f".{digest}-1.4194305.tmp", folder / f".{digest}-1.{os.getpid()}.tmp"
    for path in (half, ours, folder / digest):
        path.write_text("x")
    run.take_lock()
    assert sorted(path.name for path in folder.iterdir()) == sorted([ours.name, digest])


def test_a_lock_that_can_not_be_made_is_one_line(run: Run, root: Path, tmp_path: Path) -> None:
    make_state_dir(root)
    (tmp_path / "victim").write_text("mine")
    (root / ".orchestrate/run.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(NotOursError, match=r"run\.lock: is a symbolic link where a file of ours belongs"):
        run.take_lock()
    assert (tmp_path / "victim").read_text() == "mine"


def test_when_it_was_taken_is_known_before_its_holder_has_written_anything_else(run: Run, root: Path) -> None:
    """A stage that is stopped in this moment was not begun by this run: an attempt before that is an earlier one's."""
    state = make_state_dir(root)
    assert lock.taken(state) == 0.0
    (state / "run.lock").touch()
    os.utime(state / "run.lock", (1.0, 1.0))
    run.take_lock()
    assert lock.taken(state) > 1_000_000_000.0
