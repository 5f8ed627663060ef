"""A worker's screen, followed: a client of tmux in control mode tells when it changed, and is asked for it only then.

It never sends a key. What comes from it is the worker's: see clean.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence

# Between two looks at a screen that changes all the time.
LOOK_SECONDS = 0.25
# Of a session: its worker's pane, whichever a person made the active one.
WORKER = ":{start}.{top-left}"


async def follow(
    client: Sequence[str], session: str, shown: Callable[[str], None], environ: dict[str, str] | None = None
) -> None:
    """Tell of the screen of `session`'s worker as it is, and whenever it changed; over when the session is gone."""
    process = await asyncio.create_subprocess_exec(
        *client, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={name: value for name, value in (environ or os.environ).items() if name != "TMUX"},
    )  # fmt: skip
    try:
        await _Talk(process, session, shown).go_on()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()  # to the end of its output: only then it is closed


class _Talk:
    """With one client. Answers stand between %begin and %end; what happens meanwhile is told between answers."""

    def __init__(
        self, process: asyncio.subprocess.Process, session: str, shown: Callable[[str], None]
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._command = f"capture-pane -p -e -J -t '{session}{WORKER}'\n".encode()
        self._shown = shown
        self._last: str | None = None
        self._answer: list[bytes] | None = None
        self._end = b""
        self._asked = self._changed = False
        self._later: asyncio.TimerHandle | None = None

    async def go_on(self) -> None:
        rest = b""
        try:
            while data := await self._stdout.read(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if not self._heard(line):
                        return
        finally:
            if self._later is not None:
                self._later.cancel()

    def _heard(self, line: bytes) -> bool:
        if self._answer is not None:
            word, _, rest = line.partition(b" ")
            if word in (b"%end", b"%error") and rest == self._end:
                self._answered(good=word == b"%end")
            else:
                self._answer.append(line)
        elif line.startswith(b"%begin "):
            self._answer, self._end = [], line.partition(b" ")[2]
        elif line.startswith(b"%exit"):
            return False
        elif line.startswith((b"%output ", b"%extended-output ", b"%layout-change ", b"%window-add ")):
            self._changed = True
            self._ask_soon()
        return True

    def _answered(self, *, good: bool) -> None:
        text = b"\n".join(self._answer or []).decode("utf-8", "replace")
        self._answer = None
        if not self._asked:  # the answer to the client's own first command
            self._ask()
            return
        self._asked = False
        if good and text != self._last:
            self._last = text
            self._shown(text)
        if self._changed:
            self._ask_soon()

    def _ask_soon(self) -> None:
        if self._later is None and not self._asked:
            self._later = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._ask)

    def _ask(self) -> None:
        self._later, self._asked, self._changed = None, True, False
        with contextlib.suppress(ConnectionError, RuntimeError):  # it has ended
            self._stdin.write(self._command)
