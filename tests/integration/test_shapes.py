"""Stages made of files and lines, some of them known only in mid-run: by `doit orchestrate` and doit's own commands."""

from __future__ import annotations

import json
import tomllib

import pytest

from tests.integration.scenes import play, write
from tests.project import Project

MAP = """
[stages.map]
foreach = { glob = "src/**/*.txt" }
command = "mkdir -p out/{{ item | parent }} && tr a-z A-Z < {{ item }} > out/{{ item }}"
targets = ["out/{{ item }}"]
[stages.all]
command = "cat $(find out -type f | sort) > all.txt"
file_dep = ["out/**/*.txt"]
targets = ["all.txt"]
"""
LATE = """
[stages.gen]
command = "sort -u wanted.txt > topics.txt"
file_dep = ["wanted.txt"]
targets = ["topics.txt"]
[stages.map]
foreach = { lines = "topics.txt" }
command = "mkdir -p out; echo about {{ item }} > out/{{ item }}.md"
targets = ["out/{{ item }}.md"]
[stages.all]
command = "cat out/*.md > all.md"
file_dep = ["out/*.md"]
targets = ["all.md"]
[stages.side]
command = "sleep 0.2; echo x > side.txt"
targets = ["side.txt"]
"""


@pytest.fixture
def late(project: Project) -> Project:
    project.write("orchestrate.toml", LATE)
    project.write("wanted.txt", "b\na\n")
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    return project


def done(lines: list[str]) -> list[str]:
    return sorted(line.split(" done ")[0] for line in lines if " done in " in line)


# -- files


@pytest.fixture
def files(project: Project) -> Project:
    project.write("orchestrate.toml", MAP)
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    for name in ("src/a.txt", "src/sub/b.txt", "src/c.txt"):
        project.write(name, f"{name}\n")
    return project


def test_a_map_over_files_does_again_what_changed(files: Project) -> None:
    assert done(files.orchestrate().lines) == ["all", "map:src/a.txt", "map:src/c.txt", "map:src/sub/b.txt"]
    assert files.read("all.txt") == "SRC/A.TXT\nSRC/C.TXT\nSRC/SUB/B.TXT\n"
    assert "4 stages: 4 up to date" in files.orchestrate().lines[-1]
    files.write("src/sub/b.txt", "other\n")
    assert done(files.orchestrate().lines) == ["all", "map:src/sub/b.txt"]
    files.write("src/new.txt", "new\n")
    assert done(files.orchestrate().lines) == ["all", "map:src/new.txt"]
    (files.root / "src/a.txt").unlink()
    (files.root / "out/src/a.txt").unlink()
    assert done(files.orchestrate().lines) == ["all"]


def test_names_with_slashes_work_everywhere(files: Project) -> None:
    name = "map:src/sub/b.txt"
    assert done(files.orchestrate(name).lines) == [name]
    listed = files.doit("list", "--all", "--status", check=0).lines
    assert any(line.startswith(f"U {name}") for line in listed)
    assert any(line.startswith("R map:src/a.txt") for line in listed)
    assert "src/sub/b.txt" in files.doit("info", name, check=0).out
    assert files.run("dodo-claude", "log", name, check=0).out.startswith(f"{name}: attempt 1 succeeded")
    files.doit("forget", name, check=0)
    assert done(files.orchestrate(name).lines) == [name]
    files.doit("clean", "map", check=0)
    assert not (files.root / "out/src/sub/b.txt").exists()


def test_no_file_is_a_fault(project: Project) -> None:
    project.write("orchestrate.toml", MAP)
    ran = project.orchestrate(check=3)
    assert (
        "orchestrate.toml:3:20: stages.map.foreach.glob: src/**/*.txt matches no file and no target of another stage"
        in ran.err
    )


# -- lines that a stage makes


def test_a_run_that_learns_of_stages_reports_what_came_before(late: Project) -> None:
    late.edit("orchestrate.toml", "[stages.gen]\n", '[stages.gen]\ncheck = "true"\n')
    late.orchestrate()
    for fails in (False, True):
        if fails:
            late.edit("orchestrate.toml", 'check = "true"', 'check = "false"')
            late.orchestrate(check=1)
        told = json.loads(late.run("dodo-claude", "report", "--json", check=0).out)
        (gen,) = [stage for stage in told["stages"] if stage["name"] == "gen"]
        assert len(gen["attempts"]) == (2 if fails else 1)
        assert [check["result"] for check in gen["checks"] if check["kind"] == "check"] == [
            "failed" if fails else "passed"
        ]


