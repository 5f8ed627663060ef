"""`dodo-claude`: what it prints and how it exits. Commands that need tmux are in tests/integration."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from dodo_claude.commands import main, start
from dodo_claude.config.findings import MOST
from dodo_claude.control import stopping
from dodo_claude.text.clean import one_line
from tests.integration.scenes import at_gate, bash, configure, gate, play, write
from tests.project import Project
from tests.samples.configs import BROKEN, EXPECTED
from tests.schemas import shape

# `check` runs no dodo.py, so it can't know of a clash with one of its tasks; `doit orchestrate` says it.
CHECKABLE = sorted(
    name
    for name, lines in EXPECTED.items()
    if not any("task of dodo.py" in line or "task in dodo.py" in line for line in lines)
)


def test_there_are_enough_of_them() -> None:
    assert len(CHECKABLE) >= 25


@pytest.mark.parametrize("name", CHECKABLE)
def test_check_says_exactly_what_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(BROKEN, tmp_path / "broken", symlinks=True)
    monkeypatch.chdir(tmp_path / "broken")
    result = CliRunner().invoke(main.main, ["check", name])
    assert result.exit_code == 2
    assert result.output.splitlines() == EXPECTED[name]
    told = json.loads(CliRunner().invoke(main.main, ["check", "--json", name]).output)
    jsonschema.validate(told, shape("check"))
    for problem, line in zip(told["problems"], EXPECTED[name], strict=True):
        place = f"{problem['file']}:{problem['line']}:{problem['column']}: " if problem["line"] else ""
        assert line.startswith(one_line(place) if place else one_line(problem["text"]))


def test_check_is_content_with_every_template() -> None:
    for name in start.template_names():
        result = CliRunner().invoke(
            main.main, ["check", str(start.templates_dir() / name / "orchestrate.toml")]
        )
        assert result.exit_code == 0, result.output
        assert "no problems" in result.output
    told = json.loads(
        CliRunner()
        .invoke(main.main, ["check", "--json", str(start.templates_dir() / "single/orchestrate.toml")])
        .output
    )
    jsonschema.validate(told, shape("check"))
    assert told["stages"]
    assert not told["problems"]


def test_of_very_many_missing_files_check_tells_the_first(tmp_path: Path) -> None:
    path = tmp_path / "orchestrate.toml"
    names = [f"no{number}" for number in range(MOST + 50)]
    path.write_text(f"[stages.a]\ncommand = 'x'\nfile_dep = {names}\n")
    lines = CliRunner().invoke(main.main, ["check", str(path)]).output.splitlines()
    assert len(lines) == MOST + 1
    assert lines[0] == (
        f"orchestrate.toml:1:1: has {MOST + 50} problems: these are the first {MOST} (mend them first)"
    )
    assert f"'no{MOST - 1}' is not there" in lines[-1]
    path.write_text(f"[stages.a]\ncommand = 'x'\nfile_dep = {names[:MOST]}\n")
    assert len(CliRunner().invoke(main.main, ["check", str(path)]).output.splitlines()) == MOST


def test_check_judges_the_scenario_too(project: Project) -> None:
    project.write("orchestrate.toml", "[stages.a]\nprompt = 'x'\nagent = 'scripted'\n")
    project.write("scenario.toml", "[stages.a]\nsteps = [{ sya = 'x' }]\n")
    ran = project.run("dodo-claude", "check", check=2)
    assert "did you mean 'say'?" in ran.err
    assert ran.err.startswith("scenario.toml: stages.a.steps[0]: ")


def test_where_nothing_can_be_written_that_is_said_in_a_line(project: Project) -> None:
    project.write("file", "")
    for command in (["init", "single", "file/new"], ["plan", "Do it.", "--folder", "file/new"]):
        ran = project.run("dodo-claude", *command, check=2)
        assert ran.err == "file/new: Not a directory (free it, or mend its mode; then run again)\n"


@pytest.mark.parametrize("command", ["status", "doctor", "dashboard"])
def test_a_folder_that_is_gone_is_said_in_a_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worktree that was removed, with a shell left in it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = CliRunner().invoke(main.main, [command])
    assert (result.exit_code, result.output) == (2, "the folder where you are is gone (cd to the project)\n")


def test_init_writes_a_project_once(project: Project) -> None:
    ran = project.run("dodo-claude", "init", "parallel-feature", "d", check=0)
    assert "next: cd d && doit orchestrate" in ran.out
    assert (project.root / "d/orchestrate.schema.json").is_file()
    again = project.run("dodo-claude", "init", "parallel-feature", "d", check=2)
    assert "exists already" in again.err
    assert (
        "did you mean 'parallel-feature'?"
        in project.run("dodo-claude", "init", "paralel-feature", check=2).err
    )


PLAN = """[stages.page]
prompt = "Write it."
targets = ["page.txt"]
"""


@pytest.mark.tmux
def test_plan_makes_a_project_of_a_request(project: Project) -> None:
    scenario = {"work:plan": PLAN, "work:page": "x"}
    files = {"work:plan": "orchestrate.generated.toml", "work:page": "page.txt"}
    project.write(
        "sub/scenario.toml",
        "".join(
            f"[stages.'{name}']\nsteps = [{{ write = '{files[name]}', text = '''{text}''' }}]\n"
            for name, text in scenario.items()
        ),
    )
    request = "A {{ page }} with 'quotes' and\n--- two lines"
    ran = project.run("dodo-claude", "plan", request, "--folder", "sub", "--agent", "scripted", check=1)
    assert "work: 1 stage planned" not in ran.out  # nobody to ask, and no --yes
    assert ran.said("work FAILED: its plan waits for your yes: read orchestrate.generated.toml")
    assert project.read("sub/request.md") == f"{request}\n"
    project.root /= "sub"
    assert request in (project.log("work:plan").dir / "1/prompt.md").read_text()
    assert project.run("doit", "orchestrate", "--yes", check=0).said(
        "work: 1 stage planned in orchestrate.generated.toml"
    )
    assert project.read("page.txt") == "x"
    assert project.run("doit", "list", "--all", check=0).said("work:page Write it.")
    # Never over what is there, and nothing is left half-made.
    project.root = project.root.parent
    again = project.run("dodo-claude", "plan", "Something else", "--folder", "sub", check=2)
    assert again.err.startswith("sub/orchestrate.toml: exists already (")
    project.write("other/request.md", "mine")
    assert (
        "other/request.md: exists already"
        in project.run("dodo-claude", "plan", "x", "--folder", "other", check=2).err
    )
    assert not (project.root / "other/orchestrate.toml").exists()
    assert project.run("dodo-claude", "plan", " \n", check=2).err.startswith("plan: the request is empty")


@pytest.mark.tmux
def test_plan_with_yes_does_it_all(project: Project) -> None:
    project.write(
        "scenario.toml",
        f"[stages.'work:plan']\nsteps = [{{ write = 'orchestrate.generated.toml', text = '''{PLAN}''' }}]\n"
        "[stages.work]\nsteps = [{ write = '{item}.txt', text = 'x' }]\n",
    )
    assert project.run("dodo-claude", "plan", "A page", "--yes", "--agent", "scripted", check=0).said(
        "2 stages: 2 done"
    )
    assert "2 up to date" in project.run("doit", "orchestrate", check=0).lines[-1]


@pytest.mark.parametrize(
    "argv", [["attach", "x"], ["capture", "x"], ["log", "x"], ["report"], ["status"], ["stop", "x"]]
)
def test_without_a_project_each_says_so(project: Project, argv: list[str]) -> None:
    ran = project.run("dodo-claude", *argv, check=2)
    assert ran.err == "orchestrate.toml: not found here or above (dodo-claude init writes one)\n"


def test_a_wrong_name_gets_a_hint(project: Project) -> None:
    project.write("orchestrate.toml", "[stages.backend]\nprompt = 'x'\n")
    assert project.run("dodo-claude", "log", "backand", check=2).err == (
        "stage 'backand': not found (did you mean 'backend'?)\n"
    )
    assert "has not run yet" in project.run("dodo-claude", "log", "backend", check=2).err
    assert "has no session in tmux now" in project.run("dodo-claude", "capture", "backend", check=2).err
    told = project.run("dodo-claude", "status", check=0).out.splitlines()
    assert told == ["no run is in progress", "backend  not run", "1 not run", "no worker is in tmux"]
    assert project.run("dodo-claude", "stop", "--all", check=0).out == f"{stopping.NOTHING}\n"
    assert "name one worker, or --all" in project.run("dodo-claude", "stop", check=2).err


@pytest.mark.parametrize("command", sorted(main.main.commands))
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(main.main, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: dodo-claude {command}" in result.output


def test_a_report_of_nothing_says_so_and_writes_nothing(project: Project) -> None:
    project.write("orchestrate.toml", "[stages.backend]\nprompt = 'x'\n")
    assert project.run("dodo-claude", "report", check=2).err == (
        "report: nothing has run here yet (doit orchestrate)\n"
    )
    assert not (project.root / ".orchestrate").exists()


def test_the_help_says_whole_sentences() -> None:
    output = CliRunner().invoke(main.main, ["--help"]).output
    assert "..." not in output.partition("Commands:")[2]
    for name in main.main.commands:
        assert f"\n  {name} " in output


# -- the examples of the helps


def examples(command: str) -> list[str]:
    """The command lines that a command's help gives as examples."""
    shown = CliRunner().invoke(main.main, [command, "--help"]).output
    return [line.strip().removeprefix("Example: ") for line in shown.splitlines() if "Example: " in line]


