"""The client's log, where the API's refusals stand while it asks again."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import datetime

from dodo_claude.agents.agent import NoAnswer
from dodo_claude.agents.claude.dialogs import TOLD
from dodo_claude.text.clean import one_line

_API_ERROR = re.compile(
    r"(?P<at>\S+) \[ERROR\] API error \(attempt (?P<try>\d+)/(?P<of>\d+)\): (?P<status>\S+) (?P<text>.*)"
)
# After these it gives up at once, which its hook tells.
_NOT_AGAIN = frozenset({"400", "404"})


def no_answer(line: bytes) -> NoAnswer | None:
    """What a line of the client's log says of that; None: nothing."""
    found = _API_ERROR.fullmatch(line.decode("utf-8", "replace"))
    if found is None or found["status"] in _NOT_AGAIN:
        return None
    text = found["text"]
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        # '401 {"type":"error","error":{"message":…}}'
        text = str(json.loads(text.partition(" ")[2])["error"]["message"])
    status = "" if found["status"] == "undefined" else f"{found['status']} "
    try:
        at = datetime.fromisoformat(found["at"]).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return NoAnswer(at, one_line(f"{status}{text}")[:TOLD], f"attempt {found['try']} of {found['of']}")
