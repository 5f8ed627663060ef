"""Where the tests' real Claude Code client comes from, and the clean home and environment it runs in.

The client is never the user's own: a pinned version in a cache folder, a fresh HOME, no variable of this process except PATH.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dodo_claude.agents.claude.versions import CLIENT_VERSION

PACKAGE = "@anthropic-ai/claude-code"

# The version under test: the one that dodo_claude was proved on, or another by `CLAUDE_VERSION=2.1.330 tests/run …`.
CHOSEN = os.environ.get("CLAUDE_VERSION")
VERSION = CHOSEN or CLIENT_VERSION

DESKTOP_COMMANDER = "@wonderwhy-er/desktop-commander"
DESKTOP_COMMANDER_VERSION = "0.2.52"

# npm install of about 200 MB, in seconds.
INSTALL_TIMEOUT = 600.0

# `claude --version`, in seconds: instant, but the first start reads 200 MB.
VERSION_TIMEOUT = 60.0

# The client remembers an approved key by its last so many characters.
KEY_TAIL = 20


class ClientUnavailable(Exception):
    """No client can be had here; str() says why, in words for a skip message."""


def cache_folder(name: str = f"claude-{VERSION}") -> Path:
    """Where the client of this VERSION, or another program, is kept between runs; it need not exist."""
    if own := os.environ.get("DODO_CLAUDE_TEST_CACHE"):
        base = Path(own)
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dodo-claude-tests"
    return base / name


@functools.cache
def claude_path() -> Path:
    """The client's executable, installed by npm on first use (some minutes); ClientUnavailable where that fails.

    Safe among concurrent test processes: they queue on a lock, and the folder appears whole, by rename, or not at all.
    A failure is not remembered between processes.
    """
    return _installed(cache_folder(), "claude", _install)


@functools.cache
def desktop_commander_path() -> Path:
    """Desktop Commander's executable, had in the same way."""
    folder = cache_folder(f"desktop-commander-{DESKTOP_COMMANDER_VERSION}")
    return _installed(folder, "desktop-commander", _install_desktop_commander)


def _installed(folder: Path, name: str, install: Callable[[str, Path], None]) -> Path:
    executable = folder / "node_modules" / ".bin" / name
    if executable.exists():
        return executable
    npm = shutil.which("npm")
    if npm is None:
        raise ClientUnavailable(f"npm is not installed, and {executable} does not exist")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.with_name(folder.name + ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go by close, also if this process is killed
            if not executable.exists():
                install(npm, folder)
    except OSError as error:
        raise ClientUnavailable(f"cannot write the cache folder: {error}") from error
    return executable


def _install(npm: str, folder: Path) -> None:
    with _new(folder) as new:
        _npm_install(npm, new, f"{PACKAGE}@{VERSION}")
        # A package for another machine installs without complaint, but does not run.
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(new.parent),
            "DISABLE_AUTOUPDATER": "1",
        }
        said = _run([str(new / "node_modules" / ".bin" / "claude"), "--version"], VERSION_TIMEOUT, env)
        if VERSION not in said:
            raise ClientUnavailable(f"{PACKAGE}@{VERSION} says it is {said.strip()!r}")


def _install_desktop_commander(npm: str, folder: Path) -> None:
    with _new(folder) as new:
        # Its scripts count installations and fetch a browser: neither is needed.
        _npm_install(npm, new, "--ignore-scripts", f"{DESKTOP_COMMANDER}@{DESKTOP_COMMANDER_VERSION}")


@contextlib.contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its name if nothing fails."""
    with tempfile.TemporaryDirectory(prefix=folder.name + ".", dir=folder.parent) as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        yield new
        shutil.rmtree(folder, ignore_errors=True)  # without an executable in it: not ours, or broken
        os.rename(new, folder)


def _npm_install(npm: str, folder: Path, *what: str) -> None:
    command = [npm, "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund"]
    command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]  # without a network: skip soon
    _run([*command, *what], INSTALL_TIMEOUT, None)


def _run(command: list[str], timeout: float, env: dict[str, str] | None) -> str:
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=env,
        )
    except subprocess.TimeoutExpired as error:
        raise ClientUnavailable(f"{Path(command[0]).name} took longer than {timeout:g} s") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line and not line.startswith("npm warn")]
        why = "; ".join(said[:3]) or "no output"
        raise ClientUnavailable(f"{Path(command[0]).name} ended with {done.returncode}: {why}")
    return done.stdout


def client_home(tmp_path: Path, trusted: Iterable[Path], api_key: str = "dummy-key") -> Path:
    """A new HOME below `tmp_path` in which the client starts without a dialog in the `trusted` folders and below them.

    Calling it again with the same `tmp_path` starts the home's settings anew.
    """
    home = tmp_path / "home"
    home.mkdir(parents=True, exist_ok=True)
    state = {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [api_key[-KEY_TAIL:]], "rejected": []},
        # The client looks its real path up: a link in tmp_path would be a folder nobody trusts.
        "projects": {os.path.realpath(folder): {"hasTrustDialogAccepted": True} for folder in trusted},
    }
    (home / ".claude.json").write_text(json.dumps(state), encoding="utf-8")
    return home


def client_env(home: Path, base_url: str, api_key: str = "dummy-key") -> dict[str, str]:
    """The client's whole environment: no variable of this process but PATH, nothing sent but to `base_url`."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "SHELL": "/bin/sh",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_API_KEY": api_key,
    }


if __name__ == "__main__":  # for who wants them to be there before the tests ask
    for path in (claude_path, desktop_commander_path):
        with contextlib.suppress(ClientUnavailable):  # the tests say why
            path()
