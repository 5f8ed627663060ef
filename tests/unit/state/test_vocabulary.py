"""An agent's own words for what its hooks tell."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.state import vocabulary
from dodo_claude.state.vocabulary import Vocabulary

WORDS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
SAID = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.none(), max_size=5)


@given(SAID)
def test_words_that_are_ours_stay(said: dict[str, object]) -> None:
    assert Vocabulary().read(said) == said


def test_fields_come_first_and_values_go_by_our_fields() -> None:
    words = Vocabulary(
        {"over": "Stop"}, {"what": "hook_event_name", "why": "error"}, {"error": {"busy": "overloaded"}}
    )
    said = {"what": "over", "why": "busy", "other": "busy", "list": ["over"]}
    assert words.read(said) == {
        "hook_event_name": "Stop", "error": "overloaded", "other": "busy", "list": ["over"],
    }  # fmt: skip
    assert words.read({"what": ["odd"], "why": 1}) == {"hook_event_name": ["odd"], "error": 1}


@given(st.builds(Vocabulary, WORDS, WORDS, st.dictionaries(st.text(max_size=5), WORDS, max_size=3)))
def test_what_lies_beside_an_attempt_is_read_as_it_was_written(words: Vocabulary) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert vocabulary.of_attempt(Path(folder)) is None
        (Path(folder) / vocabulary.FILE).write_text(vocabulary.as_json("loom", words))
        assert vocabulary.of_attempt(Path(folder)) == ("loom", words)
