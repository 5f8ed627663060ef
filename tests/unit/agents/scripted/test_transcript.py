"""The transcript, which people's tools read as if it were the client's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def test_the_transcript_is_where_the_client_keeps_it(start: Any) -> None:
    agent = start('{ say = "Hello." }', "--model", "sonnet", "--", "Go")
    record = agent.await_event("Stop")
    agent.await_done()
    assert record["transcript_path"].startswith(str(agent.home / ".claude/projects"))
    assert re.fullmatch(r"[\w-]+-work-dir", Path(record["transcript_path"]).parent.name, re.ASCII)
    lines = [json.loads(line) for line in Path(record["transcript_path"]).read_text().splitlines()]
    message = next(line["message"] for line in lines if line["type"] == "assistant")
    assert message["model"] == "sonnet"
    assert message["usage"]["output_tokens"] > 0
    assert message["id"].startswith("msg_")
    assert [line["subtype"] for line in lines if line["type"] == "system"][-2:] == [
        "stop_hook_summary",
        "turn_duration",
    ]
    assert re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", lines[-1]["timestamp"])
