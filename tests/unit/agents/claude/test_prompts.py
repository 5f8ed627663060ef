"""Which prompts the client takes as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.agents.agent import MAX_ARGUMENT
from dodo_claude.agents.claude.prompts import acts_on, deliverable, goes_by_file


@pytest.mark.parametrize(
    ("prompt", "by_file"),
    [("x" * MAX_ARGUMENT, False), ("x" * (MAX_ARGUMENT + 1), True), ("é" * 50_001, True), ("/clear", True),
     ("  /compact now", True), ("/my-plugin:cmd x", True), ("/usr/bin is a folder", False), ("a /clear", False), ("/ x", False),
     ("", False)],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_goes_by_file(prompt: str, by_file: bool) -> None:
    assert goes_by_file(prompt) is by_file


def test_deliverable() -> None:
    assert deliverable("a\r\nb\rc\td\x00\x1b[201~\x7f\x9be\n") == "a\nb\nc\td[201~e\n"


@pytest.mark.parametrize(
    ("data", "acts"),
    [
        ("see @note.txt", True), ("@note.txt", True), ("a\n@note.txt, b", True), ("a\u3000@note.txt", True), ("a\ufeff@note.txt", True),
        ("see @./x", True), ("@/etc/hosts", True), ("@~/x", True), ("@NOTE.TXT:3", True), ("@sub/none", True), ('@"a b.txt"', True),
        ("@agent-x", True), ("@srv:thing", True), ("try ultracode", True), ("Ultrathink!", True),
        ("a@note.txt", False), ("`@note.txt`", False), ("(@note.txt)", False), ("'@note.txt'", False), ("x <me@note.txt>", False),
        ("@property\ndef a():", False), ("    @app.get('/x')", False), ("@ note.txt", False), ("@", False), ("ultracodes", False), ("", False),
    ],
)  # fmt: skip
def test_what_the_client_would_take_up(tmp_path: Path, data: str, acts: bool) -> None:
    for name in ("note.txt", "a b.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "sub").mkdir()
    assert acts_on(data, tmp_path) is acts
    if acts:
        assert acts_on(data)


def test_where_the_session_is_may_be_unknown() -> None:
    assert acts_on("@property\n")
    assert not acts_on("me@here.org")
