"""What the board shows of a run that is under way."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

from dodo_claude.config.records import Config
from dodo_claude.plugin.live_board import LiveBoard, Sources
from dodo_claude.state.events import State, View
from dodo_claude.text.states import DONE
from tests.samples.stages import STAGE, config_of


class Rig:
    def __init__(self, root: Path) -> None:
        self.one, self.two = replace(STAGE, name="one"), replace(STAGE, name="two", after=("one",))
        self.config: Config = config_of(root, self.one, self.two)
        self.stopping = ""
        self.stops: dict[str, str] = {}
        sources = Sources(
            lambda: self.config, lambda: None, lambda names: self.stops, lambda: self.stopping, 2
        )
        self.board = LiveBoard(io.StringIO(), sources, frozenset({"one", "two"}), {}, time.monotonic())

    def shown(self) -> str:
        return "\n".join("".join(text for text, _ in line) for line in self.board._draw(100, 20))


def test_each_stage_is_on_it_with_what_it_waits_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.board.note("one", began=time.monotonic())
    rig.board.note("one", view=View(state=State.RUNNING, pane="%1", activity=f"Write {tmp_path}/a.txt"))
    text = rig.shown()
    assert "Write a.txt" in text
    assert "for one" in text
    rig.board.note("one", state=DONE)
    assert "for a free worker" in rig.shown()


def test_a_stage_that_became_known_joins_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    assert "three" not in rig.shown()
    rig.config = config_of(tmp_path, rig.one, rig.two, replace(STAGE, name="three"))
    assert "three" in rig.shown()


def test_why_the_run_ends_is_on_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.stopping = "stopping the workers"
    assert "stopping the workers" in rig.shown()
