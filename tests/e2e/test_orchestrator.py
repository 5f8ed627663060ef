"""A real client orchestrates: it plans, is refused what nobody approved, runs two workers, answers one, and reports.

The stand-in plays its model, scripted agents the workers, the test the person. Once with our MCP server, once with Desktop
Commander, each with the slash command that `init --claude` installs.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.integration.scenes import bash, configure, play
from tests.integration.scenes import write as writes
from tests.project import BIN, Project

from .client import ClientUnavailable, desktop_commander_path
from .lab import DIALOG_TOOLS, Pane, Tmux, wait_until
from .messages_api import MessagesApi, Reply, Request, ToolResult, say, tool

pytestmark = [pytest.mark.client, pytest.mark.tmux]
# A whole orchestration with clients, on a busy machine.
PATIENCE = 120.0
QUESTION = "SQLite or PostgreSQL?"
PLANNED = "It is planned; please approve it in a terminal."
DONE = "ORCHESTRATION p: done, 2 of 2"
FOLLOW = "dodo-claude events --follow --until-end --json --kind ask --kind outcome"

# What the model does next, given what its last call came to.
Course = Generator[Reply, ToolResult, None]


@pytest.fixture
def pane(client: Project) -> Iterator[Callable[..., Pane]]:
    """Starts the orchestrating client on a terminal of its own."""
    with tempfile.TemporaryDirectory(prefix="dc") as short:
        tmux = Tmux(Path(short) / "tmux")

        def start(server: dict[str, object], name: str, prompt: str, *allowed: str) -> Pane:
            config = client.home / "mcp.json"
            config.write_text(json.dumps({"mcpServers": {name: server}}))
            words = [
                "claude",
                "--mcp-config",
                str(config),
                "--strict-mcp-config",
                "--permission-mode",
                "dontAsk",
            ]
            words += [
                "--allowedTools",
                f"mcp__{name}",
                *allowed,
                "--disallowedTools",
                *DIALOG_TOOLS,
                "--",
                prompt,
            ]
            env = {**client.environ(), "CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN": "1"}
            del env["PYTHONWARNINGS"]  # for our own programs, not for what a client starts
            words = ["env", "-i", *(f"{key}={value}" for key, value in env.items()), *words]
            script = client.home / "launch.sh"
            script.write_text(f"exec {shlex.join(words)}\n")
            return tmux.start(script, client.root)

        try:
            yield start
        finally:
            tmux.close()


@pytest.fixture
def plan(client: Project) -> str:
    """The orchestrate.toml that the model is to write; the workers' parts, and the slash command, are there."""
    configure(client, {"one": {"targets": ["it.txt"], "check": "grep -q SQLite it.txt"},
                       "two": {"targets": ["too.txt"], "check": "test -s too.txt"}}, max_workers=2)  # fmt: skip
    play(client, {"one": [[bash(f'{BIN}/dodo-claude ask "{QUESTION}" --wait 90s > it.txt.new'),
                           bash("cat it.txt.new > it.txt")]],
                  "two": [[writes("too.txt", "too\n")]]})  # fmt: skip
    client.run("dodo-claude", "init", "--claude", check=0)
    text = client.read("orchestrate.toml")
    (client.root / "orchestrate.toml").unlink()
    return text


def follow(course: Course) -> Callable[[Request], Reply]:
    """The model's replies, one for each request."""
    begun = False

    def reply(request: Request) -> Reply:
        nonlocal begun
        last = (
            request.tool_results[-1]
            if request.tool_results
            else ToolResult("", request.last_user_text, False)
        )
        if not begun:
            begun = True
            return next(course)
        return course.send(last)

    return reply


def shows(pane: Pane, text: str, api: MessagesApi) -> None:
    wait_until(lambda: api.faults or text in pane.screen(), lambda: f"{text!r} on\n{pane.screen()}", PATIENCE)
    assert not api.faults, pane.screen()


def approved(client: Project, pane: Pane, api: MessagesApi, words: str = "I approved it, go on.") -> None:
    """The person reads the plan, says yes in a terminal, and tells the orchestrator."""
    shows(pane, PLANNED, api)
    assert not (client.root / ".orchestrate/stages").exists()
    client.approve()
    pane.submit(words, client.home / "scratch")


