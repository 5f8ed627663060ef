"""The live rows, as values."""

from __future__ import annotations

import re

import pytest

from dodo_claude.agents.scripted.screen import View, columns, render


@pytest.mark.parametrize("width", [4, 10, 40, 120])
def test_no_live_row_is_wider_than_the_window(width: int) -> None:
    dialog = ("Do you want to proceed?", " ❯ 1. Yes")
    for view in (
        View(
            box="a long prompt, 漢字 " * 9,
            busy="✽ Playing… (3s)",
            footer="  esc to interrupt",
            queued=("later",),
        ),
        View(footer="  manual mode on", dialog=dialog),
        View(placeholder="Once fixed, resend your message"),
    ):
        rows = render(view, width, 24)
        assert len(rows) <= 23
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in rows]
        assert max(columns(row) for row in plain) <= max(width - 1, 5)


def test_render_idle() -> None:
    assert render(View(box="hi", footer="  manual mode on"), 20, 24) == [
        *("", "─" * 19, "❯\xa0hi\x1b[7m \x1b[0m", "─" * 19, "  manual mode on")
    ]


@pytest.mark.parametrize(
    ("view", "row"),
    [
        (View(focused=False), "❯\xa0"),
        (View(focused=False, box="hi"), "❯\xa0hi"),
        (View(placeholder="Go on"), "❯\xa0\x1b[7mG\x1b[0;2mo on\x1b[0m"),
        (View(focused=False, placeholder="Go on"), "❯\xa0\x1b[2mGo on\x1b[0m"),
    ],
)
def test_without_the_focus_there_is_no_cursor(view: View, row: str) -> None:
    assert render(view, 20, 24)[2] == row
