"""Who may have written a file that is about to be run: whoever else could, it is not run."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path

from dodo_claude.text.clean import one_line


def faults(root: Path, names: Iterable[str]) -> list[str]:
    """Of those that are there, and of their folder."""
    there = [name for name in names if (root / name).exists()]
    found = [open_folder(root) if there else None, *(fault(root, name) for name in there)]
    return [line for line in found if line is not None]


def configuration(root: Path) -> list[str]:
    """doit's files there by which it may import modules. Of a pyproject.toml most is for others, who do not mind its mode."""
    names = ["doit.cfg"]
    if fault(root, "pyproject.toml") is not None and _names_modules(root / "pyproject.toml"):
        names.append("pyproject.toml")
    return names


def _names_modules(pyproject: Path) -> bool:
    import tomllib

    if not pyproject.is_file():  # a FIFO would be waited for
        return False
    try:
        found = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["doit"]
        return "loader" in found or "plugins" in found
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False  # doit says what is wrong with it


def fault(root: Path, name: str) -> str | None:
    """Why that file of `root` is not to be run: a line with the remedy. None: its user alone may write it."""
    try:
        status = os.stat(root / name)  # of what a symbolic link leads to: that is what runs
    except OSError:
        return None  # others say so, with the place that names it
    mode, owner = stat.S_IMODE(status.st_mode), user_name(status.st_uid)
    if status.st_uid not in (0, os.geteuid()):
        return one_line(
            f"{name}: belongs to {owner} (mode {mode:04o}), not to you: it is not run (read it; if it is fine: "
            f"chown {user_name(os.geteuid())} {shlex.quote(name)})"
        )
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not is_private(status.st_gid, status.st_uid)):
        return one_line(
            f"{name}: others can write it (mode {mode:04o}, owner {owner}): it is not run "
            f"(chmod go-w {shlex.quote(name)})"
        )
    return None


def open_folder(root: Path) -> str | None:
    """A folder in which everybody may replace files makes their own modes worth nothing; a sticky one is fine."""
    mode = stat.S_IMODE(root.stat().st_mode)
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        name = os.path.abspath(root)
        return one_line(f"{name}: everybody can replace its files (mode {mode:04o}) (chmod o-w {shlex.quote(name)})")  # fmt: skip
    return None


def is_private(gid: int, uid: int) -> bool:
    """Is the group its user's alone?

    Many systems give each user such a group, and with it the umask 002: there every file is group-writable, and
    that means nobody else. A primary group alone proves nothing: elsewhere it is `users` or `staff`.
    """
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def user_name(uid: int) -> str:
    """Of the user with that number."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
