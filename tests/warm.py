"""Our commands as forks of a process that has imported what they need: of what a command costs a test, more than half is
the start of a Python and its imports, a tenth to a quarter of a second of a core.

All else is as in a process of its own: folder, environment, streams, arguments, the way out. What would be seen of it (a
planted module, another PYTHONPATH or encoding) wants a real start: `can` says no, or the test says `project.cold`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import re
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache

import dodo_claude

# What a Python reads once, when it starts.
AT_START = re.compile("PYTHON|LANG|LC_")
BASE = {"LANG": "C.UTF-8", "PYTHONWARNINGS": "error,ignore::ResourceWarning"}
# Others' modules, which ours import when they need them. Nothing of the dashboard's and the MCP server's: that takes long.
OTHERS = ("doit.__main__", "doit.cmd_run", "jinja2", "jsonschema", "libtmux", "rich.live", "toml")
# The way in looks where it stands when it is imported.
APART = {"__main__", "dashboard", "dialogs", "panes", "web"}
REQUEST_BYTES = 128 << 10


class Process:
    """What the tests use of a subprocess.Popen."""

    def __init__(self, pid: int, ended: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, as Popen has it; raises subprocess.TimeoutExpired."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            self.returncode = int(os.read(self._ended, 20))
            os.close(self._ended)
        return self.returncode


def modules() -> list[str]:
    """All of ours that any command may import, but for those of the dashboard."""
    return [
        each.name
        for each in pkgutil.walk_packages(dodo_claude.__path__, "dodo_claude.")
        if each.name.rpartition(".")[2] not in APART
        and not each.name.startswith("dodo_claude.agents.scripted")
    ]


_asking = threading.Lock()


def can(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Is it one of our two commands, in a Python that starts as ours did?"""
    starts = {name: value for name, value in env.items() if AT_START.match(name)}
    return argv[0] in ("doit", "dodo-claude") and hasattr(os, "pidfd_open") and starts == BASE


def start(
    argv: list[str], *, cwd: str, env: Mapping[str, str], out: int, err: int, session: bool = False
) -> Process:
    """`argv` without input, its output to these descriptors; at once a session of its own, if so wished."""
    ended, ends = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        request = json.dumps([argv, cwd, dict(env), session]).encode()
        assert len(request) < REQUEST_BYTES
        with _asking:  # an answer is the one to the request before
            server = _server()
            socket.send_fds(server, [request], [nothing, out, err, ends])
            pid = int(server.recv(20))
    finally:
        os.close(ends)
        os.close(nothing)
    return Process(pid, ended)


def run(
    argv: list[str], *, cwd: str, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run: until it has ended and nobody holds its output. After the timeout it is killed."""
    (out, to_out), (err, to_err) = os.pipe(), os.pipe()
    try:
        process = start(argv, cwd=cwd, env=env, out=to_out, err=to_err)
    finally:
        os.close(to_out)
        os.close(to_err)
    deadline = time.monotonic() + timeout
    said = {out: b"", err: b""}
    with ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())
        stack.callback(os.close, out)
        stack.callback(os.close, err)
        waiting.register(out, selectors.EVENT_READ)
        waiting.register(err, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0, deadline - time.monotonic()))
            for key, _ in ready:
                if not (read := os.read(key.fd, 1 << 16)):
                    waiting.unregister(key.fd)
                said[key.fd] += read
            if not ready:
                process.kill()
                process.wait()
                raise subprocess.TimeoutExpired(argv, timeout, said[out], said[err])
    code = process.wait(max(1, deadline - time.monotonic()))
    text = [said[fd].decode().replace("\r\n", "\n") for fd in (out, err)]
    return subprocess.CompletedProcess(argv, code, *text)


@cache
def _server() -> socket.socket:
    """The connection to this process's own; it ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        env = {"PATH": os.environ["PATH"], **BASE}
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def serve(asked: socket.socket, programs: str) -> Callable[[], object]:
    """Fork for each request and say the pid; write each exit status where the request said. In a fork: what it is to do."""
    running: dict[int, tuple[int, int]] = {}
    waiting = selectors.DefaultSelector()
    waiting.register(asked, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fd in running:
                waiting.unregister(key.fd)
                pid, ends = running.pop(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(BrokenPipeError):  # nobody wants to know
                    os.write(ends, str(code).encode())
                os.close(ends)
                os.close(key.fd)
                continue
            request, files, _, _ = socket.recv_fds(asked, REQUEST_BYTES, 4)
            if not request:
                os._exit(0)
            argv, cwd, env, session = json.loads(request)
            if not (pid := os.fork()):
                waiting.close()
                for fd in [asked.fileno(), *running, *(ends for _, ends in running.values())]:
                    os.close(fd)
                return lambda: _begin(argv, cwd, env, session, files, programs)
            asked.send(str(pid).encode())
            *streams, ends = files
            for fd in streams:
                os.close(fd)
            watch = os.pidfd_open(pid)
            running[watch] = pid, ends
            waiting.register(watch, selectors.EVENT_READ)


def _begin(
    argv: list[str], cwd: str, env: dict[str, str], session: bool, files: list[int], programs: str
) -> object:
    """What Popen does in the new process, and then what pip's script of that name does."""
    if session:
        os.setsid()
    for fd, stream in enumerate(files[:3]):
        os.dup2(stream, fd)
    for fd in files:
        os.close(fd)
    os.chdir(cwd)
    os.environ.clear()
    os.environ |= env
    sys.argv = [os.path.join(programs, argv[0]), *argv[1:]]
    sys.path[0] = programs
    module = importlib.import_module("doit.__main__" if argv[0] == "doit" else "dodo_claude.__main__")
    return module.main()


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(sys.executable)
    asked = socket.socket(fileno=int(sys.argv[1]))
    sys.argv = ["doit"]  # by which doit, when it is imported, calls itself
    for name in [*OTHERS, *modules()]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    command = serve(asked, sys.path[0])
    sys.exit(command())
