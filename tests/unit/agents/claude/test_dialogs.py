"""The client's dialogs before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.agents.claude.dialogs import TOLD, start_dialog

SCREENS = Path(__file__).parents[3] / "data/screens"
HOME_SETTINGS = "/home/you/home/.claude/settings.json"
START_DIALOGS = {
    "settings-broken": ("settings", f"{HOME_SETTINGS}: Invalid or malformed JSON (line 1, column 12)"),
    "settings-hook": ("settings", f'{HOME_SETTINGS}: hooks.NoSuch: Unknown hook event "NoSuch" was ignored.'),
    "settings-perm": ("settings", f"{HOME_SETTINGS}: permissions: Expected object, but received number"),
    "settings-mode": (
        "settings",
        f"{HOME_SETTINGS}: permissions.defaultMode: Invalid value. Expected one of: "
        '"acceptEdits", "auto", "bypassPermissions", "default", "dontAsk", "plan"',
    ),
    "settings-ours": (
        "version",
        '/home/you/project/bad.json: hooks.NoSuch: Unknown hook event "NoSuch" was ignored.; '
        "permissions: Expected object, but received number",
    ),
    "trust": ("trust", "it asks whether to trust /home/you/project"),
}


@pytest.mark.parametrize("name", START_DIALOGS)
def test_a_dialog_before_it_begins_is_known_by_its_text(name: str) -> None:
    screen = (SCREENS / f"{name}.txt").read_text(encoding="utf-8")
    assert start_dialog(screen, Path("/home/you/project")) == START_DIALOGS[name]
    assert start_dialog(screen.replace("Enter to confirm", ""), Path("/x")) is None  # drawn in part


def test_other_screens_are_none_of_them() -> None:
    for path in SCREENS.glob("*.txt"):
        if path.stem not in START_DIALOGS:
            assert start_dialog(path.read_text(encoding="utf-8"), Path("/x")) is None
    assert start_dialog("  Settings Error\n\n  Enter to confirm", Path("/x")) == ("settings", "")


def test_a_long_fault_is_cut() -> None:
    fault = "x " * 300
    screen = f"  Settings Error\n\n  /a/settings.json\n  └ {fault}\n\n  Enter to confirm"
    found = start_dialog(screen, Path("/x"))
    assert found is not None
    assert len(found[1]) == TOLD
