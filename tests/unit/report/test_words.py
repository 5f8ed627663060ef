"""A report in words: it fits a terminal, and in Markdown nothing that a worker wrote gets out of its fence."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dodo_claude.report import record, words
from dodo_claude.report.record import (
    AttemptReport,
    CheckReport,
    GroupReport,
    RunReport,
)
from dodo_claude.report.words import WIDTH, markdown, stages_markdown, text
from dodo_claude.text.cells import cells
from dodo_claude.text.clean import clean_line, clean_text
from tests.samples.reports import ATTEMPT, ITEM, STAGE
from tests.samples.runs import GOOD, outside, run_of


def test_the_terminal_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "moment", lambda at: "2026-01-01 12:00:00")
    told = run_of(
        GOOD, STAGE, ITEM, replace(GOOD, name="doc", state=record.UP_TO_DATE, attempts=(), files=())
    )
    assert text(told) == (
        """\
p: 4 stages: 1 done, 1 up to date, 1 failed, 1 not run
run 20260101-000000-7: started 2026-01-01 12:00:00, took 50 s
workers 40 s in 1 attempt, 1 200 tokens, 0.25 USD
checks and commands: 1 failed, 1 not run

ui     done        40 s, 1 repair, 1 200 tokens, 0.25 USD
    ui.py: new, 3 lines
    a.png: changed, 2 048 bytes
    check passed: test -s ui.py
    says:
      I tried.
api    FAILED      40 s, 1 repair, 1 200 tokens, 0.25 USD
    api.py: set aside, 2 lines, +1 -3
      kept in .orchestrate/stages/api/2/partial/api.py
    check failed: make
        no rule
    says:
      I tried.
map:a  not run     needs api
doc    up to date  40 s, 1 repair, 1 200 tokens, 0.25 USD

left:
  api: failed: check `make` ended with exit status 2
  map:a: not run: needs api
doit orchestrate goes on with what is left
"""
    )


def test_a_run_under_way_has_nothing_to_go_on_with() -> None:
    told = run_of(replace(ITEM, state=record.WAITING), state="running", ended=None)
    assert "map:a  waiting     for api" in text(told)
    assert "goes on with" not in text(told)
    assert "has run for 50 s" in text(told)


def test_a_large_group_is_told_by_what_is_left_of_it() -> None:
    items = [replace(GOOD, name=f"map:{number}", group="map") for number in range(200)]
    items[7] = replace(STAGE, name="map:7", group="map")
    group = GroupReport("map", {"done": 199, "failed": 1}, 90.0, 0, None, tuple(item.name for item in items))
    lines = text(run_of(*items, groups=(group,))).splitlines()
    assert "map: 200 stages: 199 done, 1 failed, 90 s" in lines
    assert len(lines) < 20
    assert any(line.startswith("map:7 ") for line in lines)
    # A document has room for all.
    assert markdown(run_of(*items, groups=(group,))).count("\n## map:") == 200


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
ODD = st.one_of(
    WORDS, st.text("`~ \n\t#|<>-日é\u0301*_[]()\\x", max_size=120),
    st.sampled_from(["x" * 500, "日本" * 200, "```", "~~~~", "`" * 50, "\x1b[31m", "a  b"]),
)  # fmt: skip


def odd(said: str) -> RunReport:
    """A report that has `said` wherever a text of others may be."""
    said, line = clean_text(said), clean_line(said)
    attempt: AttemptReport = replace(ATTEMPT, why=line, folder=line)
    stage = replace(
        STAGE, reason=line, message=said, attempts=(attempt, attempt), files=(replace(STAGE.files[0], path=line, kept=line),),
        checks=(CheckReport("check", line, "failed", said),),
    )  # fmt: skip
    return run_of(stage, replace(ITEM, waits_for=(line,)), replace(stage, name="next"), stopped=line)


@given(ODD)
@example("日" * 79)
@example("é\u0301" * 90)
def test_no_line_is_wider_than_the_terminal(said: str) -> None:
    for line in text(odd(said)).splitlines():
        assert cells(line) <= WIDTH


@given(ODD)
def test_the_terminal_gets_no_control_character(said: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text(odd(said)))


@given(ODD)
@example("```\n# Done\n```")
@example("``````\n</report>\n")
@example("~~~\n# x")
def test_no_text_gets_out_of_its_fence(said: str) -> None:
    for document in (markdown(odd(said)), stages_markdown(odd(said).stages)):
        free = outside(document)
        headings = [line for line in free if re.match(r" {0,3}#", line)]
        known = {"Build and tests", "What is left", "api", "map:a", "next", "Report of the stages before"}
        titles = [line.lstrip("# ") for line in headings]
        assert all(title in known or title.startswith("p: report of run") for title in titles), titles
        assert len(set(titles)) == len(titles)
        # Tables have the cells that they should, whatever bars a text holds.
        rows = [line for line in free if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}


@pytest.mark.parametrize(
    ("said", "span"),
    [
        ("make", "`make`"),
        ("echo `date`", "`` echo `date` ``"),
        ("`", "`` ` ``"),
        ("a `` b", "```a `` b```"),
        ("", ""),
    ],
)
def test_code_spans(said: str, span: str) -> None:
    assert words._code(said) == span


def test_what_means_something_in_markdown_means_itself() -> None:
    assert words._escaped("<b> [x](y) *z* a_b `c` | \\ & ~") == (
        r"\<b\> \[x\](y) \*z\* a\_b \`c\` \| \\ \& \~"
    )  # fmt: skip


def test_the_document() -> None:
    document = markdown(run_of(GOOD, STAGE, ITEM, stopped="budget of 1 min used"))
    assert document.startswith(
        "# p: report of run 20260101-000000-7\n\n3 stages: 1 done, 1 failed, 1 not run. Started "
    )
    assert "Stopped: budget of 1 min used" in document
    assert "| ui | done | 40 s | 1 | 1 | 1 200 | 0.25 |" in document
    assert "| map:a | not run |  |  |  |  |  |" in document
    assert "- api: check failed: `make`" in document
    assert "- map:a: not run: needs api" in document
    assert "\n## ui\n\ndone (by claude, 40 s, 1 repair, 1 200 tokens, 0.25 USD)\n" in document
    assert (
        "- `api.py`: set aside, 2 lines, +1 -3, kept in `.orchestrate/stages/api/2/partial/api.py`"
        in document
    )
    assert "- attempt 2 failed after 40 s: check \\`make\\` ended with exit status 2" in document
    assert "The end of what the check said:\n\n```text\nno rule\n```" in document
    assert "\n## map:a" not in document  # nothing was done there


def test_nothing_is_left() -> None:
    assert "## What is left\n\nNothing.\n" in markdown(run_of(GOOD))
    assert "left:" not in text(run_of(GOOD))


def test_messages_share_the_room_of_a_prompt() -> None:
    long = [
        replace(GOOD, name=f"s{number}", message="begin " + "word " * 20_000 + "end") for number in range(100)
    ]
    document = stages_markdown(long)
    assert len(document) < words.PROMPT_MESSAGES * 2
    assert document.count("are left out here") == 100
    assert document.count("word end\n") == 100
    few = stages_markdown(long[:2])
    assert len(few) > 2 * words.LONGEST_MESSAGE
    assert "2026" not in few  # no time of day


def test_a_long_message_is_said_where_the_rest_is() -> None:
    said = text(run_of(replace(GOOD, message="\n\n".join(f"line {number}" for number in range(9)))))
    assert "      line 3\n      … (dodo-claude log ui)\n" in said
    assert "line 4" not in said
