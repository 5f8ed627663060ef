"""What a scenario file may say, and all that is wrong with one. Knows TOML's values; reads no file, plays nothing.

STEPS and STAGE_KEYS are the grammar. A file is checked as a whole before anything is played, and every problem in it
is reported, because a typing error that shows only in the third turn of a demo is found by the wrong person.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

# What the client puts into StopFailure.error, with the text it showed where none is given.
FAILURES = {
    "rate_limit": "API Error: Request rejected (429) · Claude usage limit reached.",
    "server_error": "API Error: Repeated 529 Overloaded errors. The API is at capacity — this is usually temporary.",
    "authentication_failed": "Please run /login · API Error: 401",
    "billing_error": "Credit balance is too low",
    "model_not_found": "There's an issue with the selected model. It may not exist or you may not have access to it.",
}
# What a compaction may come to besides: a summary without a word.
EMPTY_SUMMARY = "empty"


class Option(NamedTuple):
    """A key that goes with a step's own key."""

    type: str
    required: bool = False


NO_OPTIONS: dict[str, Option] = {}


class Shape(NamedTuple):
    """What a step's own key holds, and the keys that go with it."""

    type: str
    options: dict[str, Option] = NO_OPTIONS


CONTENT = {"text": Option("text"), "from": Option("file")}
# Paths are relative to the session's directory, `from` is a file beside the scenario file.
STEPS = {
    "say": Shape("text"),
    "sleep": Shape("seconds"),
    "capture": Shape(
        "name", {"from_prompt": Option("capturing regex"), "from_told": Option("capturing regex")}
    ),
    "told": Shape("regex", {"then": Option("steps", required=True)}),
    "write": Shape("path", CONTENT),
    "append": Shape("path", CONTENT),
    "edit": Shape("path", {"old": Option("some text", required=True), "new": Option("text", required=True)}),
    "bash": Shape("some text"),
    "permission": Shape(
        "tool", {"command": Option("some text"), "path": Option("path"), "text": Option("text")}
    ),
    "background": Shape("background"),
    "unanswered": Shape("text", {"attempt": Option("count")}),
    "fail": Shape("failure", {"text": Option("text")}),
    "exit": Shape("exit code"),
    "kill": Shape("signal"),
    "hang": Shape("true"),
    "ignore_sigterm": Shape("true"),
    "spawn": Shape("some text"),
}
# What a stage may say besides its turns: no_hooks fires none; slow_start delays the first screen;
# ignore_first_enter loses the first Enter after a paste; the notices are seconds until a Notification;
# usage is what each assistant message of the transcript is said to have used, context how full it finds the context,
# in percent, which the status line tells (a turn may say it for itself); compact_seconds is how long a summary takes,
# compact_fails is what becomes of the first compactions: failures as of the step fail, or "empty".
STAGE_KEYS = {
    "no_hooks": "flag",
    "slow_start": "seconds",
    "ignore_first_enter": "flag",
    "permission_notice": "seconds",
    "idle_notice": "seconds",
    "usage": "usage",
    "context": "percentage",
    "compact_seconds": "seconds",
    "compact_fails": "compactions",
}
USAGE_KEYS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def problems_in(name: str, table: dict[str, Any]) -> list[str]:
    """One line for each fault of the file `name`: place, fact, remedy."""
    check = _Check(name)
    check.file(table)
    return check.problems