def verified(client: Project, api: MessagesApi) -> None:
    """What a run of two verified stages leaves; the command's text reached the model with the task in it."""
    for stage in ("one", "two"):
        assert client.result(stage)["result"] == "succeeded"
    assert client.read("it.txt") == "SQLite\n"
    assert client.read("too.txt") == "too\n"
    assert client.sessions() == []
    first = next(request for request in api.requests if request.kind == "turn")
    assert first.contains("You are the orchestrator of this task:\n\nmake it.txt and too.txt")
    assert client.orchestrate().said("2 stages: 2 up to date")


def test_with_our_mcp_server(client: Project, api: MessagesApi, pane: Callable[..., Pane], plan: str) -> None:
    def ours(name: str, **arguments: object) -> Reply:
        return tool(f"mcp__dodo-claude__{name}", **arguments)

    def course() -> Course:
        got = yield tool("Write", file_path=str(client.root / "orchestrate.toml"), content=plan)
        assert not got.is_error, got
        got = yield ours("run")
        assert got.is_error
        assert "doit orchestrate --trust" in got.text
        got = yield say(PLANNED)
        assert got.text.endswith("go on.")
        got = yield ours("run")
        assert got.text.startswith("runs in tmux session p--run"), got
        cursor: dict[str, str] = {}
        going = True
        while going:
            got = yield ours("events", wait_seconds=20, **cursor)
            head = json.loads(got.text.splitlines()[0])
            cursor, going = {"cursor": head["cursor"]}, head["run_in_progress"]
            for worker in asking(got.text):
                got = yield ours("list_workers")
                assert QUESTION in got.text
                got = yield ours("read_screen", worker=worker)
                assert "<data of=" in got.text
                got = yield ours("answer", worker=worker, text="SQLite")
                assert got.text.startswith(f"answered: {QUESTION}"), got
        got = yield ours("status")
        assert json.loads(got.text.splitlines()[0])["states"] == {"done": 2}
        got = yield ours("report")
        assert "2 done" in got.text, got
        got = yield ours("stop", everything=True)
        assert got.text == "run: ended"
        yield say(DONE)

    api.reply = follow(course())
    screen = pane(
        {"command": str(BIN / "dodo-claude"), "args": ["mcp"]}, "dodo-claude",
        "/orchestrate-parallel-dev make it.txt and too.txt", "Edit(./**)",
    )  # fmt: skip
    approved(client, screen, api)
    shows(screen, DONE, api)
    verified(client, api)


def test_with_its_own_bash(client: Project, api: MessagesApi, pane: Callable[..., Pane], plan: str) -> None:
    """Nothing but what the slash command allows: that is enough for an orchestration, and not for an approval."""

    def run(command: str) -> Reply:
        return tool("Bash", command=command, description="x")

    def course() -> Course:
        got = yield tool("Write", file_path=str(client.root / "orchestrate.toml"), content=plan)
        assert not got.is_error, got
        got = yield run("dodo-claude check")
        assert "2 stages, no problems" in got.text, got
        for command in ("--detach --trust", "--trust", "--yes --trust --detach"):
            got = yield run(f"doit orchestrate {command}")
            assert "don't ask mode" in got.text, got
        got = yield run("doit orchestrate --detach")
        assert "run `doit orchestrate` in a terminal" in got.text, got
        got = yield say(PLANNED)
        got = yield run("doit orchestrate --detach")
        assert "runs in tmux session p--run" in got.text, got
        heard = ""
        while '"kind": "ask"' not in heard:
            got = yield run(FOLLOW.replace("--follow --until-end ", ""))
            heard = got.text
        got = yield run('dodo-claude answer one "SQLite"')
        assert f"answered: {QUESTION}" in got.text, got
        got = yield run(f"timeout 100 {FOLLOW}")
        assert got.text.count('"kind": "outcome"') == 2, got
        got = yield run("dodo-claude status")
        assert "no run is in progress" in got.text, got
        got = yield run("dodo-claude report --markdown")
        assert "2 done" in got.text, got
        yield say(DONE)
        # /orchestrate-status only looks.
        for command in ("dodo-claude status", "dodo-claude report", "dodo-claude log one"):
            got = yield run(command)
            assert not got.is_error, got
        for command in ("dodo-claude stop --all", "doit orchestrate --detach"):
            got = yield run(command)
            assert "don't ask mode" in got.text, got
        yield say("That is how it stands.")

    api.reply = follow(course())
    screen = pane(
        {"command": "true"}, "none", "/orchestrate-parallel-dev make it.txt and too.txt", "Edit(./**)"
    )
    # The client lets the command's rules hold for its own turn only.
    approved(client, screen, api, "/orchestrate-parallel-dev go on")
    shows(screen, DONE, api)
    screen.submit("/orchestrate-status one", client.home / "scratch")
    shows(screen, "That is how it stands.", api)
    client.run("dodo-claude", "stop", "--all", check=0)
    verified(client, api)


