"""What of a command's output a worker is told: the pure judge, its messages, and the program around them."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.config.records import Monitor
from dodo_claude.machine import processes
from dodo_claude.machine.files import make_state_dir
from dodo_claude.state.journal import StageLog
from dodo_claude.state.mail import MAX_INLINE, QUEUED, STATES, Mailbox
from dodo_claude.worker.monitor import Finding, Judge, Recovery, find, message, readable
from dodo_claude.worker.monitors import Note, Orders, read_note, take, write_note

MONITOR = Monitor(
    name="build", command="make", match="error", message=None, recovered=None, recovered_match=None, context=1,
    every=None, debounce=0.1, env=(), cwd=".",
)  # fmt: skip


def rows(text: str, match: str = "error", context: int = 1) -> list[str]:
    found = find(text, re.compile(match), context)
    return [] if found is None else list(found.rows)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", []),
        ("fine\n", []),
        ("error\n", ["error"]),
        ("error", ["error"]),
        ("a\nb\nerror\nc\nd\n", ["b", "error", "c"]),
        ("error 1\nb\nerror 2\n", ["error 1", "b", "error 2"]),
        ("error 1\nb\nc\nerror 2\n", ["error 1", "b", "c", "error 2"]),
        ("error 1\nb\nc\nd\nerror 2\n", ["error 1", "b", "…", "d", "error 2"]),
        (f"error {'x' * 1000}", [f"error {'x' * 293}…"]),
    ],
)
def test_the_lines_around_a_match(text: str, shown: list[str]) -> None:
    assert rows(text) == shown


def test_without_lines_around_it() -> None:
    assert rows("a\nerror 1\nb\nerror 2\nerror 3\n", context=0) == ["error 1", "…", "error 2", "error 3"]


@pytest.mark.parametrize(
    ("match", "one", "other", "same"),
    [
        ("error", "error 1", "error 1", True),
        ("error", "error 1", "error 2", False),
        ("error", "a\nerror 1\nb", "error 1\nc\nd", True),  # the lines around it make no news
        ("error", "error 1\nerror 2", "error 2\nerror 1", True),  # nor does their order
        ("error", "error 1\nerror 1", "error 1", True),  # nor how often
        ("error", "error 1\nerror 2", "error 1", False),
        (r"^\d+ (error .*)", "12 error x", "13 error x", True),  # with groups, they count
        (r"^\d+ (error .*)", "12 error x", "12 error y", False),
        ("(a)?error(b)?", "error", "error !", True),
    ],
)
def test_what_makes_two_findings_the_same(match: str, one: str, other: str, same: bool) -> None:
    found = [find(text, re.compile(match), 1) for text in (one, other)]
    assert found[0] is not None
    assert found[1] is not None
    assert (found[0].key == found[1].key) is same


def told(judge: Judge) -> str:
    """What the judge has to tell now, and that it is told."""
    news = judge.news
    judge.delivered()
    assert judge.news is None
    return "recovery" if isinstance(news, Recovery) else " ".join(news.rows) if news is not None else ""


RUNS = [
    (["fine"], [""]),
    (["error 1", "error 1"], ["error 1", ""]),
    (["error 1", "fine", "fine"], ["error 1", "recovery", ""]),
    (["error 1", "fine", "error 1"], ["error 1", "recovery", "error 1"]),
    (["error 1", "error 2", "error 1"], ["error 1", "error 2", "error 1"]),
    (["", "fine"], ["", ""]),
]


@pytest.mark.parametrize(("runs", "texts"), RUNS)
def test_each_run_is_judged_as_a_whole(runs: list[str], texts: list[str]) -> None:
    judge = Judge("error")
    for run, text in zip(runs, texts, strict=True):
        judge.ran(run)
        assert told(judge) == text


CHUNKS = [
    (["error 1\n", "fine\n", "error 1\n"], ["error 1", "", ""]),
    (["error 1\n", "error 2\n", "error 1\n"], ["error 1", "error 2", "error 1"]),
    (["error 1\n", "0 found\n", "0 found\n"], ["error 1", "recovery", ""]),
    (["error 1\n", "0 found\n", "error 1\n"], ["error 1", "recovery", "error 1"]),
    (["error 1\n0 found\n"], [""]),
    (["0 found\nerror 1\n"], ["error 1"]),
    (["error 1\n", "0 found\nerror 1\n"], ["error 1", ""]),
    (["0 found\n"], [""]),
]


@pytest.mark.parametrize(("chunks", "texts"), CHUNKS)
def test_a_stream_recovers_only_where_it_says_so(chunks: list[str], texts: list[str]) -> None:
    judge = Judge("error", recovered_match="^0 found")
    for chunk, text in zip(chunks, texts, strict=True):
        judge.said(chunk)
        assert told(judge) == text


def test_without_a_word_for_it_a_stream_never_recovers() -> None:
    judge = Judge("error")
    for chunk, text in (("error 1\n", "error 1"), ("fine\n", ""), ("", "")):
        judge.said(chunk)
        assert told(judge) == text


def test_what_was_refused_stays_news_and_what_is_over_meanwhile_is_none() -> None:
    judge = Judge("error")
    judge.ran("error 1")
    judge.ran("error 1")
    assert isinstance(judge.news, Finding)
    judge.ran("fine")
    assert judge.news is None


def test_another_monitor_goes_on_where_one_died() -> None:
    judge = Judge("error")
    judge.ran("error 1")
    judge.delivered()
    for next_one in (Judge("error", told=judge.told), Judge("error", told=judge.told)):
        assert next_one.news is None  # before it has heard anything
    next_one.said("fine\n")
    assert next_one.news is None
    next_one.ran("error 1")
    assert next_one.news is None
    next_one.ran("fine")
    assert isinstance(next_one.news, Recovery)


OUTPUT = st.lists(st.sampled_from(["fine", "error 1", "error 2", "0 found", ""]), max_size=4).map("\n".join)


@given(st.lists(st.tuples(OUTPUT, st.booleans(), st.booleans()), max_size=12), st.booleans())
def test_no_message_comes_twice_and_a_recovery_follows_a_finding(
    history: list[tuple[str, bool, bool]], streams: bool
) -> None:
    """Whatever is said, whatever is refused, and whenever the monitor is started anew."""
    judge, sent = Judge("error", context=0, recovered_match="0 found" if streams else None), []
    for output, taken, dies in history:
        (judge.said if streams else judge.ran)(output)
        news = judge.news
        if news is not None and taken:
            sent.append("" if isinstance(news, Recovery) else news.key)
            judge.delivered()
        if dies:
            judge = Judge("error", context=0, recovered_match="0 found" if streams else None, told=judge.told)
    assert all(one != other for one, other in itertools.pairwise(sent))
    assert sent[:1] != [""]


# -- the words


def test_the_message_says_who_and_what_and_fences_it() -> None:
    text = message(MONITOR, "dev", None, Finding("k", ("a", "error: <b>", "c")))
    mark = text.split('mark="')[1].split('"')[0]
    assert re.fullmatch("[0-9a-f]{16}", mark)
    assert text == (
        f'The command `make` says:\n<output of="build" mark="{mark}">\na\nerror: <b>\nc\n</output mark="{mark}">'
    )
    assert message(MONITOR, "dev", None, Recovery()) == "The command `make` does not say so any more."


def test_its_own_words_take_item_and_stage_and_lines() -> None:
    own = replace(
        MONITOR, message="{{ stage }} of {{ item | upper }}:\n{{ lines }}", recovered="{{ item }} is well."
    )
    assert message(own, "dev:x", "x", Finding("k", ("{{ stage }}",))).startswith("dev:x of X:\n<output")
    assert "\n{{ stage }}\n" in message(
        own, "dev:x", "x", Finding("k", ("{{ stage }}",))
    )  # data is no template
    assert message(own, "dev:x", "x", Recovery()) == "x is well."


@pytest.mark.parametrize("source", ["{{ lines.nothing.at_all }}", "{% if false %}x{% endif %}"])
def test_words_that_come_to_nothing_do_not_keep_it(source: str) -> None:
    text = message(replace(MONITOR, message=source), "dev", None, Finding("k", ("error",)))
    assert text.startswith("The command `make` says:\n")


@given(st.lists(st.text(st.characters(exclude_categories=["C"]), max_size=400), min_size=1, max_size=80))
def test_it_reaches_the_worker_whole(lines: list[str]) -> None:
    found = find("\n".join([*lines, "error"]), re.compile(""), 0)
    assert found is not None
    assert len(message(MONITOR, "dev", None, found)) <= MAX_INLINE


def test_the_first_lines_are_kept_and_the_others_counted() -> None:
    text = message(MONITOR, "dev", None, Finding("k", tuple(f"error {number:0200}" for number in range(50))))
    assert f"error {0:0200}\nerror {1:0200}\n" in text
    kept = text.count("error 0")
    assert f"\n[… {50 - kept} more lines …]\n" in text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\nb\n", "a\nb\n"),
        ("\x1b[31mred\x1b[0m\x07\n", "red\n"),
        ("a\r\nb\r\r\n", "a\nb\n"),
        ("10%\r20%\rdone\n", "done\n"),
        ("\x1b]0;title\x07x\tz\n", "x\tz\n"),
        ("half", "half"),
    ],
)
def test_output_as_a_terminal_would_show_it(raw: str, shown: str) -> None:
    assert readable(raw) == shown


def test_a_long_line_is_made_readable_at_once() -> None:
    """One that took the square of its length would take hours."""
    assert readable("x" * 1_000_000 + "\r" + "y" * 1_000_000) == "y" * 1_000_000


# -- the program


class Desk:
    """A stage with a mailbox, a worker that sleeps, and orders for a monitor."""

    def __init__(self, root: Path) -> None:
        self.root = root
        state = make_state_dir(root)
        self.mailbox = Mailbox(StageLog(state, "dev"))
        self.worker_nonce = secrets.token_hex(16)
        environ = {"PATH": os.environ["PATH"], "MY_TOKEN": "very-secret-value"}
        self.worker = subprocess.Popen(["sleep", "1000"], env={**environ, processes.NONCE: self.worker_nonce})
        self.place = root / "build"
        self.orders = Orders(
            stage="dev", item=None, state=str(state), root=str(root), place=str(self.place),
            nonce=f"{self.worker_nonce}-monitor-build", worker=self.worker.pid, worker_nonce=self.worker_nonce,
            monitor=MONITOR, environ=environ,
        )  # fmt: skip
        self.started: list[subprocess.Popen[str]] = []

    def open(self) -> None:
        self.mailbox.open(1)

    def start(self, command: str, **keys: object) -> subprocess.Popen[str]:
        orders = replace(self.orders, monitor=replace(MONITOR, command=command, **keys))  # type: ignore[arg-type]
        orders.write(self.root / "orders")
        self.place.touch()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dodo_claude.worker.monitor", str(self.root / "orders")],
            env={**orders.environ, processes.NONCE: orders.nonce}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.started.append(process)
        return process

    def told(self, count: int) -> list[str]:
        deadline = time.monotonic() + 20
        while len(self.mailbox.letters(QUEUED)) < count:
            assert time.monotonic() < deadline, f"{self.mailbox.letters(QUEUED)} messages of {count}"
            time.sleep(0.01)
        found = [self.mailbox.letter(name) for name in self.mailbox.letters(QUEUED)]
        return [letter.text for letter in found if letter is not None]

    def end(self) -> str:
        """The worker's end, and what the monitors said until theirs."""
        self.worker.kill()
        self.worker.wait()
        return "".join(process.communicate(timeout=20)[0] for process in self.started)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.worker.kill()
    made.worker.wait()
    for process in made.started:
        process.communicate(timeout=20)
    assert processes._tree(0, made.orders.nonce) == []


