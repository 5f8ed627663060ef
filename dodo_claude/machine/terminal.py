"""What the engine needs of a terminal: the one Protocol between it and tmux."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Pane:
    """Where a worker runs. `id` and `session` are the terminal's own ids, `pid` the pane's process."""

    id: str
    session: str
    pid: int


class Terminal(Protocol):
    """A place where workers run and people look. `tmux.Tmux` is the real one."""

    def spawn(self, session: str, argv: Sequence[str], cwd: Path, mark: str, name: str) -> Pane:
        """Run `argv` in a new session, in which people see it called `name`; the pane stays when the process ends."""
        ...

    def respawn(self, pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        """Run `argv` in `pane`, whose process has ended."""
        ...

    def split(self, pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        """Run `argv` in a smaller pane beside `pane`, which goes when the process ends."""
        ...

    def exit_status(self, pane: Pane) -> int | None:
        """Of a pane whose process has ended: its status, minus a signal's number, None if unknown."""
        ...

    def paste(self, pane: Pane, texts: Sequence[str], scratch: Path) -> None:
        """Put `texts` into the input box, each as one paste, and press Enter."""
        ...

    def press(self, pane: Pane, key: str) -> None:
        """Press a key, by the terminal's name of it: Enter, Escape."""
        ...

    def capture(self, pane: Pane, *, history: int = 0, escapes: bool = False) -> str:
        """The visible text and up to `history` lines above it; '' when the pane is gone."""
        ...

    def without(self, text: str) -> Collection[str]:
        """The ids of all panes on whose screens `text` is not to be seen."""
        ...

    def rename(self, pane: Pane, name: str) -> None:
        """What people see `pane` called. Fine if it is gone."""
        ...

    def take_down(self, pane: Pane, session: str, mark: str, *, history: int = 0) -> str:
        """`capture`, then `close`, of a worker that ended well."""
        ...

    def close(self, session: str, mark: str) -> None:
        """Remove the session called so, with all that runs in it, if it is the one that was marked so."""
        ...
