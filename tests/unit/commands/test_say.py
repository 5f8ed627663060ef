"""Who says it: a worker speaks for itself alone, by the nonce of its attempt, and for nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dodo_claude.commands import main
from dodo_claude.control import caller
from dodo_claude.control.steering import drop
from dodo_claude.machine import processes
from dodo_claude.machine.files import make_state_dir
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.state.journal import Attempt, StageLog

NONCE = {"a": "a" * 32, "b": "b" * 32}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "orchestrate.toml").write_text("[stages.a]\nprompt = 'x'\n[stages.b]\nprompt = 'x'\n")
    make_state_dir(tmp_path)
    for stage, nonce in NONCE.items():
        attempt = StageLog(tmp_path / STATE_DIR, stage).begin()
        attempt.record("begun", nonce=nonce)
        mail = attempt.log.dir / "mail"
        mail.mkdir()
        (mail / "at_work").write_text('{"attempt": 1}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(root: Path, *argv: str, stage: str | None = "a", nonce: str | None = NONCE["a"], text: str = "", number: str = "1") -> Result:  # fmt: skip
    env = {"DODO_CLAUDE_STAGE": stage, "DODO_CLAUDE_ATTEMPT": number, "DODO_CLAUDE_NONCE": nonce, "DODO_CLAUDE_ROOT": str(root)}  # fmt: skip
    given = {name: value if stage is not None else None for name, value in env.items()}
    return CliRunner().invoke(main.main, list(argv), env=given, input=text, prog_name="dodo-claude")


def heard(root: Path, stage: str) -> list[tuple[str, object]]:
    """What the stage's worker told its orchestrator."""
    return [
        (event.kind, event.data.get("text"))
        for event in Attempt(StageLog(root / STATE_DIR, stage), 1).collect()
    ]


def notes(root: Path) -> str:
    path = root / STATE_DIR / "notes.md"
    return path.read_text() if path.exists() else ""


SAYING = [["note", "x"], ["progress", "30", "x"], ["ask", "x", "--wait", "0s"], ["send", "orchestrator", "x"]]


@pytest.mark.parametrize("argv", SAYING, ids=lambda argv: argv[0])
def test_a_worker_speaks_by_its_nonce(root: Path, argv: list[str]) -> None:
    result = said(root, *argv)
    assert result.exit_code == 0, result.output
    assert [text for _, text in heard(root, "a")] == ["x"]


@pytest.mark.parametrize("argv", [*SAYING, ["send", "b", "x"], ["answer", "b", "x"]], ids=" ".join)
@pytest.mark.parametrize(
    "nonce", [NONCE["b"], None, "", "a" * 31], ids=["another's", "none", "empty", "shorter"]
)
def test_without_it_nobody_speaks_as_that_worker(root: Path, argv: list[str], nonce: str | None) -> None:
    result = said(root, *argv, nonce=nonce)
    assert result.exit_code == 2
    assert "is not the worker of stage 'a'" in result.output or "asks nothing" in result.output
    assert heard(root, "a") == heard(root, "b") == []
    assert notes(root) == ""
    assert not list((root / STATE_DIR).glob("stages/*/mail/new/*"))


@pytest.mark.parametrize("number", ["2", "x", "", "-1"])
def test_an_attempt_that_is_not_there_proves_nothing(root: Path, number: str) -> None:
    result = said(root, "note", "x", number=number)
    assert (result.exit_code, notes(root)) == (2, "")


@pytest.mark.parametrize(
    "argv", [["ask"], ["send", "orchestrator"], ["note"], ["answer", "a"], ["send", "b"]], ids=" ".join
)
def test_what_is_too_long_to_say_is_kept_nowhere(root: Path, argv: list[str]) -> None:
    drop(Attempt(StageLog(root / STATE_DIR, "a"), 1), "ask", id="q", text="which?", until=1e12)
    result = said(root, *argv, "-", text="x" * 9_000_000)
    assert result.exit_code in (1, 2)
    assert "characters" in result.output
    for path in (root / STATE_DIR).rglob("*"):
        assert path.stat().st_size < 10_000, path


@pytest.mark.skipif(processes.below_a_worker(), reason="who runs this is a worker")
def test_a_person_speaks_as_such(root: Path) -> None:
    assert said(root, "note", "x", stage=None).exit_code == 0
    assert notes(root).endswith(" the user: x\n")


def test_what_a_worker_starts_is_no_person_whatever_it_takes_out_of_its_environment(root: Path) -> None:
    inner = f"{sys.executable} -m dodo_claude note x"
    script = (
        f"unset DODO_CLAUDE_NONCE; {inner}; {inner.replace('note x', 'send b hello --from nobody')}; true"
    )
    subprocess.run(
        ["sh", "-c", script], env={**os.environ, processes.NONCE: NONCE["a"]}, cwd=root, check=True
    )
    assert notes(root).endswith(f" {caller.SOMETHING}: x\n")
    (letter,) = (root / STATE_DIR).glob("stages/b/mail/new/*")
    assert f"Message from {caller.SOMETHING}:" in letter.read_text()
