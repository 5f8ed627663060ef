"""What is asked before a run, and when nothing is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dodo_claude.config.config import load_config
from dodo_claude.machine import question
from dodo_claude.run import approval, consent
from dodo_claude.run.run import Run


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


@pytest.mark.parametrize("dodo", [None, "other.py"])
def test_the_question_says_that_a_dodo_py_was_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, dodo: str | None
) -> None:
    (run.config.root / "orchestrate.toml").write_text("[stages.one]\ncommand = 'true'\n")
    changed = Run(load_config(run.config.root / "orchestrate.toml"), run.environ)
    out = io.StringIO()
    monkeypatch.setattr(question, "ask", lambda text, out: False)
    with pytest.raises(approval.ApprovalError):
        consent.settle(changed, give=False, ask=True, out=out, stale=lambda base: True, dodo=dodo)
    last = out.getvalue().splitlines()[-1]
    assert (last == "    command of stage 'one': true") is (dodo is None)
    if dodo is not None:
        assert (
            last
            == "    other.py is doit's: doit has run it already, to read its tasks, and runs these unasked"
        )


def test_trust_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = asked(run, monkeypatch)
    assert text.startswith(f"Claude Code does not trust {run.config.root} yet.")


def test_nothing_is_asked_for_a_client_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.environ["PATH"] = "/nonexistent"
    assert asked(run, monkeypatch) == []
