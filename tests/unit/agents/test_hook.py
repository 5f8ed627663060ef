"""hook.sh under the shells that /bin/sh may be: every event whole, no word, no failure, no wait."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dodo_claude.machine.watch import Watcher
from dodo_claude.run.run import HOOK
from dodo_claude.state import events as lifecycle
from dodo_claude.state import permits
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.state.mail import RefusedError

SHELLS = [
    pytest.param(["dash"], id="dash", marks=pytest.mark.skipif(not shutil.which("dash"), reason="no dash")),
    pytest.param(["bash", "--posix"], id="bash", marks=pytest.mark.skipif(not shutil.which("bash"), reason="no bash")),
]  # fmt: skip
# A hook that blocks would do so for ever.
DEADLINE = 20.0
pytestmark = pytest.mark.parametrize("shell", SHELLS)


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return StageLog(tmp_path / "state", "s").begin()


def run(shell: list[str], spool: Path, *more: str, event: bytes = b'{"hook_event_name":"Stop"}') -> bytes:
    """What it prints. Whatever is wrong around it: no complaint, status 0, no waiting."""
    done = subprocess.run(
        [*shell, str(HOOK), str(spool), *more], input=event, capture_output=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def left(attempt: Attempt) -> list[str]:
    return os.listdir(attempt.spool)


def test_an_event_becomes_a_file(shell: list[str], attempt: Attempt) -> None:
    assert run(shell, attempt.spool) == b""
    (file,) = attempt.spool.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [event.kind for event in attempt.collect()] == ["Stop"]
    assert left(attempt) == []


@pytest.mark.parametrize("more", [(), ("mail", "no such folder", "Stop"), ("answer", "no such file")])
def test_its_arrival_wakes_who_listens(shell: list[str], attempt: Attempt, more: tuple[str, ...]) -> None:
    watcher = Watcher()
    try:
        awake = watcher.register("it")
        watcher.watch_folder("it", attempt.spool)
        run(shell, attempt.spool, *more)
        assert awake.wait(DEADLINE)
        assert [event.kind for event in attempt.collect()] == ["Stop"]
    finally:
        watcher.close()


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_000])
def test_an_event_arrives_whole(shell: list[str], attempt: Attempt, size: int) -> None:
    event = json.dumps({"hook_event_name": "PreToolUse", "x": "é" * (size // 6)}).encode().ljust(size)
    run(shell, attempt.spool, event=event)
    (file,) = attempt.spool.iterdir()
    assert file.read_bytes() == event


def test_an_answer_is_printed(shell: list[str], attempt: Attempt, tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b'{"a": "\\n $HOME %s"}\n')
    assert run(shell, attempt.spool, "answer", str(tmp_path / "it")) == b'{"a": "\\n $HOME %s"}\n'
    assert [event.kind for event in attempt.collect()] == ["Stop"]


@pytest.mark.parametrize(
    "more", [(), ("mail", "box", "Stop"), ("answer", "box/new/a"), ("permit", "box/new")]
)
@pytest.mark.parametrize("what", ["no spool", "a file for a spool"])
def test_what_is_missing_is_no_fault(
    shell: list[str], attempt: Attempt, tmp_path: Path, what: str, more: tuple[str, ...]
) -> None:
    spool = attempt.spool
    for name in ("new", "taken"):
        (tmp_path / "box" / name).mkdir(parents=True)
    (tmp_path / "box/new/a").write_text("it")
    shutil.rmtree(spool)
    if what == "a file for a spool":
        spool.write_text("")
    run(shell, spool, *(str(tmp_path / word) if "/" in word or word == "box" else word for word in more))


def test_a_full_disk_leaves_what_tells_of_it(shell: list[str], attempt: Attempt) -> None:
    """`cat` fails after a part of it. A limit on its files' size does the same."""
    limited = f'ulimit -f 8; exec {shlex.join(shell)} "$@"'
    for more in ((), ("answer", "/dev/null"), ("permit", "/dev/null")):
        subprocess.run(
            ["sh", "-c", limited, "sh", str(HOOK), str(attempt.spool), *more],
            input=b'{"hook_event_name":"' + b"x" * 100_000, capture_output=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert len(os.listdir(attempt.spool)) == 1
        assert attempt.collect() == []
        (name,) = left(attempt)
        assert name.startswith(".unreadable-")
        (attempt.spool / name).unlink()


def test_a_process_id_that_comes_round_again(shell: list[str], attempt: Attempt) -> None:
    """The shell's own id is a name that is taken: it is told to another process first."""
    script = f'for n in .$$ $$.$$; do echo old > "{attempt.spool}/$n"; done; set -- "$@"; . "{HOOK}"'
    done = subprocess.run(
        [*shell, "-c", script, "hook", str(attempt.spool)],
        input=b'{"hook_event_name":"Stop"}', capture_output=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    texts = sorted(file.read_text() for file in attempt.spool.iterdir())
    assert texts == ["old\n", "old\n", '{"hook_event_name":"Stop"}']
    assert [event.kind for event in attempt.collect()] == ["Stop"]


def test_a_hook_that_is_killed_leaves_no_event(shell: list[str], attempt: Attempt) -> None:
    process = subprocess.Popen(
        [*shell, str(HOOK), str(attempt.spool)], stdin=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    process.stdin.write(b'{"hook_event_name":')
    process.stdin.flush()
    until(lambda: [file for file in attempt.spool.iterdir() if file.stat().st_size])
    assert attempt.collect() == []
    assert attempt.unfinished
    os.killpg(process.pid, signal.SIGKILL)
    process.stdin.close()
    process.wait(DEADLINE)
    assert attempt.collect() == []
    assert left(attempt) == [f".unreadable-{process.pid}"]
    assert not attempt.unfinished


# -- requests for a permission

ASKED = b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"command":"echo \\"agent_id\\""}}'


class Asking:
    """A hook that waits, with a process in its client's place."""

    def __init__(self, shell: list[str], attempt: Attempt, asked: bytes = ASKED) -> None:
        self.attempt = attempt
        self.client = subprocess.Popen(["sleep", "1000"])
        self.process = subprocess.Popen(
            [*shell, str(HOOK), str(attempt.spool), "permit", str(permits.folder(attempt))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "CLAUDE_PID": str(self.client.pid)},
        )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(asked)
        self.process.stdin.close()
        self.process.stdin = None
        until(attempt._names)

    def request(self) -> str:
        return self.attempt.view().request

    def said(self) -> tuple[int, bytes, bytes]:
        out, err = self.process.communicate(timeout=DEADLINE)
        self.client.kill()
        self.client.wait()
        until(lambda: not [name for name in self.left() if "." not in name.partition("-")[2]])
        return self.process.returncode, out, err

    def left(self) -> list[str]:
        return sorted(path.name for path in permits.folder(self.attempt).glob("*"))


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_waits_for_its_answer(shell: list[str], attempt: Attempt) -> None:
    hook = Asking(shell, attempt)
    (event,) = attempt.collect()
    request = str(event.data["request"])
    assert hook.process.poll() is None
    permits.give(attempt, request, '{"a": "é $HOME"}\n', allow=True, sender="me")
    assert hook.said() == (0, '{"a": "é $HOME"}\n'.encode(), b"")
    (told,) = attempt.collect()
    assert (told.kind, told.data) == (
        lifecycle.PERMITTED,
        {"answered": request, "allow": True, "what": "", "text": "", "sender": "me"},
    )
    with pytest.raises(RefusedError, match="answered already"):
        permits.give(attempt, request, "{}")


def test_of_two_answers_one_counts(shell: list[str], attempt: Attempt) -> None:
    hook = Asking(shell, attempt)
    request = hook.request()
    answer = f"from dodo_claude.state import permits; from dodo_claude.state.journal import *; from pathlib import Path; permits.give(Attempt(StageLog(Path({str(attempt.log.dir.parent.parent)!r}), 's'), 1), {request!r}, 'N\\n')"
    tries = [subprocess.Popen([sys.executable, "-c", answer.replace("N", str(n))], stderr=subprocess.PIPE) for n in range(3)]  # fmt: skip
    refused = [b"answered already" in one.communicate(timeout=DEADLINE)[1] for one in tries]
    assert refused.count(False) == 1
    assert hook.said() == (0, f"{refused.index(False)}\n".encode(), b"")
    assert [event.kind for event in attempt.collect()] == ["PermissionRequest", lifecycle.PERMITTED]


def test_a_dialog_that_is_over_ends_its_hook_without_a_word(shell: list[str], attempt: Attempt) -> None:
    hook = Asking(shell, attempt)
    request = hook.request()
    permits.let_go(attempt, request)
    assert hook.said() == (0, b"", b"")
    with pytest.raises(RefusedError):
        permits.give(attempt, request, "late")
    permits.let_go(attempt, request)  # no error
    permits.let_go(attempt, "")


def test_a_dialog_that_is_broken_off_ends_its_hook(shell: list[str], attempt: Attempt) -> None:
    hook = Asking(shell, attempt)
    request = hook.request()
    hook.process.terminate()
    assert hook.said() == (0, b"", b"")
    with pytest.raises(RefusedError, match="answered in its pane, or its client is gone"):
        permits.give(attempt, request, "late")


def test_it_outlives_no_client_that_was_killed(shell: list[str], attempt: Attempt) -> None:
    hook = Asking(shell, attempt)
    hook.client.kill()  # and nobody takes its end: it is a zombie
    assert hook.said() == (0, b"", b"")


def test_one_that_is_killed_itself_takes_no_answer(
    shell: list[str], attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permits, "TAKE_SECONDS", 0.2)
    hook = Asking(shell, attempt)
    request = hook.request()
    hook.process.kill()
    assert hook.process.communicate(timeout=DEADLINE) == (b"", b"")
    with pytest.raises(RefusedError, match=r"did not take|answered in its pane"):
        permits.give(attempt, request, "late")
    assert not list(attempt.dir.glob("permits/*.given"))
    permits.sweep(attempt)
    hook.client.kill()
    hook.client.wait()


def test_a_subagents_request_is_left_to_its_dialog(shell: list[str], attempt: Attempt) -> None:
    asked = b'{"hook_event_name":"PermissionRequest","agent_id":"a1","tool_name":"Bash"}'
    hook = Asking(shell, attempt, asked)
    assert hook.said() == (0, b"", b"")
    assert (hook.left(), hook.request()) == ([], "")


def test_without_its_folder_nobody_is_waited_for(shell: list[str], attempt: Attempt) -> None:
    command = [*shell, str(HOOK), str(attempt.spool), "permit", str(attempt.dir / "no/folder")]
    done = subprocess.run(command, input=ASKED, capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert attempt.view().request == ""


@pytest.mark.parametrize("request_id", ["../../x", "/etc/passwd", "x", "", "1/../2"])
def test_a_name_that_is_no_request_touches_nothing(
    shell: list[str], attempt: Attempt, request_id: str
) -> None:
    with pytest.raises(RefusedError):
        permits.give(attempt, request_id, "x")
    permits.let_go(attempt, request_id)
    assert not permits.folder(attempt).exists()
