"""The record of a run: its shape as JSON, which others read, and the texts in it."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest

from dodo_claude.report import record
from dodo_claude.report.record import (
    counted,
    from_json,
    sum_costs,
    to_json,
    why,
)
from tests.samples.reports import ITEM, RUN, SHAPE, STAGE


def test_the_json_has_the_shape_that_others_read() -> None:
    jsonschema.validate(json.loads(to_json(RUN)), SHAPE)


def test_the_states_are_those_of_the_shape() -> None:
    assert list(record.STATES) == SHAPE["$defs"]["state"]["enum"]


def test_what_was_written_is_read_again() -> None:
    assert from_json(to_json(RUN)) == RUN


def changed(path: str, value: object) -> str:
    told = json.loads(to_json(RUN))
    *before, last = path.split("/")
    place = told
    for key in before:
        place = place[int(key) if isinstance(place, list) else key]
    place[last] = value
    return json.dumps(told)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version": 1}',
        "[" * 100_000,
        changed("version", 2),
        changed("stages", None),
        changed("stages/0/name", 3),
        changed("stages/0/tokens", True),
        changed("stages/0/files/0/lines", "2"),
        changed("stages/0/attempts", {"0": 1}),
        changed("totals/states", []),
        changed("totals/states", {"done?": 1}),
        changed("totals/checks", {"done?": 1}),
        changed("stages/0/state", "done?"),
        changed("stages/0/checks/0/result", "done?"),
        changed("groups/0/states", {"done?": 1}),
    ],
)
def test_what_is_no_report_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a report|Expecting|JSON"):
        from_json(text)


def test_a_file_that_somebody_changed_gets_no_escape_sequence_through() -> None:
    told = from_json(changed("stages/0/message", "a\x1b[31mb\x07c\ud800"))
    assert told.stages[0].message == "abc?"


def test_why_a_stage_is_not_done() -> None:
    assert why(STAGE) == "failed: check `make` ended with exit status 2"
    assert why(ITEM) == "not run: needs api"
    assert why(replace(ITEM, state=record.WAITING, waits_for=("a", "b"))) == "waiting for a, b"
    assert why(replace(ITEM, state=record.WAITING, waits_for=())) == "waiting"
    assert why(replace(ITEM, state=record.STOPPED, waits_for=())) == "stopped"


def test_sums() -> None:
    assert [*counted(["failed", "done", "failed", "up to date"]).items()] == [
        ("done", 1), ("up to date", 1), ("failed", 2)
    ]  # fmt: skip
    assert sum_costs([None, None]) is None
    assert sum_costs([0.1, None, 0.2]) == 0.3
