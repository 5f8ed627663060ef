"""What an app draws, without what could do more than draw; an app's end, whatever it does."""

from __future__ import annotations

import asyncio
import re
import signal
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.dashboard.relay import Relay, Screen

READY = 'import os, sys, time; os.write(1, b"__GANGLION__\\n")\n'
PUT = 'def put(data, kind=b"D"): os.write(1, kind + len(data).to_bytes(4, "big") + data)\n'


@pytest.mark.parametrize(
    ("written", "drawn"),
    [
        ("\x1b[31mred\x1b[0m\r\n\x1b[2;3H", "\x1b[31mred\x1b[0m\r\n\x1b[2;3H"),
        ("é 日本 ─│ \u00a0½", "é 日本 ─│ \u00a0½"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("a\x1b]52;c;aGk=\x07b", "ab"),  # the clipboard
        ("a\x1b]52;c;?\x1b\\b", "ab"),  # and its being read
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]52;c;never ends", "a"),
        ("a\x1bPq#0\x1b\\b\x1b_G\x1b\\c\x1b^x\x1b\\d\x1bXx\x1b\\e", "abcde"),
        ("a\x9d52;c;aGk=\x9cb", "a52;c;aGk=b"),  # the same in one character: only text now
        ("a\x1bcb\x1b7\x07\x08\x0e\x00\x7f", "acb7\x08"),  # a reset, say
        ("a\x1b\x00]52;c;aGk=\x07b", "a]52;c;aGk=b"),  # a terminal overlooks a NUL in between
        ("a\x1b\x1b]0;x\x07]52;c;aGk=\x07b", "a]52;c;aGk=b"),  # what is taken out leaves nothing that joins
    ],
)
def test_a_screen_gets_what_draws_and_nothing_else(written: str, drawn: str) -> None:
    assert Screen()(written.encode()).decode() == drawn


@given(st.lists(st.text(alphabet="\x1b\x9d\x9b[]P\\;5\x07\x00\x18aé\n", max_size=8), max_size=8))
def test_nor_do_packets_join_to_it(packets: list[str]) -> None:
    screen = Screen()
    drawn = b"".join(screen(packet.encode()) for packet in packets).decode()
    assert not re.search("\x1b(?!\\[)|[\x00-\x07\x18\x80-\x9f]", drawn)


async def _relay(program: str) -> tuple[Relay, list[bytes]]:
    drawn: list[bytes] = []

    async def send(data: bytes) -> None:
        drawn.append(data)

    return await Relay.start([sys.executable, "-I", "-S", "-c", program], {}, (80, 24), send), drawn


def _whole(program: str) -> tuple[str, list[bytes]]:
    async def whole() -> tuple[str, list[bytes]]:
        relay, drawn = await _relay(program)
        await relay.pump()
        await relay.end(grace=30)
        return relay.ended, drawn

    return asyncio.run(whole())


def test_an_app_draws_and_ends() -> None:
    assert _whole(READY + PUT + 'put(b"one"); put(b"{}", b"M"); put(b"two\\x1b]52;c;?\\x07")') == (
        "",
        [b"one", b"two"],
    )


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ('import sys; sys.exit("orchestrate.toml: not found")', "orchestrate.toml: not found"),
        ("import os; os._exit(3)", "exit status 3"),
        (READY + 'sys.exit("it broke")', "it broke"),
        ('print("x" * 100_000); raise SystemExit("no app")', "no app"),
    ],
)
def test_an_app_that_fails_says_why(program: str, said: str) -> None:
    assert _whole(program) == (said, [])


def test_more_than_a_screen_is_not_waited_for() -> None:
    async def flood() -> list[bytes]:
        relay, drawn = await _relay(READY + 'os.write(1, b"D\\xff\\xff\\xff\\xff"); time.sleep(1000)')
        await relay.pump()
        await relay.end(grace=30)
        return drawn

    assert asyncio.run(flood()) == []


def test_an_app_that_minds_nothing_and_writes_on_is_ended() -> None:
    async def stubborn() -> int | None:
        relay, drawn = await _relay(
            "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            + READY
            + PUT
            + 'while True: put(b"x" * 1000)'
        )
        pump = asyncio.create_task(relay.pump())
        while not drawn:
            await asyncio.sleep(0.01)
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        await relay.end(grace=0.1)
        assert relay.ended == ""  # its end was ours
        return relay._process.returncode

    assert asyncio.run(stubborn()) == -signal.SIGKILL


def test_what_a_browser_says_is_bounded_and_checked() -> None:
    echo = (
        "import json\n" + READY + PUT + "put(f\"{os.environ['COLUMNS']}x{os.environ['ROWS']} \".encode())\n"
        "while head := sys.stdin.buffer.read(5):\n"
        '    put(head[:1] + sys.stdin.buffer.read(int.from_bytes(head[1:], "big")) + b" ")\n'
    )

    async def talk() -> bytes:
        drawn: list[bytes] = []

        async def send(data: bytes) -> None:
            drawn.append(data)

        relay = await Relay.start([sys.executable, "-I", "-S", "-c", echo], {}, (10**9, -5), send)
        pump = asyncio.create_task(relay.pump())
        for said in (
            *(None, 3, [], ["stdin"], ["stdin", 5], ["resize", {}], ["quit"], ["resize", {"width": "1"}]),
            *(["resize", {"width": 10**12, "height": 0}], ["focus"], ["stdin", "é"], ["stdin", "\ud800"]),
        ):
            await relay.take(said)
        while not drawn or not drawn[-1].endswith(b"D? "):
            await asyncio.sleep(0.01)
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        await relay.end(grace=30)
        await relay.take(["stdin", "too late"])
        return b"".join(drawn)

    assert asyncio.run(talk()).decode() == (
        '1000x1 M{"type": "resize", "width": 1000, "height": 1} M{"type": "focus"} Dé D? '
    )
