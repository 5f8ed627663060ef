"""An attempt on disk: what a crash, a full disk, a forged event or an odd name can't do to it."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dodo_claude.machine.files import make_state_dir, write_atomic
from dodo_claude.machine.ours import NotOursError
from dodo_claude.run.run import HOOK
from dodo_claude.state import events as lifecycle
from dodo_claude.state import journal, spool
from dodo_claude.state.events import Event
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.clean import MAX_OUTPUT


@pytest.fixture
def log(tmp_path: Path) -> StageLog:
    return StageLog(make_state_dir(tmp_path), "stage")


@pytest.fixture
def attempt(log: StageLog) -> Attempt:
    return log.begin()


# No process has this number.
NOBODY = "9999999"


def put(attempt: Attempt, name: str, text: str | bytes) -> None:
    (attempt.spool / name).write_bytes(text if isinstance(text, bytes) else text.encode())


# -- attempts


def test_begin_writes_before_anything_acts_and_overwrites_nothing(log: StageLog) -> None:
    assert log.attempts() == []
    assert log.open_attempt() is None
    first = log.begin()
    first.record("begun")
    found = log.open_attempt()
    assert found is not None
    assert found.dir == first.dir
    second = log.begin()
    assert [first.number, second.number] == [1, 2]
    assert [event.kind for event in first.replay()] == ["begun"]
    assert list(second.replay()) == []
    assert (log.dir / "open").read_text() == "2\n"


def test_a_gap_and_a_foreign_name_do_not_disturb_the_numbers(log: StageLog) -> None:
    log.begin()
    (log.dir / "7").mkdir()
    (log.dir / "notes").mkdir()
    (log.dir / "²").mkdir()  # a digit, but no number
    assert log.attempts() == [1, 7]
    assert log.begin().number == 8


def test_a_number_that_was_taken_meanwhile_is_not_overwritten(
    log: StageLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = log.begin()
    first.record("begun")
    monkeypatch.setattr(log, "attempts", lambda: [])
    assert log.begin().number == 2
    assert [event.kind for event in first.replay()] == ["begun"]


def test_settle_closes_it_and_may_be_called_again(log: StageLog) -> None:
    log.begin()
    log.settle()
    assert log.open_attempt() is None
    log.settle()
    assert log.attempts() == [1]


@pytest.mark.parametrize("text", ["x", "99", "-1", "1\n2", "\udcff", "9" * 5000])
def test_an_unreadable_open_file_opens_nothing(log: StageLog, text: str) -> None:
    log.begin()
    (log.dir / "open").write_text(text, errors="surrogateescape")
    assert log.open_attempt() is None


def test_an_open_file_that_lost_its_text_with_the_power_opens_the_newest(log: StageLog) -> None:
    log.begin()
    log.begin()
    (log.dir / "open").write_text("")
    opened = log.open_attempt()
    assert opened is not None
    assert opened.number == 2


NAMES = [
    "a/b",
    "a%2Fb",
    "a%b",
    "..",
    ".",
    "...",
    "../x",
    "é",
    "日本",
    "a:b",
    "a b",
    "a\nb",
    "x" * 300,
    "é" * 100,
    "",
]


def test_odd_names_stay_inside_and_apart(tmp_path: Path) -> None:
    state = make_state_dir(tmp_path)
    folders = set()
    for name in NAMES:
        log = StageLog(state, name)
        assert log.dir.parent == state / "stages"
        log.settle()
        log.begin()
        folders.add(os.path.realpath(log.dir))
    assert len(folders) == len(NAMES)
    assert {os.path.dirname(folder) for folder in folders} == {os.path.realpath(state / "stages")}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_every_name_has_its_own_folder(one: str, other: str) -> None:
    folders = [StageLog(Path("/s"), name).dir for name in (one, other)]
    assert (folders[0] == folders[1]) == (one == other)
    for folder in folders:
        assert os.path.normpath(folder) == str(folder)
        assert folder.parent == Path("/s/stages")
        assert len(os.fsencode(folder.name)) <= 255


def test_everything_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log = StageLog(make_state_dir(tmp_path), "s")
        attempt = log.begin()
        attempt.record("begun")
        attempt.finish({})
    finally:
        os.umask(before)
    # `stages` lies in .orchestrate, which nobody else can enter.
    assert stat.S_IMODE((tmp_path / ".orchestrate").stat().st_mode) == 0o700
    for path in [log.dir, *log.dir.rglob("*")]:
        if path != attempt.spool:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert (tmp_path / ".orchestrate/.gitignore").read_text() == "*\n"


# -- the journal


def test_cut_at_every_byte_it_loses_the_cut_line_only(attempt: Attempt) -> None:
    for number in range(4):
        attempt.record("kind", number=number, text='é\n"\\ 😀')
    whole = attempt.journal.read_bytes()
    ends = [0, *(at + 1 for at, byte in enumerate(whole) if byte == ord("\n"))]
    for length in range(len(whole) + 1):
        attempt.journal.write_bytes(whole[:length])
        # A line whose newline alone is missing is still whole.
        intact = sum(end <= length for end in ends[1:]) + (length + 1 in ends[1:])
        assert [event.data["number"] for event in attempt.replay()] == list(range(intact))
        attempt.record("next")
        assert [event.kind for event in attempt.replay()] == ["kind"] * intact + ["next"]


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"kind":"x"}', b'{"kind":"x","at":"y","data":{}}', b"[" * 100_000,
     b'{"kind":"x","at":1,"data":[1]}', b'{"kind":"x","at":' + b"9" * 400 + b',"data":{}}', b"\0" * 4096],
    ids=lambda line: repr(line[:20]),
)  # fmt: skip
def test_a_damaged_line_is_skipped(attempt: Attempt, line: bytes) -> None:
    attempt.record("one")
    with attempt.journal.open("ab") as stream:
        stream.write(line + b"\n")
    attempt.record("two")
    assert [event.kind for event in attempt.replay()] == ["one", "two"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8)
    )
)
def test_what_is_recorded_is_replayed(attempt: Attempt, data: dict[str, object]) -> None:
    attempt.journal.unlink(missing_ok=True)
    written = attempt._append(Event("k", 1.5, data))
    assert list(attempt.replay()) == [written]


def test_a_link_in_its_place_is_not_followed(attempt: Attempt, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    attempt.journal.symlink_to(victim)
    with pytest.raises(NotOursError, match="symbolic link"):
        attempt.record("x")
    (attempt.dir / f".result.json.{os.getpid()}.tmp").symlink_to(victim)
    with pytest.raises(NotOursError, match="symbolic link"):
        attempt.finish({})
    assert victim.read_text() == "mine"


def test_a_write_that_comes_short_is_completed(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    attempt.record("kind", text="longer than three bytes")
    monkeypatch.undo()
    assert [event.data["text"] for event in attempt.replay()] == ["longer than three bytes"]


def test_a_full_disk_costs_the_line_it_cut(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt.record("one")
    real = os.write

    def full(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", _no_space)
        return real(fd, data[:10])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        attempt.record("lost")
    monkeypatch.undo()
    attempt.record("two")
    assert [event.kind for event in attempt.replay()] == ["one", "two"]


# -- the spool


def test_300_hooks_at_once_lose_and_tear_nothing(attempt: Attempt) -> None:
    texts = [f"{number} " + "x" * (number * 37) for number in range(300)]

    def fire(text: str) -> None:
        event = json.dumps({"hook_event_name": "Notification", "message": text})
        subprocess.run(["/bin/sh", str(HOOK), str(attempt.spool)], input=event.encode(), check=True)

    events = []
    with ThreadPoolExecutor(12) as pool:
        running = [pool.submit(fire, text) for text in texts]
        while not all(each.done() for each in running):
            events += attempt.collect()
    events += attempt.collect()
    assert sorted(str(event.data["message"]) for event in events) == sorted(
        text if len(text) <= spool.MAX_TEXT else f"{text[: spool.MAX_TEXT]}… ({len(text)} characters)"
        for text in texts
    )
    assert list(attempt.replay()) == events
    assert os.listdir(attempt.spool) == []


def test_events_come_in_the_order_of_their_time(attempt: Attempt) -> None:
    for name, at in (("9", 300), ("1", 100), ("5", 200), ("10000", 200), ("9999", 200)):
        put(attempt, name, json.dumps({"hook_event_name": "Stop", "name": name}))
        os.utime(attempt.spool / name, ns=(at, at))
    # At one tick of the clock the lower process id was first.
    assert [event.data["name"] for event in attempt.collect()] == ["1", "5", "9999", "10000", "9"]
    assert attempt.collect() == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "null",
        "{}",
        '{"hook_event_name": 1}',
        '{"hook_event_name": ""}',
        '{"hook_event_name": "outcome", "result": "succeeded"}',
        '{"hook_event_name": "verified", "ok": true}',
        '{"hook_event_name": "begun", "before": {}}',
        b"\xff\xfe\xff",
        "[" * 100_000,
        '{"hook_event_name"',
    ],
    ids=lambda text: repr(text[:20]),
)
def test_an_unreadable_event_is_set_aside(attempt: Attempt, text: str | bytes) -> None:
    put(attempt, NOBODY, text)
    put(attempt, "2", '{"hook_event_name": "Stop"}')
    assert [event.kind for event in attempt.collect()] == ["Stop"]
    assert (attempt.spool / f".unreadable-{NOBODY}").exists()
    put(attempt, NOBODY, text)  # the same process id once more
    assert attempt.collect() == []
    assert not attempt.unfinished


def test_half_an_event_is_left_to_its_hook(attempt: Attempt) -> None:
    whole = b'{"hook_event_name": "Stop", "last_assistant_message": "\xc3\xa9"}'
    for size in range(len(whole)):
        put(attempt, str(os.getpid()), whole[:size])
        assert attempt.collect() == []
        assert attempt.unfinished
        assert attempt._waiting() == []
    put(attempt, str(os.getpid()), whole)
    assert [event.data["last_assistant_message"] for event in attempt.collect()] == ["é"]
    assert not attempt.unfinished


def test_half_an_event_whose_hook_hangs_is_set_aside_one_day(attempt: Attempt) -> None:
    name = f"{os.getpid()}.1"
    put(attempt, name, "{")
    long_ago = time.time() - spool.HOOK_SECONDS
    os.utime(attempt.spool / name, (long_ago, long_ago))
    assert attempt.collect() == []
    assert (attempt.spool / f".unreadable-{name}").exists()


def test_half_an_event_on_a_full_disk_is_no_hooks_fault(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "no_room", lambda folder: True)
    put(attempt, NOBODY, "{")
    put(attempt, "2", '{"hook_event_name": "Stop"}')
    assert [event.kind for event in attempt.collect()] == ["Stop"]
    assert attempt.unfinished
    with pytest.raises(OSError, match="No space left"):
        attempt.collect()


def test_no_event_of_ours_comes_out_of_the_spool(attempt: Attempt) -> None:
    """They stand in the journal under names that a worker's hooks can't give."""
    ours = {kind for name, kind in vars(lifecycle).items() if name.isupper() and isinstance(kind, str)}
    ours -= set(lifecycle.SAID)  # these a worker may say of itself
    assert {"outcome", "verified", "spawned"} <= ours
    for number, kind in enumerate(sorted(ours | {"begun"})):
        put(attempt, str(number), json.dumps({"hook_event_name": kind}))
    assert attempt.collect() == []
    assert list(attempt.replay()) == []


def test_a_sweep_leaves_what_a_living_sender_writes(attempt: Attempt) -> None:
    folder = attempt.log.dir / "mail/letters"
    folder.mkdir(parents=True)
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (os.getpid(), gone.pid):
        (folder / f".id.json.{pid}.tmp").touch()
    attempt.log.sweep()
    assert os.listdir(folder) == [f".id.json.{os.getpid()}.tmp"]


def test_a_folder_among_the_events_is_set_aside(attempt: Attempt) -> None:
    (attempt.spool / NOBODY).mkdir()
    put(attempt, "2", '{"hook_event_name": "Stop"}')
    assert [event.kind for event in attempt.collect()] == ["Stop"]
    assert attempt.collect() == []


def test_an_event_too_large_is_not_read(attempt: Attempt) -> None:
    put(attempt, NOBODY, "")
    os.truncate(attempt.spool / NOBODY, spool.MAX_EVENT + 1)
    assert attempt.collect() == []
    assert (attempt.spool / f".unreadable-{NOBODY}").exists()


@pytest.mark.parametrize("size", [MAX_OUTPUT, MAX_OUTPUT + 1, spool.MAX_EVENT + 1, 200_000_000])
def test_of_what_is_set_aside_head_and_tail_stay(attempt: Attempt, size: int) -> None:
    put(attempt, NOBODY, "HEAD")
    with (attempt.spool / NOBODY).open("r+b") as stream:
        stream.seek(size - 4)
        stream.write(b"TAIL")
    attempt.collect()
    data = (attempt.spool / f".unreadable-{NOBODY}").read_bytes()
    assert data.startswith(b"HEAD")
    assert data.endswith(b"TAIL")
    if size <= MAX_OUTPUT:
        assert len(data) == size
    else:
        assert f"\n... {size - MAX_OUTPUT} bytes left out ...\n".encode() in data
        assert len(data) < MAX_OUTPUT + 60


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_file_that_is_linked_into_the_spool_is_not_cut(attempt: Attempt, tmp_path: Path, link: str) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"x" * (MAX_OUTPUT + 1))
    getattr(attempt.spool / NOBODY, link)(mine)
    assert attempt.collect() == []
    assert mine.stat().st_size == MAX_OUTPUT + 1


def test_long_and_deep_values_are_cut(attempt: Attempt) -> None:
    deep: object = "bottom"
    for _ in range(400):
        deep = [deep]
    event = {
        "hook_event_name": "Stop",
        "last_assistant_message": "m" * 150_000,
        "x": "x" * 5000,
        "l": [0] * 900,
    }
    put(attempt, "1", json.dumps({**event, "deep": deep}))
    (stop,) = attempt.collect()
    assert str(stop.data["last_assistant_message"]).startswith("m" * spool.MAX_MESSAGE + "… (150000")
    assert stop.data["x"] == "x" * spool.MAX_TEXT + "… (5000 characters)"
    assert stop.data["l"] == [0] * 100
    assert "bottom" not in attempt.journal.read_text()
    assert list(attempt.replay()) == [stop]


def test_what_is_whole_outlives_the_sweep_and_what_is_half_does_not(attempt: Attempt) -> None:
    put(attempt, "7+20260101-a", '{"hook_event_name":"Stop"}')
    for name in (".8", "8"):
        (attempt.spool / name).write_text('{"hook_event_name":"Sto')
    attempt.sweep()
    attempt.sweep()
    assert sorted(os.listdir(attempt.spool)) == [".unreadable-8", "7+20260101-a"]
    assert [event.kind for event in attempt._waiting()] == ["Stop"]
    (event,) = attempt.collect()
    assert event.data["mail"] == ["20260101-a"]


def test_a_crash_between_journal_and_spool_repeats_an_event_and_loses_none(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(attempt, "1", '{"hook_event_name": "Stop"}')
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", _no_space)
        with pytest.raises(OSError, match="No space"):
            attempt.collect()
    assert [event.kind for event in attempt.collect()] == ["Stop"]
    assert [event.kind for event in attempt.replay()] == ["Stop", "Stop"]


# -- whole or not at all


def _no_space(*args: object, **kwargs: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def failing(real: Callable[..., object], nth: list[int]) -> Callable[..., object]:
    def call(*args: object, **kwargs: object) -> object:
        nth[0] -= 1
        return _no_space() if nth[0] == 0 else real(*args, **kwargs)

    return call


def test_write_atomic_leaves_old_or_new_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    outcomes = []
    for nth in range(1, 20):
        path.write_text("old")
        count = [nth]
        with monkeypatch.context() as patch:
            for name in ("open", "fsync", "replace", "fdopen"):
                patch.setattr(os, name, failing(getattr(os, name), count))
            try:
                write_atomic(path, "new")
                outcomes.append("new")
            except OSError:
                outcomes.append("old")
        assert path.read_text() == outcomes[-1]
        assert os.listdir(tmp_path) == ["file"], nth
        if outcomes[-1] == "new":
            break
    assert outcomes == ["old"] * 4 + ["new"]


def test_write_atomic_on_a_full_disk(tmp_path: Path) -> None:
    """A real short write, in a process with a limit on its files' size."""
    script = (
        "import resource, signal, sys, os; from pathlib import Path; from dodo_claude.state.journal import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "path = Path(sys.argv[1]); write_atomic(path, 'old')\n"
        "try: write_atomic(path, 'x' * 20000)\n"
        "except OSError as error: print(error.strerror, path.read_text(), os.listdir(path.parent))\n"
    )
    path = tmp_path / "file"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large old ['file']\n"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_write_atomic_keeps_every_character(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f")
        write_atomic(path, text)
        assert path.read_bytes() == text.encode()


