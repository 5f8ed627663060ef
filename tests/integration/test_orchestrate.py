"""`doit orchestrate` as a user runs it, on the scripted agent in real tmux."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.integration.scenes import configure, patch, play, write
from tests.project import Project

THREE = """
[orchestrate]
name = "three"
[defaults]
agent = "scripted"
[agents.scripted]
allowed_tools = ["Edit(./**)"]
model = "small"
[stages.base]
prompt = "Write the base."
file_dep = ["spec.md"]
targets = ["out/base.txt"]
check = "grep -q base out/base.txt"
repairs = 0
[stages.top]
prompt = "Write the top from {{ files['out/base.txt'] }}"
targets = ["out/top.txt"]
[stages.alone]
prompt = "Write alone."
targets = ["out/alone.txt"]
"""
SCENARIO = """
[stages.base]
steps = [{ write = "out/base.txt", text = "base\\n" }, { say = "base is written" }]
[stages.top]
steps = [{ write = "out/top.txt", text = "top\\n" }, { say = "top is written" }]
[stages.alone]
steps = [{ write = "out/alone.txt", text = "alone\\n" }, { say = "alone is written" }]
"""


@pytest.fixture
def three(project: Project) -> Project:
    project.write("orchestrate.toml", THREE)
    project.write("scenario.toml", SCENARIO)
    project.write("spec.md", "the spec\n")
    return project


def counts(project: Project) -> dict[str, int]:
    return {stage: project.attempts(stage) for stage in ("base", "top", "alone")}


def test_all_stages_run_and_then_nothing(three: Project) -> None:
    first = three.orchestrate()
    assert first.said("3 stages: 3 done")
    assert three.read("out/top.txt") == "top\n"
    assert three.result("top")["message"] == "top is written"
    again = three.orchestrate()
    assert [line for line in again.lines if "up to date" in line][:3] == [
        "base up to date",
        "top up to date",
        "alone up to date",
    ] or again.said("3 stages: 3 up to date")
    assert counts(three) == {"base": 1, "top": 1, "alone": 1}
    assert three.sessions() == []


def test_where_the_kernel_tells_nothing_it_is_looked_for(three: Project) -> None:
    """Neither inotify nor pidfds, as on macOS: what arrives in a folder is found, and the end of a process."""
    patch(
        three,
        "import os\ndel os.pidfd_open, os.pipe2, os.eventfd\nimport types, dodo_claude.machine.changes as changes\n"
        "changes.sys = types.SimpleNamespace(platform='darwin')\n",
    )
    three.write("scenario.toml", SCENARIO.replace('{ say = "alone is written" }', "{ kill = 9 }"))
    three.write("orchestrate.toml", THREE.replace('"Write alone."', '"Write alone."\nretries = 0'))
    ran = three.orchestrate(check=1)
    assert ran.said("alone FAILED: its worker ended in mid-work with signal 9 (out of memory?)")
    assert ran.said("3 stages: 2 done, 1 failed")
    assert counts(three) == {"base": 1, "top": 1, "alone": 1}
    assert three.sessions() == ["three-alone"]


def test_a_failing_check_stops_its_dependents_only(three: Project) -> None:
    three.edit("orchestrate.toml", "grep -q base", "echo it smells; grep -q nothing")
    ran = three.orchestrate(check=1)
    reasons = [line for line in ran.lines if "FAILED" in line]
    assert reasons == [
        "base FAILED: check `echo it smells; grep -q nothing out/base.txt` ended with exit status 1: it smells"
    ]
    assert ran.said("top not run: needs base")
    assert ran.said("3 stages: 1 done, 1 failed, 1 not run")
    assert not (three.root / "out/base.txt").exists()
    assert three.log("base").dir.joinpath("1/partial/out/base.txt").read_text() == "base\n"

    three.edit("orchestrate.toml", "echo it smells; grep -q nothing", "grep -q base")
    fixed = three.orchestrate()
    assert counts(three) == {"base": 2, "top": 1, "alone": 1}
    assert fixed.said("alone up to date")


MODULES = ["a", "b", "c", "d", "e", "f"]


@pytest.fixture
def rows(project: Project) -> Project:
    """Eight workers in three rows: types, a module of each, and all of them; done."""
    made = {f"{name}.txt": f"import types_{name}" for name in MODULES}
    configure(
        project,
        {
            "types": {"targets": ["types.txt"], "check": "grep -q T types.txt"},
            "module": {
                "foreach": MODULES,
                "prompt": "Write {{ item }} with {{ files['types.txt'] }}",
                "targets": ["{{ item }}.txt"],
            },
            "all": {"file_dep": list(made), "targets": ["all.txt"]},
        },
    )
    modules = {
        f"module:{name}": [[write(f"{name}.txt", text)]]
        for name, text in zip(MODULES, made.values(), strict=True)
    }
    play(project, {"types": [[write("types.txt", "T")]], **modules, "all": [[write("all.txt")]]})
    project.orchestrate()
    return project


def tries(project: Project) -> list[int]:
    return [project.attempts(name) for name in ("types", *(f"module:{name}" for name in MODULES), "all")]


def test_a_stage_that_was_not_run_is_as_done_as_it_was(rows: Project) -> None:
    rows.edit("orchestrate.toml", "grep -q T", "grep -q Z")
    ran = rows.orchestrate(check=1)
    assert ran.said("module:a not run: needs types")
    assert ran.said("8 stages: 1 failed, 7 not run")
    explained = rows.orchestrate("--explain").out
    assert explained.count("looked at again after") == 7
    assert "it has not succeeded yet" not in explained.partition("module:a")[2]
    assert [stage["state"] for stage in rows.status()] == ["failed", *["done"] * 7]

    rows.edit("orchestrate.toml", "grep -q Z", "grep -q T")
    mended = rows.orchestrate()
    assert tries(rows)[1:] == [1] * 7
    assert not mended.said("started in tmux session")  # what its worker made is checked again, and no more
    assert mended.said("8 stages: 1 done, 7 up to date")
    assert rows.orchestrate().said("8 stages: 8 up to date")


def test_other_bytes_of_what_failed_are_seen_below_it(rows: Project) -> None:
    rows.edit("orchestrate.toml", "grep -q T", "grep -q U")
    rows.orchestrate(check=1)
    rows.edit("scenario.toml", '"T"', '"U"')
    rows.orchestrate()
    assert tries(rows)[1:] == [2, 2, 2, 2, 2, 2, 1]


def test_an_input_that_is_away_for_a_while_costs_nothing(rows: Project) -> None:
    rows.write("spec.md", "spec")
    rows.edit(
        "orchestrate.toml", 'targets = ["types.txt"]', 'targets = ["types.txt"]\nfile_dep = ["spec.md"]'
    )
    rows.orchestrate()
    before = tries(rows)
    (rows.root / "spec.md").rename(rows.root / "away.md")
    rows.orchestrate(check=None)
    (rows.root / "away.md").rename(rows.root / "spec.md")
    assert rows.orchestrate().said("8 stages: 8 up to date")
    assert tries(rows) == before


def test_plain_doit_keeps_it_too(rows: Project) -> None:
    rows.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    rows.edit("orchestrate.toml", "grep -q T", "grep -q Z")
    assert rows.doit("run", "--continue").code != 0
    rows.edit("orchestrate.toml", "grep -q Z", "grep -q T")
    rows.doit("run", check=0)
    assert tries(rows)[1:] == [1] * 7


CAUSES = {
    "a byte of an input": (("spec.md", "the spec", "thE spec"), "file 'spec.md' changed"),
    "a prompt's word": (("orchestrate.toml", "Write the base.", "Write the bass."), "prompt changed: "),
    "the model": (("orchestrate.toml", '"small"', '"large"'), "model changed: small -> large"),
    "the check": (("orchestrate.toml", "grep -q base", "grep -q bas"), "check changed: "),
    "a longer target list": (
        ("orchestrate.toml", 'targets = ["out/base.txt"]', 'targets = ["out/base.txt", "spec2.md"]'),
        "targets changed: ",
    ),
}


@pytest.mark.parametrize("cause", sorted(CAUSES))
def test_each_cause_makes_its_stage_stale_and_is_named(three: Project, cause: str) -> None:
    three.orchestrate()
    (name, old, new), reason = CAUSES[cause]
    three.edit(name, old, new)
    explained = three.orchestrate("--explain")
    text = explained.out
    assert text.startswith("base: stale\n"), text
    assert reason in text
    if cause == "the model":
        assert "top: stale" in text
        return
    assert "top: looked at again after base" in text
    assert "alone: up to date" in text
    if cause != "a longer target list":
        three.orchestrate()
        assert counts(three)["base"] == 2
        assert counts(three)["alone"] == 1


def test_touching_a_file_reruns_nothing(three: Project) -> None:
    three.orchestrate()
    os.utime(three.root / "spec.md")
    os.utime(three.root / "out/base.txt")
    assert three.orchestrate().said("3 stages: 3 up to date")


@pytest.mark.parametrize("damage", ["truncate", "delete", "same size"])
def test_a_damaged_target_is_made_again(three: Project, damage: str) -> None:
    three.orchestrate()
    target = three.root / "out/base.txt"
    if damage == "truncate":
        target.write_text("")
    elif damage == "delete":
        target.unlink()
    else:
        target.write_text("bAse\n")
    explained = three.orchestrate("--explain").out
    word = "missing" if damage == "delete" else "altered since the stage made it"
    assert f"target 'out/base.txt' is {word}" in explained or f"target 'out/base.txt' was {word}" in explained
    three.orchestrate()
    assert target.read_text() == "base\n"
    # Its bytes are as before, so what was made from them still stands.
    assert counts(three) == {"base": 2, "top": 1, "alone": 1}


def test_dry_run_starts_nothing(three: Project) -> None:
    assert three.orchestrate("--dry-run").out.splitlines() == ["base: stale", "top: stale", "alone: stale"]
    assert not three.log("base").dir.exists()


def test_one_stage_by_name_brings_what_it_needs(three: Project) -> None:
    three.orchestrate("top")
    assert counts(three) == {"base": 1, "top": 1, "alone": 0}


def test_always_runs_all(three: Project) -> None:
    three.orchestrate()
    three.orchestrate("-a")
    assert counts(three) == {"base": 2, "top": 2, "alone": 2}


CHAIN = 4


@pytest.mark.parametrize("finished", range(CHAIN))
def test_sigkill_after_k_stages_costs_none_of_them(project: Project, finished: int) -> None:
    stages, scenario = (
        ["[defaults]\nagent = 'scripted'\n[agents.scripted]\nallowed_tools = ['Edit(./**)']"],
        [],
    )
    for number in range(CHAIN):
        dep = f"file_dep = ['{number - 1}.txt']" if number else ""
        stages.append(f"[stages.s{number}]\nprompt = 'go'\n{dep}\ntargets = ['{number}.txt']")
        sleep = "{ sleep = 30 }," if number == finished else ""
        scenario.append(
            f"[stages.s{number}]\nsteps = [{sleep} {{ write = '{number}.txt', text = 'x' }}, {{ say = 'ok' }}]"
        )
    project.write("orchestrate.toml", "\n".join(stages))
    project.write("scenario.toml", "\n".join(scenario))
    project.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    with project.started() as live:
        live.until("done in", finished)
        live.until(f"s{finished}  ")
        assert live.kill() == -signal.SIGKILL
    project.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "0"
    project.write("scenario.toml", "\n".join(scenario).replace("{ sleep = 30 },", ""))
    project.run("dodo-claude", "stop", "--all", check=0)  # its worker sleeps; the rerun would go on with it
    ran = project.orchestrate()
    assert ran.said(f"{CHAIN} stages: {CHAIN - finished} done")
    assert [project.attempts(f"s{number}") for number in range(finished)] == [1] * finished


def test_a_rerun_goes_on_with_a_worker_that_still_lives(three: Project) -> None:
    three.write("scenario.toml", SCENARIO.replace("[{ write", "[{ sleep = 1.5 }, { write", 1))
    three.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    with three.started("base") as live:
        three.wait_for(
            lambda: three.attempts("base") and "UserPromptSubmit" in three.kinds("base"), "its prompt"
        )
        live.kill()
    three.orchestrate("base")
    assert three.attempts("base") == 1
    assert three.kinds("base").count("spawned") == 1


def test_a_half_made_target_of_a_killed_run_is_set_aside(three: Project) -> None:
    three.orchestrate("base")
    (three.root / "out/base.txt").unlink()
    three.write(
        "scenario.toml", SCENARIO.replace('text = "base\\n" }', 'text = "half" }, { hang = true }', 1)
    )
    with three.started("base") as live:
        three.wait_for(lambda: (three.root / "out/base.txt").exists(), "the half")
        live.kill()
    three.run("dodo-claude", "stop", "base", check=0)
    told = three.run("dodo-claude", "log", "base", check=0).out
    assert re.search(
        r"^  took: [\d.]+ s\n  session: [-\w]+\n  set aside in partial/: out/base.txt\n", told, re.M
    ), told
    three.write("scenario.toml", SCENARIO)
    three.orchestrate("base")
    assert three.read("out/base.txt") == "base\n"
    assert three.log("base").dir.joinpath("2/partial/out/base.txt").read_text() == "half"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_workers_and_saves(three: Project, number: int, code: int) -> None:
    three.write("scenario.toml", SCENARIO.replace("[{ write", "[{ sleep = 60 }, { write", 1))
    three.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    with three.started("-n", "2") as live:
        live.until("alone           done in")
        three.wait_for(lambda: "UserPromptSubmit" in three.kinds("base"), "the worker")
        assert live.kill(number) == code
        assert "Traceback" not in live.text
        assert "a rerun goes on with what is left" in live.text
    assert three.processes() == []
    three.write("scenario.toml", SCENARIO)
    assert three.orchestrate().said("3 stages: 2 done, 1 up to date")


def test_a_second_run_touches_nothing(three: Project) -> None:
    three.write("scenario.toml", SCENARIO.replace("[{ write", "[{ sleep = 60 }, { write", 1))
    three.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    with three.started("base") as live:
        three.wait_for(lambda: three.attempts("base") and "SessionStart" in three.kinds("base"), "the worker")
        second = three.orchestrate("alone", check=3)
        assert second.err.startswith(f"ERROR: run in progress: pid {live.process.pid} since 20")
        assert three.attempts("alone") == 0
        live.kill(signal.SIGINT)
    three.write("scenario.toml", SCENARIO)
    three.orchestrate("alone")


def test_an_input_whose_time_was_put_back_is_seen(three: Project) -> None:
    """Row 11: the same size, the same time, other bytes."""
    three.orchestrate()
    path = three.root / "spec.md"
    status = path.stat()
    path.write_text("the spEc\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "file 'spec.md' changed" in three.orchestrate("--explain").out


ONE_TICK = """
[orchestrate]
name = "p"
[stages.a]
command = "cat d/in.txt > a.txt"
file_dep = ["d/in.txt"]
targets = ["a.txt"]
"""


@pytest.mark.parametrize("how", ["moved", "a turned link"])
def test_another_file_at_the_same_path_is_seen(project: Project, how: str) -> None:
    """Made in one tick of the clock, as by a `git clone`: their times and sizes are the same."""
    project.write("orchestrate.toml", ONE_TICK)
    first = "d" if how == "moved" else "d1"
    project.sh(f"mkdir {first} d2; echo one > {first}/in.txt; echo two > d2/in.txt")
    if how == "a turned link":
        (project.root / "d").symlink_to("d1")
    project.orchestrate()
    assert project.orchestrate().said("1 up to date")
    if how == "moved":
        (project.root / "d").rename(project.root / "old")
        (project.root / "d2").rename(project.root / "d")
    else:
        (project.root / "d").unlink()
        (project.root / "d").symlink_to("d2")
    assert [stage["state"] for stage in project.status()] == ["not run"]
    assert "file 'd/in.txt' changed" in project.orchestrate("--explain").out
    assert project.orchestrate().said("1 done")
    assert project.read("a.txt") == "two\n"
    assert [stage["state"] for stage in project.status()] == ["done"]


def test_a_check_may_write_what_it_names(three: Project) -> None:
    three.edit("orchestrate.toml", "grep -q base out/base.txt", "grep base out/base.txt > report.log")
    three.orchestrate("base")
    three.write("spec.md", "another\n")
    three.orchestrate("base")  # now the report is there from the start
    assert three.read("report.log") == "base\n"
