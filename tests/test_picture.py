"""The README's picture: a real screen becomes it, and what is checked in is one."""

from __future__ import annotations

import importlib.util
import re
import tempfile
import tomllib
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from dodo_claude.report.board import Board, Row, lines

ROOT = Path(__file__).resolve().parent.parent
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "demo/picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(svg: str) -> str:
    """All that it shows; it loads nothing."""
    root = ElementTree.fromstring(svg)
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"@import|url\((?!#)|href|<script|<image", svg)
    return "\n".join(each.text or "" for each in root.iter(f"{SVG}text")).replace("\xa0", " ")


def test_a_screen_becomes_a_picture(picture: ModuleType) -> None:
    svg = picture.svg("$ doit <orchestrate> & more\n\x1b[1mrefactor\x1b[0m \x1b[36mrunning\x1b[39m\n\n\n")
    assert "$ doit <orchestrate> & more" in words(svg)
    assert re.search(r"board-r\d+ \{ fill: #c5c8c6;font-weight: bold", svg)
    assert len(set(re.findall(r"fill: (#\w+)", svg))) >= 2
    assert svg == picture.svg("$ doit <orchestrate> & more\n\x1b[1mrefactor\x1b[0m \x1b[36mrunning\x1b[39m")


def test_the_moment_is_one_that_the_board_shows(picture: ModuleType) -> None:
    modules = [
        Row(f"modules:{name}", "running", 2.0, tokens=700, what=f"Write shop/{name}.py") for name in "abcd"
    ]
    rows = (Row("types", "done", 3.0), *modules, Row("verify", "waiting", what="for modules:a"))
    text = "".join(
        "".join(piece for piece, _ in line) + "\n" for line in lines(Board("refactor", rows, 6.0), 99, 20)
    )
    assert picture.MOMENT.search(text)


def test_what_is_checked_in_is_one_and_tells_nothing_of_where_it_was_made() -> None:
    file = ROOT / "demo/picture.svg"
    text = words(file.read_text())
    config = tomllib.loads((ROOT / "templates/refactor/orchestrate.toml").read_text())
    for stage in config["stages"]:
        assert stage in text
    assert "4 at work" in text
    assert "$ doit orchestrate --agent scripted" in text
    assert not re.search(r"/(tmp|home|root|Users)\b|20\d\d-|@", text)
    assert "](demo/picture.svg)" in (ROOT / "README.md").read_text()


@pytest.mark.tmux
def test_a_real_run_is_played(picture: ModuleType) -> None:
    with tempfile.TemporaryDirectory(prefix="dc") as folder:
        screen = picture.play(Path(folder), picture.OVER, "0")
    assert "6 stages: 6 done" in words(picture.svg(screen))
