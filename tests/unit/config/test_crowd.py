"""Workers in each other's way: when `check` has a word on it, and when it has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.config import crowd
from dodo_claude.config.config import load_config

STAGE = "[stages.{}]\nprompt = 'Do it.'\ntargets = ['{}.txt']\n{}\n"


def noted(root: Path, *stages: tuple[str, str], head: str = "") -> list[str]:
    text = head + "".join(STAGE.format(name, name, keys) for name, keys in stages)
    (root / "orchestrate.toml").write_text(text)
    return list(crowd.notes(load_config(root / "orchestrate.toml")))


def test_two_side_by_side_with_the_default_tools(tmp_path: Path) -> None:
    assert noted(tmp_path, ("a", ""), ("b", ""), ("c", "")) == [
        "'a' and 'b' may work at once, and each may edit all files of the project, as 1 more: what is a target of another "
        "stage is closed to it, but of a file that no stage declares the last one's bytes stand (name what each may edit, "
        'allowed_tools = ["Edit(./src/a.py)"], and nothing for all: [agents.claude] allowed_tools = [])'
    ]


NONE = "[agents.claude]\nallowed_tools = []\n"


@pytest.mark.parametrize(
    ("head", "stages"),
    [
        ("[orchestrate]\nmax_workers = 1\n", [("a", ""), ("b", "")]),
        ("", [("a", "")]),
        ("", [("a", ""), ("b", "after = ['a']"), ("c", "file_dep = ['b.txt']")]),
        (NONE, [("a", ""), ("b", "")]),
        (NONE, [("a", "allowed_tools = ['Edit(./a.txt)']"), ("b", "allowed_tools = ['Edit(./b/**)']")]),
        (NONE, [("a", "allowed_tools = ['Edit']"), ("b", "")]),
    ],
)
def test_nothing_is_said_where_nothing_can_happen(
    tmp_path: Path, head: str, stages: list[tuple[str, str]]
) -> None:
    assert noted(tmp_path, *stages, head=head) == []


@pytest.mark.parametrize("tool", ["Edit", "Write", "Edit(**)", "Edit(./**)"])
def test_it_is_said_where_the_file_itself_allows_it(tmp_path: Path, tool: str) -> None:
    stages = [("a", f"allowed_tools = ['{tool}']"), ("b", f"allowed_tools = ['{tool}']")]
    (note,) = noted(tmp_path, *stages, head=NONE)
    assert note.startswith("'a' and 'b' may work at once, and each may edit all files of the project:")


def test_the_ends_of_a_diamond_and_the_stages_of_a_group(tmp_path: Path) -> None:
    diamond = [("a", ""), ("b", "after = ['a']"), ("c", "after = ['a']"), ("d", "after = ['b', 'c']")]
    (note,) = noted(tmp_path, *diamond)
    assert note.startswith("'b' and 'c' may")
    (tmp_path / "orchestrate.toml").write_text(
        "[stages.m]\ncommand = 'ls > list.txt'\ntargets = ['list.txt']\n"
        "[stages.each]\nforeach = { lines = 'list.txt' }\nprompt = 'Do {{ item }}.'\ntargets = ['{{ item }}.txt']\n"
    )
    (note,) = crowd.notes(load_config(tmp_path / "orchestrate.toml"))
    assert note.startswith("the stages of 'each' may work at once")


def test_of_stages_of_a_plan_it_tells_once_they_are_known_and_names_no_tools(tmp_path: Path) -> None:
    (tmp_path / "orchestrate.toml").write_text("[stages.work]\nplan = 'plan.toml'\nprompt = 'Plan.'\n")
    assert crowd.notes(load_config(tmp_path / "orchestrate.toml")) == ()
    stages = "".join(f"[stages.{name}]\nprompt = 'Do.'\ntargets = ['{name}.txt']\n" for name in "ab")
    (tmp_path / "plan.toml").write_text(stages)
    (note,) = crowd.notes(load_config(tmp_path / "orchestrate.toml"))
    assert note.endswith("(max_workers = 1 lets them work one after the other)")


def test_the_look_for_a_way_through_the_graph_ends_where_the_other_is_behind(tmp_path: Path) -> None:
    """Each stage comes after the last two: to ask whether one waits for the one before looks at no third."""
    asked: list[str] = []

    class Needs(dict[str, tuple[str, ...]]):
        def get(self, name: str, default: object = None) -> tuple[str, ...]:  # type: ignore[override]
            asked.append(name)
            return self[name]

    names = [f"s{number}" for number in range(50)]
    needs = Needs({name: tuple(names[max(0, at - 2) : at]) for at, name in enumerate(names)})
    place = {name: at for at, name in enumerate(names)}
    for at in range(1, 50):
        assert crowd._waits_for(names[at], names[at - 1], needs, place)
    assert len(asked) == 49
