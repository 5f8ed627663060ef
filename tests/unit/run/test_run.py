"""A run: what its stages share, what it learns while it lasts; and what it does not do when nothing is stale."""

from __future__ import annotations

import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from dodo_claude.config.config import Blueprint
from dodo_claude.machine.tmux import Tmux
from dodo_claude.run import approval, preflight
from dodo_claude.run.preflight import PreflightError
from dodo_claude.run.run import Run

# -- what the stages share


@pytest.fixture
def started(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run for which all is there: what is looked at before is tested elsewhere."""
    monkeypatch.setattr(preflight, "lacking", lambda *args: [])
    monkeypatch.setattr(approval, "require", lambda *args: None)
    return run


def test_services_are_made_once_and_end_with_the_run(started: Run, root: Path) -> None:
    run = started
    before = threading.active_count()
    services = run.services()
    assert run.services() is services
    assert threading.active_count() == before + 1
    event = services.waker.register("x")
    run.stop()
    assert event.is_set()
    assert services.stopping.is_set()
    run.close()
    assert threading.active_count() == before
    run.close()
    run.stop()


def test_close_leaves_no_empty_server_and_keeps_a_full_one(started: Run, root: Path) -> None:
    run = started
    run.services()
    terminal = run.terminal()
    assert isinstance(terminal, Tmux)
    assert run.terminal() is terminal
    pane = terminal.spawn("w", ["sleep", "1000"], root, "m", "it")
    run.close()
    again = run.terminal()
    assert again.server.sessions() == {"w": (pane.session, "m")}
    again.close("w", "m")
    run.close()
    done = subprocess.run(
        ["tmux", "-S", str(terminal.server.socket), "list-sessions"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1


LATE = (
    '[stages.gen]\ncommand = "x"\ntargets = ["list"]\n'
    '[agents.claude]\nsetting_sources = ["project"]\n'
    '[stages.map]\nforeach = { lines = "list" }\nprompt = "{{ item }}"\ncwd = "in/{{ item }}"\ntargets = ["out/{{ item }}"]\n'
)


def test_what_comes_later_is_looked_at_before_the_start(root: Path, environ: dict[str, str]) -> None:
    (root / "orchestrate.toml").write_text(LATE)
    run = Run(Blueprint(root / "orchestrate.toml").config(set()), {**environ, "PATH": "/nowhere"})
    with pytest.raises(PreflightError, match="agent 'claude': 'claude' not found on PATH"):
        run.start([run.config.stages[0]])
    run.close()


def test_a_run_learns_of_stages(root: Path, environ: dict[str, str]) -> None:
    (root / "orchestrate.toml").write_text(LATE)
    blueprint = Blueprint(root / "orchestrate.toml")
    run = Run(blueprint.config(set()), environ)
    approval.approve(run.config, environ)
    run.start([run.config.stages[0]])
    targets = run.services().targets
    assert set(targets) == {"list"}
    (root / "list").write_text("a\n")
    run.learn(blueprint.config({"map"}))
    assert [stage.name for stage in run.learned] == ["map:a"]
    assert set(targets) == {"list", "out/a"}
    (plan,) = (root / ".orchestrate/runs").glob("*/plan.toml")
    assert set(tomllib.loads(plan.read_text())["stages"]) == {"gen", "map:a"}
    # Settings that lie in an item's folder were not approved, since nobody knew of that folder.
    (root / "in/a/.claude").mkdir(parents=True)
    (root / "in/a/.claude/settings.json").write_text("{}")
    with pytest.raises(
        approval.ApprovalError, match=r"changed since you approved: file 'in/a/\.claude/settings\.json'"
    ):
        run.learn(blueprint.config({"map"}))
    run.close()


# -- nothing to do costs nothing


def test_doits_face_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys, dodo_claude.plugin.loader, dodo_claude.plugin.orchestrate, dodo_claude.plugin.reporter, dodo_claude.plugin.backend\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    loaded = set(done.stdout.split())
    assert "doit" in loaded
    assert not loaded & {
        "libtmux",
        "jinja2",
        "jsonschema",
        "toml",
        "click",
        "asyncio",
        "multiprocessing",
    } - _doits(tmp_path)


def _doits(tmp_path: Path) -> set[str]:
    """What doit itself brings along."""
    script = "import sys, doit.cmd_run, doit.cmd_base, doit.runner; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    return set(done.stdout.split())