def test_stages_are_made_of_lines_in_the_same_run(late: Project) -> None:
    assert done(late.orchestrate().lines) == ["all", "gen", "map:a", "map:b", "side"]
    assert late.read("all.md") == "about a\nabout b\n"
    plan = max((late.root / ".orchestrate/runs").glob("*/plan.toml"))
    assert "map:a" in tomllib.loads(plan.read_text())["stages"]
    assert "5 stages: 5 up to date" in late.orchestrate().lines[-1]
    assert late.orchestrate("--explain").lines == [f"{name}: up to date" for name in ("gen", "map:a", "map:b", "all", "side")]  # fmt: skip

    late.write("wanted.txt", "a\nb\nc\n")
    assert done(late.orchestrate().lines) == ["all", "gen", "map:c"]
    assert late.read("all.md") == "about a\nabout b\nabout c\n"
    # What makes the lines runs again, and makes the same: nobody else has anything to do.
    late.write("wanted.txt", "c\nb\na\n")
    assert done(late.orchestrate().lines) == ["gen"]
    assert done(late.orchestrate("-a").lines) == ["all", "gen", "map:a", "map:b", "map:c", "side"]
    # A line that is gone takes its stage along; its file stays, and is still there for a glob.
    late.write("wanted.txt", "a\n")
    assert done(late.orchestrate().lines) == ["gen"]
    assert "4 stages: 4 up to date" in late.orchestrate().lines[-1]


def test_what_is_not_known_yet_is_said(late: Project) -> None:
    assert late.orchestrate("--dry-run").lines == [
        "gen: stale", "map: known when gen is done: the lines of topics.txt", "all: looked at again after map", "side: stale",
    ]  # fmt: skip
    late.orchestrate()
    late.write("wanted.txt", "a\n")
    assert late.orchestrate("--explain").lines == [
        "gen: stale", "file 'wanted.txt' changed", "map: known when gen is done: the lines of topics.txt",
        "all: looked at again after map", "side: up to date",
    ]  # fmt: skip


def test_one_stage_by_its_name_or_target(late: Project) -> None:
    assert done(late.orchestrate("map:b").lines) == ["gen", "map:b"]
    (late.root / "topics.txt").unlink()
    assert done(late.orchestrate("out/a.md").lines) == ["gen", "map:a"]
    (late.root / "topics.txt").unlink()
    assert done(late.orchestrate("map:*").lines) == ["gen"]
    late.doit("forget", "--all")
    (late.root / "topics.txt").unlink()
    assert done(late.doit("run", "-r", "orchestrate", "map:b").lines) == ["gen", "map:b"]


@pytest.mark.parametrize("name", ["map:zzz", "out/zzz.md"])
def test_a_name_that_never_comes_to_be_is_an_error(late: Project, name: str) -> None:
    ran = late.orchestrate(name, check=1)
    assert (
        f"{name} FAILED: the lines of topics.txt: nothing there makes '{name}' (there are: a, b)" in ran.lines
    )
    assert done(ran.lines) == ["gen"]
    # Known by now, since what makes the lines is up to date.
    assert f'"{name}"' in late.orchestrate(name, check=3).err


def test_a_pattern_over_what_is_not_known_is_refused(late: Project) -> None:
    assert "map:a*: the items of map are known when gen is done" in late.orchestrate("map:a*", check=3).err


