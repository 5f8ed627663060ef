"""Journals that grow, followed: what becomes of each stage, what is read, and that no event is lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jsonschema
import pytest

from dodo_claude.config.config import load_config
from dodo_claude.dashboard import following as module
from dodo_claude.dashboard.following import Following
from dodo_claude.machine.changes import Changes
from dodo_claude.report import status
from dodo_claude.report.status import Silence, StageStatus
from dodo_claude.state import events as life
from dodo_claude.state.journal import Attempt
from dodo_claude.state.stops import USER, Stops
from tests.project import PATIENCE
from tests.samples.journals import STAGES, Journals
from tests.schemas import shape


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Journals]:
    made = Journals(tmp_path)
    yield made
    made.close()


class Watching:
    """A Following, and a way to wait for what it finds."""

    def __init__(self, journals: Journals, changes: Changes | None = None) -> None:
        self.changed = threading.Event()
        self.pictures = 0
        file = journals.root / "orchestrate.toml"
        self.following = Following(lambda: load_config(file), lambda config: journals.sessions, self._on_change, changes=changes)  # fmt: skip
        self.following.start()
        self.until(lambda: self.following.desk.stages)

    def _on_change(self) -> None:
        self.pictures += 1
        self.changed.set()

    def until(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert self.following.fault is None, self.following.fault
            left = deadline - time.monotonic()
            assert left > 0, self.following.desk
            self.changed.wait(left)
            self.changed.clear()

    def state(self, name: str) -> str:
        return self.stage(name).state

    def stage(self, name: str) -> StageStatus:
        return self.following.desk.stages[name]


@pytest.fixture(params=[True, False], ids=["told", "looked"])
def watching(
    journals: Journals, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Watching]]:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("dodo_claude.machine.changes.LOOK_SECONDS", 0.02)
    monkeypatch.setattr(module, "USED_SECONDS", 0.05)
    made: list[Watching] = []

    def make() -> Watching:
        made.append(Watching(journals, Changes(told=request.param)))
        return made[-1]

    yield make
    for each in made:
        each.following.close()
        assert each.following.fault is None


def test_a_project_of_which_nothing_ran(journals: Journals, watching: Callable[[], Watching]) -> None:
    it = watching()
    assert {name: stage.state for name, stage in it.following.desk.stages.items()} == {"api": "not run", "ui": "not run", "doc": "not run"}  # fmt: skip
    assert it.stage("doc").waits_for == ("ui", "api")
    assert not it.following.desk.run.live


def test_a_run_that_begins_works_and_ends_is_followed(
    journals: Journals, watching: Callable[[], Watching]
) -> None:
    it = watching()
    journals.run_begins()
    it.until(lambda: it.following.desk.run.live and it.state("doc") == "waiting")
    attempt = journals.begin("api")
    it.until(lambda: it.state("api") == "running")
    attempt.record(life.PROGRESS, percent=40, text="half")
    it.until(lambda: it.stage("api").percent == 40)
    attempt.record("PermissionRequest", tool_name="Bash", tool_input={"command": f"{journals.root}/x.sh"})
    it.until(lambda: it.state("api") == "blocked")
    assert it.stage("api").about == "Bash x.sh"
    attempt.record("PreToolUse", tool_name="Bash", tool_input={"command": "make"})
    attempt.record(life.ASK, id="q", text="a or b?", until=time.time() + 99)
    it.until(lambda: it.state("api") == "asks")
    attempt.record(life.ANSWERED, id="q", text="a", sender="me")
    before = it.stage("api").seconds
    it.until(lambda: it.stage("api").seconds > before)  # a clock goes on without an event
    (journals.root / "a.py").write_text("x")
    journals.end(attempt)
    it.until(lambda: it.state("api") == "done")
    it.until(
        lambda: (it.stage("api").tokens, it.stage("api").cost_usd) == (100, 0.5)
    )  # its result comes after
    it.until(lambda: it.stage("doc").waits_for == ("ui",))
    ui = journals.begin("ui")
    journals.end(ui, "failed", "check failed")
    it.until(lambda: it.state("ui") == "failed")
    assert it.stage("ui").about == "check failed"
    journals.run_ends()
    it.until(lambda: not it.following.desk.run.live)
    it.until(lambda: it.state("doc") == "not run")
    assert it.state("api") == "done"
    assert it.state("ui") == "failed"


def test_an_order_to_stop_what_has_not_begun_is_seen_and_one_of_another_run_is_none(
    journals: Journals, watching: Callable[[], Watching]
) -> None:
    it, stops = watching(), Stops(journals.state)
    journals.run_begins()
    it.until(lambda: it.following.desk.run.live and it.state("doc") == "waiting")
    stops.give("ui", USER, "pid 1 since 2025-01-01 00:00:00")
    stops.give("doc", "worker api", journals.holder)
    it.until(lambda: it.state("doc") == "stopped")
    how = "stopped by worker api before it began; the next doit orchestrate begins it"
    assert (it.stage("doc").about, it.stage("doc").waits_for) == (how, ())
    assert it.state("ui") == "waiting"


def test_a_silent_worker_has_facts_of_its_own(journals: Journals, watching: Callable[[], Watching]) -> None:
    it = watching()
    journals.run_begins()
    attempt = journals.begin("api")
    it.until(lambda: it.state("api") == "running")
    assert it.stage("api").silent is None
    since = time.time() - 125
    attempt.record(life.UNHEARD, since=since, text="401 no\x1b[31m key", tries="attempt 2 of 11")
    it.until(lambda: it.stage("api").silent is not None)
    silent = Silence(round(since, 3), "401 no key", "attempt 2 of 11")
    assert it.stage("api").silent == silent
    assert it.stage("api").about.startswith("no answer since ")
    # `dodo-claude status` says the same.
    told = status.look(it.following.config, journals.holder, {}, "p--run")
    jsonschema.validate(json.loads(status.to_json(told)), shape("status"))
    assert {stage.name: stage.silent for stage in told.stages} == {"api": silent, "ui": None, "doc": None}
    attempt.record(life.HEARD)
    it.until(lambda: it.stage("api").silent is None)


def test_what_was_there_before_is_known_and_what_was_changed_since_is_not_done(
    journals: Journals, watching: Callable[[], Watching]
) -> None:
    journals.run_begins()
    journals.done("api", "a.py")
    journals.done("ui", "u.py")
    journals.run_ends()
    it = watching()
    assert (it.state("api"), it.state("ui")) == ("done", "done")
    assert it.following.desk.ended is not None
    (journals.root / "a.py").write_text("a person's")
    journals.run_begins()
    journals.run_ends()
    it.until(lambda: it.state("api") == "not run")


def test_another_attempt_counts_on_from_the_one_before(
    journals: Journals, watching: Callable[[], Watching]
) -> None:
    it = watching()
    journals.run_begins()
    journals.end(journals.begin("api"), "failed", "its worker died")
    it.until(lambda: it.state("api") == "failed")
    journals.begin("api")
    it.until(lambda: it.state("api") == "running")
    assert it.stage("api").attempt == 2
    assert it.stage("api").tokens == 100


def test_tokens_dollars_and_pauses_of_workers_are_seen(
    journals: Journals, watching: Callable[[], Watching], tmp_path: Path
) -> None:
    transcript = tmp_path / "t.jsonl"
    transcript.write_text(
        '{"type":"assistant","message":{"id":"m","usage":{"input_tokens":900,"output_tokens":100}}}\n'
    )
    journals.run_begins()
    attempt = journals.begin("api")
    it = watching()
    attempt.record("PreToolUse", tool_name="Read", session_id="s-1")
    attempt.record("SessionStart", session_id="s-1", transcript_path=str(transcript))
    (attempt.dir / "status.json").write_text('{"cost": {"total_cost_usd": 0.25}}')
    it.until(lambda: it.stage("api").tokens == 1000 and it.stage("api").cost_usd == 0.25)
    attempt.record(life.PAUSED, until=time.time() + 600, reason="a limit")
    it.until(lambda: it.state("api") == "paused")
    assert it.following.desk.notice.startswith("a limit: 1 worker waits until ")


def test_the_file_is_read_again_when_it_changes(journals: Journals, watching: Callable[[], Watching]) -> None:
    it = watching()

    def save(text: str) -> None:
        """As editors do: nobody reads half of it."""
        new = journals.root / "new"
        new.write_text(text)
        new.replace(journals.root / "orchestrate.toml")

    save(STAGES + "\n[stages.more]\nafter = ['doc']\ncommand = 'true'\n")
    it.until(lambda: "more" in it.following.desk.stages)
    assert [*it.following.desk.stages][-1] == "more"
    save(STAGES + "\n[stages.more]\nprompt = 3\nbad = 1\n")
    it.until(lambda: "orchestrate.toml:" in it.following.desk.notice)
    assert "more" in it.following.desk.stages  # what was known stays
    file = journals.root / "orchestrate.toml"
    file.write_text("")  # as it is for a moment when it is written in place
    it.until(lambda: not it.following.desk.notice)
    assert "more" in it.following.desk.stages
    save(STAGES)
    it.until(lambda: not it.following.desk.notice and "more" not in it.following.desk.stages)


def test_sessions_in_tmux_are_told(journals: Journals, watching: Callable[[], Watching]) -> None:
    journals.sessions = {"p-api": True, "p-ui": False}
    it = watching()
    assert (it.stage("api").in_tmux, it.stage("ui").in_tmux, it.stage("doc").in_tmux) == ("running", "ended", None)  # fmt: skip


def test_no_event_is_lost_and_many_make_few_pictures(
    journals: Journals, watching: Callable[[], Watching]
) -> None:
    journals.run_begins()
    attempts = [journals.begin(name) for name in ("api", "ui")]
    it = watching()
    before = it.pictures

    def work(attempt: Attempt) -> None:
        for number in range(300):
            attempt.record("PreToolUse", tool_name="Bash", tool_input={"command": f"{number}"})

    threads = [threading.Thread(target=work, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    it.until(lambda: it.stage("api").activity == it.stage("ui").activity == "Bash 299")
    assert it.following.counts() == {"api": 304, "ui": 304}
    assert it.pictures - before < 300


def test_a_state_folder_that_is_none_is_told_and_no_fault(tmp_path: Path) -> None:
    (tmp_path / "orchestrate.toml").write_text('[stages.a]\ncommand = "x"\n')
    (tmp_path / ".orchestrate").write_text("no folder\n")
    it = Following(lambda: load_config(tmp_path / "orchestrate.toml"), lambda config: {}, lambda: None)
    it._begin()
    assert "is a file where a folder of ours belongs" in it._problem
    it.close()


def test_a_fault_of_the_threads_is_not_lost(journals: Journals) -> None:
    def broken(_: object) -> Mapping[str, bool]:
        raise RuntimeError("broken")

    changed = threading.Event()
    it = Following(lambda: load_config(journals.root / "orchestrate.toml"), broken, changed.set)
    it.start()
    assert changed.wait(PATIENCE)
    assert isinstance(it.fault, RuntimeError)
    it.close()
