"""What an installed client says of itself, and its settings files, before any worker starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.agents.claude import clients, elsewhere, versions
from dodo_claude.run import preflight
from dodo_claude.run.preflight import PreflightError
from tests.samples.stages import STAGE, config_of

OLD = "2.1.100"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    return {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}


def program(environ: dict[str, str], says: str, name: str = "claude") -> Path:
    """It counts how often it is asked."""
    path = Path(environ["HOME"]) / "bin" / name
    path.write_text(f"#!/bin/sh\necho x >> {path}.asked\n{says}\n")
    path.chmod(0o755)
    return path


def asked(path: Path) -> int:
    counted = Path(f"{path}.asked")
    return len(counted.read_text().splitlines()) if counted.exists() else 0


def says(version: str) -> str:
    return f"echo '{version} (Claude Code)'"


@pytest.mark.parametrize(("version", "old"), [
    ("2.0.76", True), ("2.1.100", True), ("1.99.999", True), ("2.1.9", True),
    (versions.LOWEST_CLIENT_VERSION, False), (versions.CLIENT_VERSION, False), ("2.2.0", False), ("10.0.0", False),
])  # fmt: skip
def test_which_versions_are_too_old(version: str, old: bool) -> None:
    assert versions.is_too_old(version) is old


@pytest.mark.parametrize(("answer", "version"), [
    (says("2.1.332"), "2.1.332"), ("echo 'Docker version 24.0.7'", None), ("echo 2.0.1", None), ("exit 3", None),
    ("printf '\\377'", None), (f"{says('2.1.332')}; exit 1", "2.1.332"),
])  # fmt: skip
def test_only_the_client_itself_is_held_to_its_versions(
    environ: dict[str, str], answer: str, version: str | None
) -> None:
    assert clients.version(str(program(environ, answer))) == version


def test_a_client_is_asked_once_until_its_file_changes(environ: dict[str, str]) -> None:
    path = program(environ, says("2.1.330"))
    assert [clients.remembered_version(str(path), environ) for _ in range(3)] == ["2.1.330"] * 3
    assert asked(path) == 1
    program(environ, says("2.1.331 "))  # of another size
    assert clients.remembered_version(str(path), environ) is None
    program(environ, says("2.1.3310"))
    assert clients.remembered_version(str(path), environ) == "2.1.3310"
    kept = Path(environ["HOME"]) / ".local/state/dodo-claude/clients.json"
    kept.write_text("[]")
    assert clients.remembered_version(str(path), environ) == "2.1.3310"


def test_one_that_is_too_old_is_asked_each_time(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a wrapper, whose file stays as it is, there may be another by now."""
    path = program(environ, 'cat "$HOME/told"')
    told = Path(environ["HOME"]) / "told"
    monkeypatch.setenv("HOME", environ["HOME"])
    told.write_text(f"{OLD} (Claude Code)")
    assert clients.remembered_version(str(path), environ) == OLD
    told.write_text("2.1.332 (Claude Code)")
    assert clients.remembered_version(str(path), environ) == "2.1.332"


def test_too_old_a_client_is_one_line_with_what_to_do(environ: dict[str, str]) -> None:
    path = program(environ, says(OLD))
    assert clients.too_old([STAGE, STAGE], environ) == [
        f"claude: {OLD} at {path} is too old: dodo_claude needs {versions.LOWEST_CLIENT_VERSION} or newer "
        "(run `claude update`, or npm install -g @anthropic-ai/claude-code@latest)"
    ]
    assert STAGE.agent is not None
    wrapped = replace(STAGE, agent=replace(STAGE.agent, command=("claude", "x")))
    others = replace(STAGE, agent=replace(STAGE.agent, base="command"))
    assert clients.too_old([wrapped, others, replace(STAGE, agent=None, command="true")], environ) == []
    assert asked(path) == 1


def test_before_the_first_worker_and_after_the_yes(environ: dict[str, str], tmp_path: Path, runtime: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """To ask a program of its version is to run it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    root = tmp_path / "p"
    root.mkdir()
    (root / "orchestrate.toml").write_text("")
    path = program(environ, says(OLD))
    state = {"hasCompletedOnboarding": True, "projects": {str(root): {"hasTrustDialogAccepted": True}}}
    (tmp_path / ".claude.json").write_text(json.dumps(state))
    config = config_of(root, STAGE)
    with pytest.raises(Exception, match="not approved"):
        preflight.look(config, [STAGE], environ)
    assert asked(path) == 0
    monkeypatch.setattr("dodo_claude.run.approval.require", lambda config, environ: None)
    with pytest.raises(PreflightError, match="is too old"):
        preflight.look(config, [STAGE], environ)
    program(environ, says(versions.CLIENT_VERSION))
    preflight.look(config, [STAGE], environ)


# -- its settings files


FAULTS = {
    "": "",
    " \n\t": "",
    "{}": "",
    "\ufeff{}": "",
    '{"a": 1, "a": 2}': "",
    '{"hooks": {': ":1:12: is not JSON (Expecting property name enclosed in double quotes)",
    '{"a": 1,\n}': ":",
    "{ // why\n}": ":1:3: is not JSON",
    '{"a": NaN}': ": is not JSON",
    "[]": ": is not a JSON object",
    "null": ": is not a JSON object",
}


@pytest.mark.parametrize("text", FAULTS)
def test_what_the_client_would_not_read(text: str) -> None:
    found = elsewhere.settings_fault(text.encode())
    assert found.startswith(FAULTS[text])
    assert bool(found) is bool(FAULTS[text])


def test_bytes_that_are_no_text_are_the_clients_own_matter() -> None:
    assert elsewhere.settings_fault(b'{"a": "\xff"}') == ""
    assert elsewhere.settings_fault('{"a": 1}'.encode("utf-16")) == ""


def test_each_file_that_a_worker_reads(environ: dict[str, str], tmp_path: Path) -> None:
    assert STAGE.agent is not None
    root = tmp_path / "p"
    own, theirs = tmp_path / ".claude/settings.json", root / "part/.claude/settings.json"
    for path in (own, theirs, root / "part/.claude/settings.local.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{")
    part = replace(STAGE, cwd="part", agent=replace(STAGE.agent, setting_sources=("project",)))

    def faults(*stages: object, **more: str) -> list[str]:
        found = clients.settings_problems(config_of(root), stages, environ | more)  # type: ignore[arg-type]
        return [problem.partition(":")[0] for problem in found]

    assert faults(STAGE, STAGE) == [str(own)]
    assert faults(part) == [str(theirs)]
    assert faults(replace(STAGE, env=(("CLAUDE_CONFIG_DIR", str(tmp_path / "elsewhere")),))) == []
    assert faults(STAGE, CLAUDE_CONFIG_DIR=str(tmp_path / "elsewhere")) == []
    (problem,) = clients.settings_problems(config_of(root), [STAGE], environ)
    assert problem.endswith("the client stops at a dialog before any worker begins (mend the file)")
