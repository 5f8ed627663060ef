"""Other programs that a bench compares with: from the PATH, or installed on first use into the bench's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# A first start after an installation reads a lot.
INSTALL_SECONDS = 600.0


class Unavailable(Exception):
    """It can't be had here; str() says why."""


def on_path(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is not on PATH")
    return Path(found)


def from_pypi(cache: Path, package: str, program: str) -> Path:
    """A program of a package's, in a venv of its own."""
    name = package.partition("=")[0]
    venv = cache / name
    found = venv / "bin" / program
    if not found.exists():
        new = cache / f"{name}.new"
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            _run([sys.executable, "-m", "venv", str(new)])
            _run([str(new / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", package])
        except OSError as error:
            raise Unavailable(f"{package} can't be installed: {error}") from error
        # A venv's programs name its folder, so it can't be moved: the link appears last.
        shutil.rmtree(venv, ignore_errors=True)
        os.symlink(new.name, venv)
    if not found.exists():
        raise Unavailable(f"{package} has no {program} here")
    return found


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{' '.join(command)}: longer than {INSTALL_SECONDS:g} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise Unavailable(f"{' '.join(command[1:])}: {last}")


def version(program: Path, *args: str, env: Mapping[str, str] | None = None) -> str:
    """The first line that it says of itself."""
    done = subprocess.run(
        [str(program), *(args or ("--version",))],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env=dict(env) if env is not None else None,
    )  # fmt: skip
    return next(iter((done.stdout or done.stderr).splitlines()), "").strip()
