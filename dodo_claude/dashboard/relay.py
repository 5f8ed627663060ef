"""One app in a process of its own, and what goes to and fro between it and a terminal in a browser.

The app is one of Textual's under Textual's web driver, which talks in packets: a letter (D: what a terminal
reads or writes, M: JSON on the terminal itself), four bytes of length, the payload.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

_READY = b"__GANGLION__\n"
_PRELUDE_LINES = 10  # what an app may print before it is ready
MAX_PACKET = 16_000_000  # far more than a screen
_KEPT = 4096  # of what the app says on stderr: the end
_WIDEST, _HIGHEST = 1000, 500
# What a screen needs of a terminal: text, line ends, and control sequences that begin with ESC [. All else goes:
# titles, links, the clipboard (OSC), device strings, controls of one character, also those above 127.
_NEEDLESS = re.compile(
    rb"\x1b[\]PX^_][^\x07\x18\x1a\x1b]*(?:\x07|\x1b\\)?"
    rb"|\x1b(?!\[)|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]|\xc2[\x80-\x9f]"
)


class Screen:
    """What an app writes, less what could do more than draw. Whoever made the text, nothing escapes from the page."""

    def __init__(self) -> None:
        self._held = b""  # a first byte whose meaning comes with the next packet

    def __call__(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = data[-1:] if data.endswith((b"\x1b", b"\xc2")) else b""
        return _NEEDLESS.sub(b"", data[: len(data) - len(self._held)])


class Relay:
    """The app's process. `ended` holds what it said when it failed, else ''."""

    def __init__(self, process: asyncio.subprocess.Process, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._process, self._send = process, send
        self._complaint, self._over = b"", False
        self.ended = ""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environ: Mapping[str, str],
        size: tuple[int, int],
        send: Callable[[bytes], Awaitable[None]],
    ) -> Relay:
        """Start the app on a screen of `size`; `send` is given what is to be drawn, and may take its time."""
        width, height = _within(size)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **environ,
                "TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver",
                "TEXTUAL_COLOR_SYSTEM": "truecolor",
                "TERM_PROGRAM": "textual",  # not the one that the server runs in, whose colours may be fewer
                "COLUMNS": str(width),
                "ROWS": str(height),
            },
            start_new_session=True,  # Ctrl-C is the server's, which then ends the app
            preexec_fn=_tied(),
        )
        return cls(process, send)

    async def pump(self) -> None:
        """Hand over what the app draws, until it ends. Nothing is read ahead: who is slow slows the app."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        source, screen = self._process.stdout, Screen()
        listener = asyncio.create_task(self._listen(self._process.stderr))
        try:
            if await _ready(source):
                while True:
                    head = await source.readexactly(5)
                    if (size := int.from_bytes(head[1:], "big")) > MAX_PACKET:
                        return
                    payload = await source.readexactly(size)
                    # Its other packets, links and files for a browser, stay here.
                    if head[:1] == b"D" and (drawn := screen(payload)):
                        await self._send(drawn)
            self._over = True
        except asyncio.IncompleteReadError:
            self._over = True
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        while data := await stderr.read(_KEPT):
            self._complaint = (self._complaint + data)[-_KEPT:]

    async def take(self, message: object) -> None:
        """What the browser says: ["stdin", text], ["resize", {"width", "height"}], ["focus"], ["blur"]."""
        match message:
            case ["stdin", str(text)]:
                await self._tell(b"D", text.encode("utf-8", "replace"))
            case ["resize", {"width": int(width), "height": int(height)}]:
                width, height = _within((width, height))
                await self._meta({"type": "resize", "width": width, "height": height})
            case ["focus" | "blur" as kind, *_]:
                await self._meta({"type": kind})

    async def _meta(self, data: dict[str, object]) -> None:
        await self._tell(b"M", json.dumps(data).encode())

    async def _tell(self, kind: bytes, payload: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(ConnectionError):  # it is ending
            self._process.stdin.write(kind + len(payload).to_bytes(4, "big") + payload)
            await self._process.stdin.drain()

    async def end(self, grace: float) -> None:
        """End the app: by a signal that it minds, and after `grace` seconds by one that it can't."""
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        if not self._over:
            with suppress(ProcessLookupError):
                process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                # An app that writes when nobody reads would not hear that it is to end.
                await asyncio.gather(_drain(process.stdout), self._listen(process.stderr), process.wait())
        # Kills what is still there, and closes the pipes, whose other ends something may have inherited.
        process._transport.close()  # type: ignore[attr-defined]
        status = await process.wait()
        if self._over and status:
            lines = self._complaint.decode("utf-8", "replace").strip().splitlines()
            self.ended = lines[-1].strip() if lines else f"exit status {status}"


async def _drain(source: asyncio.StreamReader) -> None:
    while await source.read(65536):
        pass


async def _ready(source: asyncio.StreamReader) -> bool:
    with suppress(ValueError):  # a line without an end
        for _ in range(_PRELUDE_LINES):
            if (line := await source.readline()) in (_READY, b""):
                return line == _READY
    return False


def _within(size: tuple[int, int]) -> tuple[int, int]:
    """A screen that no app can run out of memory on."""
    return max(1, min(size[0], _WIDEST)), max(1, min(size[1], _HIGHEST))


def _tied() -> Callable[[], object] | None:
    """Run in the new process: end it with its parent, also when that one is killed. Linux alone knows how."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