# What a worker says, from inside its session.
SAID = ["progress", "note", "ask"]
# In this order, while the worker `backend` is at work and has asked something; `interrupt` ends its turn, `send` goes on.
AT_WORK = [
    "status",
    "capture",
    "answer",
    "compact",
    "interrupt",
    "send",
    "events",
    "check",
    "completion",
    "init",
]
AFTER = ["log", "report", "doctor", "gc", "stop"]
# These take over a terminal, or a pipe, or make a project, or need a dialog: see tests/unit/commands/test_manage.py, test_dashboard.py,
# test_mcp.py, above, tests/integration/test_permits.py; or a stage whose check failed: tests/integration/test_checks.py.
ELSEWHERE = {"attach", "dashboard", "mcp", "plan", "allow", "deny", "recheck"}


def test_every_example_is_run_somewhere() -> None:
    listed = [*SAID, *AT_WORK, *AFTER, *ELSEWHERE]
    assert sorted(listed) == sorted(main.main.commands), "list a new command here, and run its example"


@pytest.mark.tmux
def test_the_examples_work(project: Project) -> None:
    configure(project, {"backend": {"targets": ["it.txt"]}})
    said = [bash(example) for name in SAID for example in examples(name)]
    # There is nothing to compact yet: only that it is idle tells of that.
    play(project, {"backend": [[*said, gate("go"), write("no.txt")], [write("it.txt")]]}, idle_notice=0.2)
    with project.started() as live:
        live.until("ASKS: PostgreSQL or SQLite?")
        for name in AT_WORK:
            if name == "compact":
                at_gate(project, "go")  # it was answered
            for example in examples(name):
                assert example.startswith(f"dodo-claude {name}")
                argv = (
                    ["timeout", "2", "sh", "-c", example] if "--follow" in example else ["sh", "-c", example]
                )
                done = subprocess.run(argv, cwd=project.root, env=project.environ(), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # fmt: skip
                assert done.returncode == (124 if "--follow" in example else 0), (
                    f"{example}\n{done.stdout}{done.stderr}"
                )
                assert "Traceback" not in done.stderr
                assert done.stdout
        assert live.wait() == 0, live.text
    for name in AFTER:
        for example in examples(name):
            done = subprocess.run(["sh", "-c", example], cwd=project.root, env=project.environ(), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # fmt: skip
            assert done.returncode == 0, f"{example}\n{done.stdout}{done.stderr}"
    assert project.read("report.md").startswith("# ")
    assert (project.root / "parallel-feature/orchestrate.toml").is_file()
    assert "port 8080" in project.read(".orchestrate/notes.md")