def test_a_failed_maker_leaves_the_rest_alone(late: Project) -> None:
    late.edit("orchestrate.toml", "sort -u", "exit 7; sort")
    ran = late.orchestrate(check=1)
    assert done(ran.lines) == ["side"]
    assert "all not run: needs map" in ran.lines
    assert not ran.said("map FAILED")
    late.edit("orchestrate.toml", "exit 7; sort", "sort -u")
    late.orchestrate()
    # With a list from before: its stages are not run by it.
    late.edit("orchestrate.toml", "sort -u", "exit 7; sort")
    (late.root / "out/a.md").unlink()
    ran = late.orchestrate(check=1)
    assert done(ran.lines) == []
    assert "map:a not run: needs gen" in ran.lines


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a b\\nc\\n", "topics.txt:1:1: stages.map.foreach.lines: 'a b' is not an item"),
        ("# none\\n", "topics.txt:1:1: stages.map.foreach.lines: holds no item (write one on each line)"),
        ("a/..\\n", "orchestrate.toml:9:12: stages.map.targets[0]: 'out/gen.md' is a target of stage 'gen'"),
    ],
)
def test_a_bad_line_fails_the_group_and_stops_nobody(late: Project, text: str, fault: str) -> None:
    late.edit("orchestrate.toml", "sort -u wanted.txt", f"printf '{text}'")
    if "a/.." in text:
        late.edit("orchestrate.toml", 'targets = ["topics.txt"]', 'targets = ["topics.txt", "out/gen.md"]')
        late.edit("orchestrate.toml", "> topics.txt", "> topics.txt; mkdir -p out; echo x > out/gen.md; echo gen > topics.txt")  # fmt: skip
    ran = late.orchestrate(check=1)
    assert any(line.startswith(f"map FAILED: {fault}") for line in ran.lines), ran.out
    assert done(ran.lines) == ["gen", "side"]
    assert "all not run: needs map" in ran.lines
    assert not ran.said("dodo-claude log map")
    again = late.orchestrate(check=1)
    assert any(line.startswith(f"map FAILED: {fault}") for line in again.lines)
    assert late.doit("list", check=0).lines[0].startswith("all")


def test_doits_own_commands_know_what_is_there(late: Project) -> None:
    assert late.doit("list", "--all", check=0).lines[-2].startswith("map")
    late.orchestrate()
    listed = late.doit("list", "--all", "--status", check=0).lines
    assert [line[0] for line in listed if " map:" in line] == ["U", "U"]
    assert "out/a.md" in late.doit("info", "map:a").out
    late.doit("forget", "map", check=0)
    assert done(late.orchestrate().lines) == ["map:a", "map:b"]
    late.doit("clean", "map", check=0)
    assert not (late.root / "out/a.md").exists()
    late.doit("ignore", "map:a", check=0)
    assert done(late.orchestrate("--no-continue", check=None).lines) == ["map:b"]
    assert late.run("dodo-claude", "log", "map:b", check=0).out.startswith("map:b: attempt")
    assert late.run("dodo-claude", "check", check=0).out == "orchestrate.toml: 5 stages, no problems\n"


def test_plain_doit_makes_them_too(late: Project) -> None:
    late.doit("run", check=0)
    assert late.read("all.md") == "about a\nabout b\n"
    late.write("wanted.txt", "c\n")
    late.doit("run", check=0)
    assert late.read("all.md") == "about a\nabout b\nabout c\n"
    assert not late.doit("run", check=0).said(". ")


def test_a_task_of_dodo_py_makes_the_lines(late: Project) -> None:
    start = LATE.index("[stages.map]")
    late.write("orchestrate.toml", LATE[start:])
    late.write(
        "dodo.py",
        "def task_make():\n    return {'actions': ['sort -u wanted.txt > topics.txt'], 'file_dep': ['wanted.txt'],"
        " 'targets': ['topics.txt']}\n",
    )
    assert done(late.orchestrate().lines) == ["all", "map:a", "map:b", "side"]
    assert "4 up to date" in late.orchestrate().lines[-1]


def test_messages_of_a_group_that_was_not_known(late: Project) -> None:
    late.write(
        "orchestrate.toml",
        LATE + '[agents.say]\ncommand = "cat"\nprompt_by = "stdin"\n'
        '[stages.told]\nprompt = "{{ stages.map.message }}"\nagent = "say"\ncheck = "true"\n',
    )
    assert "told" in done(late.orchestrate().lines)
    assert "map:a:" in late.read(".orchestrate/stages/told/1/prompt.md")
    late.write("wanted.txt", "a\nb\nc\n")
    assert done(late.orchestrate().lines) == ["all", "gen", "map:c", "told"]
    assert "map:c:" in late.read(f".orchestrate/stages/told/{late.attempts('told')}/prompt.md")


