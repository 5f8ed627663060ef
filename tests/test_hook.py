"""hook.sh under the shells that /bin/sh may be: every event whole, no word, no failure, no wait."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from dodo_claude.journal import Attempt, StageLog
from dodo_claude.run import HOOK

SHELLS = [
    pytest.param(["dash"], id="dash", marks=pytest.mark.skipif(not shutil.which("dash"), reason="no dash")),
    pytest.param(["bash", "--posix"], id="bash", marks=pytest.mark.skipif(not shutil.which("bash"), reason="no bash")),
]  # fmt: skip
# A hook that blocks would do so for ever.
DEADLINE = 20.0
RING = "0123456789abcdef"
pytestmark = pytest.mark.parametrize("shell", SHELLS)


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return StageLog(tmp_path / "state", "s").begin()


@pytest.fixture
def bell(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "bell", 0o600)
    return tmp_path / "bell"


def run(shell: list[str], spool: Path, bell: Path, event: bytes = b'{"hook_event_name":"Stop"}') -> None:
    """Whatever is wrong around it: silent, status 0, no waiting."""
    done = subprocess.run(
        [*shell, str(HOOK), str(spool), str(bell), RING],
        input=event,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def heard(fd: int) -> bytes:
    """The first thing that comes out of the bell."""
    assert select.select([fd], [], [], DEADLINE)[0]
    return os.read(fd, 65536)


def test_an_event_becomes_a_file_and_a_ring(shell: list[str], attempt: Attempt, bell: Path) -> None:
    listener = os.open(bell, os.O_RDWR | os.O_NONBLOCK)
    try:
        run(shell, attempt.spool, bell)
        assert heard(listener) == RING.encode() + b"\n"
    finally:
        os.close(listener)
    (file,) = (attempt.spool / "tmp").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [event.kind for event in attempt.collect()] == ["Stop"]
    assert not os.listdir(attempt.spool / "tmp") + os.listdir(attempt.spool / "new")


def test_a_megabyte_arrives_whole(shell: list[str], attempt: Attempt, bell: Path) -> None:
    event = json.dumps({"hook_event_name": "PreToolUse", "tool_input": {"content": "é" * 500_000}}).encode()
    event += b" " * (1_000_000 - len(event) % 1_000_000)
    run(shell, attempt.spool, bell, event)
    (file,) = (attempt.spool / "new").iterdir()
    assert attempt._text_of(file.name).read_bytes() == event


@pytest.mark.parametrize(
    "what", ["no bell", "a plain file for a bell", "no spool", "a file for a spool", "no tmp"]
)
def test_what_is_missing_is_no_fault(shell: list[str], attempt: Attempt, tmp_path: Path, what: str) -> None:
    spool, bell = attempt.spool, tmp_path / "bell"
    if what == "a plain file for a bell":
        bell.write_text("keep\n")
    elif what == "no spool":
        shutil.rmtree(spool)
    elif what == "a file for a spool":
        shutil.rmtree(spool)
        spool.write_text("")
    elif what == "no tmp":
        (spool / "tmp").rmdir()
    run(shell, spool, bell)
    if what.endswith("bell"):
        assert len(os.listdir(spool / "new")) == 1
    if what == "a plain file for a bell":
        assert bell.read_text() == "keep\n"


def test_nobody_listens(shell: list[str], attempt: Attempt, bell: Path) -> None:
    run(shell, attempt.spool, bell)
    assert len(os.listdir(attempt.spool / "new")) == 1


def test_a_full_bell_holds_up_no_hook_and_keeps_no_process(
    shell: list[str], attempt: Attempt, bell: Path
) -> None:
    """As when the orchestrator was suspended for long, and then killed."""
    listener = os.open(bell, os.O_RDWR | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(listener, b"x" * 4096)
    left, right = os.pipe()  # its writing end is held by every process that the hook leaves behind
    process = subprocess.Popen(
        [*shell, str(HOOK), str(attempt.spool), str(bell), RING],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[right],
    )  # fmt: skip
    os.close(right)
    process.communicate(b'{"hook_event_name":"Stop"}', timeout=DEADLINE)
    assert process.returncode == 0
    assert len(os.listdir(attempt.spool / "new")) == 1
    os.close(listener)
    assert select.select([left], [], [], DEADLINE)[0], "a ringer waits for ever"
    assert os.read(left, 1) == b""
    os.close(left)


def test_a_process_id_that_comes_round_again(
    shell: list[str], attempt: Attempt, bell: Path, tmp_path: Path
) -> None:
    """The shell's own id is a name that is taken: it is told to another process first."""
    script = f'for n in "" .$$ ; do echo old > "{attempt.spool}/tmp/$$$n"; done; set -- "$@"; . "{HOOK}"'
    done = subprocess.run(
        [*shell, "-c", script, "hook", str(attempt.spool), str(bell), RING],
        input=b'{"hook_event_name":"Stop"}', capture_output=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    texts = sorted(file.read_text() for file in (attempt.spool / "tmp").iterdir())
    assert texts == ["old\n", "old\n", '{"hook_event_name":"Stop"}']
    assert [event.kind for event in attempt.collect()] == ["Stop"]


def test_a_hook_that_is_killed_leaves_no_half_event(shell: list[str], attempt: Attempt, bell: Path) -> None:
    process = subprocess.Popen(
        [*shell, str(HOOK), str(attempt.spool), str(bell), RING],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(b'{"hook_event_name":')
    process.stdin.flush()
    os.killpg(process.pid, signal.SIGKILL)
    process.stdin.close()
    process.wait(DEADLINE)
    assert attempt.collect() == []
