"""`doit orchestrate` on a disk without room, and with state files that are damaged, as its user meets them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.project import PATIENCE, Project, Ran, kill_servers

SIZE = 2_000_000  # bytes of the small disk
TOML = """
[defaults]
agent = "scripted"
[agents.scripted]
allowed_tools = ["Edit(./**)"]
[stages.first]
command = "cp spec.md first.txt"
file_dep = ["spec.md"]
targets = ["first.txt"]
[stages.second]
prompt = "Write the second."
file_dep = ["first.txt"]
targets = ["second.txt"]
"""
SCENARIO = """
[stages.second]
steps = [{ sleep = 0.7 }, { write = "second.txt", text = "second\\n" }, { say = "written" }]
"""


@pytest.fixture
def pair(project: Project) -> Project:
    _files(project)
    return project


def _files(project: Project) -> None:
    project.write("orchestrate.toml", TOML)
    project.write("scenario.toml", SCENARIO)
    project.write("spec.md", "the spec\n")
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")


@pytest.fixture
def small(project: Project) -> Iterator[Project]:
    """The same on a disk of its own, which is small. No process of the project outlives it."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "dodo-claude-test", str(project.root)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        _files(project)
        yield project
        assert project.processes() == []
    finally:
        kill_servers(project.runtime)
        for pid in project.processes():
            os.kill(pid, 9)
        if subprocess.run(["umount", str(project.root)], capture_output=True, check=False).returncode != 0:
            subprocess.run(["umount", "-l", str(project.root)], check=True)


def fill(project: Project, leave: int = 0) -> Path:
    """Take all the room but `leave` bytes."""
    path = project.root / "filler"
    with path.open("wb", buffering=0) as stream:
        status = os.statvfs(project.root)
        room = status.f_bfree * status.f_frsize - leave
        while room > 0:
            try:
                room -= stream.write(b"\0" * min(room, 4096))
            except OSError:
                break
    return path


def up_to_date(ran: Ran, stages: int = 2) -> bool:
    return ran.said(f"{stages} stages: {stages} up to date")


# -- a full disk


def test_the_disk_fills_while_a_worker_works(small: Project) -> None:
    small.orchestrate("first")
    small.write("second.txt", "the old second\n")
    small.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    with small.started() as live:
        small.wait_for(
            lambda: small.attempts("second") and "UserPromptSubmit" in small.kinds("second"), "its prompt"
        )
        filler = fill(small)
        assert live.wait() == 1
    assert "Traceback" not in live.text
    assert "FAILED: disk full while writing .orchestrate/stages/second/" in live.text, live.text
    assert small.processes() == []
    assert small.attempts("first") == 1
    # Not in its place without doit's blessing, and not lost.
    versions = [path.read_text() for path in (small.root, small.log("second").dir) for path in path.rglob("second.txt")]  # fmt: skip
    assert "the old second\n" in versions
    filler.unlink()
    ran = small.orchestrate()
    assert ran.said("first up to date")
    assert ran.said("2 stages: 1 done, 1 up to date")
    assert small.read("second.txt") == "second\n"
    assert up_to_date(small.orchestrate())


@pytest.mark.parametrize("leave", [0, 45_056, 86_016])
def test_there_is_little_room_from_the_start(small: Project, leave: int) -> None:
    filler = fill(small, leave)
    ran = small.orchestrate(check=None)
    assert ran.code in (1, 3), ran.out + ran.err
    assert "disk full while writing " in ran.out + ran.err, ran.out + ran.err
    assert len(ran.err.splitlines()) <= 2, ran.err
    assert not list(small.root.rglob("*.tmp"))
    filler.unlink()
    small.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "0"
    assert small.orchestrate().said("2 stages: ")
    assert up_to_date(small.orchestrate())


def test_no_room_when_all_is_done(small: Project) -> None:
    small.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "0"
    small.orchestrate()
    filler = fill(small)
    ran = small.orchestrate(check=None)
    assert up_to_date(ran) or (ran.code == 3 and "disk full while writing " in ran.err), ran.out + ran.err
    filler.unlink()
    assert up_to_date(small.orchestrate())


LIMITED = (
    "import resource, sys\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    "from doit.doit_cmd import DoitMain; sys.exit(DoitMain().run(['orchestrate']))\n"
)


def limited(project: Project) -> Ran:
    """A run that may write no file of more than 50 kB."""
    project.approve()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=project.root, env=project.environ(), capture_output=True, text=True,
        timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def test_a_limit_on_a_files_size(pair: Project) -> None:
    pair.write("big.txt", "x" * 99 + "\n" + "y\n" * 30_000)
    pair.write("second.txt", "the old second\n")
    pair.edit("orchestrate.toml", 'command = "cp', 'command = "cat big.txt; cp')
    pair.edit("orchestrate.toml", "Write the second.", "Write the second by {{ files['big.txt'] }}")
    pair.edit("orchestrate.toml", 'file_dep = ["first.txt"]', "")
    ran = limited(pair)
    assert ran.code == 1
    first, second = (f".orchestrate/stages/{name}/1" for name in ("first", "second"))
    assert ran.said(f"first FAILED: disk full while writing {first}/output.log: File too large")
    assert ran.said(f"second FAILED: disk full while writing {second}/prompt.md: File too large")
    assert not (pair.root / "first.txt").exists()
    assert pair.read(f"{first}/partial/first.txt") == "the spec\n"
    assert pair.read("second.txt") == "the old second\n"
    assert pair.processes() == []
    pair.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "0"
    assert pair.orchestrate().said("2 stages: 2 done")
    assert up_to_date(pair.orchestrate())


