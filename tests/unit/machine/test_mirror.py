"""A worker's screen: what is left of its bytes, and that a change is told without asking again and again."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from dodo_claude.dashboard.panes import painted
from dodo_claude.machine import mirror
from dodo_claude.text.clean import clean_screen
from tests.project import PATIENCE


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
        seen.append(clean_screen(screen))
        if "one" in screen:
            gate.touch()
        if "two" in screen:
            Path(f"{gate}2").touch()

    client = ["tmux", "-u", "-S", str(socket), "-C", "attach-session", "-f", "ignore-size", "-t", "$0"]
    asyncio.run(asyncio.wait_for(mirror.follow(client, "$0", shown), PATIENCE))
    assert seen[0].strip() in ("", "one")
    assert "\x1b[32mtwo" in seen[-1]
    assert len(seen) <= 4  # it was not asked while nothing happened
