"""The client's log."""

from __future__ import annotations

import pytest

from dodo_claude.agents.agent import NoAnswer
from dodo_claude.agents.claude.errors_log import no_answer


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            '2026-11-29T19:12:52.892Z [ERROR] API error (attempt 1/11): 401 401 {"type":"error","error":'
            '{"type":"authentication_error","message":"invalid x-api-key"}}',
            NoAnswer(1795979572.892, "401 invalid x-api-key", "attempt 1 of 11"),
        ),
        (
            "2026-11-29T19:12:50.725Z [ERROR] API error (attempt 2/11): undefined Connection error.",
            NoAnswer(1795979570.725, "Connection error.", "attempt 2 of 11"),
        ),
        (
            '2026-11-29T19:12:50Z [ERROR] API error (attempt 1/11): 500 500 {"error": "odd\x1b[2J"}',
            NoAnswer(1795979570.0, '500 500 {"error": "odd\\x1b[2J"}', "attempt 1 of 11"),
        ),
        # It does not ask again: its hook tells.
        ('2026-11-29T19:12:50Z [ERROR] API error (attempt 1/11): 400 400 {"type":"error"}', None),
        ("2026-11-29T19:12:50Z [ERROR] unmount terminal cleanup failed: EIO", None),
        ("soon [ERROR] API error (attempt 1/11): 401 no", None),
        ("", None),
    ],
)
def test_what_the_clients_log_says_of_a_request_without_an_answer(line: str, found: NoAnswer | None) -> None:
    assert no_answer(line.encode()) == found
