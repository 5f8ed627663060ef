"""A loopback stand-in of the Anthropic Messages API: scripted replies, every request kept.  Knows nothing of tmux or hooks.

    def reply(request: Request) -> Reply:
        if request.tool_results:
            return say("written")
        return say("on it") + tool("Write", file_path="/abs/a.txt", content="a")

    with MessagesApi(reply) as api:
        ...  # start a client with ANTHROPIC_BASE_URL=api.base_url
        assert "MARK" in api.requests[0].last_user_text

A script is called from server threads, one per request: it must not rely on thread-local state.  A script that raises gives
the client a 400 with the traceback's last line (not retried for long) and is kept in `MessagesApi.faults`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

Json: TypeAlias = dict[str, Any]

# The last text of a request that asks for a summary of the conversation starts with this (client 2.1.330 to 2.1.332).
COMPACTION_PROMPT = "CRITICAL: Respond with TEXT ONLY"

# Text blocks the client adds by itself to a user message start with this; they are not prompts.
CLIENT_NOTE = "<system-reminder>"

# Characters per streamed delta: several deltas for an ordinary sentence, few for a whole file.
DELTA_CHARS = 2000

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


# -- what the client asked ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToolResult:
    """One tool_result block; `text` is all its text joined, `is_error` as the client said."""

    tool_use_id: str
    text: str
    is_error: bool


@dataclass(frozen=True)
class Request:
    """One POST to /v1/messages as it came in; `at` is time.monotonic() when its body was complete."""

    body: Json
    headers: Mapping[str, str]  # names in lower case
    at: float = field(default_factory=time.monotonic)

    @property
    def session_id(self) -> str:
        """The client's session; "" where the header is missing."""
        return self.headers.get("x-claude-code-session-id", "")

    @property
    def messages(self) -> list[Json]:
        messages: list[Json] = self.body.get("messages", [])
        return messages

    @property
    def user_texts(self) -> list[str]:
        """Every text block of every user message in order, the client's own notes included, tool results not."""
        return _texts(m for m in self.messages if m.get("role") == "user")

    @property
    def prompts(self) -> list[str]:
        """`user_texts` without the client's own notes."""
        return [text for text in self.user_texts if not text.lstrip().startswith(CLIENT_NOTE)]

    @property
    def last_user_text(self) -> str:
        """The newest prompt; "" if there is none."""
        return self.prompts[-1] if self.prompts else ""

    @property
    def system_notes(self) -> list[str]:
        """Texts of role "system" messages: how additions of hooks reach the model inside a turn."""
        return _texts(m for m in self.messages if m.get("role") == "system")

    @property
    def tool_results(self) -> list[ToolResult]:
        """The results given since the model spoke last; empty for the first request of a turn."""
        results: list[ToolResult] = []
        for message in reversed(self.messages):
            if message.get("role") == "assistant":
                break
            results[:0] = [
                ToolResult(b.get("tool_use_id", ""), _text_of(b.get("content")), bool(b.get("is_error")))
                for b in _blocks(message)
                if b.get("type") == "tool_result"
            ]
        return results

    @property
    def system(self) -> str:
        """The system prompt, its blocks joined by newlines."""
        return _text_of(self.body.get("system"))

    @property
    def tools(self) -> list[str]:
        """Names of the tools offered; deferred ones are not among them."""
        return [t.get("name", "") for t in self.body.get("tools", [])]

    @property
    def kind(self) -> Literal["turn", "compaction", "side"]:
        """A turn of the conversation, the client's request for a summary, or something small beside them (no tools)."""
        if self.last_user_text.startswith(COMPACTION_PROMPT):
            return "compaction"
        return "turn" if self.tools else "side"

    def contains(self, text: str) -> bool:
        """Is `text` anywhere in the body, decoded: system prompt, any role, tool inputs and results?"""
        return any(text in s for s in _strings(self.body))


def _blocks(message: Json) -> list[Json]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [b for b in content or [] if isinstance(b, dict)]


def _texts(messages: Iterator[Json]) -> list[str]:
    return [b.get("text", "") for m in messages for b in _blocks(m) if b.get("type") == "text"]


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(b.get("text", "") for b in content if isinstance(b, dict) and b.get("type") == "text")


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


# -- what the model answers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class ToolUse:
    name: str
    input: Json


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Usage:
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Failure:
    """An HTTP error instead of an answer."""

    status: int
    body: Json
    headers: Mapping[str, str]


@dataclass(frozen=True)
class StreamError:
    """An SSE error event in place of the rest of the answer; an HTTP 500 when the client did not ask for a stream."""

    type: str
    message: str


@dataclass(frozen=True)
class Drop:
    """Reset the connection here."""


@dataclass(frozen=True)
class Ended:
    """The stop_reason of the answer, in place of what its parts make of it."""

    reason: str


