"""dodo_claude/schemas: what `--json` prints is as they say, whatever a worker writes. Status and report have tests of their
own, which take each real output through theirs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dodo_claude.report import status
from dodo_claude.report.record import to_json
from dodo_claude.state import events as life
from dodo_claude.state import lifecycle
from dodo_claude.state.bus import Bus, record
from dodo_claude.state.journal import Attempt
from tests.integration.scenes import at_gate, bash, configure, gate, open_gate, play, wait_event, write
from tests.project import BIN, Project
from tests.samples.scenes import Scene
from tests.schemas import NAMES, shape

EVENT = jsonschema.Draft202012Validator(shape("event"))
STATUS = jsonschema.Draft202012Validator(shape("status"))
REPORT = jsonschema.Draft202012Validator(shape("report"))


def closed(schema: Any) -> Any:
    """The schema of an event with no key of ours left open: what real commands write has just the keys that are told of."""
    made = json.loads(json.dumps(schema))
    for kind in made["oneOf"]:
        if "const" in kind["properties"]["kind"]:
            kind["properties"]["data"]["additionalProperties"] = False
    return made


def tables(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("type") == "object" and "properties" in value:
            yield value
        for each in value.values():
            yield from tables(each)
    elif isinstance(value, list):
        for each in value:
            yield from tables(each)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(shape(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "event"])
def test_a_key_that_is_not_told_of_is_an_error(name: str) -> None:
    found = list(tables(shape(name)))
    assert found
    assert all(table.get("additionalProperties") is False for table in found)


def test_no_other_file_lies_there() -> None:
    folder = Path(__file__).parent.parent / "dodo_claude/schemas"
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.schema.json" for name in NAMES)


def test_the_kinds_are_those_that_we_write() -> None:
    told = {kind["properties"]["kind"].get("const") for kind in shape("event")["oneOf"]} - {None}
    ours = {kind for kind in lifecycle.TABLE if not kind[0].isupper()}
    assert told == ours | {"verified", "outcome", "refused"}
    for kind in shape("event")["oneOf"]:
        name = kind["properties"]["kind"].get("const")
        if name in life.SAID:
            assert set(kind["properties"]["data"]["required"]) == set(life.SAID[name])


# -- real outputs


@pytest.mark.tmux
def test_events_and_receipts_of_a_real_run(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "check": "grep -q good it.txt", "allowed_tools": ["Bash"]},
                        "late": {"command": "exit 3"}})  # fmt: skip
    play(
        project,
        {
            "one": [
                [
                    bash(f"{BIN}/dodo-claude progress 40 half; {BIN}/dodo-claude note 'the port is 8080'"),
                    bash(
                        f"{BIN}/dodo-claude send orchestrator hello; {BIN}/dodo-claude ask 'SQLite?' --wait 50s"
                    ),
                    gate("go"),
                    write("it.txt", "bad"),
                ],
                [write("it.txt", "good")],
            ]
        },
    )

    def send(*arguments: str, code: int) -> dict[str, Any]:
        found = json.loads(
            project.run("dodo-claude", "send", "one", "hello", "--json", *arguments, check=code).out
        )
        jsonschema.validate(found, shape("receipt"))
        return dict(found)

    with project.started() as live:
        live.until("ASKS")
        project.run("dodo-claude", "answer", "one", "yes", check=0)
        at_gate(project, "go")
        assert send(code=0)["state"] == "queued"
        project.run("dodo-claude", "compact", "one", "-g", "the rest", check=0)
        open_gate(project, "go")
        wait_event(project, "one", "verified")
        assert live.wait() == 1, live.text
    refused = send(code=1)
    assert (refused["id"], refused["state"]) == (None, "refused")
    assert refused["reason"]
    lines = project.run("dodo-claude", "events", "--json", "--all", check=0).out.splitlines()
    strict = jsonschema.Draft202012Validator(closed(shape("event")))
    kinds = set()
    for line in lines:
        event = json.loads(line)
        strict.validate(event)
        kinds.add(event["kind"])
    assert {"begun", "spawned", "progress", "note", "message", "ask", "answered", "compact", "verified",
            "outcome", "received", "PreToolUse", "Stop"} <= kinds  # fmt: skip


# -- whatever a worker writes


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = ("percent", "text", "id", "until", "to", "sender", "goal", "now", "session_id", "transcript_path", "tool_name",
        "tool_input", "message", "last_assistant_message", "notification_type", "error", "mail", "task_id", "task_subject",
        "background_tasks")  # fmt: skip
KINDS = [*life.SAID, *(kind for kind in lifecycle.TABLE if kind[0].isupper()), "Else", "outcome"]
WRITTEN = st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(KEYS), ANY, max_size=6))


def strictly(text: str) -> Any:
    """As readers of JSON elsewhere take it: no NaN, no half of a surrogate pair."""
    value = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    json.dumps(value, ensure_ascii=False).encode()
    return value


@settings(max_examples=20, deadline=None)
@example([("progress", {"percent": True, "text": ""}), ("progress", {"percent": 10**400, "text": ""})])
@example([("ask", {"id": "1", "text": "?", "until": 10**400})])
@example([("SessionStart", {"session_id": "\ud800"}), ("Stop", {"last_assistant_message": "\x1b[31m\ud800"})])
@given(st.lists(WRITTEN, max_size=4))
def test_nothing_that_a_worker_writes_breaks_them(written: list[tuple[str, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        scene = Scene(Path(folder), patch)
        attempt = scene.begin("api")
        for number, (kind, data) in enumerate(written):
            spooled(attempt, number, json.dumps({"hook_event_name": kind, **data}))
        attempt.collect()
        for told in Bus(scene.state).read():
            if told.event.kind != "begun":  # the scene's own has less than a run's
                EVENT.validate(strictly(json.dumps(record(told))))
        now = status.look(scene.config, "pid 7 since 2026-01-01 00:00:00", {}, "p-run")
        STATUS.validate(strictly(status.to_json(now)))
        REPORT.validate(strictly(to_json(scene.report())))


# No process has this number.
NO_PID = 9_999_999


def spooled(attempt: Attempt, number: int, text: str) -> None:
    attempt.spool.mkdir(parents=True, exist_ok=True)
    path = attempt.spool / str(number)
    path.write_text(text)
    os.utime(path, (1_000 + number, 1_000 + number))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "text",
    [
        '{"hook_event_name": "progress", "percent": NaN, "text": ""}',
        '{"hook_event_name": "progress", "percent": true, "text": ""}',
        '{"hook_event_name": "progress", "percent": 40.5, "text": ""}',
        '{"hook_event_name": "progress", "percent": 40}',
        '{"hook_event_name": "ask", "id": "1", "text": "?", "until": 1e999}',
        '{"hook_event_name": "Stop", "percent": -Infinity}',
    ],
)
def test_what_is_not_said_as_our_commands_do_is_set_aside(scene: Scene, text: str) -> None:
    attempt = scene.begin("api")
    spooled(attempt, NO_PID, text)
    assert attempt.collect() == []
    assert (attempt.spool / f".unreadable-{NO_PID}").read_text() == text
