"""Integration tests of the profile API: each starts a server on a free port and talks HTTP to it."""

# ruff: noqa: PT009  unittest's own assertions, so that no pytest is needed

import json
import threading
import unittest
from html import escape
from http.client import HTTPConnection
from typing import Any

from profiles.api import make_server
from profiles.page import render_page

# As docs/api-contract.md says them.
PATH = "{endpoint}"
ERRORS = "{errors}"
ALLOW = "{allow}"

ANN = {"name": "Ann <Bo>", "email": "ann@example.org", "bio": "Writes & reads. ÖÅ"}


class ProfileApi(unittest.TestCase):
    def setUp(self) -> None:
        self.server = make_server(0)
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for end in (thread.join, self.server.server_close, self.server.shutdown):
            self.addCleanup(end)  # called last to first

    def ask(self, method: str, path: str = PATH, body: object = None) -> tuple[int, Any]:
        """Status and decoded body of an answer; its headers are in self.headers."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.server.server_port, timeout=5)
        self.addCleanup(connection.close)
        connection.request(method, path, data)
        response = connection.getresponse()
        self.headers = response.headers
        self.assertEqual(response.headers["Content-Type"], "application/json; charset=utf-8")
        return response.status, json.loads(response.read())

    def refused_fields(self, body: object) -> set[str]:
        """Where a PUT of `body`, which must be refused, is said to be wrong."""
        before = self.ask("GET")
        status, answer = self.ask("PUT", body=body)
        self.assertEqual(status, 400, answer)
        self.assertEqual(list(answer), [ERRORS])
        self.assertEqual(self.ask("GET"), before, "a refused PUT changed the profile")
        return set(answer[ERRORS])

    def test_a_new_server_has_a_profile(self) -> None:
        status, profile = self.ask("GET")
        self.assertEqual((status, set(profile)), (200, {"name", "email", "bio"}))

    def test_put_replaces_the_profile(self) -> None:
        self.assertEqual(self.ask("PUT", body=ANN), (200, ANN))
        self.assertEqual(self.ask("GET"), (200, ANN))

    def test_put_names_each_wrong_field(self) -> None:
        self.assertEqual(self.refused_fields({**ANN, "name": " "}), {"name"})
        self.assertEqual(self.refused_fields({**ANN, "email": "ann"}), {"email"})
        self.assertEqual(self.refused_fields({**ANN, "bio": "x" * 501, "admin": True}), {"bio", "admin"})
        self.assertEqual(self.refused_fields({}), {"name", "email", "bio"})

    def test_put_wants_a_json_object(self) -> None:
        for body in (b"", b"{", b"\xff", b"[]", b"null"):
            with self.subTest(body=body):
                self.assertEqual(self.refused_fields(body), {"body"})

    def test_another_path_is_404(self) -> None:
        for method, path in (("GET", "/"), ("GET", f"{PATH}/1"), ("PUT", f"{PATH}s")):
            with self.subTest(method=method, path=path):
                status, answer = self.ask(method, path, ANN)
                self.assertEqual((status, list(answer[ERRORS])), (404, ["path"]))

    def test_another_method_is_405(self) -> None:
        for method in ("POST", "PATCH", "DELETE"):
            with self.subTest(method=method):
                status, answer = self.ask(method, body=ANN)
                self.assertEqual((status, list(answer[ERRORS])), (405, ["method"]))
                self.assertEqual(self.headers["Allow"], ALLOW)

    def test_the_page_shows_what_was_put(self) -> None:
        self.ask("PUT", body=ANN)
        page = render_page(self.ask("GET")[1])
        for value in ANN.values():
            self.assertIn(escape(value), page)


if __name__ == "__main__":
    unittest.main()
