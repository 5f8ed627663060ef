"""The chaos bench: kills at random moments, and many stages with faults in one run. See README.md here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import invariants
from tests.chaos.driver import NOTICE_SECONDS, Figures, chaos, quarters, soak
from tests.chaos.seeds import SEED, report
from tests.integration.scenes import (
    at_gate,
    configure,
    gate,
    happened,
    kill,
    launch,
    patch,
    play,
    results,
    write,
)
from tests.project import Project, kill_servers

pytestmark = pytest.mark.tmux

LONG = bool(os.environ.get("DODO_CLAUDE_LONG"))
KILLS = int(os.environ.get("DODO_CLAUDE_KILLS") or (2000 if LONG else 200))
SOAK = 200 if LONG else 100
# In kB, from the second quarter to the last: in the short one what is imported late and the C library's pools still come in.
MORE_RSS = 1_500 if LONG else 2_000
LANES = 5


def project_in(folder: Path, *, cold: bool = True) -> Project:
    for name in ("project", "home", "run"):
        (folder / name).mkdir()
    return Project(folder / "project", folder / "home", folder / "run", cold=cold)


@pytest.fixture
def kept() -> Iterator[Path]:
    """A short folder that stays when the test fails."""
    folder = Path(tempfile.mkdtemp(prefix="dcc-", dir="/tmp"))
    try:
        yield folder
    finally:
        for runtime in folder.glob("*/run"):
            kill_servers(runtime)
        for stages in (invariants.living(path) for path in folder.glob("*/project")):
            for pids in (
                pids for place in stages.values() for nonces in place.values() for pids in nonces.values()
            ):
                for pid in pids:
                    os.kill(pid, 9)
        if (folder / "passed").exists():
            shutil.rmtree(folder)


def test_killed_at_random_moments_nothing_is_lost_doubled_or_left(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    projects = []
    for number in range(LANES):
        (kept / str(number)).mkdir()
        # In the short one more of the kills meet a run at work, in the long one all that a run does from its first instruction.
        projects.append(project_in(kept / str(number), cold=LONG))
    figures: Figures = chaos(projects, SEED, KILLS)
    report(capsys, "chaos", figures.lines())
    replay = (
        f"kept: {kept}; again: DODO_CLAUDE_SEED={SEED} DODO_CLAUDE_KILLS={KILLS} pytest {Path(__file__).name}"
    )
    assert not figures.problems, "\n".join([*figures.problems, replay])
    assert figures.killed >= KILLS
    assert max(figures.notices) <= NOTICE_SECONDS
    (kept / "passed").touch()


def test_a_server_that_dies_with_all_its_workers_is_one_failure_not_many(project: Project) -> None:
    """The circuit breaker would else end the run: more workers than it bears died alike at once."""
    names = [f"s{number}" for number in range(4)]
    configure(project, {name: {"targets": [f"{name}.txt"]} for name in names}, max_workers=4)
    play(project, {name: [[gate(f"go-{name}")], [write(f"{name}.txt")]] for name in names})
    with project.started() as live:
        for name in names:
            at_gate(project, f"go-{name}")
        (server,) = invariants.servers(project)
        kill(server)
        assert live.wait() == 0, live.text
    assert "4 stages: 4 done" in live.text


def test_a_signal_ends_what_an_earlier_run_left_at_work(project: Project) -> None:
    """Also where this run did not come to its stage, and where it needed no tmux of its own."""
    names = [f"s{number}" for number in range(4)]
    configure(project, {name: {"targets": [f"{name}.txt"]} for name in names}, max_workers=4)
    play(project, {name: [[gate("go"), write(f"{name}.txt")]] for name in names})
    with project.started("-n", "4") as live:
        project.wait_for(
            lambda: sum(happened(project, name, "PreToolUse") for name in names) == 4, "all at work"
        )
        live.kill()
    assert project.processes()
    with project.started("-n", "1") as live:
        lock = project.root / ".orchestrate/run.lock"
        project.wait_for(lambda: f"pid {live.process.pid} " in lock.read_text(), "the rerun")
        assert live.kill(signal.SIGTERM) == 143
    assert invariants.living(project.root).get(str(project.root)) is None
    assert all("succeeded" not in results(project, name) for name in names)
    (project.root / "go").touch()
    assert project.orchestrate().said("4 stages: 4 done")
    assert "--resume" in launch(project, "s3", 2)


# Of a run with 8 slots, however many stages it has: one for each of twice as many stages, its own four, and some that come
# and go, with a check's output or an ended worker's session.
MOST_THREADS = 2 * 8 + 4 + 6
# A leak of one a stage would be some thirty more between the two quarters.
MORE_FDS = 10


def test_many_stages_with_faults_end_and_take_no_more_as_they_go(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "0").mkdir()
    project = project_in(kept / "0")
    # So many die here that the circuit breaker, which has tests of its own, would rightly end the run.
    patch(project, "import dodo_claude.run.breaker as breaker\nbreaker.ALIKE = 1_000_000\n")
    live, samples, faults = soak(project, SEED, SOAK)
    rss, fds, threads = (quarters([sample[index] for sample in samples]) for index in range(3))
    told = invariants.attempts(project)
    ends = Counter(str((tries[-1].result or {}).get("result")) for tries in told.values())
    report(
        capsys,
        f"soak of {SOAK} stages",
        [
            f"faults: {dict(Counter(faults.values()))}",
            f"ends: {dict(ends)}, attempts {sum(map(len, told.values()))}, {live.lines[-1].strip()}",
            f"second and last quarter, medians of {len(samples)} samples: RSS {rss[0]:.0f} and {rss[1]:.0f} kB, "
            f"descriptors {fds[0]} and {fds[1]}, threads {threads[0]} and {threads[1]}",
        ],
    )
    assert "Traceback" not in live.text
    asked = [name for name, fault in faults.items() if fault == "asks"]
    assert live.process.returncode == (1 if asked else 0), live.text
    problems = invariants.check(project, over=True, settled=True, stages=list(faults))
    assert not problems, "\n".join([*problems, f"kept: {kept}; again: DODO_CLAUDE_SEED={SEED}"])
    assert ends == Counter(
        {"succeeded": SOAK - len(asked), "failed": len(asked)} if asked else {"succeeded": SOAK}
    )
    assert rss[1] <= rss[0] + MORE_RSS
    assert fds[1] <= fds[0] + MORE_FDS
    assert threads[1] <= max(threads[0] + 2, MOST_THREADS)
    (kept / "passed").touch()


def test_the_tables_name_tests_that_exist() -> None:
    text = Path(__file__).with_name("README.md").read_text()
    root = Path(__file__).parents[2]
    missing = [
        f"{file}::{name}"
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
        if f"\ndef {name}(" not in (root / file).read_text()
    ]
    assert not missing
