"""The tmux server that a project's workers are in: its own, or the user's."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dodo_claude.config.records import Config
from dodo_claude.machine import watch

if TYPE_CHECKING:
    from dodo_claude.machine.tmux import Tmux


def open_tmux(config: Config, environ: Mapping[str, str]) -> Tmux:
    """The tmux server that `config` asks for."""
    from dodo_claude.machine.tmux import Tmux

    if config.socket == "default":
        return Tmux(None, owner=_owner(config.root))
    return own_tmux(config.root, environ)


def own_tmux(root: Path, environ: Mapping[str, str]) -> Tmux:
    """The tmux server of the project's own at `root`."""
    from dodo_claude.machine.tmux import Tmux

    plain = {name: environ[name] for name in ("HOME", "PATH", "SHELL", "USER", "TMPDIR") if name in environ}
    return Tmux(watch.runtime_dir(root) / "tmux.sock", {"LANG": "C.UTF-8", **plain}, _owner(root))


def is_left(config: Config) -> bool:
    """Does the project's own server still run, which a run that was killed may have left?"""
    if config.socket == "default":
        return False
    with contextlib.suppress(OSError):
        path = watch.runtime_dir(config.root) / "tmux.sock"
        if path.exists():  # the socket stays when its server ends
            import socket

            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(path))
                return True
    return False


def _owner(root: Path) -> str:
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
