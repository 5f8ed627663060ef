"""What is done beside the stages: all of it before the run's end, and what a killed run left of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.config.records import Stage
from dodo_claude.machine.files import make_state_dir
from dodo_claude.machine.tmux import Tmux
from dodo_claude.state.journal import StageLog
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor
from dodo_claude.worker.afterwards import Afterwards, take_down_left
from tests.samples.attempts import STAGE
from tests.samples.panes import until

SECRET = "sk-ant-" + "a" * 30


def test_settling_waits_for_all_and_for_what_they_begin() -> None:
    work, done = Afterwards(), []
    go_on = threading.Event()

    def first() -> None:
        assert go_on.wait(20)
        done.append("first")
        work.do(lambda: done.append("second"))

    work.do(first)
    assert done == []
    go_on.set()
    work.settle()
    assert done == ["first", "second"]
    work.settle()


@pytest.mark.parametrize("error", [OSError("disk full"), DodoClaudeError("tmux kill-session: failed")])
def test_what_fails_there_fails_nobody(error: Exception) -> None:
    work, done = Afterwards(), []

    def fail() -> None:
        raise error

    work.do(fail)
    work.do(lambda: done.append("it"))
    work.settle()
    assert done == ["it"]


# -- what a killed run left


@pytest.fixture
def server(runtime: Path) -> Iterator[Tmux]:
    made = Tmux(runtime / "tmux.sock", owner="p")
    yield made
    for session, _ in made.server.sessions().values():
        made.server.remove(session)
    made.server.stop_if_empty()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return make_state_dir(tmp_path)


def leave(server: Tmux, state: Path, folder: Path, *, result: str | None, lives: bool = False) -> Path:
    """A session as a worker's of the stage, and what is written down of its attempt."""
    attempt = StageLog(state, "api").begin()
    if result is not None:
        attempt.finish({"result": result})
    # It ends once its words are there: of a process that ends at once tmux may lose what it said.
    script = f"echo its last words {SECRET}; {'exec sleep 1000' if lives else 'read line; exit 143'}"
    pane = server.spawn("w-api", ["/bin/sh", "-c", script], folder, "m", "api")
    until(lambda: "its last words" in server.capture(pane, history=100))

    def is_over() -> bool:
        server.exit_status(pane)  # tmux may notice an end only with its next child, which this gives it
        return server.server.living() == {"w-api": False}

    if not lives:
        server.press(pane, "Enter")
        until(is_over)
    return attempt.dir / "screen.txt"


def test_a_session_of_a_worker_that_did_well_is_taken_down(server: Tmux, state: Path, tmp_path: Path) -> None:
    screen = leave(server, state, tmp_path, result="succeeded")
    take_down_left(server, [STAGE], state, Redactor({}))
    assert server.server.sessions() == {}
    assert screen.read_text().startswith("its last words [redacted]\n")


def test_a_screen_that_was_kept_stays(server: Tmux, state: Path, tmp_path: Path) -> None:
    screen = leave(server, state, tmp_path, result="succeeded")
    screen.write_text("of before")
    take_down_left(server, [STAGE], state, Redactor({}))
    assert server.server.sessions() == {}
    assert screen.read_text() == "of before"


@pytest.mark.parametrize(
    ("result", "lives", "stage"),
    [
        ("failed", False, STAGE),
        (None, False, STAGE),
        ("succeeded", True, STAGE),
        ("succeeded", False, replace(STAGE, keep="always")),
        ("succeeded", False, replace(STAGE, keep="screen")),
        ("succeeded", False, replace(STAGE, session="w-other")),
    ],
    ids=[
        "it failed",
        "it never ended",
        "it lives",
        "it is to be kept",
        "its screen is to be kept",
        "another's",
    ],
)
def test_all_others_stay(
    server: Tmux, state: Path, tmp_path: Path, result: str | None, lives: bool, stage: Stage
) -> None:
    leave(server, state, tmp_path, result=result, lives=lives)
    take_down_left(server, [stage], state, Redactor({}))
    assert set(server.server.sessions()) == {"w-api"}


def test_without_a_server_there_is_nothing_to_do(server: Tmux, state: Path) -> None:
    take_down_left(server, [STAGE], state, Redactor({}))
