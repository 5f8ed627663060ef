"""What is asked before a run, and when nothing is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dodo_claude import approval, consent, question
from dodo_claude.config import load_config
from dodo_claude.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A project of one claude stage whose commands are approved, and a client that trusts nothing."""
    root = tmp_path / "p"
    root.mkdir()
    (root / "orchestrate.toml").write_text("[stages.one]\nprompt = 'x'\n")
    client = tmp_path / "bin/claude"
    client.parent.mkdir()
    client.write_text("#!/bin/sh\n")
    client.chmod(0o755)
    environ = {
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PATH": str(client.parent),
    }
    made = Run(load_config(root / "orchestrate.toml"), environ)
    approval.approve(made.config, environ)
    return made


def asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    questions: list[str] = []

    def answer(text: str, out: object) -> bool:
        questions.append(text)
        return False

    monkeypatch.setattr(question, "ask", answer)
    consent.settle(run, give=False, ask=True, out=io.StringIO(), stale=lambda base: True)
    return questions


def test_trust_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = asked(run, monkeypatch)
    assert text.startswith(f"Claude Code does not trust {run.config.root} yet.")


def test_nothing_is_asked_for_a_client_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.environ["PATH"] = "/nonexistent"
    assert asked(run, monkeypatch) == []