def test_groups_that_wait_for_groups_and_share_a_maker(late: Project) -> None:
    late.write(
        "orchestrate.toml",
        LATE
        + '[stages.next]\nforeach = { glob = "out/*.md" }\ncommand = "tr a-z A-Z < {{ item }} > {{ item | stem }}.up"\n'
        'targets = ["{{ item | stem }}.up"]\n[stages.same]\nforeach = { lines = "topics.txt" }\ncommand = "true {{ item }}"\n',
    )
    first = ["all", "gen", "map:a", "map:b", "next:out/a.md", "next:out/b.md", "same:a", "same:b", "side"]
    assert done(late.orchestrate().lines) == first
    assert late.read("b.up") == "ABOUT B\n"
    assert "9 stages: 9 up to date" in late.orchestrate().lines[-1]
    late.write("wanted.txt", "a\nb\nc\n")
    assert late.orchestrate("--dry-run").lines[:3] == [
        "gen: stale",
        "map: known when gen is done: the lines of topics.txt",
        "all: looked at again after map",
    ]
    assert done(late.orchestrate().lines) == ["all", "gen", "map:c", "next:out/c.md", "same:c"]


def test_two_bad_groups_are_each_told_and_stop_no_other(late: Project) -> None:
    late.edit("orchestrate.toml", "sort -u wanted.txt", "echo 'a b'")
    late.write("orchestrate.toml", late.read("orchestrate.toml") + '[stages.more]\ncommand = "echo x > more.txt"\ntargets = ["more.txt"]\n[stages.good]\nforeach = { lines = "more.txt" }\ncommand = "true {{ item }}"\n')  # fmt: skip
    ran = late.orchestrate(check=1)
    assert done(ran.lines) == ["gen", "good:x", "more", "side"]
    assert ran.said("map FAILED: topics.txt:1:1")


def test_what_a_late_stage_makes_may_change_while_others_run(late: Project) -> None:
    late.edit("orchestrate.toml", "sleep 0.2", "while [ ! -e go ]; do sleep 0.02; done")
    late.edit("orchestrate.toml", 'targets = ["side.txt"]', 'targets = ["side.txt"]\nprotect = ["out/**"]')
    late.edit("orchestrate.toml", "> all.md", "> all.md && touch go")
    late.write("out/a.md", "from before\n")  # protected, as it is nobody's target when `side` begins
    assert done(late.orchestrate().lines) == ["all", "gen", "map:a", "map:b", "side"]


# -- a file of stages in another

NESTED = """
[stages.wanted]
command = "printf 'b\\na\\n' > parts/wanted.txt"
targets = ["parts/wanted.txt"]
[stages.parts]
orchestrate = "parts/orchestrate.toml"
[stages.end]
command = "cat parts/all.md > end.md"
file_dep = ["parts/all.md"]
targets = ["end.md"]
"""


@pytest.fixture
def nested(late: Project) -> Project:
    """The project with lines, one folder deeper."""
    late.write("parts/orchestrate.toml", LATE)
    late.write("orchestrate.toml", NESTED)
    (late.root / "wanted.txt").unlink()
    return late


def test_a_nested_orchestration_runs_in_its_folder_and_in_one_graph(nested: Project) -> None:
    everything = ["end", "parts:all", "parts:gen", "parts:map:a", "parts:map:b", "parts:side", "wanted"]
    assert done(nested.orchestrate().lines) == everything
    assert nested.read("end.md") == "about a\nabout b\n"
    assert nested.read("parts/out/a.md") == "about a\n"
    assert "7 stages: 7 up to date" in nested.orchestrate().lines[-1]
    nested.edit("parts/orchestrate.toml", "echo about", "echo all about")
    assert done(nested.orchestrate().lines) == ["end", "parts:all", "parts:map:a", "parts:map:b"]
    # A fault in the inner file is told with its place.
    nested.edit("parts/orchestrate.toml", "[stages.side]", "[stages.side]\ntimout = 3")
    ran = nested.orchestrate(check=3)
    assert "parts/orchestrate.toml:15:1: stages.side.timout: unknown key (did you mean 'timeout'?)" in ran.err
    assert "parts/orchestrate.toml:15:1" in nested.run("dodo-claude", "check", check=2).err


