"""Who stopped a stage: a person's order is a file, there before anything is ended, so that no kill loses it.

    .orchestrate/stops/<stage>   JSON: sender, and the run that it was given to, as run.lock names it
    .orchestrate/stops/%all      the same for all stages

Rules this file keeps: an order is for the run that held the project when it was given; that one ends the stage, begins it no
more, and takes the order away when the stage is over; of a stage that it never began, when the run is, so that all who look see
why it does not begin. One that outlived its run ends what that left at work, once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dodo_claude.machine import files
from dodo_claude.machine.files import make_folder, write_atomic
from dodo_claude.state.journal import folder_name

FOLDER = "stops"
# No stage's file is called so: a quoted name has two hexadecimal digits after each '%'.
ALL = "%all"
# As senders are called elsewhere; the person who reads it is mostly the one who did it.
USER = "the user"


@dataclass(frozen=True, slots=True)
class Order:
    """Somebody wants a stage stopped."""

    sender: str
    run: str  # 'pid 7 since …'

    @property
    def reason(self) -> str:
        """In words, for whoever asks why the stage ended."""
        return reason(self.sender)


def reason(sender: str) -> str:
    """Why a stage ended that `sender` stopped."""
    return f"stopped by {'you' if sender == USER else sender}"


def not_begun(why: str) -> str:
    """Of a stage that was stopped, for that reason, before the run came to it."""
    return f"{why} before it began; the next doit orchestrate begins it"


class Stops:
    """The orders below a project's state folder, as the run `run` sees them; '': as nobody does."""

    def __init__(self, state: Path, run: str = "") -> None:
        self.folder = state / FOLDER
        self.run = run

    # -- whoever stops

    def give(self, stage: str, sender: str, run: str) -> None:
        """Write down that `sender` wants `stage` (or `ALL`) stopped. Raises `OSError`."""
        make_folder(self.folder)
        write_atomic(self.folder / _name(stage), json.dumps({"sender": sender, "run": run}) + "\n")

    def pending(self, stage: str) -> bool:
        """Is there an order that nobody took away yet?"""
        return files.is_file(self.folder / _name(stage))

    # -- the run

    def given(self, stage: str) -> str | None:
        """Why `stage` is to end and not to begin, if this run was told so."""
        return next((order.reason for order in self._orders(stage) if order.run == self.run), None)

    def among(self, stages: Iterable[str]) -> dict[str, str]:
        """Of those of `stages` that this run was told not to begin: why. The folder is looked at once."""
        try:
            there = set(files.names(self.folder))
        except OSError:
            return {}
        named = (name for name in stages if ALL in there or _name(name) in there)
        return {name: why for name in named if (why := self.given(name)) is not None}

    def left(self, stage: str) -> str | None:
        """Why what an earlier run left at work on `stage` is to end, if that was told so and did not come to it."""
        return next((order.reason for order in self._orders(stage) if order.run != self.run), None)

    def over(self, stage: str) -> None:
        """`stage` has come to its end: there is nothing more to stop."""
        with contextlib.suppress(OSError):
            files.remove(self.folder / _name(stage))

    def clear(self) -> None:
        """The run has come to its end."""
        with contextlib.suppress(OSError):
            for name in files.names(self.folder):
                path = self.folder / name
                if name.endswith(".tmp") and files.being_written(path):
                    continue  # by somebody who stops something in this moment, and looks afterwards whether we are there
                with contextlib.suppress(OSError):
                    files.remove(path)

    def _orders(self, stage: str) -> list[Order]:
        found = []
        for name in (stage, ALL):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                value = json.loads(files.read(self.folder / _name(name)))
                found.append(Order(str(value["sender"]), str(value["run"])))
        return found


def _name(stage: str) -> str:
    return ALL if stage == ALL else folder_name(stage)
