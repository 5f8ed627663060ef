"""What runs that were cut off may have left at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.state import left
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.state.left import Left


def begun(state: Path, stage: str) -> Attempt:
    return StageLog(state, stage).begin()


def test_it_is_looked_at_until_a_run_found_nothing(tmp_path: Path) -> None:
    assert left.may_be(tmp_path)  # as of an earlier version, too
    left.end(tmp_path, ["a"])
    assert not left.may_be(tmp_path)
    assert left.begin(tmp_path)
    assert left.may_be(tmp_path)
    assert not left.begin(tmp_path)


def test_what_stands_in_place_of_the_mark_is_none(tmp_path: Path) -> None:
    """In a stranger's folder; doit's own commands look there, too."""
    state = tmp_path / ".orchestrate"
    (state / "settled").mkdir(parents=True)
    assert left.may_be(state)
    (state / "settled").rmdir()
    (state / "settled").symlink_to(tmp_path / "there")
    (tmp_path / "there").touch()
    assert left.may_be(state)


@pytest.mark.parametrize(
    ("result", "unsettled"),
    [
        (None, True),
        ({"result": "aborted", "retry": True}, True),
        ({"result": "failed"}, True),
        ({"result": "timed out"}, True),
        ({"result": "succeeded"}, False),  # taken over if doit lost it, and else what doit has is as good
    ],
)
@pytest.mark.parametrize("told", ["forget", "settle", None])
def test_an_attempt_is_left_until_it_ends_and_doit_knows(
    result: dict[str, object] | None, unsettled: bool, told: str | None, tmp_path: Path
) -> None:
    attempt = begun(tmp_path, "a")
    if result is not None:
        attempt.finish(result)
        if told is not None:
            getattr(attempt.log, told)()
            unsettled = False
    elif told is not None:
        (attempt.log.dir / "open").unlink()  # a marker that got lost hides nobody
    assert Left(tmp_path).of("a") == attempt.log.unsettled() == unsettled
    left.end(tmp_path, ["b"] if unsettled else ["a", "b"])
    assert not left.may_be(tmp_path)
    assert left.begin(tmp_path)
    left.end(tmp_path, ["b", "a"])
    assert left.may_be(tmp_path) == unsettled


def test_where_nothing_can_be_left_no_stage_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left.end(tmp_path, [])
    seen = Left(tmp_path)
    with monkeypatch.context() as only_here:
        only_here.setattr(StageLog, "unsettled", lambda log: pytest.fail(f"looked at {log.stage}"))
        assert not seen.of("a")
    left.begin(tmp_path)
    begun(tmp_path, "a")
    assert not seen.of("a")  # its own
    assert Left(tmp_path).of("a")


def test_what_can_not_be_written_is_looked_at_again(tmp_path: Path) -> None:
    left.end(tmp_path / "gone", ["a"])
    assert left.may_be(tmp_path / "gone")


def test_what_can_not_be_looked_at_may_be_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: StageLog) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(StageLog, "unsettled", fails)
    left.end(tmp_path, ["a"])
    assert left.may_be(tmp_path)