def test_nested_stages_by_name(nested: Project) -> None:
    assert done(nested.orchestrate("parts:map:b").lines) == ["parts:gen", "parts:map:b", "wanted"]
    assert done(nested.orchestrate("parts").lines) == ["parts:all", "parts:map:a", "parts:side"]
    listed = [line.split()[0] for line in nested.doit("list", "--all", check=0).lines]
    assert {"parts", "parts:map", "parts:map:a", "parts:gen"} <= {*listed}
    assert [line.split()[0] for line in nested.doit("list", check=0).lines] == ["end", "parts", "wanted"]
    nested.doit("forget", "parts:map", check=0)
    assert done(nested.orchestrate("parts").lines) == ["parts:map:a", "parts:map:b"]
    nested.doit("forget", "parts", check=0)
    assert len(done(nested.orchestrate("parts").lines)) == 5
    assert nested.run("dodo-claude", "log", "parts:map:b", check=0).out.startswith("parts:map:b: attempt")
    nested.doit("clean", "parts", check=0)
    assert not (nested.root / "parts/out/a.md").exists()
    assert not (nested.root / "parts/all.md").exists()


def test_the_nested_one_also_runs_by_itself(nested: Project) -> None:
    nested.orchestrate()
    nested.root /= "parts"
    assert nested.run("dodo-claude", "check", check=0).out == "orchestrate.toml: 5 stages, no problems\n"
    assert done(nested.orchestrate().lines) == ["all", "gen", "map:a", "map:b", "side"]


@pytest.mark.tmux
def test_nested_workers_have_their_own_folder_scenario_and_prompts(project: Project) -> None:
    project.write(
        "orchestrate.toml", '[stages.sub]\norchestrate = "sub/orchestrate.toml"\n[defaults]\nagent = "scripted"\n'
        '[stages.end]\nprompt = "{{ files[\'sub/b.txt\'] }}{{ stages[\'sub:b\'].message }}"\ntargets = ["end.txt"]\n',
    )  # fmt: skip
    project.write("scenario.toml", '[stages.end]\nsteps = [{ capture = "x", from_prompt = "(said of .*)" }, { write = "end.txt", text = "{x}" }]\n')  # fmt: skip
    project.write(
        "sub/orchestrate.toml", '[defaults]\nagent = "scripted"\n[stages.map]\nforeach = ["a"]\nprompt = "Do it."\n'
        'targets = ["{{ item }}.txt"]\n[stages.b]\nprompt = "{{ files[\'a.txt\'] }}"\ntargets = ["b.txt"]\n',
    )  # fmt: skip
    project.write(
        "sub/scenario.toml", '[stages.map]\nsteps = [{ write = "{item}.txt", text = "made of {item}" }]\n'
        '[stages.b]\nsteps = [{ capture = "x", from_prompt = "(made of a)" }, { write = "b.txt", text = "{x}" }, { say = "said of b" }]\n',
    )  # fmt: skip
    assert done(project.orchestrate().lines) == ["end", "sub:b", "sub:map:a"]
    assert (project.read("sub/b.txt"), project.read("end.txt")) == ("made of a", "said of b")
    assert 'path="a.txt"' in project.read(".orchestrate/stages/sub:b/1/prompt.md")


# -- two names of one file


MAKER = """
[orchestrate]
name = "p"
retry_delay = "10ms"
[defaults]
agent = "scripted"
[agents.scripted]
allowed_tools = ["Edit(./**)"]
[stages.a]
command = "sleep 0.4; echo fresh > {made}"
targets = ["{made}"]
"""
# Each reads what a makes, by another name of its folder.
READERS = {
    "a path": '[stages.c]\ncommand = "cat {name}/x.txt > c.txt"\nfile_dep = ["{name}/x.txt"]\ntargets = ["c.txt"]\n',
    "a glob": '[stages.c]\ncommand = "cat {name}/*.txt > c.txt"\nfile_dep = ["{name}/*.txt"]\ntargets = ["c.txt"]\n',
    "a prompt": '[stages.c]\nprompt = "Copy {{{{ files[\'{name}/x.txt\'] }}}}"\ntargets = ["c.txt"]\n',
    "a glob in a prompt": (
        "[stages.c]\nprompt = \"{{% for path, text in files.glob('{name}/*.txt') %}}{{{{ path }}}} {{{{ text }}}}"
        '{{% endfor %}}"\ntargets = ["c.txt"]\n'
    ),
    "lines": (
        '[stages.c]\nforeach = {{ lines = "{name}/x.txt" }}\ncommand = "echo {{{{ item }}}} > c.txt"\n'
        'targets = ["c.txt"]\n'
    ),
    "a foreach's glob": (
        '[stages.c]\nforeach = {{ glob = "{name}/*.txt" }}\ncommand = "cat {{{{ item }}}} > c.txt"\n'
        'targets = ["c.txt"]\n'
    ),
}


