"""The kept configuration: the same as a fresh one, or none. No change of anything it was made from is missed."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from doit.task import Task
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dodo_claude
from dodo_claude.config import inputs
from dodo_claude.config.config import Blueprint
from dodo_claude.config.records import Config
from dodo_claude.plugin import kept
from dodo_claude.plugin.freshness import Freshness, definition, definition_digest, definition_digests
from dodo_claude.plugin.tasks import StageTask
from dodo_claude.run.run import Run
from dodo_claude.text.errors import ConfigError
from tests.project import BIN, Project, wait_for_the_clock
from tests.samples.configs import GOOD

PACKAGE = Path(dodo_claude.__file__).parent
TEMPLATES = sorted(Path(__file__).parents[3].glob("templates/*/orchestrate.toml"))


def question(path: Path, **other: object) -> kept.Question:
    known = {"task_names": ["t"], "agent": None, "made_by": {}, "settled": ()} | other
    return kept.Question(path, **known)  # type: ignore[arg-type]


def made(asked: kept.Question, environ: dict[str, str]) -> Config | None:
    """The fresh configuration, which is kept, too; None if there is a fault."""
    try:
        with inputs.recording() as seen:
            config = Blueprint(
                asked.path, task_names=asked.task_names, agent=asked.agent, made_by=asked.made_by
            ).config(asked.settled)
    except ConfigError:
        return None
    kept.keep(asked, config, seen, definition_digests, environ)
    return config


def found(asked: kept.Question, environ: dict[str, str]) -> Config | None:
    pair = kept.find(asked, environ)
    return None if pair is None else pair[0]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


# -- the same


def test_what_is_kept_is_what_was_made(root: Path, environ: dict[str, str]) -> None:
    for name in ("prompts/backend.md", "src/a.py", "src/b.py"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("Write {{ files['docs/contract.md'] }}\n")
    (root / "orchestrate.toml").write_text(
        GOOD + '[stages.steps]\nphases = [{prompt = "a", targets = ["p"]}, {prompt = "b", compact = "x"}]\n'
        '[stages.each]\nforeach = { glob = "src/*.py" }\nprompt = "{{ item }}"\ntargets = ["{{ item }}.x"]\n'
        '[monitors.build]\nbeside = "backend"\ncommand = "make"\nmatch = "error"\nevery = "5s"\n'
    )
    asked = question(root / "orchestrate.toml")
    config = made(asked, environ)
    assert config is not None
    assert config.foreach
    assert found(asked, environ) == config
    pair = kept.find(asked, environ)
    assert pair is not None
    assert pair[1]["build"] == definition_digest(definition(config.stages[-4]))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.parent.name)
def test_templates_are_kept_as_they_are(path: Path, root: Path, environ: dict[str, str]) -> None:
    shutil.copytree(path.parent, root, dirs_exist_ok=True)
    for settled in ((), None):
        asked = question(root / "orchestrate.toml", settled=settled)
        config = made(asked, environ)
        assert config is not None
        late = bool(config.late or config.plans)
        assert found(asked, environ) == (None if late else config)


# -- no change is missed

TEXTS = (
    '[stages.a]\nprompt_file = "p.md"\nfile_dep = ["src/*.py", "data/[i].txt"]\ntargets = ["out/a", "link/a"]\n',
    '[stages.a]\nforeach = { lines = "list" }\nprompt = "{{ files.glob(\'src/**\') }}"\ntargets = ["out/{{ item }}"]\n'
    '[stages.b]\ncommand = "x"\nfile_dep = ["link/x", "src/a.py"]\ntargets = ["b"]\ncwd = "sub"\n',
    '[stages.a]\nforeach = { glob = "src/*" }\nprompt = "x"\ntargets = ["{{ item }}.out"]\n'
    '[stages.s]\norchestrate = "sub/orchestrate.toml"\n',
    '[stages.s]\norchestrate = "sub/orchestrate.toml"\n[stages.b]\nprompt = "{{ files[\'p.md\'] }}"\n',
)
PLACES = (
    "p.md", "src", "src/a.py", "src/b.py", "src/.h.py", "src/in/c.py", "data/i.txt", "data/[i].txt", "link", "out",
    "out/a", "list", "sub", "sub/orchestrate.toml", "sub/p.md", "b", "dodo.py",
)  # fmt: skip
CONTENTS = (
    "one\n",
    "two\n",
    "a {{ x }}",
    "",
    '[stages.x]\nprompt_file = "p.md"\n',
    '[stages.y]\ncommand = "y"\n',
)
LINKS = ("src", "/etc", "p.md", "src/a.py", "nowhere", "../..")
CHANGES = st.one_of(
    st.tuples(st.just("text"), st.sampled_from(TEXTS), st.just("")),
    st.tuples(st.just("write"), st.sampled_from(PLACES), st.sampled_from(CONTENTS)),
    st.tuples(st.just("fold"), st.sampled_from(PLACES), st.just("")),
    st.tuples(st.just("remove"), st.sampled_from(PLACES), st.just("")),
    st.tuples(st.just("link"), st.sampled_from(PLACES), st.sampled_from(LINKS)),
    st.tuples(st.just("move"), st.sampled_from(PLACES), st.sampled_from(PLACES)),
)  # fmt: skip


def change(root: Path, kind: str, name: str, more: str) -> None:
    path = root / name
    if kind == "text":
        (root / "orchestrate.toml").write_text(name)
        return
    if kind == "move":
        if os.path.lexists(path) and not os.path.lexists(root / more) and (root / more).parent.is_dir():
            try:
                path.rename(root / more)
            except OSError:
                return
        return
    if kind in ("remove", "link", "fold") and os.path.lexists(path):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if kind == "remove":
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "write":
            path.write_text(more)
        elif kind == "fold":
            path.mkdir()
        else:
            path.symlink_to(more)
    except OSError:  # a file in the place of its folder, or a folder in its own
        return


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TEXTS), st.lists(CHANGES, min_size=1, max_size=6), st.booleans(), st.booleans())
@example(TEXTS[0], [("write", "p.md", "two\n")], True, True)
@example(
    TEXTS[1], [("write", "list", "two\n"), ("link", "link", "src"), ("link", "link", "/etc")], True, False
)
@example(TEXTS[2], [("fold", "src/a.py", ""), ("write", "sub/p.md", "two\n")], True, True)
@example(TEXTS[3], [("link", "sub/p.md", "../p.md"), ("write", "p.md", "two\n")], True, True)
def test_no_change_is_missed(
    text: str, changes: list[tuple[str, str, str]], by_times: bool, looks: bool
) -> None:  # fmt: skip
    """`by_times`: all was made so long ago that unchanged times are believed."""
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(os.path.realpath(made_here))
        root, environ = folder / "project", {"HOME": str(folder / "home")}
        root.mkdir()
        (root / "orchestrate.toml").write_text(text)
        for name in ("p.md", "src/a.py", "sub/p.md", "list", "data/i.txt", "link/x"):
            change(root, "write", name, "one\n")
        change(root, "write", "sub/orchestrate.toml", CONTENTS[4])
        asked = question(root / "orchestrate.toml", settled=None if looks else ())
        later = time.time_ns() + 10**12 if by_times else 0
        with (
            mock.patch.object(inputs.time, "time_ns", return_value=later),
            mock.patch.object(inputs, "WORTH", 0),
        ):
            for step in [None, *changes]:
                if step is not None:
                    wait_for_the_clock(folder)
                    change(root, *step)
                there = found(asked, environ)
                fresh = made(asked, environ)
                if there is not None:
                    assert there == fresh
                if fresh is not None and not fresh.late and not fresh.absent:
                    assert found(asked, environ) == fresh


def test_what_does_not_matter_is_no_change(root: Path, environ: dict[str, str]) -> None:
    (root / "orchestrate.toml").write_text(TEXTS[3].partition("[stages.b]")[2].join(["[stages.b]", ""]))
    (root / "p.md").write_text("x")
    asked = question(root / "orchestrate.toml")
    assert made(asked, environ) is not None
    (root / "other").write_text("x")
    os.utime(root / "p.md")
    assert found(asked, environ) is not None
    (root / "p.md").write_text("another")  # is a file_dep, and no part of the configuration
    assert found(asked, environ) is not None


def test_a_made_target_is_no_change_and_its_folder_is_believed_from_then_on(
    root: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "orchestrate.toml").write_text('[stages.a]\ncommand = "x"\ntargets = ["out/a"]\n')
    monkeypatch.setattr(inputs, "WORTH", 0)
    asked = question(root / "orchestrate.toml")
    assert made(asked, environ) is not None
    (root / "out").mkdir()
    (root / "out/a").write_text("x")
    later = time.time_ns() + 10**12
    monkeypatch.setattr(inputs.time, "time_ns", lambda: later)
    assert found(asked, environ) is not None
    looked: list[str] = []
    monkeypatch.setattr(inputs, "_exact", lambda path: str(looked.append(path) or ""))
    found(asked, environ)
    assert [path for path in looked if path.startswith(str(root))] == []


OTHERS: tuple[dict[str, object], ...] = (
    {"task_names": ["t", "u"]}, {"agent": "scripted"}, {"made_by": {"x": "t"}}, {"settled": None}, {"settled": ("g",)},
)  # fmt: skip


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
def test_another_question_has_another_answer(
    other: dict[str, object], root: Path, environ: dict[str, str]
) -> None:
    (root / "orchestrate.toml").write_text('[stages.a]\nprompt = "x"\n')
    path = root / "orchestrate.toml"
    assert made(question(path), environ) is not None
    assert found(question(path, **other), environ) is None


def test_another_program_makes_it_anew(
    root: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "orchestrate.toml").write_text('[stages.a]\nprompt = "x"\n')
    asked = question(root / "orchestrate.toml")
    made(asked, environ)
    assert found(asked, environ) is not None
    monkeypatch.setattr(sys, "version", "4.0")
    assert found(asked, environ) is None


# -- whose file it is


@pytest.fixture
def file(root: Path, environ: dict[str, str]) -> Path:
    (root / "orchestrate.toml").write_text('[stages.a]\nprompt = "x"\n')
    assert made(question(root / "orchestrate.toml"), environ) is not None
    return kept.place(root, environ)


def test_it_lies_with_the_approvals_and_is_its_users_alone(file: Path, root: Path) -> None:
    assert not file.is_relative_to(root)
    assert file.parent.parent.name == "dodo-claude"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_what_others_can_write_is_not_read(
    mode: int, file: Path, root: Path, environ: dict[str, str]
) -> None:
    file.chmod(mode)
    assert found(question(root / "orchestrate.toml"), environ) is None


def test_no_link_is_followed(file: Path, root: Path, environ: dict[str, str]) -> None:
    file.rename(root / "mine")
    file.symlink_to(root / "mine")
    assert found(question(root / "orchestrate.toml"), environ) is None


@given(
    st.sampled_from([0, 1, 3]),  # the third is a mark, any word
    st.one_of(st.binary(max_size=40), st.sampled_from([b"{}", b"[]", b"[[],[],[],[]]", b"null"])),
)
@settings(max_examples=20, deadline=None)
def test_garbage_is_nothing(line: int, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, environ = Path(os.path.realpath(folder)), {"HOME": folder}
        (root / "orchestrate.toml").write_text('[stages.a]\nprompt = "x"\n')
        asked = question(root / "orchestrate.toml")
        made(asked, environ)
        file = kept.place(root, environ)
        lines = file.read_bytes().split(b"\n")
        if data not in lines:
            file.write_bytes(b"\n".join([*lines[:line], data, *lines[line + 1 :]]))
            assert found(asked, environ) is None
        assert made(asked, environ) is not None


def test_what_is_found_in_mid_run_is_not_kept(root: Path, environ: dict[str, str]) -> None:
    (root / "orchestrate.toml").write_text(
        '[stages.gen]\ncommand = "x"\ntargets = ["list"]\n'
        '[stages.map]\nforeach = { lines = "list" }\nprompt = "{{ item }}"\n'
    )
    asked = question(root / "orchestrate.toml")
    assert made(asked, environ) is not None
    assert found(asked, environ) is None


def test_a_home_that_can_not_be_written_keeps_nothing(root: Path) -> None:
    (root / "orchestrate.toml").write_text('[stages.a]\nprompt = "x"\n')
    (root / "home").write_text("no folder")
    asked = question(root / "orchestrate.toml")
    assert made(asked, {"HOME": str(root / "home")}) is not None
    assert found(asked, {"HOME": str(root / "home")}) is None


# -- nothing else asks the disk

# What makes a configuration of files.
MAKERS = (
    "config.beside", "config.checks", "config.config", "config.documents", "config.drafts", "config.expand", "config.findings",
    "config.foreach", "config.groups", "config.language", "config.locate", "config.paths", "config.profiles", "config.prompts",
    "config.records", "config.settings", "config.shape", "config.templates", "config.uses", "config.shapes", "config.sources", "config.stage_prompts", "config.values", "text.clean", "text.durations", "text.numbers",
)  # fmt: skip
ASKING = {
    "access", "exists", "getcwd", "getmtime", "getsize", "glob", "is_dir", "is_file", "is_symlink", "isdir", "isfile",
    "islink", "iterdir", "lexists", "listdir", "lstat", "open", "read_bytes", "read_text", "readlink", "realpath",
    "resolve", "rglob", "samefile", "scandir", "stat", "walk", "environ", "getenv", "time", "now",
}  # fmt: skip
# Functions and methods of ours that ask by inputs.
HARMLESS = {
    ("sources", "read_text"), ("documents", "read_text"), ("stage_prompts", "read_text"), ("foreach", "read_text"),
    ("expand", "exists"),
}  # fmt: skip


def asked_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of = node.value.id if isinstance(node.value, ast.Name) else ""
            yield node.attr, of
        elif isinstance(node, ast.Name):
            yield node.id, ""


@pytest.mark.parametrize("name", MAKERS)
def test_only_inputs_asks_the_disk(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name.replace('.', '/')}.py").read_text())
    name = name.rpartition(".")[2]
    asking = {word for word, of in asked_in(tree) if word in ASKING and of != "inputs"}
    allowed = {word for module, word in HARMLESS if module == name}
    allowed |= (
        {"glob"} if name in ("expand", "prompts", "foreach", "checks", "groups", "shapes") else set()
    )  # of a template's
    assert asking <= allowed


def test_the_makers_are_all_that_a_configuration_is_made_by() -> None:
    """Those that `config` imports, and those that these import; the schema is one of our own files."""
    reached, todo = set(), {"config.config"}
    while todo:
        here = todo.pop()
        reached.add(here)
        tree = ast.parse((PACKAGE / f"{here.replace('.', '/')}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dodo_claude"):
                parts = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                names = {".".join(part.split(".")[1:3]) for part in parts if part}
                todo |= {
                    each for each in names if (PACKAGE / f"{each.replace('.', '/')}.py").exists()
                } - reached
    assert reached - {"text.errors", "config.inputs", "config.schema", "config.plans"} == set(MAKERS)


# -- what it is for

# What a run with nothing to do has no need of.
HEAVY = ("jsonschema", "jinja2", "libtmux", "rich", "toml", "tomllib", "click", "dodo_claude.config.config", "dodo_claude.state.lifecycle")  # fmt: skip


def test_a_run_with_nothing_to_do_imports_nothing_heavy(project: Project) -> None:
    project.write("orchestrate.toml", '[stages.a]\ncommand = "echo x > a"\ntargets = ["a"]\n')
    assert project.orchestrate().said("1 stage: 1 done")
    script = (
        "import sys; from doit.doit_cmd import DoitMain; code = DoitMain().run(['orchestrate']);"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    for expected in (True, False):  # what was run may have changed the folders that were looked at
        done = subprocess.run(
            [BIN / "python", "-c", script],
            cwd=project.root, env=project.environ(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "1 up to date" in done.stdout
        assert expected or done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr


def test_a_change_between_two_runs_is_seen(project: Project) -> None:
    project.write("p.md", "first")
    text = '[stages.a]\nprompt_file = "p.md"\ntargets = ["a"]\nagent = "cat"\n[agents.cat]\ncommand = ["sh", "-c", "cat p.md > a"]\n'
    project.write("orchestrate.toml", text)
    assert project.orchestrate().said("1 stage: 1 done")
    project.write("p.md", "other")  # as long as before
    assert project.orchestrate("--explain").said("prompt changed")
    project.edit("orchestrate.toml", 'targets = ["a"]', 'targets = ["a"]\ncheck = "test -s a"')
    assert project.orchestrate("--explain").said("check changed")


# -- tasks


def test_a_stage_as_a_task_is_what_doit_would_make_of_it(root: Path) -> None:
    (root / "orchestrate.toml").write_text(
        '[stages.a]\nprompt = "# Do it\\nx"\nfile_dep = ["in"]\ntargets = ["a"]\n'
        '[stages.b]\nforeach = ["x"]\nprompt = "of {{ item }}"\nafter = ["a"]\n'
    )
    config = Blueprint(root / "orchestrate.toml").config()
    run = Run(config, {})
    for stage in config.stages:
        freshness = Freshness(stage, config)
        ours = StageTask(stage, run, freshness)
        group = "b" if ":" in stage.name else None
        doits = Task(
            stage.name, list(ours._actions), file_dep=list(stage.file_dep), targets=list(stage.targets),
            task_dep=list(stage.after), uptodate=[freshness], clean=True, subtask_of=group, doc=ours.doc,
        )  # fmt: skip
        mine, theirs = dict(vars(ours)), dict(vars(doits))
        assert mine.pop("_stage") == stage
        assert ours.doc == theirs.pop("doc")
        for attributes in (mine, theirs):
            attributes["io"] = vars(attributes["io"])
        assert mine == theirs
    one, two = (StageTask(stage, run, Freshness(stage, config)) for stage in config.stages)
    shared = [
        name for name, value in vars(one).items() if isinstance(value, list | set | dict) and value is vars(two)[name]
    ]  # fmt: skip
    assert shared == []
