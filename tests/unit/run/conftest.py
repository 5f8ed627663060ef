"""What the tests of a run share: a project's folder, a machine on which all is well, a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dodo_claude.run.run import Run
from tests.samples.places import Place
from tests.samples.stages import STAGE, config_of


@pytest.fixture
def root(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    folder = tmp_path / "p"
    folder.mkdir()
    return folder


@pytest.fixture
def run(root: Path) -> Iterator[Run]:
    made = Run(config_of(root, STAGE))
    yield made
    made.close()


@pytest.fixture
def environ(root: Path, tmp_path: Path) -> dict[str, str]:
    """A machine on which all is well."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/claude").write_text("#!/bin/sh\n")
    (tmp_path / "bin/claude").chmod(0o755)
    state = {"hasCompletedOnboarding": True, "projects": {str(root): {"hasTrustDialogAccepted": True}}}
    (tmp_path / ".claude.json").write_text(json.dumps(state))
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
