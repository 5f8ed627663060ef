"""The profile's HTTP API: GET and PUT /api/profile. docs/api-contract.md tells clients what it answers.

Rules kept here: every answer is JSON, and a request that is refused changes nothing.
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PATH = "/api/profile"
# Bytes of a body; a valid profile needs a fraction of it.
MAX_BODY = 65_536
# What a value of each field looks like, and how to say so.
FIELDS = {
    "name": (r"(?=.*\S).{1,80}", "must be 1 to 80 characters, not only blanks"),
    "email": (r"(?=.{1,254}\Z)[^@\s]+@[^@\s]+", "must be an address like ann@example.org"),
    "bio": (r".{0,500}", "must be at most 500 characters"),
}


def field_errors(profile: object) -> dict[str, str]:
    """What is wrong with a profile: a text for each field; nothing for a valid one."""
    if not isinstance(profile, dict):
        return {"body": "must be a JSON object"}
    errors = {name: "is not a field of a profile" for name in profile if name not in FIELDS}
    for name, (pattern, rule) in FIELDS.items():
        value = profile.get(name)
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.DOTALL):
            errors[name] = rule
    return errors


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ProfileServer

    def do_GET(self) -> None:
        """Every method comes here: see below."""
        # Read before anything is refused: closing a connection with unread data resets it.
        body = self.rfile.read(self.body_size())
        if urlsplit(self.path).path != PATH:
            self.answer(404, {"errors": {"path": f"there is only {PATH}"}})
        elif self.command == "GET":
            self.answer(200, self.server.profile)
        elif self.command == "PUT":
            self.put(body)
        else:
            self.answer(405, {"errors": {"method": "must be GET or PUT"}}, Allow="GET, PUT")

    do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET  # noqa: N815  http.server's names

    def put(self, body: bytes) -> None:
        """Take the body as the new profile, if it is one."""
        try:
            profile = json.loads(body)
        except (ValueError, RecursionError):
            self.answer(400, {"errors": {"body": "is not JSON"}})
            return
        errors = field_errors(profile)
        if errors:
            self.answer(400, {"errors": errors})
        else:
            self.server.profile = profile
            self.answer(200, profile)

    def body_size(self) -> int:
        """Bytes to read. A longer body is cut, and then is no JSON."""
        size = self.headers.get("Content-Length", "0")
        return min(int(size), MAX_BODY) if size.isdecimal() else 0

    def answer(self, status: int, content: object, **headers: str) -> None:
        """Send `content` as JSON."""
        data = json.dumps(content, ensure_ascii=False).encode()
        self.send_response(status)
        headers |= {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(data))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests are no news."""


class ProfileServer(ThreadingHTTPServer):
    """A server with a profile of its own."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.profile = {"name": "New user", "email": "new@example.org", "bio": ""}


def make_server(port: int) -> ProfileServer:
    """A server on 127.0.0.1, ready for serve_forever(); port 0 takes a free one."""
    return ProfileServer(port)


if __name__ == "__main__":
    with make_server(int(sys.argv[1]) if len(sys.argv) > 1 else 8000) as running:
        sys.stdout.write(f"http://127.0.0.1:{running.server_port}{PATH}\n")
        sys.stdout.flush()
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            sys.exit(0)
