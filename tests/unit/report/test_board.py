"""The board as text: what is shown of each stage, what fits, what is left; no terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.report import board
from dodo_claude.report.board import Board, Row, Told, in_order, lines, row, time_left
from dodo_claude.report.record import STATES
from dodo_claude.state.events import Ask, State, View
from dodo_claude.text.cells import cells, clip, clock, count, fill


def text(shown: Board, width: int = 80, height: int = 24) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines(shown, width, height)]


WORKS = View(state=State.RUNNING, pane="%1", activity="Edit api.py", percent=60, progress="handlers done")


def test_a_small_run_is_shown_whole() -> None:
    needs = {"tests": ("backend", "frontend")}
    rows = (
        row("backend", Told(began=10.0, view=WORKS), (), 52.0, (12_345, 0.0312)),
        row(
            "frontend",
            Told(began=10.0, view=View(state=State.BLOCKED, pane="%2", blocked_on="Bash make")),
            (),
            23.0,
        ),
        row("tests", Told(), needs["tests"], 52.0),
        row("docs", Told("done", 0.0, 9.0, view=WORKS), (), 52.0, (900, None)),
        row("old", Told("up to date"), (), 52.0),
    )
    shown = Board("profile", rows, 52.0, left=130.0, tokens=13_245, cost=0.0312)
    assert text(shown, 100) == [
        "── profile · 2 of 5 done · 2 at work · 1 for you · 0:52 · about 2 min left · 13k tokens · $0.03",
        "backend   running       0:42  60%   12k   $0.03  handlers done  Edit api.py",
        "frontend  blocked       0:13                     Bash make",
        "tests     waiting                                for backend, frontend",
        "docs      done          0:09        900",
        "old       up to date",
    ]


@pytest.mark.parametrize(
    ("told", "needs", "expected"),
    [
        (Told(), ("a", "b"), Row("x", "waiting", what="for a, b")),
        (Told(), (), Row("x", "waiting", what="for a free worker")),
        (Told(began=1.0), (), Row("x", "running", 4.0, what="starts")),
        (Told(began=1.0, view=View(activity="waits for memory: 1 MB free")), (), Row("x", "waiting", 4.0, what="waits for memory: 1 MB free")),
        (Told(began=1.0, view=View(state=State.IDLE, pane="%1", activity="its check runs")), (), Row("x", "idle", 4.0, what="its check runs")),
        (Told(began=1.0, tries=2, view=WORKS), (), Row("x", "running", 4.0, 60, what="attempt 2  handlers done  Edit api.py")),
        (Told(began=1.0, view=View(state=State.RUNNING, pane="%1", asks=(Ask("1", "SQLite?", 0.0),))), (), Row("x", "asks", 4.0, what="SQLite?")),
        (Told("failed", 1.0, 3.0, view=WORKS), (), Row("x", "failed", 2.0)),
    ],
)  # fmt: skip
def test_a_stage_in_its_row(told: Told, needs: tuple[str, ...], expected: Row) -> None:
    assert row("x", told, needs, 5.0) == expected


def test_what_was_stopped_before_it_began_says_so() -> None:
    assert row("x", Told(), ("a",), 5.0, stopped="stopped by you\n") == Row(
        "x", "stopped", what="stopped by you"
    )
    begun = row("x", Told(began=1.0), (), 5.0, stopped="stopped by you")
    assert begun == Row("x", "running", 4.0, what="starts")


def test_a_command_has_no_pane_to_wait_for() -> None:
    told = Told(began=1.0, view=View(activity="make -j4"))
    assert row("x", told, (), 5.0, worker=False) == Row("x", "running", 4.0, what="make -j4")


def test_of_many_stages_those_under_way_and_a_sum() -> None:
    rows = [Row(f"map:{number:03}", "waiting", what="for a free worker") for number in range(200)]
    rows[:50] = [Row(each.name, "done", 3.0) for each in rows[:50]]
    rows[20] = Row("map:020", "failed", 2.0)
    rows[60:64] = [Row(each.name, "running", 1.0, what="thinking") for each in rows[60:64]]
    rows[150] = Row("map:150", "blocked", 1.0, what="Bash make")
    found = text(Board("big", tuple(rows), 100.0))
    assert found[0] == "── big · 49 of 200 done · 5 at work · 1 for you · 1 failed · 1:40"
    assert [line.split()[0] for line in found[1:-1]] == [
        "map:020",
        *(f"map:{n:03}" for n in range(60, 64)),
        "map:150",
    ]
    assert found[-1] == "… 145 waiting, 49 done"


def test_who_needs_a_person_is_never_cut_off() -> None:
    rows = [Row(f"s{number}", "running", 1.0) for number in range(100)]
    rows[99] = Row("s99", "asks", 1.0, what="SQLite?")
    found = text(Board("big", tuple(rows), 1.0), height=10)
    assert len(found) == 8
    assert found[-2].startswith("s99  asks")
    assert found[-1] == "… 94 running"


def test_what_holds_all_is_said_above() -> None:
    found = text(
        Board("p", (Row("a", "paused", 1.0),), 1.0, notice="a limit: all workers wait until 14:30:00")
    )
    assert found[1] == "a limit: all workers wait until 14:30:00"


def test_on_a_narrow_terminal_the_numbers_go_first() -> None:
    one = Row("a-stage-of-a-long-name", "running", 61.0, 60, 12_345, 1.25, "Edit some/file.py")
    assert text(Board("p", (one,), 1.0), 100)[1].endswith("1:01  60%   12k   $1.25  Edit some/file.py")
    narrow = text(Board("p", (one,), 1.0), 44)[1]
    assert "$1.25" not in narrow
    assert "Edit some" in narrow


ROWS = st.builds(
    Row,
    name=st.text(max_size=40).map(lambda text: "".join(char for char in text if char.isprintable()) or "n"),
    state=st.sampled_from(sorted({*STATES, *board.LOOKS})),
    seconds=st.none() | st.floats(0, 1e6),
    percent=st.none() | st.integers(0, 100),
    tokens=st.integers(0, 10**9),
    cost=st.none() | st.floats(0, 1e4),
    what=st.text(max_size=200).map(lambda text: "".join(char for char in text if char.isprintable())),
)


@given(st.lists(ROWS, max_size=60), st.integers(0, 200), st.integers(0, 60), st.none() | st.floats(0, 1e5))
def test_it_always_fits(rows: list[Row], width: int, height: int, left: float | None) -> None:
    found = text(Board("名前", tuple(rows), 1.0, left, 5, 0.5, "a limit"), width, height)
    assert len(found) <= height
    assert all(cells(line) <= width for line in found)


# -- the graph and the past


def test_the_graphs_order_is_the_files_where_it_can_be() -> None:
    needs = {"tests": ("backend", "frontend"), "frontend": ("contract",), "backend": ("contract",)}
    assert in_order(["tests", "frontend", "backend", "contract", "alone"], needs) == [
        "contract", "backend", "frontend", "tests", "alone",
    ]  # fmt: skip
    assert in_order(["a", "b"], {"a": ("b",), "b": ("a",)}) == ["b", "a"]
    chain = [f"s{number}" for number in range(3000)]
    assert in_order(chain[::-1], {f"s{n}": (f"s{n - 1}",) for n in range(1, 3000)}) == chain


def test_the_time_left_is_that_of_the_longest_path_or_of_all_the_work() -> None:
    order, needs = ["a", "b", "c"], {"c": ("a", "b")}
    past = {"a": 60.0, "b": 20.0, "c": 30.0}
    assert time_left(order, needs, {}, past, 4, 0.0) == 90.0
    assert time_left(order, needs, {}, past, 1, 0.0) == 110.0
    told = {"a": Told(began=0.0), "b": Told("done", 0.0, 20.0)}
    assert time_left(order, needs, told, past, 4, 45.0) == 45.0
    # What takes longer than last time may end at any moment; a new stage takes what is usual.
    assert time_left(order, needs, told, past, 4, 100.0) == 30.0
    assert time_left(["new"], {}, {}, past, 4, 0.0) == 30.0
    assert time_left(order, needs, {}, {}, 4, 0.0) is None


def test_texts_in_columns() -> None:
    assert [clock(each) for each in (0, 7.9, 62, 3723)] == ["0:00", "0:07", "1:02", "1:02:03"]
    assert [count(each) for each in (950, 12_345, 999_499, 999_500, 3_400_000)] == [
        "950",
        "12k",
        "999k",
        "1.0M",
        "3.4M",
    ]
    assert clip("日本語", 5) == "日本…"
    assert clip("日本語", 4) == "日…"
    assert clip("abc", 3) == "abc"
    assert fill("日本語", 5) == "日本…"
    assert fill("ab", 4) == "ab  "
