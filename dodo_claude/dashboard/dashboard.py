"""`dodo-claude dashboard`: the project on a terminal, live. Thin: what it shows is desk.py's, what it knows following.py's.

Imported only by its command: Textual is an extra.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from textual import on, work
from textual.app import App, ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.message import Message
from textual.screen import Screen
from textual.strip import Strip
from textual.worker import Worker

from dodo_claude.config.records import Config, Stage
from dodo_claude.control import project
from dodo_claude.dashboard import desk, keys
from dodo_claude.dashboard.acts import ACTS, Acts
from dodo_claude.dashboard.desk import Desk
from dodo_claude.dashboard.dialogs import Say, Sure, box_width
from dodo_claude.dashboard.following import Following
from dodo_claude.dashboard.panes import Clicked, Listed, Scrolled, Still, painted
from dodo_claude.machine import files, mirror
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.machine.tmux import Tmux
from dodo_claude.report import record
from dodo_claude.report.board import Line
from dodo_claude.report.details import Details, latest
from dodo_claude.report.status import StageStatus
from dodo_claude.state.bus import Tail
from dodo_claude.state.events import Event
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.clean import clean_screen, clean_text
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor

# Set for one that may show and do nothing.
READ_ONLY = "DODO_CLAUDE_READ_ONLY"
# Of a stage at work, files and messages are read anew so often at most.
READ_SECONDS = 2.0
# What is kept of a stage's events, and read of a journal when the stage is chosen.
MOST_EVENTS, MOST_BYTES = 2_000, 500_000
# Columns of an event's line, and of a place that has room for whole names of kinds.
LONGEST_EVENT, WIDE_EVENTS = desk.LONGEST_TEXT + 28, 60
# A longer word is a dialog.
MOST_LINES = 4
# Who runs through the list follows no screen on the way.
REST_SECONDS = 0.15
SCREEN, EVENTS, PROMPT, FILES, CHECK, MESSAGES = desk.TABS


class _Lines(Sequence[Line]):
    """Events as lines, each made when it is seen."""

    def __init__(self, events: Sequence[Event], line: Callable[[Event], Line]) -> None:
        self._events, self._line = events, line

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, number: Any) -> Any:
        return self._line(self._events[number])


class Changed(Message):
    """The desk is another."""


class Dashboard(App[None]):
    """The app. One stage is chosen; what is shown of it is read only while it is."""

    TITLE = "dodo-claude"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head, #foot { height: auto; width: 100%; }
    #head { background: $panel; }
    #foot { background: $panel; }
    #list { height: 1fr; width: 34; }
    #list > .listed--chosen { background: $primary-muted; }
    #right { height: 1fr; width: 1fr; border-left: solid $panel; }
    #right.alone { border-left: none; }
    #title, #tabs { width: 100%; height: auto; }
    #tabs { background: $panel; }
    #body { height: 1fr; }
    Say, Sure { align: center middle; }
    #box { width: 100%; max-width: 104; height: auto; max-height: 100%; border: round $primary; padding: 0 1; background: $surface; }
    #box #about, #box Input { width: 100%; height: auto; }
    #box Input { height: 1; margin: 1 0 0 0; }
    Say.low { align: center bottom; }
    Say ToastRack, Sure ToastRack { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", show=False),
        Binding("down,j", "choose(1)", show=False),
        Binding("home,g", "choose(-1000000)", show=False),
        Binding("end,G", "choose(1000000)", show=False),
        Binding("w", "next_for_me", show=False),
        Binding("slash", "filter", show=False),
        Binding("escape", "all", show=False),
        *(Binding(str(number), f"tab('{name}')", show=False) for number, name in enumerate(desk.TABS, 1)),
        Binding("left,shift+tab", "turn(-1)", show=False),
        Binding("right,tab", "turn(1)", show=False),
        Binding("pageup,shift+up", "scroll_body(-1)", show=False),
        Binding("pagedown,shift+down,space", "scroll_body(1)", show=False),
        Binding("less_than_sign,shift+left", "scroll_sideways(-1)", show=False),
        Binding("greater_than_sign,shift+right", "scroll_sideways(1)", show=False),
        Binding("z", "zoom", show=False),
        Binding("enter,a", "attach", show=False),
        Binding("m", "act('message')", show=False),
        Binding("r", "act('answer')", show=False),
        Binding("y", "act('allow')", show=False),
        Binding("n", "act('deny')", show=False),
        Binding("i", "act('interrupt')", show=False),
        Binding("c", "act('compact')", show=False),
        Binding("x", "act('stop')", show=False),
        Binding("t", "act('retry')", show=False),
        Binding("T", "run_all", show=False),
        Binding("question_mark", "help", show=False),
        Binding("q", "quit", show=False),
    ]

    def __init__(self, following: Callable[[Callable[[], None]], Following] | None = None) -> None:
        """Raises `DodoClaudeError` when there is no project here, or its file is wrong."""
        super().__init__()
        self._redact = Redactor(os.environ)
        self._acts = Acts(self)
        self.following = (following or self._follow)(self._heard)
        self.desk: Desk = desk.EMPTY
        self.chosen: str | None = None
        self.tab = SCREEN
        self.words = ""  # of the filter
        self.alone = False  # the process is for nothing else
        self.shows_only = os.environ.get(READ_ONLY) == "1"
        self._shown: list[str] = []
        self._levels: Mapping[str, int] = {}
        self._edges: list[str] = []
        self._zoomed = False
        self._pending = False
        self._tabs: list[tuple[int, int, str]] = []
        self._keys: list[tuple[int, int, str]] = []
        self._tail: Tail | None = None
        self._told_events: list[Event] = []
        self._lines: list[Line] = []  # of a kept screen
        self._later: list[tuple[str, str]] = []  # notices for when no dialog is there
        self._screen_of: tuple[str, str | None] | None = None
        self._screen: list[Strip] | None = None
        self._mirror: Worker[None] | None = None
        self._details: tuple[tuple[object, ...], Details | None] = ((), None)
        self._reading = False
        self._read_at = 0.0
        self._body: tuple[object, ...] = ()

    def _follow(self, changed: Callable[[], None]) -> Following:
        return Following(
            project.find_config,
            lambda config: project.project_tmux(config).server.living(),
            changed,
            self._redact,
        )

    # -- what is there

    def compose(self) -> ComposeResult:
        yield Still(id="head")
        with Horizontal():
            yield Listed(id="list")
            with Vertical(id="right"):
                yield Still(id="title")
                yield Still(id="tabs")
                yield Scrolled(id="body")
        yield Still(id="foot")

    def on_mount(self) -> None:
        self._lay_out()
        self.following.start()
        self.set_interval(READ_SECONDS, self._fill)

    def on_unmount(self) -> None:
        self.following.close()

    def _heard(self) -> None:
        """Called by the thread that follows. One message is under way at most."""
        if not self._pending:
            self._pending = True
            self.post_message(Changed())

    @on(Changed)
    def _on_changed(self) -> None:
        self._pending = False
        if self.following.fault is not None:
            raise self.following.fault
        before, self.desk = self.desk, self.following.desk
        if self.alone and not before.stages:
            gc.collect()
            gc.freeze()  # what is there by now stays: to look through it for garbage makes keys wait
        if self._main() is None:
            return
        if [*before.stages] != [*self.desk.stages] or before.needs != self.desk.needs:
            self._levels = desk.levels([*self.desk.stages], self.desk.needs)
        self._list()
        self.paint()

    def _list(self) -> None:
        """Which stages are shown, and which of them is chosen."""
        self._shown = desk.matching(self.desk, self.words)
        if self.chosen not in self._shown:
            first = desk.first_to_see(self.desk, self._shown)
            self._choose(first)
        self._edges = desk.edges(self._shown, self.desk.needs, self.chosen)

    def _choose(self, name: str | None) -> None:
        if name != self.chosen:
            self.chosen = name
            self._edges = desk.edges(self._shown, self.desk.needs, name)
            self._tail, self._body = None, ()
            self._read_at = 0.0
            self._main_body().begin()

    @property
    def stage(self) -> StageStatus | None:
        return self.desk.stages.get(self.chosen) if self.chosen is not None else None

    # -- painting

    def on_resize(self, event: Resize) -> None:
        self._lay_out(event.size.width)
        self.call_after_refresh(self.paint)

    def _lay_out(self, width: int = 0) -> None:
        width = width or self.size.width
        self._tail = None  # its lines are for another width
        narrow = width < desk.NARROW
        left, right = self.query_one("#list"), self.query_one("#right")
        left.display = not self._zoomed
        right.set_class(self._zoomed, "alone")
        right.display = self._zoomed or not narrow
        left.styles.width = width if narrow else desk.list_width(width)
        self._body = ()

    def _main(self) -> Screen[Any] | None:
        """The screen below all dialogs; None while the app comes up, or goes."""
        main = self._screen_stack[0] if self._screen_stack else None
        return main if main is not None and main.query("#foot") else None

    def _main_body(self) -> Scrolled:
        return self.screen_stack[0].query_one("#body", Scrolled)

    def paint(self) -> None:
        """Put everything as it is now; what did not change is not painted."""
        main = self._main()
        if main is None:
            return
        width = self.size.width
        stage = self.stage
        main.query_one("#head", Still).show(desk.head(self.desk, time.time(), width))
        at = self._shown.index(self.chosen) if self.chosen in self._shown else -1
        main.query_one("#list", Listed).show(len(self._shown), at, self._row)
        right = main.query_one("#title", Still)
        if right.size.width:
            right.show(desk.title(stage, right.size.width))
            bar, self._tabs = desk.tab_bar(self.tab, right.size.width)
            main.query_one("#tabs", Still).show([bar])
        useful = keys.keys(
            stage, live=self.desk.run.live, attaches=not self.is_web, filtered=bool(self.words),
            shows_only=self.shows_only,
        )  # fmt: skip
        foot, self._keys = keys.foot(useful, width)
        main.query_one("#foot", Still).show([foot])
        self._fill()

    def _row(self, number: int, width: int) -> Line:
        if number >= len(self._shown):
            return ()
        name = self._shown[number]
        stage = self.desk.stages[name]
        return desk.row(
            stage, self._levels.get(name, 0), self._edges[number], width, is_chosen=name == self.chosen
        )

    # -- the right side

    def _fill(self) -> None:
        """What is shown of the chosen stage."""
        main = self._main()
        if main is None:
            return
        body = main.query_one("#body", Scrolled)
        stage = self.stage
        seen = main.query_one("#right").display and body.size.width > 0
        self._look_over_its_shoulder(stage if seen and self.tab == SCREEN else None)
        if not seen:
            return
        if stage is None:
            body.show([])
        elif self.tab == SCREEN:
            self._show_screen(body, stage)
        elif self.tab == EVENTS:
            self._show_events(body, stage)
        else:
            self._read(stage)
            self._show_details(body, stage)

    def _show_screen(self, body: Scrolled, stage: StageStatus) -> None:
        lines: Sequence[Line | Strip]
        if stage.in_tmux and self._screen is not None:
            lines = self._screen
        elif stage.in_tmux:
            lines = [(("…", "dim"),)]
        else:
            lines = self._kept_screen(stage)
        body.show(lines, tail=True, columns=max((_columns(line) for line in lines), default=0))

    def _kept_screen(self, stage: StageStatus) -> list[Line]:
        key = ("screen", stage.name, stage.attempt, stage.state)
        if self._body != key:
            self._body = key
            self._lines = [(("no worker of it is in tmux", "dim"),)]
            if stage.attempt is not None:
                with contextlib.suppress(OSError):
                    path = self.attempt_of(stage).dir / "screen.txt"
                    text = clean_text(self._redact.text(files.read_text(path, "replace"))).rstrip()
                    self._lines = [
                        (("its last screen:", "dim"),),
                        *(((line.expandtabs(8), ""),) for line in text.split("\n")),
                    ]
        return self._lines

    def _show_events(self, body: Scrolled, stage: StageStatus) -> None:
        if stage.attempt is None:
            body.show([(("it has not run yet", "dim"),)])
            return
        if self._tail is None or self._tail.attempt.number != stage.attempt:
            self._tail = Tail(self.attempt_of(stage), MOST_BYTES)
            self._told_events = []
        new = self._tail.read()
        first = not self._told_events
        if new or first:
            self._told_events = [*self._told_events, *new][-MOST_EVENTS:]
            wide = body.size.width >= WIDE_EVENTS
            body.show(_Lines(self._told_events, lambda event: self._event_line(event, wide=wide)), tail=True, columns=LONGEST_EVENT)  # fmt: skip
        if first:
            body.end()

    def _event_line(self, event: Event, *, wide: bool) -> Line:
        # A journal has no secrets of its run's environment; ours may have others.
        return desk.event_line(event, f"{self.following.config.root}/", wide=wide, redact=self._redact)

    def _show_details(self, body: Scrolled, stage: StageStatus) -> None:
        told = self._details[1] if self._details[0][:1] == (stage.name,) else None
        if told is None and self._reading:
            body.show([(("…", "dim"),)])
            return
        plain = self._plain(stage)
        width = max(10, body.room)
        key = (self.tab, stage.name, width, self._details[0], stage.state)
        if plain is None or key == self._body:
            return
        self._body = key
        if self.tab == PROMPT:
            lines = desk.prompt(told)
        elif self.tab == FILES:
            lines = desk.files(self._targets(plain), told)
        elif self.tab == CHECK:
            checks = [plain.command] if plain.command is not None else [*plain.checks]
            lines = desk.check(checks, told, stage.about if stage.state == record.FAILED else "")
        else:
            lines = desk.messages(told)
        body.show(desk.wrapped(lines, width))

    def _targets(self, stage: Stage) -> list[tuple[str, int | None]]:
        found: list[tuple[str, int | None]] = []
        for name in stage.targets:
            try:
                found.append((name, os.stat(self.following.config.root / name).st_size))
            except OSError:
                found.append((name, None))
        return found

    def _plain(self, stage: StageStatus) -> Stage | None:
        return next((each for each in self.following.config.stages if each.name == stage.name), None)

    def attempt_of(self, stage: StageStatus) -> Attempt:
        return Attempt(StageLog(self.following.config.root / STATE_DIR, stage.name), stage.attempt or 0)

    def _read(self, stage: StageStatus) -> None:
        """Read prompts, files and messages of the chosen stage, if there may be others by now."""
        key = (stage.name, stage.attempt, stage.state, self.following.counts().get(stage.name))
        plain = self._plain(stage)
        if plain is None or self._reading or self._details[0] == key:
            return
        if self._details[0][:3] == key[:3] and time.monotonic() - self._read_at < READ_SECONDS:
            return
        self._reading = True
        self._read_details(key, plain, self.following.config)

    @work(exclusive=False)
    async def _read_details(self, key: tuple[object, ...], stage: Stage, config: Config) -> None:
        told = None
        try:
            told = await asyncio.to_thread(
                latest, config, stage, self.desk.started, live=self.desk.run.live, redact=self._redact
            )
        except OSError as error:
            self.told(f"{stage.name}: {error.strerror}", severity="error")
        finally:
            self._reading, self._read_at = False, time.monotonic()
        self._details = (key, told)
        self._fill()

    # -- the worker's screen

    def _look_over_its_shoulder(self, stage: StageStatus | None) -> None:
        """Follow this stage's screen, and no other."""
        wanted = (stage.name, stage.in_tmux) if stage is not None and stage.in_tmux else None
        if wanted == self._screen_of:
            return
        self._screen_of, self._screen = wanted, None
        if self._mirror is not None:
            self._mirror.cancel()
            self._mirror = None
        if wanted is not None:
            self._mirror = self._mirror_it(wanted)

    @work(exclusive=False)
    async def _mirror_it(self, wanted: tuple[str, str | None]) -> None:
        await asyncio.sleep(REST_SECONDS)
        try:
            tmux, session = await asyncio.to_thread(self.session_of, wanted[0])
        except DodoClaudeError as error:
            self._seen(wanted, str(error))
            return
        await mirror.follow(tmux.server.following(session), session, lambda text: self._seen(wanted, text))

    def session_of(self, name: str) -> tuple[Tmux, str]:
        """The tmux server and the session's id of a stage's worker."""
        config = self.following.config
        wanted = next((stage.session for stage in config.stages if stage.name == name), "")
        tmux = project.project_tmux(config)
        session, mark = tmux.server.sessions().get(wanted, ("", ""))
        if not mark:
            raise DodoClaudeError(f"'{name}': has no session in tmux now")
        return tmux, session

    def _seen(self, wanted: tuple[str, str | None], text: str) -> None:
        if self._screen_of == wanted:
            self._screen = painted(clean_screen(self._redact.text(text)))
            self._fill()

    # -- keys: what is shown

    def action_choose(self, step: int) -> None:
        if self._shown:
            at = self._shown.index(self.chosen) if self.chosen in self._shown else 0
            self._choose(self._shown[max(0, min(len(self._shown) - 1, at + step))])
            self.paint()

    def action_next_for_me(self) -> None:
        found = desk.next_for_a_person(self.desk, self._shown, self.chosen)
        if found is None:
            self.told("nobody waits for you, and nothing failed")
        else:
            self._choose(found)
            self.paint()

    @work
    async def action_filter(self) -> None:
        before = self.words
        about: list[Line] = [
            (("show only: ", "bold"), ("words of names, or a state: running, failed, …", ""))
        ]
        box = Say(about, before, self._filtered)
        box.add_class("low")  # the list is seen while it is typed
        found = await self.push_screen_wait(box)
        self._filtered(before if found is None else found)

    def _filtered(self, words: str) -> None:
        self.words = words.strip()
        self._list()
        self.paint()

    def action_all(self) -> None:
        if self.words:
            self._filtered("")
        elif self._zoomed:
            self.action_zoom()

    def action_tab(self, name: str) -> None:
        if name != self.tab:
            self.tab, self._body = name, ()
            self._tail = None
            self._main_body().begin()
            self.paint()

    def action_turn(self, step: int) -> None:
        self.action_tab(desk.TABS[(desk.TABS.index(self.tab) + step) % len(desk.TABS)])

    def action_scroll_body(self, step: int) -> None:
        body = self._main_body()
        body.shift(step * max(1, body.size.height - 2))

    def action_scroll_sideways(self, step: int) -> None:
        self._main_body().shift(right=step * 20)

    def action_zoom(self) -> None:
        self._zoomed = not self._zoomed
        self._lay_out()
        self.call_after_refresh(self.paint)

    def action_help(self) -> None:
        self.push_screen(Sure(keys.help_lines(box_width(self))))

    @on(Clicked)
    def _on_clicked(self, event: Clicked) -> None:
        if event.widget.id == "list" and 0 <= event.y < len(self._shown):
            self._choose(self._shown[event.y])
            self.paint()
        places = {"tabs": self._tabs, "foot": self._keys}.get(event.widget.id or "", [])
        for start, end, name in places:
            if start <= event.x < end:
                if event.widget.id == "tabs":
                    self.action_tab(name)
                else:
                    self.simulate_key({"/": "slash", "?": "question_mark", "esc": "escape"}.get(name, name))

    # -- keys: what is done

    def action_act(self, name: str) -> None:
        """Do what `acts.ACTS` has under that name to the chosen stage."""
        if self._may() and self.stage is not None:
            self.run_worker(ACTS[name](self._acts, self.stage))

    def action_attach(self) -> None:
        if self.is_web and self._may():
            self.told("attach works in a terminal: dodo-claude dashboard, or dodo-claude attach NAME")
        elif not self.is_web:
            self.action_act("attach")

    @work
    async def action_run_all(self) -> None:
        if not self._may():
            return
        if self.desk.run.live:
            self.told("a run is in progress")
        else:
            await self._acts.orchestrate()

    def pop_screen(self) -> AwaitComplete:
        """Textual's; once no dialog is there, with what was told meanwhile."""
        popped = super().pop_screen()
        if len(self.screen_stack) == 1:
            later, self._later = self._later, []
            for text, severity in later:
                self.told(text, severity=severity)
        return popped

    def told(self, text: str, *, severity: Any = "information") -> None:
        lines = clean_text(text).split("\n")
        if len(lines) > MOST_LINES:  # too much to be read while it is there
            self.push_screen(Sure([((line.expandtabs(4), ""),) for line in lines]))
            return
        if len(self.screen_stack) > 1:  # a notice would lie over the dialog
            self._later.append((text, severity))
            return
        self.notify(
            clean_text(text), severity=severity, markup=False, timeout=10 if severity == "error" else 5
        )

    async def do(self, what: Callable[[], str]) -> None:
        """Something that looks at files or asks tmux; what came of it is said."""
        with self.said():
            self.told(await asyncio.to_thread(what))
        self._details = ((), self._details[1])  # there may be another message
        self._fill()

    @contextlib.contextmanager
    def said(self) -> Iterator[None]:
        """A fault is told, and no end of the app."""
        try:
            yield
        except DodoClaudeError as error:
            self.told(str(error), severity="error")
        except OSError as error:
            self.told(f"{error.filename or ''}: {error.strerror}", severity="error")

    def _may(self) -> bool:
        if self.shows_only:
            self.told("this one only shows: what is done is done in a terminal (dodo-claude dashboard)")
        return not self.shows_only


def _columns(line: Line | Strip) -> int:
    return line.cell_length if isinstance(line, Strip) else sum(len(text) for text, _ in line)


def show() -> Dashboard:
    """Until the user leaves, or their terminal goes: without it Textual would look for keys without end.

    Raises `DodoClaudeError` where there is no terminal: nobody could press the key for that.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which `nohup` has ignored
    app = Dashboard()
    # Where Textual reads keys, and where it draws; a browser's app has pipes.
    if "TEXTUAL_DRIVER" not in os.environ and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise DodoClaudeError("dashboard: needs a terminal (run it in one, or with --web for a browser)")
    app.alone = True
    app.run()
    return app
