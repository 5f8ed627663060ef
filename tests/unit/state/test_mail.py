"""Messages: taken once by whoever moves them, never while nobody can answer for them, all accounted for."""

from __future__ import annotations

import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.run.run import HOOK
from dodo_claude.state import events as life
from dodo_claude.state import mail
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.state.mail import (
    DELIVERED,
    FINAL,
    PASTED,
    QUEUED,
    REFUSED,
    STATES,
    TAKEN,
    UNKNOWN,
    Mailbox,
    RefusedError,
)
from dodo_claude.text.redact import Redactor


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return StageLog(tmp_path / "state", "s").begin()


@pytest.fixture
def box(attempt: Attempt, tmp_path: Path) -> Mailbox:
    made = Mailbox(attempt.log)
    made.open(attempt.number)
    return made


def test_a_message_is_queued_for_a_worker_at_work(box: Mailbox) -> None:
    letter = box.post("use port 8080", "the user")
    assert box.state(letter) == QUEUED
    assert box.waiting()
    found = box.letter(letter)
    assert found is not None
    assert (found.sender, found.text) == ("the user", "use port 8080")
    assert box.take() == [(letter, "Message from the user:\nuse port 8080")]
    assert box.state(letter) == PASTED
    box.settle([letter], DELIVERED)
    assert box.state(letter) == DELIVERED
    assert not box.waiting()


def test_none_is_taken_where_nobody_works(attempt: Attempt, box: Mailbox) -> None:
    box.close()
    with pytest.raises(RefusedError, match="'s': no worker is at work on it"):
        box.post("hello", "x")
    with pytest.raises(RefusedError):
        Mailbox(StageLog(attempt.log.dir.parent.parent, "other")).post("hello", "x")
    assert box.letters(*STATES) == []


