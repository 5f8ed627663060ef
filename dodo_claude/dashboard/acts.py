"""What the dashboard's keys do to a stage: dialogs, and a word to `control`. Owns what is asked before; what is said after is the
app's.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from dodo_claude.control import detached, steering, stopping
from dodo_claude.control.caller import Caller
from dodo_claude.dashboard import desk, keys
from dodo_claude.dashboard.dialogs import Say, Sure, yes_no
from dodo_claude.machine import importing
from dodo_claude.report.board import Line
from dodo_claude.report.status import StageStatus
from dodo_claude.text.clean import clean_line, clean_text
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.states import AT_WORK, BLOCKED

if TYPE_CHECKING:
    from dodo_claude.dashboard.dashboard import Dashboard


class Acts:
    """On the stages of one app."""

    def __init__(self, app: Dashboard) -> None:
        self._app = app

    async def attach(self, stage: StageStatus) -> None:
        try:
            await asyncio.to_thread(self._app.session_of, stage.name)
        except DodoClaudeError as error:
            self._app.told(str(error), severity="error")
            return
        with self._app.suspend():
            done = subprocess.run(
                importing.python("dodo_claude", "attach", "--", stage.name),
                stderr=subprocess.PIPE, text=True, errors="replace", check=False,
            )  # fmt: skip
        if done.returncode != 0:
            self._app.told(done.stderr.strip() or f"tmux ended with {done.returncode}", severity="error")

    def _works(self, stage: StageStatus) -> bool:
        """Does a worker take messages there? If not, that is said."""
        if stage.agent is not None and stage.state in AT_WORK:
            return True
        self._app.told(f"no worker is at work on {stage.name}")
        return False

    async def message(self, stage: StageStatus) -> None:
        if not self._works(stage):
            return
        text = await self._app.push_screen_wait(
            Say([(("message to ", ""), (clean_line(stage.name), "bold"))])
        )
        if text and text.strip():
            await self._app.do(lambda: _sent(stage.name, text))

    async def answer(self, stage: StageStatus) -> None:
        view = await asyncio.to_thread(self._app.attempt_of(stage).view)
        if stage.attempt is None or not view.asks:
            self._app.told(f"{stage.name} asks nothing now (m sends it a message)")
            return
        ask = view.asks[0]
        about: list[Line] = [((clean_line(stage.name), "bold"), (" asks:", "")), *(((line, "yellow"),) for line in clean_text(ask.text).split("\n"))]  # fmt: skip
        text = await self._app.push_screen_wait(Say(about))
        if text and text.strip():
            await self._app.do(lambda: steering.reply(Caller(), stage.name, text, ask.id))

    async def allow(self, stage: StageStatus) -> None:
        found = await self._dialog(stage)
        if found is None:
            return
        request, what = found
        about: list[Line] = [
            ((clean_line(stage.name), "bold"), (" asks for:", "")),
            *(((line, "yellow"),) for line in what.split("\n")),
            (),
            yes_no("allow it, this once", "not now"),
        ]
        if await self._app.push_screen_wait(Sure(about)):
            await self._app.do(lambda: steering.permit(Caller(), stage.name, None, request)[1])

    async def deny(self, stage: StageStatus) -> None:
        found = await self._dialog(stage)
        if found is None:
            return
        request, what = found
        about: list[Line] = [
            (("deny ", ""), (clean_line(stage.name), "bold"), (":", "")),
            *(((line, "yellow"),) for line in what.split("\n")),
            (("Why not, or what is it to do instead? (may be empty; escape: not now)", ""),),
        ]
        text = await self._app.push_screen_wait(Say(about))
        if text is not None:
            await self._app.do(lambda: steering.permit(Caller(), stage.name, text.strip(), request)[1])

    async def _dialog(self, stage: StageStatus) -> tuple[str, str] | None:
        """What a worker asks to be permitted, with the request's id; None is said."""
        if stage.state != BLOCKED:
            self._app.told(f"{stage.name} asks for no permission now")
        elif stage.request is None:
            self._app.told(f"{stage.name}: its dialog can be answered in its own session only (a attaches)")
        else:
            with self._app.said():
                request, call = await asyncio.to_thread(lambda: steering.requested(Caller(), stage.name))
                if request:
                    return request, clean_text(call)
                self._app.told(f"{stage.name} asks for it no longer")
        return None

    async def interrupt(self, stage: StageStatus) -> None:
        await self._app.do(lambda: steering.interrupt(Caller(), stage.name))

    async def compact(self, stage: StageStatus) -> None:
        if not self._works(stage):
            return
        about: list[Line] = [((clean_line(stage.name), "bold"), (" compacts its context when its turn ends. What is to be kept in view? (may be empty)", ""))]  # fmt: skip
        goal = await self._app.push_screen_wait(Say(about))
        if goal is not None:
            await self._app.do(lambda: steering.compact(Caller(), stage.name, goal))

    async def stop(self, stage: StageStatus) -> None:
        if not keys.stops(stage, live=self._app.desk.run.live):
            self._app.told(f"{stage.name} is {stage.state}: there is nothing to stop")
            return
        about: list[Line] = [
            (("Stop ", ""), (clean_line(stage.name), "bold"), ("?", "")),
            (("This run tries it no more, and does not run what needs it.", "dim"),)
            if self._app.desk.run.live
            else (("Its session is removed. What it made stays.", "dim"),),
            (("The next run goes on with it.", "dim"),),
            (),
            yes_no("stop it", "leave it"),
        ]
        if await self._app.push_screen_wait(Sure(about)):
            await self._app.do(lambda: "; ".join(stopping.stop(self._app.following.config, stage.name)))

    async def retry(self, stage: StageStatus) -> None:
        if self._app.desk.run.live:
            self._app.told("a run is in progress: what failed can be tried again once it has ended")
        elif stage.state not in desk.LEFT:
            self._app.told(f"{stage.name} is {stage.state}: there is nothing to try again")
        else:
            await self.orchestrate(stage.name)

    async def orchestrate(self, *names: str) -> None:
        self._app.told(f"starts {', '.join(names) or 'all that is left'} …")
        await self._app.do(lambda: detached.orchestrate(self._app.following.config.root, "--detach", *names))


# By the name that the app's keys have for it.
ACTS: Mapping[str, Callable[[Acts, StageStatus], Coroutine[Any, Any, None]]] = {
    "attach": Acts.attach,
    "message": Acts.message,
    "answer": Acts.answer,
    "allow": Acts.allow,
    "deny": Acts.deny,
    "interrupt": Acts.interrupt,
    "compact": Acts.compact,
    "stop": Acts.stop,
    "retry": Acts.retry,
}


def _sent(worker: str, text: str) -> str:
    mailbox, letter = steering.send(Caller(), worker, text)
    return f"{worker}: message {steering.receipt(mailbox, letter, 0.0)}"
