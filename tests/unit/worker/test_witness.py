"""What stands as verified, and who was at work when it changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dodo_claude.machine.files import make_state_dir
from dodo_claude.state.journal import StageLog
from dodo_claude.worker import verify, witness
from dodo_claude.worker.witness import Witness


class Scene:
    """A project whose stage `a` made a.txt."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = make_state_dir(root)
        self.log = StageLog(self.state, "a")
        self.attempt = self.log.begin()
        self.witness = Witness(root, self.state)
        self.told: list[str] = []
        self.witness.tell = lambda found: self.told.append(found.text())
        self.make("a.txt", "good\n")

    def make(self, name: str, text: str, stage: str = "a") -> None:
        (self.root / name).write_text(text)
        self.witness.stands(stage, verify.fingerprints(self.root, [name]), made=True)

    def change(self, text: str = "evil\n", name: str = "a.txt") -> None:
        (self.root / name).write_text(text)

    @property
    def now(self) -> str:
        return (self.root / "a.txt").read_text()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_nothing_is_said_of_what_is_as_it_was(scene: Scene) -> None:
    scene.witness.began("b")
    (scene.root / "a.txt").touch()  # other times, the same bytes
    scene.witness.look()
    scene.witness.ended("b")
    scene.witness.last_look()
    assert (scene.told, scene.witness.found, scene.witness.fallen) == ([], [], {})


def test_who_was_at_work_alone_is_charged(scene: Scene) -> None:
    scene.witness.began("b")
    scene.change()
    scene.witness.look()
    assert scene.now == "good\n"
    assert scene.witness.charges("b") == (
        "'a.txt' was changed while it alone was at work, which stage 'a' had made: put back; what stood there is kept in "
        ".orchestrate/stages/a/1/overwritten/a.txt",
    )
    assert scene.witness.fallen == {}
    scene.witness.look()  # it is told of once
    assert len(scene.told) == 1
    scene.change()  # and put back again
    scene.witness.last_look()
    assert scene.now == "good\n"
    assert (scene.attempt.dir / "overwritten/a.txt.2").read_text() == "evil\n"


def test_who_ended_since_the_last_look_may_have_done_it_who_ended_before_did_not(scene: Scene) -> None:
    for name in ("early", "b"):
        scene.witness.began(name)
    scene.witness.ended("early")
    scene.witness.look()
    scene.change()
    scene.witness.ended("b")
    scene.witness.began("c")
    scene.witness.look()
    (found,) = scene.witness.found
    assert found.by == ("b", "c")
    assert found.back
    assert scene.witness.charges("c") == ()


def test_who_was_beside_a_stage_is_known(scene: Scene) -> None:
    for name in ("before", "b", "c"):
        scene.witness.began(name, lambda: {"x": 1.0})
        if name == "before":
            scene.witness.ended(name)
            time.sleep(0.01)
    scene.witness.ended("c")
    since, spans, wrote = scene.witness.beside("b")
    assert sorted(name for name, _, _ in spans) == ["b", "c"]
    assert all(first <= last and last >= since for _, first, last in spans)
    assert wrote == {"c": {"x": 1.0}}


def test_who_was_beside_nobody_who_still_works_is_forgotten(scene: Scene) -> None:
    """Else a run would keep what the tools of all its workers wrote."""
    for name in ("first", "b", "c"):
        scene.witness.began(name, lambda: {"x": 1.0})
    for name in ("first", "c"):
        scene.witness.ended(name)
    assert [name for name, _, _ in scene.witness._spans] == [*scene.witness._wrote] == ["first", "c"]
    scene.witness.ended("b")
    assert (scene.witness._spans, scene.witness._wrote) == ([], {})


def test_who_is_gone_and_was_looked_at_did_not_do_what_comes_after(scene: Scene) -> None:
    scene.witness.began("early")
    scene.witness.gone("early")
    scene.witness.look()
    scene.witness.began("b")
    scene.change()
    scene.witness.look()  # the end of `early` is still being written down
    scene.witness.ended("early")
    assert [found.by for found in scene.witness.found] == [("b",)]


