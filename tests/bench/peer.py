"""peer: the same stages by cli-agent-orchestrator, with its own mock provider, in the same run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.frame import Figure, Found, Skipped, in_turn, milliseconds, ratio, spread
from tests.bench.graphs import Graph, bound, chain, independent
from tests.bench.lab import Lab, until
from tests.bench.played import Played, gaps, lay_out, play
from tests.bench.tools import Unavailable, from_pypi

NAME = "peer"
PACKAGE = "cli-agent-orchestrator==2.5.4"
SLOTS, STAGES, SECONDS = 8, 16, 1.0
ROW = 4  # stages one after the other
TITLE = (
    f"{PACKAGE} with its mock provider, and ours with a worker that is a shell script, too. Stages of {SECONDS:g} s: {ROW} one after "
    f"the other, and {STAGES} on {SLOTS} slots. `overhead`: of the peer what its call for a step takes besides that second; of ours from "
    "a worker's Stop hook until the worker runs that waited for it, or for its slot; the median stage's."
)
MOCK = Path(__file__).with_name("mock_cli.sh")
# Its calls are its own HTTP API, the one that its handoff uses.
STEP = "/terminals/run-step"
CALL_SECONDS = 120.0


def run(lab: Lab) -> Iterator[Found]:
    if lab.quick and not (lab.cache / "cli-agent-orchestrator").exists():
        yield Skipped(NAME, "not installed for a quick run")
        return
    try:
        server = from_pypi(lab.cache, PACKAGE, "cao-server")
    except Unavailable as why:
        yield Skipped(NAME, str(why))
        return
    row, many = chain(2 if lab.quick else ROW, SECONDS), independent(2 if lab.quick else STAGES, SECONDS)
    overhead: dict[str, list[float]] = {}
    number = 0

    def ours(graph: Graph, slots: int) -> Played:
        nonlocal number
        number += 1
        with lab.passing(f"peer-ours-{number}") as project:
            lay_out(project, graph, slots, light=True)
            return play(project, graph)

    def ours_in_a_row() -> float:
        found = [sum(parts) for parts in gaps(row, ours(row, 1).times)]
        return spread(found).median

    def ours_at_once() -> float:
        played = ours(many, SLOTS)
        overhead.setdefault("ours", []).append(_waits(played))
        return played.makespan / bound(many, SLOTS)

    try:
        with _served(lab.folder("peer"), server) as url:
            folder = lab.folder("peer-work")
            _step(url, folder, 0.0)  # its first worker warms it up

            def peer_in_a_row() -> float:
                return spread([_step(url, folder, SECONDS) for _ in row]).median - SECONDS

            def peer_at_once() -> float:
                began = time.monotonic()
                with ThreadPoolExecutor(SLOTS) as pool:
                    calls = list(pool.map(lambda _: _step(url, folder, SECONDS), many))
                took = time.monotonic() - began
                overhead.setdefault("peer", []).append(spread(calls).median - SECONDS)
                return took / bound(many, SLOTS)

            takers = {"ours": ours_in_a_row, "peer": peer_in_a_row}
            in_row = in_turn(lab.rounds(2, 1), takers, warm=0)
            found = in_turn(lab.rounds(2, 1), {"ours": ours_at_once, "peer": peer_at_once}, warm=0)
    except (OSError, TimeoutError) as error:
        yield Skipped(NAME, f"it does not run here: {error}")
        return
    for suffix, walls in (("", in_row), (f", {SLOTS} at once", overhead)):
        yield milliseconds(f"{NAME}/overhead of the peer{suffix}", walls["peer"])
        yield milliseconds(f"{NAME}/overhead of ours{suffix}", walls["ours"])
        yield ratio(f"{NAME}/times less{suffix}", walls["peer"], walls["ours"])
    yield Figure(f"{NAME}/makespan of the peer", "×", spread(found["peer"]), "of the bound")
    yield Figure(f"{NAME}/makespan of ours", "×", spread(found["ours"]), "of the bound")


def _waits(played: Played) -> float:
    """Seconds from a Stop until the next worker ran, of the median stage that had to wait for a slot."""
    stops = sorted(times.stop for times in played.times.values())
    waited = sorted(times.spawned for times in played.times.values())[SLOTS:]
    # Each that waited has the slot of one that stopped, in this order.
    return spread([after - before for before, after in zip(stops, waited, strict=False)] or [0.0]).median


@contextmanager
def _served(folder: Path, server: Path) -> Iterator[str]:
    """Its server, with a home, a tmux server and a port of its own; gone after the block, with its workers."""
    home, tmux, programs = folder / "home", folder / "t", folder / "bin"
    for each in (home, tmux, programs):
        each.mkdir()
    shutil.copy(MOCK, programs / "mock_cli")
    for name in (".bash_profile", ".bashrc"):  # a login shell sets its PATH anew
        (home / name).write_text(f"PATH={programs}:$PATH\nPS1='$ '\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "CAO_HOME_DIR": str(home / "cao"),
        "CAO_API_PORT": str(port),
        "TMUX_TMPDIR": str(tmux),
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
    }
    url = f"http://127.0.0.1:{port}"
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            [server],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: _answers(url) or process.poll() is not None, "its server's answer")
        if process.poll() is not None:
            raise OSError(f"its server ended with {process.returncode}")
        yield url
    finally:
        with _ignored():
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        subprocess.run(["tmux", "kill-server"], env=env, capture_output=True, check=False)


@contextmanager
def _ignored() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            return True
    except OSError:
        return False


def _step(url: str, folder: Path, seconds: float) -> float:
    """Have it do one stage; how long that took."""
    body: dict[str, Any] = {
        "provider": "mock_cli",
        "agent": "developer",
        "prompt": f"sleep {seconds:g} and say done",
        "working_directory": str(folder),
    }
    request = urllib.request.Request(
        f"{url}{STEP}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        raise OSError(error.read().decode("utf-8", "replace")[:300]) from error
    if told.get("status") != "completed":
        raise OSError(f"a step of its ended with {told}")
    return time.monotonic() - began
