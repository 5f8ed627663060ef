"""Runs tests/test_profile_api.py and judges the tests too: enough of them, none skipped, none blind."""

from __future__ import annotations

import faulthandler
import io
import sys
import unittest
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FILE = "tests/test_profile_api.py"
LEAST = 4  # tests, and requests that they send
# Seconds after which tests that hang are ended, with their stacks shown.
LIMIT = 60


def run(stream: TextIO, verbosity: int) -> unittest.TestResult:
    """All tests of FILE, read anew."""
    sys.modules.pop("test_profile_api", None)
    suite = unittest.TestLoader().discover(str(ROOT / "tests"), "test_profile_api.py")
    return unittest.TextTestRunner(stream, verbosity=verbosity).run(suite)


def all_is_well(handler: BaseHTTPRequestHandler, code: int, message: str | None = None) -> None:
    """`send_response` of a server to which nothing is ever wrong."""
    handler.send_response_only(200, "OK")


def judge() -> str:
    """What is wrong, in one line; '' for nothing."""
    requests = []
    send = HTTPConnection.putrequest

    def count(connection: HTTPConnection, *args: Any, **options: Any) -> None:
        requests.append(args)
        send(connection, *args, **options)

    with patch.object(HTTPConnection, "putrequest", count):
        result = run(sys.stderr, 2)
    bad = [test.id().rpartition(".")[2] for test, _ in [*result.failures, *result.errors]]
    bad += [test.id().rpartition(".")[2] for test in result.unexpectedSuccesses]
    if bad:
        return f"{len(bad)} failed: {', '.join(bad)}"
    if result.skipped or result.expectedFailures:
        return f"{len(result.skipped) + len(result.expectedFailures)} were skipped or may fail"
    if result.testsRun < LEAST:
        return f"{result.testsRun} tests ran, at least {LEAST} are wanted"
    if len(requests) < LEAST:
        return f"{len(requests)} HTTP requests were sent, at least {LEAST} are wanted"
    with patch.object(BaseHTTPRequestHandler, "send_response", all_is_well):
        if run(io.StringIO(), 0).wasSuccessful():
            return "they also pass with a server that answers 200 to everything"
    sys.stdout.write(f"{result.testsRun} tests passed, {len(requests)} requests to a real server\n")
    return ""


if __name__ == "__main__":
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    if fault := judge():
        sys.exit(f"{FILE}: {fault}")
