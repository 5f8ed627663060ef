"""How a person's terminal is brought to a session in tmux, and which keys bring it back. Pure: `see` does it.

Outside tmux the terminal becomes a client of the session's server. Inside a tmux of another server it would be one in a
client, where the first Ctrl-b is the outer one's: so it comes up in a popup of that, which takes all keys. Inside the
session's own server the client that is there goes on to the session.

A popup has no pane (`TMUX_PANE`), can't have one above it, and needs somebody who is attached.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# How long tmux's status line says which keys lead back, unless a key is pressed before.
TELL_MILLISECONDS = 5000
# A tmux's own prefix, as people write it: Ctrl-b.
_PREFIX = "#{s/^C-/Ctrl-/:prefix}"
LEAVES, GOES_BACK = f"{_PREFIX} d leaves it", f"{_PREFIX} L goes back"


@dataclass(frozen=True, slots=True)
class Way:
    """What to run, and with which environment."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]


def way(
    session: str,
    socket: Path | None,
    environ: Mapping[str, str],
    *,
    is_watched: bool,
    has_borderless: bool,
    program: str = "tmux",
) -> Way:
    """To the session of that id, on the server at `socket`, or on the user's own (None).

    `is_watched`: is anybody attached to the tmux session around? `has_borderless`: does that tmux know popups without a
    border (3.3)?
    """
    server = () if socket is None else ("-S", str(socket))
    inside = environ.get("TMUX", "").partition(",")[0]
    outside = {name: value for name, value in environ.items() if name not in ("TMUX", "TMUX_PANE")}
    attach = (program, *server, "attach-session", "-t", session, *_telling(LEAVES))
    if not inside:
        return Way(attach, outside)
    if socket is None or _is_same(inside, socket):
        return Way((program, *server, "switch-client", "-t", session, *_telling(GOES_BACK)), environ)
    if not is_watched or "TMUX_PANE" not in environ:
        return Way(attach, outside)
    border = ("-B",) if has_borderless else ()
    command = f"exec env -u TMUX -u TMUX_PANE {shlex.join(attach)}"
    return Way(
        (program, "display-popup", "-E", *border, "-w", "100%", "-h", "100%", f"/bin/sh -c {shlex.quote(command)}"),
        environ,
    )  # fmt: skip


def _telling(text: str) -> tuple[str, ...]:
    return (";", "display-message", "-d", str(TELL_MILLISECONDS), text)


def _is_same(inside: str, socket: Path) -> bool:
    try:
        return os.path.samefile(inside, socket)
    except OSError:
        return False
