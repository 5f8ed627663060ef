"""How the commands of `dodo-claude` end, speak, and complete names: the one way out to a person."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

import click

from dodo_claude.control.project import FILE, find_root
from dodo_claude.machine import files
from dodo_claude.text.clean import clean_text, one_line
from dodo_claude.text.errors import DodoClaudeError


@contextmanager
def faults() -> Iterator[None]:
    """A user's fault is one line and exit status 2; ours keeps its traceback."""
    try:
        yield
    except DodoClaudeError as error:
        say(str(error), err=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        # A file that is not as it was a moment ago: somebody removed, moved or replaced it, or what it lies in.
        say(one_line(files.disk_problem(error, "")), err=True)
        sys.exit(2)


def say(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print `text`: the one way of our commands to a person, so that none of them shows a stranger's text raw.

    JSON has escapes, which stay.
    """
    click.echo(clean_text(text), nl=nl, err=err)


def complete_stage(context: object, parameter: object, incomplete: str) -> list[str]:
    """For a shell's completion: the stages whose names begin so. Never fails, and offers no name that a configuration does not
    take: what it offers is put into a shell's line as it is."""
    from dodo_claude.config import shape
    from dodo_claude.config.documents import MAX_FILE
    from dodo_claude.config.sources import UnreadableError, read_text

    names: dict[str, None] = {}
    with contextlib.suppress(Exception):
        root = find_root()
        with contextlib.suppress(UnreadableError, ValueError):
            stages = shape.loads(read_text(root / FILE, MAX_FILE)).get("stages", {})
            for name, keys in stages.items():
                items = keys.get("foreach") if isinstance(keys, dict) else None
                if isinstance(items, list):
                    names |= dict.fromkeys(f"{name}:{item}" for item in items if isinstance(item, str))
                elif items is None and "orchestrate" not in keys:
                    names[name] = None
        # Those that only a run knows: of files, of lines, of nested orchestrations.
        with contextlib.suppress(OSError):
            for folder in sorted(files.names(root / ".orchestrate" / "stages")):
                names[unquote(folder)] = None
        from dodo_claude.config.schema import is_stage_name

        return [name for name in names if name.startswith(incomplete) and is_stage_name(name)]
    return []
