"""What no worker may do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from dodo_claude.agents.claude.rules import never
from dodo_claude.agents.start import launch
from tests.samples.jobs import CLAUDE, JOB, SCRIPTED

NEVER_DONE = [
    "OfferChromeSetup", "ShowOnboardingRolePicker",
    "CronCreate", "CronDelete", "CronList", "EnterWorktree", "ExitWorktree", "ScheduleWakeup",
    "Bash(git push *)", "Bash(git -C * push)", "Bash(git -C * push *)", "Bash(git -c * push)", "Bash(git -c * push *)",
    "Bash(git stash *)", "Bash(git reset --hard *)", "Bash(git clean *)", "Bash(sudo *)", "Bash(su *)", "Bash(doas *)",
    "Bash(dodo-claude allow *)", "Bash(dodo-claude deny *)",
    "Bash(rm -rf /*)", "Bash(rm -rf ~*)", "Bash(rm -rf ..*)", "Bash(rm -fr /*)", "Bash(rm -fr ~*)", "Bash(rm -fr ..*)",
    "Bash(rm -r -f /*)", "Bash(rm -r -f ~*)", "Bash(rm -r -f ..*)",
    "Bash(sh)", "Bash(bash)", "Bash(zsh)", "Bash(sh -s *)", "Bash(bash -s *)", "Bash(zsh -s *)",
    "Read(./.env)", "Read(./.env.local)", "Read(./.env.*.local)", "Read(./.env.development)", "Read(./.env.production)",
    "Read(./.env.staging)", "Read(~/.ssh/**)", "Read(~/.aws/**)", "Read(~/.azure/**)", "Read(~/.config/gcloud/**)",
    "Read(~/.config/gh/**)", "Read(~/.gnupg/**)", "Read(~/.kube/**)", "Read(~/.docker/config.json)",
    "Read(~/.git-credentials)", "Read(~/.netrc)", "Read(~/.npmrc)", "Read(~/.pypirc)",
    "Read(~/.claude/.credentials.json)", "Read(~/.claude.json)",
    "Edit(~/.claude/**)", "Edit(./.git/**)", "Edit(./.claude/**)", "Edit(./.mcp.json)", "Edit(./orchestrate.toml)", "Edit(./dodo.py)",
    "Edit(./doit.cfg)", "Edit(./.orchestrate/**)",
]  # fmt: skip


def test_what_no_worker_may_do() -> None:
    for profile in (CLAUDE, SCRIPTED, replace(CLAUDE, permission_mode="bypassPermissions")):
        assert never(profile, JOB) == NEVER_DONE
    elsewhere = launch(CLAUDE, JOB, {"CLAUDE_CONFIG_DIR": "/c [d]"}, {}).files["settings.json"]
    assert "Edit(//c \\[d\\]/**)" in json.loads(elsewhere)["permissions"]["deny"]
    below = never(CLAUDE, replace(JOB, root=Path("/a [b]*"), cwd=Path("/a [b]*/sub")))
    assert below[: len(NEVER_DONE)] == NEVER_DONE
    assert below[len(NEVER_DONE) :][3:5] == [
        r"Edit(//a \[b\]\*/orchestrate.toml)",
        r"Edit(//a \[b\]\*/dodo.py)",
    ]
    around = replace(
        JOB, root=Path("/top/a"), outside=("../.git/hooks/*", "../.git/config", "/etc/[x]/hooks/*")
    )
    assert never(CLAUDE, around)[len(NEVER_DONE) :] == [
        *never(CLAUDE, replace(around, outside=()))[len(NEVER_DONE) :],
        "Edit(//top/.git/hooks/**)",
        "Edit(//top/.git/config)",
        r"Edit(//etc/\[x\]/hooks/**)",
    ]


def test_a_closed_target_below_a_link_is_closed_by_both_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    rules = never(CLAUDE, replace(JOB, root=tmp_path, cwd=tmp_path, others=("link/x",)))
    assert {f"Edit(/{tmp_path}/link/x)", f"Edit(/{tmp_path}/real/x)"} <= set(rules)


def test_the_sandbox_mounts_away_only_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    job = replace(JOB, root=tmp_path, cwd=tmp_path, others=("there", "not-there"))
    rules = never(replace(CLAUDE, sandbox=True), job)
    assert f"Edit(/{tmp_path}/there)" in rules
    assert f"Edit(/{tmp_path}/not-there)" not in rules
