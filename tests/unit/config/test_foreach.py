"""The items of a foreach: files that globs find, lines of a file, and what waits for a file that is not made yet."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.config import foreach, groups, shapes
from dodo_claude.config.config import Blueprint, load_config
from dodo_claude.config.documents import Document, Table
from dodo_claude.config.findings import Findings
from dodo_claude.config.groups import Concerned, Group, Late
from dodo_claude.config.locate import locate
from dodo_claude.config.paths import Project as Folder
from dodo_claude.config.paths import matcher
from dodo_claude.config.records import Config
from dodo_claude.config.shapes import overlap, shape_of, shape_of_glob
from dodo_claude.run import approval
from dodo_claude.text.errors import ConfigError

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Writes orchestrate.toml and other files, each with its name as its text."""

    def write(text: str, *names: str, **files: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        for name, content in files.items():
            (tmp_path / f"{name}.txt").write_text(content)
        path = tmp_path / "orchestrate.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def names(config: Config) -> list[str]:
    return [stage.name for stage in config.stages]


def complaint(path: Path, settled: set[str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        Blueprint(path).config(settled)
    return str(caught.value)


# -- files

MAP = """
[stages.map]
foreach = { glob = ["src/**/*.py", "lib/*.py"] }
prompt = "Sum up {{ files[item] }}"
targets = ["out/{{ item }}.md"]
check = "test -s out/{{ item }}.md"
"""


def test_the_files_of_globs_in_order(project: Project, tmp_path: Path) -> None:
    path = project(
        MAP, "src/b.py", "src/a.py", "src/sub/c.py", "lib/a.py", "src/.hidden/x.py", "src/.y.py", "src/d.txt"
    )
    (tmp_path / "lib/out.py").symlink_to("/etc/hostname")
    config = load_config(path)
    assert names(config) == ["map:lib/a.py", "map:src/a.py", "map:src/b.py", "map:src/sub/c.py"]
    stage = config.stages[3]
    assert (stage.item, stage.group, stage.targets) == ("src/sub/c.py", "map", ("out/src/sub/c.py.md",))
    assert stage.file_dep == ("src/sub/c.py",)  # by itself, whether or not the prompt takes it in
    assert stage.prompt_files == ("src/sub/c.py",)
    assert dict(config.groups) == {"map": tuple(names(config))}
    (tmp_path / "src/new.py").write_text("x")
    assert "map:src/new.py" in names(load_config(path))


def test_an_item_that_is_its_own_target_is_changed_in_place(project: Project) -> None:
    text = '[stages.map]\nforeach = { glob = "*.py" }\ncommand = "x {{ item }}"\ntargets = ["{{ item }}"]\n'
    (stage,) = load_config(project(text, "a.py")).stages
    assert (stage.targets, stage.file_dep) == (("a.py",), ())


CHAIN = """
[stages.second]
foreach = { glob = "mid/*.txt" }
command = "x"
targets = ["end/{{ item | name }}"]
[stages.first]
foreach = { glob = "in/*.txt" }
command = "x"
targets = ["mid/{{ item | name }}"]
[stages.single]
command = "x"
targets = ["mid/single.txt"]
"""


def test_targets_of_other_stages_are_items_before_they_are_made(project: Project) -> None:
    config = load_config(project(CHAIN, "in/a.txt", "in/b.txt"))
    found = {stage.name: stage for stage in config.stages}
    assert list(found) == [
        "second:mid/a.txt", "second:mid/b.txt", "second:mid/single.txt", "first:in/a.txt", "first:in/b.txt", "single",
    ]  # fmt: skip
    assert found["second:mid/a.txt"].file_dep == ("mid/a.txt",)


def test_a_new_file_asks_no_new_question(project: Project, tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    path = project(MAP, "src/a.py")
    approval.approve(load_config(path), environ)
    project(MAP, "src/b.py")
    assert approval.unapproved(load_config(path), environ) == []
    # What is made of the items counts, with every filter that it has.
    project(MAP.replace('"test -s out/{{ item }}.md"', '"test -s out/{{ item | stem }}.md"'))
    (item,) = approval.unapproved(load_config(path), environ)
    assert item.what == "check of stage 'map'"
    assert item.text == "test -s out/{{ item | stem }}.md"


# -- lines

LINES = """
[stages.map]
foreach = { lines = "topics.txt" }
prompt = "Look into {{ item }}"
targets = ["out/{{ item }}.md"]
[stages.all]
prompt = "{% for path, text in files.glob('out/*.md') %}{{ text }}{% endfor %}"
targets = ["all.md"]
[stages.other]
command = "x"
file_dep = ["out/a.md"]
after = ["map:b"]
"""
MAKER = '[stages.gen]\ncommand = "x"\ntargets = ["topics.txt"]\n'


def test_lines_that_nobody_makes_are_known_at_once(project: Project) -> None:
    path = project(LINES, topics="\n# first\n  a \r\nb\na\n\n#c\ngo/cui\n")
    for settled in (None, set[str]()):
        config = Blueprint(path).config(settled)
        assert names(config)[:3] == ["map:a", "map:b", "map:go/cui"]
        assert config.late == ()
        assert config.stages[3].file_dep == ("out/a.md", "out/b.md")
        assert config.stages[0].file_dep == ()


def test_lines_that_a_stage_makes_are_known_when_it_is_done(project: Project) -> None:
    path = project(LINES + MAKER, topics="a\nb\n")
    config = Blueprint(path).config(set())
    assert names(config) == ["all", "other", "gen"]
    (late,) = config.late
    assert (late.group, late.makers, late.source) == ("map", ("gen",), "the lines of topics.txt")
    assert late.template.prompt == "Look into {{ item }}"
    # Who reads what the group may make comes after all of it.
    assert [stage.after for stage in config.stages] == [("map",), ("map",), ()]
    assert config.stages[0].file_dep == ()

    config = Blueprint(path).config({"map"})
    assert names(config) == ["map:a", "map:b", "all", "other", "gen"]
    assert config.late == ()
    assert config.stages[0].after == ("gen",)
    assert config.stages[2].prompt_globs == (("out/*.md", ("out/a.md", "out/b.md")),)
    assert config.stages[3].after == ("map:b",)


def test_when_nothing_runs_the_lines_that_are_there_are_taken(project: Project, tmp_path: Path) -> None:
    path = project(LINES + MAKER, topics="a\nb\n")
    assert names(load_config(path))[:2] == ["map:a", "map:b"]
    # What a worker did badly is its stage's to mend: nobody is kept from looking.
    (tmp_path / "topics.txt").write_text("a b\n")
    assert [foreach.group for foreach in load_config(path).late] == ["map"]
    assert complaint(path, {"map"}).startswith(
        "topics.txt:1:1: stages.map.foreach.lines: 'a b' is not an item"
    )
    (tmp_path / "topics.txt").unlink()
    assert [foreach.group for foreach in load_config(path).late] == ["map"]
    assert complaint(path, {"map"}) == "topics.txt:1:1: stages.map.foreach.lines: no such file"


def test_a_task_of_dodo_py_may_make_the_lines(project: Project) -> None:
    path = project(LINES, topics="a\nb\n")
    config = Blueprint(path, made_by={"topics.txt": "make"}).config(set())
    assert config.late[0].makers == ("make",)
    assert Blueprint(path, made_by={"topics.txt": "make"}).config({"map"}).stages[0].after == ("make",)


def test_a_group_may_wait_for_a_group(project: Project) -> None:
    more = '[stages.next]\nforeach = { glob = "out/*.md" }\ncommand = "x"\ntargets = ["next/{{ item | name }}"]\n'
    path = project(LINES + MAKER + more, topics="a\nb\n")
    blueprint = Blueprint(path)
    assert [late.makers for late in blueprint.config(set()).late] == [("gen",), ("map",)]
    assert [late.makers for late in blueprint.config({"map"}).late] == []
    assert names(blueprint.config({"map"}))[-2:] == ["next:out/a.md", "next:out/b.md"]


def test_what_is_approved_does_not_depend_on_the_items(project: Project, tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    blueprint = Blueprint(project(LINES + MAKER, topics="a\nb\n"))
    approval.approve(blueprint.config(set()), environ)
    assert approval.unapproved(blueprint.config({"map"}), environ) == []


# -- what a group may make


@pytest.mark.parametrize(
    ("target", "path", "may"),
    [
        ("out/{{ item }}.md", "out/a.md", True),
        ("out/{{ item }}.md", "out/sub/a.md", True),
        ("out/{{ item }}.md", "out/*.md", True),
        ("out/{{ item }}.md", "**/*.md", True),
        ("out/{{ item }}.md", "out/a*", True),
        ("out/{{ item }}.md", "out/[ab].md", True),
        ("out/{{ item }}.md", "out/*.txt", False),
        ("out/{{ item }}.md", "in/*.md", False),
        ("out/{{ item }}.md", "*.md", False),
        ("out/{{ item }}.md", "out/a.mdx", False),
        ("out/fixed.md", "out/fixed.md", True),
        ("{{ item }}", "a/?/b", True),
        ("a{% if item %}x{% endif %}b", "ab", True),
    ],
)
def test_what_a_group_may_make(target: str, path: str, may: bool) -> None:
    assert overlap(shape_of(target), shape_of_glob(path)) is may


@given(st.text("ab/.", min_size=1, max_size=6), st.text("ab/*?.", min_size=1, max_size=6))
def test_what_a_glob_matches_has_its_shape(path: str, glob: str) -> None:
    if matcher(glob)(path):
        assert overlap(shape_of(path), shape_of_glob(glob))


PARTS = st.lists(st.tuples(st.sampled_from(["a", "b", "/", "", "\0"]), st.booleans()), max_size=7).map(tuple)


@given(PARTS, PARTS)
def test_shapes_overlap_that_have_a_text_in_common(one: shapes.Shape, other: shapes.Shape) -> None:
    seen, waiting = set(), [(0, 0)]
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen.add(at)
            waiting += steps(one, other, *at)
    assert overlap(one, other) is overlap(other, one) is ((len(one), len(other)) in seen)


def steps(one: shapes.Shape, other: shapes.Shape, at: int, to: int) -> Iterator[tuple[int, int]]:
    """Where two readers of the same text may stand after one more character, or after none."""
    if one[at:] and one[at][1]:
        yield at + 1, to
    if other[to:] and other[to][1]:
        yield at, to + 1
    if one[at:] and other[to:] and shapes._alike(one[at][0], other[to][0]):
        yield at + (not one[at][1]), to + (not other[to][1])


def test_a_part_of_any_length_is_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    spread = shapes._spread
    monkeypatch.setattr(shapes, "_spread", lambda *bits: (asked.append(bits), spread(*bits))[1])
    assert overlap(shape_of("{{ item }}a" * 50), shape_of_glob("*a" * 200))
    assert len(asked) <= 101


def test_of_many_late_groups_each_shape_is_compared_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "dodo_claude.config.groups.overlap", lambda *pair: (asked.append(pair), overlap(*pair))[1]
    )
    groups = late(tmp_path, *["{{ item }}a"] * 30, "{{ item }}b", "{{ item }}.txt")
    assert len(groups.makers("*a")) == 30
    assert len(asked) == 1  # what ends otherwise is not compared


def test_a_reader_of_one_late_group_does_not_look_at_all(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    name = Group.name.fget
    monkeypatch.setattr(Group, "name", property(lambda group: (asked.append(group), name(group))[1]))
    text = '[stages.m]\ncommand = "x"\ntargets = ["l.txt"]\n' + "".join(
        f'[stages.g{number}]\ncommand = "x"\nforeach = {{ lines = "l.txt" }}\ntargets = ["g{number}/{{{{ item }}}}"]\n'
        f'[stages.r{number}]\ncommand = "x"\nfile_dep = ["g{number}/a", "g{39 - number}/b"]\n'
        for number in range(40)
    )
    stages = {stage.name: stage for stage in load_config(project(text)).stages}
    assert stages["r7"].after == ("g7", "g32")
    assert stages["r32"].after == ("g7", "g32")  # in the file's order
    assert len(asked) < 40 * 25


def test_whether_a_file_is_there_is_asked_once_for_all_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    is_there = foreach.inputs.is_there
    monkeypatch.setattr(foreach.inputs, "is_there", lambda path: (asked.append(path), is_there(path))[1])
    groups = late(tmp_path, *["x"] * 5)
    for group in groups.groups:
        group.plan, group.shapes = "p.toml", ()
    groups = Late(groups.groups)
    assert groups.makers("no") == groups.groups
    assert len(asked) == 1


def test_how_much_late_groups_are_compared_has_a_limit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MOST_COMPARED", 21)
    text = (
        '[stages.s]\ncommand = "x"\ntargets = ["l.txt"]\n'
        '[stages.g]\ncommand = "x"\nforeach = { lines = "l.txt" }\ntargets = ["{{ item }}xyz"]\n'
    )
    reader = '[stages.r]\ncommand = "x"\nfile_dep = ["*xyz", "a*xyz", "b*xyz", "c*xyz", "d*xyz", "e*xyz"]\n'
    assert load_config(project(text + reader.replace(', "e*xyz"', "")))
    assert complaint(project(text + reader)) == (
        "orchestrate.toml:6:11: stages.g.foreach: what its stages may make takes more than 21 steps to compare with what "
        "others read (let its targets begin with a folder of their own, or name them with fewer stars)"
    )


def test_the_search_costs_little(project: Project) -> None:
    count = 2000
    items = "".join(f"item-{number}\n" for number in range(count))
    path = project(LINES.partition("[stages.other]")[0], topics=items)
    before = os.times()
    assert len(load_config(path).stages) == count + 1
    after = os.times()
    assert after.user + after.system - before.user - before.system < 5


def late(root: Path, *targets: str) -> Late:
    document = Document({}, Findings("orchestrate.toml", locate("")), Folder(str(root)))
    groups = (Group(Table(f"g{number}", {}, document), items=None) for number in range(len(targets)))
    made = []
    for group, target in zip(groups, targets, strict=True):
        group.shapes = (shape_of(target),)
        made.append(group)
    return Late(made)


@pytest.mark.parametrize(
    "path", ["a/b", "a", "a/b.md", "a/*", "*", "b/**", "**/x", "[ab]/x", "x.txt", "a/b/c"]
)
def test_of_late_groups_those_are_found_that_may_make_a_path(tmp_path: Path, path: str) -> None:
    groups = late(
        tmp_path, "a/{{ item }}", "{{ item }}.md", "b/{{ item }}/x", "x.txt", "a/b/{{ item }}", "{{ item }}"
    )
    assert groups.makers(path) == tuple(group for group in groups.groups if group.may_make(path))


def test_of_many_late_groups_few_are_compared(tmp_path: Path) -> None:
    groups = late(tmp_path, *(f"out{number}/{{{{ item }}}}" for number in range(300)))
    assert [group.name for group in groups.makers("out7/x")] == ["g7"]
    assert groups._near("out7/x") == {7}
    assert len(groups._near("out1*/x")) == 111  # of 1, 10 to 19, 100 to 199


def test_so_many_groups_may_feed_each_other_in_a_row(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreach, "MAX_ROUNDS", 4)

    def chain(length: int) -> Path:
        groups = (
            f'[stages.g{n}]\ncommand = "x"\nforeach = {{ glob = "a{n}/*" }}\ntargets = ["a{n + 1}/{{{{ item | name }}}}"]\n'
            for n in range(length)
        )
        return project("".join(groups), "a0/x")

    assert len(load_config(chain(3)).stages) == 3
    with pytest.raises(ConfigError) as caught:
        load_config(chain(6))
    assert str(caught.value) == (
        "orchestrate.toml:15:11: stages.g3.foreach: items and targets of g3 feed each other for more than 4 rounds "
        "(let the glob find other files than the targets)"
    )


GLOBS = ("a/*.x", "a/**", "b/**/*.x", "*/k.x", "**/*.x", "l/*.x", "b/c?/*", "[ab]/*.x", "k.*", "a/b/*")
TARGETS = ("a/k.x", "b/{{ item | stem }}.x", "l/{{ item | name }}", "a/b/{{ item | stem }}.y", "k.x", "b/cd/{{ item | name }}",
           "{{ item | parent }}/z.x", "a")  # fmt: skip
SOURCES = st.one_of(
    st.builds("foreach = {{ glob = '{}' }}".format, st.sampled_from(GLOBS)),
    st.builds("foreach = {{ lines = '{}' }}".format, st.sampled_from(["a/k.x", "l/k.x", "made.txt", "k.x"])),
    st.just("foreach = ['i.x', 'a/j.x']"),
    st.just(""),
)
GROUPS = st.lists(st.tuples(SOURCES, st.sampled_from(TARGETS)), min_size=1, max_size=6)


@given(GROUPS, st.booleans())
def test_who_is_not_looked_at_again_would_have_found_the_same(
    groups: list[tuple[str, str]], there: bool
) -> None:
    """In each round only the groups that new targets may concern look again: as if all did."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(os.path.realpath(folder))
        (root / "a").mkdir()
        (root / "l").symlink_to("a")
        if there:
            for name in ("a/k.x", "made.txt"):
                (root / name).write_text("one.x\ntwo.x\n")
        path = root / "orchestrate.toml"
        path.write_text(
            "".join(
                f"[stages.s{number}]\ncommand = 'true'\n{source}\ntargets = [{json.dumps(target)}]\n"
                for number, (source, target) in enumerate(groups)
            )
        )

        def told(settled: set[str] | None) -> object:
            try:
                return Blueprint(path).config(settled)
            except ConfigError as error:
                return str(error)

        for settled in (None, set[str](), {"s0", "s1"}):
            some = told(settled)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Concerned, "by", lambda self, targets, project: list(self._groups))
                assert told(settled) == some


def test_lines_that_are_not_made_yet_keep_nobody_from_those_that_are(
    project: Project, tmp_path: Path
) -> None:
    text = "".join(
        f"[stages.m{n}]\ncommand = 'x'\ntargets = ['l{n}']\n"
        f"[stages.g{n}]\nforeach = {{ lines = 'l{n}' }}\ncommand = 'x'\ntargets = ['o{n}/{{{{ item }}}}']\n"
        for n in range(2)
    )
    path = project(text)
    (path.parent / "l1").write_text("a\nb\n")
    config = load_config(path)
    assert [late.group for late in config.late] == ["g0"]
    assert [stage.name for stage in config.stages] == ["m0", "m1", "g1:a", "g1:b"]
