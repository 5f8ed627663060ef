"""Problems as one line each, whatever stands in the files they are about."""

from __future__ import annotations

from dodo_claude.text.errors import ConfigError, DodoClaudeError, Problem


def test_a_problem_is_place_path_fact_and_remedy() -> None:
    problem = Problem(
        "orchestrate.toml",
        14,
        9,
        "stages.review.timeout",
        "'10 minuts' is not a duration",
        "did you mean '10 minutes'?",
    )
    assert str(problem) == (
        "orchestrate.toml:14:9: stages.review.timeout: "
        "'10 minuts' is not a duration (did you mean '10 minutes'?)"
    )


def test_path_and_remedy_may_be_missing() -> None:
    assert str(Problem("o.toml", 1, 1, "", "no such file")) == "o.toml:1:1: no such file"


def test_nothing_reaches_the_terminal_unescaped() -> None:
    assert str(Problem("o\udc80.toml", 1, 1, 'stages."\x1b[2J"', "a\nb\u202e")) == (
        'o\\udc80.toml:1:1: stages."\\x1b[2J": a\\nb\\u202e'
    )


def test_a_config_error_is_a_line_for_each_problem() -> None:
    error = ConfigError((Problem("o", 1, 1, "", "a"), Problem("o", 2, 1, "", "b")))
    assert isinstance(error, DodoClaudeError)
    assert str(error) == "o:1:1: a\no:2:1: b"
