"""What an agent is: how it is started, what it can, and what it says means. What a method says here holds for an agent that has
nothing of the kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from dodo_claude.agents.usage import TranscriptReader
from dodo_claude.config.records import AgentProfile
from dodo_claude.state.vocabulary import Vocabulary

# Linux takes 128 kB per argument; a longer prompt is handed over as a file to read.
MAX_ARGUMENT = 100_000  # bytes
# Where a client that keeps a log of the API's refusals writes it: in a folder of the attempt that is watched.
CLIENT_LOG = "client/errors.log"


@dataclass(frozen=True, slots=True)
class Job:
    """What an agent needs to know of the attempt it is started for. Paths are absolute."""

    stage: str
    attempt: int
    root: Path
    cwd: Path
    folder: Path  # the attempt's
    session_id: str  # a UUID
    nonce: str
    targets: tuple[str, ...]
    check: str | None
    hook: tuple[str, ...]  # the hook's command line
    resume: bool  # go on with the session of that id
    deny_dialogs: bool  # refuse what would be asked
    handover: Path | None  # what a failed attempt left
    by_file: bool  # the worker is told to read prompt.md, rather than given its text
    mail: Path  # the stage's mailbox
    notes: Path  # what all workers share
    patience: float = 1800.0  # seconds that a dialog may wait for a person
    phases: int = 1
    mentions: tuple[str, ...] = ()  # what the prompt's author mentions for the client to attach
    orders: tuple[str, ...] = ()  # of nested orchestrations, relative to the root: not to be edited
    others: tuple[str, ...] = ()  # targets of other stages, relative to the root: not to be edited either
    # Nor these of the git repository around, relative to the root; hooks end in /*.
    outside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a worker: files to write into the attempt's folder, its environment, its command.

    `command` is a line of shell in which `$prompt` holds the prompt.
    """

    command: str
    env: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Can:
    """What an agent can besides taking a prompt: who depends on one of these asks for it, and for no agent's name."""

    hooks: bool = False  # it stays, tells of itself by hooks and takes further prompts and messages
    resume: bool = False  # a session that was cut off goes on in a new process
    compact: bool = False  # "/compact …" and "/clear", as prompts, make room in its context
    limits: bool = False  # it asks an API, whose limits pause it and all others like it
    setup: bool = False  # the user's home holds what decides whether it starts: trust, a login, settings
    large: bool = False  # a worker takes as much memory as `worker_memory` says; else some 10 MB
    scenario: bool = False  # it plays a file of the project


class NoAnswer(NamedTuple):
    """The API refused a request, or could not be reached; the client asks again."""

    at: float  # wall time
    text: str
    tries: str


class Agent(Protocol):
    """One kind of agent."""

    can: Can
    # What its hooks call what happens; None: as our own events are called.
    vocabulary: Vocabulary | None = None
    # What its screen shows where its input box is, and nowhere else.
    box: str = ""

    # -- its start

    def launch(self, profile: AgentProfile, job: Job, variables: dict[str, str]) -> Launch:
        """How to start it for `job` with these variables."""
        ...

    def passes(self, name: str) -> bool:
        """Does it get the caller's variable of that name, besides those that every worker gets?"""
        return False

    def start_dialog(self, screen: str, attempt: Path) -> tuple[str, str] | None:
        """The dialog on `screen` (plain text) at which every worker would stop before it begins: its kind, one of
        `START_DIALOGS`, and what it says. `attempt`: the attempt's folder."""
        return None

    def may_hold(self, profile: AgentProfile, cwd: Path, env: Mapping[str, str]) -> bool:
        """May others than we hear of a turn's end, and send it on?"""
        return False

    # -- prompts

    def deliverable(self, prompt: str) -> str:
        """`prompt` as it hands it on unchanged."""
        return prompt

    def goes_by_file(self, prompt: str) -> bool:
        """Must it be told to read the prompt from its file, since it can't take the text itself?"""
        return len(prompt.encode()) > MAX_ARGUMENT

    def acts_on(self, data: str, folder: Path | None = None) -> bool:
        """Would it do something at what stands in `data`, were that part of a prompt? `folder`: where it works, if known."""
        return False

    def reminder(self, text: str) -> str:
        """What its hook answers so that it is told `text` once its context was compacted."""
        return text

    # -- what it shows and says

    def input_box(self, screen: str) -> str:
        """What stands in the input box on `screen` (with its escape sequences): free, draft or absent."""
        return "absent"

    def fault(self, error: str, text: str) -> str:
        """The kind of a failed turn, one of those in faults.py where it is like one; `error` and `text` are as it told them."""
        return error or "unknown"

    def limit(self, text: str) -> str:
        """What it says of a limit, with the limit's end as limits.py reads it."""
        return text

    def no_answer(self, line: bytes) -> NoAnswer | None:
        """What a line of its log says of a request without an answer."""
        return None

    def idle_since(self, env: Mapping[str, str], pid: int, session_id: str | None) -> float:
        """Since when it calls its session idle, besides its hooks, in wall time; 0 when it does not."""
        return 0.0

    # -- what it uses

    def transcript(self, path: Path) -> TranscriptReader:
        """The reader of its transcript."""
        return TranscriptReader(path)

    def cost(self, status: Mapping[str, object]) -> float | None:
        """The dollars that it told as its status; None if it told none."""
        return None

    def context(self, status: Mapping[str, object]) -> float | None:
        """How full its context is, in percent, as it told as its status."""
        return None

    # -- its tools, as events of our kinds tell of them

    def aims_at(self, call: Mapping[str, object]) -> str | None:
        """The file, as the call names it, that a tool is to write."""
        return None

    def may_start(self, tool: object) -> bool:
        """May that tool do what no hook tells: start programs?"""
        return True

    def written(self, batch: Mapping[str, object], root: Path) -> Sequence[str]:
        """The files in `root`, relative to it, that a round of tools wrote."""
        return ()

    def denied(self, batch: Mapping[str, object]) -> Iterable[tuple[str, str, str]]:
        """What it was refused in a round of tools: what, why, and the call's id."""
        return ()

    def rule_of(self, source: str) -> str:
        """Whose rule refused a call, in words; '' if that is not known. `source`: as its transcript has it."""
        return ""

    # -- permissions

    def verdict(self, message: str | None) -> str:
        """What its hook answers to allow one call; with a message: to deny it and say why."""
        return message or ""

    def is_personal(self, tool: str) -> bool:
        """Is that a tool whose dialog a hook can refuse, but not answer?"""
        return False
