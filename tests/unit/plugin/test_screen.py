"""The painter: what it writes to a terminal, how often, and that it stays below what is printed."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from dodo_claude.machine.question import Above
from dodo_claude.plugin.screen import ECHO, Screen
from dodo_claude.report.board import Line


class Paper(io.StringIO):
    """What a terminal shows of what was written: its lines, as the cursor moves over them."""

    @property
    def shown(self) -> list[str]:
        rows, at, column = [""], 0, 0
        for token in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\x1b\][^\x1b]*\x1b\\|[^\x1b]", self.getvalue()):
            if token == "\n":
                at, column = at + 1, 0
                rows += [""] * (at + 1 - len(rows))
            elif token == "\r":
                column = 0
            elif token.endswith("A") and token[0] == "\x1b":
                at -= int(token[2:-1])
                assert at >= 0, "the cursor was moved above the first line"
            elif token == "\x1b[K":
                rows[at] = rows[at][:column]
            elif token[0] != "\x1b":
                rows[at] = rows[at][:column] + token + rows[at][column + 1 :]
                column += 1
        while len(rows) > at + 1 and not rows[-1]:
            rows.pop()
        return rows


@pytest.fixture(autouse=True)
def _size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dodo_claude.plugin.screen.size_of", lambda stream: (40, 20))
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def board() -> list[Line]:
    return [(("p", "bold"), (" · 1 of 2", "")), (("a  running", "cyan"),)]


@pytest.fixture
def screen(board: list[Line]) -> Iterator[tuple[Screen, Paper]]:
    paper = Paper()
    made = Screen(paper, lambda width, height: list(board))
    until(lambda: made.paints >= 1)
    yield made, paper
    made.close()


def until(what: object) -> None:
    deadline = time.monotonic() + 20
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_lines_go_above_and_the_end_takes_it_away(screen: tuple[Screen, Paper], board: list[Line]) -> None:
    made, paper = screen
    assert paper.shown == ["p · 1 of 2", "a  running"]
    made.above("one\n")
    made.above("tw")
    made.above("o\nthree\n")
    assert paper.shown == ["one", "two", "three", "p · 1 of 2", "a  running"]
    board[:] = [(("p · 2 of 2", ""),)]
    made.changed()
    until(lambda: paper.shown[-1] == "p · 2 of 2")
    assert paper.shown == ["one", "two", "three", "p · 2 of 2"]
    made.above("half")
    made.close()
    made.close()
    assert paper.shown == ["one", "two", "three", "half"]
    made.above(" of it\n")
    assert paper.shown[:4] == ["one", "two", "three", "half of it"]


def test_nothing_is_painted_when_nothing_changed(
    screen: tuple[Screen, Paper], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, paper = screen
    before = paper.getvalue()
    monkeypatch.setattr("dodo_claude.plugin.screen.CLOCK_SECONDS", 0.26)
    for _ in range(4):
        made.changed()
        made.paint()
    time.sleep(0.6)  # two of its own looks
    assert paper.getvalue() == before
    assert made.paints == 1


def test_between_two_pictures_passes_a_moment_however_much_changes(
    board: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    paper, drawn = Paper(), []
    first = threading.Event()
    monkeypatch.setattr("dodo_claude.plugin.screen.PAINT_SECONDS", 1e6)

    def draw(width: int, height: int) -> list[Line]:
        drawn.append((width, height))
        first.set()
        return [((f"{len(drawn)}", ""),)]

    made = Screen(paper, draw)
    assert first.wait(20)
    for _ in range(1000):
        made.changed()
    made.close()
    assert drawn == [(39, 19)]


def test_a_ctrl_c_that_the_terminal_shows_is_wiped_with_the_board(
    screen: tuple[Screen, Paper], board: list[Line]
) -> None:
    made, paper = screen
    board[:] = [(("p", ""),), (("a  running  " + "x" * 60, ""),)]
    made.paint()
    assert len(paper.shown[-1]) == 39 - ECHO
    paper.write("^C^C")
    made.above("SIGINT: stopping\n")
    assert paper.shown[:2] == ["SIGINT: stopping", "p"]
    made.close()
    assert paper.shown == ["SIGINT: stopping", ""]


def test_while_somebody_is_asked_all_is_still(screen: tuple[Screen, Paper], board: list[Line]) -> None:
    made, paper = screen
    made.above("one\nhal")
    made.hold()
    assert paper.shown == ["one", ""]
    made.above("f\ntwo\n")
    board[:] = [(("p · 2 of 2", ""),)]
    made.changed()
    made.paint()
    paper.write("Run it? [y/N] y\n")
    assert paper.shown == ["one", "Run it? [y/N] y", ""]
    made.go_on()
    until(lambda: paper.shown[-1] == "p · 2 of 2")
    assert paper.shown == ["one", "Run it? [y/N] y", "half", "two", "p · 2 of 2"]
    made.hold()
    made.above("three\n")
    made.close()  # nothing is lost
    assert paper.shown[-2:] == ["three", ""]


def test_one_that_begins_while_somebody_is_asked(board: list[Line]) -> None:
    paper = Paper()
    made = Screen(paper, lambda width, height: list(board), held=True)
    made.above("one\n")
    made.paint()
    assert paper.getvalue() == ""
    made.go_on()
    until(lambda: made.paints)
    made.close()
    assert paper.shown == ["one", ""]


def test_a_smaller_terminal_gets_a_smaller_board(screen: tuple[Screen, Paper], board: list[Line], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    made, paper = screen
    board[:] = [(("p", ""),)]
    monkeypatch.setattr("dodo_claude.plugin.screen.size_of", lambda stream: (10, 3))
    made.above("one\n")
    assert paper.getvalue().endswith("a  running\x1b[0m\r\x1b[K\x1b[1A\x1b[Kone\np")
    board[:] = [(("twelve columns", ""),)]
    made.above("two\n")  # it stands there as it is
    monkeypatch.setattr("dodo_claude.plugin.screen.size_of", lambda stream: (40, 20))
    made.paint()
    monkeypatch.setattr("dodo_claude.plugin.screen.size_of", lambda stream: (5, 20))
    made.above("three\n")  # by then it took three rows
    assert "\r\x1b[K\x1b[1A\x1b[K\x1b[1A\x1b[Kthree" in paper.getvalue()


def test_a_stream_above_is_a_stream(screen: tuple[Screen, Paper]) -> None:
    made, paper = screen
    stream = Above(sys.__stdout__, made.above)  # type: ignore[arg-type]
    print("by a task", file=stream)  # type: ignore[call-overload]
    stream.flush()
    assert paper.shown[0] == "by a task"
    assert stream.encoding
    made.plain("\a")
    assert paper.shown[0] == "by a task"
