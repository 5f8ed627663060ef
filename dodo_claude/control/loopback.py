"""A stand-in of the Messages API on this machine alone: a client that is tried needs no account and asks nobody else.

It answers by a function, in order of arrival, and keeps what it was asked.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for an answer. What has no tools is no turn of a session: a title, say."""

    tools: tuple[str, ...]
    texts: tuple[str, ...]  # of the user's and the system's messages, oldest first


@dataclass(frozen=True, slots=True)
class Call:
    """An answer that calls a tool."""

    tool: str
    input: Mapping[str, object] = field(default_factory=dict)


Answer = str | Call


class Loopback:
    """Serves from `__enter__` to `__exit__`. `answer` is called in the server's threads, for requests with tools only."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self._answer = answer
        self.asked: list[Asked] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """For ANTHROPIC_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, body: Mapping[str, Any]) -> Answer:
        """What to say to a request."""
        tools = tuple(str(tool.get("name")) for tool in body.get("tools") or ())
        asked = Asked(tools, tuple(_texts(body)))
        if not tools:
            return "{}"
        self.asked.append(asked)
        return self._answer(asked)


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    for message in body.get("messages") or ():
        if message.get("role") in ("user", "system"):
            content = message.get("content")
            if isinstance(content, str):
                yield content
            else:
                yield from (block["text"] for block in content or () if block.get("type") == "text")


class _Server(ThreadingHTTPServer):
    loopback: Loopback
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is ordinary."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._json({})

    def do_GET(self) -> None:
        self._json({"data": [], "has_more": False})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))) or b"{}")
        if self.path.partition("?")[0] != "/v1/messages":
            self._json({"input_tokens": 1})
            return
        answer = self.server.loopback.answer(body)
        with contextlib.suppress(ConnectionError):
            self._reply(answer, str(body.get("model")), stream=bool(body.get("stream")))

    def _reply(self, answer: Answer, model: str, *, stream: bool) -> None:
        text = isinstance(answer, str)
        block: dict[str, object] = {"type": "text", "text": answer}
        if isinstance(answer, Call):
            block = {
                "type": "tool_use",
                "id": f"toolu_{id(answer)}",
                "name": answer.tool,
                "input": dict(answer.input),
            }
        usage = {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        }
        reason = "end_turn" if text else "tool_use"
        message = {
            "id": f"msg_{id(answer)}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "usage": usage,
        }
        if not stream:
            self._json({**message, "content": [block], "stop_reason": reason, "stop_sequence": None})
            return
        if text:
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": answer}
        else:
            empty, delta = (
                {**block, "input": {}},
                {"type": "input_json_delta", "partial_json": json.dumps(block["input"])},
            )
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self._event(
            "message_start", message={**message, "content": [], "stop_reason": None, "stop_sequence": None}
        )
        self._event("content_block_start", index=0, content_block=empty)
        self._event("content_block_delta", index=0, delta=delta)
        self._event("content_block_stop", index=0)
        self._event(
            "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 1}
        )
        self._event("message_stop")

    def _event(self, name: str, **data: object) -> None:
        self.wfile.write(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode())
        self.wfile.flush()

    def _json(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
