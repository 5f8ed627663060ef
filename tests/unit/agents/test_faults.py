"""What the client's errors mean, in one table."""

from __future__ import annotations

import pytest

from dodo_claude.agents import faults
from dodo_claude.state.events import START_DIALOGS

REFUSED = "API Error: Opus 5.5's safeguards flagged this message (https://www.anthropic.com/legal/aup)."
TOO_LONG = "API Error: Claude's response exceeded the 128000 output token maximum."
OVERLOADED = "API Error: Repeated 529 Overloaded errors. The API is at capacity"


@pytest.mark.parametrize(
    ("error", "text", "kind", "words"),
    [
        ("invalid_request", REFUSED, "refusal", "the model refuses to answer ("),
        (
            "invalid_request",
            "prompt is too long",
            "invalid_request",
            "the client gave up (invalid_request)",
        ),
        (
            "max_output_tokens",
            TOO_LONG,
            "max_output_tokens",
            "the model's answer was longer than one may be (",
        ),
        ("server_error", OVERLOADED, "overloaded", "the client gave up (overloaded)"),
        ("server_error", "API Error: 500 nope", "server_error", "the client gave up (server_error)"),
        ("rate_limit", "API Error: 529 Overloaded", "overloaded", "the client gave up (overloaded)"),
        ("billing_error", "Overloaded with debt", "billing_error", "the client gave up (billing_error)"),
        ("", "", "unknown", "the client gave up (unknown)"),
    ],
)
def test_a_failed_turn_is_called_what_it_is(error: str, text: str, kind: str, words: str) -> None:
    assert faults.kind_of(error, text) == kind
    assert faults.said(kind).startswith(words)


def test_each_kind_passes_or_is_fatal_or_is_the_stages_own() -> None:
    assert not faults.PASSING.keys() & faults.FATAL.keys()
    assert faults.FATAL.keys() >= START_DIALOGS
    assert {faults.REFUSAL, faults.TOO_LONG}.isdisjoint({*faults.PASSING, *faults.FATAL})


def test_only_of_what_no_waiting_mends_there_is_a_remedy() -> None:
    assert "log in" in faults.remedy_of("401")
    assert faults.remedy_of("529") == faults.remedy_of("Connection") == ""
