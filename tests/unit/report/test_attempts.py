"""What an attempt's folder tells of it, whole or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dodo_claude.report import attempts
from dodo_claude.state import events as life
from dodo_claude.state import journal
from dodo_claude.state.journal import Attempt
from tests.samples.scenes import API, Scene


def busy(scene: Scene, events: int = 200) -> Attempt:
    """One that failed its check once, and then succeeded."""
    attempt = scene.begin("api")
    for number in range(events):
        scene.now += 0.5
        attempt.record("PreToolUse", session_id="s-1", tool_name=f'"kind": "begun" {number}')
        if number == events // 2:
            attempt.record(life.VERIFIED, problems=["target 'a.py' was not written"])
    scene.write("a.py", "x\n")
    attempt.record(life.VERIFIED, problems=[])
    scene.end(attempt)
    return attempt


def without(attempt: Attempt, *keys: str) -> None:
    """Take some of what its result says out of it."""
    path = attempt.dir / "result.json"
    result = {key: value for key, value in json.loads(path.read_text()).items() if key not in keys}
    path.write_text(json.dumps(result))


def test_a_long_journal_is_not_taken_apart(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = busy(scene)
    parsed: list[bytes] = []
    parse = journal.parse_event

    def counting(line: bytes) -> Any:
        parsed.append(line)
        return parse(line)

    monkeypatch.setattr(journal, "parse_event", counting)
    told = attempts.read(API, attempt)
    assert len(parsed) == 3  # its beginning, and two verifications
    assert told.problems == []
    assert (told.first, told.last) == (1_000.0, 1_105.0)
    # The same as its events tell, where the result does not.
    without(attempt, "session_id")
    slow = attempts.read(API, attempt)
    assert len(parsed) > 200
    assert (slow.first, slow.last, slow.begun, slow.problems, slow.how) == (
        told.first, told.last, told.begun, told.problems, told.how
    )  # fmt: skip
    assert slow.view.session_id == "s-1"


def test_an_attempt_under_way_is_told_by_its_events(scene: Scene) -> None:
    attempt = scene.begin("api")
    attempt.record("PreToolUse", session_id="s-1", tool_name="Bash", tool_input={"command": "make"})
    told = attempts.read(API, attempt)
    assert (told.result, told.how, told.view.activity) == (None, "", "Bash make")


def test_one_that_never_wrote_a_line_has_the_time_of_its_folder(scene: Scene) -> None:
    attempt = scene.log("api").begin()
    told = attempts.read(API, attempt)
    assert told.first == told.last == attempt.dir.stat().st_mtime
    assert told.begun == {}


def test_where_the_files_of_an_attempt_are_now(scene: Scene) -> None:
    def found(attempt: Attempt) -> list[tuple[str, str, Path | None]]:
        return [
            (each.name, each.change, each.now)
            for each in attempts.versions(scene.root, API, attempts.read(API, attempt))
        ]

    first = scene.done("api", a_py="one\n")
    assert found(first) == [("a.py", "new", scene.root / "a.py")]
    second = scene.done("api", a_py="two\n")
    assert found(second) == [("a.py", "changed", scene.root / "a.py")]
    assert found(first) == [("a.py", "new", second.dir / "before/a.py")]
    third = scene.begin("api")
    scene.write("a.py", "three\n")
    scene.end(third, "failed", "no")
    assert found(third) == [("a.py", "set aside", third.dir / "partial/a.py")]
    scene.write("a.py", "by hand\n")
    assert found(second)[0][2] == third.dir / "before/a.py"
    scene.write("a.py", "four\n")
    (third.dir / "before/a.py").write_text("nobody's\n")
    assert found(second)[0][2] is None
