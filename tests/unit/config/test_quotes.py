"""How much is read of a file that a prompt quotes, and what is said of one that is too large, or no text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dodo_claude.config import prompts, quotes
from dodo_claude.config.config import load_config
from dodo_claude.config.quotes import excerpt


@pytest.mark.parametrize(
    ("data", "cap", "text"),
    [
        (b"", 10, ""),
        (b"0123456789", 10, "0123456789"),
        (b"0123456789A", 10, "01234\n[… 1 of 11 bytes are left out here …]\n6789A"),
        ("é".encode() * 100, 11, "éé\n[… 192 of 200 bytes are left out here …]\néé"),
        (b"a\xff", 10, "a\N{REPLACEMENT CHARACTER}"),
        (b"\xe9" * 99, 60, "\ufffd" * 10 + "\n[… 79 of 99 bytes are left out here …]\n" + "\ufffd" * 10),
        (b"a\0b", 10, "[a binary file of 3 bytes, which is not quoted]\n"),
        (b"a" * 99 + b"\0", 10, "[a binary file of 100 bytes, which is not quoted]\n"),
        (b"a" * 50 + b"\0" + b"b" * 50, 10, "aaaaa\n[… 91 of 101 bytes are left out here …]\nbbbbb"),
    ],
)
def test_what_is_quoted_of_a_file(tmp_path: Path, data: bytes, cap: int, text: str) -> None:
    (tmp_path / "f").write_bytes(data)
    assert excerpt(str(tmp_path / "f"), cap) == text


@pytest.mark.parametrize("data", [b"a" * 99, b"\xff" * 99, "\u20ac".encode() * 99, b"\x9b" * 30 + b"a" * 99])
def test_it_fits_into_what_a_prompt_takes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f").write_bytes(data)
    text = excerpt(str(tmp_path / "f"), 60)
    assert "left out here" in text
    mark = "k3f9k3f9"
    assert prompts.fence("file", "f", text, mark, 60 + quotes.NOTE).split("\n", 1)[1].startswith(text)


def test_no_more_of_a_file_is_read_than_is_quoted(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as stream:
        stream.write(b"head" * 100)
        stream.seek(10**12)  # a hole
        stream.write(b"tail" * 100)
    found = quotes.read(str(tmp_path / "f"), 100)
    assert found == (b"head" * 12 + b"he", b"il" + b"tail" * 12, 10**12 + 400)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(OSError, match="is not a plain file"):
        excerpt(str(tmp_path / "f"))


def test_what_is_said_of_files_before_a_run(tmp_path: Path) -> None:
    (tmp_path / "orchestrate.toml").write_text(
        "[stages.a]\nprompt = \"{{ files['big.txt'] }}{{ files['small.txt'] }}\"\n"
        "[stages.b]\nprompt_file = 'p.md'\n"
        "[[stages.c.phases]]\nprompt = \"{{ files['bin2'] }}{{ files['big.txt'] }}\"\n"
    )
    (tmp_path / "p.md").write_text("{% for path, text in files.glob('*.bin') %}{{ text }}{% endfor %}")
    (tmp_path / "big.txt").write_text("x" * 100_001)
    (tmp_path / "small.txt").write_text("x" * 100_000)
    for name in ("a.bin", "bin2"):
        (tmp_path / name).write_bytes(b"\x7fELF\0")
    binary = "a binary file, of which only the size is told (name it in file_dep and in words)"
    assert [*quotes.notes(load_config(tmp_path / "orchestrate.toml"))] == [
        "orchestrate.toml:1: the prompt of stage 'a' quotes 'big.txt', which has 100001 bytes, of which the middle is left out "
        "(at most 100000 are quoted): let the worker read it",
        f"p.md: the prompt of stage 'b' quotes 'a.bin', {binary}",
        f"orchestrate.toml:5: the prompt of stage 'c' quotes 'bin2', {binary}",
    ]
