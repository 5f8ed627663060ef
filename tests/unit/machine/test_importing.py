"""What of sys.path depends on the folder where a process was started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dodo_claude.machine import importing
from tests.house import THIRD_PARTIES

INSTALLED = ["/lib/python", "/lib/python/site-packages"]


@pytest.mark.parametrize(
    ("module", "named", "path", "left", "taken"),
    [
        (False, None, ["/bin"], ["/bin"], []),
        (False, None, ["."], ["."], []),  # a script beside the project's files: its own
        (True, None, ["."], [], ["."]),
        (True, ".", [".", "."], [], [".", "."]),
        (False, ":src:/mine", ["/bin", ".", "src", "/mine"], ["/bin", "/mine"], [".", "src"]),
        (False, "", ["/bin"], ["/bin"], []),
        (True, "", ["/bin"], ["/bin"], []),  # -P
    ],
)
def test_what_is_taken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    module: bool, named: str | None, path: list[str], left: list[str], taken: list[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)

    def places(names: list[str]) -> list[str]:
        return [os.path.abspath(name) for name in names]

    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=object() if module else None))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if named is not None:
        monkeypatch.setenv("PYTHONPATH", named)
    # A folder may be installed, too: then it stays where that put it.
    monkeypatch.setattr(sys, "path", [*places(path), *INSTALLED, str(tmp_path)])
    if "." not in path:
        sys.path.pop()
    rest = sys.path[len(path) :]
    assert importing.leave_folder() == places(taken)
    assert sys.path == [*places(left), *rest]


def test_from_a_folder_that_is_gone_nothing_is_imported(tmp_path: Path) -> None:
    script = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "from dodo_claude.machine import importing; from dodo_claude.plugin import loader\n"
        "before = list(sys.path); assert importing.leave_folder() == [] and sys.path == before; loader.StageLoader()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_we_need_of_others_is_known() -> None:
    assert set(importing.NEEDED) == THIRD_PARTIES.keys() - {"doit"}


def test_a_folder_is_put_last_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/a", "/b", *INSTALLED, "/b"])
    importing.put_last(["/a", "/b", "/c"])
    assert sys.path == [*INSTALLED, "/b", "/a", "/c"]
