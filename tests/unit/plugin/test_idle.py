"""A run with nothing to do, told by the last one: it never says so of what doit's own check would run."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from doit.control import TaskControl
from doit.dependency import Dependency
from doit.doit_cmd import DoitMain
from doit.exceptions import InvalidDodoFile
from doit.task import Task
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dodo_claude.config import inputs
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.plugin import explain, idle, kept
from dodo_claude.plugin.backend import DurableDB
from dodo_claude.plugin.checker import ContentChecker
from dodo_claude.plugin.freshness import definition, definition_digest, digest_text
from dodo_claude.plugin.loader import StageLoader
from dodo_claude.plugin.task_control import StageControl
from dodo_claude.plugin.tasks import freshness_of, stage_of
from dodo_claude.state import left
from dodo_claude.state.journal import StageLog
from dodo_claude.worker.verify import fingerprints
from tests.project import Project, wait_for_the_clock

TEXT = """
[stages.a]
command = "x"
file_dep = ["in"]
targets = ["a"]
[stages.b]
prompt = "go on from {{ stages.c.message }}"
file_dep = ["a"]
targets = ["b"]
[stages.c]
foreach = ["x", "y"]
prompt_file = "p.md"
"""


@contextmanager
def working_in(root: Path) -> Iterator[None]:
    before, path = os.getcwd(), list(sys.path)
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path


@contextmanager
def loaded(root: Path, *, may_idle: bool) -> Iterator[tuple[StageLoader, Any, Any]]:
    """The project as `doit orchestrate` loads it: the loader, the command, and doit's control of its tasks."""
    loader = StageLoader()
    loader.cmd_names, loader.config, loader.may_idle = ["run"], {}, may_idle
    loader.setup({"dodoFile": "dodo.py", "cwdPath": None, "seek_file": False})
    manager = Dependency(DurableDB, ".orchestrate/state.db", checker_cls=ContentChecker)
    command = SimpleNamespace(sel_tasks=None, execute_tasks=True, dep_manager=manager)
    try:
        control = TaskControl(loader.load_tasks(command, []))
        control.process(None)
        yield loader, command, control
    finally:
        manager.close()


def is_done(control: Any, command: Any) -> bool:
    """doit's own check of each stage."""
    tasks = [task for task in explain.chosen(control) if not task.has_subtask]
    return all(explain.is_done(task, control, command.dep_manager) for task in tasks)


def run(root: Path) -> None:
    """As if all stages had been run, and brought to their end."""
    for name in ("a", "b"):
        (root / name).write_text("made")
    with loaded(root, may_idle=False) as (_, command, control):
        for _ in range(2):  # the second time with the messages that were saved the first time
            for task in control.tasks.values():
                stage, freshness = stage_of(task), freshness_of(task)
                if stage is not None and freshness is not None:
                    freshness.setup(command.dep_manager, control.tasks)
                    task.values = {
                        "definition": definition(stage),
                        "digest": definition_digest(definition(stage)),
                        "targets": fingerprints(root, stage.targets),
                        "message": digest_text(task.name),
                        "messages": freshness.messages(),
                    }
                    command.dep_manager.save_success(task)
                    last = StageLog(root / STATE_DIR, stage.name).last()
                    if last is not None:
                        last.finish({"result": "succeeded"})
    left.end(root / STATE_DIR, ["a", "b", "c:x", "c:y"])


