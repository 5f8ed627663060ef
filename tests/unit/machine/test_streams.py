"""Standard streams that are closed, full or read by nobody: of every command one line and status 1, and runs go on."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dodo_claude.commands import main
from dodo_claude.machine import streams
from dodo_claude.text.errors import DodoClaudeError
from tests import odd
from tests.integration.scenes import on_pty
from tests.project import BIN, PATIENCE, Project

TOML = """\
[stages.a]
command = "echo said | tee a.txt"
targets = ["a.txt"]
"""
# Each command of `dodo-claude`, as it is called first in the table of odd inputs: it prints what it is for where there is no
# worker, else what is wrong. `dashboard` has no terminal; `attach` is tmux's own.
LINES = [line.replace("W", "a").split() for _, line in reversed(odd.ALL)]
COMMANDS = {
    words[1]: words[2:] for words in LINES if words[0] == "dodo-claude" and words[1] in main.main.commands
}
COMMANDS |= {
    "doctor": ["--help"],  # it starts sessions
    "init": ["parallel-feature", "made"],
    "mcp": ["nowhere"],
    "note": ["-"],
    "plan": ["-"],
}
# How the three are: `-` as they should be, closed, full, a pipe that nobody reads.
STATES = {
    "all well": "---",
    "input closed": "c--",
    "output closed": "-c-",
    "output full": "-f-",
    "output read by nobody": "-p-",
    "error closed": "--c",
    "error full": "--f",
    "all closed": "ccc",
}
# One process plays them all, since a start of Python takes ten times as long as a case: what a start makes of streams, `None`
# of closed ones, is made by hand. The run below is started as a shell does it.
DRIVER = """\
import json, os, sys, traceback
from dodo_claude.commands import main; from dodo_claude.machine import streams

def given(how, fd, path):
    if how == "c":
        return None
    if how == "p":
        read, write = os.pipe()
        os.close(read)
        return write
    return os.open({"f": "/dev/full", "-": path}[how], os.O_RDWR | os.O_CREAT)

