"""Acceptance of durations.py: does what docs/design.md says, whatever it is given. A line for each fault."""

from __future__ import annotations

import ast
import faulthandler
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

sys.dont_write_bytecode = True

import examples  # noqa: E402

# Seconds after which a text that takes too long ends the check, with the place shown.
LIMIT = 20
HOSTILE = (
    "", " ", "\n", "s", "-1s", "1.5h", "1e3s", "٣s", "1s\n", "9" * 5000 + "s", "1s" * 20_000, "1x", "\0", "½h",
)  # fmt: skip
NUMBERS = (0, 1, 59, 60, 61, 3599, 3600, 3661, 86_399, 86_400, 90_061, 31_536_000)


def outcome(function: Callable[[Any], Any], given: object) -> object:
    """What the call gave; None when it was refused, and the error itself when that is none to be had."""
    try:
        return function(given)
    except ValueError:
        return None
    except Exception as error:
        return error


def behaviour_faults(read: Callable[[str], int], write: Callable[[int], str], design: str) -> Iterator[str]:
    for text, seconds in examples.examples(design).items():
        found = outcome(read, text)
        if found != seconds or isinstance(found, bool | float):
            wanted = "a ValueError" if seconds is None else seconds
            yield f"'{text}' is {'a ValueError' if found is None else repr(found)}, in the design {wanted}"
        if seconds is None and found is None and text not in error_text(read, text):
            yield f"the ValueError for '{text}' does not quote it: {error_text(read, text)}"
    for text in HOSTILE:
        found = outcome(read, text)
        is_number = isinstance(found, int) and not isinstance(found, bool) and found >= 0
        if found is not None and not is_number:
            yield f"{text[:20]!r} is {found!r:.60}, neither seconds nor a ValueError"
        elif found is not None and not re.search("[0-9]", text):
            yield f"{text!r} is {found}, without a number in it"
    for number in NUMBERS:
        text = outcome(write, number)
        if not isinstance(text, str) or outcome(read, text) != number:
            yield f"{number} is written as {text!r}, which is read as {outcome(read, text)!r}"
    if outcome(write, -1) is not None:
        yield f"-1 is written as {outcome(write, -1)!r}, not refused by a ValueError"


def error_text(function: Callable[[str], int], text: str) -> str:
    try:
        function(text)
    except ValueError as error:
        return str(error)
    return ""


def faults() -> Iterator[str]:
    """Everything that does not hold, in words."""
    design = examples.read("docs/design.md")
    names = examples.functions(examples.sections(design)["## Interface"])
    tree = ast.parse(examples.read("durations.py"))
    public = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    public = {name for name in public if not name.startswith("_")}
    if public != {*names.values()}:
        yield f"public are {sorted(public)}, in the design {sorted(names.values())}"
        return
    for node in ast.walk(tree):
        modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            if module.split(".")[0] not in sys.stdlib_module_names:
                yield f"imports {module}, which is not of the standard library"
    sys.path.insert(0, str(examples.ROOT))
    import durations

    yield from behaviour_faults(
        getattr(durations, names["text"]), getattr(durations, names["seconds"]), design
    )


if __name__ == "__main__":
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    found = []
    try:
        for fault in faults():
            found += [f"durations.py: {fault}"]
    except (SyntaxError, ImportError) as error:
        found += [f"durations.py: {type(error).__name__}: {error}"]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("durations.py does what docs/design.md says\n")
