"""Bytes into keys, and the input box, as values."""

from __future__ import annotations

from dodo_claude.agents.scripted.keys import Box, Keys, clean_paste
from tests.unit.agents.scripted.terminal import CTRL_C, ESC


def test_keys_survive_being_torn() -> None:
    data = f"a{ESC}[O\x1b[200~é\n\x1b[201~\r{ESC}[Ab{ESC}[I{CTRL_C}".encode()
    wanted = [
        *(("text", "a"), ("blur", ""), ("paste", "é\n"), ("enter", "")),
        *(("text", "b"), ("focus", ""), ("ctrl-c", "")),
    ]
    for size in range(1, len(data) + 1):
        keys = Keys()
        got = [key for start in range(0, len(data), size) for key in keys.feed(data[start : start + size])]
        assert got == wanted
    assert keys.feed(b"\x1b") == []
    assert keys.waits
    assert keys.feed(b"", no_more=True) == [("esc", "")]


def test_a_long_typed_run_counts_as_a_paste() -> None:
    assert Keys().feed(b"x" * 801 + b"\r") == [("paste", "x" * 801), ("enter", "")]
    assert Keys().feed(b"1\n2\n3\r") == [("text", "1\n2\n3"), ("enter", "")]


def test_a_placeholder_is_deleted_at_once() -> None:
    box = Box()
    box.text = "see "
    box.paste("1\n2\n3\n4")
    assert box.shown() == "see [Pasted text #1 +3 lines]"
    box.text = box.text[:-1]
    assert (box.shown(), box.sent()) == ("see ", "see")


def test_a_command_gets_a_long_paste_as_it_is() -> None:
    box = Box()
    box.paste("/compact ")  # the blank stays
    box.paste("1\n2\n3\n4\n")
    sent, shown, plain = box.take()
    assert sent.startswith("/compact \n\n<pasted_content ")
    assert (shown, plain) == ("/compact [Pasted text #1 +3 lines]", "/compact 1\n2\n3\n4")
    assert box.text == ""


def test_clean_paste() -> None:
    assert clean_paste("\n a\tb\x1b[1mc\x7f\x00\r\nd\re \n") == "\n a    bc\nd\ne "
    assert clean_paste("# @x -y ?z 👩‍👩‍👧 `$\"'") == "# @x -y ?z 👩‍👩‍👧 `$\"'"
