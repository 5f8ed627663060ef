"""Files that no stage may change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dodo_claude import protect
from tests.test_run import STAGE


def test_two_stars_at_the_end_are_all_files_below(tmp_path: Path) -> None:
    for name in (".claude/settings.json", ".claude/hooks/x.sh", "docs/a.md", "docs/sub/b.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    stage = replace(STAGE, protect=("docs/**",))
    found = {name for name, mark in protect.watched(tmp_path, stage, ()).items() if mark}
    assert found == {".claude/settings.json", ".claude/hooks/x.sh", "docs/a.md", "docs/sub/b.md"}


def test_what_became_a_target_meanwhile_may_change(tmp_path: Path) -> None:
    (tmp_path / "dodo.py").write_text("a")
    before = protect.watched(tmp_path, STAGE, ())
    (tmp_path / "dodo.py").write_text("b")
    said = ("protected file 'dodo.py' was changed while it ran",)
    assert protect.problems(tmp_path, before, {}, STAGE, ()) == said
    assert protect.problems(tmp_path, before, {}, STAGE, ("dodo.py",)) == ()
