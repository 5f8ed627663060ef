"""What goes first: by the way to the end, with what is known of the stages' durations."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from doit.action import BaseAction
from doit.control import TaskControl
from doit.dependency import Dependency, JsonDB
from doit.exceptions import TaskFailed
from doit.reporter import ZeroReporter
from doit.task import Task
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.plugin import runner
from dodo_claude.plugin.order import Ready, ways


def task(name: str, *needs: str, setup: Iterable[str] = ()) -> Any:
    return SimpleNamespace(name=name, task_dep=list(needs), setup_tasks=list(setup), calc_dep=set())


def found(
    *tasks: Any, selected: Iterable[str] = (), past: dict[str, float] | None = None
) -> dict[str, float]:
    table = {each.name: each for each in tasks}
    known = past or {}
    return ways(table, list(selected) or table, lambda each: not each.name.startswith("group"), known.get)


def test_a_way_is_the_longest_chain_that_begins_there() -> None:
    chain = (task("a"), task("b", "a"), task("c", "b"), task("short", "a"))
    assert found(*chain, past={"a": 1, "b": 2, "c": 3, "short": 4}) == {"a": 6, "b": 5, "c": 3, "short": 4}


def test_what_has_no_history_counts_as_the_median() -> None:
    stages = (task("a"), task("b"), task("c"), task("new", "c"))
    assert found(*stages, past={"a": 1, "b": 5, "c": 60}) == {"a": 1, "b": 5, "c": 65, "new": 5}
    assert found(*stages) == {"a": 1, "b": 1, "c": 2, "new": 1}  # else by their number


def test_a_group_takes_no_time_and_passes_on_its_way() -> None:
    stages = (task("a"), task("group", "a"), task("b", "group", setup=["first"]), task("first"))
    assert found(*stages, past={"a": 1, "b": 2, "first": 3}) == {"a": 3, "group": 2, "b": 2, "first": 5}


def test_only_what_is_selected_or_needed_counts() -> None:
    stages = (task("a"), task("b", "a"), task("c", "b"))
    assert found(*stages, selected=["b"]) == {"a": 2, "b": 1}


def test_a_chain_of_ten_thousand_and_a_circle() -> None:
    chain = [task("0"), *(task(str(number), str(number - 1)) for number in range(1, 10_000))]
    assert found(*reversed(chain))["0"] == 10_000
    assert set(found(task("a", "b"), task("b", "a"))) == {"a", "b"}  # an error that doit tells of


@given(st.lists(st.floats(0, 9), min_size=1, max_size=9), st.booleans())
def test_the_longest_first_and_else_the_earliest(lengths: list[float], late: bool) -> None:
    ready, names = Ready(), [str(number) for number in range(len(lengths))]
    table = dict(zip(names, lengths, strict=True))
    if not late:
        ready.order(table)
    for name in names:
        ready.add(SimpleNamespace(task=SimpleNamespace(name=name)))
    if late:
        ready.order(table)
    taken = []
    while ready:
        taken.append(ready.take().task.name)
    assert taken == sorted(names, key=lambda name: (-table[name], int(name)))


# -- in doit's runner


class Note(BaseAction):
    """Writes down that it runs; `then` says how it went."""

    def __init__(self, log: list[str], name: str, then: Callable[[], object] = lambda: None) -> None:
        self.log, self.name, self.then = log, name, then
        self.task = self.out = self.err = self.result = None
        self.values: dict[str, Any] = {}

    def execute(self, out: object = None, err: object = None) -> Any:
        self.log.append(self.name)
        return self.then()


class Play:
    """Tasks, run as `doit orchestrate` runs them; each that is noted counts as a stage."""

    def __init__(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.tasks: list[Task] = []
        self.path = tmp_path
        monkeypatch.setattr(runner, "stage_of", lambda task: task if task.actions else None)

    def add(self, name: str, *needs: str, then: Callable[[], object] = lambda: None, **keys: Any) -> None:
        self.tasks.append(Task(name, [Note(self.log, name, then)], task_dep=list(needs), **keys))

    def run(self, slots: int = 1, past: dict[str, float] | None = None, **keys: Any) -> int:
        control = TaskControl(self.tasks)
        control.process(None)
        made = runner.StageRunner(
            Dependency(JsonDB, str(self.path / "db")), ZeroReporter(io.StringIO(), {}), True, False, None, slots,
            run=None, past=(past or {}).get, **keys,
        )  # fmt: skip
        self.made = made
        return made.run_all(control.task_dispatcher())


@pytest.fixture
def play(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Play:
    return Play(tmp_path, monkeypatch)


def test_the_longest_way_first_whatever_the_files_order(play: Play) -> None:
    for name in ("one", "two", "three"):
        play.add(name)
    play.add("c0")
    play.add("c1", "c0")
    play.add("c2", "c1")
    assert play.run() == 0
    assert play.log == ["c0", "c1", "one", "two", "three", "c2"]


def test_past_durations_decide(play: Play) -> None:
    for name in ("short", "long", "new"):
        play.add(name)
    assert play.run(past={"short": 1, "long": 9}) == 0
    assert play.log == ["long", "new", "short"]


def test_groups_and_setups_and_failures_are_doits(play: Play) -> None:
    play.add("first")
    play.add("bad", then=lambda: TaskFailed("no"))
    play.add("never", "bad")
    play.tasks.append(Task("group", None, task_dep=["first"], has_subtask=True))
    play.add("after", "group", setup=["before"])
    play.add("before")
    assert play.run(slots=2) == 1
    assert sorted(play.log) == ["after", "bad", "before", "first"]
    assert play.log.index("first") < play.log.index("after")
    assert play.log.index("before") < play.log.index("after")
    assert set(play.made._ends.said()) >= {"never"}


def test_what_is_up_to_date_is_not_run_and_what_waits_for_it_is(play: Play, tmp_path: Any) -> None:
    (tmp_path / "in").write_text("x")
    play.add("a", file_dep=[str(tmp_path / "in")])
    play.add("b", "a")
    assert play.run() == 0
    assert play.run() == 0
    assert play.log == ["a", "b", "b"]


def test_a_place_that_is_given_back_is_the_next_ones(play: Play) -> None:
    """The first ends only after the second has begun, though there is one place."""
    begun = threading.Event()

    def ending() -> None:
        play.made._news.put(("first", None))
        assert begun.wait(60)

    play.add("first", then=ending)
    play.add("second", then=begun.set)
    assert play.run() == 0
    assert play.log == ["first", "second"]


def test_no_more_than_twice_as_many_are_under_way(play: Play) -> None:
    gate, count, most = threading.Event(), [0], [0]

    def ending(name: str) -> None:
        count[0] += 1
        most[0] = max(most[0], count[0])
        play.made._news.put((name, None))
        if name == "3":  # by now one more could have been begun
            threading.Timer(0.05, gate.set).start()
        assert gate.wait(60)
        count[0] -= 1

    for number in range(8):
        play.add(str(number), then=lambda name=str(number): ending(name))
    assert play.run(slots=2) == 0
    assert len(play.log) == 8
    assert most[0] <= 4


def test_a_fault_in_a_thread_ends_the_run(play: Play) -> None:
    def fault() -> None:
        raise ZeroDivisionError("mine")

    play.add("a", then=fault)
    play.add("b")
    with pytest.raises(ZeroDivisionError, match="mine"):
        play.run()
