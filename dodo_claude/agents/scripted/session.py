"""The loop: keys, signals and prompts of one session, and the screen after each. What a turn does is in turns.py."""

from __future__ import annotations

import itertools
import re
import signal
import time
from typing import TYPE_CHECKING

from dodo_claude.agents.scripted import turns
from dodo_claude.agents.scripted.agent import Agent, Prompt
from dodo_claude.agents.scripted.hooks import first_block
from dodo_claude.agents.scripted.keys import ESC_WAIT, Box, Keys
from dodo_claude.agents.scripted.loop import Loop
from dodo_claude.agents.scripted.screen import Screen, View
from dodo_claude.agents.scripted.steps import TurnError
from dodo_claude.agents.scripted.transcript import new_id

if TYPE_CHECKING:
    from dodo_claude.agents.scripted.arguments import Launch
    from dodo_claude.agents.scripted.loop import Flow, Task

# How often a busy screen moves, in seconds. Slow on purpose: many workers share the machine.
SPINNER_TICK = 0.5
# The exit codes of the signals that end a session.
CODES: dict[int, int] = {signal.SIGTERM: 143, signal.SIGHUP: 143, signal.SIGINT: 0}
MODE_SIGNS = {
    "dontAsk": "⏵⏵ don't ask mode on",
    "acceptEdits": "⏵⏵ accept edits on",
    "manual": "⏸ manual mode on",
}


