"""The stand-in of the API: what it is asked, and what it answers, with a stream and without."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from dodo_claude.control.loopback import Answer, Asked, Call, Loopback


def ask(url: str, **body: Any) -> str:
    request = urllib.request.Request(f"{url}/v1/messages?beta=true", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(reply.read().decode())


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


TURN: dict[str, Any] = {
    "model": "m",
    "tools": [{"name": "Bash"}, {"name": "Write"}],
    "messages": [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": [{"type": "text", "text": "mine"}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "content": "x"}, {"type": "text", "text": "second"}],
        },
        {"role": "system", "content": [{"type": "text", "text": "a hook's"}]},
    ],
}


def test_a_text_and_a_call_by_stream_and_whole() -> None:
    def answer(asked: Asked) -> Answer:
        return "hello" if api.asked[1:] else Call("Bash", {"command": "echo"})

    with Loopback(answer) as api:
        called = events(ask(api.url, stream=True, **TURN))
        said = events(ask(api.url, stream=True, **TURN))
        whole = json.loads(ask(api.url, **TURN))
    assert [event["type"] for event in called] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert called[1]["content_block"]["name"] == "Bash"
    assert json.loads(called[2]["delta"]["partial_json"]) == {"command": "echo"}
    assert called[4]["delta"]["stop_reason"] == "tool_use"
    assert said[2]["delta"]["text"] == "hello"
    assert said[4]["delta"]["stop_reason"] == "end_turn"
    assert whole["content"] == [{"type": "text", "text": "hello"}]
    assert api.asked[0] == Asked(("Bash", "Write"), ("first", "second", "a hook's"))


def test_what_has_no_tools_is_no_turn() -> None:
    with Loopback(lambda asked: "never") as api:
        assert json.loads(ask(api.url, model="m", messages=[]))["content"][0]["text"] == "{}"
        with urllib.request.urlopen(f"{api.url}/v1/models", timeout=10) as reply:
            assert json.load(reply)["data"] == []
    assert api.asked == []
