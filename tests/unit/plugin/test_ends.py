"""How doit is done with tasks, and what the report says of that."""

from __future__ import annotations

from doit.exceptions import TaskFailed

from dodo_claude.plugin.ends import Ends
from dodo_claude.plugin.tasks import StageStopped, UnmetNeeds
from dodo_claude.report import gather, record


def test_each_end_is_said_in_the_reports_words() -> None:
    ends = Ends()
    ends.add("a", "successful")
    ends.add("b", "up-to-date")
    ends.add("c", "failure", TaskFailed("no"))
    ends.add("d", "failure", StageStopped("interrupted"))
    ends.add("e", "failure", UnmetNeeds(("c",)), ("c",))
    assert ends.said() == {
        "a": gather.Said(record.DONE),
        "b": gather.Said(record.UP_TO_DATE),
        "c": gather.Said(record.FAILED, "no"),
        "d": gather.Said(record.STOPPED, "interrupted"),
        "e": gather.Said(record.NOT_RUN, waits_for=("c",)),
    }
    assert ends.successful() == {"a"}


def test_only_what_was_done_falls() -> None:
    ends = Ends()
    ends.add("a", "successful")
    ends.add("b", "failure", TaskFailed("no"))
    assert ends.fell("a", "a.txt is gone")
    assert not ends.fell("b", "b.txt is gone")
    assert not ends.fell("c", "c.txt is gone")
    said = ends.said()
    assert (said["a"].state, said["a"].reason) == (record.FAILED, "a.txt is gone")
    assert said["b"].reason == "no"
    assert ends.successful() == set()
