"""Templates besides parallel-feature: each runs, mends only what broke, is skipped after, and its checks see faults."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from dodo_claude.commands.start import templates_dir
from dodo_claude.state.mail import DELIVERED, STATES, Mailbox
from tests.project import Project


class Case(NamedTuple):
    """A template, a change that breaks one of its stages, and what comes of it."""

    template: str
    stages: int
    file: str
    old: str
    new: str
    broken: str
    waits: tuple[str, ...]  # stages that need it
    targets: tuple[str, ...]


CASES = [
    Case(
        "single", 1, "orchestrate.toml", 'check = "python3', 'check = "exit 7; true',
        "table", (), ("table.py",),
    ),
    Case(
        "build-monitor", 2, "orchestrate.toml", 'check = "python3', 'check = "exit 7; true',
        "develop", ("contents",), ("text/slug.py", "text/toc.py"),
    ),
    Case(
        "pipeline", 4, "orchestrate.toml", "check = \"python3 checks/check_code.py", "check = \"exit 7; true",
        "implement", ("test",),
        ("docs/research.md", "docs/design.md", "durations.py", "tests/test_durations.py"),
    ),
    Case(
        "parallel-research", 5, "candidates/cedar.md", "6. One maintainer", "One maintainer",
        "research:cedar", ("comparison",),
        (*(f"research/{name}.md" for name in ("alder", "birch", "cedar", "dogwood")), "comparison.md"),
    ),
    Case(
        "map-reduce", 5, "feedback/east.md", '- 4 "Search', '- 4 "Again"\n- 4 "Search',
        "map:feedback/east.md", ("reduce",),
        (*(f"results/{name}.json" for name in ("north", "east", "south", "west")), "total.json", "report.md"),
    ),
    Case(
        "refactor", 6, "tests/test_cart.py", '"0.31"', '"0.32"',
        "modules:cart", ("verify",),
        ("shop/types.py", *(f"shop/{name}.py" for name in ("cart", "discount", "receipt", "report"))),
    ),
    Case(
        "phased", 1, "orchestrate.toml", 'check = "python3 checks/check_code', 'check = "exit 7; true',
        "slugs", (), ("plan.md", "slugs.py", "tests/test_slugs.py", "docs/slugs.md"),
    ),
]  # fmt: skip


def start(project: Project, template: str) -> Project:
    project.begin("init", template, "d")
    project.root /= "d"
    return project


def play(project: Project, check: int = 0) -> list[str]:
    return project.orchestrate("--agent", "scripted", check=check).lines


@pytest.mark.tmux
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.template)
def test_a_broken_stage_is_mended_alone_and_then_nothing_runs(project: Project, case: Case) -> None:
    start(project, case.template)
    was = {target: project.read(target) for target in case.targets if (project.root / target).exists()}
    project.edit(case.file, case.old, case.new)
    lines = play(project, check=1)
    failed = [line for line in lines if "FAILED" in line]
    assert len(failed) == 1
    phase = "phase 2 of 3: " if case.template == "phased" else ""
    assert failed[0].startswith(f"{case.broken} FAILED: {phase}check `")
    for stage in case.waits:
        assert f"{stage} not run: needs {case.broken}" in lines

    # What the failed attempt wrote is gone; a file that it changed in place is as it was.
    target = {
        "table": "table.py", "implement": "durations.py", "modules:cart": "shop/cart.py", "slugs": "slugs.py"
    }.get(case.broken)  # fmt: skip
    if target is not None:
        assert (project.read(target) if (project.root / target).exists() else None) == was.get(target)

    project.edit(case.file, case.new, case.old)
    redone = 1 + len(case.waits)
    rest = case.stages - redone
    lines = play(project)
    wanted = (
        f"{case.stages} stage{'s' * (case.stages > 1)}: {redone} done{f', {rest} up to date' * (rest > 0)}"
    )
    assert wanted in lines[-2], lines
    for target in case.targets:
        assert project.read(target) != was.get(target)
        if target.endswith((".md", ".json")):  # code has braces of its own
            assert not re.search(r"\{\w+\}", project.read(target)), "the scenario left a placeholder"
    assert f"{case.stages} up to date" in play(project)[-1]
    assert project.sessions() == []


def prompt(project: Project, stage: str) -> str:
    """What the worker of the last attempt was asked."""
    return project.read(f".orchestrate/stages/{stage}/{project.attempts(stage)}/prompt.md")


@pytest.mark.tmux
def test_a_pipeline_hands_on_files_and_messages(project: Project) -> None:
    start(project, "pipeline")
    play(project)
    for stage, file, words in (
        ("design", "docs/research.md", "There are four units: s, m, h, d."),
        ("implement", "docs/design.md", "Most likely to go wrong"),
        ("test", "docs/design.md", "durations.py offers read_duration(text) and write_duration(seconds)"),
    ):
        assert project.read(file) in prompt(project, stage)
        assert words in prompt(project, stage)
    # What nobody hands on stops the next one: it has nothing to go by.
    project.edit("prompts/test.md", "{{ stages.implement.message }}", "")
    lines = play(project, check=1)
    assert [line for line in lines if "FAILED" in line] == [
        "test FAILED: target 'tests/test_durations.py' was not changed in this attempt"
    ]


@pytest.mark.tmux
def test_a_build_monitor_is_why_its_worker_mends(project: Project) -> None:
    start(project, "build-monitor")
    play(project)
    box = Mailbox(project.log("develop"))
    first = box.letter(box.letters(DELIVERED)[0])
    assert first is not None
    assert first.sender == "monitor build"
    assert first.text.startswith("The build is broken. Mend this before you go on:\n<output of=")
    fault = re.search(r"^error: (tests/test_slug.py: test_accents_are_dropped: .*)", first.text, re.M)
    assert fault is not None
    screen = (project.log("develop").dir / "1/screen.txt").read_text()
    assert "The build is broken: tests/test_slug.py: test_accents_are_dropped" in screen
    assert "- [Où commencer](#ou-commencer)\n  - [What you need](#what-you-need)" in project.read(
        "docs/contents.md"
    )
    assert (
        len([name for name in box.letters(*STATES) if (one := box.letter(name)) and "broken" in one.text])
        == 1
    )


@pytest.mark.tmux
def test_one_changed_input_costs_its_worker_and_the_reduce(project: Project) -> None:
    start(project, "map-reduce")
    assert "5 stages: 5 done" in play(project)[-2]
    project.edit("feedback/east.md", "# Feedback: east\n", "# Feedback: the east\n")
    lines = play(project)
    assert "5 stages: 2 done, 3 up to date" in lines[-2]
    assert all(
        any(line.startswith(f"{stage} done") for line in lines)
        for stage in ("map:feedback/east.md", "reduce")
    )


@pytest.mark.tmux
def test_a_mended_phase_is_gone_on_with_and_each_begins_as_it_should(project: Project) -> None:
    start(project, "phased")
    broken = ('check = "python3 checks/check_tests.py"', 'check = "exit 7"')
    project.edit("orchestrate.toml", *broken)
    lines = play(project, check=1)
    assert "slugs phase 1 of 3 done: plan.md (27 lines)" in lines
    kinds = [kind for kind in project.kinds("slugs") if kind in ("phase", "cleared", "PostCompact", "given")]
    assert kinds == ["phase", "cleared", "PostCompact", "given", "phase", "cleared", "given"]
    kept = {name: (project.root / name).stat().st_mtime_ns for name in ("plan.md", "slugs.py")}
    project.edit("orchestrate.toml", *reversed(broken))
    # With another prompt it is to be done anew; else what it made would only be checked again.
    project.write("prompts/test.md", project.read("prompts/test.md") + "\nTest the edges, too.\n")
    assert "phase 2 of 3 is done and holds: it goes on with phase 3" in (
        project.orchestrate("--agent", "scripted", "--explain").lines
    )
    lines = play(project)
    (again,) = [line for line in lines if line.startswith("slugs started in tmux session")]
    assert again.startswith(
        "slugs started in tmux session phased-slugs, phase 3 of 3 (attempt 2; attempt 1 failed: phase 3 of 3: check `exit 7`"
    )
    assert kept == {name: (project.root / name).stat().st_mtime_ns for name in kept}
    # The fresh worker has the summary that the first one left, and the plan.
    asked = prompt(project, "slugs")
    assert "stages/slugs/2/summary-2.md: read it first" in asked
    assert project.read("plan.md") in asked


@pytest.mark.tmux
def test_what_is_planned_runs_and_is_mended_alone(project: Project) -> None:
    start(project, "planned")
    good, bad = "\\nEmail: ", " Email: "
    project.edit("scenario/page.py.txt", good, bad)
    lines = project.orchestrate("--agent", "scripted", "--yes", check=1).lines
    assert any(line.startswith("work:plan done in") and line.endswith("after 1 repair") for line in lines)
    assert [line.split(" check `")[0] for line in lines if "FAILED" in line] == ["work:page FAILED:"]
    assert {"work:tests not run: needs work:page", "accept not run: needs work"} <= set(lines)
    assert not (project.root / "profiles/page.py").exists()

    project.edit("scenario/page.py.txt", bad, good)
    lines = play(project)
    assert "5 stages: 3 done, 2 up to date" in lines[-2]
    assert {"work:plan up to date", "work:store up to date"} <= set(lines)
    assert "def page(profile):" in prompt(project, "work:tests")
    assert "5 up to date" in play(project)[-1]
    # The acceptance is nobody's to plan.
    project.edit("profiles/page.py", "Email: ", "Mail: ")
    assert any(
        "accept FAILED" in line
        for line in project.orchestrate("--agent", "scripted", "-s", "accept", check=1).lines
    )


# -- the checks, on good work and on work with one fault each

# What the scripted workers take from their prompts, as they find it there.
TAKEN = {
    "single": {"line_end": "<br>"},
    "pipeline": {
        "units": "s, m, h, d", "bare": "10", "word": "never", "read": "read_duration",
        "write": "write_duration", "example": "1h30m", "refused": "never",
    },
    "parallel-research": {
        f"{name[0]}_{key}": points
        for name, given in {
            "alder": "5 5 3 3 34", "birch": "4 2 5 5 31", "cedar": "1 4 4 1 20", "dogwood": "4 5 3 4 32"
        }.items()
        for key, points in zip(
            ("safety", "operation", "growth", "upkeep", "total"), given.split(), strict=True
        )
    },
    "map-reduce": {
        "north": "6", "east": "5", "south": "7", "west": "6",
        "north_export": "Export to PDF takes minutes", "west_export": "left out every note with a comment",
        "south_export": "stopped half way", "east_sync": "one version was simply gone",
        "south_sync": "only when I restart it", "east_search": "it can't look into attachments",
        "west_price": "for the same.", "north_other": "stays out of my way.",
    },
    "build-monitor": {},
    "refactor": {"money": "Money", "line": "Line", "parse": "parse"},
    "phased": {},
}  # fmt: skip


def written(template: str) -> dict[str, str]:
    """Target -> file of the scenario."""
    targets = next(case.targets for case in CASES if case.template == template)
    found = {}
    for target in targets:
        folder, _, name = target.rpartition("/")
        names = (name, f"{name}.txt", f"{folder}-{name}")
        found[target] = next(
            one for one in names if (templates_dir() / template / "scenario" / one).is_file()
        )
    return found


def make(template: str, root: Path) -> None:
    """The template with all its targets in place, as its scenario writes them."""
    shutil.copytree(templates_dir() / template, root, dirs_exist_ok=True)
    taken = TAKEN[template]
    for target, origin in written(template).items():
        text = (root / "scenario" / origin).read_text(encoding="utf-8")
        values = {**taken, "seconds": "5400"} if target == "tests/test_durations.py" else taken
        path = root / target
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            re.sub(r"\{(\w+)\}", lambda found, values=values: values.get(found[1], found[0]), text),
            encoding="utf-8",
        )


def judged(root: Path, check: str) -> tuple[int, str]:
    """A check's exit status and all that it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *f"checks/{check}".split()], cwd=root, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


