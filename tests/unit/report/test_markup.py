"""The page's elements: text stays text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.report.markup import Html, tag
from dodo_claude.text.clean import clean_text
from tests.samples.pages import Parsed


@given(st.text(st.characters(exclude_categories=[])))
def test_an_element_says_what_it_was_given(said: str) -> None:
    found = Parsed(tag("p", said, tag("b", said), title=said))
    assert found.tags == [("p", ("title",)), ("b", ())]
    assert found.text == clean_text(said) * 2
    assert found.values("title") == [clean_text(said)]


def test_only_markup_of_ours_is_markup() -> None:
    assert tag("p", Html("<b></b>"), None, "<b>", class_="a b", aria_label='"', open=True, hidden=False, x=1.5) == (
        '<p class="a b" aria-label="&quot;" open x="1.5"><b></b>&lt;b&gt;</p>'
    )  # fmt: skip