def change(root: Path, what: str) -> None:
    """Something that may make a stage stale, or may not."""
    kind, _, name = what.partition(" ")
    path = root / name
    if kind == "write" and path.parent.is_dir():
        path.write_text("other" if path.exists() and path.read_text() == "plain" else "plain")
    elif kind == "again" and path.exists():
        path.write_text(path.read_text())
    elif kind == "back" and path.exists():
        status = path.stat()
        path.write_text(path.read_text()[::-1])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif kind == "remove":
        path.unlink(missing_ok=True)
    elif kind == "text":
        path = root / "orchestrate.toml"
        path.write_text(path.read_text().replace(*name.split(">")))
    elif kind == "run":
        run(root)
    elif kind == "leave":  # a run begins it, and is killed
        left.begin(root / STATE_DIR)
        StageLog(root / STATE_DIR, name).begin()
    else:
        with loaded(root, may_idle=False) as (_, command, control):
            task = control.tasks.get(name)
            if task is None:
                return
            if kind == "forget":
                command.dep_manager.remove(name)
            elif kind == "ignore":
                command.dep_manager.ignore(task)
            elif kind == "message":
                values = {**command.dep_manager.get_values(name), "message": "another"}
                command.dep_manager.backend.set(name, "_values_:", values)
                command.dep_manager.backend.set(name, "deps:", tuple(task.file_dep))


CHANGES = (
    "write in", "write a", "write b", "write p.md", "write other", "again in", "again a", "again p.md", "back in",
    "back b", "remove in", "remove a", "remove b", "remove p.md", "forget a", "forget c:x", "ignore b", "message c:x",
    "message a", "leave a", "leave c:x", 'text = "x">= "y"', 'text ["a"]>["a2"]', "text >\n", "run",
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=4))
@example(["back in"])
@example(["back b"])
@example(["message c:x"])
@example(["ignore b"])
@example(["forget a", "run"])
@example(["leave a"])
@example(["leave c:x", "write in", "run"])
@example(['text = "x">= "y"', 'text = "y">= "x"'])
def test_it_says_what_doits_check_would_say(changes: list[str]) -> None:
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(os.path.realpath(made_here))
        root = folder / "project"
        root.mkdir()
        (root / "orchestrate.toml").write_text(TEXT)
        (root / "in").write_text("plain")
        (root / "p.md").write_text("plain")
        later = time.time_ns() + 10**12  # all was made so long ago that unchanged times are believed
        with (
            working_in(root),
            mock.patch.object(inputs.time, "time_ns", return_value=later),
            mock.patch.dict(os.environ, {"HOME": str(folder / "home")}),
        ):
            run(root)
            for step in ["", *changes]:
                wait_for_the_clock(folder)
                if step:
                    with suppress(InvalidDodoFile, FileNotFoundError):  # a run without an input fails
                        change(root, step)
                    wait_for_the_clock(folder)
                try:
                    known = told(root)
                    really = checked(root)
                except InvalidDodoFile:  # the configuration has a fault now
                    continue
                assert known in (None, really)
                assert told(root) == (True if really else None)


def told(root: Path) -> bool | None:
    with loaded(root, may_idle=True) as (loader, _, _control):
        return None if loader.idle is None else True


def checked(root: Path) -> bool:
    with (
        loaded(root, may_idle=True) as (loader, command, _),
        mock.patch.object(loader, "_is_idle", return_value=False),
    ):
        control = TaskControl(loader.load_tasks(command, []))
        control.process(None)
        done = is_done(control, command)
        if done:
            loader.question = loader.question or asked(loader)
            loader.keep_idle(command)
        return done


def asked(loader: StageLoader) -> Any:
    return kept.Question(Path.cwd() / "orchestrate.toml", loader.cmd_names, None, {}, set())


def test_what_was_written_just_now_is_looked_at_again(project: Project) -> None:
    project.write("orchestrate.toml", '[stages.a]\ncommand = "echo x > a"\ntargets = ["a"]\n')
    project.orchestrate()
    soon = time.time() + 1000
    os.utime(project.root / "a", (soon, soon))
    assert project.orchestrate().said("a up to date")
    assert list(project.home.rglob("*-idle.json")) == []


