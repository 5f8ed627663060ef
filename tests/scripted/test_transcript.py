"""The transcript, which people's tools read as if it were the client's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def test_the_transcript_is_where_the_client_keeps_it(start: Any) -> None:
    agent = start('{ say = "Hello." }', "--model", "sonnet", "--", "Go")
    record = agent.await_event("Stop")
    assert record["transcript_path"].startswith(str(agent.home / ".claude/projects"))
    assert re.fullmatch(r"[\w-]+-work-dir", Path(record["transcript_path"]).parent.name, re.ASCII)
    lines = [json.loads(line) for line in Path(record["transcript_path"]).read_text().splitlines()]
    message = next(line["message"] for line in lines if line["type"] == "assistant")
    assert message["model"] == "sonnet"
    assert message["usage"]["output_tokens"] > 0
    assert message["id"].startswith("msg_")
