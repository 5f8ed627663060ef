"""What the page of a report has of each stage: read from folders that were written through journal.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.report import details as module
from dodo_claude.report import gather
from dodo_claude.report.details import Change, Details, Excerpt, details
from dodo_claude.report.gather import Span
from dodo_claude.state import events as life
from dodo_claude.state.mail import Mailbox
from dodo_claude.text.redact import MARK, Redactor
from tests.samples.scenes import API, T0, Scene


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def found(scene: Scene, redact: Redactor | None = None, **span: object) -> Mapping[str, Details]:
    place = Span("r1", T0, **span)  # type: ignore[arg-type]
    redact = redact or Redactor({})
    return details(scene.config, place, gather.report(scene.config, place, redact=redact), redact)


def change(scene: Scene, name: str = "api") -> Change:
    (only,) = found(scene)[name].changes
    return only


def test_a_new_file_is_shown(scene: Scene) -> None:
    scene.done("api", a_py="x = 1\ny = 2\n")
    assert change(scene) == Change("a.py", "new", ("x = 1", "y = 2"))


def test_a_changed_one_is_compared_with_what_stood_there_before(scene: Scene) -> None:
    scene.write("a.py", "x = 1\ny = 2\n")
    scene.done("api", a_py="x = 1\ny = 3\n")
    assert change(scene) == Change(
        "a.py", "changed", ("@@ -1,2 +1,2 @@", " x = 1", "-y = 2", "+y = 3"), is_diff=True
    )


def test_what_a_failed_attempt_made_is_compared_too(scene: Scene) -> None:
    scene.write("a.py", "old\n")
    attempt = scene.begin("api")
    scene.write("a.py", "half\n")
    scene.end(attempt, "failed", "check `make` ended with exit status 1")
    assert (scene.root / "a.py").read_text() == "old\n"
    assert change(scene) == Change("a.py", "set aside", ("@@ -1 +1 @@", "-old", "+half"), is_diff=True)


def test_what_was_changed_since_is_not_taken_for_it(scene: Scene) -> None:
    scene.done("api", a_py="mine\n")
    scene.write("a.py", "a person's\n")
    assert change(scene) == Change("a.py", "new", why="it was changed since, and nobody kept it")
    # A later attempt has a copy of it.
    scene.write("a.py", "mine\n")
    scene.now += 100
    scene.done("api", a_py="later\n")
    assert found(scene, until=T0 + 50)["api"].changes[0].lines == ("mine",)


@pytest.mark.parametrize("data", [b"a\0b", b"\xff\xfe", b"x" * (module.LARGEST + 1)])
def test_what_is_no_text_is_not_shown(scene: Scene, data: bytes) -> None:
    scene.done("api", a_py=data)
    assert change(scene).lines == ()
    assert change(scene).why == "it is no text, or too large to be shown here"


def test_long_files_and_lines_are_cut(scene: Scene) -> None:
    scene.done("api", a_py="x" * 500 + "\n" + "y\n" * 1_000)
    shown = change(scene)
    assert shown.lines[0] == "x" * module.LONGEST_LINE + "…"
    assert len(shown.lines) == module.MOST_LINES
    assert shown.left_out == 1_001 - module.MOST_LINES


def test_too_many_lines_are_not_compared(scene: Scene) -> None:
    scene.write("a.py", "x\n" * (module.MOST_COMPARED + 1))
    scene.done("api", a_py="y\n" * module.MOST_COMPARED)
    assert change(scene).why == "it has too many lines to be compared here"


def test_secrets_are_taken_out_before_anything_is_cut(scene: Scene) -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEsecretsecret\n" * 9 + "-----END RSA PRIVATE KEY-----\n"
    scene.write("a.py", "old\n")
    attempt = scene.begin("api")
    scene.write("a.py", f"one\n{key}token hunter22222\n")
    # Just where the prompt is cut, which would leave half of it.
    text = "p" * (module.LONGEST_PROMPT - 5) + "hunter22222"
    (attempt.dir / "prompt.md").write_text(text)
    scene.end(attempt)
    told = found(scene, Redactor({"MY_TOKEN": "hunter22222"}))["api"]
    assert told.changes[0].lines == ("@@ -1 +1,3 @@", "-old", "+one", f"+{MARK}", f"+token {MARK}")
    (prompt,) = told.prompts
    assert prompt == ("prompt", Excerpt("p" * (module.LONGEST_PROMPT - 5) + MARK[:5], len(MARK) - 5))
    assert "hunter" not in str(told)


def test_texts_are_cleaned(scene: Scene) -> None:
    attempt = scene.begin("api")
    (attempt.dir / "prompt.md").write_text("do \x1b[31mit\u202e")
    (attempt.dir / "check.log").write_text("\x1b]0;t\x07ok\n")
    scene.write("a.py", "a\x08b\n")
    attempt.record(life.NOTE, text="\x1b[2Jn")
    scene.end(attempt, message="m\x07")
    told = found(scene)["api"]
    assert told.prompts == (("prompt", Excerpt("do it")),)
    assert told.output == Excerpt("ok")
    assert told.message == Excerpt("m")
    assert told.changes[0].lines == ("ab",)
    assert told.remarks[0].text == Excerpt("n")


def test_the_prompts_of_all_phases(scene: Scene) -> None:
    attempt = scene.begin("api")
    for name, text in (
        ("prompt", "one"),
        ("prompt-phase-10", "ten"),
        ("prompt-phase-2", "two"),
        ("prompt-phase-x", ""),
    ):
        (attempt.dir / f"{name}.md").write_text(text)
    scene.end(attempt)
    assert found(scene)["api"].prompts == (
        ("prompt", Excerpt("one")), ("prompt of phase 2", Excerpt("two")), ("prompt of phase 10", Excerpt("ten"))
    )  # fmt: skip


def test_what_a_command_said(scene: Scene) -> None:
    attempt = scene.begin("build")
    (attempt.dir / "output.log").write_text("compiled\n")
    scene.end(attempt)
    assert found(scene)["build"].output == Excerpt("compiled")


def test_what_was_said_in_all_attempts_of_the_run(scene: Scene) -> None:
    attempt = scene.begin("api")
    attempt.record(life.SENT, text="mend it")
    scene.end(attempt, "failed", "no", retry=True)
    attempt = scene.begin("api")
    for kind, data in (
        (life.PROGRESS, {"percent": 60, "text": "handlers done"}),
        (life.ASK, {"id": "1", "text": "which?", "until": 9e9}),
        (life.ANSWERED, {"id": "1", "text": "SQLite", "sender": "the user"}),
        (life.MESSAGE, {"to": "orchestrator", "text": "ready"}),
        ("PermissionRequest", {"tool_name": "Bash", "tool_input": {"command": "make"}}),
        ("PreToolUse", {"tool_name": "Bash"}),
        (life.GIVEN, {"text": 7}),  # of a journal that somebody changed
    ):
        scene.now += 1
        attempt.record(kind, **data)
    scene.end(attempt)
    told = found(scene)["api"].remarks
    assert [(each.who, each.what, each.text.text) for each in told] == [
        ("orchestrator", "asks for a repair", "mend it"),
        ("worker", "progress", "60 % handlers done"),
        ("worker", "asks", "which?"),
        ("the user", "answers", "SQLite"),
        ("worker", "says to the orchestrator", "ready"),
        ("worker", "asks for permission", "Bash make"),
        ("orchestrator", "gives the next phase", ""),
    ]
    assert [each.at for each in told] == sorted(each.at for each in told)


def test_messages_are_told_of_where_they_came_from_and_where_they_went(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dodo_claude.state.mail.time.time", lambda: scene.now)
    one, two = scene.begin("api"), scene.begin("doc")
    box = Mailbox(scene.log("api"))
    box.open(one.number)
    scene.now -= 500
    old = box.post("of a run before", "x")
    assert box.take()[0][0] == old
    box.settle([old], "delivered")
    scene.now += 501
    letter = box.post("use 8080", "worker doc")
    assert box.take()[0][0] == letter
    box.settle([letter], "delivered")
    scene.now += 1
    box.post("too late", "the user")
    box.close()
    scene.end(one)
    scene.end(two)
    told = found(scene)
    assert [(each.who, each.what, each.text.text) for each in told["api"].remarks] == [
        ("worker doc", "says to it", "use 8080"),
        ("the user", "says to it (refused)", "too late"),
    ]
    assert [(each.who, each.what, each.text.text) for each in told["doc"].remarks] == [
        ("worker", "says to api", "use 8080")
    ]


def test_of_many_remarks_the_first_and_the_last_are_told(scene: Scene) -> None:
    attempt = scene.begin("api")
    for number in range(module.MOST_REMARKS + 5):
        scene.now += 1
        attempt.record(life.NOTE, text=f"n{number} " + "w" * 2_000)
    scene.end(attempt)
    told = found(scene)["api"]
    assert told.remarks_left_out == 5
    assert len(told.remarks) == module.MOST_REMARKS
    assert told.remarks[0].text.text.startswith("n0 ")
    assert told.remarks[-1].text.text.startswith(f"n{module.MOST_REMARKS + 4} ")
    assert told.remarks[0].text.left_out == 2_003 - module.LONGEST_REMARK


def many(scene: Scene, count: int) -> None:
    scene.stages = [
        replace(API, name=f"s{number}", targets=(f"{number}.py",), check=None) for number in range(count)
    ]
    for number in range(count):
        attempt = scene.begin(f"s{number}")
        scene.write(f"{number}.py", "x = 1\n" * 50)
        failed = number == count - 1
        scene.end(attempt, "failed" if failed else "succeeded", "no" if failed else "", seconds=0.01)


def test_only_so_many_stages_are_read_and_what_is_not_done_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(scene, 6)
    monkeypatch.setattr(module, "MOST_STAGES", 3)
    assert [*found(scene)] == ["s5", "s0", "s1"]


def test_only_so_much_is_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    many(scene, 9)
    room = module._Room(characters=700)
    monkeypatch.setattr(module, "_Room", lambda: room)
    told = found(scene)
    assert [*told] == ["s8", "s0", "s1"]  # of each 250 and its message
    assert told["s1"].changes[0].lines
    room.characters, room.lines = 10_000, 0
    scene.now += 100
    scene.write("0.py", "x = 2\n")
    scene.done("s0", **{"0_py": "x = 3\n"})
    (only,) = details(
        scene.config, Span("r2", scene.now - 50), gather.report(scene.config, Span("r2", scene.now - 50))
    ).values()
    assert only.changes[0].why == "it has too many lines to be compared here"


def test_a_stage_that_is_no_longer_there_has_none(scene: Scene) -> None:
    scene.done("api", a_py="x\n")
    span = Span("r1", T0)
    told = gather.report(scene.config, span)
    scene.stages = scene.stages[1:]
    assert details(scene.config, span, told) == {}


def test_what_nobody_did_in_this_run_has_none(scene: Scene) -> None:
    scene.done("api", a_py="x\n")
    span = Span("r2", scene.now + 10)
    assert details(scene.config, span, gather.report(scene.config, span)) == {}


# -- of one stage, whether or not a run is in progress


def test_the_latest_of_a_stage_whichever_run_it_was_in(scene: Scene) -> None:
    def latest(since: float = 0.0) -> Details | None:
        return module.latest(scene.config, scene.stage("api"), since, live=False)

    assert latest() is None
    first = scene.begin("api")
    first.record(life.NOTE, text="in the first")
    scene.end(first, "failed", "no")
    scene.now += 100
    scene.done("api", a_py="x = 1\n")
    told = latest()
    assert told is not None
    assert told.changes == (Change("a.py", "new", ("x = 1",)),)
    assert told.remarks == ()
    both = latest(since=T0)
    assert both is not None
    assert [remark.text.text for remark in both.remarks] == ["in the first"]
    later = latest(
        since=scene.now + 999
    )  # another run has begun since: its last attempt is told of all the same
    assert later == told
