"""The README says what is: its table of keys is made from the schema, its example loads.

To renew the table: python -m tests.test_readme
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dodo_claude.agents.claude.versions import CLIENT_VERSION, LOWEST_CLIENT_VERSION
from dodo_claude.config.config import load_config
from tests.house import DOORS, FILES

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
_BETWEEN = re.compile(r"(<!-- keys:[^>]*-->\n).*?(<!-- /keys -->)", re.S)


def table() -> str:
    """The keys of orchestrate.toml as Markdown, a section for each table of the file."""
    schema = json.loads((ROOT / "dodo_claude/config/orchestrate.schema.json").read_text())
    tables = schema["properties"]
    parts = {
        "[orchestrate]": tables["orchestrate"],
        "[stages.NAME]": _each(tables["stages"]),
        "[agents.NAME]": _each(tables["agents"]),
        "[monitors.NAME]": _each(tables["monitors"]),
    }
    text = ""
    for title, part in parts.items():
        text += f"\n**`{title}`**\n\n| key | default | what |\n|---|---|---|\n"
        for name, key in part["properties"].items():
            default = f"`{json.dumps(key['default'])}`" if "default" in key else ""
            text += f"| `{name}` | {default} | {key['description']} |\n"
        if title == "[stages.NAME]":
            shared = ", ".join(f"`{name}`" for name in tables["defaults"]["properties"])
            text += f"\n**`[defaults]`** gives values for all stages that do not give their own: {shared}.\n"
    return text + "\n"


def _each(part: dict[str, Any]) -> dict[str, Any]:
    """The schema of one entry of a table of named entries."""
    (entry,) = (
        part["patternProperties"].values() if "patternProperties" in part else (part["additionalProperties"],)
    )
    return dict(entry)


def test_every_option_that_it_names_exists() -> None:
    from click.testing import CliRunner

    from dodo_claude.commands.main import main
    from dodo_claude.plugin.orchestrate import Orchestrate

    rows = [
        row.split("|")[1]
        for row in section("Commands").replace("\\|", " ").splitlines()
        if row.startswith("| `")
    ]
    ours = {
        f"--{option[key]}"
        for option in Orchestrate.cmd_options
        for key in ("long", "inverse")
        if option.get(key)
    }
    for row in rows:
        for name, rest in re.findall(r"`(…|doit orchestrate|dodo-claude [a-z]+)([^`]*)`", row):
            options = set(re.findall(r"--[a-z-]+", rest))
            if name.startswith("dodo-claude"):
                known = CliRunner().invoke(main, [name.split()[1], "--help"]).output
                assert all(re.search(rf"{option}\b", known) for option in options), row
            else:
                assert options <= ours, row


def test_every_link_within_it_leads_somewhere() -> None:
    text = README.read_text()
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    there = {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= there


def section(title: str) -> str:
    """What stands below a heading."""
    return README.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_table_of_keys_is_the_schemas() -> None:
    found = _BETWEEN.search(README.read_text())
    assert found is not None
    assert found[0] == f"{found[1]}{table()}{found[2]}", "renew it: python -m tests.test_readme"


def test_the_example_loads(tmp_path: Path) -> None:
    example = README.read_text().split("```toml\n# orchestrate.toml\n")[1].split("```")[0]
    (tmp_path / "orchestrate.toml").write_text(example)
    config = load_config(tmp_path / "orchestrate.toml")
    assert [stage.name for stage in config.stages] == ["backend", "tests"]
    assert config.stages[1].file_dep == ("docs/contract.md",)
    assert (config.notes, config.absent) == ((), ())


def test_every_command_that_it_names_exists() -> None:
    from dodo_claude.commands.main import main

    named = set(re.findall(r"dodo-claude ([a-z]+)", README.read_text())) | {
        "attach",
        "capture",
        "log",
        "stop",
    }
    assert named <= set(main.commands), named - set(main.commands)


def test_its_recipes_load(tmp_path: Path) -> None:
    for name in ("papers/a.txt", "tests/test_a.py", "src/a.c", "Makefile", "modules.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    found = re.findall(r"```toml\n(.*?)```", section("Recipes"), re.S)
    assert len(found) >= 4
    for recipe in found:
        (tmp_path / "orchestrate.toml").write_text(recipe)
        config = load_config(tmp_path / "orchestrate.toml")
        assert config.stages, recipe
        assert (config.notes, config.absent) == ((), ()), recipe


def test_every_message_that_it_explains_is_said_somewhere() -> None:
    """`…` stands for what differs; the rest is in one line of the source, ours or doit's."""
    import doit

    places = [ROOT / "dodo_claude", Path(doit.__file__).parent]
    # A text that the formatter broke over two lines is one all the same, whatever its quotes are.
    source = "\n".join(path.read_text() for place in places for path in place.rglob("*.py"))
    source = re.sub(r'["\']\n\s*f?["\']', "", source).replace('"', "'").replace("\\'", "'")
    messages = re.findall(r"^\| `(.*?)` \| ", section("When something is in the way"), re.M)
    assert len(messages) >= 20
    for message in messages:
        shape = r"[^\n]*".join(map(re.escape, message.replace('"', "'").split("…")))
        assert re.search(shape, source), message


def test_it_says_what_is_not_promised() -> None:
    text = section("What is not promised")
    for words in (
        "Workers run as you, on your machine",
        "Without a sandbox or a container",
        "can\n  read what you can read",
        "a guard rail, not a wall",
    ):
        assert words in text
    # No recipe stands beside it.
    assert not re.search(r"get(s)? (past|round|around)|bypass", text)


def test_the_documents_name_the_client_that_was_proved() -> None:
    text = README.read_text(encoding="utf-8")
    assert f"real client {CLIENT_VERSION}" in text
    assert f"Claude Code {LOWEST_CLIENT_VERSION} or newer" in text
    assert f"`claude` ({CLIENT_VERSION})" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_file_of_the_package_is_in_one_row_of_its_room() -> None:
    """Of the table that says where to change what. A file is a door of its own there, once."""
    rooms: dict[str, list[str]] = {}
    room = ""
    for first, files in re.findall(
        r"^\| (?:`(\w+)` )?\| .*? \| (.*) \|$", section("Changing dodo_claude"), re.M
    ):
        room = first or room
        rooms.setdefault(room, []).extend(re.findall(r"`([\w/]+)\.py`", files))
    named = [f"{room}/{name}" for room, names in rooms.items() for name in names]
    apart = ("agents/scripted/", *DOORS)
    files = [name for name in FILES if not name.endswith("__init__") and not name.startswith(apart)]
    assert sorted(named) == sorted(files)


if __name__ == "__main__":
    text = README.read_text()
    README.write_text(_BETWEEN.sub(lambda found: f"{found[1]}{table()}{found[2]}", text))


def test_the_filters_of_templates() -> None:
    from dodo_claude.config.language import FILTERS

    words = README.read_text().partition("these of Jinja2's filters: ")[2].partition(".")[0]
    assert re.findall(r"`(\w+)`", words) == sorted(FILTERS)
