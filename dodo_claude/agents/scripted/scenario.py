"""Scenario files: what the scripted agent is to play. Reads them and picks from them; plays nothing.

    [stages.backend]                 # `research:x` falls back to [stages.research]; {item} is then "x"
    [[stages.backend.turns]]         # the n-th turn answers the n-th prompt, the last one all later prompts
    when = "regex"                   # optional: play the first turn, from the current one on, that fits the prompt
    once = true                      # optional: do not play this turn again for later prompts
    again = true                     # optional: a session that was cut off in this turn begins it anew when it is resumed
    context = 72                     # optional: how full the context is in this turn, in percent
    steps = [{ say = "Reading." }, { write = "api.py", text = "…{path}…" }]

What a hook tells the agent (its additionalContext) is at hand as soon as the real model would read it. A text of a
Stop hook is answered by a turn as a prompt is, `when` included. One told within a turn waits for the step

    { told = "regex", then = [{ say = "I see." }] }

which plays its steps when a text fits that no such step had before, with that text as their prompt; without one
the turn goes on. { capture = "name", from_told = "regex" } looks for the newest text that fits; /compact and /clear
take all of them away. A text of more than 10,000 characters is cut to its beginning.

In a step's text {name} stands for what a capture step found, {stage} and {item}; other braces stay as they are.
What else a file may say is in grammar.py, which checks all of it before anything here takes its shape for granted.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from dodo_claude.agents.scripted.grammar import STAGE_KEYS, STEPS, problems_in
from dodo_claude.config import shape

if TYPE_CHECKING:
    from dodo_claude.agents.scripted.errors import ScenarioError

# As for an orchestrate.toml.
MAX_FILE = 10_000_000
# Seconds until the client announces an open dialog, and a session that waits for its next prompt.
PERMISSION_NOTICE = 6.0
IDLE_NOTICE = 60.0


class Step(NamedTuple):
    kind: str
    value: Any
    options: dict[str, Any]


class Turn(NamedTuple):
    steps: tuple[Step, ...]
    when: str | None = None
    once: bool = False
    context: float | None = None
    again: bool = False


class Stage(NamedTuple):
    """One stage's part, ready to be played. Times are seconds."""

    name: str
    item: str
    folder: str
    turns: tuple[Turn, ...]
    no_hooks: bool = False
    slow_start: float = 0.0
    ignore_first_enter: bool = False
    permission_notice: float = PERMISSION_NOTICE
    idle_notice: float = IDLE_NOTICE
    usage: dict[str, int] | None = None
    context: float | None = None
    compact_seconds: float = 0.0
    compact_fails: tuple[str, ...] = ()

    def values(self) -> dict[str, str]:
        """The names that {…} in a step's text stands for before any capture."""
        return {"stage": self.name, "item": self.item} if self.item else {"stage": self.name}


def scenario_error() -> type[ScenarioError]:
    """The class, to raise and to catch. Imported here: most starts need it not and would take a third longer."""
    from dodo_claude.agents.scripted.errors import ScenarioError

    return ScenarioError


def check_scenario(path: str | os.PathLike[str]) -> None:
    """Raise ScenarioError with every problem in the file, or return."""
    _read(path)


def load_stage(path: str | os.PathLike[str], name: str) -> Stage:
    """The part of the stage `name`: an entry of exactly that name, else the one of the group before its colon."""
    stages = _read(path)["stages"]
    group, _, item = name.partition(":")
    entry = stages.get(name, stages.get(group))
    if entry is None:
        known = ", ".join(stages) or "none"
        problem = f"stages: no entry for the stage '{name}'; add [stages.{group}] (there: {known})"
        raise scenario_error()([f"{os.fspath(path)}: {problem}"])
    turns = entry["turns"] if "turns" in entry else [{"steps": entry["steps"]}]
    settings = {key: entry[key] for key in STAGE_KEYS if key in entry}
    folder = os.path.dirname(os.path.abspath(path))
    stage = Stage(name, item, folder, (), **settings)
    return stage._replace(turns=tuple(_turn(turn, stage.values()) for turn in turns))


def pick_turn(turns: tuple[Turn, ...], start: int, prompt: str) -> int | None:
    """The index of the turn that answers `prompt`, when the turns before `start` have been played."""
    for index in range(start, len(turns)):
        if _fits(turns[index], prompt):
            return index
    last = len(turns) - 1
    if start > last and not turns[last].once and _fits(turns[last], prompt):
        return last
    return None


def fill(text: str, values: dict[str, str]) -> str:
    """`text` with {name} replaced for the names in `values`; all other braces stay, for they are code."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), text)


def fill_pattern(pattern: str, values: dict[str, str]) -> str:
    """As `fill`, for a regular expression that is to find the values as they are."""
    return fill(pattern, {name: re.escape(value) for name, value in values.items()})


def read_content(step: Step, folder: str, values: dict[str, str]) -> str:
    """What a write or append step puts into its file."""
    if "from" not in step.options:
        return fill(step.options["text"], values)
    with open(os.path.join(folder, fill(step.options["from"], values)), encoding="utf-8") as file:
        return fill(file.read(), values)


def _fits(turn: Turn, prompt: str) -> bool:
    return turn.when is None or re.search(turn.when, prompt) is not None


def _turn(entry: dict[str, Any], values: dict[str, str]) -> Turn:
    when = fill_pattern(entry["when"], values) if "when" in entry else None
    steps = tuple(_step(step) for step in entry["steps"])
    return Turn(steps, when, entry.get("once", False), entry.get("context"), entry.get("again", False))


def _step(entry: dict[str, Any]) -> Step:
    kind = next(key for key in entry if key in STEPS)
    options = {key: value for key, value in entry.items() if key != kind}
    if kind == "told":
        return Step(kind, entry[kind], {"then": _steps(entry["then"])})
    if kind == "background":
        return Step(kind, entry[kind]["seconds"], {"then": _steps(entry[kind].get("then", []))})
    return Step(kind, entry[kind], options)


def _steps(then: Any) -> tuple[Step, ...]:
    return tuple(_step(step) for step in (then if isinstance(then, list) else [then]))


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The file's table after a full check, so that the readers above may take its shape for granted."""
    name = os.fspath(path)
    table: dict[str, Any] = {}
    try:
        # A pipe would be waited for.
        with open(name, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("is no plain file")
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"is larger than {MAX_FILE} bytes")
        table = shape.loads(data.decode())
    except OSError as error:
        problems = [f"{name}: {error.strerror or error}; name a scenario file that can be read"]
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are
        problems = [_syntax_problem(name, error)]
    else:
        problems = problems_in(name, table)
    if problems:
        raise scenario_error()(problems)
    return table


def _syntax_problem(name: str, error: ValueError) -> str:
    fact = str(error)
    place = re.search(r" \(at line (\d+), column (\d+)\)$", fact)
    if place is None:
        return f"{name}: {fact}; write it as TOML in UTF-8"
    return f"{name}:{place[1]}:{place[2]}: {fact[: place.start()]}; write it as TOML"
