"""How doit is done with tasks, and what the report says of that."""

from __future__ import annotations

from doit.exceptions import TaskFailed

from dodo_claude.plugin.ends import Ends
from dodo_claude.plugin.tasks import StageStopped, UnmetNeeds
from dodo_claude.report import history, report


def test_each_end_is_said_in_the_reports_words() -> None:
    ends = Ends()
    ends.add("a", "successful")
    ends.add("b", "up-to-date")
    ends.add("c", "failure", TaskFailed("no"))
    ends.add("d", "failure", StageStopped("interrupted"))
    ends.add("e", "failure", UnmetNeeds(("c",)), ("c",))
    assert ends.said() == {
        "a": history.Said(report.DONE),
        "b": history.Said(report.UP_TO_DATE),
        "c": history.Said(report.FAILED, "no"),
        "d": history.Said(report.STOPPED, "interrupted"),
        "e": history.Said(report.NOT_RUN, waits_for=("c",)),
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
    assert (said["a"].state, said["a"].reason) == (report.FAILED, "a.txt is gone")
    assert said["b"].reason == "no"
    assert ends.successful() == set()
