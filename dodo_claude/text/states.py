"""How a stage stands: the words, what they mean for whom, and their marks. One word and one mark everywhere."""

from __future__ import annotations

from collections.abc import Mapping

# What a run made of a stage. What is left is what is none of the first three.
DONE, UP_TO_DATE, IGNORED = "done", "up to date", "ignored"
FAILED, STOPPED, RUNNING, WAITING, NOT_RUN = "failed", "stopped", "running", "waiting", "not run"
SETTLED = (DONE, UP_TO_DATE, IGNORED)
# Those of a report, in its order.
STATES = (*SETTLED, FAILED, STOPPED, RUNNING, WAITING, NOT_RUN)
# How one is at this moment, said more closely; what is settled is `done` then.
IDLE, BLOCKED, ASKS, PAUSED = "idle", "blocked", "asks", "paused"
# Those that somebody works on, and those of them that wait for a person.
AT_WORK = (RUNNING, IDLE, BLOCKED, ASKS, PAUSED)
NEEDS_A_PERSON = (BLOCKED, ASKS)
# Those of `status`, in its order.
NOW = (*AT_WORK, WAITING, FAILED, STOPPED, NOT_RUN, DONE)

# In a page's legend they stand in this order.
MARKS: Mapping[str, str] = {
    DONE: "✓", UP_TO_DATE: "=", IGNORED: "~", FAILED: "✗", STOPPED: "■", RUNNING: "●", IDLE: "○", BLOCKED: "!", ASKS: "?",
    PAUSED: "‖", WAITING: "·", NOT_RUN: "-",
}  # fmt: skip
