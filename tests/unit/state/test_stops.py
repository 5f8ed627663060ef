"""Orders to stop: a run that ends takes away those that came too late, but not one that is being written."""

from __future__ import annotations

import os
from pathlib import Path

from dodo_claude.machine.files import make_state_dir
from dodo_claude.state.stops import Stops


def test_the_end_of_a_run_takes_away_what_came_too_late(tmp_path: Path) -> None:
    stops = Stops(make_state_dir(tmp_path), "pid 7")
    stops.give("a", "you", "pid 7")
    being_written, left = stops.folder / f".%all.{os.getpid()}.tmp", stops.folder / ".b.4194304.tmp"
    for path in (being_written, left):
        path.write_text("{}")
    stops.clear()
    assert list(stops.folder.iterdir()) == [being_written]
