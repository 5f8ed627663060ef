"""The MCP server, asked over stdio by the SDK's own client, with workers of the scripted agent in tmux."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from dodo_claude.commands import mcp
from tests.integration.scenes import at_gate, bash, configure, gate, open_gate, patch, play, write
from tests.project import BIN, PATIENCE, Project

TWO = {"one": {"targets": ["it.txt"]}, "two": {"targets": ["too.txt"]}}


class Desk:
    """The client, in a test's words."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def __call__(self, tool: str, **arguments: object) -> str:
        """What the tool gave; a failure of it fails the test."""
        failed, text = await self._call(tool, arguments)
        assert not failed, text
        return text

    async def fault(self, tool: str, **arguments: object) -> str:
        """Why the tool refused: one line."""
        failed, text = await self._call(tool, arguments)
        assert failed, text
        assert "\n" not in text
        assert "Traceback" not in text
        return text

    async def _call(self, tool: str, arguments: dict[str, object]) -> tuple[bool, str]:
        result = await self.client.call_tool(tool, arguments)
        (content,) = result.content
        assert content.type == "text"
        return result.is_error, content.text

    async def until(self, kind: str, cursor: str | None = None) -> tuple[list[dict[str, Any]], str, bool]:
        """Events up to one of `kind`, the cursor after them, and whether the run goes on."""
        seen: list[dict[str, Any]] = []
        while not any(event["kind"] == kind for event in seen):
            text = await self("events", cursor=cursor, wait_seconds=20)
            head, *_ = text.splitlines()
            cursor = json.loads(head)["cursor"]
            seen += rows(text)
            assert seen or json.loads(head)["run_in_progress"], text
        return seen, str(cursor), json.loads(head)["run_in_progress"]


def inside(text: str) -> str:
    """What a result marks as a worker's."""
    found = re.search(r'^<data of="[^"]+" mark="(\w+)">\n(.*)\n</data mark="\1">$', text, re.S | re.M)
    assert found is not None, text
    before = text[: found.start()].rstrip("\n").splitlines()[-1]
    assert before == mcp.DATA
    return found[2]


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in inside(text).splitlines()] if "<data" in text else []


@asynccontextmanager
async def desk(project: Project, *argv: str, cwd: Path | None = None) -> AsyncIterator[Desk]:
    server = StdioServerParameters(
        command=str(BIN / "dodo-claude"), args=["mcp", *argv], env=project.environ(), cwd=cwd or project.root
    )
    async with Client(server, read_timeout_seconds=PATIENCE) as client:
        yield Desk(client)


@pytest.mark.tmux
def test_a_run_from_its_start_to_its_report(project: Project) -> None:
    configure(project, TWO, max_workers=2)
    ask = f'{BIN}/dodo-claude ask "SQLite or PostgreSQL?" --wait 50s > answer.txt'
    play(
        project,
        {
            "one": [[bash(ask), bash(f"{BIN}/dodo-claude progress 60 'half of it'"), write("it.txt"), gate("end")]],
            "two": [[gate("go"), {"told": "the contract is in it.txt", "then": [write("too.txt")]}]],
        },
    )  # fmt: skip
    project.approve()

    async def orchestrate() -> None:
        async with desk(project) as tool:
            assert "nothing was started" not in await tool("run", dry_run=True)
            assert json.loads((await tool("status")).splitlines()[0])["states"] == {"not run": 2}
            assert await tool("list_workers") == "no worker is in tmux"
            assert await tool("notes") == "no notes yet"
            assert (await tool("run")).startswith("runs in tmux session p--run")

            seen, cursor, going = await tool.until("ask")
            assert going
            assert (
                next(event for event in seen if event["kind"] == "ask")["data"]["text"]
                == "SQLite or PostgreSQL?"
            )
            at_gate(project, "go")
            workers = {row["name"]: row for row in rows(await tool("list_workers"))}
            assert set(workers) == {"one", "two"}
            assert workers["one"]["asks"][0]["text"] == "SQLite or PostgreSQL?"
            assert workers["two"]["in_tmux"] == "running"
            assert "go.at" in inside(await tool("read_screen", worker="two", lines=50))
            assert "ASKS: SQLite or PostgreSQL?" in inside(await tool("read_screen", worker="run", lines=50))

            assert (
                await tool("answer", worker="one", text="SQLite")
                == "answered: SQLite or PostgreSQL? (it goes on)"
            )
            letter = await tool("send", worker="two", text="the contract is in it.txt")
            assert letter.startswith("queued: ")
            assert "the orchestrator: the port is 8080" in inside(await tool("notes", add="the port is 8080"))

            seen, cursor, _ = await tool.until("progress", cursor)
            assert seen[-1]["data"]["text"] == "half of it"
            assert "ask" not in [event["kind"] for event in seen]  # nothing is told twice
            at_gate(project, "end")
            status = await tool("status")
            head = json.loads(status.splitlines()[0])
            assert head["run_in_progress"] is True
            assert head["states"] == {"running": 2}
            assert (head["run"]["tmux"], head["run"]["in_tmux"]) == ("p--run", "running")
            assert [(row["name"], row["in_tmux"]) for row in rows(status)] == [
                ("one", "running"),
                ("two", "running"),
            ]
            open_gate(project, "end")
            open_gate(project, "go")
            ended: list[str] = []
            while going:
                text = await tool("events", cursor=cursor, wait_seconds=20)
                head = json.loads(text.splitlines()[0])
                cursor, going = head["cursor"], head["run_in_progress"]
                ended += [row["data"]["result"] for row in rows(text) if row["kind"] == "outcome"]
            assert ended == ["succeeded", "succeeded"]

            assert project.read("answer.txt") == "SQLite\n"
            assert json.loads((await tool("status")).splitlines()[0])["states"] == {"done": 2}
            assert "it.txt" in inside(await tool("report"))
            told = json.loads(inside(await tool("report", format="json")))
            assert [(stage["name"], stage["state"]) for stage in told["stages"]] == [
                ("one", "done"),
                ("two", "done"),
            ]
            assert "PreToolUse" in {row["kind"] for row in rows(await tool("events", everything=True))}
            assert await tool("stop", everything=True) == "run: ended"
            assert {each.name for each in (await tool.client.list_tools()).tools} == set(mcp.TOOLS)

    asyncio.run(orchestrate())
    assert project.sessions() == []
    (letter,) = [found for name in project.log("two").dir.glob("mail/delivered/*") if (found := name.name)]
    assert letter