# -- damage


@pytest.fixture
def finished(pair: Project) -> Project:
    pair.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "0"
    pair.orchestrate()
    return pair


def counts(project: Project) -> list[int]:
    return [project.attempts(name) for name in ("first", "second")]


def state(project: Project) -> Path:
    return project.root / ".orchestrate/state.db"


LOSSES: Mapping[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"garbage"),
    "nothing of it": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_no_finished_stage_reruns_for_a_lost_state(finished: Project, loss: str) -> None:
    LOSSES[loss](state(finished))
    ran = finished.orchestrate()
    assert ran.said("2 stages: 2 done")
    assert counts(finished) == [1, 1]
    if loss == "garbage":
        assert ran.err.count("\n") == 1
        assert "state.db: is damaged; set aside as " in ran.err
        assert len(list(state(finished).parent.glob("state.db.corrupt-*"))) == 1
    assert up_to_date(finished.orchestrate())


def test_after_a_lost_state_what_changed_reruns_and_what_was_forgotten_too(finished: Project) -> None:
    finished.run("doit", "forget", "second", check=0)
    finished.write("spec.md", "another spec\n")
    state(finished).unlink()
    finished.orchestrate()
    assert counts(finished) == [2, 2]
    # Forgotten after the loss, and all at once.
    state(finished).write_bytes(b"garbage")
    finished.run("doit", "forget", "first", check=0)
    finished.orchestrate()
    assert counts(finished) == [3, 2]
    finished.run("doit", "forget", "-a", check=0)
    state(finished).unlink()
    finished.orchestrate()
    assert counts(finished) == [4, 3]
    assert up_to_date(finished.orchestrate())


def test_a_message_that_was_quoted_and_changed_is_no_reason_to_take_over(finished: Project) -> None:
    finished.edit(
        "orchestrate.toml", 'prompt = "Write the second."', 'prompt = "Write by {{ stages.third.message }}"'
    )
    finished.write(
        "orchestrate.toml",
        finished.read("orchestrate.toml") + '[stages.third]\nprompt = "Say it."\ntargets = ["third.txt"]\n',
    )
    third = '[stages.third]\nsteps = [{ write = "third.txt", text = "3" }, { say = "WORD" }]\n'
    finished.write("scenario.toml", SCENARIO + third)
    finished.orchestrate()
    assert counts(finished) == [1, 2]
    state(finished).unlink()
    assert finished.orchestrate().said("3 stages: 3 done")
    assert counts(finished) == [1, 2]
    finished.write("scenario.toml", SCENARIO + third.replace("WORD", "another"))
    finished.edit("orchestrate.toml", "Say it.", "Say something else.")
    state(finished).unlink()
    finished.orchestrate()
    assert counts(finished) == [1, 3]


def test_all_state_files_cut_at_once(finished: Project) -> None:
    """Whatever command comes then, it has no traceback; and the run heals."""
    folder = finished.root / ".orchestrate"
    files = [path for path in folder.rglob("*") if path.is_file() and "state.db" not in path.name]
    wanted = {"journal.jsonl", "result.json", "done", "run.lock", "plan.toml", "prompt.md"}
    assert wanted <= {path.name for path in files}
    backup = finished.root.parent / "backup"
    shutil.copytree(folder, backup)
    for share in (0.0, 0.6):
        shutil.rmtree(folder)
        shutil.copytree(backup, folder)
        for path in files:
            os.truncate(path, int(path.stat().st_size * share))
        state(finished).unlink()
        for argv in (
            ("doit", "list", "--status"),
            ("dodo-claude", "status"),
            ("dodo-claude", "log", "second"),
        ):
            finished.run(*argv)
        finished.orchestrate()
        assert max(counts(finished)) <= 2
        assert finished.read("second.txt") == "second\n"
        assert up_to_date(finished.orchestrate())
        for name in ("first", "second"):  # whole again, for the look at what was left running
            journal = f"stages/{name}/1/journal.jsonl"
            shutil.copy(backup / journal, folder / journal)
        assert finished.processes() == []


def test_all_that_a_run_leaves_is_private(finished: Project) -> None:
    folder = finished.root / ".orchestrate"
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.rglob("*"):
        if (folder / "scripted") in (path, *path.parents):
            continue  # the stand-in for the client keeps its own files there
        assert path.stat().st_mode & 0o077 == 0, (path, oct(path.stat().st_mode))


def test_a_state_folder_that_leads_elsewhere_is_refused(pair: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (pair.root / ".orchestrate").symlink_to(elsewhere)
    ran = pair.orchestrate(check=3)
    assert (
        ".orchestrate: is a symbolic link where a folder of ours belongs (remove it; then run again)"
        in ran.err
    )
    assert os.listdir(elsewhere) == []
