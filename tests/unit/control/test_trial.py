"""Of a trial nothing is left, whatever still writes there at its end."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from dodo_claude.control import trial
from dodo_claude.machine import processes
from dodo_claude.run import project_tmux
from tests.project import PATIENCE, Project

pytestmark = pytest.mark.tmux


@pytest.mark.parametrize("nonce", ["its-own", "of-nobody"])
def test_what_writes_at_its_end_leaves_nothing(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nonce: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with contextlib.suppress(KeyError), trial.place(tmp_path) as root:
        late = f"trap 'sleep 0.2; mkdir -p {root}/state; echo x > {root}/state/late; exit' HUP TERM; echo > {root}/up; sleep 600 & wait"
        argv = ["env", f"DODO_CLAUDE_NONCE={nonce}", "sh", "-c", late]
        pane = project_tmux.own_tmux(root, os.environ).spawn("trial", argv, root, "its-own", "trial")
        while not (root / "up").exists():
            time.sleep(0.01)
        raise KeyError  # its trial failed
    assert not root.exists()
    assert not processes.runs(pane.pid)
    assert list(runtime.glob("dodo-claude/*")) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_told_of_a_run_is_what_it_found_and_not_a_line_that_looks_like_it(project: Project) -> None:
    project.write(
        "orchestrate.toml",
        "[stages.one]\ncommand = 'echo an ERROR that has FAILED before'\n"
        "targets = ['a']\n[stages.two]\nafter = ['one']\ncommand = 'true'\ntargets = ['b']\n",
    )
    code, said = trial.orchestrate(project.root, project.environ(), PATIENCE)
    assert (code, said.partition(" (")[0]) == (
        3,
        "you have not approved yet what this project runs on your machine",
    )
    project.approve()
    assert trial.orchestrate(project.root, project.environ(), PATIENCE) == (1, "target 'a' was not written")
    project.edit("orchestrate.toml", "targets = ['a']", "targets = ['one']")
    project.edit("orchestrate.toml", "before'", "before > one'")
    project.approve()
    code, said = trial.orchestrate(project.root, project.environ(), PATIENCE)
    assert (code, said) == (1, "target 'b' was not written")
    project.edit("orchestrate.toml", "[stages.one]", "[stages.one")
    code, said = trial.orchestrate(project.root, project.environ(), PATIENCE)
    assert code == 3
    assert "orchestrate.toml" in said
