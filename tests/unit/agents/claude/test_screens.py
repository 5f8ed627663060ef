"""The client's screen: is somebody typing?"""

from __future__ import annotations

import pytest

from dodo_claude.agents.claude.screens import input_box

RULE = "─" * 80
EMPTY = "\x1b[39m❯\xa0\x1b[7m \x1b[0m"
# As tmux gives the rows of clients 2.1.330 and 2.1.332: blanks at their ends are what was there before, or nothing.
RULED = "\x1b[38;5;244m" + RULE
AFTER = f"\x1b[0m\x1b[38;5;244m\x1b[49m{RULE}"
FOOT = "\x1b[39m  \x1b[38;5;246m⏸ manual mode on · ? for shortcuts\x1b[39m"
SEARCH = "\x1b[39m  \x1b[38;5;246msearch prompts:\x1b[39m "


def box(*rows: str, rule: str = RULED, foot: str = FOOT) -> str:
    return "\n".join(("● Done.", "", RULED, *rows, rule, foot))


BOXES = {
    "an empty box": (f"text\n{RULE}\n{EMPTY}\n{RULE}\n? for shortcuts", "free"),
    "a dim hint": (f"{RULE}\n❯\xa0\x1b[7mT\x1b[0;2mry this\x1b[0m\n{RULE}", "free"),
    "a draft": (f"{RULE}\n❯\xa0half a word\x1b[7m \x1b[0m\n{RULE}", "draft"),
    "a draft of two lines": (f"{RULE}\n{EMPTY}\n  more\n{RULE}", "draft"),
    "a menu": (f"Do you want to proceed?\n❯ 1. Yes\n  2. No\n{RULE}", "absent"),
    "history looks alike": (f"❯ old prompt\n{RULE}\n{EMPTY}\n{RULE}", "free"),
    "with the focus": (box("\x1b[39m❯\xa0\x1b[7m ", rule=AFTER), "free"),
    "with the focus, busy": (box("\x1b[38;5;246m❯\xa0\x1b[7m\x1b[39m ", rule=AFTER), "free"),
    "with the focus, blanks": (box("\x1b[39m❯\xa0   \x1b[7m \x1b[0m\x1b[39m\x1b[49m     "), "draft"),
    "with the focus, a hint": (
        box(
            "\x1b[38;5;246m❯\xa0\x1b[7m\x1b[39mP\x1b[0;2m\x1b[39m\x1b[49mress up to edit\x1b[0m\x1b[39m\x1b[49m    "
        ),
        "free",
    ),
    "with the focus, the cursor at a draft's start": (
        box("\x1b[39m❯\xa0\x1b[7ma\x1b[0m\x1b[39m\x1b[49mbc   "),
        "draft",
    ),
    "with the focus, a draft of one letter": (
        box("\x1b[39m❯\xa0\x1b[7ma\x1b[0m\x1b[39m\x1b[49m   "),
        "draft",
    ),
    "with the focus, a second line": (
        box("\x1b[39m❯\xa0      ", "  \x1b[7m \x1b[0m\x1b[39m\x1b[49m   "),
        "draft",
    ),
    "with the focus, a hint behind a draft": (
        box("\x1b[39m❯\xa0/com\x1b[7mp\x1b[0;2m\x1b[39m\x1b[49mact\x1b[0m\x1b[39m\x1b[49m"),
        "draft",
    ),
    "without the focus": (box("\x1b[39m❯\xa0 "), "free"),
    "without the focus, nothing behind the sign": (box("\x1b[38;5;246m❯\xa0\x1b[39m"), "free"),
    "without the focus, busy": (box("\x1b[38;5;246m❯\xa0\x1b[39m "), "free"),
    "without the focus, what was cleared": (box("\x1b[39m❯\xa0" + " " * 60), "free"),
    "without the focus, a hint": (
        box("\x1b[38;5;246m❯\xa0\x1b[2m\x1b[39mPress up to edit queued messages\x1b[0m\x1b[39m\x1b[49m    "),
        "free",
    ),
    "without the focus, a hint of two rows": (
        box("\x1b[39m❯\xa0\x1b[2mPress up to", "  edit queued\x1b[0m\x1b[39m\x1b[49m    "),
        "free",
    ),
    "without the focus, a draft": (box("\x1b[39m❯\xa0human draft "), "draft"),
    "without the focus, a draft in colour": (
        box("\x1b[39m❯\xa0\x1b[38;2;2;7;2m/compact\x1b[39m it "),
        "draft",
    ),
    "without the focus, a hint behind a draft": (box("\x1b[39m❯\xa0/com\x1b[2mpact\x1b[0m "), "draft"),
    "without the focus, a long draft": (
        box("\x1b[39m❯\xa0human draft", "  human draft ", "  human "),
        "draft",
    ),
    "without the focus, a second line": (box("\x1b[39m❯\xa0      ", "  two      "), "draft"),
    "without the focus, a second line that is empty": (box("\x1b[39m❯\xa0      ", "", foot=FOOT), "draft"),
    "without the focus, a long paste": (box("\x1b[39m❯\xa0[Pasted text #1 +6 lines]   "), "draft"),
    "a search that is typed": (
        box(
            "\x1b[39m❯\xa0      ",
            foot=f"{SEARCH}\x1b[7m\x1b[38;5;246m \x1b[0m\x1b[39m\x1b[49m ⏸ manual mode on",
        ),
        "draft",
    ),
    "a search without the focus": (
        box("\x1b[39m❯\xa0      ", foot=f"{SEARCH}\x1b[38;5;246m \x1b[39m ⏸"),
        "draft",
    ),
    "something chosen in the foot": (
        box("\x1b[39m❯\xa0 ", foot="\x1b[39m  \x1b[7m1 shell\x1b[0m · esc"),
        "draft",
    ),
    "a session's name in the rule": (
        f"\x1b[38;5;244m──────\x1b[39m \x1b[38;5;244ma long name of a stage\x1b[39m ─\n\x1b[39m❯\xa0 \n{RULED}\n{FOOT}",
        "free",
    ),
    "a prompt of the history": (
        f"\x1b[38;5;244m───\x1b[39m \x1b[2mHistory 3/3\x1b[0m\x1b[39m\x1b[49m ───\n\x1b[39m❯\xa0and so on \n{RULED}\n{FOOT}",
        "draft",
    ),
    "a shell's command": (box("!\xa0\x1b[39mls          "), "absent"),
    "colours of the rows above": (
        f"\x1b[2mdim\n\x1b[7m{box(chr(0x1B) + '[0m❯' + chr(0xA0) + 'draft')}",
        "draft",
    ),
    "nothing": ("", "absent"),
}


@pytest.mark.parametrize("what", BOXES)
def test_input_box(what: str) -> None:
    screen, state = BOXES[what]
    assert input_box(screen) == state
