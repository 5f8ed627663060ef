"""What a meter counts: sessions that follow each other, one that goes on from an earlier attempt, and what the fleet knows."""

from __future__ import annotations

import json
from pathlib import Path

from dodo_claude.agents.table import agent_of
from dodo_claude.worker.meter import Meter
from tests.samples.stages import CLAUDE
from tests.samples.transcripts import answer


def a_meter(folder: Path) -> Meter:
    return Meter(agent_of(CLAUDE), folder)


def write(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def says(folder: Path, cost: float, session: str = "s") -> None:
    (folder / "status.json").write_text(json.dumps({"session_id": session, "cost": {"total_cost_usd": cost}}))


def test_a_fresh_session_in_the_same_client_is_counted_besides(tmp_path: Path) -> None:
    meter = a_meter(tmp_path)
    meter.read(write(tmp_path / "one.jsonl", answer("a", 1), answer("b", 2)), "s")
    first, _ = meter.usage()
    meter.read(write(tmp_path / "two.jsonl", answer("c", 4)), "t")
    usage, _ = meter.usage()
    assert (first.turns, usage.turns) == (2, 3)
    assert usage.tokens > first.tokens > 0


def test_the_fleet_is_told_once_of_what_was_used(tmp_path: Path) -> None:
    meter = a_meter(tmp_path)
    path = write(tmp_path / "one.jsonl", answer("a"))
    says(tmp_path, 0.25)
    meter.read(path, "s")
    told = meter.uncounted()
    assert told is not None
    assert (told[0].turns, told[1]) == (1, 0.25)
    assert meter.uncounted() is None
    says(tmp_path, 0.5)
    meter.read(path, "s")
    again = meter.uncounted()
    assert again is not None
    assert again[1] == 0.5


def test_what_a_status_line_says_of_another_session_is_not_counted(tmp_path: Path) -> None:
    meter = a_meter(tmp_path)
    says(tmp_path, 0.25, session="before a /clear")
    meter.read(write(tmp_path / "one.jsonl", answer("a")), "s")
    assert meter.usage()[1] is None


def test_a_session_that_goes_on_was_used_before_this_attempt(tmp_path: Path) -> None:
    path = write(tmp_path / "one.jsonl", answer("a"), answer("b"))
    before, meter = a_meter(tmp_path), a_meter(tmp_path)
    before.read(path, "s")
    meter.resume(before, path)
    write(tmp_path / "one.jsonl", answer("a"), answer("b"), answer("c"))
    meter.read(path, "s")
    told = meter.uncounted()
    assert told is not None
    assert told[0].turns == 1
    assert meter.usage()[0].turns == 3


def test_one_that_is_taken_over_counts_from_where_it_stood(tmp_path: Path) -> None:
    meter = a_meter(tmp_path)
    meter.take_over(write(tmp_path / "one.jsonl", answer("a"), answer("b")), "s")
    told = meter.uncounted()
    assert told is not None
    assert told[0].turns == 0