def test_only_a_whole_run_is_told_by_the_last_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("orchestrate.toml", '[stages.a]\ncommand = "echo x > a"\ntargets = ["a"]\n')
    assert project.orchestrate().said("1 stage: 1 done")
    later = time.time_ns() + 10**12
    out = project.root / ".orchestrate/said"  # doit's own stream is the one it found when it was imported
    monkeypatch.setattr(inputs.time, "time_ns", lambda: later)
    for name, value in project.environ().items():
        monkeypatch.setenv(name, value)

    def orchestrate(*args: str) -> list[str]:
        with working_in(project.root):
            assert DoitMain().run(["orchestrate", "-o", str(out), *args]) == 0
        return [line.split("  ", 1)[-1].split("(")[0].strip() for line in out.read_text().splitlines()]

    said = ["a               up to date", "1 stage: 1 up to date"]
    assert orchestrate() == said
    with monkeypatch.context() as only_here:
        only_here.setattr(Dependency, "get_status", lambda *args, **more: pytest.fail("looked at it again"))
        assert orchestrate() == said
        assert orchestrate("-n", "2", "-v0") == said
        for args in (["a"], ["--explain"], ["--dry-run"], ["-s", "a"]):
            with pytest.raises(pytest.fail.Exception):
                orchestrate(*args)
    (project.root / "a").unlink()
    assert "target 'a' is missing" in orchestrate("--explain")


@pytest.mark.parametrize("text", ["", "null", "{}", "[]", '{"state": null}', '{"files": [["gone"], ""]}'])
def test_garbage_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "orchestrate.toml").write_text('[stages.a]\ncommand = "x"\n')
    question = kept.Question(tmp_path / "orchestrate.toml", ["run"], None, {}, set())
    environ = {"HOME": str(tmp_path / "home")}
    file = kept.place(tmp_path, environ, "-idle")
    kept.write(file, text.encode())
    assert file.read_text() == text
    assert idle.find(question, [1, 2, 3, 4, 5], environ) is None


# -- doit's control


def graph(count: int) -> list[Task]:
    """A chain, defined last first, and one task that reads what all of them make."""
    chain = [
        Task(f"t{n}", None, file_dep=[f"f{n - 1}"] if n else [], targets=[f"f{n}"]) for n in range(count)
    ]
    return [Task("all", None, file_dep=[f"f{n}" for n in range(count)], task_dep=["t0"]), *reversed(chain)]


def test_what_waits_for_what_is_as_doit_has_it() -> None:
    ours, doits = StageControl(graph(50)), TaskControl(graph(50))
    assert ours.targets == doits.targets
    for name, task in doits.tasks.items():
        assert set(ours.tasks[name].task_dep) == set(task.task_dep)
        assert len(ours.tasks[name].task_dep) == len(task.task_dep)
        assert ours.tasks[name].file_dep == task.file_dep


def test_no_task_of_a_long_chain_remembers_all_that_wait_for_it() -> None:
    control = StageControl(graph(300))
    control.process(["all"])
    dispatcher = control.task_dispatcher()
    order = []
    node = None
    while (node := next(dispatcher.generator, None) if node is None else _sent(dispatcher, node)) is not None:
        node.run_status = "successful"
        order.append(node.task.name)
    assert order == [*(f"t{n}" for n in range(300)), "all"]
    assert max(len(node.ancestors) for node in dispatcher.nodes.values()) <= 2


def _sent(dispatcher: Any, node: Any) -> Any:
    try:
        return dispatcher.generator.send(node)
    except StopIteration:
        return None


def test_setup_tasks_run_only_for_who_runs() -> None:
    tasks = [Task("a", None, setup=["s"]), Task("s", None)]
    control = StageControl(tasks)
    control.process(["a"])
    assert control.task_dispatcher().selected_tasks == ["a"]


def test_a_circle_is_still_doits_to_refuse() -> None:
    control = StageControl([Task("a", None, task_dep=["b"]), Task("b", None, task_dep=["a"])])
    control.process(None)
    with pytest.raises(Exception, match="Cyclic/recursive dependencies"):
        list(control.task_dispatcher().generator)