Part: TypeAlias = Text | ToolUse | Pause | Usage | Failure | StreamError | Drop | Ended


@dataclass(frozen=True)
class Reply:
    """Parts played in order; add replies to join them: `delay(1) + say("a") + tool("Bash", command="ls")`."""

    parts: tuple[Part, ...] = ()

    def __add__(self, other: Reply) -> Reply:
        return Reply(self.parts + other.parts)

    @property
    def stop_reason(self) -> str:
        told = next((p.reason for p in self.parts if isinstance(p, Ended)), None)
        return told or ("tool_use" if any(isinstance(p, ToolUse) for p in self.parts) else "end_turn")


Script: TypeAlias = Callable[[Request], Reply]


def say(text: str) -> Reply:
    """One text block."""
    return Reply((Text(text),))


def tool(name: str, **arguments: Any) -> Reply:
    """One tool_use block; several in a reply are run by the client as parallel calls."""
    return Reply((ToolUse(name, arguments),))


def delay(seconds: float) -> Reply:
    """Nothing for so long; the first one of a reply holds back even the response's header."""
    return Reply((Pause(seconds),))


def used(input_tokens: int, output_tokens: int) -> Reply:
    """The usage this reply reports, instead of an estimate from sizes."""
    return Reply((Usage(input_tokens, output_tokens),))


def ended(reason: str) -> Reply:
    """The answer ends for that reason: "refusal", "max_tokens"."""
    return Reply((Ended(reason),))


