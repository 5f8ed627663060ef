"""What a project's own modules are called matters to nobody: none is imported but by its dodo.py, whoever looks, before
a yes and after it. The project here has one of each name that Python, or an installed package, goes by."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dodo_claude.control import detached
from tests.integration.scenes import at_terminal, bash, configure, play, write
from tests.project import BIN, PATIENCE, Project

ONE = {"one": {"targets": ["types.py"], "check": "test -s types.py"}}
# What Python, or doit, has imported by itself before any of us can do something about it.
LATER = (
    "html",
    "rich",
    "difflib",
    "jinja2",
    "jsonschema",
    "click",
    "markupsafe",
    "textual",
    "mcp",
    "libtmux",
    "toml",
)


@pytest.fixture
def project(project: Project) -> Project:
    """What is looked for on the way is what a process has not imported yet."""
    project.cold = True
    return project


def names() -> list[str]:
    installed = [name for name in importlib.metadata.packages_distributions() if name.isidentifier()]
    # Python tries some that are nowhere.
    return sorted(
        {*sys.stdlib_module_names, *installed, "org", "sitecustomize", "usercustomize", "dodo_claude"}
    )


def plant(project: Project, *chosen: str) -> Path:
    """Modules of all those names, each of which writes down that it was imported."""
    marks = project.home / "imported"
    for name in chosen or names():
        project.write(
            f"{name}.py", f"with open({str(marks)!r}, 'a') as _f:\n    _f.write(__name__ + '\\n')\n"
        )
    return marks


def imported(marks: Path) -> list[str]:
    return sorted(set(marks.read_text().split())) if marks.exists() else []


@pytest.mark.parametrize(
    "argv",
    [
        ("doit", "orchestrate", "--explain"),
        ("doit", "orchestrate"),
        ("doit", "list", "--all", "-s"),
        ("dodo-claude", "check"),
        ("dodo-claude", "status"),
        ("dodo-claude", "doctor"),
    ],
    ids=lambda argv: " ".join(argv),
)  # fmt: skip
def test_before_the_yes_nothing_is_imported(project: Project, argv: tuple[str, ...]) -> None:
    configure(project, ONE)
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    marks = plant(project)
    project.run(*argv)
    assert imported(marks) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("-m", "doit", "orchestrate", "--explain"), None),
        (("-m", "dodo_claude", "check"), None),
        (("-P", "-m", "dodo_claude", "status"), ":."),
    ],
)
def test_where_python_itself_looks_there_first_we_do_not(
    project: Project, words: tuple[str, ...], named: str | None
) -> None:
    configure(project, {"one": {"command": "touch types.py", "targets": ["types.py"]}})
    marks = plant(project, *LATER)
    if named is not None:
        project.env["PYTHONPATH"] = named
    project.run("python", *words, check=0)
    assert imported(marks) == []


def test_nor_after_it_by_nobody_who_works(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run, its worker with its hooks, the check, the report; what others start; and the same once more."""
    configure(project, ONE)
    play(project, {"one": [[bash(f"{BIN}/dodo-claude note hello"), write("types.py", "made = 1\n")]]})
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    marks = plant(project)
    assert project.orchestrate().said("1 done")
    project.run("dodo-claude", "report", "--html", "out.html", check=0)
    project.run("doit", "forget", "one", check=0)
    for name, value in project.environ().items():
        monkeypatch.setenv(name, value)
    assert "runs in tmux session" in detached.orchestrate(project.root, "--detach")
    project.run("dodo-claude", "events", "--follow", "--until-end", check=0)
    assert project.attempts("one") == 2
    assert project.read("types.py") == "made = 1\n"
    assert imported(marks) == []


def test_the_dashboard(project: Project) -> None:
    configure(project, ONE)
    marks = plant(project)
    with subprocess.Popen(
        [BIN / "dodo-claude", "dashboard"], cwd=project.root, env=project.environ(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as app:  # fmt: skip
        assert app.stderr is not None
        drawn = b""
        while b"one" not in drawn:
            more = os.read(app.stderr.fileno(), 65536)
            assert more, drawn
            drawn += more
        app.kill()
    assert imported(marks) == []


def test_the_mcp_server(project: Project) -> None:
    configure(project, ONE)
    marks = plant(project)
    asks = [
        {"method": "initialize", "id": 1, "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}},
        {"method": "notifications/initialized"},
        {"method": "tools/call", "id": 2, "params": {"name": "run", "arguments": {"explain": True}}},
    ]  # fmt: skip
    with subprocess.Popen(
        [BIN / "dodo-claude", "mcp"], cwd=project.root, env=project.environ(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("".join(json.dumps({"jsonrpc": "2.0", **ask}) + "\n" for ask in asks))
        server.stdin.flush()
        told = next(line for line in server.stdout if '"id":2' in line)
        server.stdin.close()
        server.wait(PATIENCE)
    assert "one: stale" in told
    assert imported(marks) == []


def test_a_dodo_py_is_doits(project: Project) -> None:
    """No command of ours imports it; doit's do, before the question, which says so."""
    configure(project, ONE)
    project.write("dodo.py", "open('imported', 'a').close()\n")
    for command in ("check", "status"):
        project.run("dodo-claude", command)
    assert not (project.root / "imported").exists()
    with at_terminal(project, "doit", "orchestrate") as terminal:
        terminal.until(
            "    dodo.py is doit's: doit has run it already, to read its tasks, and runs these unasked"
        )
        terminal.until("Run them?")  # what was typed before is no answer
        terminal.press("n\n")
        assert terminal.wait() == 3
    assert (project.root / "imported").exists()


@pytest.mark.parametrize(
    ("name", "words"), [("dodo.py", ["orchestrate", "--explain"]), ("doit.cfg", ["list"])]
)
def test_what_doit_imports_is_not_imported_if_others_may_write_it(
    project: Project, name: str, words: list[str]
) -> None:
    configure(project, ONE)
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    project.write("dodo.py", "open('imported', 'a').close()\n")
    (project.root / name).chmod(0o666)
    ran = project.run("doit", *words, check=3)
    assert ran.err.startswith(f"ERROR: {name}: others can write it (mode 0666, owner ")
    assert ran.err.count("\n") == 1
    assert not (project.root / "imported").exists()
