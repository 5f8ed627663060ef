"""What gc may remove, and what it never does."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dodo_claude.config.records import Stage
from dodo_claude.report import gather, runs
from dodo_claude.report.attempts import COPIES
from dodo_claude.report.gather import Said
from dodo_claude.report.record import to_json
from dodo_claude.run import garbage, gc
from dodo_claude.state.journal import Attempt
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.worker import store, verify
from tests.integration.scenes import at_gate, configure, events, gate, open_gate, play, results, write
from tests.project import Project
from tests.samples.scenes import API, Scene
from tests.schemas import shape

SHAPE = shape("gc")


def run(scene: Scene, id: str, *, saved: bool = True) -> None:
    """A run begins now."""
    scene.now += 100.0
    folder = scene.state / "runs" / id
    folder.mkdir(parents=True)
    started = datetime.fromtimestamp(scene.now, UTC).isoformat(timespec="milliseconds")
    (folder / "plan.toml").write_text(f'[run]\nid = "{id}"\nstarted = "{started}"\n[stages]\n')
    if saved:
        (folder / "report.json").write_text(to_json(gather.report(scene.config, runs.find(scene.state, id))))


def sweep(scene: Scene, keep: int) -> garbage.Garbage:
    found = gc.look(scene.root, keep)
    gc.remove(scene.root, found)
    return found


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def done(scene: Scene, text: str, stage: str = "api") -> Attempt:
    """An attempt that made a.py in a session of its own."""
    attempt = scene.begin(stage)
    scene.write("a.py", text)
    scene.end(attempt, session_id=f"s{attempt.number}")
    return attempt


def failed(scene: Scene, text: str) -> None:
    attempt = scene.begin("api")
    scene.write("a.py", text)
    scene.end(attempt, "failed", "no", session_id=f"s{attempt.number}")


def five(scene: Scene) -> list[Attempt]:
    """Five runs, each of which made another a.py."""
    made = []
    for number in range(1, 6):
        run(scene, f"r{number}")
        made.append(done(scene, f"{number}\n"))
    return made


def test_the_last_runs_stay_whole(scene: Scene) -> None:
    five(scene)
    before = [to_json(gather.report(scene.config, span)) for span in runs.runs(scene.state)[-2:]]
    found = sweep(scene, 2)
    assert [each.id for each in found.runs] == ["r1", "r2", "r3"]
    assert [(each.stage, each.number) for each in found.attempts] == [("api", 1), ("api", 2), ("api", 3)]
    assert scene.log("api").attempts() == [4, 5]
    assert sorted(os.listdir(scene.state / "runs")) == ["r4", "r5"]
    assert [to_json(gather.report(scene.config, span)) for span in runs.runs(scene.state)] == before
    assert gather.as_they_were(scene.config) == {"api"}
    with pytest.raises(
        DodoClaudeError, match=r"^report: run 'r2' was removed by dodo-claude gc \(the last ones: r4, r5\)$"
    ):
        runs.find(scene.state, "r2")
    assert gc.look(scene.root, 2) == garbage.Garbage(2, (), ())
    assert scene.log("api").begin().number == 6


def test_what_it_tells_is_what_goes(scene: Scene) -> None:
    five(scene)
    before = files(scene.state)
    found = gc.look(scene.root, 4)
    assert files(scene.state) == before  # a look removes nothing
    sweep(scene, 4)
    after = files(scene.state)
    gone = sum(len(data) for name, data in before.items() if name not in after)
    assert found.bytes == gone
    told = json.loads(garbage.to_json(found, removed=True))
    jsonschema.validate(told, SHAPE)
    assert told["attempts"][0]["number"] == 1
    assert garbage.text(found, removed=False).splitlines()[0].startswith("would remove 1 run, r1: ")
    assert garbage.text(found, removed=True).splitlines()[1].startswith("removed attempt 1 of api: ")
    assert garbage.text(gc.look(scene.root, 4), removed=True).startswith("nothing to remove: the last 4 runs")


def test_a_file_that_is_nowhere_else_stays(scene: Scene) -> None:
    """Of three versions before the one that is there, one by hand; the same one twice; and one that failed."""
    scene.write("a.py", "by hand\n")
    for number, text in enumerate(("one\n", "two\n", "one\n", "two\n", "three\n"), 1):
        run(scene, f"r{number}")
        done(scene, text)
    failed(scene, "failed\n")
    for number in range(7, 10):
        run(scene, f"r{number}")
        done(scene, "last\n")
    found = sweep(scene, 1)
    kept = scene.log("api").dir / "kept"
    assert files(kept) == {
        "1/before/a.py": b"by hand\n",
        "4/before/a.py": b"one\n",
        "5/before/a.py": b"two\n",
        "6/partial/a.py": b"failed\n",
        "7/before/a.py": b"three\n",  # attempt 6 has it, too
    }
    told = garbage.text(found, removed=True)
    assert "  keeps .orchestrate/stages/api/kept/1/before/a.py: it is nowhere else\n" in told
    # What was kept once is not kept again.
    run(scene, "r10")
    scene.write("a.py", "by hand\n")
    done(scene, "last\n")
    run(scene, "r11")
    done(scene, "last\n")
    before = files(kept)
    sweep(scene, 1)
    assert files(kept) == before


def test_what_counts_now_stays_however_often_it_failed_since(scene: Scene) -> None:
    good = done(scene, "good\n")
    for number in range(5):
        run(scene, f"r{number}")
        failed(scene, f"bad {number}\n")
    told = gather.of_stages(scene.config, ["api"])
    sweep(scene, 1)
    assert scene.log("api").attempts() == [1, 6]
    assert gather.of_stages(scene.config, ["api"]) == told
    assert Attempt(scene.log("api"), good.number).result() is not None


def test_what_nobody_ended_and_what_doit_knows_of_stays(scene: Scene) -> None:
    cut_off = scene.begin("api")
    stored = done(scene, "1\n")
    for number in range(3):
        run(scene, f"r{number}")
        done(scene, f"{number}\n")
    (scene.log("api").dir / "done").write_text(f"{stored.number}\n")
    sweep(scene, 1)
    assert scene.log("api").attempts() == [cut_off.number, stored.number, 5]


def test_a_session_that_goes_on_keeps_its_beginning(scene: Scene) -> None:
    run(scene, "r1")
    first = scene.begin("api")
    scene.end(first, "aborted", "interrupted", session_id="long")
    for number in range(2, 5):
        run(scene, f"r{number}")
        scene.end(scene.begin("api"), "failed", "no", session_id=f"s{number}")
    run(scene, "r5")
    last = scene.begin("api")
    scene.write("a.py", "x\n")
    scene.end(last, session_id="long", tokens=500, cost_usd=2.0)
    before = scene.told("api", started=scene.now - 50)
    assert before.tokens == 400  # less the first one's
    sweep(scene, 1)
    assert scene.log("api").attempts() == [1, 5]
    assert scene.told("api", started=scene.now - 50) == before


def test_the_copies_of_the_first_of_resumed_attempts_stay(scene: Scene) -> None:
    scene.write("a.py", "by hand\n")
    first, *_, last = five(scene)
    last.journal.write_text(last.journal.read_text().replace('"copies": 5', '"copies": 1'))
    os.utime(last.journal, (scene.now, scene.now))
    before = gather.of_stages(scene.config, ["api"])
    assert before[0].files[0].removed == 1
    sweep(scene, 1)
    assert scene.log("api").attempts() == [first.number, last.number]
    assert gather.of_stages(scene.config, ["api"]) == before


def test_what_never_began_hides_nobody_who_did(scene: Scene) -> None:
    """The next attempt goes on from the newest that took its prompt."""
    scene.end(scene.begin("api"), "timed out", "slow", session_id="s")
    for number in range(4):
        run(scene, f"r{number}")
        scene.end(scene.begin("api"), "aborted", "interrupted", prompts=0, session_id=None)
    sweep(scene, 1)
    assert scene.log("api").attempts() == [1, 2, 3, 4, 5]


def test_files_of_others_stay(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "mine.txt").write_text("mine\n")
    first, second = five(scene)[:2]
    (first.dir / "my notes.txt").write_text("why it failed\n")
    (first.dir / "spool/1").write_text("{}")
    shutil.rmtree(second.dir / "before")
    (second.dir / "before").symlink_to(outside)
    (scene.state / "runs/r1/mine.md").write_text("mine\n")
    sweep(scene, 1)
    assert files(outside) == {"mine.txt": b"mine\n"}
    kept = scene.log("api").dir / "kept"
    assert (kept / "1/my notes.txt").read_text() == "why it failed\n"
    assert (kept / "2/before").readlink() == outside
    assert scene.log("api").attempts() == [5]
    assert os.listdir(scene.state / "runs/r1") == ["mine.md"]
    assert [span.id for span in runs.runs(scene.state)] == ["r5"]


def test_stages_that_are_not_there_any_more_are_swept_too(scene: Scene) -> None:
    long = replace(API, name=f"map:{'é' * 80}")  # its folder's name is a digest
    scene.stages.append(long)
    for number in range(3):
        run(scene, f"r{number}")
        done(scene, f"{number}\n", long.name)
    log = scene.log(long.name)
    scene.stages.clear()
    sweep(scene, 1)
    assert log.attempts() == [3]


# -- whatever there was, and whenever it is killed

OUTCOMES = st.lists(
    st.tuples(
        st.booleans(),  # a run begins
        st.sampled_from(["succeeded", "failed", "aborted", "never began", "cut off"]),
        st.sampled_from(["a\n", "b\n", "c\n"]),  # what it makes
        st.sampled_from(["s1", "s2"]),
        st.booleans(),  # somebody edits it
    ),
    max_size=7,
)


def lived(root: Path, patch: pytest.MonkeyPatch, outcomes: list[tuple[bool, str, str, str, bool]]) -> Scene:
    patch.setattr(os, "fsync", lambda fd: None)
    scene = Scene(root, patch)
    for number, (begins, how, text, session, by_hand) in enumerate(outcomes):
        if begins:
            run(scene, f"r{number}", saved=False)
        if by_hand:
            scene.write("a.py", f"by hand {number}\n")
        attempt = scene.begin("api")
        scene.write("a.py", text)
        if how == "succeeded":
            scene.end(attempt, session_id=session)
        elif how == "never began":
            scene.end(attempt, "aborted", "stopped", prompts=0, session_id=None)
        elif how != "cut off":
            scene.end(attempt, how, "no", session_id=session)
        os.utime(attempt.journal, (scene.now, scene.now))
        scene.now += 1.0
    return scene


def told(scene: Scene, keep: int) -> list[Any]:
    """All that a rerun, a prompt and the reports of the last runs look at."""
    api: Stage = scene.stage("api")
    reader = gather.Reader(scene.config, runs.Span("", 0.0), gather.NOTHING)
    good = reader.last_good(api)
    last = scene.log("api").last()
    return [
        gather.as_they_were(scene.config),
        gather.of_stages(scene.config, ["api"]),
        good and good.attempt.number,
        last and (last.number, last.result(), list(last.replay())),
        [
            gather.report(scene.config, replace(span, ended=span.started))
            for span in runs.runs(scene.state)[-keep:]
        ],
    ]


def bytes_of_copies(scene: Scene) -> set[bytes]:
    return set(files(scene.root / ".orchestrate/stages").values()) | {(scene.root / "a.py").read_bytes()}


@given(OUTCOMES, st.integers(1, 4), st.integers(0, 40))
@example([(False, "succeeded", "a\n", "s1", False)] * 3 + [(False, "failed", "a\n", "s2", False)] * 2, 1, 0)
@settings(max_examples=40, deadline=None, report_multiple_bugs=False)
def test_nothing_that_counts_goes_whenever_it_is_killed(
    outcomes: list[tuple[bool, str, str, str, bool]], keep: int, killed_at: int
) -> None:
    class Killed(BaseException):
        pass

    steps = 0

    def counting(act: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*args: Any, **more: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == killed_at:
                raise Killed
            return act(*args, **more)

        return stepping

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        scene = lived(Path(folder), patch, outcomes)
        scene.write("a.py", "now\n")
        before, versions = (
            told(scene, keep),
            {f"{text}\n".encode() for text in "abc"} & bytes_of_copies(scene),
        )
        versions |= {data for data in bytes_of_copies(scene) if data.startswith(b"by hand")}
        found = gc.look(scene.root, keep)
        with pytest.MonkeyPatch.context() as killing:
            for name in ("rename", "replace", "unlink", "rmdir"):
                killing.setattr(os, name, counting(getattr(os, name)))
            try:
                gc.remove(scene.root, found)
            except Killed:
                assert told(scene, keep) == before
                assert versions <= bytes_of_copies(scene)
        gc.remove(scene.root, gc.look(scene.root, keep))
        assert told(scene, keep) == before
        assert versions <= bytes_of_copies(scene)
        assert gc.look(scene.root, keep) == garbage.Garbage(keep, (), ())
        assert not list(scene.state.glob("stages/*/.gone-*"))
        assert not {each.number for each in found.attempts} & set(scene.log("api").attempts())


# -- as people use it


def lines(ran: str) -> list[str]:
    return ran.splitlines()


@pytest.mark.tmux
def test_after_it_a_rerun_skips_and_a_cut_off_stage_goes_on(project: Project) -> None:
    configure(
        project,
        {
            "quick": {"command": "cat seed > quick.txt", "file_dep": ["seed"], "targets": ["quick.txt"]},
            "slow": {"targets": ["slow.txt"]},
        },
    )
    play(project, {"slow": [[write("slow.txt", "half"), gate("go")], [write("slow.txt", "whole")]]})
    for number in range(4):
        project.write("seed", f"{number}\n")
        project.orchestrate("quick")
    for journal in project.log("quick").dir.glob("*/journal.jsonl"):
        os.utime(journal, (0, 0))  # not a moment before the next run
    # By their beginnings: of two within a second the names may tell otherwise.
    ids = [span.id for span in runs.runs(project.root / ".orchestrate")]
    with project.started() as live:
        at_gate(project, "go")
        ran = project.run("dodo-claude", "gc", check=3)
        assert ran.err.startswith("gc: run in progress: pid ")
        assert ran.err.count("\n") == 1
        assert live.kill(15) == 143
    session = events(project, "slow", "SessionStart")[0].data["session_id"]
    dry = project.run("dodo-claude", "gc", "--keep", "1", "--dry-run", "--json", check=0)
    said = json.loads(dry.out)
    jsonschema.validate(said, SHAPE)
    assert [each["id"] for each in said["runs"]] == ids
    assert project.attempts("quick") == 4
    assert lines(project.run("dodo-claude", "gc", "--keep", "1", check=0).out)[-1].startswith("freed ")
    assert project.attempts("quick") == 1
    ran = project.run("dodo-claude", "report", "--run", ids[0], check=2)
    assert ran.err.startswith(f"report: run '{ids[0]}' was removed by dodo-claude gc (")
    assert ran.err.count("\n") == 1
    assert "1 up to date, 1 stopped" in project.run("dodo-claude", "report", check=0).out
    open_gate(project, "go")
    ran = project.orchestrate()
    assert ran.said("2 stages: 1 done, 1 up to date")
    assert results(project, "slow") == ["aborted", "succeeded"]
    assert events(project, "slow", "SessionStart")[-1].data["session_id"] == session
    assert project.read("slow.txt") == "whole"
    # What we write into an attempt's folder is known as ours; what is not would be kept for ever.
    names = {path.name for stage in ("quick", "slow") for path in project.log(stage).dir.glob("[0-9]*/*")}
    assert {"prompt.md", "journal.jsonl", "output.log", "before", "partial", "task.md"} <= names
    assert [name for name in sorted(names - {*COPIES}) if not gc._OURS.fullmatch(name)] == []


def test_without_anything_there_is_nothing_to_remove(project: Project) -> None:
    project.write("orchestrate.toml", "not even [ TOML")  # it need not be right for that
    assert project.run("dodo-claude", "gc", check=0).out.startswith("nothing to remove")
    assert not (project.root / ".orchestrate").exists()
    assert project.run("dodo-claude", "gc", "--keep", "0", check=2).err.startswith("Usage: ")


def test_what_was_said_of_runs_before_stays_said(scene: Scene) -> None:
    five(scene)
    sweep(scene, 3)
    sweep(scene, 1)
    assert runs.removed(scene.state) == ["r1", "r2", "r3", "r4"]
    assert scene.report(said={"api": Said("up to date")}).stages[0].state == "up to date"


def test_copies_of_what_no_stage_made_last_go(scene: Scene) -> None:
    copies = []
    for text in ("old\n", "new\n"):
        run(scene, f"r{len(copies)}")
        done(scene, text)
        digest = verify.digest_file(scene.root / "a.py")
        assert store.keep(scene.state, scene.root / "a.py", digest, 4)
        copies.append(digest)
    (scene.state / "store" / "mine").write_text("not ours")
    found = sweep(scene, 10)
    assert found.copies == (garbage.OldCopy(copies[0], 4),)
    assert "removed 1 copy of what stages made before: 4 bytes" in garbage.text(found, removed=True)
    assert sorted(path.name for path in (scene.state / "store").iterdir()) == sorted([copies[1], "mine"])
    assert gc.look(scene.root, 10) == garbage.Garbage(10, (), ())


def test_what_stood_in_the_place_of_a_verified_target_stays_as_long_as_it_is_nowhere_else(
    scene: Scene,
) -> None:
    first, *_ = five(scene)
    aside = first.dir / "overwritten" / "a.py"
    aside.parent.mkdir()
    aside.write_text("somebody's")
    found = sweep(scene, 1)
    assert "overwritten/a.py" in next(each.keeps for each in found.attempts if each.number == first.number)
    assert (first.log.dir / "kept/1/overwritten/a.py").read_text() == "somebody's"


@pytest.mark.parametrize(
    "name", ["messages-1795970404.1-a.md", "status.tmp", "status.json", "repair-2.md", "client"]
)
def test_what_we_write_now_and_then_is_ours_too(name: str) -> None:
    assert gc._OURS.fullmatch(name)
