"""What the dashboard costs while many workers are busy: `python -m tests.bench.dashboard` (--help).

A run writes the journals of 100 workers, ten events a second each, as an orchestrator does. The dashboard runs in a
terminal of its own, whose bytes are read as a terminal would; keys are typed into it, and timed until it shows what
they do. At its end it tells how many events it knows of.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import random
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path
from statistics import median

from dodo_claude.machine.files import make_state_dir
from dodo_claude.state.journal import Attempt, StageLog

CSI = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
TOOLS = ("Read", "Edit", "Bash", "Grep")


def project(root: Path, workers: int) -> list[str]:
    """An orchestrate.toml of a fan-out: one before them, one after them."""
    names = [f"w{number:03}" for number in range(workers)]
    text = '[orchestrate]\nname = "bench"\n[stages.plan]\ncommand = "true"\n'
    for name in names:
        text += f'[stages.{name}]\nprompt = "Do it."\nafter = ["plan"]\ntargets = ["{name}.txt"]\n'
    text += f'[stages.report]\ncommand = "true"\nafter = {json.dumps(names)}\n'
    (root / "orchestrate.toml").write_text(text)
    return names


class Run:
    """Writes journals as a run does, in a process of its own: `--write`."""

    def __init__(self, root: Path, names: list[str]) -> None:
        state = make_state_dir(root)
        self.lock = os.open(state / "run.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, f"pid {os.getpid()} since 2026-01-01 00:00:00\n".encode(), 0)
        folder = state / "runs" / f"1-{os.getpid()}"
        folder.mkdir(parents=True)
        (folder / "plan.toml").write_text("[run]\n")
        self.attempts = [StageLog(state, name).begin() for name in names]
        for attempt in self.attempts:
            attempt.record("begun", definition={"agent": "claude"}, inputs={}, before={})
            attempt.record("spawned", pane="%1", session="$1", pid=os.getpid())
            attempt.record("SessionStart", session_id="s", source="startup")
            attempt.record("UserPromptSubmit", session_id="s", prompt="Do it.")

    def write(self, rate: float, seconds: float) -> int:
        """Events in turn, `rate` a second of each worker; how many."""
        step = 1 / (rate * len(self.attempts))
        start, count = time.monotonic(), 0
        while (now := time.monotonic()) < start + seconds:
            for _ in range(int((now - start) / step) - count):
                self._event(self.attempts[count % len(self.attempts)], count)
                count += 1
            time.sleep(0.005)
        return count

    def _event(self, attempt: Attempt, count: int) -> None:
        tool = TOOLS[count % len(TOOLS)]
        told = {"tool_name": tool, "session_id": "s", "cwd": "/home/you/project", "transcript_path": "/none.jsonl",
                "tool_input": {"file_path": f"/home/you/project/src/module_{count % 97}.py", "content": "x = 1\n" * 20}}  # fmt: skip
        if count % 20 == 0:
            attempt.record("progress", percent=count // 20 % 101, text=f"step {count}")
        else:
            attempt.record("PreToolUse" if count % 2 else "PostToolUse", **told)


def sit(folder: str) -> None:
    """The dashboard; at its end, what it knows."""
    from dodo_claude.dashboard.dashboard import show

    app = show()
    Path(folder, "known.json").write_text(json.dumps(dict(app.following.counts())))


class Terminal:
    """The dashboard's, and what it shows."""

    def __init__(self, root: Path, columns: int, rows: int) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        home = root / "home"
        home.mkdir(exist_ok=True)
        environ = {**os.environ, "TERM": "xterm-256color", "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        home.chmod(0o700)
        self.process = subprocess.Popen([sys.executable, __file__, "--sit", str(root)], cwd=root, env=environ,
                                        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)  # fmt: skip
        os.close(theirs)
        self.fd, self.bytes = ours, 0
        self._text = b""
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while select.select([self.fd], [], []):
            try:
                data = os.read(self.fd, 1 << 16)
            except OSError:
                return
            with self._changed:
                self.bytes += len(data)
                self._text = (self._text + data)[-(1 << 18) :]
                self._changed.notify_all()

    def key(self, key: bytes, shows: bytes, patience: float = 30.0) -> float:
        """Seconds from the key to what it shows."""
        with self._changed:
            self._text = b""
        began = time.monotonic()
        os.write(self.fd, key)
        with self._changed:
            if not self._changed.wait_for(lambda: shows in CSI.sub(b"", self._text), patience):
                raise SystemExit(f"no {shows!r} after {key!r}: {CSI.sub(b'', self._text)[-2000:]!r}")
        return time.monotonic() - began

    def cpu(self) -> float:
        """Seconds of its process's own."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(workers: int, rate: float, seconds: float, columns: int, rows: int, tab: str) -> dict[str, float]:
    """The figures, by name."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = project(root, workers)
        argv = [sys.executable, __file__, "--write", str(root), "--workers", str(workers), "--rate", str(rate), "--seconds", str(seconds + 6)]  # fmt: skip
        writer = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()  # the run has begun
        terminal = Terminal(root, columns, rows)
        terminal.key(b"", b"of " + str(workers + 2).encode())
        time.sleep(1)
        terminal.key(b"\x1b[H", b"plan  ")
        terminal.key(tab.encode(), b" ")
        writer.stdin.write("go\n")
        writer.stdin.flush()
        time.sleep(2)
        began, cpu, painted = time.monotonic(), terminal.cpu(), terminal.bytes
        times, at, step = [], 0, 1
        while time.monotonic() < began + seconds:
            at += step
            times.append(terminal.key(b"j" if step > 0 else b"k", names[at - 1].encode() + b"  running"))
            if at in (1, workers):
                step = 1 if at == 1 else -1
            time.sleep(random.uniform(0.05, 0.35))
        took, used = time.monotonic() - began, terminal.cpu() - cpu
        painted = terminal.bytes - painted
        written = json.loads(writer.stdout.readline())
        time.sleep(1.5)  # what was written last
        os.write(terminal.fd, b"q")
        terminal.process.wait(30)
        writer.stdin.close()
        writer.wait(30)
        known = json.loads((root / "known.json").read_text())
        times.sort()
        return {
            "seconds": round(took, 1),
            "percent of a core": round(100 * used / took, 1),
            "events written": sum(written.values()),
            "events lost": sum(written.values()) - sum(known.get(name, 0) for name in written),
            "keys": len(times),
            "key ms median": round(1000 * median(times), 1),
            "key ms p95": round(1000 * times[int(len(times) * 0.95)], 1),
            "key ms worst": round(1000 * times[-1], 1),
            "kB/s painted": round(painted / took / 1000, 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--rate", type=float, default=10.0, help="events a second of each")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--size", default="160x45")
    parser.add_argument("--tab", default="1", help="the key of the tab that is shown")
    parser.add_argument("--sit", help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.sit:
        sit(given.sit)
    elif given.write:
        run = Run(Path(given.write), [f"w{number:03}" for number in range(given.workers)])
        print("begun", flush=True)
        sys.stdin.readline()
        run.write(given.rate, given.seconds)
        counts = {each.log.stage: sum(1 for _ in each.replay()) for each in run.attempts}
        print(json.dumps(counts), flush=True)
        sys.stdin.readline()
    else:
        columns, rows = map(int, given.size.split("x"))
        found = measure(given.workers, given.rate, given.seconds, columns, rows, given.tab)
        print("\n".join(f"{name:<18} {value:g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
