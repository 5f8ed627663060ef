"""What a configuration is once it was judged: plain frozen records. Owns no rule; config.py is where to get them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from dodo_claude.text.errors import Problem


@dataclass(frozen=True, slots=True)
class AgentProfile:
    """One kind of worker. For a stage, its own model and allowed tools are merged in."""

    name: str
    base: str  # claude | scripted | command
    command: tuple[str, ...] = ()  # empty for scripted: the room of agents knows its program
    prompt_by: str = "argument"  # argument | stdin | file; only a command has a choice
    model: str | None = None
    permission_mode: str = "dontAsk"
    allowed_tools: tuple[str, ...] = ()
    disallowed_tools: tuple[str, ...] = ()
    setting_sources: tuple[str, ...] = ("user",)
    args: tuple[str, ...] = ()
    env_pass: tuple[str, ...] = ()
    scenario: str | None = None  # only scripted
    sandbox: bool = False  # only claude
    prefix: str = ""  # of an included file's: what its stages' names begin with

    @property
    def full_name(self) -> str:
        """Its name, with the file's where that is not the outermost one."""
        return self.prefix + self.name


@dataclass(frozen=True, slots=True)
class Phase:
    """One of several prompts that one worker gets, each once the one before is verified."""

    prompt: str  # the template's source
    prompt_file: str | None
    prompt_files: tuple[str, ...]
    messages: tuple[str, ...]
    prompt_env: tuple[str, ...]
    targets: tuple[str, ...]
    check: str | None
    compact: str | None = None  # before it the context is compacted, with this goal
    handover: bool = False  # before it a fresh session begins, from a summary


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a worker is told to do, and what of that its author did not write.

    `data` is `text` with a point, or a line's end, in place of all that the author wrote; `mentions` is what the author
    mentions with an at-sign, each as written.
    """

    text: str
    data: str = ""
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Monitor:
    """A command that runs in a pane beside one worker, which is told when its output matches."""

    name: str
    command: str  # rendered
    match: str  # a regular expression, for one line
    message: str | None  # the template's source; None: monitor.py has its own
    recovered: str | None
    recovered_match: str | None  # only of a command that streams
    context: int  # lines around a match
    every: float | None  # seconds between two runs; None: it runs once and streams
    debounce: float  # seconds of silence before what streams is judged
    env: tuple[tuple[str, str], ...]  # with the stage's
    cwd: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One task of doit. Paths are relative to the project, normalised, with `/`."""

    name: str  # "tests", or "research:bubbletea" for an item of a foreach
    group: str | None
    item: str | None
    prompt: str | None  # the template's source, not rendered; None for a command
    prompt_file: str | None
    command: str | None  # rendered; None for a prompt
    file_dep: tuple[str, ...]  # sorted; with prompt_file and prompt_files
    prompt_files: tuple[str, ...]  # those that the prompt includes by files['...']
    targets: tuple[str, ...]
    after: tuple[str, ...]  # names of stages and groups; with those whose message the prompt uses
    agent: AgentProfile | None  # None for a command
    session: str
    check: str | None
    repairs: int
    timeout: float  # seconds
    retries: int
    env: tuple[tuple[str, str], ...]
    cwd: str
    keep: str  # never | on-failure | screen | always
    allow_unchanged: bool
    line: int  # of its table in orchestrate.toml
    messages: tuple[str, ...] = ()  # the stages and groups whose message the prompt uses
    prompt_env: tuple[str, ...] = ()  # the variables that the prompt uses
    idle_timeout: float = 900.0  # seconds
    person_timeout: float = 1800.0  # seconds
    on_permission: str = "ask"  # ask | deny
    max_turns: int = 200  # of one attempt
    protect: tuple[str, ...] = ()  # paths and globs; with those of [defaults]
    phases: tuple[Phase, ...] = ()  # then `prompt` is None, and `targets` has those of all of them
    compact_at: float | None = None  # percent of the context
    monitors: tuple[Monitor, ...] = ()  # that run beside its worker
    prompt_globs: tuple[tuple[str, tuple[str, ...]], ...] = ()  # of each files.glob('…') what it found
    report: tuple[str, ...] = ()  # if the prompt uses the report: the stages and groups that it is of
    prefix: str = ""  # in an included file: what its name begins with
    folder: str = ""  # and where its file's paths start
    plan: str | None = None  # of a planner: the file that it writes, among its targets
    planned: str | None = None  # of a planned stage: the file that it stands in

    def with_values(self, **values: Any) -> Stage:
        """As dataclasses.replace, in half the time: each of many stages is made anew when the others are known."""
        return Stage(**(dict(zip(_STAGE_NAMES, _stage_values(self), strict=True)) | values))

    @property
    def checks(self) -> tuple[str, ...]:
        """The checks of its phases and its own, in the order in which they run."""
        if not self.phases:
            return () if self.check is None else (self.check,)
        own = [*(phase.check for phase in self.phases), self.check]
        return tuple(dict.fromkeys(check for check in own if check is not None))

    def fixed(self, marks: Mapping[str, Any]) -> dict[str, Any]:
        """Of fingerprints by name those of its targets that nobody else may change: a plan is its person's to edit."""
        return {name: mark for name, mark in marks.items() if name in self.targets and name != self.plan}

    def local_name(self, name: str) -> str:
        """A stage's name as this one's file writes it."""
        return name.removeprefix(self.prefix)

    def local_path(self, path: str) -> str:
        """A path as this stage's file writes it."""
        return path.removeprefix(f"{self.folder}/") if self.folder else path


