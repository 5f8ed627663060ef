"""The sums of a run, and why it was no success where no stage says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dodo_claude.plugin.summary import MOST_OVERWRITTEN, Summary


def change(stage: str, by: str | None = None) -> Any:
    return SimpleNamespace(
        stage=stage, known=by is not None, by=(by,) if by else (), text=lambda: f"{stage}.txt: changed"
    )


def test_what_the_run_did_not_come_to_was_not_run() -> None:
    summary = Summary()
    assert summary.sums((), 1.0) == ""
    summary.done += ["a"]
    summary.blocked += ["b"]
    assert summary.sums({"a", "b", "c"}, 61.0) == "3 stages: 1 done, 2 not run (61 s)"


def test_what_fell_is_done_no_more() -> None:
    summary = Summary()
    summary.done += ["a"]
    summary.skipped += ["b"]
    summary.fell("a")
    assert summary.sums({"a", "b"}, 1.0) == "2 stages: 1 up to date, 1 overwritten (1 s)"


def test_only_what_no_state_tells_is_said_beside_the_sums() -> None:
    summary = Summary()
    summary.failed += ["bad"]
    summary.overwritten += [change("bad"), change("a", by="bad"), change("b"), change("c", by="d")]
    assert [line.partition(": ")[2] for line in summary.unsaid(str)] == [
        "b: b.txt: changed",
        "c: c.txt: changed",
    ]
    summary.overwritten += [change("b")] * MOST_OVERWRITTEN
    assert [*summary.unsaid(str)][-1] == "overwritten: 2 more files: see the report"
