"""Where Python looks for modules in our processes: in our installation. Owns what the folder in which somebody stands, or
a dodo.py, puts on that path.

Rule this file keeps: before its yes nothing of a project is imported but its dodo.py, and what doit.cfg names, which are
doit's; and no module of a project is ever taken for an installed one of the same name.

What Python, or doit, imports by itself before we are asked is theirs: `python -m` looks into the folder where it is
started, and so does a PYTHONPATH with relative names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# What of others' our modules import, in part only when they need it.
NEEDED = ("aiohttp", "click", "jinja2", "jsonschema", "libtmux", "mcp", "psutil", "rich", "textual", "toml")


def python(module: str, *arguments: str, deaf: bool = False) -> list[str]:
    """The command line of a Python like this one, which does not look into the folder where it is started; `deaf`: nor
    where a variable says, which a stage may set."""
    return [sys.executable, *(["-E"] if deaf else []), "-P", "-m", module, *arguments]


def leave_folder() -> list[str]:
    """Take off the path what the folder where this process was started put in front of our installation; what that was.

    To be called before anybody goes elsewhere.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:
        return []  # it is gone, and what was in it
    taken = []
    # A module's spec is there only of `python -m`: of a script it is the script's own folder.
    if getattr(sys.modules.get("__main__"), "__spec__", None) is not None and sys.path[0] == here:
        taken.append(sys.path.pop(0))
    named = os.environ.get("PYTHONPATH") or os.sep
    for place in (os.path.abspath(entry) for entry in named.split(os.pathsep) if not os.path.isabs(entry)):
        if place in sys.path:
            sys.path.remove(place)
            taken.append(place)
    return taken


@contextmanager
def lent(folders: Iterable[str], own: Iterable[str]) -> Iterator[None]:
    """`folders` are in front while doit imports a dodo.py, which may mean them; then they, and its `own`, which doit puts
    there, are last: what it imports when it runs is found, too."""
    folders = list(folders)
    known = set(sys.modules)
    sys.path[:0] = folders
    try:
        yield
    finally:
        put_last([*own, *folders])
        _forget(set(sys.modules) - known, [*own, *folders])


def put_last(folders: Iterable[str]) -> None:
    """These no longer stand in front of what is installed."""
    for folder in folders:
        if folder in sys.path:
            sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _forget(names: Iterable[str], folders: Iterable[str]) -> None:
    """Modules of a dodo.py that are called like one that we need: it has them, and we do not get them for ours."""
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None) or ""
        top = name.partition(".")[0]
        if (top in NEEDED or top in sys.stdlib_module_names) and file.startswith(
            tuple(f"{folder}{os.sep}" for folder in folders)
        ):
            del sys.modules[name]
