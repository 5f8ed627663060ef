"""`python -m dodo_claude.agents.scripted`: the way in, and what is said where there is no session."""

from __future__ import annotations

import gc
import os
import sys

# What the imports make lives as long as the process: to look for garbage in it is a twentieth of the start.
gc.disable()

from dodo_claude.agents.scripted.arguments import StartError, read_launch  # noqa: E402
from dodo_claude.agents.scripted.session import Session  # noqa: E402

gc.freeze()
gc.enable()

VERSION = "0 (dodo_claude scripted agent)"


def main(words: list[str]) -> int:
    """The exit code. Whatever keeps the session from starting is one line and 1, as with the client."""
    if words in (["--version"], ["-v"]):
        sys.stdout.write(VERSION + "\n")
        return 0
    try:
        launch = read_launch(words)
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return Session(launch).run()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is written; to take the interpreter down takes milliseconds of everybody's
