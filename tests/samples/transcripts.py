"""Lines of a client's transcript."""

from __future__ import annotations

import json


def answer(name: str, output: int = 1, *, model: str = "claude-opus-5-5", **more: object) -> str:
    """An assistant's line, as the client writes it."""
    message = {
        "model": model,
        "id": name,
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "é “done”"}],
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 200,
            "cache_read_input_tokens": 3000,
            "output_tokens": output,
            "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 200},
            "service_tier": "standard",
        },
    }
    entry = {
        "parentUuid": "u",
        "isSidechain": False,
        "type": "assistant",
        "uuid": "v",
        "message": message,
        **more,
    }
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
