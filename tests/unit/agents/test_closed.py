"""Which of the other stages' targets are closed to a worker."""

from __future__ import annotations

from dodo_claude.agents.closed import MOST_CLOSED, closed


def test_its_own_targets_are_open_and_of_very_many_others_the_nearest_are_closed() -> None:
    assert closed(["a", "b", "c"], ["b"]) == ("a", "c")
    many = [f"out/{number:05}.txt" for number in range(3000)]
    found = closed(many, ["out/01500.txt"])
    assert len(found) == MOST_CLOSED - 1
    assert found[0] == "out/01250.txt"
    assert "out/01500.txt" not in found
    for own in (["aaa"], ["zzz"], [], [f"out/{number:05}x" for number in range(1000)], ["out/00000.txt"]):
        assert 0 < len(closed(many, own)) <= MOST_CLOSED
    assert closed((), ()) == ()
