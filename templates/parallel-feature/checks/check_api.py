"""Acceptance of profiles/api.py and docs/api-contract.md: a real server, asked by HTTP. A line for each fault."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PATH = "/api/profile"
ANN = {"name": "Ann Ö. Å", "email": "ann@example.org", "bio": "Writes.\n\nReads <books> & maps."}
LIMITS = {"name": "n" * 80, "email": f"{'e' * 250}@e.e", "bio": "b" * 500}
# A body, and the field that the answer has to name ('' where it is no field's fault).
REFUSED: list[tuple[object, str]] = [
    (b"", ""),
    (b"{not json", ""),
    (b"\xff\xfe", ""),
    ([ANN], ""),
    ({"name": "Ann", "email": "ann@example.org"}, "bio"),
    ({**ANN, "admin": "yes"}, "admin"),
    ({**ANN, "name": " \t"}, "name"),
    ({**ANN, "name": "n" * 81}, "name"),
    ({**ANN, "name": 7}, "name"),
    ({**ANN, "email": "ann.example.org"}, "email"),
    ({**ANN, "email": "ann@"}, "email"),
    ({**ANN, "email": "a@b@c"}, "email"),
    ({**ANN, "email": "ann o@example.org"}, "email"),
    ({**ANN, "email": f"{'e' * 251}@e.e"}, "email"),
    ({**ANN, "bio": "b" * 501}, "bio"),
    ({**ANN, "bio": None}, "bio"),
]


class Client:
    """Asks one server, a new connection for each request."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str = PATH, body: object = None) -> tuple[int, Any, Any]:
        """Status, headers and decoded body. ValueError when the body is not the JSON it should be."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, data)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.headers.get_content_type() != "application/json":
            raise ValueError(f"the body of {answer.status} is {answer.headers.get('Content-Type')}, not JSON")
        return answer.status, answer.headers, json.loads(text)


@contextmanager
def client() -> Iterator[Client]:
    """A client of a server of its own, which ends with it."""
    from profiles.api import make_server

    with make_server(0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield Client(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def api_faults() -> Iterator[str]:
    """What the API does otherwise than docs/profile.md says."""
    with client() as api, client() as other:
        status, _, start = api.ask("GET")
        if status != 200 or not isinstance(start, dict) or set(start) != set(ANN):
            yield f"GET {PATH} on a new server answers {status} {start}"
        for profile in (start, LIMITS, ANN):
            status, _, answer = api.ask("PUT", body=profile)
            if (status, answer) != (200, profile) or api.ask("GET")[2] != profile:
                yield f"PUT {PATH} of {str(profile)[:60]} answers {status} {str(answer)[:60]}"
        if other.ask("GET")[2] != start:
            yield "two servers share one profile"
        for body, field in REFUSED:
            status, _, answer = api.ask("PUT", body=body)
            shown = str(body)[:60]
            if status != 400 or not isinstance(answer, dict):
                yield f"PUT {PATH} of {shown} answers {status} {answer}, not 400 and an object"
            elif field not in json.dumps(answer):
                yield f"400 for {shown} does not name the field '{field}': {answer}"
            if api.ask("GET")[2] != ANN:
                yield f"PUT {PATH} of {shown} was refused and changed the profile all the same"
        for method, path in (("GET", "/"), ("GET", f"{PATH}s"), ("PUT", f"{PATH}/1"), ("DELETE", "/x")):
            if (status := api.ask(method, path, ANN)[0]) != 404:
                yield f"{method} {path} answers {status}, not 404"
        for method in ("POST", "DELETE", "PATCH"):
            status, headers, _ = api.ask(method, body=ANN)
            allowed = {word.strip() for word in (headers.get("Allow") or "").split(",")}
            if status != 405 or not {"GET", "PUT"} <= allowed:
                yield f"{method} {PATH} answers {status}, Allow: {headers.get('Allow')}; not 405, Allow: GET, PUT"


def command_faults() -> Iterator[str]:
    """Does `python3 -m profiles.api 0` serve at the address that it prints?"""
    command = [sys.executable, "-B", "-m", "profiles.api", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    limit = threading.Timer(5, process.kill)
    limit.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = next((word for word in line.replace("/", " ").replace(":", " ").split() if word.isdigit()), "")
        if not port or Client(int(port)).ask("GET")[0] != 200:
            yield f"'python3 -m profiles.api 0' does not serve at the address that it prints: {line!r}"
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


def contract_faults() -> Iterator[str]:
    """What docs/api-contract.md does not say."""
    text = (ROOT / "docs/api-contract.md").read_text(encoding="utf-8")
    for heading in (f"## GET {PATH}", f"## PUT {PATH}"):
        if heading not in text.replace("`", "").splitlines():
            yield f"no heading '{heading}'"
    for word in ("200", "400", "404", "405", "Allow", *ANN):
        if word not in text:
            yield f"nothing about {word}"


def all_faults() -> Iterator[str]:
    for name, look in (
        ("profiles/api.py", api_faults),
        ("profiles/api.py", command_faults),
        ("docs/api-contract.md", contract_faults),
    ):
        try:
            for fault in look():
                yield f"{name}: {fault}"
        except (OSError, ValueError, HTTPException) as error:
            yield f"{name}: {type(error).__name__}: {error}"


if __name__ == "__main__":
    found = list(all_faults())
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("profiles/api.py and its contract do what docs/profile.md says\n")