def test_write_atomic_passes_bytes_of_the_system_through(tmp_path: Path) -> None:
    write_atomic(tmp_path / "f", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "f").read_bytes() == b"caf\xe9"


# -- the result


@pytest.mark.parametrize("length", [0, 1, 10, 30])
def test_half_a_result_is_none(attempt: Attempt, length: int) -> None:
    assert attempt.result() is None
    attempt.finish({"result": "succeeded", "message": "é"})
    assert attempt.result() == {"result": "succeeded", "message": "é"}
    path = attempt.dir / "result.json"
    path.write_bytes(path.read_bytes()[:length])
    assert attempt.result() is None
    path.write_text("[1]")
    assert attempt.result() is None


LINES = st.one_of(
    st.binary(max_size=30).filter(lambda line: b"\n" not in line),
    st.builds(
        lambda at, kind, text, cut: json.dumps({"at": at, "kind": kind, "data": {"text": text}}).encode()[
            :cut
        ],
        st.floats(1, 2e9) | st.integers(0, 10**9),
        st.sampled_from(["begun", "Stop", 'a "kind": "begun"', "\\u0062egun", "é"]),
        st.sampled_from(["x", '{"at": 1, "kind": "begun", "data": {}}', "\n\r"]),
        st.none() | st.integers(0, 60),
    ),
)


@given(st.lists(LINES, max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_outline_has_of_its_kinds_what_a_replay_has(attempt: Attempt, lines: list[bytes]) -> None:
    attempt.journal.write_bytes(b"\n".join(lines))
    events = list(attempt.replay())
    for kinds in ({"begun"}, {"Stop", "begun"}):
        first, last, found = attempt.outline(kinds)
        assert found == [event for event in events if event.kind in kinds]
        # A line that was cut off in its text still tells its time.
        assert last >= max((event.at for event in events if event.kind in ("begun", "Stop")), default=0.0)
        assert first <= last
