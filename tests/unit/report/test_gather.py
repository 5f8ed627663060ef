"""Reports from journals: written through journal.py, as a run would have, then read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.report import gather
from dodo_claude.report.gather import Said
from dodo_claude.report.runs import Span
from dodo_claude.state import events as life
from dodo_claude.text.redact import MARK, Redactor
from tests.samples.scenes import API, BUILD, DOC, T0, Scene
from tests.samples.stages import STAGE as SOME

# -- a stage


def test_a_stage_that_was_done(scene: Scene) -> None:
    scene.write("a.py", "one\ntwo\nthree\n")
    scene.done("api", a_py="one\n2\nthree\nfour")
    told = scene.told("api")
    assert (told.state, told.agent, told.reason, told.seconds) == ("done", "claude", "", 5.0)
    assert (told.tokens, told.cost_usd, told.repairs, told.message) == (100, 0.5, 0, "made it")
    (file,) = told.files
    assert (file.path, file.change, file.lines, file.added, file.removed) == ("a.py", "changed", 4, 2, 1)
    assert [(check.kind, check.command, check.result) for check in told.checks] == [
        ("check", "make", "passed")
    ]
    (attempt,) = told.attempts
    assert (attempt.number, attempt.result, attempt.session_id) == (1, "succeeded", "s-1")
    assert (scene.root / attempt.folder / "journal.jsonl").exists()


def test_lines_are_counted_whatever_their_order_and_bytes_are_no_lines(scene: Scene) -> None:
    scene.write("a.py", "x\nx\ny\n")
    scene.done("api", a_py="y\nx\n")
    (file,) = scene.told("api").files
    assert (file.lines, file.added, file.removed) == (2, 0, 1)
    scene.done("doc", d_md=b"\0\1\2")
    (file,) = scene.told("doc").files
    assert (file.change, file.bytes, file.lines, file.added, file.removed) == ("new", 3, None, None, None)


@pytest.mark.parametrize("data", [b"\xff\xfe\n", b"x" * 5_000_001])
def test_what_is_no_text_or_too_much_of_it_is_told_in_bytes(scene: Scene, data: bytes) -> None:
    scene.done("api", a_py=data)
    (file,) = scene.told("api").files
    assert (file.bytes, file.lines, file.added) == (len(data), None, None)


def test_what_was_changed_since_is_looked_for_in_later_copies(scene: Scene) -> None:
    scene.done("api", a_py="one\n")
    scene.write("a.py", "mine\nand\nmine\n")
    (file,) = scene.told("api").files
    assert (file.bytes, file.lines) == (4, None)  # its bytes are nowhere: its size is known
    scene.write("a.py", "one\n")
    first = scene.now
    scene.now += 100
    scene.done("api", a_py="one\ntwo\n")
    (file,) = scene.told("api", until=first + 50).files
    assert (file.lines, file.added, file.removed) == (1, 1, 0)
    (file,) = scene.told("api", started=first + 50).files
    assert (file.lines, file.added, file.removed) == (2, 1, 0)


def test_a_failed_stage_and_its_half_made_files(scene: Scene) -> None:
    scene.write("a.py", "one\n")
    attempt = scene.begin("api")
    scene.write("a.py", "half\nmade\n")
    problem = "check `make` ended with exit status 2: no"
    attempt.record(life.VERIFIED, ok=False, problems=[problem])
    (attempt.dir / "check.log").write_text("\x1b[31mline\nno\n")
    scene.end(attempt, "failed", problem)
    told = scene.told("api")
    assert (told.state, told.reason) == ("failed", problem)
    (file,) = told.files
    assert (file.change, file.lines, file.added, file.removed) == ("set aside", 2, 2, 1)
    assert file.kept is not None
    assert (scene.root / file.kept).read_text() == "half\nmade\n"
    assert [(check.result, check.output) for check in told.checks] == [("failed", "line\nno")]
    assert scene.report().left[0] == gather.Left("api", f"failed: {problem}")


def test_a_check_that_was_not_come_to(scene: Scene) -> None:
    attempt = scene.begin("api")
    attempt.record(life.VERIFIED, ok=False, problems=["target 'a.py' was not written"])
    scene.end(attempt, "failed", "target 'a.py' was not written")
    assert [check.result for check in scene.told("api").checks] == ["not run"]


def test_a_check_that_passed_though_the_stage_failed(scene: Scene) -> None:
    attempt = scene.begin("api")
    attempt.record(life.VERIFIED, ok=True, problems=[])
    (attempt.dir / "check.log").write_text("fine\n")
    scene.end(attempt, "failed", "'in' was changed: it is an input of this stage")
    assert [check.result for check in scene.told("api").checks] == ["passed"]


@pytest.mark.parametrize(
    ("result", "reason", "expected"),
    [
        ("succeeded", "", "passed"),
        ("failed", "its command ended with exit status 1: no (see {root}/x/output.log)", "failed"),
        ("failed", "target 'a' was not written", "passed"),
        ("timed out", "timed out after 5 s", "failed"),
        ("aborted", "interrupted", "not run"),
    ],
)
def test_a_command_is_a_check_of_its_own(scene: Scene, result: str, reason: str, expected: str) -> None:
    attempt = scene.begin("build")
    (attempt.dir / "output.log").write_text("said\n")
    scene.end(attempt, result, reason.format(root=scene.root))
    told = scene.told("build")
    (check,) = told.checks
    assert (check.kind, check.command, check.result) == ("command", "make all", expected)
    assert check.output == ("said" if expected == "failed" else "")
    assert str(scene.root) not in told.reason


def test_attempts_add_up_and_a_resumed_session_counts_once(scene: Scene) -> None:
    scene.end(scene.begin("api"), "failed", "its worker died", seconds=3.0, repairs=1)
    attempt = scene.begin("api")
    scene.write("a.py", "x\n")
    scene.end(attempt, seconds=4.0, tokens=130, cost_usd=0.75)
    told = scene.told("api")
    assert told.state == "done"
    assert [(each.result, each.why) for each in told.attempts] == [
        ("failed", "its worker died"),
        ("succeeded", ""),
    ]
    assert [each.tokens for each in told.attempts] == [100, 30]
    assert (told.seconds, told.tokens, told.cost_usd, told.repairs) == (7.0, 130, 0.75, 1)
    totals = scene.report().totals
    assert (totals.attempts, totals.tokens, totals.seconds, totals.files) == (2, 130, 7.0, 1)


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"tokens": "many", "seconds": 1e999, "targets": 3}'])
def test_a_damaged_result_ends_no_report(scene: Scene, damage: bytes) -> None:
    attempt = scene.done("api", a_py="x\n")
    (attempt.dir / "result.json").write_bytes(damage)
    told = scene.told("api")
    assert told.tokens == 0
    attempt.journal.write_bytes(
        b'{"at": 1001, "kind": "begun", "data": {"before": {"a.py": [1]}, "copies": "x"}}\n'
    )
    scene.told("api")


def test_texts_are_cleaned_and_hold_no_secret(scene: Scene) -> None:
    scene.stages[0] = replace(API, check="curl -H 'sk-abcdefghijklmnopqrst' x")
    attempt = scene.begin("api")
    scene.write("a.py", "x\n")
    scene.end(attempt, message="\x1b[2Jdone \u202eevil, key hunter2hunter2 \ud800")
    told = gather.report(
        scene.config, Span("r1", T0), redact=Redactor({"MY_API_KEY": "hunter2hunter2"})
    ).stages[0]
    assert told.message == f"done evil, key {MARK} ?"
    assert told.checks[0].command == f"curl -H '{MARK}' x"


# -- a run


def test_what_doit_said_comes_first(scene: Scene) -> None:
    scene.done("api", a_py="x\n")
    said = {
        "api": Said("failed", "disk full"),
        "doc": Said("not run", waits_for=("api",)),
        "build": Said("ignored"),
    }
    told = scene.report(said=said)
    assert [stage.state for stage in told.stages] == ["failed", "not run", "ignored"]
    assert [(left.stage, left.why) for left in told.left] == [
        ("api", "failed: disk full"), ("doc", "not run: needs api")
    ]  # fmt: skip
    assert told.state == "ended"
    assert [check.result for check in told.stages[2].checks] == ["not run"]


def test_without_doit_it_is_inferred_from_the_bytes(scene: Scene) -> None:
    """Of a run that was killed, or that a plain `doit run` made."""
    scene.done("api", a_py="x\n")
    scene.done("doc", d_md="y\n")
    later = scene.now + 100
    assert [stage.state for stage in scene.report(later).stages] == ["up to date", "up to date", "not run"]
    scene.write("a.py", "changed\n")
    told = scene.report(later)
    assert [stage.state for stage in told.stages] == ["not run", "not run", "not run"]
    assert told.stages[1].waits_for == ("api",)
    assert scene.report(later, live=True).stages[1].state == "waiting"
    assert ("doc", "waiting for api") in [
        (left.stage, left.why) for left in scene.report(later, live=True).left
    ]


def test_what_comes_after_one_at_work_is_not_up_to_date_yet(scene: Scene) -> None:
    """Its bytes are as they were, for now; the run looks again when what it reads was made."""
    last = replace(SOME, name="last", targets=("l.md",), file_dep=("d.md",), check=None)
    scene.stages = [API, DOC, last]
    for name, file in (("api", "a_py"), ("doc", "d_md"), ("last", "l_md")):
        scene.done(name, **{file: "x\n"})
    scene.now += 100
    later = scene.now
    assert [stage.state for stage in scene.report(later, live=True).stages] == ["up to date"] * 3
    scene.begin("api")
    told = scene.report(later, live=True)
    assert [(stage.state, stage.waits_for) for stage in told.stages] == [
        ("running", ()), ("waiting", ("api",)), ("waiting", ("doc",)),
    ]  # fmt: skip


def test_a_run_that_ended_did_not_look_at_what_doit_says_nothing_of(scene: Scene) -> None:
    scene.done("api", a_py="x\n")
    told = scene.report(scene.now + 100, said={})
    assert {stage.state for stage in told.stages} == {"not run"}


def test_up_to_date_tells_what_was_said_then_and_counts_nothing(scene: Scene) -> None:
    scene.done("api", a_py="x\n")
    told = scene.told("api", started=scene.now + 100, said={"api": Said("up to date")})
    assert (told.message, told.checks[0].result) == ("made it", "passed")
    assert (told.attempts, told.files, told.tokens, told.seconds) == ((), (), 0, 0)


def test_taken_over_from_a_run_that_was_killed(scene: Scene) -> None:
    scene.done("api", a_py="x\n")
    told = scene.told("api", started=scene.now + 100, said={"api": Said("done")})
    assert (told.state, told.reason) == ("done", "finished in an earlier run")
    assert [file.path for file in told.files] == ["a.py"]
    assert told.tokens == 0


def test_a_run_under_way(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    transcript = tmp_path / "t.jsonl"
    transcript.write_text(
        '{"type": "assistant", "message": {"id": "1", "usage": {"input_tokens": 40, "output_tokens": 2}}}\n'
    )
    attempt = scene.begin("api")
    attempt.record("PreToolUse", tool_name="Write", tool_input={"file_path": f"{scene.root}/a.py"},
                   session_id="s-1", transcript_path=str(transcript))  # fmt: skip
    attempt.record("SessionStart", session_id="s-1", source="compact", transcript_path=str(transcript))
    (attempt.dir / "status.json").write_text('{"cost": {"total_cost_usd": 0.125}}')
    scene.write("a.py", "so\nfar\n")
    monkeypatch.setattr("dodo_claude.report.gather.time.time", lambda: scene.now + 7.0)
    told = scene.report(live=True)
    api, doc, _ = told.stages
    assert (told.state, told.ended, told.seconds) == ("running", None, 7.0)
    assert (api.state, api.reason, api.seconds) == ("running", "Write a.py", 7.0)
    assert (api.tokens, api.cost_usd, api.attempts[0].result) == (42, 0.125, "running")
    assert [(file.change, file.lines) for file in api.files] == [("new", 2)]
    assert (doc.state, doc.waits_for) == ("waiting", ("api",))


def test_a_worker_that_needs_a_person(scene: Scene) -> None:
    attempt = scene.begin("api")
    attempt.record("PermissionRequest", tool_name="Bash", tool_input={"command": "rm x"}, session_id="s-1")
    assert scene.told("api", live=True).reason == "needs a person: Bash rm x"
    attempt.record("PreToolUse", tool_name="Bash", session_id="s-1")
    attempt.record(life.UNHEARD, since=0.0, text="500 no", tries="attempt 2 of 11")
    told = scene.told("api", live=True).reason
    assert told.endswith(": 500 no (its client asks again by itself, attempt 2 of 11)")
    scene.stages[0] = replace(API, on_permission="deny")
    assert "person" not in scene.told("api", live=True).reason


def test_a_run_that_was_killed(scene: Scene) -> None:
    scene.begin("api")
    scene.now += 9
    told = scene.report()
    assert told.state == "cut off"
    assert (told.stages[0].state, told.stages[0].reason) == ("stopped", "its run was cut off")
    assert told.stages[0].attempts[0].result == "cut off"


def test_an_attempt_belongs_to_the_run_it_ended_in(scene: Scene) -> None:
    attempt = scene.begin("api")
    scene.now += 100  # its run was killed, and another adopts it
    scene.write("a.py", "x\n")
    second = scene.now + 90
    scene.end(attempt, seconds=105.0)
    assert scene.told("api", until=second).attempts == ()
    told = scene.told("api", started=second)
    assert told.state == "done"
    assert told.seconds == 15.0  # of that run


def test_stages_that_were_not_asked_for_are_no_part_of_it(scene: Scene) -> None:
    scene.done("api", a_py="x\n")
    assert [stage.name for stage in scene.report(chosen=frozenset({"api"})).stages] == ["api"]
    # The file changed since: better all than none.
    assert len(scene.report(chosen=frozenset({"gone"})).stages) == 3


def test_groups_are_summed_up(scene: Scene) -> None:
    scene.stages = [replace(API, name=f"map:{item}", group="map", targets=(f"{item}.py",)) for item in "abc"]
    scene.groups = (("map", ("map:a", "map:b", "map:c")),)
    scene.done("map:a", a_py="x\n")
    scene.end(scene.begin("map:b"), "failed", "no")
    (group,) = scene.report().groups
    assert (group.name, group.states) == ("map", {"done": 1, "failed": 1, "not run": 1})
    assert (group.seconds, group.tokens, group.cost_usd) == (10.0, 200, 1.0)


def test_of_stages_tells_of_the_last_success_of_each(scene: Scene) -> None:
    scene.stages = [
        *(replace(API, name=f"map:{item}", group="map", targets=(f"{item}.py",)) for item in "ab"), DOC
    ]  # fmt: skip
    scene.groups = (("map", ("map:a", "map:b")),)
    scene.done("map:a", a_py="x\n")
    scene.end(scene.begin("map:a"), "failed", "no", message="I failed")
    scene.done("map:b", b_py="x\ny\n")
    told = gather.of_stages(scene.config, ["map", "doc"])
    assert [(stage.name, stage.state, stage.message) for stage in told] == [
        ("map:a", "done", "made it"), ("map:b", "done", "made it"), ("doc", "not run", "")
    ]  # fmt: skip
    assert [file.path for stage in told for file in stage.files] == ["a.py", "b.py"]


def test_what_each_stage_comes_after(scene: Scene) -> None:
    items = [replace(API, name=f"map:{item}", group="map", targets=(f"{item}.py",)) for item in "xy"]
    scene.stages = [
        replace(API, after=("map",)), *items, replace(DOC, file_dep=("a.py", "notes.md")),
        replace(BUILD, file_dep=("x.py", "y.py"), after=("api",)), replace(BUILD, name="half", file_dep=("y.py",)),
    ]  # fmt: skip
    scene.groups = (("map", ("map:x", "map:y")),)
    assert {stage.name: stage.needs for stage in scene.report().stages} == {
        "api": ("map",), "map:x": (), "map:y": (), "doc": ("api",), "build": ("map", "api"), "half": ("map:y",)
    }  # fmt: skip