CHECKS = {
    "single": ("check_table.py",),
    "pipeline": ("check_research.py", "check_design.py", "check_code.py", "run_tests.py"),
    "parallel-research": ("check_research.py dogwood", "check_comparison.py"),
    "map-reduce": ("check_map.py south", "check_reduce.py"),
    "build-monitor": ("build.py --complete", "build.py"),
    "refactor": ("check_types.py", "check_module.py report", "run_tests.py"),
    "phased": ("check_plan.py", "check_code.py", "check_tests.py"),
}


@pytest.mark.parametrize("template", CHECKS)
def test_good_work_passes_and_leaves_no_file(template: str, tmp_path: Path) -> None:
    make(template, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for check in CHECKS[template]:
        code, said = judged(tmp_path, check)
        assert code == 0, said
    assert sorted(tmp_path.rglob("*")) == before


def test_before_the_refactoring_the_tests_pass_and_the_modules_do_not(tmp_path: Path) -> None:
    shutil.copytree(templates_dir() / "refactor", tmp_path, dirs_exist_ok=True)
    assert judged(tmp_path, "run_tests.py")[0] == 0
    code, said = judged(tmp_path, "check_module.py receipt")
    assert code == 1
    assert "shop/receipt.py: does not import from shop.types" in said
    assert "still has _cents of its own" in said


@pytest.mark.parametrize(
    ("template", "check", "file", "old", "new", "fault"),
    [
        ("single", "check_table.py", "table.py", r'"|", r"\|"', '"|", "|"', "no numbers, signs of Markdown"),
        ("single", "check_table.py", "table.py", "[0-9]+(", "\\d+(", "no numbers, signs"),
        ("single", "check_table.py", "table.py", "        return 1\n", "        return 0\n", "a row too long: exit status 0"),
        ("build-monitor", "build.py", "text/slug.py", "title).enc", "title)).enc", "error: text/slug.py:9: unmatched ')'"),
        ("build-monitor", "build.py", "text/slug.py", "import re\n", "import nothing_such\n", "error: text/slug.py: ModuleNotFoundError"),
        ("build-monitor", "build.py", "text/slug.py", '"NFKD"', '"NFC"', "error: tests/test_slug.py: test_accents_are_dropped: AssertionError: "),
        ("build-monitor", "build.py", "text/toc.py", "if number else name", "if name else name", "error: tests/test_toc.py: test_levels: "),
        ("pipeline", "check_research.py", "docs/research.md", "| m | 4 |", "| m | 5 |", "in examples.txt"),
        ("pipeline", "check_research.py", "docs/research.md", "- `never` ", "- never ", "the odd values are ['10']"),
        ("pipeline", "check_research.py", "docs/research.md", "`12h`", "`13h`", "'13h', is no value with that unit"),
        ("pipeline", "check_design.py", "docs/design.md", "| 216000 |", "| 216001 |", "'2d12h' is 216001, not 216000"),
        ("pipeline", "check_design.py", "docs/design.md", "| `never` | error |\n", "", "no example 'never'"),
        ("pipeline", "check_design.py", "docs/design.md", "(text: str)", "(text)", "it is not def NAME(text: str) -> int"),
        ("pipeline", "check_design.py", "docs/design.md", "\n3. ", "\n2. ", "is not a list 1., 2."),
        ("pipeline", "check_code.py", "durations.py", '"m": 60', '"m": 61', "'45m' is 2745, in the design 2700"),
        ("pipeline", "check_code.py", "durations.py", "not text or ", "", "'' is 0, without a number"),
        ("pipeline", "check_code.py", "durations.py", "{text!r} (", "(", "does not quote it"),
        ("pipeline", "check_code.py", "durations.py", 'or "0s"', 'or "0"', "0 is written as '0'"),
        ("pipeline", "check_code.py", "durations.py", "import re\n", "import re\nimport nothing_such\n", "not of the standard library"),
        ("pipeline", "run_tests.py", "durations.py", '"m": 60', '"m": 61', "failed: "),
        ("pipeline", "run_tests.py", "tests/test_durations.py", "self.assertIn", "(lambda *_: 0)", "whose refusals say nothing"),
        ("pipeline", "run_tests.py", "tests/test_durations.py", '" 90s", "90s ", "90s\\n", ', "", "reads text with blanks"),
        ("pipeline", "run_tests.py", "tests/test_durations.py", "    def test_zero", "    @unittest.skip('x')\n    def test_zero", "2 were skipped"),
        ("parallel-research", "check_research.py dogwood", "research/dogwood.md", "worker dies [3].", "worker dies [8].", "facts that there are not: 8"),
        ("parallel-research", "check_research.py dogwood", "research/dogwood.md", "places [2].", "places.", "names no fact"),
        ("parallel-research", "check_research.py dogwood", "research/dogwood.md", "| growth | 3 |", "| growth | 4 |", "no line 'Total: 34 of 40'"),
        ("parallel-research", "check_research.py dogwood", "research/dogwood.md", "## Weaknesses", "## Cons", "the headings are"),
        ("parallel-research", "check_comparison.py", "comparison.md", "| safety | 3 | 5 |", "| safety | 3 | 4 |", "where the notes give"),
        ("parallel-research", "check_comparison.py", "comparison.md", "2. Dogwood: 32", "2. Dogwood: 33", "gives Dogwood 33, its note 32"),
        ("parallel-research", "check_comparison.py", "comparison.md", "Alder does what", "Birch does what", "does not begin with the first"),
        ("parallel-research", "check_comparison.py", "research/birch.md", "| safety | 4 |", "| safety | 5 |", "is not by totals"),
        ("map-reduce", "check_map.py south", "results/south.json", '"2": 2', '"2": 3', "points is"),
        ("map-reduce", "check_map.py south", "results/south.json", "Fair price", "Good price", "nobody said 'Good price"),
        ("map-reduce", "check_map.py south", "results/south.json", '"price", "entries": 1', '"price", "entries": 2', "so the sum is 7"),
        ("map-reduce", "check_map.py south", "results/south.json", '"theme": "other"', '"theme": "looks"', "are not each once of"),
        ("map-reduce", "check_map.py south", "results/south.json", '"summary"', '"resume"', "exactly the keys"),
        ("map-reduce", "check_reduce.py", "total.json", '"sync": 6', '"sync": 5', "themes is"),
        ("map-reduce", "check_reduce.py", "total.json", "2.79", "2.8", "average is 2.8, not 2.79"),
        ("map-reduce", "check_reduce.py", "total.json", '"entries": 24', '"entries": 24.0', "entries is 24.0"),
        ("map-reduce", "check_reduce.py", "report.md", "stopped half way", "stopped quarter way", "nobody said 'stopped quarter way'"),
        ("map-reduce", "check_reduce.py", "report.md", "- price (4)", "- price (5)", "'## Themes' lists"),
        ("refactor", "check_types.py", "shop/types.py", "@dataclass(frozen=True)\n", "@dataclass\n", "Line is not frozen"),
        ("refactor", "check_types.py", "shop/types.py", "([0-9]+)\\.", "(\\d+)\\.", "Money.parse('٣.50') is no ValueError"),
        ("refactor", "check_types.py", "shop/types.py", "[1-9][0-9]*", "[0-9]+", "Line.parse('0 x Tea @ 3.50') is no ValueError"),
        ("refactor", "check_types.py", "shop/types.py", 'amount: {text!r}"', 'amount"', "does not quote the text"),
        ("refactor", "check_module.py report", "shop/report.py", "-entry[1].cents, entry[0]", "-entry[1].cents", "test_best_sellers_are_by_amount_then_name: AssertionError"),
        ("refactor", "check_module.py report", "shop/report.py", "from shop.types", "import re\nfrom shop.types", "imports re"),
        ("refactor", "check_module.py report", "shop/report.py", "from shop.types import Line, Money", "from .cart import Line, Money", "imports shop.cart.Line"),
        ("refactor", "check_module.py report", "shop/report.py", "def price_range(", "def _cents() -> float: ...\ndef price_range(", "still has _cents of its own"),
        ("refactor", "run_tests.py", "shop/cart.py", "Money(0)))", "Money(1)))", "3 of 17 tests failed"),
        ("refactor", "run_tests.py", "tests/test_cart.py", "    def test_an", "    @unittest.skip('x')\n    def test_an", "17 tests ran, 1 were skipped"),
        ("phased", "check_plan.py", "plan.md", "| faq |", "| FAQ |", "'FAQ' of 'FAQ' is no slug"),
        ("phased", "check_plan.py", "plan.md", "| FAQ | faq |\n", "", "lacks ['FAQ']"),
        ("phased", "check_plan.py", "plan.md", "whats-new-in-20 |", "whats-new-in-2-0 |", "two titles have the slug 'whats-new-in-2-0'"),
        ("phased", "check_plan.py", "plan.md", "\n3. ", "\n2. ", "is not a list 1., 2."),
        ("phased", "check_code.py", "slugs.py", '"+": " plus "', '"+": " "', "in the plan 'getting-started-with-c-plus-plus'"),
        ("phased", "check_code.py", "slugs.py", "words[0][:MOST]", "words[0]", "which is no slug"),
        ("phased", "check_code.py", "slugs.py", "{title!r}", "it", "a ValueError that does not quote it"),
        ("phased", "check_code.py", "slugs.py", "[a-z0-9]+", "[^\\W_]+", "not a ValueError"),
        ("phased", "check_tests.py", "slugs.py", "MOST = 40", "MOST = 39", "test_5_whole_words"),
        ("phased", "check_tests.py", "tests/test_slugs.py", 'self.assertEqual(slug("Notes+"), "notes-plus")', "pass", "that leaves '+' out"),
        ("phased", "check_tests.py", "tests/test_slugs.py", "    def test_a_slug", "    @unittest.skip('x')\n    def test_a_slug", "1 were skipped"),
        ("phased", "check_tests.py", "docs/slugs.md", "`dont-panic`", "`don-t-panic`", "is 'dont-panic', not 'don-t-panic'"),
        ("phased", "check_tests.py", "docs/slugs.md", "\n6. ", "\n5. ", "each of the 6 rules"),
    ],
)  # fmt: skip
def test_a_fault_is_seen(
    tmp_path: Path, template: str, check: str, file: str, old: str, new: str, fault: str
) -> None:
    make(template, tmp_path)
    path = tmp_path / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    code, said = judged(tmp_path, check)
    assert code == 1, said
    assert fault in said
