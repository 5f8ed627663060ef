"""Texts of strangers, before they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.dashboard.panes import painted
from dodo_claude.text import clean
from dodo_claude.text.clean import clean_line, clean_screen, clean_text, one_line, shortened, without_controls

SHOWN = {
    "plain é 😀\n\ttab": "plain é 😀\n\ttab",
    "\x1b[1;31mred\x1b[0m": "red",
    "\x1b[?25l\x1b[2J\x1b[10;20Hat": "at",
    "\x1b]0;title\x07a\x1b[2Jb\rc": "abc",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1b]52;c;aGk=\x07": "",
    "\x1b]9;without an end": "9;without an end",
    "\x1bPq#0~\x1b\\a\x1b_x\x1b\\b\x1bc\x1b": "ab",
    "\x1bM\x1b7up\x1b(Bs": "ups",
    "\x9b31mC1\x9d0;t\x9c": "31mC10;t",
    "a\r\nb\rc\0\x07\x08\x7f": "a\nbc",
    "\x1b[201~\rrm": "rm",
    "\x1b\x1b[0m[201~": "[201~",
    "evil \u202etxt.exe\u2066": "evil txt.exe",
    "zero\u200b width\ufeff \U000e0041tag": "zero width tag",
    "日本 é 👩\u200d💻 ن\u200cم": "日本 é 👩\u200d💻 ن\u200cم",
    "half \ud83d of one": "half ? of one",
}
# Signs that sequences are made of, and those that turn a text.
SIGNS = st.text(st.sampled_from("\x1b[]0;1m\x07\\\x9b\x90\r\n\tab~P^_(B\x0e\x0f\u202e\u2066\ud800é"))


@pytest.mark.parametrize("text", SHOWN, ids=repr)
def test_a_text_keeps_what_can_be_read(text: str) -> None:
    assert clean_text(text) == SHOWN[text]


@given(SIGNS | st.text(st.characters(exclude_categories=[])))
def test_nothing_acts_on_a_terminal_whatever_the_text(text: str) -> None:
    for found in (clean_text(text), clean_line(text), without_controls(text)):
        assert not [c for c in found if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
    found = clean_text(text)
    found.encode()
    assert clean_text(found) == found
    assert not {*"\u202e\u2066\u200b"} & {*found}
    assert not {*"\n\t"} & {*clean_line(text)}
    assert one_line(text).isprintable()


def test_a_name_shows_each_of_its_characters() -> None:
    assert one_line("größe 10 µs …") == "größe 10 µs …"
    assert one_line("a\n\x1b[2J\u202e\udc80") == "a\\n\\x1b[2J\\u202e\\udc80"


def test_a_line_has_single_blanks() -> None:
    assert clean_line(" a\n\n\tb \x1b[31m c\u2028d ") == "a b cd"


def test_what_a_model_is_given_keeps_what_is_not_shown() -> None:
    assert without_controls("שלום\u200f \x1b[31mx\x07") == "שלום\u200f x"


def test_the_end_of_a_long_text_is_counted() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("x" * 12_000, 5) == "xxxxx… (11,995 more characters)"


# -- screens


@pytest.mark.parametrize(
    ("screen", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[38:2::1:2:3mx\x1b[38;5;7my", "\x1b[38:2::1:2:3mx\x1b[38;5;7my"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1b[2J\x1b[10;10Hb\x9b2Jc", "ab2Jc"),
        ("\x0elqk\x0f \x0ex", "┌─┐ │"),
        ("\u202eabc\u2066", "abc"),
        ("[bold]x[/bold]\ttab\r\n", "[bold]x[/bold]    tab\n"),
    ],
)
def test_of_a_screen_only_colours_are_left(screen: str, shown: str) -> None:
    assert clean_screen(screen) == shown


@given(st.text(st.sampled_from("\x1b[]m;0;31\\\x07\x9b\x90P^_(Ba\x0e\x0f\n")))
def test_nothing_but_colours_is_ever_left(screen: str) -> None:
    found = clean_screen(screen)
    plain = clean._COLOURS.sub("", found).replace("\n", "")
    assert plain.isprintable()
    for strip in painted(found):
        assert strip.text.isprintable()
        assert all(segment.style is None or segment.style.link is None for segment in strip)