def test_its_command_is_shown_and_its_end_is_a_line(desk: Desk) -> None:
    desk.open()
    desk.start("echo an error; printf '\\033[31mred\\033[0m'; exit 3")
    (text,) = desk.told(1)
    assert text.startswith("The command `")
    assert "\nan error\nred\n</output" in text  # the line that it fell silent in
    shown = desk.end()
    assert "$ echo an error" in shown
    assert "an error\nred\nexit status 3\n" in shown
    assert "'dev' was told of it" in shown


def test_it_ends_with_its_worker_and_takes_all_along(desk: Desk) -> None:
    desk.open()
    process = desk.start("setsid sleep 1000 & trap '' TERM; echo an error; sleep 1000")
    desk.told(1)
    assert len(processes._tree(0, desk.orders.nonce)) >= 3
    desk.worker.kill()
    desk.worker.wait()
    assert process.wait(20) == 0
    assert processes._tree(0, desk.orders.nonce) == []


def test_a_worker_that_is_gone_already_is_seen(desk: Desk) -> None:
    desk.worker.kill()
    desk.worker.wait()
    assert desk.start("echo an error; exec sleep 1000").wait(20) == 0


def test_what_is_refused_is_told_once_mail_is_taken(desk: Desk) -> None:
    process = desk.start("echo an error", every=0.1)
    deadline = time.monotonic() + 20
    assert process.stdout is not None
    seen = ""
    while seen.count("an error\n") < 3:
        assert time.monotonic() < deadline
        seen += process.stdout.readline()
    assert desk.mailbox.letters(*STATES) == []
    desk.open()
    assert len(desk.told(1)) == 1


