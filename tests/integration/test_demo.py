"""The demo as a user starts it, in a copy of the checkout, on a default tmux server that is the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dodo_claude.agents.claude.versions import CLIENT_VERSION
from tests.project import PATH, PATIENCE, Live

CHECKOUT = Path(__file__).resolve().parent.parent.parent
FOUR = ["orchestrator-demo", "worker-backend", "worker-frontend", "worker-tests"]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "work", "claude-work", "tests", "build", "dist")

pytestmark = pytest.mark.tmux


@dataclass
class Demo:
    root: Path  # the copy
    home: Path
    sockets: Path  # TMUX_TMPDIR, and XDG_RUNTIME_DIR
    env: dict[str, str] = field(default_factory=dict)

    @property
    def script(self) -> str:
        return str(self.root / "demo/demo-orchestration.sh")

    def environ(self) -> dict[str, str]:
        return {
            "PATH": f"{self.home / 'bin'}:{PATH.partition(':')[2]}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TMUX_TMPDIR": str(self.sockets),
            "XDG_RUNTIME_DIR": str(self.sockets),
            "PYTHONPATH": str(self.root),
            "DODO_CLAUDE_DEMO_PYTHON": sys.executable,
            "DODO_CLAUDE_SCRIPTED_SPEED": "0",
            **self.env,
        }

    def run(self, *args: str) -> tuple[int, str]:
        """Exit status and all that it says."""
        done = subprocess.run(
            [self.script, *args], cwd=self.home, env=self.environ(), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    @contextlib.contextmanager
    def started(self, *args: str) -> Iterator[Live]:
        """The demo under way, in a process group of its own like a terminal's."""
        process = subprocess.Popen(
            [self.script, *args], cwd=self.home, env=self.environ(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            yield Live(process, process.stdout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()

    def tmux(self, *args: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", *args], env=self.environ(), capture_output=True, text=True, check=False
        )
        return done.stdout

    def sessions(self) -> list[str]:
        return sorted(self.tmux("list-sessions", "-F", "#{session_name}").split())

    def screen(self, session: str) -> str:
        return self.tmux("capture-pane", "-p", "-J", "-S", "-", "-t", f"={session}:")

    def processes(self) -> list[str]:
        """Command lines of what still runs out of the copy, the tmux server aside."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                environ = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if str(self.root).encode() in environ and command and not command.startswith("tmux "):
                    found.append(command)
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    root = tmp_path / "checkout"
    shutil.copytree(CHECKOUT, root, ignore=LEFT_OUT)
    (tmp_path / "home" / "bin").mkdir(parents=True)
    sockets = Path(tempfile.mkdtemp(prefix="dd-", dir="/tmp"))
    made = Demo(root, tmp_path / "home", sockets)
    yield made
    made.tmux("kill-server")
    shutil.rmtree(sockets, ignore_errors=True)


def test_the_demo_shows_what_it_claims(demo: Demo) -> None:
    code, said = demo.run("--yes", "--agent", "scripted")
    assert code == 0, said
    for text in (
        "3 workers, 4 files",
        "7 tests passed",
        "no worker started",
        "FAILED: check",
        "not run: needs backend",
        "so: tests up to date",
        "All of this held",
        "tmux attach -t worker-frontend",
    ):
        assert text in said, said
    told = " ".join(said.split())
    assert "backend started; workers so far: backend 1->2, frontend 1, tests 1" in told  # broken
    assert "no worker started; workers so far: backend 2, frontend 1, tests 1" in told  # and mended
    assert max(map(len, said.splitlines())) <= 80
    assert "\x1b" not in said

    assert demo.sessions() == FOUR
    main = demo.screen("orchestrator-demo")
    assert [line for line in main.splitlines() if line.startswith("exit status")] == [
        "exit status 0",
        "exit status 0",
        "exit status 1",
        "exit status 0",
    ]
    assert "3 stages: 3 up to date" in main
    for session, wrote in (
        ("worker-frontend", "Write(profiles/page.py)"),
        ("worker-backend", "Write(docs/api-contract.md)"),
        ("worker-tests", "By the contract I test GET and PUT /api/profile"),
    ):
        assert wrote in demo.screen(session)

    # The next one begins by clearing away what this one left.
    with demo.started("--yes", "--agent", "scripted") as again:
        again.until("Cleared away from last time: orchestrator-demo")
        again.until("At work")
        os.killpg(again.process.pid, signal.SIGINT)
        assert again.wait() == 130
    assert demo.sessions() == []


def test_clean_removes_what_the_demo_made_and_only_that(demo: Demo) -> None:
    assert demo.run("--clean") == (0, "nothing to remove\n")
    assert demo.run("--yes", "--agent", "scripted")[0] == 0
    demo.tmux("new-session", "-d", "-s", "worker-front", "sleep 100")
    code, said = demo.run("--clean")
    assert (code, said) == (0, f"removed: {', '.join(FOUR)}, demo/work\n")
    assert demo.sessions() == ["worker-front"]
    assert not (demo.root / "demo/work").exists()


@pytest.mark.parametrize("name", FOUR)
def test_a_strangers_session_is_left_alone(demo: Demo, name: str) -> None:
    demo.tmux("new-session", "-d", "-s", name, "sleep 100")
    # A worker of some other project has the engine's mark, but not our folder.
    demo.tmux("set-option", "-t", f"={name}:", "@dodo_claude", "0123456789abcdef")
    before = demo.tmux("list-sessions", "-F", "#{session_id} #{session_name} #{pane_pid}")
    code, said = demo.run("--yes", "--agent", "scripted")
    assert code == 1
    assert f"tmux rename-session -t ={name} my-{name}" in said
    assert demo.run("--clean") == (0, "nothing to remove\n")
    assert demo.tmux("list-sessions", "-F", "#{session_id} #{session_name} #{pane_pid}") == before
    assert not (demo.root / "demo/work").exists()
    assert not (demo.root / "demo/.venv").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_leaves_nothing_behind(demo: Demo, number: signal.Signals) -> None:
    demo.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "5"
    with demo.started("--yes", "--agent", "scripted") as live:
        live.until("worker-backend at")
        assert set(demo.sessions()) >= {"orchestrator-demo", "worker-backend"}
        second = demo.run("--yes", "--agent", "scripted")
        assert second == (1, "demo: the demo runs in another terminal already (stop it there with Ctrl-C)\n")
        os.killpg(live.process.pid, number)
        assert live.wait() == 128 + number
    assert "Removed: orchestrator-demo, worker-backend, worker-frontend, demo/work." in live.text
    assert demo.sessions() == []
    assert demo.processes() == []
    assert not (demo.root / "demo/work").exists()


def client(demo: Demo) -> Path:
    """A `claude` that ends at once, set up for its user; its state file."""
    program = demo.home / "bin/claude"
    program.write_text(f"#!/bin/sh\necho {CLIENT_VERSION}\n")
    program.chmod(0o755)
    state = demo.home / ".claude.json"
    state.write_text('{"hasCompletedOnboarding": true}')
    return state


def test_nobody_is_made_to_trust_by_yes_alone(demo: Demo) -> None:
    state = client(demo)
    with demo.started("--yes") as live:
        live.until("The scripted agent, since nobody can be asked for that trust here")
        os.killpg(live.process.pid, signal.SIGINT)
        assert live.wait() == 130
    assert json.loads(state.read_bytes()) == {"hasCompletedOnboarding": True}


def test_the_real_client_where_it_was_asked_for(demo: Demo) -> None:
    code, said = demo.run("--yes", "--agent", "claude")
    assert (code, "`claude` is not on PATH" in said) == (1, True)
    state = client(demo)
    # Its worker ends at once and is started again: not after the half minute that gives a real one's cause time to pass.
    template = demo.root / "templates/parallel-feature/orchestrate.toml"
    text = template.read_text(encoding="utf-8")
    template.write_text(
        text.replace("[orchestrate]", '[orchestrate]\nretry_delay = "10ms"'), encoding="utf-8"
    )
    code, said = demo.run("--yes", "--agent", "claude")
    assert "doit orchestrate --no-board --agent claude --trust" in said
    assert json.loads(state.read_bytes())["projects"] == {
        str(demo.root / "demo/work"): {"hasTrustDialogAccepted": True}
    }
    # This client does no work: the demo says so, and does not go on as if it had.
    assert code == 1
    assert "not as expected: the first run ended with exit status 1" in said
    assert demo.sessions() == []


def test_options_are_explained(demo: Demo) -> None:
    code, said = demo.run("--help")
    assert (code, "--agent {claude,scripted}" in said) == (0, True)
    assert demo.run("--agnt")[0] == 2