def error(
    status: int,
    message: str = "scripted error",
    *,
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """An HTTP error with the API's error body.  `retry_after` is in seconds; no header without it."""
    extra = dict(headers or {})
    if retry_after is not None:
        extra["retry-after"] = f"{retry_after:g}"
    body = {"type": "error", "error": {"type": _ERROR_TYPES.get(status, "api_error"), "message": message}}
    return Reply((Failure(status, body, extra),))


def stream_error(message: str = "Overloaded", type: str = "overloaded_error") -> Reply:
    """An error event inside a stream that began well."""
    return Reply((StreamError(type, message),))


def drop() -> Reply:
    """A connection reset, before the header if it is the first part, else in the middle of the stream."""
    return Reply((Drop(),))


# -- scripts -----------------------------------------------------------------------------------------------------


def turns(*replies: Reply, then: Reply | None = None) -> Script:
    """The n-th request of each session gets the n-th reply (a retry counts as a request), later ones get `then` ("done")."""
    rest = then or say("done")
    lock = threading.Lock()
    seen: dict[str, int] = {}

    def reply(request: Request) -> Reply:
        with lock:
            n = seen.get(request.session_id, 0)
            seen[request.session_id] = n + 1
        return replies[n] if n < len(replies) else rest

    return reply


def by_marker(scripts: Mapping[str, Script], default: Script | None = None) -> Script:
    """The script whose key stands in the conversation's earliest prompt that holds any; kept for the session's life,
    so that a compaction, which drops that prompt, does not change it."""
    otherwise = default or turns()
    lock = threading.Lock()
    chosen: dict[str, Script] = {}

    def reply(request: Request) -> Reply:
        with lock:
            script = chosen.get(request.session_id)
            if script is None:
                script = next((s for text in request.prompts for m, s in scripts.items() if m in text), None)
                if script is not None and request.session_id:
                    chosen[request.session_id] = script
        return (script or otherwise)(request)

    return reply


def side_reply(request: Request) -> Reply:
    """The answer to what is not a turn of the conversation: a short summary, or a title."""
    if request.kind == "compaction":
        return say("<summary>Earlier work, summarised by the scripted model.</summary>")
    return say('{"title": "scripted", "ok": true}')


# -- the server --------------------------------------------------------------------------------------------------


class MessagesApi:
    """Listens on 127.0.0.1, any free port, from `__enter__` to `__exit__`.

    `reply` gets requests of kind "turn"; the other kinds get `side_reply`, unless `all_kinds` is set.  It may be replaced
    at any time.
    """

    def __init__(self, reply: Script, *, all_kinds: bool = False) -> None:
        self.reply = reply
        self.all_kinds = all_kinds
        self.faults: list[BaseException] = []
        self._requests: list[Request] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()  # ends every pause of a reply
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """For ANTHROPIC_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def requests(self) -> list[Request]:
        """All requests so far, of every kind, oldest first; a copy."""
        with self._changed:
            return list(self._requests)

    def wait_for(self, found: Callable[[list[Request]], bool], timeout: float = 60.0) -> list[Request]:
        """The requests, as soon as `found(requests)`; TimeoutError says how many came."""
        with self._changed:
            if not self._changed.wait_for(lambda: found(self._requests), timeout):
                raise TimeoutError(
                    f"{len(self._requests)} requests after {timeout:g} s, none that was waited for"
                )
            return list(self._requests)

    def answer(self, request: Request) -> Reply:
        """Keep the request and choose its reply.  Called by the server's threads."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        try:
            return self.reply(request) if self.all_kinds or request.kind == "turn" else side_reply(request)
        except Exception as fault:
            # Any fault of a test's script: the test must see it, and the client must not wait for an answer.
            logging.getLogger(__name__).exception("the script failed")
            self.faults.append(fault)
            return error(400, f"the script failed: {fault!r}", headers={"x-should-retry": "false"})

    def pause(self, seconds: float) -> None:
        """Sleep, but not past the server's end."""
        self._closing.wait(seconds)


class _Server(ThreadingHTTPServer):
    api: MessagesApi
    daemon_threads = True
    block_on_close = False  # a client that never reads must not keep the test

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is ordinary here: no traceback on stderr."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the requests are kept, not printed."""

    def do_HEAD(self) -> None:
        self._json(200, {})

    def do_GET(self) -> None:
        self._json(200, {"data": [], "has_more": False})  # e.g. /v1/models

    def do_POST(self) -> None:
        body: Json = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))) or b"{}")
        if self.path.partition("?")[0] != "/v1/messages":
            self._json(200, {"input_tokens": _tokens(body)})  # e.g. /v1/messages/count_tokens
            return
        request = Request(body, {name.lower(): value for name, value in self.headers.items()})
        reply = self.server.api.answer(request)
        with contextlib.suppress(_Dropped, ConnectionError):
            if body.get("stream"):
                self._stream(request, reply)
            else:
                self._whole(request, reply)

    def _whole(self, request: Request, reply: Reply) -> None:
        message = _message(request, reply)
        for part in reply.parts:
            match part:
                case Pause(seconds):
                    self.server.api.pause(seconds)
                case Failure(status, body, headers):
                    self._json(status, body, headers)
                    return
                case StreamError(type_, text):
                    self._json(500, {"type": "error", "error": {"type": type_, "message": text}})
                    return
                case Drop():
                    self._reset()
                case Text() | ToolUse():
                    message["content"].append(_block(part))
        message["stop_reason"] = reply.stop_reason
        self._json(200, message)

    def _stream(self, request: Request, reply: Reply) -> None:
        message = _message(request, reply)
        begun = False
        index = 0
        for part in reply.parts:
            match part:
                case Pause(seconds):
                    self.server.api.pause(seconds)
                    continue
                case Failure(status, body, headers):
                    assert not begun, "error() must come before say() and tool()"
                    self._json(status, body, headers)
                    return
                case Drop() if not begun:
                    self._reset()
                case Usage() | Ended():
                    continue
            if not begun:
                begun = self._begin(message)
            match part:
                case StreamError(type_, text):
                    self._event("error", error={"type": type_, "message": text})
                    return
                case Drop():
                    self._reset()
                case Text() | ToolUse():
                    self._stream_block(index, part)
                    index += 1
        if not begun:
            self._begin(message)
        delta = {"stop_reason": reply.stop_reason, "stop_sequence": None}
        self._event("message_delta", delta=delta, usage={"output_tokens": message["usage"]["output_tokens"]})
        self._event("message_stop")

    def _begin(self, message: Json) -> bool:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("request-id", f"req_{uuid.uuid4().hex}")
        self.end_headers()
        self._event("message_start", message=message)
        return True

    def _stream_block(self, index: int, part: Text | ToolUse) -> None:
        block = _block(part)
        if isinstance(part, Text):
            whole, kind, key = part.text, "text_delta", "text"
            block["text"] = ""
        else:
            whole, kind, key = json.dumps(part.input), "input_json_delta", "partial_json"
            block["input"] = {}
        self._event("content_block_start", index=index, content_block=block)
        for at in range(0, len(whole), DELTA_CHARS):
            self._event(
                "content_block_delta", index=index, delta={"type": kind, key: whole[at : at + DELTA_CHARS]}
            )
        self._event("content_block_stop", index=index)

    def _event(self, name: str, **data: Any) -> None:
        self.wfile.write(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode())
        self.wfile.flush()

    def _json(self, status: int, body: Json, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _reset(self) -> None:
        """Linger 0 makes close() send RST; the exception keeps the base class from writing more."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise _Dropped


class _Dropped(Exception):
    """The script asked for the connection to be reset."""


def _message(request: Request, reply: Reply) -> Json:
    usage = next((p for p in reply.parts if isinstance(p, Usage)), None) or Usage(
        _tokens(request.body), 1 + sum(len(p.text) // 4 for p in reply.parts if isinstance(p, Text))
    )
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": request.body.get("model", ""),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }


def _block(part: Text | ToolUse) -> Json:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex}", "name": part.name, "input": part.input}


def _tokens(body: Json) -> int:
    """About four characters each: enough for a client that decides by size."""
    return len(json.dumps(body)) // 4
