"""Transcripts as the client writes them, cut anywhere, written anew, and as it would never write them."""

from __future__ import annotations

import json
import math
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dodo_claude.agents import usage as usages
from dodo_claude.agents.usage import CostMeter, TranscriptReader, Usage, context_used, cost_of
from tests.samples.transcripts import answer

# From statusLine's stdin, of the client 2.1.330; what is not asked for is left out.
STATUS: dict[str, Any] = {
    "session_id": "8c6342f6-d2b9-474c-a473-10da903857c4",
    "model": {"id": "claude-opus-5-5", "display_name": "Opus 5.5"},
    "cost": {"total_cost_usd": 5.098052, "total_duration_ms": 123343, "total_api_duration_ms": 608},
    "context_window": {
        "total_input_tokens": 14454,
        "context_window_size": 1000000,
        "current_usage": {"input_tokens": 14454, "output_tokens": 8},
        "used_percentage": 1,
    },
}


OTHERS = (
    '{"type":"queue-operation","operation":"enqueue"}',
    '{"parentUuid":null,"isSidechain":false,"type":"user","message":{"role":"user","content":"say \\"assistant\\""}}',
    '{"type":"system","subtype":"turn_duration","durationMs":514,"messageCount":16}',
    '{"type":"api-request-blob","text":"' + "x" * 3000 + '"}',
)
ERROR = answer("err", 500, model="<synthetic>", isApiErrorMessage=True)
SAVED = '{"type":"cost-state","sessionId":"s","totalCostUSD":0.102416,"hasUnknownModelCost":false}'
ONE = Usage(turns=1, input_tokens=10, output_tokens=1, cache_read=3000, cache_write=200, messages=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session [1].jsonl"


def write(path: Path, *lines: str, end: str = "\n") -> None:
    path.write_text("".join(line + end for line in lines), encoding="utf-8")


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_each_answer_counts_once_as_its_last_line_says(path: Path) -> None:
    write(
        path, *OTHERS, answer("a", 1), answer("a", 1), OTHERS[0], answer("a", 7), answer("b", 2), ERROR, SAVED
    )
    reader = TranscriptReader(path)
    found = reader.read()
    assert found == Usage(2, 20, 9, 6000, 400, 2)
    assert found.tokens == 6429
    assert (reader.bad_lines, reader.saved_cost) == (0, 0.102416)


def test_a_compaction_read_all_of_the_context(path: Path) -> None:
    line = (
        '{"type":"system","subtype":"compact_boundary","content":"Conversation compacted","uuid":"c","compactMetadata":'
        '{"trigger":"auto","preTokens":14182,"postTokens":2976,"durationMs":22}}'
    )
    write(path, answer("a"), line, line, '{"subtype":"compact_boundary","compactMetadata":7}')
    reader = TranscriptReader(path)
    assert reader.read() == ONE + Usage(input_tokens=14182)
    assert reader.bad_lines == 0


def test_no_file_is_nothing_used(path: Path) -> None:
    reader = TranscriptReader(path)
    assert reader.read() == Usage()
    write(path, answer("a"))
    assert reader.read() == ONE
    path.unlink()
    assert reader.read() == ONE


def test_a_torn_last_line_waits_for_its_end(path: Path) -> None:
    line = answer("a")
    reader = TranscriptReader(path)
    for cut in (0, 1, len(line) // 2, len(line)):
        path.write_text(line[:cut], encoding="utf-8")
        assert reader.read() == Usage()
    append(path, "\n")
    assert reader.read() == ONE
    assert reader.bad_lines == 0


def test_only_what_is_new_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, *OTHERS * 100, answer("a"))
    reader = TranscriptReader(path)
    reader.read()
    asked: list[int] = []
    pread = os.pread

    def counted(fd: int, size: int, at: int) -> bytes:
        data = pread(fd, size, at)
        asked.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counted)
    reader.read()
    assert sum(asked) <= usages.ANCHOR
    append(path, answer("b") + "\n")
    assert reader.read().messages == 2
    assert sum(asked) < 2000


