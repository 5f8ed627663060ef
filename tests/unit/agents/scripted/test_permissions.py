"""Permission rules as a table of cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.agents.scripted.arguments import split_rules
from dodo_claude.agents.scripted.permissions import Rules, permit

RULES = [
    # rules, tool, path or command, verdict in dontAsk
    ([], "Write", "a.txt", "deny"),
    (["Edit(./**)"], "Write", "a.txt", "run"),
    (["Edit(./**)"], "Edit", "sub/new/a.txt", "run"),
    (["Edit(**)"], "Write", "sub/a.txt", "run"),
    (["Edit(//CWD/**)"], "Write", "sub/a.txt", "run"),
    (["Edit(/**)"], "Write", "a.txt", "run"),
    (["Edit(./**)"], "Write", "../a.txt", "deny"),
    (["Edit(./**)"], "Write", "/etc/a.txt", "deny"),
    (["Edit(./**)"], "Write", "link/a.txt", "deny"),
    (["Edit(./**)"], "Write", ".git/config", "deny"),
    (["Edit(./**)"], "Write", "sub/.claude/settings.json", "deny"),
    (["Edit(./**)"], "Write", ".mcp.json", "deny"),
    (["Edit(./ui/*.py)"], "Write", "ui/a.py", "run"),
    (["Edit(./ui/*.py)"], "Write", "ui/sub/a.py", "deny"),
    (["Edit(./ui/*.py)"], "Write", "api/a.py", "deny"),
    (["Write(./**)"], "Write", "a.txt", "deny"),
    (["Write"], "Write", "../a.txt", "run"),
    (["Write"], "Edit", "a.txt", "deny"),
    (["Edit"], "Edit", "a.txt", "run"),
    (["Edit"], "Write", "a.txt", "deny"),
    ([], "Bash", "ls sub | wc -l", "run"),
    ([], "Bash", "git diff", "run"),
    ([], "Bash", "git push", "deny"),
    ([], "Bash", "cat /etc/passwd", "deny"),
    ([], "Bash", "cat ../a", "deny"),
    ([], "Bash", "cat $HOME/a", "deny"),
    ([], "Bash", "make", "deny"),
    (["Bash"], "Bash", "make && rm -rf ../x", "run"),
    (["Bash(make)"], "Bash", "make", "run"),
    (["Bash(make)"], "Bash", "make all", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest -q 2>&1 | tail -1", "run"),
    (["Bash(pytest *)"], "Bash", "pytest", "run"),
    (["Bash(pytest *)"], "Bash", "pytestx", "deny"),
    (["Bash(pytest *)"], "Bash", "timeout 5 pytest > /dev/null", "run"),
    (["Bash(pytest *)"], "Bash", "FOO=1 pytest", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest && git push", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest\ntouch x", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest $(touch x)", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest `touch x`", "deny"),
    (["Bash(pytest *)"], "Bash", "(pytest)", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest & touch x", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest 'unclosed", "deny"),
    (["Bash(echo *)"], "Bash", "echo a > f", "deny"),
    (["Bash(echo *)", "Edit(./**)"], "Bash", "echo a >> f", "run"),
    (["Bash(echo *)", "Edit(./**)"], "Bash", "echo a > ../f", "deny"),
    (["Bash(echo *)", "Edit(./**)"], "Bash", "echo a > .git/x", "deny"),
]


@pytest.mark.parametrize(("allow", "tool", "subject", "verdict"), RULES)
def test_rules_in_dont_ask(tmp_path: Path, allow: list[str], tool: str, subject: str, verdict: str) -> None:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "link").symlink_to(tmp_path)
    cwd = str(tmp_path / "cwd")
    rules = Rules(tuple(rule.replace("/CWD", cwd) for rule in allow), (), cwd)
    assert permit(tool, subject, "dontAsk", rules) == verdict


@pytest.mark.parametrize(
    ("deny", "tool", "subject", "verdict"),
    [
        ("Bash(git push *)", "Bash", "git push", "deny"),
        ("Bash(git push *)", "Bash", "A=1 timeout 5 /usr/bin/git  push origin", "deny"),
        ("Bash(git push *)", "Bash", "true && (git push)", "deny"),
        ("Bash(git push *)", "Bash", "git -C . status", "run"),
        ("Bash(git push *)", "Bash", "sh -c 'git status'", "run"),
        ("Bash", "Bash", "ls", "deny"),
        ("Edit(./prot/**)", "Write", "prot/a", "deny"),
        ("Edit(./prot/**)", "Write", "sub/prot/a", "deny"),
        ("Read(**/*.pem)", "Write", "sub/a.pem", "deny"),
        ("Edit(./prot/**)", "Write", "other/a", "run"),
    ],
)
def test_deny_beats_bypass(tmp_path: Path, deny: str, tool: str, subject: str, verdict: str) -> None:
    assert (
        permit(tool, subject, "bypassPermissions", Rules(("Bash", "Edit"), (deny,), str(tmp_path))) == verdict
    )


def test_other_modes_ask(tmp_path: Path) -> None:
    rules = Rules((), (), str(tmp_path))
    assert permit("Write", "a", "manual", rules) == "ask"
    assert permit("Write", "a", "acceptEdits", rules) == "run"
    assert permit("Write", "../a", "acceptEdits", rules) == "ask"
    assert permit("Bash", "mkdir sub", "acceptEdits", rules) == "run"
    assert permit("Bash", "make", "plan", rules) == "ask"
    assert split_rules("Edit(./**),Bash(git diff *) Write") == ["Edit(./**)", "Bash(git diff *)", "Write"]
