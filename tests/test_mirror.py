"""A worker's screen: what is left of its bytes, and that a change is told without asking again and again."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude import mirror
from dodo_claude.panes import painted
from tests.project import PATIENCE


@pytest.mark.parametrize(
    ("screen", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[38:2::1:2:3mx\x1b[38;5;7my", "\x1b[38:2::1:2:3mx\x1b[38;5;7my"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1b]52;c;aGk=\x07b\x1b]9;x", "ab"),
        ("a\x1b[2J\x1b[10;10Hb\x9b2Jc", "ab2Jc"),
        ("\x0elqk\x0f \x0ex", "┌─┐ │"),
        ("\x1bPq#0~\x1b\\a\x1b_x\x1b\\b\x1bc\x1b", "ab"),
        ("\u202eabc\u2066", "abc"),
        ("[bold]x[/bold]\ttab\r\n", "[bold]x[/bold]    tab\n"),
    ],
)
def test_only_colours_are_left(screen: str, shown: str) -> None:
    assert mirror.cleaned(screen) == shown


@given(st.text(st.sampled_from("\x1b[]m;0;31\\\x07\x9b\x90P^_(Ba\x0e\x0f\n")))
def test_nothing_else_is_ever_left(screen: str) -> None:
    found = mirror.cleaned(screen)
    plain = mirror._COLOURS.sub("", found).replace("\n", "")
    assert plain.isprintable()
    for strip in painted(found):
        assert strip.text.isprintable()
        assert all(segment.style is None or segment.style.link is None for segment in strip)


def test_colours_are_painted_and_markup_is_text() -> None:
    first, second = painted("\x1b[31mred\x1b[0m [bold]x[/bold]\nnext\n\n")
    assert first.text == "red [bold]x[/bold]"
    assert [segment.style.color.name for segment in first if segment.style and segment.style.color] == [
        "color(1)"
    ]
    assert second.text == "next"


@pytest.mark.tmux
def test_a_screen_is_told_of_when_it_changes_and_its_end_ends_it(tmp_path: Path, runtime: Path) -> None:
    socket = runtime / "s"
    gate = tmp_path / "gate"
    program = f"printf 'one\\n'; until [ -e {gate} ]; do sleep 0.02; done; printf '\\033[32mtwo\\033[0m\\n'; until [ -e {gate}2 ]; do sleep 0.02; done"
    subprocess.run(["tmux", "-f", "/dev/null", "-S", str(socket), "new-session", "-d", "-x", "40", "-y", "9", program], check=True)  # fmt: skip
    seen: list[str] = []

    def shown(screen: str) -> None:
        seen.append(mirror.cleaned(screen))
        if "one" in screen:
            gate.touch()
        if "two" in screen:
            Path(f"{gate}2").touch()

    client = ["tmux", "-u", "-S", str(socket), "-C", "attach-session", "-f", "ignore-size", "-t", "$0"]
    asyncio.run(asyncio.wait_for(mirror.follow(client, "$0", shown), PATIENCE))
    assert seen[0].strip() in ("", "one")
    assert "\x1b[32mtwo" in seen[-1]
    assert len(seen) <= 4  # it was not asked while nothing happened
