"""The benches' frame: figures, goals, tables; and that a bench runs. Nothing here judges a time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import frame, goals, graphs, nothing, table
from tests.bench.frame import Figure, Skipped, Spread

ROOT = Path(__file__).resolve().parents[1]
GOALS = (
    goals.Goal("a/x", 2.0, "a reason"),
    goals.Goal("a/y", 10.0, "another", at_least=True),
    goals.Goal("a/z", 1.0, "a third"),
    goals.Goal("b/x", 1.0, "of a bench that did not run"),
)
FOUND = (
    Figure("a/x", "ms", Spread(3.0, 2.5, 3.5, 7)),
    Figure("a/y", "", Spread(10.0, 10.0, 10.0, 3)),
    Skipped("a/z", "no such tool here"),
)


def test_a_spread_is_the_median_with_its_quartiles() -> None:
    assert frame.spread([4.0, 1.0, 2.0, 3.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert frame.spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert frame.quantile([0.0, 1.0], 0.25) == 0.25
    # Five blocks, of which one is slow.
    values = [value for slowest in (2.0, 3.0, 4.0, 5.0, 90.0) for value in (*[1.0] * 9, slowest)]
    assert frame.spread_of_quantile(values, 1.0) == Spread(4.0, 3.0, 5.0, 50)


def test_a_ratio_is_that_of_each_round() -> None:
    # A machine that is three times as slow in the last round changes no ratio.
    assert frame.ratio("r", [2.0, 4.0, 6.0], [1.0, 2.0, 3.0]).spread == Spread(2.0, 2.0, 2.0, 3)


def test_what_is_compared_takes_turns_and_the_first_rounds_do_not_count() -> None:
    calls: list[str] = []

    def taker(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = frame.in_turn(2, {name: lambda name=name: taker(name) for name in "ab"}, warm=1)  # type: ignore[misc]
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [4.0, 5.0], "b": [3.0, 6.0]}


def test_what_takes_too_long_is_cut_short() -> None:
    found = frame.in_turn(100, {"slow": lambda: 1.0}, within=-1.0)
    assert found == {"slow": [1.0] * frame.LEAST_ROUNDS}


def test_a_command_is_timed_to_its_end_and_must_do_what_it_should(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin"}
    done = frame.took(["sh", "-c", "echo said; exit 3"], tmp_path, env, code=3)
    assert done.out == "said\n"
    assert done.wall > 0
    with pytest.raises(frame.CommandFailed, match=r"(?s)ended with 3.*said"):
        frame.took(["sh", "-c", "echo said; exit 3"], tmp_path, env)


def test_a_goal_is_met_missed_or_not_measured() -> None:
    x, y, z = goals.verdicts(FOUND, GOALS)
    assert (x.met, x.far) == (False, 1.5)
    assert (y.met, y.far) == (True, 1.0)
    assert (z.met, z.far, z.why_not) == (None, None, "no such tool here")
    short = Figure("a/y", "", Spread(4.0, 4.0, 4.0, 1))
    (missed,) = goals.verdicts([short], GOALS[1:2])
    assert (missed.met, missed.far) == (False, 2.5)


def test_a_bench_that_failed_leaves_its_goals_unmeasured() -> None:
    judged = goals.verdicts([Skipped("hook", "it failed: OSError")])
    assert {verdict.goal.figure.partition("/")[0] for verdict in judged} == {"hook"}
    assert {verdict.why_not for verdict in judged} == {"it failed: OSError"}


def test_goals_are_of_benches_that_there_are() -> None:
    assert {goal.figure.partition("/")[0] for goal in goals.GOALS} <= set(bench.BENCHES)
    names = [*bench.BENCHES, *bench.LONG]
    assert [bench.load(name).NAME for name in names] == names


def test_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "verdicts", lambda found: goals.verdicts(found, GOALS))
    report = table.Report({"machine": "2 cores"}, {"a": "What a is."}, FOUND)
    assert table.summary(report).splitlines()[2:] == [
        "| a/x | ≤ 2.00 ms | 3.00 ms | no: 1.50× the goal |",
        "| a/y | ≥ 10.0 | 10.0 | yes |",
        "| a/z | ≤ 1.00 | – | not measured: no such tool here |",
    ]
    text = table.markdown(report)
    assert "- machine: 2 cores" in text
    assert "### a\n\nWhat a is.\n" in text
    assert "| x | 3.00 ms | 2.50 – 3.50 | 7 |  |" in text
    assert "| z | – | | | skipped: no such tool here |" in text
    told = json.loads(table.as_json(report))
    assert [goal["met"] for goal in told["goals"]] == [False, True, None]
    assert told["figures"][0] == {
        "name": "a/x",
        "unit": "ms",
        "median": 3.0,
        "low": 2.5,
        "high": 3.5,
        "number": 7,
    }


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.0123, "0.0123"), (0.5, "0.50"), (12.34, "12.3"), (1234.5, "1234")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert table.number(value) == text


def test_a_table_takes_the_place_of_the_one_before() -> None:
    text = f"before\n{table.BEGIN}\n\nold\n\n{table.END}\nafter\n"
    renewed = table.with_table(text, r"new \1")
    assert renewed == f"before\n{table.BEGIN}\n\nnew \\1\n\n{table.END}\nafter\n"
    with pytest.raises(ValueError, match="no marks"):
        table.with_table("nothing", "new")


@pytest.mark.parametrize("name", ["README.md", "tests/bench/README.md"])
def test_the_readmes_have_a_place_for_it(name: str) -> None:
    table.with_table((ROOT / name).read_text(encoding="utf-8"), "x")


def test_the_least_time_of_a_graph() -> None:
    assert graphs.bound(graphs.independent(64, 0.25), 8) == 2.0
    assert graphs.bound(graphs.chain(6, 0.5), 8) == 3.0
    assert graphs.bound(graphs.layers(10, 4, 0.3), 8) == pytest.approx(3.0)
    assert graphs.bound(graphs.chain(2, 1.0), 8, {"c0": 2.0, "c1": 0.5}) == 2.5
    gathered = graphs.gathered(32, 0.25)
    assert graphs.bound(gathered, 8) == graphs.least(gathered, 8) == 1.25
    last = graphs.chain_defined_last(48, 6, 0.5)
    assert graphs.bound(last, 8) == 3.375
    assert graphs.least(last, 8) == 3.5
    assert math.isclose(graphs.least(graphs.layers(3, 4, 1.0), 2), 6.0)


def test_the_same_graph_for_everybody() -> None:
    assert nothing.reads(5) == ["in/5.txt"]
    assert nothing.reads(105) == ["in/105.txt", "out/5.txt"]
    assert "out/105.txt: in/105.txt out/5.txt\n" in nothing.makefile(106)
    assert '"deps": ["s5"], "sources": ["in/105.txt", "out/5.txt"]' in nothing.taskfile(106)
    assert "rule s105:\n    input: ['in/105.txt', 'out/5.txt']" in nothing.snakefile(106)


def test_a_bench_runs_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = tmp_path / "lab"
    monkeypatch.setattr("tests.bench.lab.tempfile.mkdtemp", lambda **_: str(lab))
    lab.mkdir()
    assert bench.main(["hook", "--quick", "--out", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "bench.json").read_text())
    figures = {figure["name"]: figure for figure in told["figures"]}
    assert figures["hook/50 at once/whole"]["median"] == 50
    assert {goal["figure"] for goal in told["goals"]} == set(figures) & {goal.figure for goal in goals.GOALS}
    assert "## Goals" in (tmp_path / "out" / "bench.md").read_text()
    assert "| hook/small/of fork |" in capsys.readouterr().out
    assert not lab.exists()


def test_an_unknown_bench_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["hooc"])
    assert "no bench hooc (there are: hook, " in capsys.readouterr().err
