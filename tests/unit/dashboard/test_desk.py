"""What the dashboard shows, as lines: states, the graph's edges, columns at each width, keys; texts that would act."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.dashboard import desk, keys
from dodo_claude.dashboard.desk import Desk
from dodo_claude.report.board import Line
from dodo_claude.report.details import Change, Details, Excerpt, Remark
from dodo_claude.report.status import RunStatus, StageStatus
from dodo_claude.state.events import Ask, Event, State, View
from dodo_claude.text.cells import cells
from dodo_claude.text.states import NOW
from tests.samples.evil import EVIL

RUN = RunStatus("r-7", True, 7, None, None, None)


def stage(name: str, state: str = "running", **keys: object) -> StageStatus:
    plain = StageStatus(
        name=name, group=None, agent="claude", state=state, about="", activity="", percent=None, progress="", seconds=0.0,
        tokens=0, cost_usd=None, attempt=None, tmux=f"p-{name}", in_tmux=None, session_id=None, waits_for=(), request=None,
    )  # fmt: skip
    return replace(plain, **keys)  # type: ignore[arg-type]


def a_desk(*stages: StageStatus, needs: dict[str, tuple[str, ...]] | None = None, **keys: object) -> Desk:
    return Desk("p", RUN, {each.name: each for each in stages}, needs or {}, **keys)  # type: ignore[arg-type]


def plain(line: Line) -> str:
    return "".join(text for text, _ in line)


def plains(lines: list[Line]) -> list[str]:
    return [plain(line).rstrip() for line in lines]


# -- how a stage is


def test_a_worker_at_work_is_told_by_its_view() -> None:
    view = View(state=State.RUNNING, pane="%1", activity="Bash make", percent=40, progress="half")
    told = desk.lived(stage("a", seconds=10.0, tokens=5, cost_usd=0.5), view, 2.0, 7, 0.25)
    assert (told.state, told.activity, told.percent, told.progress) == ("running", "Bash make", 40, "half")
    assert (told.seconds, told.tokens, told.cost_usd) == (12.0, 12, 0.75)
    assert desk.lived(told, View(state=State.BLOCKED, blocked_on="Bash rm")).about == "Bash rm"
    assert desk.lived(told, replace(view, asks=(Ask("q", "a or b?", 9.0),))).state == "asks"


def test_what_has_not_begun_waits_for_what_is_not_done() -> None:
    found = desk.with_waits(
        a_desk(stage("a", "done"), stage("b"), stage("c", "waiting"), needs={"c": ("a", "b", "elsewhere")})
    )
    assert found.stages["c"].waits_for == ("b",)


def test_levels_are_those_of_the_deepest_need() -> None:
    needs = {"b": ("a",), "c": ("a", "b"), "d": ("x",)}
    assert desk.levels(["a", "b", "c", "d"], needs) == {"a": 0, "b": 1, "c": 2, "d": 0}


def test_the_filter_takes_words_of_names_groups_and_states() -> None:
    shown = a_desk(stage("work:api", group="work"), stage("work:ui", "failed", group="work"), stage("docs"))
    assert desk.matching(shown, "") == ["work:api", "work:ui", "docs"]
    assert desk.matching(shown, "API") == ["work:api"]
    assert desk.matching(shown, "failed") == ["work:ui"]
    assert desk.matching(shown, "work failed") == ["work:ui"]
    assert desk.matching(shown, "nothing") == []


def test_who_waits_for_a_person_is_found_round_and_round() -> None:
    shown = a_desk(stage("a", "asks"), stage("b"), stage("c", "blocked"), stage("d", "failed"))
    names = [*shown.stages]
    assert desk.first_to_see(shown, names) == "a"
    assert desk.next_for_a_person(shown, names, "a") == "c"
    assert desk.next_for_a_person(shown, names, "c") == "a"
    calm = a_desk(stage("a"), stage("d", "failed"))
    assert desk.next_for_a_person(calm, [*calm.stages], "a") == "d"
    assert desk.next_for_a_person(a_desk(stage("a")), ["a"], "a") is None
    assert desk.first_to_see(a_desk(stage("a", "done")), ["a"]) == "a"
    assert desk.first_to_see(desk.EMPTY, []) is None


# -- the graph


def test_the_edges_of_the_chosen_stage_are_drawn() -> None:
    shown = ["a", "b", "c", "d", "e", "f"]
    needs = {"d": ("a", "c"), "e": ("d",), "f": ("a",)}
    assert desk.edges(shown, needs, "d") == ["╭─", "│ ", "├─", "├▶", "╰─", "  "]
    assert desk.edges(shown, needs, "a") == ["╭▶", "│ ", "│ ", "├─", "│ ", "╰─"]
    assert desk.edges(shown, needs, "e") == ["  ", "  ", "  ", "╭─", "╰▶", "  "]
    assert desk.edges(shown, needs, "b") == ["  ", "▶ ", "  ", "  ", "  ", "  "]
    assert desk.edges(shown, needs, None) == desk.edges(shown, needs, "gone") == ["  "] * 6


def test_a_narrow_row_has_the_name_what_is_to_be_said_and_the_clock() -> None:
    busy = stage("backend", percent=40, seconds=75.0, tokens=1200, cost_usd=0.5, activity="Bash make")
    assert plain(desk.row(busy, 1, "├─", 34)) == "├─ ● backend              40% 1:15"
    waits = stage("tests", "waiting", waits_for=("backend", "frontend"))
    assert plain(desk.row(waits, 0, "  ", 34)).rstrip() == "  · tests  ← backend, frontend"
    asks = stage("ui", "asks", about="Tabs or a side bar, and why?", seconds=9.0)
    assert plain(desk.row(asks, 0, "  ", 34)) == "  ? ui  Tabs or a side bar, and w…"
    failed = stage("lint", "failed", about="exit status 3", seconds=9.0)
    assert plain(desk.row(failed, 0, "  ", 34)) == "  ✗ lint                      0:09"


def test_a_wide_row_has_all() -> None:
    busy = stage("backend", percent=40, seconds=75.0, tokens=1200, cost_usd=0.5, activity="Bash make")
    assert plain(desk.row(busy, 1, "  ", 60)).split() == ["●", "backend", "40%", "1:15", "1k", "$0.50"]
    assert plain(desk.row(busy, 1, "  ", 100)).split() == [
        "●", "backend", "40%", "1:15", "1k", "$0.50", "40", "%", "Bash", "make",
    ]  # fmt: skip


@given(
    st.sampled_from(NOW), st.text(min_size=1), st.text(), st.integers(0, 9), st.integers(4, 130),
    st.floats(0, 1e6), st.integers(0, 10**9), st.none() | st.integers(0, 100),
)  # fmt: skip
def test_a_row_has_exactly_its_columns(
    state: str, name: str, about: str, level: int, width: int, seconds: float, tokens: int, percent: int | None
) -> None:  # fmt: skip
    told = stage(name, state, about=about, seconds=seconds, tokens=tokens, cost_usd=1.0, percent=percent)
    line = desk.row(told, level, "├─", width, is_chosen=True)
    assert sum(cells(text) for text, _ in line) == width


def test_the_head_counts_and_says_what_holds_all() -> None:
    shown = a_desk(stage("a", "done", tokens=1000, cost_usd=0.5), stage("b", tokens=500), stage("c", "blocked"),
                   stage("d", "failed"), started=100.0, notice="a limit: 2 workers wait until 15:00")  # fmt: skip
    assert plains(desk.head(shown, 175.0, 100)) == [
        "── p · 1 of 4 done · 2 at work · 1 for you · 1 failed · 1:15 · 2k tokens · $0.50 · runs",
        "a limit: 2 workers wait until 15:00",
    ]
    over = replace(shown, run=replace(RUN, live=False), ended=110.0, notice="")
    (line,) = plains(desk.head(over, 999.0, 100))
    assert "· 0:10 ·" in line
    assert line.endswith("no run")


def test_the_title_says_what_there_is_to_say() -> None:
    told = stage("ui", "asks", about="Tabs?", attempt=2, seconds=60.0, tokens=1500, in_tmux="running")
    assert plains(desk.title(told, 80)) == ["? ui  asks  attempt 2 · 1:00 · 2k tokens · claude · in tmux", "  Tabs?  attempt 2"]  # fmt: skip
    assert plains(desk.title(stage("ui", "done", attempt=1), 40)) == ["✓ ui  done", "  attempt 1 · claude"]
    assert plains(desk.title(None, 40)) == ["no stage", ""]


@pytest.mark.parametrize("width", [43, 45, 60, 90])
def test_the_tabs_stand_where_they_can_be_clicked(width: int) -> None:
    line, places = desk.tab_bar("files", width)
    text = plain(line)
    assert [text[start:end].split()[-1] for start, end, _ in places] == [*desk.TABS]
    assert [look for piece, look in line if "files" in piece] == ["bold reverse"]


# -- the keys


def test_the_keys_are_those_that_are_of_use() -> None:
    def of(told: StageStatus | None, **known: bool) -> str:
        return "".join(key for key, _ in keys.keys(told, **{"live": True, "attaches": True, "filtered": False, **known}) if len(key) == 1)  # fmt: skip

    assert of(None) == "w/z?q"
    assert of(stage("a", "asks", in_tmux="running")) == "ramicxw/z?q"
    assert of(stage("a", "asks", in_tmux="running"), attaches=False) == "rmicxw/z?q"
    assert of(stage("a", "blocked", in_tmux="running", request="7-1")) == "ynamicxw/z?q"
    assert of(stage("a", "blocked")) == "micxw/z?q"
    assert of(stage("a", "asks", in_tmux="running"), shows_only=True) == "w/z?q"
    assert of(stage("a", "failed")) == "w/z?q"
    assert of(stage("a", "failed"), live=False) == "tTw/z?q"
    assert of(stage("a", agent=None)) == "xw/z?q"


def test_help_and_the_way_out_are_always_there() -> None:
    found = keys.keys(stage("a", "asks", in_tmux="running"), live=True, attaches=True, filtered=True)
    for width in (18, 40, 80, 200):
        line, places = keys.foot(found, width)
        text = plain(line)
        assert text.endswith(" ? help  q quit ")
        assert len(text) <= width
        assert all(text[start:end].split()[0] == key for start, end, key in places)


@pytest.mark.parametrize("width", [40, 76, 100])
def test_the_help_fits(width: int) -> None:
    lines = keys.help_lines(width)
    assert all(len(text) <= width for text in plains(lines))
    assert width < 76 or len(lines) <= 20
    whole = " ".join(" ".join(plains(lines)).split())
    assert all(" ".join(text.split()) in whole for _, text in keys.HELP if width == 100)


def test_every_key_is_in_the_help() -> None:
    helped = [*" ".join(names for names, _ in keys.HELP).split(), "T"]
    assert {key for state in ("asks", "blocked", "failed") for key, _ in keys.keys(stage("a", state, in_tmux="x", request="7-1"), live=False, attaches=True, filtered=False)} - {"1-6"} <= {*helped}  # fmt: skip


# -- the tabs


def test_an_event_is_a_line() -> None:
    event = Event("PreToolUse", 3.0, {"tool_name": "Write", "tool_input": {"file_path": "/w/p/a.py"}})
    assert plain(desk.event_line(event, "/w/p/"))[9:] == "PreToolUse         Write a.py"


def test_files_are_told_with_what_changed() -> None:
    told = Details(
        changes=(Change("a.py", "changed", ("@@ -1 +1 @@", "-old", "+new"), is_diff=True, left_out=3),
                 Change("b.py", "new", ("x",)), Change("c.bin", "new", why="it is no text")),
        files_left_out=2,
    )  # fmt: skip
    lines = desk.files([("a.py", 1234), ("z.py", None)], told)
    assert plains(lines) == [
        "✓ a.py  1,234 bytes", "· z.py  not there", "", "a.py: changed", "@@ -1 +1 @@", "-old", "+new", "… 3 more lines",
        "", "b.py: new", "+x", "", "c.bin: new", "  it is no text", "", "… 2 more files",
    ]  # fmt: skip
    looks = {plain(line): line[-1][1] for line in lines if line}
    assert (looks["-old"], looks["+new"]) == ("red", "green")


def test_checks_prompts_and_messages_are_told() -> None:
    told = Details(prompts=(("prompt", Excerpt("Do it.\nNow.", 7)),), output=Excerpt("1 failed\n"), message=Excerpt("made it"),
                   remarks=(Remark(3.0, "worker", "asks", Excerpt("a or b?")),))  # fmt: skip
    assert plains(desk.prompt(told)) == ["prompt", "Do it.", "Now.", "… 7 more characters"]
    assert plains(desk.check(["make"], told, "exit status 3")) == [
        "$ make",
        "",
        "exit status 3",
        "",
        "1 failed",
        "",
    ]
    assert [line[-20:] for line in plains(desk.messages(told))][-4:] == [
        "a or b?",
        "",
        "its last message",
        "made it",
    ]
    for lines in (desk.prompt(None), desk.files([], None), desk.check([], None), desk.messages(None)):
        assert len(lines) == 1


def test_no_text_from_elsewhere_acts() -> None:
    told = Details(
        prompts=(("prompt", Excerpt(EVIL)),), changes=(Change("a", "new", (EVIL,)),), output=Excerpt(EVIL),
        message=Excerpt(EVIL), remarks=(Remark(1.0, "worker", "says", Excerpt(EVIL)),),
    )  # fmt: skip
    evil = desk.lived(
        stage("a"), View(state=State.RUNNING, pane="%1", activity=EVIL, percent=3, progress=EVIL)
    )
    lines = [
        *desk.prompt(told), *desk.files([(EVIL, 3)], told), *desk.check([EVIL], told, EVIL), *desk.messages(told),
        desk.event_line(Event(EVIL, 1.0, {"text": EVIL})), *desk.title(evil, 300), desk.row(evil, 0, "  ", 300),
        *desk.head(a_desk(evil, notice=EVIL), 1.0, 300),
    ]  # fmt: skip
    whole = "".join(map(plain, lines))
    assert "[bold]x[/bold]" in whole
    assert "title" not in whole
    assert "http:" not in whole
    assert whole.isprintable()


@given(st.lists(st.tuples(st.text("ab ü漢", max_size=40), st.just("bold")), max_size=4), st.integers(2, 30))
def test_wrapped_lines_fit_and_lose_nothing_but_blanks(pieces: list[tuple[str, str]], width: int) -> None:
    found = desk.wrapped([tuple(pieces)], width)
    assert all(sum(cells(text) for text, _ in line) <= width for line in found)
    assert "".join(map(plain, found)).replace(" ", "") == "".join(text for text, _ in pieces).replace(" ", "")
