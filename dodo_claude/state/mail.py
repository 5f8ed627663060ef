"""Messages to a worker at work: each is one file, and the folder it lies in is what became of it.

    .orchestrate/stages/<stage>/mail/at_work   which attempt takes them now (JSON)
                                     new/      queued: the next hook of the worker takes it, or its orchestrator
                                     taken/    given to the client by a hook, not proved yet
                                     pasted/   pasted by the orchestrator, not proved yet
                                     delivered/ refused/ unknown/
                                     letters/  the whole text of each, for people and for long ones
                                     asks/     a FIFO for each question that is waited for, answers beside it

Rules this file keeps: whoever moves a message out of new/ delivers it, and a move is atomic, so nothing is
delivered twice; a message is taken only while a worker is at work, and the end of that moves what is left
to refused/, so that none waits for ever; delivery by a hook needs no orchestrator.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dodo_claude.machine import files, ours
from dodo_claude.machine.files import make_folder, write_atomic
from dodo_claude.state.events import State
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

# The states of a message, and the folders' names. Those that are final come last.
QUEUED, TAKEN, PASTED, DELIVERED, REFUSED, UNKNOWN = (
    "new", "taken", "pasted", "delivered", "refused", "unknown"
)  # fmt: skip
STATES = (QUEUED, TAKEN, PASTED, DELIVERED, REFUSED, UNKNOWN)
FINAL = (DELIVERED, REFUSED, UNKNOWN)
# The client replaces a hook's long text by a stub, so only short ones go as they are,
# and hook.sh gives a few at a time.
MAX_INLINE = 1_000  # characters
BATCH = 6
# What a sender may say in all: more belongs into a file.
MAX_TEXT = 200_000
# How a message begins in the worker's sight: the brief tells of it.
HEAD = "Message from"
# A question's id, which is a file's name.
_QUESTION = re.compile(r"[0-9A-Za-z-]{1,64}")


class RefusedError(DodoClaudeError):
    """A message was not taken, and why."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message: what `letters/<id>.json` says of it."""

    id: str
    sender: str
    at: float  # wall-clock seconds
    text: str