@pytest.mark.tmux
def test_more_events_than_one_call_gives(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"]}})
    say = bash(f"for n in $(seq 1 15); do {BIN}/dodo-claude progress $n; done")
    play(project, {"one": [[say, write("it.txt")]]})
    project.orchestrate()
    patch(project, f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); from dodo_claude.commands import mcp\n"
          "mcp.MOST_EVENTS = 7\n")  # fmt: skip

    async def read() -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        async with desk(project) as tool:
            cursor, more = None, True
            while more:
                text = await tool("events", cursor=cursor)
                assert len(rows(text)) <= 7
                seen += rows(text)
                head = json.loads(text.splitlines()[0])
                cursor, more = head["cursor"], head["more"]
            assert "no new events" in await tool("events", cursor=cursor)
        return seen

    seen = asyncio.run(read())
    assert [event["data"]["percent"] for event in seen if event["kind"] == "progress"] == list(range(1, 16))


def test_faults_are_one_line_each(project: Project) -> None:
    async def ask() -> None:
        async with desk(project, str(project.root), cwd=Path("/")) as tool:
            assert await tool.fault("status") == (
                "orchestrate.toml: not found here or above (dodo-claude init writes one)"
            )
            project.write("orchestrate.toml", "[stages.one]\npromt = 'x'\n[stages.two]\nprompt = 1\n")
            broken = await tool.fault("status")
            assert "did you mean 'prompt'?" in broken
            assert "; orchestrate.toml:4:" in broken
            assert "did you mean 'prompt'?" in await tool.fault("run")
            configure(project, TWO)
            play(project, {"one": [[write("it.txt")]], "two": [[write("too.txt")]]})
            assert (
                await tool.fault("read_screen", worker="onne")
                == "stage 'onne': not found (did you mean 'one'?)"
            )
            assert "has no session in tmux now" in await tool.fault("read_screen", worker="one")
            assert "no worker is at work on it" in await tool.fault("send", worker="one", text="x")
            assert "no worker is at work on it" in await tool.fault("answer", worker="one", text="x")
            assert "nothing has run here yet" in await tool.fault("report")
            assert "name one worker, or everything" in await tool.fault("stop")
            assert "not known any more" in await tool.fault("events", cursor="x")
            assert "text" in await tool.fault("send", worker="one")
            assert "no stage" in await tool.fault("run", stages=["--trust"])
            # Nobody approved it, and no tool does.
            assert "doit orchestrate --trust" in await tool.fault("run")
            assert "no such tool" in (await tool.fault("nosuch")).lower().replace(
                "unknown tool", "no such tool"
            )

    asyncio.run(ask())
    assert project.sessions() == []
    assert not (project.root / "it.txt").exists()


def test_the_readme_names_every_tool() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text()
    table = text.split("| tool | what it does |\n")[1].split("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(mcp.TOOLS)


def test_without_the_sdk_it_says_what_to_install(project: Project) -> None:
    patch(project, "import sys\nsys.modules['mcp'] = None\n")
    ran = project.run("dodo-claude", "mcp", check=2)
    assert ran.err == "mcp: the MCP SDK is not there (pip install 'dodo-claude[mcp]')\n"
    project.write("orchestrate.toml", "[stages.one]\nprompt = 'x'\n")
    assert "no problems" in project.run("dodo-claude", "check", check=0).out  # all else works without it


def test_its_folder_must_be_there(project: Project) -> None:
    ran = project.run("dodo-claude", "mcp", "nosuch", check=2)
    assert ran.err == "nosuch: No such file or directory (name the project's folder)\n"