@pytest.mark.parametrize(
    "lines",
    [
        [answer("c")],  # shorter
        [answer("c"), *OTHERS],  # longer
        [answer("b", 99), answer("c")],  # as long, other bytes
        [],
    ],
)
def test_a_file_written_anew_is_read_anew_and_what_was_used_stays(path: Path, lines: list[str]) -> None:
    write(path, answer("a"), answer("b"))
    reader = TranscriptReader(path)
    assert reader.read().messages == 2
    other = path.with_suffix(".new")
    write(other, *lines)
    other.replace(path)
    found = reader.read()
    assert found.messages == 2 + ("c" in "".join(lines) and bool(lines))
    assert reader.read() == found
    append(path, answer("d") + "\n")
    assert reader.read().messages == found.messages + 1


def test_a_file_cut_goes_on_from_there(path: Path) -> None:
    write(path, answer("a"), answer("b"), answer("c"))
    reader = TranscriptReader(path)
    reader.read()
    os.truncate(path, len((answer("a") + "\n").encode()) + 20)
    assert reader.read().messages == 3
    append(path, "\n" + answer("d") + "\n")
    assert reader.read().messages == 4
    assert reader.bad_lines == 1  # the line that the cut went through


BAD = (
    "no JSON",
    '"assistant"',
    '["assistant"]',
    '{"type":"assistant"}',
    '{"type":"assistant","message":"x"}',
    '{"type":"assistant","message":{"id":"x","usage":[]}}',
    '{"type":"assistant","message":{"id":7,"usage":{}}}',
    '{"type":"assistant","message":' + "[" * 100_000,
    '{"type":"assistant","n":' + "9" * 5000 + "}",
    answer("a")[:-5],
)


@pytest.mark.parametrize("line", BAD)
def test_bad_lines_are_passed_over_and_counted(path: Path, line: str) -> None:
    write(path, answer("a"), line, answer("b"))
    reader = TranscriptReader(path)
    assert reader.read().messages == 2
    assert reader.bad_lines == 1


@pytest.mark.parametrize("line", ["", "   ", "\r", "\ufeff{}"])
def test_odd_lines_do_no_harm(path: Path, line: str) -> None:
    write(path, answer("a"), line, answer("b"))
    assert TranscriptReader(path).read().messages == 2


@pytest.mark.parametrize("value", ["7", 1.5, -1, True, None, [], 10**11])
def test_what_is_no_number_of_tokens_is_none(path: Path, value: object) -> None:
    message = {"id": "a", "usage": {"input_tokens": value, "output_tokens": 2}}
    write(path, json.dumps({"type": "assistant", "message": message}))
    assert TranscriptReader(path).read() == Usage(turns=1, output_tokens=2, messages=1)


def test_bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b'{"type":"assistant","\xff"}\n\xff\xfe\x00\n' + answer("a").encode() + b"\n")
    reader = TranscriptReader(path)
    assert reader.read() == ONE
    assert reader.bad_lines == 2


def test_a_line_without_end_is_not_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usages, "CHUNK", 100)
    monkeypatch.setattr(usages, "MAX_LINE", 5000)
    write(path, answer("a"), "x" * 20_000 + answer("hidden"), answer("b"))
    reader = TranscriptReader(path)
    assert reader.read().messages == 2
    assert reader.bad_lines == 1
    append(path, "y" * 20_000)
    assert reader.read().messages == 2
    append(path, answer("hidden") + "\n" + answer("c") + "\n")
    assert reader.read().messages == 3
    assert reader.bad_lines == 2