def asking(text: str) -> list[str]:
    """The workers whose questions are among these events."""
    lines = (json.loads(line) for line in text.splitlines()[1:] if line.startswith("{"))
    return [event["stage"] for event in lines if event["kind"] == "ask"]


def test_with_desktop_commander(
    client: Project, api: MessagesApi, pane: Callable[..., Pane], plan: str
) -> None:
    try:
        program = desktop_commander_path()
    except ClientUnavailable as reason:
        pytest.skip(f"Desktop Commander can't be had: {reason}")
    root = str(client.root)

    def theirs(name: str, **arguments: object) -> Reply:
        return tool(f"mcp__desktop-commander__{name}", **arguments)

    def start(command: str, timeout_ms: int = 20_000) -> Reply:
        return theirs("start_process", command=f"cd {shlex.quote(root)} && {command}", timeout_ms=timeout_ms)

    def course() -> Course:
        got = yield theirs("write_file", path=f"{root}/orchestrate.toml", content=plan, mode="rewrite")
        assert not got.is_error, got
        got = yield theirs("read_file", path=f"{root}/orchestrate.toml")
        assert '[stages."two"]' in got.text, got
        got = yield start("dodo-claude check")
        assert "2 stages, no problems" in got.text, got
        got = yield start("doit orchestrate --detach")
        assert "doit orchestrate --trust" in got.text, got
        got = yield say(PLANNED)
        got = yield start("doit orchestrate --detach")
        assert "runs in tmux session p--run" in got.text, got
        got = yield start(FOLLOW, 1_000)
        found = re.search(r"PID (\d+)", got.text)
        assert found is not None, got
        pid, heard = int(found[1]), got.text
        # To wait, then to read: 0.2.52's "new" output lacks the first line of what comes after a read.
        while '"kind": "ask"' not in heard:
            yield theirs("read_process_output", pid=pid, timeout_ms=2_000)
            got = yield theirs("read_process_output", pid=pid, offset=-30)
            heard = got.text
        got = yield start('dodo-claude answer one "SQLite"')
        assert f"answered: {QUESTION}" in got.text, got
        while heard.count('"kind": "outcome"') < 2:
            yield theirs("read_process_output", pid=pid, timeout_ms=2_000)
            got = yield theirs("read_process_output", pid=pid, offset=-30)
            heard = got.text
        got = yield start("sh", 500)
        found = re.search(r"PID (\d+)", got.text)
        assert found is not None, got
        got = yield theirs(
            "interact_with_process", pid=int(found[1]), input="dodo-claude status; exit", timeout_ms=20_000
        )
        assert "no run is in progress" in got.text, got
        got = yield start("dodo-claude report --markdown")
        assert "2 done" in got.text, got
        got = yield start("dodo-claude stop --all")
        assert "run: ended" in got.text, got
        yield say(DONE)

    api.reply = follow(course())
    node = shutil.which("node")
    # Its own switch for telemetry; its feature flags come from a place where nobody listens.
    quiet = {"DESKTOP_COMMANDER_DISABLE_TELEMETRY": "1", "DC_FLAG_URL": "http://127.0.0.1:9/"}
    screen = pane(
        {"command": node, "args": [str(program)], "env": quiet}, "desktop-commander",
        "/orchestrate-parallel-dev make it.txt and too.txt",
    )  # fmt: skip
    approved(client, screen, api)
    shows(screen, DONE, api)
    verified(client, api)