def test_the_clients_own_tools_tell_who_it_was(scene: Scene) -> None:
    (scene.root / "link").symlink_to(".")
    before, after = time.time() - 60, time.time() + 1
    scene.witness.began("b", lambda: {"link/a.txt": after})
    scene.witness.began("c", lambda: {"a.txt": before})  # that was another one, before it was verified
    scene.change()
    scene.witness.look()
    assert scene.witness.charges("b")[0].startswith("it changed 'a.txt', which stage 'a' had made: put back")
    assert scene.witness.charges("c") == ()
    assert scene.told[0].startswith("'a.txt' was changed after it was verified, by b: put back")


def test_what_was_changed_while_nobody_was_at_work_is_left(scene: Scene) -> None:
    scene.change("mine\n")
    scene.witness.last_look()
    assert scene.now == "mine\n"
    text = "'a.txt' was changed after it was verified, while no stage was at work: left as it is"
    assert scene.witness.fallen == {"a": text}
    assert scene.witness.lost(["a.txt", "other"]) == (text,)
    scene.witness.began("a")  # it is made anew
    assert scene.witness.lost(["a.txt"]) == ()
    assert scene.witness.fallen == {}


def test_a_stage_that_is_begun_anew_may_change_its_own(scene: Scene) -> None:
    scene.witness.began("a")
    scene.change()
    scene.witness.last_look()
    assert scene.told == []


def test_of_a_change_in_the_same_tick_only_the_bytes_tell(scene: Scene) -> None:
    """A look at the times would pass it; the last look does not."""
    file = scene.witness._files["a.txt"]
    scene.witness.began("b")
    scene.change()
    file.signature = witness._signature(os.stat(scene.root / "a.txt"))  # as if the clock had not ticked
    scene.witness.look()
    assert scene.told == []
    scene.witness.last_look()
    assert len(scene.told) == 1
    assert scene.now == "good\n"


def test_a_file_at_rest_is_not_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(scene.root / "a.txt", (1, 1))
    monkeypatch.setattr("dodo_claude.config.inputs.TICK_NS", -1)
    scene.witness.stands("a", verify.fingerprints(scene.root, ["a.txt"]))
    monkeypatch.setattr("dodo_claude.worker.verify.digest_file", lambda path: pytest.fail("read"))
    scene.witness.last_look()
    assert scene.told == []


def test_a_file_whose_folder_leads_out_is_named_only(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("out")
    (scene.root / "d").mkdir()
    scene.make("d/x.txt", "good\n", "x")
    (scene.root / "d").rename(scene.root / "moved")
    (scene.root / "d").symlink_to(out)
    (out / "x.txt").write_text("theirs\n")
    scene.witness.began("b")
    scene.witness.look()
    assert (out / "x.txt").read_text() == "theirs\n"
    assert scene.told == [
        "'d/x.txt' was changed after it was verified, while b was at work: left as it is, for it can't be put back"
    ]


def test_with_very_many_files_not_each_end_has_a_look_but_what_it_reads_has(scene: Scene) -> None:
    scene.witness.began("b")
    scene.change()
    scene.witness._spent = 1000.0
    scene.witness.look()
    assert scene.told == []
    scene.witness.look(["a.txt"])
    assert len(scene.told) == 1


def test_names_of_many_are_cut(scene: Scene) -> None:
    for name in "bcdefg":
        scene.witness.began(name)
    scene.change()
    scene.witness.look()
    assert "while b, c, d and 3 more were at work: put back" in scene.told[0]


def test_what_an_earlier_run_wrote_down_stands_only_if_it_still_is_so(scene: Scene) -> None:
    marks = verify.fingerprints(scene.root, ["a.txt"])
    scene.change("mine\n")
    other = Witness(scene.root, scene.state)
    other.stood("a", marks)
    assert not other.knows("a")
    other.stands("b", {"no": None, "odd": [1, 2], "odder": [1, 2, 3, 4, 5]})
    assert other.knows("b")
    other.last_look()
    assert other.found == []


def test_somebody_who_read_it_meanwhile_is_told(scene: Scene) -> None:
    scene.witness.began("b")
    scene.witness.began("c")
    scene.change()
    scene.witness.look()
    assert len(scene.witness.disturbed("c", ["a.txt"])) == 1
    assert scene.witness.disturbed("c", ["other"]) == ()
    scene.witness.began("d")
    assert scene.witness.disturbed("d", ["a.txt"]) == ()