@pytest.mark.parametrize(
    ("text", "words"), [(" \n", "is empty"), ("x" * 200_001, "longer than 200000 characters")]
)
def test_what_is_no_message(box: Mailbox, text: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        box.post(text, "x")


def test_none_is_sent_into_a_dialog(attempt: Attempt, box: Mailbox) -> None:
    attempt.record(life.SPAWNED, pane="%1", session="$1", pid=1)
    # Nobody has taken the hook's event yet: an orchestrator may be dead.
    attempt.drop("ask", id="q", text="?", until=1.0)
    (attempt.spool / "1").write_text('{"hook_event_name": "PermissionRequest", "tool_name": "Bash"}')
    with pytest.raises(
        RefusedError, match=r"'s': waits for a person at a dialog: Bash \(dodo-claude attach s"
    ):
        box.post("yes", "x")
    assert box.letters(*STATES) == []
    (attempt.spool / "2").write_text('{"hook_event_name": "PostToolBatch"}')
    assert box.post("thanks", "x")


def test_a_long_one_is_a_file_to_read(box: Mailbox) -> None:
    text = "word " * 400
    letter = box.post(text, "x")
    ((_, shown),) = box.take()
    assert len(shown) < 1_000
    path = shown.rpartition("(The whole message is in ")[2].removesuffix(": read it.)")
    assert Path(path).read_text() == text
    assert path.endswith(f"letters/{letter}.md")


def test_secrets_are_not_written(tmp_path: Path) -> None:
    secret = "hunter2-hunter2"
    log = StageLog(tmp_path / "state", "s", Redactor({"MY_TOKEN": secret}))
    log.begin()
    box = Mailbox(log)
    box.open(1)
    box.post(f"the password is {secret}", "x")
    assert not [path for path in log.dir.rglob("*") if path.is_file() and secret in path.read_text()]


def test_its_end_refuses_what_is_left(box: Mailbox) -> None:
    letters = [box.post(f"m{number}", "x") for number in range(3)]
    taken = [letter for letter, _ in box.take()]
    assert taken == letters
    late = box.post("late", "x")
    assert box.close() == [late]
    assert box.state(late) == REFUSED
    assert box.unproved() == letters
    box.settle(letters, UNKNOWN)
    assert [box.state(letter) for letter in letters] == [UNKNOWN] * 3


def test_what_a_killed_run_took_and_did_not_write_down_is_queued_again(box: Mailbox) -> None:
    first, second = box.post("a", "x"), box.post("b", "x")
    box.take()
    box.put_back(but=[first])
    assert (box.state(first), box.state(second)) == (PASTED, QUEUED)


def test_many_go_a_few_at_a_time_in_order(box: Mailbox) -> None:
    letters = [box.post(f"m{number}", "x") for number in range(mail.BATCH + 2)]
    assert [letter for letter, _ in box.take()] == letters[: mail.BATCH]
    assert [letter for letter, _ in box.take()] == letters[mail.BATCH :]


# -- given by a hook


def run_hook(attempt: Attempt, box: Mailbox, event: dict[str, object]) -> str:
    name = str(event["hook_event_name"])
    return subprocess.run(
        ["/bin/sh", str(HOOK), str(attempt.spool), "mail", str(box.dir), name],
        input=json.dumps(event), capture_output=True, text=True, check=True, timeout=20,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("event", ["Stop", "PostToolBatch"])
def test_a_hook_gives_them_to_the_client(attempt: Attempt, box: Mailbox, event: str) -> None:
    texts = ['say "hi" \\ $(touch x) `y`\n%s %n', "tab\there, é, 😀, \x1b[31m, \x00"]
    letters = [box.post(text, "the user") for text in texts]
    answer = json.loads(run_hook(attempt, box, {"hook_event_name": event}))
    told = answer["hookSpecificOutput"]
    assert told["hookEventName"] == event
    assert told["additionalContext"] == "".join(f"Message from the user:\n{text}\n\n" for text in texts)
    assert [box.state(letter) for letter in letters] == [TAKEN, TAKEN]
    (heard,) = attempt.collect()
    assert heard.data["mail"] == letters
    assert run_hook(attempt, box, {"hook_event_name": event}) == ""
    assert "mail" not in attempt.collect()[0].data


def test_not_to_a_subagent(attempt: Attempt, box: Mailbox) -> None:
    letter = box.post("x", "the user")
    assert run_hook(attempt, box, {"hook_event_name": "PostToolBatch", "agent_id": "a1"}) == ""
    assert box.state(letter) == QUEUED


def test_a_hook_gives_a_few_at_a_time(attempt: Attempt, box: Mailbox) -> None:
    letters = [box.post(f"m{number}", "x") for number in range(mail.BATCH + 1)]
    run_hook(attempt, box, {"hook_event_name": "Stop"})
    assert box.letters(TAKEN) == letters[: mail.BATCH]
    (heard,) = attempt.collect()
    assert heard.data["mail"] == letters[: mail.BATCH]


def test_a_worker_cannot_forge_that_it_was_given_mail(attempt: Attempt, box: Mailbox) -> None:
    run_hook(attempt, box, {"hook_event_name": "Stop", "mail": ["m1"]})
    assert "mail" not in attempt.collect()[0].data


def test_hooks_and_the_orchestrator_take_each_message_once(attempt: Attempt, box: Mailbox) -> None:
    """Many senders, many takers, and an end in the midst of it: each message is in one place, and given once."""
    sent: list[str] = []
    refused: list[str] = []
    given: list[str] = []
    ended = threading.Event()

    def send(sender: int) -> None:
        for number in range(25):
            try:
                sent.append(box.post(f"{sender}/{number}", f"s{sender}"))
            except RefusedError:
                refused.append(f"{sender}/{number}")

    def hook() -> None:
        while not ended.is_set():
            answer = run_hook(attempt, box, {"hook_event_name": "Stop"})
            if answer:
                text = json.loads(answer)["hookSpecificOutput"]["additionalContext"]
                given.extend(line for line in text.splitlines() if "/" in line)

    def paste() -> None:
        while not ended.is_set():
            given.extend(text.splitlines()[1] for _, text in box.take())

    with ThreadPoolExecutor() as pool:
        takers = [pool.submit(hook), pool.submit(hook), pool.submit(paste)]
        for sender in [pool.submit(send, number) for number in range(8)]:
            sender.result()
            if len(given) > 80 and box.at_work():
                box.close()
        ended.set()
        for taker in takers:
            taker.result()
    box.close()
    assert len(sent) == len(set(sent))
    taken = box.letters(TAKEN, PASTED)
    assert len(given) == len(set(given)) == len(taken)
    assert box.letters(QUEUED) == []
    assert len({*taken, *box.letters(REFUSED)}) + len(refused) >= 8 * 25
    assert set(sent) <= {*taken, *box.letters(REFUSED)}


@given(st.text(max_size=300))
def test_any_text_comes_through_a_hook_as_it_is(text: str) -> None:
    assert json.loads(f'"{mail._in_json(text)}"') == f"{text}\n\n"


# -- questions


def test_a_question_is_answered_while_it_is_waited_for(box: Mailbox) -> None:
    answers: list[str | None] = []
    with box.question("q1") as wait:
        thread = threading.Thread(target=lambda: answers.append(wait(20.0)))
        thread.start()
        assert box.answer("q1", "SQLite", "the user") is None
        thread.join(20.0)
    assert answers == ["SQLite"]
    assert box.letters(*STATES) == []


def test_an_answer_that_comes_before_the_wait_is_not_missed(box: Mailbox) -> None:
    with box.question("q1") as wait:
        assert box.answer("q1", "SQLite", "the user") is None
        assert wait(0.0) == "SQLite"


def test_an_answer_that_comes_too_late_is_a_message(box: Mailbox) -> None:
    with box.question("q1") as wait:
        assert wait(0.01) is None
    letter = box.answer("q1", "SQLite", "the user")
    assert letter is not None
    assert box.take() == [(letter, "Message from the user:\nThe answer to your question:\nSQLite")]


def test_an_answer_goes_one_way_only(box: Mailbox) -> None:
    """However the end of the wait and the answer fall together."""
    for number in range(60):
        question, heard = f"q{number}", []
        with box.question(question) as wait, ThreadPoolExecutor() as pool:
            waiting = pool.submit(wait, 0.0005 * (number % 4))
            letter = box.answer(question, "yes", "x")
            heard = [waiting.result(), letter]
        assert len([one for one in heard if one is not None]) == 1, heard


@pytest.mark.parametrize("question", ["", "../up", "a/b", ".", "a\x1b[2J", "half \ud800", "q" * 65])
def test_what_can_be_no_questions_id_is_refused_and_no_file(box: Mailbox, question: str) -> None:
    before = sorted(box.dir.parent.rglob("*"))
    with pytest.raises(RefusedError, match="none that can be answered"):
        box.answer(question, "yes", "x")
    assert sorted(box.dir.parent.rglob("*")) == before


def test_too_long_an_answer_is_refused(box: Mailbox) -> None:
    with pytest.raises(RefusedError, match="longer than 200000 characters"):
        box.answer("q", "x" * 200_001, "x")
    assert not (box.dir / "asks").exists()


def test_states_that_are_final_come_last() -> None:
    assert STATES[-len(FINAL) :] == FINAL