def _suggest(word: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, 1)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Check:
    """Collects the problems of one file. Every method takes the place it looks at as text for the message."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = os.path.dirname(os.path.abspath(name))
        self.problems: list[str] = []

    def report(self, place: str, fact: str, remedy: str) -> None:
        self.problems.append(
            f"{self.name}: {place}: {fact}; {remedy}" if place else f"{self.name}: {fact}; {remedy}"
        )

    def keys(self, place: str, table: dict[str, Any], known: list[str]) -> None:
        for key in table:
            if key not in known:
                self.report(place, f"unknown key '{key}'", _suggest(key, known))

    def file(self, table: dict[str, Any]) -> None:
        self.keys("", table, ["stages"])
        stages = table.get("stages")
        if stages is None and self.problems:
            return
        if not isinstance(stages, dict) or not stages:
            self.report("stages", "no stage to play", "add a table [stages.NAME] with steps = [...]")
            return
        for name, entry in stages.items():
            self.stage(f"stages.{name}", entry)

    def stage(self, place: str, entry: Any) -> None:
        if not isinstance(entry, dict):
            self.report(place, "not a table", "write [stages.NAME] with steps = [...]")
            return
        self.keys(place, entry, ["turns", "steps", *STAGE_KEYS])
        for key, type_ in STAGE_KEYS.items():
            if key in entry:
                self.value(f"{place}.{key}", entry[key], type_)
        if ("turns" in entry) == ("steps" in entry):
            self.report(
                place, "it needs either turns or steps", "write steps = [...] for a stage of one turn"
            )
        elif "steps" in entry:
            self.steps(f"{place}.steps", entry["steps"])
        elif not isinstance(entry["turns"], list) or not entry["turns"]:
            self.report(f"{place}.turns", "not a list of turns", f"write [[{place}.turns]]")
        else:
            for number, turn in enumerate(entry["turns"]):
                self.turn(f"{place}.turns[{number}]", turn)

    def turn(self, place: str, turn: Any) -> None:
        if not isinstance(turn, dict) or "steps" not in turn:
            self.report(place, "a turn without steps", "add steps = [...]")
            return
        self.keys(place, turn, ["when", "once", "again", "context", "steps"])
        types = {"when": "regex", "once": "flag", "again": "flag", "context": "percentage"}
        for key, type_ in types.items():
            if key in turn:
                self.value(f"{place}.{key}", turn[key], type_)
        self.steps(f"{place}.steps", turn["steps"])

    def steps(self, place: str, steps: Any) -> None:
        if not isinstance(steps, list) or not steps:
            self.report(place, "not a list of steps", 'write steps = [{ say = "…" }]')
            return
        for number, step in enumerate(steps):
            self.step(f"{place}[{number}]", step)

    def step(self, place: str, step: Any) -> None:
        kinds = [key for key in step if key in STEPS] if isinstance(step, dict) else []
        if not isinstance(step, dict) or len(kinds) != 1:
            fact = f"a step does one thing, here {', '.join(kinds)}" if kinds else "no known step"
            unknown = next(iter(step), "") if isinstance(step, dict) and not kinds else ""
            self.report(place, fact + f": '{unknown}'" * bool(unknown), _suggest(unknown, list(STEPS)))
            return
        kind = kinds[0]
        shape = STEPS[kind]
        self.value(f"{place}.{kind}", step[kind], shape.type)
        self.keys(place, step, [kind, *shape.options])
        for key, option in shape.options.items():
            if key in step:
                self.value(f"{place}.{key}", step[key], option.type)
            elif option.required:
                self.report(place, f"a step '{kind}' without '{key}'", f"add {key}")
        self.together(place, kind, step)

    def together(self, place: str, kind: str, step: dict[str, Any]) -> None:
        """What one key's type cannot say: which keys need each other."""
        if kind in ("write", "append") and ("text" in step) == ("from" in step):
            self.report(place, f"a step '{kind}' takes text or from", "give exactly one of the two")
        if kind == "capture" and ("from_prompt" in step) == ("from_told" in step):
            self.report(
                place, "a step 'capture' takes from_prompt or from_told", "give exactly one of the two"
            )
        if kind == "permission" and step[kind] == "Bash" and set(step) != {kind, "command"}:
            self.report(place, "permission = 'Bash' takes a command", "add command and nothing else")
        if kind == "permission" and step[kind] == "Write" and set(step) != {kind, "path", "text"}:
            self.report(place, "permission = 'Write' takes path and text", "give these two and nothing else")

    def value(self, place: str, value: Any, type_: str) -> None:
        remedy = self.wrong(place, value, type_)
        if remedy:
            self.report(place, f"{value!r} is not allowed here", remedy)

    def wrong(self, place: str, value: Any, type_: str) -> str:
        """What to write instead, or "" where the value is right or its parts were reported by themselves."""
        if type_ in ("regex", "capturing regex"):
            return _wrong_regex(value, needs_group=type_ != "regex")
        if type_ == "background":
            return self.background(place, value)
        if type_ == "steps":
            self.steps(place, value)
            return ""
        if type_ == "file":
            return self.wrong_file(value)
        is_right, remedy = _TYPES[type_]
        return "" if is_right(value) else remedy

    def wrong_file(self, value: Any) -> str:
        if not isinstance(value, str):
            return "name a file beside the scenario file"
        missing = "{" not in value and not os.path.isfile(os.path.join(self.folder, value))
        return f"there is no such file below {self.folder}" if missing else ""

    def background(self, place: str, value: Any) -> str:
        if not isinstance(value, dict) or not _is_number(value.get("seconds")) or value["seconds"] < 0:
            return 'write { seconds = 2, then = [{ say = "…" }] }'
        self.keys(place, value, ["seconds", "then"])
        if "then" in value:
            then = value["then"]
            self.steps(f"{place}.then", then if isinstance(then, list) else [then])
        return ""


def _wrong_regex(value: Any, *, needs_group: bool) -> str:
    if not isinstance(value, str):
        return "write a regular expression as text"
    try:
        groups = re.compile(value).groups
    except re.error as error:
        return f"correct the regular expression: {error}"
    return "put the part to capture into ( )" if needs_group and not groups else ""


def _is_usage(value: object) -> bool:
    return isinstance(value, dict) and all(
        key in USAGE_KEYS and isinstance(count, int) and count >= 0 for key, count in value.items()
    )


def _are_compactions(value: object) -> bool:
    return isinstance(value, list) and all(failure in (*FAILURES, EMPTY_SUMMARY) for failure in value)


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


_TYPES: dict[str, tuple[Any, str]] = {
    "text": (lambda value: isinstance(value, str), "write text in quotes"),
    "some text": (lambda value: isinstance(value, str) and value, "write text that is not empty"),
    "path": (lambda value: isinstance(value, str) and value, "write a path"),
    "name": (
        lambda value: isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*", value),
        "write a name like path",
    ),
    "seconds": (lambda value: _is_number(value) and value >= 0, "write a number of seconds, 0 or more"),
    "flag": (lambda value: isinstance(value, bool), "write true or false"),
    "true": (lambda value: value is True, "write true, or leave the step out"),
    "exit code": (lambda value: _is_whole(value, 0, 255), "write 0 to 255"),
    "signal": (lambda value: _is_whole(value, 1, 64), "write a signal number, 9 for instance"),
    "count": (lambda value: _is_whole(value, 1, 99), "write 1 to 99"),
    "tool": (lambda value: value in ("Bash", "Write"), "write Bash or Write"),
    "failure": (lambda value: value in FAILURES, f"write one of {', '.join(FAILURES)}"),
    "percentage": (lambda value: _is_number(value) and 0 <= value <= 100, "write a number from 0 to 100"),
    "compactions": (_are_compactions, f"write a list of {', '.join((*FAILURES, EMPTY_SUMMARY))}"),
    "usage": (_is_usage, f"write a table of {', '.join(USAGE_KEYS)}"),
}