def test_a_look_at_little_needs_little_memory(path: Path) -> None:
    """Each stage's thread looks after each event: what room was made for once, it keeps."""
    write(path, answer("a"))
    reader = TranscriptReader(path)
    tracemalloc.start()
    try:
        assert reader.read() == ONE
        append(path, answer("b") + "\n")
        assert reader.read() == ONE + ONE
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_sub_agents_are_used_too_but_have_no_turns_of_their_worker(path: Path) -> None:
    write(path, answer("a"), answer("s0", isSidechain=True))
    folder = path.with_suffix("") / "subagents"
    reader = TranscriptReader(path)
    assert reader.read() == Usage(1, 20, 2, 6000, 400, 2)
    folder.mkdir(parents=True)
    write(folder / "agent-1.jsonl", answer("s1"), answer("s0"))
    write(folder / "agent-2.jsonl", answer("s2"), "broken")
    (folder / "agent-2.meta.json").write_text("{}")
    assert reader.read() == Usage(1, 40, 4, 12000, 800, 4)
    append(folder / "agent-1.jsonl", answer("s3") + "\n")
    assert reader.read().messages == 5
    assert reader.bad_lines == 1


def test_agents_of_a_workflow_are_used_too(path: Path) -> None:
    write(path, answer("a"))
    reader = TranscriptReader(path)
    assert reader.read().messages == 1
    folder = path.with_suffix("") / "subagents"
    (folder / "workflows" / "wf_1").mkdir(parents=True)
    write(folder / "agent-1.jsonl", answer("s1"))
    write(folder / "workflows" / "wf_1" / "agent-2.jsonl", answer("w1"), answer("w2"))
    write(folder / "workflows" / "wf_1" / "journal.jsonl", '{"type":"started","key":"v2:1","agentId":"2"}')
    assert reader.read() == Usage(1, 40, 4, 12000, 800, 4)
    append(folder / "workflows" / "wf_1" / "agent-2.jsonl", answer("w3") + "\n")
    assert reader.read().messages == 5
    assert reader.bad_lines == 0


def test_folders_without_end_are_not_walked_through(path: Path) -> None:
    write(path, answer("a"))
    folder = path.with_suffix("") / "subagents"
    deep = folder / "/".join("abcdefgh")
    deep.mkdir(parents=True)
    write(deep / "agent-1.jsonl", answer("s1"))
    (folder / "round").symlink_to(folder)
    assert TranscriptReader(path).read().messages == 1


@pytest.mark.parametrize(
    "name", ["", "/", ".", "a\0b", "x" * 5000, "/dev/zero", "/dev/null", "/proc/self/mem"]
)
def test_a_path_that_is_no_transcript(name: str) -> None:
    assert TranscriptReader(name).read() == Usage()


def test_a_pipe_and_a_folder_in_its_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert TranscriptReader(tmp_path / "pipe").read() == Usage()
    assert TranscriptReader(tmp_path).read() == Usage()


LINES = st.lists(
    st.one_of(
        st.builds(answer, st.sampled_from("abcdef"), st.integers(0, 50)),
        st.sampled_from((*OTHERS, *BAD[:7], ERROR, SAVED, "")),
    ),
    max_size=15,
)