class Session:
    """One session of the client, from its first screen to its exit code."""

    def __init__(self, launch: Launch) -> None:
        self.first_prompt = launch.prompt
        self.loop = Loop()
        self.screen = Screen()
        self.agent = Agent(launch, self.loop, self.screen)
        self.ready = False
        self.turn: Task | None = None
        # The command of the compaction under way, as it is shown.
        self.compaction = ""
        # How many prompts have been taken up.
        self.taken = 0
        self.keys = Keys()
        self.last_key = 0.0
        self.box = Box()
        # What the footer says before the key that exits, "" where that key was not the last one.
        self.armed = ""
        self.swallows_enter = launch.stage.ignore_first_enter
        self.just_pasted = False
        # Has the terminal the focus, as far as it was told? A key says so, too.
        self.focused = True

    def run(self) -> int:
        agent = self.agent
        try:
            self.turn = self.loop.start(self.open())
            while agent.exit_code is None:
                self.loop.advance()
                self.next_prompt()
                if agent.exit_code is None:
                    if self.ready:
                        self.screen.draw(self.view())
                    self.listen()
        finally:
            for job in self.loop.jobs.values():
                self.loop.end_job(job, signal.SIGTERM)
            self.screen.close()
        return agent.exit_code

    def open(self) -> Flow[None]:
        """The first task. What is typed before the screen is ready stays in the box, but its Enter is lost."""
        yield from self.agent.pause(self.agent.stage.slow_start)
        own = turns.greet(self.agent)
        self.ready = True
        self.agent.show_status()
        replies = yield from self.agent.fire("SessionStart", subject=own["source"], **own)
        self.agent.tell("SessionStart", replies, own["source"])
        if self.first_prompt:
            self.agent.queue.insert(0, Prompt(self.first_prompt, self.first_prompt, new_id()))

    def listen(self) -> None:
        longest = ESC_WAIT if self.keys.waits else SPINNER_TICK if self.turn and self.ready else None
        typed, signals = self.loop.rest(longest)
        now = time.monotonic()
        self.last_key = now if typed else self.last_key
        for name, text in self.keys.feed(typed, no_more=now - self.last_key >= ESC_WAIT):
            if not self.agent.is_ending:
                self.press(name, text)
        for number in signals:
            self.catch(number)

    def catch(self, number: int) -> None:
        """A signal. The second one does not wait for the SessionEnd hooks of the first."""
        if number not in CODES or (number == signal.SIGTERM and self.agent.ignores_sigterm):
            return
        if self.agent.is_ending:
            self.agent.exit_code = CODES[number]
        else:
            self.leave(CODES[number], "other")

    def leave(self, code: int, reason: str) -> None:
        for task in list(self.loop.tasks):
            self.loop.cancel(task)
        self.turn = self.agent.dialog = None

        def end() -> Flow[None]:
            yield from self.agent.fire("SessionEnd", subject=reason, reason=reason)
            self.agent.exit_code = code

        self.agent.is_ending = True
        self.loop.start(end())

    def view(self) -> View:
        agent, busy = self.agent, ""
        if self.turn and (agent.prompt or agent.doing) and not agent.dialog:
            seconds = time.monotonic() - agent.began
            star = "✽✻✶✳"[int(seconds / SPINNER_TICK) % 4]
            busy = f"{star} Playing… ({agent.doing + ' · ' if agent.doing else ''}{int(seconds)}s)"
        footer = MODE_SIGNS.get(agent.mode, f"⏵⏵ {agent.mode} mode on")
        footer += " · esc to interrupt" if busy else " · scripted agent, not Claude"
        return View(
            box=self.box.shown(),
            placeholder=agent.placeholder,
            busy=busy,
            status=agent.status,
            footer="  " + (f"{self.armed} again to exit" if self.armed else footer),
            queued=tuple(prompt.shown.split("\n")[0] for prompt in agent.queue if not prompt.is_note),
            dialog=agent.dialog.lines if agent.dialog else (),
            focused=self.focused,
        )

    # -- keys, called by `listen`

    def press(self, name: str, text: str) -> None:
        """A key. With a dialog open every key is for the dialog: a pasted prompt is lost and its Enter approves."""
        self.focused = name != "blur"
        if name in ("focus", "blur"):
            return
        if name not in ("ctrl-c", "ctrl-d"):
            self.armed = ""
        if self.agent.dialog:
            self.press_in_dialog(name, text)
        elif name == "enter":
            self.press_enter()
        elif name == "paste":
            self.box.paste(text)
            self.just_pasted = True
        elif name == "text":
            self.box.text += text
        elif name == "back":
            self.box.delete_char()
        elif name == "ctrl-u":
            self.box.delete_line()
        elif name == "esc" and (self.is_answering or self.compaction):
            self.interrupt()
        elif name in ("ctrl-c", "ctrl-d"):
            self.press_exit(name)

    def press_in_dialog(self, name: str, text: str) -> None:
        dialog = self.agent.dialog
        assert dialog is not None
        if name == "enter" or (name == "text" and text[0] in "12"):
            if text.startswith("2") and any("accept edits" in line for line in dialog.lines):
                self.agent.mode = "acceptEdits"
            dialog.is_over = True
        elif name in ("esc", "ctrl-c") or (name == "text" and text[0] == "3"):
            self.interrupt()

    def press_enter(self) -> None:
        if not self.ready:
            return
        if self.swallows_enter and self.just_pasted:
            self.swallows_enter = False
            return
        self.just_pasted = False
        if self.box.text.endswith("\\"):
            self.box.text = self.box.text[:-1] + "\n"
            return
        text, shown, plain = self.box.take()
        if not text.strip():
            return
        self.agent.placeholder = ""
        # A long paste is framed as data and so is no command, but it may be the argument of one.
        command = re.match(r"/([A-Za-z][\w:-]*)(?=\s|$)", text)
        if command:
            self.obey(command[1], plain[command.end() :].strip())
        elif text.startswith("!"):
            self.screen.say(f"❯ {shown}", "  ⎿  the scripted agent plays no shell mode", "")
        else:
            self.submit(text, shown)

    def press_exit(self, name: str) -> None:
        label = {"ctrl-c": "Press Ctrl-C", "ctrl-d": "Press Ctrl-D"}[name]
        if self.is_answering:
            if name == "ctrl-c":
                self.interrupt()
        elif self.box.text:
            if name == "ctrl-c":
                self.box.text = ""
        elif self.armed == label:
            self.leave(0, "prompt_input_exit")
        else:
            self.armed = label

    def interrupt(self) -> None:
        """Esc. No hook tells of it. A prompt that brought nothing yet goes back into the box."""
        agent = self.agent
        assert self.turn is not None
        self.loop.cancel(self.turn)
        self.turn = None
        if self.compaction:
            self.box.text = self.compaction + self.box.text
            self.compaction = agent.doing = ""
            return
        if agent.dialog:
            self.screen.say("  Did not run 1 call")
        if agent.dialog or agent.spoke:
            self.screen.say("  ⎿  Interrupted · What should Claude do instead?", "")
        elif agent.prompt and not agent.prompt.is_note:
            self.box.text = agent.prompt.text + self.box.text
        agent.dialog = agent.prompt = None
        agent.doing = ""

    # -- prompts

    @property
    def is_answering(self) -> bool:
        return bool(self.turn and self.agent.prompt)

    def obey(self, command: str, rest: str) -> None:
        """A slash command: it fires no UserPromptSubmit. A busy session queues it."""
        if command == "exit":
            self.leave(0, "prompt_input_exit")
        elif command in ("compact", "clear"):
            shown = f"/{command} {rest}".rstrip()
            self.agent.queue.append(Prompt(rest, shown, new_id(), command=command))
        else:
            self.screen.say(f"❯ /{command}", f"  ⎿  Unknown command: /{command}", "")

    def submit(self, text: str, shown: str) -> None:
        """Queue a typed prompt. While busy it is announced at once."""
        prompt = Prompt(text, shown, new_id(), announced=self.agent.prompt is not None)
        if prompt.announced:
            self.loop.start(self.announce(prompt))
        self.agent.queue.append(prompt)

    def announce(self, prompt: Prompt) -> Flow[str | None]:
        replies = yield from self.agent.fire("UserPromptSubmit", prompt_id=prompt.id, prompt=prompt.text)
        blocked = first_block(replies)
        if blocked is None:
            self.agent.tell("UserPromptSubmit", replies)
        return blocked

    def next_prompt(self) -> None:
        """Called by `run` when no task can go on. Prompts queued while busy become one turn, as in the client."""
        agent = self.agent
        while True:
            if self.turn and self.turn not in self.loop.tasks:
                self.turn = agent.prompt = None
                self.compaction = ""
            if self.turn or agent.is_ending or not agent.queue or not self.ready:
                return
            announced = itertools.takewhile(lambda prompt: prompt.announced, agent.queue)
            count = len(list(announced)) or 1
            taken, agent.queue = agent.queue[:count], agent.queue[count:]
            self.turn = self.loop.start(self.take_up(taken))
            self.loop.advance()

    def take_up(self, taken: list[Prompt]) -> Flow[None]:
        agent = self.agent
        prompt = taken[0]._replace(
            text="\n".join(prompt.text for prompt in taken), shown="\n".join(prompt.shown for prompt in taken)
        )
        self.taken += 1
        if prompt.command == "compact":
            self.compaction = prompt.shown
            return self.compact(prompt)
        if prompt.command:
            return turns.clear(agent)
        agent.prompt = prompt
        agent.prompt_id = prompt.id
        agent.began = time.monotonic()
        agent.spoke = False
        return self.answer(prompt)

    def answer(self, prompt: Prompt) -> Flow[None]:
        agent = self.agent
        if not prompt.announced:
            blocked = yield from self.announce(prompt)
            if blocked is not None:
                self.screen.say("  UserPromptSubmit operation blocked by hook:", f"  {blocked}", "")
                self.box.text = self.box.text if prompt.is_note else prompt.text + self.box.text
                return
        self.screen.say(*([] if prompt.is_note else [f"❯ {prompt.shown}", ""]))
        agent.transcript.add("user", message={"role": "user", "content": prompt.text})
        try:
            yield from turns.respond(agent, prompt)
        except TurnError:
            self.screen.say("")
        agent.show_status()
        self.loop.start(self.remind())

    def compact(self, prompt: Prompt) -> Flow[None]:
        yield from turns.compact(self.agent, prompt)
        self.loop.start(self.remind())

    def remind(self) -> Flow[None]:
        """Notification for a session that was left idle for a while."""
        taken = self.taken
        yield self.agent.stage.idle_notice
        if taken == self.taken:
            kind = "idle_prompt"
            yield from self.agent.fire(
                "Notification",
                subject=kind,
                message="Claude is waiting for your input",
                notification_type=kind,
            )
