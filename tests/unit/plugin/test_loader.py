"""A dodo.py beside orchestrate.toml: where its imports come from, what it leaves of that, and whose it must be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doit import loader as doit_loader
from doit.exceptions import InvalidCommand, InvalidDodoFile

from dodo_claude.plugin.loader import StageLoader
from dodo_claude.text.clean import clean_text

Load = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's folder, in which we stand."""
    place = tmp_path / "p"
    place.mkdir()
    monkeypatch.chdir(place)
    path, modules = list(sys.path), dict(sys.modules)
    monkeypatch.setattr(doit_loader, "initial_workdir", None)
    yield place
    sys.path[:] = path
    sys.modules.clear()
    sys.modules.update(modules)


def load(**options: object) -> Any:
    """The names of the dodo.py."""
    loader = StageLoader()
    loader.setup({"dodoFile": "dodo.py", "cwdPath": None, "seek_file": False, **options})
    return loader.namespace


def test_without_a_dodo_py_the_folder_is_not_looked_into(root: Path) -> None:
    (root / "orchestrate.toml").touch()
    before = list(sys.path)
    assert load() == {}
    assert sys.path == before


@pytest.mark.parametrize("options", [{}, {"cwdPath": "no\x1b[2J\u202e\r"}])
def test_no_name_of_a_folder_acts_on_a_terminal(
    root: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    odd = root / "odd\x1b[2J\u202e\r"
    odd.mkdir()
    monkeypatch.chdir(odd)
    with pytest.raises((InvalidDodoFile, InvalidCommand)) as refused:
        load(**options)
    assert clean_text(str(refused.value)) == str(refused.value)
    assert "\\x1b[2J" in str(refused.value)


def test_a_folder_that_is_gone_is_said_in_a_line(root: Path) -> None:
    root.rmdir()
    with pytest.raises(InvalidCommand, match=r"^the folder where you are is gone \(cd to the project\)$"):
        load()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_imported(root: Path, make: Callable[[str], None]) -> None:
    make("dodo.py")
    with pytest.raises(InvalidDodoFile, match=r"^dodo\.py: is not a plain file \(move it away\)$"):
        load()


def test_its_own_modules_are_found_beside_it_and_later_too(root: Path) -> None:
    (root / "dodo.py").write_text(
        "import helper_of_mine, this\nmade = helper_of_mine.made\n"
        "def later():\n    import later_of_mine\n    return later_of_mine.made\n"
    )
    (root / "helper_of_mine.py").write_text("made = 1\n")
    (root / "later_of_mine.py").write_text("made = 2\n")
    (root / "this.py").write_text("")  # one of Python's own has that name
    found = load()
    assert found["made"] == 1
    assert found["later"]() == 2
    assert sys.path[-1] == str(root)
    assert sys.path.count(str(root)) == 1
    assert found["this"].__file__ == str(root / "this.py")
    assert "this" not in sys.modules  # who else asks for it gets Python's own


def test_it_may_put_folders_of_its_own_in_front(root: Path) -> None:
    (root / "lib").mkdir()
    (root / "lib/inner_of_mine.py").write_text("made = 3\n")
    (root / "dodo.py").write_text(
        "import sys; sys.path.insert(0, 'lib')\nimport inner_of_mine\nmade = inner_of_mine.made\n"
    )
    assert load()["made"] == 3
    assert sys.path[0] == "lib"


@pytest.mark.parametrize("options", [{"dodoFile": "../q/other_of_mine.py"}, {"dodoFile": "../q/other_of_mine.py", "cwdPath": "../q/in"}])  # fmt: skip
def test_one_that_is_named(root: Path, options: dict[str, object]) -> None:
    place = root.parent / "q"
    (place / "in").mkdir(parents=True)
    (place / "other_of_mine.py").write_text("import beside_of_mine\nmade = 4\n")
    (place / "beside_of_mine.py").write_text("")
    before = list(sys.path)
    assert load(**options)["made"] == 4
    assert sys.path[: len(before)] == before
    assert os.getcwd() == os.path.realpath(place / "in" if "cwdPath" in options else place)
    assert doit_loader.initial_workdir == str(root)


@pytest.mark.parametrize("name", ["dodo.py", "mine_of_others.py"])
def test_one_above_is_sought(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / name).write_text("made = 5\n")
    (root / "a/b").mkdir(parents=True)
    monkeypatch.chdir(root / "a/b")
    with pytest.raises(InvalidDodoFile):
        load(dodoFile=name)
    assert load(dodoFile=name, seek_file=True)["made"] == 5
    assert os.getcwd() == os.path.realpath(root)


@pytest.mark.parametrize("options", [{}, {"dodoFile": "./dodo.py"}], ids=["found", "named"])
def test_one_that_everybody_may_write_is_not_imported(root: Path, options: dict[str, object]) -> None:
    (root / "dodo.py").write_text("raise AssertionError\n")
    (root / "dodo.py").chmod(0o666)
    with pytest.raises(InvalidDodoFile, match=r"^dodo\.py: others can write it \(mode 0666, owner "):
        load(**options)
    (root / "dodo.py").chmod(0o644)
    root.chmod(0o777)
    with pytest.raises(
        InvalidDodoFile, match=r"p: everybody can replace its files \(mode 0777\) \(chmod o-w "
    ):
        load(**options)


def test_doits_own_files_are_held_to_the_same(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They may name modules, which doit imports when our loader is made."""
    for name, text, held in (
        ("doit.cfg", "", True),
        ("pyproject.toml", "[project]\nname = 'x'\n", False),
        ("pyproject.toml", "[tool.doit]\nverbosity = 2\n", False),
        ("pyproject.toml", "[tool.doit]\nloader = 'orchestrate'\n", True),
        ("pyproject.toml", "[tool.doit.plugins.reporter]\nmine = 'mine:Mine'\n", True),
        ("pyproject.toml", "no TOML", False),  # which doit says
    ):
        (root / name).write_text(text)
        (root / name).chmod(0o646)
        if held:
            with pytest.raises(SystemExit) as ended:
                StageLoader()
            assert ended.value.code == 3
            assert capsys.readouterr().err.startswith(
                f"ERROR: {name}: others can write it (mode 0646, owner "
            )
        else:
            StageLoader()
        (root / name).unlink()
    (root / "doit.cfg").touch()
    root.chmod(0o777)
    with pytest.raises(SystemExit):
        StageLoader()
    assert capsys.readouterr().err.startswith(f"ERROR: {root}: everybody can replace its files (mode 0777) ")
