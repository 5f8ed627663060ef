"""The session's transcript file. Knows its lines and its place, not what leads to them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any


def new_id() -> str:
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


# The characters of a directory's path that are dashes in the name of its folder of transcripts.
DASHES = str.maketrans("/_.", "---")


def transcript_path(session: str, cwd: str) -> str:
    """Where the client keeps the session's lines."""
    home = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".claude")
    return os.path.join(home, "projects", cwd.translate(DASHES), session + ".jsonl")


class Transcript:
    """The session's JSON lines. The file appears with the first prompt."""

    def __init__(self, session: str, cwd: str) -> None:
        self.session = session
        self.cwd = cwd
        self.path = transcript_path(session, cwd)

    def add(self, kind: str, **fields: Any) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        now = time.time()
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03}Z"
        line = {"type": kind, **fields, "uuid": new_id(), "timestamp": stamp}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "sessionId": self.session, "cwd": self.cwd}) + "\n")

    def add_answer(self, text: str, model: str, usage: dict[str, int]) -> None:
        """What the agent said; `usage` may leave out what it did not use."""
        message = {
            "id": "msg_" + os.urandom(11).hex(),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "usage": {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, **usage},
        }
        self.add("assistant", message=message, requestId="req_" + os.urandom(8).hex())

    def lines(self) -> list[dict[str, Any]]:
        """What was written so far; a line cut short by a kill is left out."""
        lines = []
        with open(self.path, encoding="utf-8") as file:
            for text in file:
                with contextlib.suppress(ValueError, RecursionError):
                    lines.append(json.loads(text))
        return lines
