"""Whose files are not run, and what bypassPermissions and the sandbox need."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.config.records import Config
from dodo_claude.machine import ownership
from dodo_claude.run import safeguards
from dodo_claude.run.approval import ApprovalError
from tests.samples.places import Place

# -- whose files are run

MODES = [
    (0o644, True),
    (0o600, True),
    (0o640, True),
    (0o444, True),
    (0o666, False),
    (0o646, False),
    (0o602, False),
]


@pytest.mark.parametrize(
    "name", ["orchestrate.toml", "docs.md", "agent.sh", "dodo.py", "doit.cfg", "pyproject.toml"]
)
@pytest.mark.parametrize(("mode", "runs"), MODES, ids=lambda value: oct(value) if value > 1 else str(value))
def test_a_file_that_everybody_may_write_is_not_run(place: Place, name: str, mode: int, runs: bool) -> None:
    if not (place.root / name).exists():  # doit's own
        (place.root / name).write_text("[tool.doit]\nloader = 'orchestrate'\n")
    (place.root / name).chmod(mode)
    found = safeguards.unsafe_files(place.config)
    assert (found == []) is runs
    if not runs:
        owner = ownership.user_name(os.geteuid())
        assert found == [
            f"{name}: others can write it (mode {mode:04o}, owner {owner}): it is not run (chmod go-w {name})"
        ]
        place.approve()
        with pytest.raises(ApprovalError, match="others can write it"):
            place.require()


def test_a_group_may_write_only_where_it_is_its_users_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.root / "orchestrate.toml").chmod(0o664)
    for private in (True, False):
        monkeypatch.setattr(ownership, "is_private", lambda gid, uid, private=private: private)
        assert (safeguards.unsafe_files(place.config) == []) is private


def test_which_group_is_its_users_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd
    from types import SimpleNamespace

    groups = {5: ("ann", []), 6: ("ann", ["ann", "bob"]), 7: ("users", []), 8: ("ann", ["ann"])}
    monkeypatch.setattr(
        grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=groups[gid][0], gr_mem=groups[gid][1])
    )
    for gid, private in ((5, True), (6, False), (7, False), (8, True)):
        monkeypatch.setattr(pwd, "getpwuid", lambda uid, gid=gid: SimpleNamespace(pw_name="ann", pw_gid=gid))
        assert ownership.is_private(gid, 1) is private
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="ann", pw_gid=5))
    assert ownership.is_private(8, 1) is False  # not the primary one
    assert ownership.is_private(99, 1) is False  # no such group


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_strangers_file_is_not_run(place: Place) -> None:
    os.chown(place.root / "orchestrate.toml", 65534, 0)
    (found,) = safeguards.unsafe_files(place.config)
    assert found.startswith("orchestrate.toml: belongs to nobody (mode 0644), not to you: it is not run (")


def test_a_link_is_judged_by_what_it_leads_to(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "real.toml"
    os.replace(place.root / "orchestrate.toml", other)
    (place.root / "orchestrate.toml").symlink_to(other)
    assert safeguards.unsafe_files(place.config) == []
    other.chmod(0o666)
    assert len(safeguards.unsafe_files(place.config)) == 1


def test_a_folder_that_everybody_may_write(place: Place) -> None:
    place.root.chmod(0o777)
    (found,) = safeguards.unsafe_files(place.config)
    assert "everybody can replace its files" in found
    place.root.chmod(0o1777)
    assert safeguards.unsafe_files(place.config) == []


# -- bypassPermissions and the sandbox


def bypass(place: Place, *, sandbox: bool) -> Config:
    config = place.config
    stages = tuple(
        replace(
            stage,
            agent=stage.agent and replace(stage.agent, permission_mode="bypassPermissions", sandbox=sandbox),
        )
        for stage in config.stages[:1]
    )
    return replace(config, stages=stages)


@pytest.mark.parametrize("consent", [True, False])
@pytest.mark.parametrize("proof", ["container", "sandbox", "none"])
def test_bypass_needs_consent_and_a_place(place: Place, tmp_path: Path, consent: bool, proof: str) -> None:
    config = bypass(place, sandbox=proof == "sandbox")
    environ = {**place.environ, safeguards.ALLOW_BYPASS: "1" if consent else "yes"}
    marks = [tmp_path / "nothing", tmp_path if proof == "container" else tmp_path / "nothing"]
    problems = safeguards.bypass_problems(config, environ, marks)
    assert [("your consent" in text, "no container" in text) for text in problems] == (
        [] if consent else [(True, False)]
    ) + ([] if proof != "none" else [(False, True)])


def test_nobody_else_needs_it(place: Place) -> None:
    assert safeguards.bypass_problems(place.config, {}, []) == []


def test_bypass_is_said_on_each_run(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    safeguards.warn(bypass(place, sandbox=True))
    assert capsys.readouterr().err == (
        "WARNING: agent 'claude' works without permission rules, in the client's sandbox\n"
    )


@pytest.mark.parametrize("there", [[], ["bwrap"], ["bwrap", "socat"]])
def test_the_sandbox_needs_its_programs(place: Place, tmp_path: Path, there: list[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("sys.platform", "linux")
    place.edit("setting_sources", "sandbox = true\nsetting_sources")
    place.approve()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in there:
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    place.environ["PATH"] = str(programs)
    lacking = [name for name in ("bwrap", "socat") if name not in there]
    if lacking:
        with pytest.raises(
            ApprovalError, match=rf"^agents.claude: sandbox: {' and '.join(lacking)} not found on PATH"
        ):
            place.require()
    else:
        place.require()