def test_two_of_one_name_are_one(desk: Desk) -> None:
    desk.open()
    first = desk.start("echo an error; exec sleep 1000")
    desk.told(1)
    second = desk.start("echo an error; exec sleep 1000")
    assert second.wait(20) == 0
    assert first.poll() is None
    assert len(desk.told(1)) == 1
    assert desk.started[1].communicate()[0] == ""


def test_secrets_reach_no_message_even_where_one_is_cut(desk: Desk) -> None:
    desk.open()
    desk.start("echo error; printf '%0280d%s\\n' 1 \"$MY_TOKEN\"", match="error|secret")
    (text,) = desk.told(1)
    assert "very-secret" not in text
    assert "[redacted]" in text


def test_a_talk_without_end_is_judged_all_the_same(desk: Desk) -> None:
    desk.open()
    desk.start("while :; do echo error; sleep 0.02; done")
    desk.told(1)


def test_a_folder_that_is_gone_is_told_where_it_is_looked_at(desk: Desk) -> None:
    desk.open()
    desk.start("echo an error", cwd="nowhere", every=0.1)
    deadline = time.monotonic() + 20
    process = desk.started[0]
    assert process.stdout is not None
    seen = ""
    while seen.count("can't be started") < 2:
        assert time.monotonic() < deadline
        seen += process.stdout.readline()
    (desk.root / "nowhere").mkdir()
    desk.told(1)


# -- its file


def test_orders_are_read_once_and_as_they_were(desk: Desk, tmp_path: Path) -> None:
    orders = replace(
        desk.orders, environ={"A": "b\udcff"}, monitor=replace(MONITOR, env=(("A", "b"),), every=2.0)
    )
    orders.write(tmp_path / "orders")
    assert (tmp_path / "orders").stat().st_mode & 0o077 == 0
    assert Orders.read(tmp_path / "orders") == orders
    with pytest.raises(FileNotFoundError):
        Orders.read(tmp_path / "orders")


@pytest.mark.parametrize("text", ["", "x y", "1", "1 2 3", "\0"])
def test_a_note_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "n").write_text(text)
    assert read_note(tmp_path / "n") == Note()
    assert read_note(tmp_path / "nothing") == Note()


def test_a_note_is_kept_and_its_file_taken_by_one(tmp_path: Path) -> None:
    fd = take(tmp_path / "n")
    assert fd is not None
    write_note(fd, Note(123456, "key"))
    write_note(fd, Note(7, ""))
    assert read_note(tmp_path / "n") == Note(7, "")
    assert take(tmp_path / "n") is None
    os.close(fd)
    again = take(tmp_path / "n")
    assert again is not None
    os.close(again)
