"""The dashboard by its keys: on journals written by hand, on real runs of the scripted agent, and on a real terminal."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from click.testing import CliRunner
from textual.pilot import Pilot

from dodo_claude.commands import main
from dodo_claude.control import steering
from dodo_claude.dashboard import dashboard as module
from dodo_claude.dashboard import following
from dodo_claude.dashboard.dashboard import Dashboard
from dodo_claude.dashboard.keys import HELP
from dodo_claude.state import events as life
from dodo_claude.state.mail import Mailbox
from tests.integration.scenes import at_gate, bash, configure, gate, happened, open_gate, play, write
from tests.project import BIN, PATIENCE, Project
from tests.samples.evil import EVIL
from tests.samples.journals import Journals

SIZES = [(80, 24), (160, 50)]


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project is where we are, and its environment ours."""
    monkeypatch.chdir(project.root)
    for name, value in project.environ().items():
        if name != "PYTHONWARNINGS":
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(following, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(module, "READ_SECONDS", 0.1)
    return project


@pytest.fixture
def journals(here: Project) -> Iterator[Journals]:
    made = Journals(here.root)
    yield made
    made.close()


class Hands:
    """Somebody at the dashboard."""

    def __init__(self, app: Dashboard, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot
        # What it told, kept here: a note is gone from its screen after five seconds, and a slow machine takes longer to look.
        self.told: list[str] = []
        notify = app.notify

        def keep(message: str, **how: Any) -> None:
            self.told.append(message)
            notify(message, **how)

        app.notify = keep

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def sees(self, *texts: str) -> None:
        await self.until(lambda: all(text in self.text for text in texts), texts)

    async def until(self, what: Callable[[], object], why: object = "") -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, f"{why}\n{self.text}"
            await self.pilot.pause(0.02)

    async def says(self, text: str) -> None:
        await self.until(lambda: any(text in note for note in self.told), text)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def choose(self, name: str) -> None:
        await self.press("home")
        while self.app.chosen != name:
            before = self.app.chosen
            await self.press("down")
            assert self.app.chosen != before, f"{name} is not there"

    async def types(self, text: str) -> None:
        await self.press(*("space" if char == " " else char for char in text), "enter")


@asynccontextmanager
async def sitting(size: tuple[int, int], *, notices: bool = False) -> Any:
    app = Dashboard()
    async with app.run_test(size=size, notifications=notices) as pilot:
        hands = Hands(app, pilot)
        await hands.until(lambda: app.desk.stages)
        await pilot.pause()
        yield hands


def sit(
    does: Callable[[Hands], Coroutine[Any, Any, None]],
    size: tuple[int, int] = (80, 24),
    *,
    notices: bool = False,
) -> None:
    async def go() -> None:
        async with sitting(size, notices=notices) as hands:
            await does(hands)

    asyncio.run(go())


# -- from the journals alone


def test_a_notice_lies_over_no_dialog_and_is_there_after_it(journals: Journals) -> None:
    async def look(hands: Hands) -> None:
        hands.app.told("the first notice")
        await hands.sees("the first notice")
        await hands.press("question_mark")
        await hands.sees(*(text for _, text in HELP if len(text) < 60))
        assert "notice" not in hands.text
        hands.app.told("the second notice")
        await hands.pilot.pause(0.1)
        assert "notice" not in hands.text
        await hands.press("escape")
        await hands.sees("the second notice")

    sit(look, notices=True)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_ran_yet(journals: Journals, size: tuple[int, int]) -> None:
    async def look(hands: Hands) -> None:
        await hands.sees("0 of 3 done", "no run", "- api", "← ui, api", "no worker of it is in tmux")
        assert len(hands.lines) == size[1]
        assert "? help" in hands.lines[-1]
        for number, text in enumerate(("it has not run yet", "no prompt was written", "a.py", "$ make", "nothing was said"), 2):  # fmt: skip
            await hands.press(str(number))
            await hands.sees(text)

    sit(look, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_run_that_is_over_is_browsed(journals: Journals, size: tuple[int, int]) -> None:
    journals.run_begins()
    attempt = journals.begin("api")
    (attempt.dir / "prompt.md").write_text("Make the thing.")
    (attempt.dir / "check.log").write_text("3 passed")
    (attempt.dir / "screen.txt").write_text("the last of it")
    attempt.record(life.NOTE, text="port 8080")
    (journals.root / "a.py").write_text("x = 1\n")
    journals.end(attempt)
    journals.end(journals.begin("ui"), "failed", "its check failed")
    journals.run_ends()

    async def look(hands: Hands) -> None:
        await hands.sees("1 of 3 done", "1 failed", "no run", "✓ api", "✗ ui")
        assert hands.app.chosen == "ui"  # what failed is looked at first
        await hands.sees("its check failed")
        await hands.press("home")
        for number, text in enumerate(("the last of it", "outcome", "Make the thing.", "+x = 1", "3 passed", "port 8080"), 1):  # fmt: skip
            await hands.press(str(number))
            await hands.sees(text)

    sit(look, size)


def test_a_run_that_begins_is_followed(journals: Journals) -> None:
    async def look(hands: Hands) -> None:
        await hands.sees("no run")
        journals.run_begins()
        attempt = journals.begin("api")
        await hands.sees("runs", "● api")
        await hands.choose("api")
        await hands.press("2")
        await hands.sees("UserPromptSu")
        attempt.record("PreToolUse", tool_name="Bash", tool_input={"command": "make it"})
        await hands.sees("Bash make it")
        attempt.record(life.PROGRESS, percent=40, text="half of it")
        await hands.sees("40%", "half of it")
        await hands.press("6")
        await hands.sees("worker progress")
        attempt.record(life.NOTE, text="port 8080")
        await hands.sees("notes for all", "port 8080")

    sit(look)


def test_what_a_worker_says_is_text_and_nothing_else(journals: Journals) -> None:
    journals.run_begins()
    attempt = journals.begin("api")
    attempt.record(life.PROGRESS, percent=1, text=EVIL)
    attempt.record(life.NOTE, text=EVIL)
    (attempt.dir / "prompt.md").write_text(EVIL)
    (attempt.dir / "check.log").write_text(EVIL)
    (attempt.dir / "screen.txt").write_text(EVIL)
    (journals.root / "a.py").write_text(EVIL)

    async def look(hands: Hands) -> None:
        await hands.sees("[bold]x[/bold]")
        for key in "123456":
            await hands.press(key)
            await hands.until(lambda: "…" not in hands.lines[4][35:])
            assert "[bold]x[/bold]" in hands.text, key
            assert all(line.isprintable() for line in hands.lines)
            assert "title" not in hands.text.replace("#title", "")

    sit(look, (160, 50))


def test_stages_are_chosen_filtered_and_zoomed(journals: Journals) -> None:
    async def look(hands: Hands) -> None:
        app = hands.app
        await hands.press("home")
        assert app.chosen == "api"
        await hands.press("j", "j", "j")
        assert app.chosen == "doc"
        await hands.press("up")
        assert app.chosen == "ui"
        await hands.press("end")
        assert "╭─- api" in hands.lines[1]
        assert "╰▶" in hands.lines[3]
        await hands.press("slash", *"ui")
        await hands.until(lambda: app._shown == ["ui"])  # while it is typed
        await hands.press("enter")
        assert app.chosen == "ui"
        assert "esc all" in hands.lines[-1].replace("  ", " ")
        await hands.press("escape")
        assert len(app._shown) == 3
        await hands.press("slash", *"zz", "escape")  # taken back
        assert len(app._shown) == 3
        await hands.press("z")
        await hands.until(lambda: "│" not in hands.lines[2])
        await hands.press("escape")
        await hands.until(lambda: "│" in hands.lines[2])
        await hands.press("right", "right", "left")
        assert app.tab == "events"
        await hands.press("question_mark")
        await hands.sees("choose a stage", "leave; runs and workers go on")
        await hands.press("q")  # of the help only
        await hands.until(lambda: len(app.screen_stack) == 1)
        await hands.pilot.click("#list", offset=(5, 0))
        assert app.chosen == "api"
        await hands.pilot.click("#tabs", offset=(hands.lines[3][35:].index("files"), 0))
        assert app.tab == "files"
        await hands.pilot.resize_terminal(50, 20)  # room for one side only
        await hands.until(lambda: "screen events" not in hands.text)
        await hands.press("z")
        await hands.sees("screen events")
        await hands.press("q")
        await hands.until(lambda: app._exit)

    sit(look)


def test_what_can_not_be_done_is_said(journals: Journals) -> None:
    journals.run_begins()
    journals.done("api", "a.py")

    async def look(hands: Hands) -> None:
        await hands.choose("api")
        for key, text in (
            ("m", "no worker is at work on api"), ("c", "no worker is at work on api"), ("i", "no worker is at work on"),
            ("r", "asks nothing now"), ("x", "there is nothing to stop"), ("a", "has no session in tmux"),
            ("t", "a run is in progress"), ("T", "a run is in progress"), ("w", "nobody waits for you"),
        ):  # fmt: skip
            hands.told.clear()
            await hands.press(key)
            await hands.says(text)
            assert len(hands.app.screen_stack) == 1

    sit(look)


def test_a_request_for_a_permission_is_answered(journals: Journals, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was shown: what answers it is steering.permit's."""
    journals.run_begins()
    attempt = journals.begin("api")
    attempt.record("PermissionRequest", tool_name="Bash", tool_input={"command": "make [x]"}, request="r-1")
    Mailbox(attempt.log).open(attempt.number)
    said: list[tuple[str, str | None, str]] = []

    def permit(here: object, worker: str, refusal: str | None, request: str) -> tuple[str, str]:
        said.append((worker, refusal, request))
        return request, "it was done"

    monkeypatch.setattr(steering, "permit", permit)

    async def look(hands: Hands) -> None:
        await hands.sees("! api", "y allow", "n deny")
        await hands.press("y")
        await hands.sees("api asks for:", "command: make [x]")
        await hands.press("n")
        assert not said
        await hands.press("y", "y")
        await hands.until(lambda: said == [("api", None, "r-1")])
        await hands.press("n")
        await hands.sees("deny api:")
        await hands.press("escape")
        await hands.until(lambda: "deny api:" not in hands.text)
        await hands.press("n")
        await hands.sees("deny api:")
        await hands.types("use make")
        await hands.until(lambda: said[1:] == [("api", "use make", "r-1")])
        await hands.says("it was done")

    sit(look, (120, 30))


def test_one_that_only_shows_does_nothing(journals: Journals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DODO_CLAUDE_READ_ONLY", "1")

    async def look(hands: Hands) -> None:
        for key in ("a", "m", "r", "y", "n", "i", "c", "x", "t", "T"):
            hands.told.clear()
            await hands.press(key)
            await hands.says("this one only shows")
            assert len(hands.app.screen_stack) == 1
        assert "try again" not in hands.text
        await hands.press("down", "3")
        await hands.sees("no prompt was written")

    sit(look)


def said_at_once() -> str:
    result = CliRunner().invoke(main.main, ["dashboard"])
    assert result.exit_code == 2
    return result.stderr


def test_what_keeps_it_from_starting_is_said_in_one_line(
    here: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said_at_once() == "orchestrate.toml: not found here or above (dodo-claude init writes one)\n"
    here.write("orchestrate.toml", "[stages.a]\nprompt = 3\n")
    assert said_at_once().startswith("orchestrate.toml:2:10: ")
    here.write("orchestrate.toml", "[stages.a]\nprompt = '3'\n")
    assert said_at_once() == "dashboard: needs a terminal (run it in one, or with --web for a browser)\n"
    monkeypatch.setitem(sys.modules, "textual", None)
    assert said_at_once() == "dashboard: needs Textual (pip install 'dodo-claude[dashboard]')\n"


# -- with real workers


@pytest.mark.tmux
def test_workers_are_steered_by_keys(here: Project) -> None:
    configure(here, {"asks": {"targets": ["a.txt"]}, "works": {"targets": ["w.txt"]}, "bad": {"targets": ["b.txt"], "retries": 3}})  # fmt: skip
    play(
        here,
        {
            "asks": [[bash(f"{BIN}/dodo-claude ask 'a or b?' --wait 50s"), write("a.txt")]],
            "works": [[{"say": "[red]I work."}, gate("go"), write("no.txt")], [write("w.txt")]],
            "bad": [[gate("never"), write("b.txt")]],
        },
    )

    async def steer(hands: Hands) -> None:
        await hands.sees("? asks", "a or b?")
        await hands.press("w", "r")
        await hands.sees("asks asks:")
        await hands.types("a it is")
        await hands.sees("✓ asks")
        await hands.choose("works")
        await hands.sees("[red]I work.", "touch go.at")  # its screen
        await hands.press("i")
        await hands.until(lambda: happened(here, "works", "interrupt"))
        await hands.sees("○ works")
        await hands.press("m")
        await hands.sees("message to works")
        await hands.types("go on")
        await hands.sees("✓ works")
        await hands.choose("bad")
        await hands.press("x")
        await hands.sees("Stop bad?")
        await hands.press("n")
        assert not happened(here, "bad", "exited")
        await hands.press("x")
        await hands.sees("Stop bad?")
        await hands.press("y")
        await hands.says("bad: stopped; doit orchestrate goes on with it")
        await hands.sees("■ bad")

    with here.started() as live:
        live.until("ASKS")
        at_gate(here, "go")
        at_gate(here, "never")
        sit(steer, (100, 30))
        assert live.wait() == 1, live.text
    assert happened(here, "works", "received")

    async def again(hands: Hands) -> None:
        await hands.sees("no run", "■ bad")
        await hands.choose("bad")
        await hands.press("t")
        await hands.sees("runs")
        open_gate(here, "never")
        await hands.sees("✓ bad", "3 of 3 done", "no run")

    here.approve()
    sit(again, (100, 30))


@pytest.mark.tmux
def test_on_a_terminal_attach_leads_there_and_back(here: Project) -> None:
    configure(here, {"one": {"targets": ["it.txt"]}})
    play(here, {"one": [[gate("go"), write("it.txt")]]})
    socket = here.runtime / "outer"

    def tmux(*argv: str) -> str:
        return subprocess.run(["tmux", "-f", "/dev/null", "-S", str(socket), *argv], env=here.environ(), capture_output=True, text=True, check=True).stdout  # fmt: skip

    def shown() -> str:
        return tmux("capture-pane", "-p")

    with here.started() as live:
        at_gate(here, "go")
        tmux("new-session", "-d", "-x", "80", "-y", "24", f"env -C {here.root} {sys.executable} -m dodo_claude dashboard; echo LEFT; cat")  # fmt: skip
        try:
            here.wait_for(
                lambda: "● one" in shown() and "a attach" in shown().replace("  ", " "), "the dashboard"
            )
            tmux("send-keys", "a")
            here.wait_for(lambda: "[p-one" in shown(), "the worker's session")
            tmux("send-keys", "C-b", "d")
            here.wait_for(lambda: "0 of 1 done" in shown(), "the dashboard again")
            open_gate(here, "go")
            here.wait_for(lambda: "1 of 1 done" in shown(), "the end of it")
            tmux("send-keys", "q")
            here.wait_for(lambda: re.search("^LEFT", shown(), re.M), "the way out")
            assert "Traceback" not in shown()
        finally:
            tmux("kill-server")
        assert live.wait() == 0, live.text


def test_in_a_browser_attach_is_not_offered(journals: Journals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dashboard, "is_web", property(lambda self: True))

    async def look(hands: Hands) -> None:
        await hands.press("a")
        await hands.says("attach works in a terminal")

    sit(look)
