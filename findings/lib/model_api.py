"""A loopback stand-in for a model, spoken to as Messages, Responses, chat completions or generateContent.

    model_api.py FOLDER [--status N] [--header NAME=VALUE]

Writes its port to FOLDER/port and each POST to FOLDER/requests, one JSON object per line.  Answers "done"; where the
newest prompt has lines `CALL {"name": ..., "input": {...}}`, those tools are called once, and "done" follows.
With --status every request for an answer is refused.
"""

import argparse
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

arguments = argparse.ArgumentParser()
arguments.add_argument("folder", type=Path)
arguments.add_argument("--status", type=int, default=0)
arguments.add_argument("--header", action="append", default=[])
options = arguments.parse_args()
lock = threading.Lock()
began = time.monotonic()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def texts(content):
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or [] if isinstance(part, dict) and "text" in part]


def wanted(messages):
    """The calls that were asked for since the model spoke last, unless they have been made."""
    newest = []
    for message in reversed(messages or []):
        if message.get("role") == "assistant":
            break
        if message.get("role") == "user":
            newest.insert(0, message.get("content"))
    if any(isinstance(part, dict) and part.get("type") == "tool_result" for c in newest for part in c):
        return []
    lines = "\n".join(text for content in newest for text in texts(content)).splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("CALL {")]


def messages_events(body):
    calls = wanted(body.get("messages")) if body.get("tools") else []
    usage = {"input_tokens": 10, "output_tokens": 1}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", ""),
        "content": [],
    }
    message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
    yield {"type": "message_start", "message": message}
    if not calls:
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "done"}}
        yield {"type": "content_block_stop", "index": 0}
    for index, call in enumerate(calls):
        block = {"type": "tool_use", "id": f"toolu_{os.urandom(6).hex()}", "name": call["name"], "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(call["input"])}
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    reason = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": reason, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}


def responses_events(body):
    text = {"type": "output_text", "text": "done", "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    usage = {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    answer = {"id": "resp_1", "object": "response", "status": "completed", "output": [item], "usage": usage}
    yield {
        "type": "response.created",
        "response": answer | {"status": "in_progress", "output": [], "usage": None},
    }
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": answer}


def chat_events(body):
    chunk = {"id": "chat_1", "object": "chat.completion.chunk", "created": 0, "model": body.get("model", "")}
    for delta, reason in (({"role": "assistant", "content": "done"}, None), ({}, "stop")):
        yield chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    yield chunk | {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}}


def gemini_events(body):
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 1, "totalTokenCount": 11}
    content = {"role": "model", "parts": [{"text": "done"}]}
    yield {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage}


WAYS = {
    "/messages": messages_events,
    "/responses": responses_events,
    "/chat/completions": chat_events,
    ":streamGenerateContent": gemini_events,
}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Requests are kept in a file."""

    def do_HEAD(self):
        self.reply(200, {})

    def do_GET(self):
        self.reply(200, {"data": [], "models": []})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        line = json.dumps({"path": path, "seconds": round(time.monotonic() - began, 1), "body": body})
        with lock, (options.folder / "requests").open("a") as kept:
            kept.write(line + "\n")
        way = next((way for end, way in WAYS.items() if path.endswith(end)), None)
        if way is None:
            self.reply(200, {"input_tokens": 10, "totalTokens": 10})
        elif options.status:
            error = {"type": "scripted", "message": "refused by the stand-in", "code": options.status}
            self.reply(options.status, {"type": "error", "error": error}, options.header)
        else:
            self.stream(way(body), named=way in (messages_events, responses_events))

    def reply(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for header in headers:
            self.send_header(*header.split("=", 1))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def stream(self, events, named):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event in events:
            name = f"event: {event['type']}\n" if named else ""
            self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())
        if not named:
            self.wfile.write(b"data: [DONE]\n\n")


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
(options.folder / "port.new").write_text(str(server.server_address[1]))
(options.folder / "port.new").rename(options.folder / "port")
server.serve_forever()