_STAGE_NAMES = [each.name for each in fields(Stage)]
_stage_values = attrgetter(*_STAGE_NAMES)


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may use in all."""

    minutes: int = 480
    turns: int = 2000
    tokens: int = 50_000_000
    cost_usd: float = 50.0


# What decides in a nested orchestration's folder, as in the outermost one's, what is done: no stage may change it.
ORDERS = ("orchestrate.toml", "dodo.py", "doit.cfg", ".mcp.json", ".claude/**")


def enclosing(name: str) -> list[str]:
    """The groups around a stage or group, the innermost first: of a:b:c a:b and a."""
    if ":" not in name:
        return []
    parts = name.split(":")
    return [":".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


@dataclass(frozen=True, slots=True)
class Foreach:
    """A foreach whose items are files or the lines of one."""

    group: str
    template: Stage  # what its stages are made from: no value of it is rendered
    source: str  # where the items come from, in words
    makers: tuple[str, ...] = ()  # stages, groups and tasks that make what the items are
    late: bool = False  # these are not done, so there are no stages of it yet
    targets: tuple[str, ...] = ()  # regular expressions: what its stages may make
    plan: bool = False  # its stages are those of a plan


@dataclass(frozen=True, slots=True)
class Plan:
    """A file of stages that a planner writes."""

    group: str  # of all its stages
    planner: str  # the stage that writes it
    file: str
    digest: str | None = None  # of its bytes; None: it is not read yet

    def has(self, name: str) -> bool:
        """Is that one of its stages, or their group?"""
        return name != self.planner and (name == self.group or name.startswith(f"{self.group}:"))


@dataclass(frozen=True, slots=True)
class Absent:
    """A file that stages read, that is not there and that nobody makes. They can't run; all others can."""

    path: str  # relative to the root
    stages: tuple[str, ...]  # or groups whose stages are not known yet
    text: str  # what is wrong with it
    remedy: str
    place: Callable[[], Problem]  # where that is said: a problem without words

    @property
    def problem(self) -> Problem:
        """In words. There may be very many, of which few are told."""
        return replace(self.place(), text=self.text, remedy=self.remedy)


@dataclass(frozen=True, slots=True)
class Config:
    """All of one orchestrate.toml. A foreach's stages stand where its table does."""

    path: Path  # as given
    root: Path  # the real path of its folder
    name: str
    max_workers: int
    socket: str  # private | default
    stages: tuple[Stage, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]  # of each foreach its stages' names
    budget: Budget = Budget()
    retry_delay: float = 30.0  # seconds
    max_wait: float = 86_400.0  # seconds
    worker_memory: int = 600_000_000  # bytes; 0: don't look
    foreach: tuple[Foreach, ...] = ()
    included: tuple[str, ...] = ()  # files of nested orchestrations, relative to the root
    plans: tuple[Plan, ...] = ()
    notify: tuple[str, ...] = ()  # a program to tell, and its first arguments
    notes: tuple[str, ...] = ()  # for people: what is right, and may be not what they think
    absent: tuple[Absent, ...] = ()

    @property
    def orders(self) -> tuple[str, ...]:
        """What no worker may edit in the folders of nested orchestrations; and plans, but for their planners."""
        nested = [f"{file.rpartition('/')[0]}/{name}" for file in self.included for name in ORDERS]
        return (*nested, *(plan.file for plan in self.plans))

    @property
    def late(self) -> tuple[Foreach, ...]:
        """The groups whose stages are not known yet."""
        return tuple(foreach for foreach in self.foreach if foreach.late)

    @property
    def workers(self) -> tuple[Stage, ...]:
        """All stages, and of those that are not known yet the templates."""
        return (*self.stages, *(foreach.template for foreach in self.late))

    def needs(self) -> dict[str, tuple[str, ...]]:
        """Of each stage the stages that come before it: those it names, and those that make what it reads."""
        makers = {target: stage.name for stage in self.stages for target in stage.targets}
        members = dict(self.groups)
        found = {}
        for stage in self.stages:
            names = [each for name in stage.after for each in members.get(name, (name,))]
            names += [makers[name] for name in stage.file_dep if name in makers]
            found[stage.name] = tuple(name for name in dict.fromkeys(names) if name != stage.name)
        return found

    def absent_for(self, names: Set[str]) -> tuple[Problem, ...]:
        """What the stages and groups of those names lack."""
        return tuple(each.problem for each in self.absent if not names.isdisjoint(each.stages))

    def named(self, name: str) -> Iterator[Stage]:
        """The stages that a name stands for: one, those of a group, or none."""
        return (stage for stage in self.stages if name in (stage.name, *enclosing(stage.name)))
