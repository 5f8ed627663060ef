"""A project as a test sees it: files in, `doit orchestrate` run as a user would, what happened out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

from click.testing import CliRunner

from dodo_claude.commands import main
from dodo_claude.config.config import Blueprint
from dodo_claude.run import approval
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.errors import DodoClaudeError
from tests import warm

BIN = Path(sys.executable).parent
# Where the tests' programs are looked for; another tmux than the system's comes first (see conftest.py).
PATH = ":".join(filter(None, [str(BIN), os.environ.get("TESTS_TMUX"), "/usr/local/bin:/usr/bin:/bin"]))
# Generous: a slow machine may be late, a hang must still end the test.
PATIENCE = 60.0


@dataclass
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Its output without the clock's time, and with single blanks."""
        return [
            re.sub(r"\s+", " ", re.sub(r"^\d\d:\d\d:\d\d\s+", "", line)).strip()
            for line in self.out.splitlines()
        ]

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@dataclass
class Project:
    root: Path
    home: Path
    runtime: Path
    env: dict[str, str] = field(default_factory=dict)
    cold: bool = False  # each command in a Python of its own, from its start

    # -- files

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text, f"{old!r} not in {name}"
        self.write(name, text.replace(old, new))

    # -- commands

    def environ(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.runtime),
            "DODO_CLAUDE_SCRIPTED_SPEED": "0",
            # doit itself leaves pipes of its shell actions to the garbage collector.
            "PYTHONWARNINGS": "error,ignore::ResourceWarning",
            **self.env,
        }

    def run(self, *argv: str, check: int | None = None, timeout: float = PATIENCE) -> Ran:
        """Run a command in the project. Never a traceback, whatever the user did."""
        env = self.environ()
        if not self.cold and warm.can(argv, env):
            done = warm.run(list(argv), cwd=str(self.root), env=env, timeout=timeout)
        else:
            done = subprocess.run(
                [str(BIN / argv[0]), *argv[1:]],
                cwd=self.root, env=env, capture_output=True, text=True, timeout=timeout, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        ran = Ran(done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in ran.out + ran.err, ran.out + ran.err
        if check is not None:
            assert ran.code == check, f"rc {ran.code}\n{ran.out}{ran.err}"
        return ran

    def begin(self, *argv: str) -> Ran:
        """`dodo-claude` in this process, for what a test begins with: a process of its own costs half a second."""
        with patch.dict(os.environ, self.environ(), clear=True), chdir(self.root):
            done = CliRunner().invoke(main.main, argv)
        assert done.exit_code == 0, done.output
        return Ran(done.exit_code, done.output, "")

    def sh(self, script: str) -> None:
        """Run a script in the project's folder."""
        subprocess.run(["sh", "-ec", script], cwd=self.root, check=True, timeout=PATIENCE)

    def approve(self, *args: str) -> None:
        """What a user's yes does, to all but plans. `run` alone leaves a project as unapproved as it is."""
        agent = args[args.index("--agent") + 1] if "--agent" in args else None
        with suppress(DodoClaudeError):  # what is wrong with the file is for the command to say
            config = Blueprint(self.root / "orchestrate.toml", agent=agent).config(())
            approval.approve(config, self.environ())

    def doit(self, *args: str, check: int | None = None) -> Ran:
        self.approve()
        return self.run("doit", *args, check=check)

    def orchestrate(self, *args: str, check: int | None = 0) -> Ran:
        self.approve(*args)
        return self.run("doit", "orchestrate", *args, check=check)

    @contextmanager
    def started(self, *args: str) -> Iterator[Live]:
        """`doit orchestrate` in the background; killed at the end if it still runs."""
        self.approve(*args)
        argv, env = ["doit", "orchestrate", *args], self.environ()
        reads, writes = os.pipe()
        with open(reads, encoding="utf-8") as out:
            process: warm.Process | subprocess.Popen[Any]
            if not self.cold and warm.can(argv, env):
                process = warm.start(argv, cwd=str(self.root), env=env, out=writes, err=writes, session=True)
            else:
                process = subprocess.Popen(
                    [str(BIN / "doit"), *argv[1:]], cwd=self.root, env=env, stdout=writes, stderr=writes,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            os.close(writes)
            live = Live(process, out)
            try:
                yield live
            finally:
                process.kill()
                process.wait()

    # -- what happened

    def log(self, stage: str) -> StageLog:
        return StageLog(self.root / ".orchestrate", stage)

    def attempts(self, stage: str) -> int:
        return len(self.log(stage).attempts())

    def result(self, stage: str) -> Mapping[str, object]:
        log = self.log(stage)
        result = Attempt(log, log.attempts()[-1]).result()
        assert result is not None
        return result

    def kinds(self, stage: str) -> list[str]:
        log = self.log(stage)
        return [event.kind for event in Attempt(log, log.attempts()[-1]).replay()]

    def wait_for(self, what: Callable[[], object], why: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, f"waited {PATIENCE} s for {why}"
            time.sleep(0.01)

    def status(self) -> list[Mapping[str, Any]]:
        """What `dodo-claude status` says of each stage."""
        found: list[Mapping[str, Any]] = json.loads(self.run("dodo-claude", "status", "--json", check=0).out)[
            "stages"
        ]
        return found

    def nonces(self) -> list[str]:
        found = []
        for path in (self.root / ".orchestrate").glob("stages/*/*/journal.jsonl"):
            first = path.read_bytes().splitlines()[:1]
            if first:
                nonce = json.loads(first[0])["data"].get("nonce")
                found += [nonce] if nonce else []
        return found

    def processes(self) -> list[int]:
        """Living processes that one of this project's attempts started."""
        marks = [nonce.encode() for nonce in self.nonces()]
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                environ = (entry / "environ").read_bytes()
                zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if not zombie and any(mark in environ for mark in marks):
                found.append(int(entry.name))
        return found

    def sessions(self) -> list[str]:
        names = []
        for socket in self.runtime.glob("dodo-claude/*/tmux.sock"):
            done = subprocess.run(
                ["tmux", "-S", str(socket), "list-sessions", "-F", "#{session_name}"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            names += done.stdout.split()
        return sorted(names)


class Live:
    """A `doit orchestrate` under way."""

    def __init__(self, process: warm.Process | subprocess.Popen[Any], out: IO[str] | None = None) -> None:
        self.process = process
        self.out = out
        self.lines: list[str] = []

    def until(self, text: str, times: int = 1) -> None:
        """Read its output until `text` was seen in that many lines."""
        assert self.out is not None
        seen = sum(text in line for line in self.lines)
        while seen < times:
            line = self.out.readline()
            assert line, f"it ended before {text!r}:\n{''.join(self.lines)}"
            self.lines.append(line)
            seen += text in line

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal to it alone, read the rest, give its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, patience: float = PATIENCE) -> int:
        """Read its output to the end; its exit status. Raises subprocess.TimeoutExpired."""
        assert self.out is not None
        deadline, lines = time.monotonic() + patience, self.out
        reading = threading.Thread(target=lambda: self.lines.extend(lines), daemon=True)
        reading.start()
        reading.join(patience)
        if reading.is_alive():
            raise subprocess.TimeoutExpired("doit orchestrate", patience)
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    @property
    def text(self) -> str:
        return "".join(self.lines)


def wait_for_the_clock(folder: Path) -> None:
    """Until a file system's clock has ticked: what is changed from now on has other times than all before."""
    probe = folder / "probe"
    probe.write_text("")
    before = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == before:
        probe.chmod(0o600)


def kill_servers(runtime: Path) -> None:
    for socket in runtime.glob("dodo-claude/*/tmux.sock"):
        subprocess.run(["tmux", "-S", str(socket), "kill-server"], capture_output=True, check=False)