def start(state, paths):
    for fd, (name, how) in enumerate(zip(("stdin", "stdout", "stderr"), state)):
        os.close(fd)
        taken = given(how, fd, paths[fd])
        if taken is not None and taken != fd:
            os.dup2(taken, fd)
            os.close(taken)
        stream = None if taken is None else open(fd, "w" if fd else "r", closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    streams._sinks.clear()

def end():
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()

codes = []
for state, folder, argv in json.load(open("cases.json")):
    os.makedirs(folder)
    start(state, ("/dev/null", f"{folder}/out", f"{folder}/err"))
    try:
        main.main(argv, prog_name="dodo-claude")
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        code = traceback.format_exc()
    try:
        end()
    except BaseException:
        code = f"120 {traceback.format_exc()}"
    codes.append(code)
json.dump(codes, open("codes.json", "w"))
"""


def test_every_command_is_tried() -> None:
    assert {*COMMANDS} == {*main.main.commands}


def test_every_command_with_every_state_of_its_streams(project: Project) -> None:
    project.write("orchestrate.toml", TOML)
    project.orchestrate()
    cases = []
    for command, words in {**COMMANDS, "--help": [], "--version": [], "nosuch": []}.items():
        for state, how in STATES.items():
            name = f"{command}, {state}"
            argv = [command, *words]
            if command == "init":
                argv[-1] = str(project.home / name)
            cases.append((name, how, str(project.home / "said" / name), argv))
    project.write("cases.json", json.dumps([case[1:] for case in cases]))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=project.root, env=project.environ(), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    codes = dict(zip((name for name, *_ in cases), json.loads(project.read("codes.json")), strict=True))
    faults = []
    for name, how, folder, argv in cases:
        out, err = (
            said.read_text() if said.exists() else "" for said in (Path(folder, "out"), Path(folder, "err"))
        )
        well = f"{argv[0]}, all well"
        usual = [(project.home / "said" / well / stream).read_text() for stream in ("out", "err")]
        lost = any(said and state in "cfp" for said, state in zip(usual, how[1:], strict=True))
        expected = 1 if lost else codes[well]
        told = err.splitlines()[-1:] if how[1] in "cfp" and usual[0] and how[2] == "-" else []
        if "Traceback" in out + err or "Exception ignored" in err or codes[name] != expected:
            faults.append((name, codes[name], expected, out, err))
        elif told and not (
            told[0].startswith("standard output: can't be written: ") and len(err.splitlines()) == 1
        ):
            faults.append((name, "tells it so", err))
    assert not faults
    assert len({codes[f"{command}, all well"] for command in COMMANDS}) >= 3


def broken() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


# How a real process is started: what it makes of standard output and error, and what the shell closes.
STARTS: dict[str, tuple[Callable[[], int] | None, Callable[[], int] | None, str, int]] = {
    "input closed": (None, None, "<&-", 0),
    "output closed": (None, None, ">&-", 1),
    "output full": (full, None, "", 1),
    "output read by nobody": (broken, None, "", 1),
    "error full": (None, full, "", 0),
    "all closed": (None, None, "<&- >&- 2>&-", 1),
    "both full": (full, full, "", 1),
    "to a full file": (None, None, "", 1),
}


def test_a_run_goes_on_to_its_end_and_its_report_is_right(project: Project, tmp_path: Path) -> None:
    """All at once, each in a project of its own."""
    project.write("orchestrate.toml", TOML)
    project.approve()
    running = []
    for number, (name, (out, err, shell, code)) in enumerate(STARTS.items()):
        mine = Project(tmp_path / f"p{number}", project.home, project.runtime)
        mine.write("orchestrate.toml", TOML)
        mine.approve()
        argv = "doit orchestrate" + (" -o /dev/full" if name == "to a full file" else "")
        fds = [subprocess.PIPE if made is None else made() for made in (out, err)]
        process = subprocess.Popen(
            ["sh", "-c", f"exec {BIN}/{argv} {shell}"], cwd=mine.root, env=mine.environ(), stdin=subprocess.DEVNULL,
            stdout=fds[0], stderr=fds[1], text=True,
        )  # fmt: skip
        for fd in fds:
            if fd != subprocess.PIPE:
                os.close(fd)
        running.append((name, mine, process, code))
    for name, mine, process, code in running:
        said, told = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in (said or "") + (told or ""), (name, said, told)
        assert process.returncode == code, (name, said, told)
        assert (mine.root / "a.txt").exists(), name
        report = mine.run("dodo-claude", "report", check=0)
        assert report.said("1 done"), (name, report.out)
        if told is not None and code and "closed" not in name:
            lines = told.splitlines()
            assert len(lines) == 1, lines
            assert lines[0].endswith("; the run goes on")
        if name == "output closed":
            assert told == (
                "standard output: can't be written: it is closed (send it to a file with room, or to /dev/null); "
                "the run goes on\n"
            )


def test_a_client_of_mcp_that_reads_no_answers(project: Project) -> None:
    """The SDK writes them by a descriptor of its own."""
    asked = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
    }  # fmt: skip
    done = subprocess.run(
        [BIN / "dodo-claude", "mcp"], input=f"{json.dumps(asked)}\n", cwd=project.root, env=project.environ(), stdout=broken(),
        stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    text = (
        "standard output: can't be written: nobody reads it (send it to a file with room, or to /dev/null)\n"
    )
    assert (done.returncode, done.stderr) == (1, text)


def test_a_dashboard_ends_with_its_terminal(project: Project) -> None:
    """Also where the shell had that signal ignored."""
    project.write("orchestrate.toml", TOML)
    argv = ["/bin/sh", "-c", f"trap '' HUP; exec {BIN}/dodo-claude dashboard"]
    with on_pty(argv, project.root, {**project.environ(), "TERM": "xterm"}, (80, 24)) as terminal:
        terminal.until("help")
        terminal.hang_up()
        assert terminal.process.wait(PATIENCE) == -signal.SIGHUP


@pytest.mark.parametrize("option", ["--explain", "--dry-run"])
def test_what_only_looks(project: Project, option: str) -> None:
    project.write("orchestrate.toml", TOML)
    done = subprocess.run(
        ["sh", "-c", f"exec {BIN}/doit orchestrate {option} >/dev/full"], cwd=project.root, env=project.environ(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr


def test_a_closed_stream_gives_its_number_to_no_file(project: Project) -> None:
    """What a run writes at the very end of a hurry goes to standard error by its number."""
    script = "from dodo_claude.machine import streams; import os; streams.settle(ends=False); print(os.open('file', os.O_CREAT | os.O_RDWR))"
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" <&- 2>&-', sys.executable, script], cwd=project.root, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout == "3\n"


def test_a_pipe_that_does_not_wait_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    text, found = "x" * 1_000_000, bytearray()
    reader = threading.Thread(
        target=lambda: [found.extend(data) for data in iter(lambda: os.read(read, 65536), b"")]
    )
    with open(write, "w") as before, open(read, "rb"):
        monkeypatch.setattr(
            sys, "stdout", streams._text(streams._Sink(before.fileno(), "it", ends=True), before)
        )
        reader.start()
        print(text, flush=True)
        before.close()
        reader.join(PATIENCE)
    assert found.decode() == f"{text}\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "standard input: is no UTF-8 (give it text)"),
        (
            OSError(errno.EIO, "Input/output error"),
            "standard input: Input/output error (give it a file or a pipe)",
        ),
    ],
)
def test_input_that_can_not_be_read(monkeypatch: pytest.MonkeyPatch, error: Exception, text: str) -> None:
    class Input:
        def read(self, most: int) -> str:
            raise error

    monkeypatch.setattr(sys, "stdin", Input())
    with pytest.raises(DodoClaudeError) as found:
        streams.read_input()
    assert str(found.value) == text
