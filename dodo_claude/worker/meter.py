"""What one attempt's client says of itself in its files: tokens, cost, context, and that it asks the API in vain."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from dodo_claude.agents.agent import CLIENT_LOG, Agent, NoAnswer
from dodo_claude.agents.usage import CostMeter, Lines, TranscriptReader, Usage
from dodo_claude.machine import files


class Meter:
    """What a client has used, of all its session and since this run follows it."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        self.agent = agent
        self.folder = folder  # the attempt's
        self.cost = CostMeter()
        self.context: float | None = None  # how full it is, in percent, as the client last said
        self.context_at = 0.0  # and when, in wall time
        self.transcript: TranscriptReader | None = None
        self.reading: str | None = None  # the transcript's path
        self.log = Lines(str(folder / CLIENT_LOG))
        self.past = Usage()  # of sessions before that one
        # What its session had used before this attempt, or before this run followed it.
        self.earlier = Usage()
        self.counted: tuple[Usage, float | None] | None = None  # what the fleet knows

    def resume(self, before: Meter, transcript: str | None) -> None:
        """Count on from an earlier attempt, whose session goes on here."""
        self.cost, self.past = before.cost, before.past
        saved = self.agent.transcript(Path(transcript or os.devnull))
        self.earlier = self.past + saved.read()
        self.cost.resumed(saved.saved_cost)

    def take_over(self, transcript: str | None, session_id: str | None) -> None:
        """Count on from a run that was killed, whose client lives."""
        self.read(transcript, session_id)
        self.earlier, _ = self.usage()
        self.cost.follows()

    def read(self, transcript: str | None, session_id: str | None) -> None:
        """Look at what the client wrote down of what it uses."""
        if transcript not in (None, self.reading):
            if self.transcript is not None:  # a fresh session in the same client: all is counted from 0 again
                self.past = self.past + self.transcript.read()
                self.cost.started()
            self.reading = transcript
            self.transcript = self.agent.transcript(Path(str(self.reading)))
        with contextlib.suppress(OSError, ValueError, RecursionError):
            status = json.loads(files.read(self.folder / "status.json"))
            # What it last said of the session before a /clear was counted: it lags behind the hooks.
            if status.get("session_id") in (None, session_id):
                self.context = self.agent.context(status)
                self.context_at = os.lstat(self.folder / "status.json").st_mtime
                cost = self.agent.cost(status)
                if cost is not None:
                    self.cost.saw(cost)

    def usage(self) -> tuple[Usage, float | None]:
        """Of all its session, whichever runs that was in."""
        usage = self.past
        if self.transcript is not None:
            usage = self.past + self.transcript.read()
            if self.transcript.saved_cost:
                # A client that ends well writes its whole cost there; the status line may lag behind.
                self.cost.saw(self.transcript.saved_cost)
        return usage, self.cost.total or None

    def uncounted(self) -> tuple[Usage, float | None] | None:
        """What this attempt has used so far, in this run. None: the fleet knows that already."""
        usage, cost = self.usage()
        own = (usage - self.earlier).at_least(Usage())  # a session that goes on in another file begins at 0
        used = (own, None if cost is None else self.cost.here)
        if used == self.counted:
            return None
        self.counted = used
        return used

    def unanswered(self) -> NoAnswer | None:
        """What the client's log says since the last look: that it asks the API in vain."""
        last = None
        for line in self.log.new():
            last = self.agent.no_answer(line) or last
        return last

    @property
    def answered(self) -> float:
        """Wall time of the model's newest answer, or part of one; 0 when there is none."""
        return self.transcript.answered if self.transcript is not None else 0.0

    @property
    def turn_ended(self) -> float:
        """Wall time at which the client last wrote down that a turn was over; 0 when it never did."""
        return self.transcript.turn_ended if self.transcript is not None else 0.0

    @property
    def stop_hooks(self) -> int:
        """The most Stop hooks that the client asked at once."""
        return self.transcript.stop_hooks if self.transcript is not None else 0

    @property
    def rules(self) -> Mapping[str, str]:
        """Whose rule refused a tool call, by its id."""
        return self.transcript.rules if self.transcript is not None else {}
