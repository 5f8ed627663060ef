"""A stage that is an ordinary command: it is run, and what it made is verified, with no worker and no tmux."""

from __future__ import annotations

import os
import threading

from dodo_claude.state.events import Outcome, Result
from dodo_claude.text.durations import in_words
from dodo_claude.worker import policy, verify
from dodo_claude.worker.services import Slot
from dodo_claude.worker.work import INTERRUPTED, Work


class Command(Work):
    """One attempt at such a stage."""

    def _work(self, bell: threading.Event, slot: Slot) -> Outcome:
        self._begin()
        assert self.stage.command is not None
        self.tell(self.stage.command)
        log = self.attempt.dir / "output.log"
        ended = self._command(self.stage.command, log, bell)
        if ended.stopped == INTERRUPTED:
            return self._interrupted()
        if ended.stopped:
            return Outcome(Result.TIMED_OUT, f"timed out after {in_words(self.stage.timeout)}")
        if ended.status != 0:
            detail = verify.last_words(verify.output_tail(log))
            place = os.path.relpath(log, self.services.root)
            return Outcome(
                Result.FAILED,
                f"its command ended with {policy.describe_exit(ended.status)}{detail} (see {place})",
            )
        return self._fault(bell) or self._judge(Outcome(Result.SUCCEEDED))