@given(LINES, st.lists(st.floats(0, 1), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_read_in_any_pieces_it_is_the_same(path: Path, lines: list[str], cuts: list[float]) -> None:
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(data)
    whole = TranscriptReader(path)
    total = whole.read()
    in_pieces = TranscriptReader(path)
    before = Usage()
    for cut in sorted(cuts):
        path.write_bytes(data[: int(cut * len(data))])
        found = in_pieces.read()
        assert found.messages >= before.messages
        before = found
    path.write_bytes(data)
    assert in_pieces.read() == total
    assert in_pieces.bad_lines == whole.bad_lines
    assert in_pieces.saved_cost == whole.saved_cost


def test_usages_add_up() -> None:
    assert ONE + ONE - ONE == ONE
    assert ONE.at_least(Usage(turns=5)) == Usage(5, 10, 1, 3000, 200, 1)
    assert Usage().tokens == 0


# The status line.


def test_what_a_status_line_tells() -> None:
    assert cost_of(STATUS) == 5.098052
    assert context_used(STATUS) == 1.0


@pytest.mark.parametrize("value", [None, "5", True, -1, math.nan, math.inf, [], 10**400])
def test_what_it_does_not_tell(value: object) -> None:
    assert cost_of({"cost": {"total_cost_usd": value}}) is None
    assert context_used({"context_window": {"used_percentage": value}}) is None
    assert cost_of({"cost": value}) is None
    assert context_used({"context_window": value}) is None
    assert cost_of({}) is None
    assert context_used({}) is None


def test_more_than_full_is_full() -> None:
    assert context_used({"context_window": {"used_percentage": 104}}) == 100.0


# What a session cost over all its processes. A number is a cost that was told, a "start" a new process.


@pytest.mark.parametrize(
    ("story", "total"),
    [
        ([], 0.0),
        (["start", 0.0, 0.1, 0.3], 0.3),
        ([0.1, 0.3], 0.3),
        (["start", 0.3, 0.2], 0.3),
        (["start", 0.3, "start", 0.0, 0.2], 0.5),  # killed: counts from 0
        (["start", 0.3, "start", 0.4], 0.7),  # killed, and its zero was missed
        (["start", 0.3, ("start", 0.3), 0.3, 0.5], 0.5),  # it ended well: goes on from there
        (["start", 0.3, ("start", 0.35), 0.35, 0.5], 0.5),  # its last cost was not told
        (
            ["start", 0.3, ("start", 0.3), 0.5, ("start", 0.3), 0.3, 0.4],
            0.6,
        ),  # killed, went on from what was saved
        ([("start", 0.3), 0.3, 0.4], 0.4),  # another run began the session
        (["start", 0.3, ("start", 0.3), 0.5, ("start", 0.3), 0.0, 0.1], 0.6),  # ended well, then was killed
        (["start", "start", "start", 0.2], 0.2),
    ],
)
def test_costs_over_restarts(story: list[Any], total: float) -> None:
    meter = CostMeter()
    seen = 0.0
    for step in story:
        if step == "start":
            meter.started()
        elif isinstance(step, tuple):
            meter.started(step[1])
        else:
            assert meter.saw(step) >= seen
        assert meter.total >= seen
        seen = meter.total
    assert meter.total == pytest.approx(total)


def test_what_a_session_cost_since_it_was_resumed_or_followed() -> None:
    meter = CostMeter()
    meter.started()
    meter.saw(0.3)
    assert meter.here == pytest.approx(0.3)
    meter.resumed(0.35)  # it ended well, its last cost was not told
    assert meter.here == 0.0
    meter.saw(0.35)
    assert meter.here == 0.0
    meter.saw(0.5)
    assert meter.here == pytest.approx(0.15)
    meter.started()  # a fresh session of the same client, for the next phase
    meter.saw(0.0)
    meter.saw(0.2)
    assert (meter.here, meter.total) == (pytest.approx(0.35), pytest.approx(0.7))
    meter.follows()
    assert meter.here == 0.0
    meter.saw(0.3)
    assert meter.here == pytest.approx(0.1)


def test_the_end_of_a_turn_and_how_many_hooks_were_asked(tmp_path: Path) -> None:
    path, reader = tmp_path / "t.jsonl", TranscriptReader(tmp_path / "t.jsonl")
    assert (reader.read(), reader.turn_ended, reader.stop_hooks) == (Usage(), 0.0, 0)
    summary = {
        "type": "system",
        "subtype": "stop_hook_summary",
        "hookCount": 2,
        "timestamp": "2026-11-29T14:19:40.920Z",
    }
    ended = {
        "type": "system",
        "subtype": "turn_duration",
        "durationMs": 2344,
        "timestamp": "2026-11-29T14:19:41.758Z",
    }
    path.write_text(json.dumps(summary) + "\n")
    reader.read()
    assert (reader.turn_ended, reader.stop_hooks) == (0.0, 2)
    with path.open("a") as file:
        for odd in ("yesterday", 5, None):
            file.write(json.dumps({**ended, "timestamp": odd}) + "\n")
        file.write(json.dumps(ended) + "\n")
    below = tmp_path / "t/subagents/agent-a.jsonl"
    below.parent.mkdir(parents=True)
    below.write_text(json.dumps({**ended, "timestamp": "2027-01-01T00:00:00Z"}) + "\n")
    reader.read()
    assert (reader.turn_ended, reader.stop_hooks, reader.bad_lines) == (1795961981.758, 2, 0)
