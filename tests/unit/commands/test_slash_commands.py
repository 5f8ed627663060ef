"""The slash commands that `init --claude` installs: all they tell a Claude to run exists, and takes those options."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from doit.cmdparse import CmdOption, CmdParse, CmdParseError

from dodo_claude.commands import main, start
from dodo_claude.commands.mcp import TOOLS
from dodo_claude.config.config import load_config
from dodo_claude.plugin.orchestrate import Orchestrate
from tests.project import Project

FOLDER = Path(main.__file__).parents[1] / "claude"
FILES = sorted(FOLDER.glob("*.md"))
# As code in a line, as an indented block, as a rule of allowed-tools.
_CODE = re.compile(r"`([^`\n]+)`|^ {4}(\S.*)$|Bash\(([^)]+)\)", re.M)


def commands(text: str) -> list[list[str]]:
    """All commands of ours that a text names, as words."""
    found = []
    for code in _CODE.finditer(text):
        line = next(group for group in code.groups() if group).rpartition("&& ")[2]
        words = shlex.split(line) if line.startswith(("dodo-claude ", "doit ")) else []
        if words:
            found.append(words)
    return found


def fault(words: list[str]) -> str | None:
    """What is wrong with a command line, by the parsers of the programs themselves."""
    program, name, *rest = words
    if program == "doit":
        options = CmdParse([CmdOption(option) for option in Orchestrate.cmd_options])
        try:
            options.parse(rest)
        except CmdParseError as error:
            return str(error)
        return None if name == "orchestrate" else f"doit {name}"
    command = main.main.get_command(click.Context(main.main), name)
    if command is None:
        return f"no command {name}"
    if rest == ["*"]:  # a rule for all arguments
        return None
    # A number stands for the words that a reader puts in.
    words = ["0" if word == "AT" else word for word in rest]
    try:
        command.make_context(name, words)
    except click.UsageError as error:
        return f"{name}: {error.message}"
    return None


def test_a_wrong_command_would_be_found() -> None:
    text = "`dodo-claude nosuch` `dodo-claude log` `cd x && doit orchestrate --nosuch`\n\n    dodo-claude check --all\n"
    assert [fault(words) is not None for words in commands(text)] == [True] * 4


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_command_exists_with_its_options(file: Path) -> None:
    found = commands(file.read_text())
    assert len(found) > 8
    assert [wrong for words in found if (wrong := fault(words))] == []


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_they_are_short_and_have_the_clients_head(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) < 120
    assert lines[0] == "---"
    head = dict(line.split(": ", 1) for line in lines[1 : lines.index("---", 1)])
    assert set(head) == {"description", "argument-hint", "allowed-tools"}
    assert "$ARGUMENTS" in file.read_text()


def test_all_steps_of_an_orchestration_are_told_of() -> None:
    text = (FOLDER / "orchestrate-parallel-dev.md").read_text()
    named = {words[1] for words in commands(text) if words[0] == "dodo-claude"}
    assert named >= {"init", "check", "status", "events", "answer", "send", "note", "log", "report", "stop"}
    assert ["doit", "orchestrate", "--detach"] in commands(text)
    templates = re.search(r"`dodo-claude init ([\w-]+)` \(or ([^)]+)\)", text)
    assert templates is not None
    assert {templates[1], *re.split(r",\s+", templates[2])} == set(start.template_names())


def test_the_tools_that_it_names_exist() -> None:
    text = (FOLDER / "orchestrate-parallel-dev.md").read_text()
    named = re.search(r"MCP server `dodo-claude`, use those for what they do \(([^)]+), …\)", text)
    assert named is not None
    assert set(named[1].split(", ")) <= set(TOOLS)


def test_no_approval_goes_without_a_question() -> None:
    """What allowed-tools lets a Claude run unasked approves nothing and starts nothing that is not approved."""
    for file in FILES:
        rules = re.findall(r"Bash\(([^)]+)\)", file.read_text().split("---")[1])
        for rule in rules:
            assert not rule.startswith("doit") or "*" not in rule
            assert "--trust" not in rule
            assert not re.match("dodo-claude (init|allow|deny)|dodo-claude \\*", rule)


def test_the_example_loads(tmp_path: Path) -> None:
    text = (FOLDER / "orchestrate-parallel-dev.md").read_text()
    example = text.split("```toml\n")[1].split("```")[0]
    tomllib.loads(example)
    (tmp_path / "orchestrate.toml").write_text(example)
    config = load_config(tmp_path / "orchestrate.toml")
    assert [stage.name for stage in config.stages] == ["backend", "tests", "build"]


def test_init_installs_them_and_keeps_what_was_edited(project: Project) -> None:
    ran = project.run("dodo-claude", "init", "--claude", check=0)
    assert [line.partition(":")[0] for line in ran.out.splitlines()] == [
        f"wrote .claude/commands/{file.name}" for file in FILES
    ]
    assert (
        project.read(".claude/commands/orchestrate-status.md")
        == (FOLDER / "orchestrate-status.md").read_text()
    )
    project.write(".claude/commands/orchestrate-status.md", "mine\n")
    (project.root / ".claude/commands/orchestrate-parallel-dev.md").unlink()
    (project.root / ".claude/commands/orchestrate-parallel-dev.md").symlink_to(project.root / "nowhere.md")
    again = project.run("dodo-claude", "init", "--claude", ".", check=0)
    assert again.out.splitlines() == [
        f".claude/commands/{file.name}: differs from ours, kept (for ours: move it away and run this again)"
        for file in FILES
    ]
    assert project.read(".claude/commands/orchestrate-status.md") == "mine\n"
    assert not (project.root / "nowhere.md").exists()


def test_init_of_a_folder(project: Project) -> None:
    (project.root / "sub").mkdir()
    project.run("dodo-claude", "init", "--claude", "sub", check=0)
    assert "is there already" in project.run("dodo-claude", "init", "--claude", "sub", check=0).out
    assert len(list((project.root / "sub/.claude/commands").iterdir())) == len(FILES)
    assert "nosuch: is no folder" in project.run("dodo-claude", "init", "--claude", "nosuch", check=2).err
    assert "takes a folder only" in project.run("dodo-claude", "init", "single", "d", "--claude", check=2).err
    assert "name a template" in project.run("dodo-claude", "init", check=2).err
    project.write("file/.claude", "a file")
    assert project.run("dodo-claude", "init", "--claude", "file", check=2).err == (
        "file/.claude/commands: Not a directory (it must be a folder to write to)\n"
    )