class Mailbox:
    """The messages of one stage."""

    def __init__(self, log: StageLog) -> None:
        self.log = log
        self.dir = log.dir / "mail"

    # -- whoever sends

    def post(self, text: str, sender: str) -> str:
        """Queue `text` for the worker that is at work; its id. Raises `RefusedError` when there is none."""
        if not text.strip():
            raise RefusedError(f"message to '{self.log.stage}': is empty")
        if len(text) > MAX_TEXT:
            raise RefusedError(
                f"message to '{self.log.stage}': longer than {MAX_TEXT} characters (send a file's name)"
            )
        place = self.at_work()
        if place is None:
            raise RefusedError(self._nobody())
        blocked = Attempt(self.log, int(str(place.get("attempt")))).view()
        if blocked.state is State.BLOCKED:
            raise RefusedError(
                f"'{self.log.stage}': waits for a person at a dialog: {one_line(blocked.blocked_on or '')} "
                f"(dodo-claude attach {self.log.stage} to answer it)"
            )
        for name in (QUEUED, TAKEN, "letters"):
            make_folder(self.dir / name)
        letter = Letter(_new_id(), one_line(sender), time.time(), self.log.redact.text(text))
        write_atomic(
            self.dir / "letters" / f"{letter.id}.json",
            json.dumps({"id": letter.id, "from": letter.sender, "at": letter.at, "text": letter.text}) + "\n",
        )
        write_atomic(self.dir / QUEUED / letter.id, _in_json(self._shown(letter)))
        if self.at_work() is None and self._move(letter.id, QUEUED, REFUSED):
            raise RefusedError(self._nobody())  # its end came in between
        return letter.id

    def _nobody(self) -> str:
        return f"'{self.log.stage}': no worker is at work on it (dodo-claude status shows who is)"

    def _shown(self, letter: Letter) -> str:
        """What the worker sees of a message; a long one it is told to read."""
        head = f"{HEAD} {letter.sender}:"
        if len(letter.text) <= MAX_INLINE:
            return f"{head}\n{letter.text}"
        path = self.dir / "letters" / f"{letter.id}.md"
        write_atomic(path, letter.text)
        return f"{head}\n{letter.text[: MAX_INLINE // 2]}…\n(The whole message is in {path}: read it.)"

    # -- whoever wants to know

    def at_work(self) -> Mapping[str, object] | None:
        """`attempt`: that of the worker that takes messages now."""
        try:
            value = json.loads(files.read(self.dir / "at_work"))
        except (OSError, ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def state(self, letter: str) -> str | None:
        """What became of a message; None if there is none of that id."""
        for _ in range(2):  # it may move on while it is looked for
            for state in reversed(STATES):
                if files.is_file(self.dir / state / letter):
                    return state
        return None

    def letters(self, *states: str) -> list[str]:
        """The ids of the messages in these states, oldest first."""
        found: list[str] = []
        for state in states:
            found += [name for name in files.names(self.dir / state) if not name.startswith(".")]
        return sorted(found)

    def sent(self) -> list[str]:
        """The ids of all messages that were ever sent, oldest first."""
        names = files.names(self.dir / "letters")
        return sorted(name[:-5] for name in names if name.endswith(".json") and not name.startswith("."))

    def letter(self, letter: str) -> Letter | None:
        """A message as it was sent."""
        try:
            value = json.loads(files.read(self.dir / "letters" / f"{letter}.json"))
            return Letter(str(value["id"]), str(value["from"]), float(value["at"]), str(value["text"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    # -- the orchestrator

    def open(self, attempt: int) -> None:
        """From now on `attempt`'s worker takes messages. What an earlier one was given and never proved is unknown."""
        for name in (*STATES, "letters", "asks"):
            files.is_folder(self.dir / name)  # the worker's hooks and commands move messages about
        make_folder(
            self.dir / QUEUED
        )  # the others when there is something for them: most workers get no message
        write_atomic(self.dir / "at_work", json.dumps({"attempt": attempt}) + "\n", durable=False)

    def close(self) -> list[str]:
        """Nobody takes messages any more; the ids of those that were never taken, now refused."""
        with contextlib.suppress(OSError):  # what can't be written now, the next run does
            files.remove(self.dir / "at_work")  # first: who posts now sees it, or is seen here
        with contextlib.suppress(OSError):
            return [letter for letter in self.letters(QUEUED) if self._move(letter, QUEUED, REFUSED)]
        return []

    def waiting(self) -> bool:
        """Is a message queued?"""
        return bool(self.letters(QUEUED))

    def take(self) -> list[tuple[str, str]]:
        """The oldest messages, as many as go together, to be pasted: id and what the worker is to see."""
        found = []
        for letter in self.letters(QUEUED)[:BATCH]:
            if self._move(letter, QUEUED, PASTED):
                text = files.read_text(self.dir / PASTED / letter, "replace")
                with contextlib.suppress(ValueError):
                    text = str(json.loads(f'"{text}"')).strip()
                found.append((letter, text))
        return found

    def put_back(self, but: Iterable[str]) -> None:
        """A run was killed between `take` and its paste: all that it took, but these, is queued again."""
        known = set(but)
        for letter in self.letters(PASTED):
            if letter not in known:
                self._move(letter, PASTED, QUEUED)

    def settle(self, letters: Iterable[str], state: str) -> None:
        """What became of messages that were taken."""
        for letter in letters:
            if not self._move(letter, TAKEN, state):
                self._move(letter, PASTED, state)

    def unproved(self) -> list[str]:
        """The ids of the messages that were taken, and nothing came after them."""
        return self.letters(TAKEN, PASTED)

    def _move(self, letter: str, source: str, target: str) -> bool:
        for _ in range(2):
            try:
                files.move(self.dir / source / letter, self.dir / target / letter)
                return True
            except FileNotFoundError:
                if files.is_folder(self.dir / target):
                    return False
                make_folder(self.dir / target)
        return False

    # -- questions

    @contextlib.contextmanager
    def question(self, question: str) -> Iterator[Callable[[float], str | None]]:
        """For the worker that asks: a function that sleeps until the answer is there, or so many seconds; None: not in time.

        What is answered from here on is not missed, so the question itself is told of inside.
        """
        fifo = self.dir / "asks" / question
        make_folder(fifo.parent)
        os.mkfifo(ours.check(fifo), 0o600)
        fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)

        def answer(seconds: float) -> str | None:
            select.select([fd], [], [], seconds)
            # Gone before the last look: who answers after it finds nobody, and sends a message instead.
            files.remove(fifo, missing_ok=True)
            return self._claim_answer(question)

        try:
            yield answer
        finally:
            files.remove(fifo, missing_ok=True)
            os.close(fd)

    def answer(self, question: str, text: str, sender: str) -> str | None:
        """Answer a question: to whoever waits for it, else by a message, whose id is given back."""
        if not _QUESTION.fullmatch(question):  # it comes from a spool that a worker can write to
            raise RefusedError(
                f"'{self.log.stage}': question '{one_line(question)}' is none that can be answered"
            )
        if len(text) > MAX_TEXT:
            raise RefusedError(
                f"answer to '{self.log.stage}': longer than {MAX_TEXT} characters (send a file's name)"
            )
        path = self.dir / "asks" / f"{question}.answer"
        make_folder(path.parent)
        write_atomic(path, self.log.redact.text(text))
        if not files.poke(self.dir / "asks" / question, b""):  # nobody waits any more
            # Unless it saw the answer in its last look.
            return (
                self.post(f"The answer to your question:\n{text}", sender)
                if self._claim_answer(question)
                else None
            )
        return None  # the end of that is what the other waits for

    def _claim_answer(self, question: str) -> str | None:
        path = self.dir / "asks" / f"{question}.answer"
        try:
            files.move(path, path.with_suffix(".given"))
        except FileNotFoundError:
            return None
        return files.read_text(path.with_suffix(".given"), "replace")


def _new_id() -> str:
    """Sorts by time, and is short: hook.sh puts several into one file name."""
    return f"{time.time_ns() // 1000:x}-{secrets.token_hex(2)}"


def _in_json(text: str) -> str:
    """`text` as the inside of a JSON string: hook.sh, which knows no JSON, puts it between two quotes."""
    return json.dumps(f"{text}\n\n")[1:-1]