@pytest.mark.parametrize(("made", "name", "stale"), [("real", "link", True), ("link", "real", False)])
@pytest.mark.parametrize("how", READERS)
def test_two_names_of_a_file_are_one_file(
    project: Project, how: str, made: str, name: str, stale: bool
) -> None:
    (project.root / "real").mkdir()
    (project.root / "link").symlink_to("real")
    if stale:
        project.write("real/x.txt", "stale\n")
    project.write("orchestrate.toml", MAKER.format(made=f"{made}/x.txt") + READERS[how].format(name=name))
    worker = "prompt" in how
    play(project, {"c": [[write("c.txt", "fresh\n")]]})
    ran = project.orchestrate()
    if worker:
        begun = (project.log("c").dir / "1/prompt.md").read_text()
        assert "fresh" in begun
        assert "stale" not in begun
        assert begun.count("<file ") == 1
    assert project.read("c.txt") == "fresh\n"
    assert ran.said("2 stages: 2 done")
    again = project.orchestrate()
    assert again.said("2 stages: 2 up to date")
    # Who makes it changes: who reads it is looked at after that.
    project.edit("orchestrate.toml", "echo fresh", "echo newer")
    explained = project.orchestrate("--explain").out
    assert "a: stale" in explained
    assert "looked at again after a" in explained or "known when a is done" in explained


def test_a_turned_link_is_another_file(project: Project) -> None:
    for folder in ("one", "two"):
        project.write(f"{folder}/x.txt", f"{folder}\n")
    (project.root / "link").symlink_to("one")
    project.write("orchestrate.toml", MAKER.format(made="two/x.txt") + READERS["a path"].format(name="link"))
    project.orchestrate()
    assert project.read("c.txt") == "one\n"  # nobody makes that one
    (project.root / "link").unlink()
    (project.root / "link").symlink_to("two")
    project.edit("orchestrate.toml", "echo fresh", "echo newer")
    assert project.orchestrate().said("2 stages: 2 done")
    assert project.read("c.txt") == "newer\n"


def test_a_stage_that_reads_its_own_target_by_another_name_is_refused(project: Project) -> None:
    (project.root / "real").mkdir()
    (project.root / "link").symlink_to("real")
    text = '[stages.c]\ncommand = "cat link/x.txt > real/x.txt"\nfile_dep = ["link/x.txt"]\ntargets = ["real/x.txt"]\n'
    project.write("orchestrate.toml", text)
    ran = project.run("dodo-claude", "check", check=2)
    assert ran.err == (
        "orchestrate.toml:3:13: stages.c.file_dep[0]: 'link/x.txt' is 'real/x.txt', a target of this stage "
        "(a stage can't wait for itself)\n"
    )


@pytest.mark.parametrize("file", ["made/x.txt", "./link/x.txt", "link/x.txt"])
def test_a_task_of_dodo_py_and_a_stage_may_name_a_file_each_in_its_way(project: Project, file: str) -> None:
    (project.root / "made").mkdir()
    (project.root / "link").symlink_to("made")
    project.write("made/x.txt", "stale\n")
    project.write("made/b.txt", "stale\n")
    project.write(
        "orchestrate.toml",
        '[stages.a]\ncommand = "cat made/x.txt > a.txt"\nfile_dep = ["made/x.txt"]\ntargets = ["a.txt"]\n'
        '[stages.b]\ncommand = "sleep 0.4; echo fresh > made/b.txt"\ntargets = ["made/b.txt"]\n',
    )
    project.write(
        "dodo.py",
        "def task_maker():\n"
        f"    return {{'actions': ['sleep 0.4; echo fresh > made/x.txt'], 'targets': ['{file}']}}\n"
        "def task_reader():\n"
        f"    return {{'actions': ['cat made/b.txt > r.txt'], 'file_dep': ['{file.replace('x.txt', 'b.txt')}']}}\n",
    )
    project.orchestrate()
    assert (project.read("a.txt"), project.read("r.txt")) == ("fresh\n", "fresh\n")
