"""Does an installed client do what dodo_claude takes for granted? Tried offline, for `dodo-claude doctor --client`.

Its API is a stand-in on this machine, its state and settings a folder of ours: no account, no cost, and none of the user's
own settings, hooks and servers. What the user's own make of it, a trial with the account tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dodo_claude.agents.claude import first_run, hooks, tools
from dodo_claude.agents.claude.dialogs import start_dialog
from dodo_claude.agents.faults import FATAL
from dodo_claude.config.config import load_config
from dodo_claude.control import trial
from dodo_claude.control.finding import NOTE, OK, WRONG, Finding
from dodo_claude.control.loopback import Answer, Asked, Call, Loopback
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.machine.server import program
from dodo_claude.run import approval, project_tmux
from dodo_claude.state.events import OUTCOME
from dodo_claude.state.journal import StageLog
from dodo_claude.state.mail import Mailbox, RefusedError

# The whole session, of six requests, takes some 4 s.
SESSION_SECONDS = 45.0
# One start to its dialog or its first request; `claude -p` and `claude doctor`.
START_SECONDS = 20.0
LOOK_SECONDS = 0.1
# What is told of a failed session.
SHOWN = 300  # characters
KEY = "sk-doctor-0000000000"
TARGET = "found.txt"
SERVED = "served"
# What the model is told by hooks, and by which; and what stands before it there, as the proved version has it.
MAILS = {"PostToolBatch": "Between two tools.", "Stop": "At a turn's end."}
FRAME = "{event} hook additional context: "

_STAGE = """\
[orchestrate]
name = "doctor"
worker_memory = "0MB"

[agents.tried]
base = "claude"
command = {command}
allowed_tools = ["Edit(./**)", "Bash(echo *)"]

[stages.trial]
agent = "tried"
prompt = "The doctor's session."
targets = ["found.txt"]
keep = "never"
retries = 0
repairs = 2
timeout = "40s"
env = {{ CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC = "1", DISABLE_TELEMETRY = "1", DISABLE_ERROR_REPORTING = "1" }}
"""
# Of the caller's variables nothing that could lead the client elsewhere.
_PASSED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "VIRTUAL_ENV",
)
_HOOKS = re.compile(r"Valid events: ([\w, ]+)")


def look(command: Sequence[str], environ: Mapping[str, str]) -> list[Finding]:
    """All findings on the client that is started by `command`."""
    with trial.place(None) as root, trial.place(None) as aside:
        session = _Session(root)
        with Loopback(session.answer) as api:
            env = _environment(root, environ, api.url)
            others = _Others(command, root, env, aside)
            with others:
                found = session.play(command, env)
                found += others.findings()
            if session.begun:
                found.append(_reach(command, root, env, session))
    return found


def _environment(root: Path, environ: Mapping[str, str], url: str) -> dict[str, str]:
    plain = {name: environ[name] for name in _PASSED if name in environ}
    state = root / "client"
    state.mkdir()
    # It trusts what lies above the session's folder, which is the top of a repository: that it may begin there is for
    # `--trust` to settle.
    trusted = {str(root.parent): {"hasTrustDialogAccepted": True}}
    known = {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [KEY[-first_run.KEY_TAIL :]], "rejected": []},
        "projects": trusted,
    }
    (state / ".claude.json").write_text(json.dumps(known), encoding="utf-8")
    return {
        **trial.environment(root, plain),
        "CLAUDE_CONFIG_DIR": str(state),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }


# -- a whole session, by `doit orchestrate`


class _Session:
    """The model's part: it calls a tool, says something, leaves its target out twice, then makes it.

    At each step it does what a person or another worker would do meanwhile, and notes what came of the step before.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.begun = False
        self.repairs = 0
        self.looked_in = ""  # why nobody could, if so
        self.heard: dict[str, str] = {}  # hook -> what stood before its message
        self.tools: frozenset[str] = frozenset()
        self.others: dict[str, int] = {}  # prompts of other sessions
        self._steps = 0

    def answer(self, asked: Asked) -> Answer:
        """Called by the API's threads, one request of this session at a time."""
        prompt = next((text for text in asked.texts if not text.startswith("<system-reminder>")), "")
        if "The doctor's session." not in prompt:
            self.others[prompt] = self.others.get(prompt, 0) + 1
            return "ok"
        self.begun, self.tools = True, frozenset(asked.tools)
        self._hear(asked)
        self._steps += 1
        if self._steps == 1:
            self._post("PostToolBatch")
            return Call("Bash", {"command": "echo hello"})
        if self._steps == 2:
            self._post("Stop")
            return "Nothing made yet."
        self.repairs = sum(TARGET in text and "was not written" in text for text in asked.texts)
        if self.repairs == 0 and self._steps < 5:
            return "Nothing made yet."  # its message at the turn's end
        if self.repairs == 1:
            self._look_in()
            return "Nothing made yet."
        if not (self.root / TARGET).exists():
            return Call("Write", {"file_path": str(self.root / TARGET), "content": "found\n"})
        return "Made."

    def _hear(self, asked: Asked) -> None:
        for event, mail in MAILS.items():
            for text in asked.texts:
                before, found, _ = text.partition(f"Message from doctor:\n{mail}")
                if found:
                    self.heard.setdefault(event, before.removeprefix("<system-reminder>").lstrip())

    def _post(self, event: str) -> None:
        with contextlib.suppress(RefusedError, OSError):
            Mailbox(StageLog(self.root / STATE_DIR, "trial")).post(MAILS[event], "doctor")

    def _look_in(self) -> None:
        """Attach as a person does, and leave: a client whose terminal lost the focus draws its box otherwise."""
        try:
            _attach_and_leave(self.root)
        except (OSError, subprocess.SubprocessError) as error:
            self.looked_in = str(error)

    def play(self, command: Sequence[str], env: Mapping[str, str]) -> list[Finding]:
        """Have it run, and say what came of it."""
        (self.root / "orchestrate.toml").write_text(
            _STAGE.format(command=json.dumps(list(command))), encoding="utf-8"
        )
        (self.root / ".git").mkdir()  # the client looks for no more than this
        # A stranger's servers: they neither run nor open a dialog.
        server = {"command": "touch", "args": [str(self.root / SERVED)]}
        (self.root / ".mcp.json").write_text(json.dumps({"mcpServers": {"theirs": server}}), encoding="utf-8")
        approval.approve(load_config(self.root / "orchestrate.toml"), env)
        code, said = trial.orchestrate(self.root, env, SESSION_SECONDS, "--trust")
        return list(self._findings(code, said))

    def _findings(self, code: int, said: str) -> Iterator[Finding]:
        if code != 0 and not self.begun:
            yield _start_fault(self.root, said)
            return
        if (self.root / SERVED).exists():
            yield Finding("client's start", WRONG, "it ran a server of the project's .mcp.json, which nobody allowed",
                          "take the client that was proved")  # fmt: skip
        else:
            yield Finding(
                "client's start",
                OK,
                "it takes our settings, and none of the project's, in a folder recorded as trusted",
            )
        yield self._messages()
        if self.repairs == 0:
            yield Finding(
                "client's input box", WRONG, "a worker's next prompt did not reach it", said[:SHOWN]
            )
        elif self.looked_in:
            yield Finding("client's input box", NOTE, f"nobody could look in: {self.looked_in}")
        elif self.repairs == 1:
            yield Finding("client's input box", WRONG, "a worker's next prompt did not reach it once somebody had looked in",
                          "don't attach to workers, or take the client that was proved")  # fmt: skip
        elif code != 0:
            yield Finding("client's session", WRONG, f"it failed: {said}"[:SHOWN])
        else:
            yield Finding("client's input box", OK, "taken for empty, also once somebody had looked in")

    def _messages(self) -> Finding:
        name = "client's messages"
        lost = [event for event in MAILS if event not in self.heard]
        if lost:
            return Finding(name, WRONG, f"what our {' and '.join(lost)} hook says does not reach the model",
                           "dodo-claude send will not work: take the client that was proved")  # fmt: skip
        other = [event for event, before in self.heard.items() if before != FRAME.format(event=event)]
        if other:
            frames = "; ".join(f"{event}: {self.heard[event].strip()[:SHOWN]!r}" for event in other)
            return Finding(
                name, NOTE, f"they reach the model, in a frame that dodo_claude does not know: {frames}"
            )
        return Finding(name, OK, "what our hooks say reaches the model, in the frames that were proved")


def _start_fault(root: Path, said: str) -> Finding:
    last = StageLog(root / STATE_DIR, "trial").last()
    cause = (
        next((str(event.data.get("cause")) for event in last.replay() if event.kind == OUTCOME), "")
        if last
        else ""
    )
    return Finding("client's start", WRONG, f"a session did not begin: {said}"[:SHOWN], FATAL.get(cause, ""))


def _attach_and_leave(root: Path) -> None:
    tmux = project_tmux.own_tmux(root, os.environ)
    main, side = pty.openpty()
    drain = threading.Thread(target=_drain, args=(main,), daemon=True)
    try:
        looking = subprocess.Popen(
            [program(), "-S", str(tmux.server.socket), "attach-session"], stdin=side, stdout=side, stderr=side,
            env={**os.environ, "TERM": "xterm-256color"}, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(side)
    drain.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not tmux.server.somebody_looks() and looking.poll() is None and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        tmux.server.send_away()
        looking.wait(START_SECONDS)
    finally:
        looking.kill()
        looking.wait()
        drain.join(START_SECONDS)
        os.close(main)


def _drain(fd: int) -> None:
    with contextlib.suppress(OSError):  # the terminal's other end is gone
        while os.read(fd, 65536):
            pass


# -- what it tells of itself without a terminal


class _Others:
    """`claude -p`, whose first line lists its tools, and `claude doctor`, which lists the hook events where one is wrong."""

    def __init__(self, command: Sequence[str], root: Path, env: Mapping[str, str], aside: Path) -> None:
        self._aside = aside  # nothing of the session's is there, nor above
        plain, wrong = (self._config(root, name) for name in ("plain", "wrong"))
        (wrong / "settings.json").write_text('{"hooks": {"NoSuchEvent": []}}', encoding="utf-8")
        self._commands = {
            "tools": (
                [*command, "-p", "--output-format", "stream-json", "--verbose", "--", "Tools?"],
                {"CLAUDE_CONFIG_DIR": str(plain)},
            ),
            "hooks": ([*command, "doctor"], {"CLAUDE_CONFIG_DIR": str(wrong)}),
        }
        self._env = dict(env)
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._deadline = 0.0

    @staticmethod
    def _config(root: Path, name: str) -> Path:
        """A folder of state of its own: what one client writes at its end is none of another's."""
        folder = root / "client" / name
        folder.mkdir()
        (folder / ".claude.json").write_bytes((root / "client/.claude.json").read_bytes())
        return folder

    def __enter__(self) -> None:
        self._deadline = time.monotonic() + START_SECONDS
        for name, (command, more) in self._commands.items():
            with contextlib.suppress(OSError):
                self._running[name] = subprocess.Popen(
                    command, cwd=self._aside, env={**self._env, **more}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
                )  # fmt: skip

    def __exit__(self, *error: object) -> None:
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it started
            process.communicate()

    def _said(self, name: str) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired, KeyError):
            left = max(LOOK_SECONDS, self._deadline - time.monotonic())
            return self._running[name].communicate(timeout=left)[0]
        return ""

    def findings(self) -> list[Finding]:
        """On its tools and its hook events."""
        return [_tools(self._said("tools")), _hooks(self._said("hooks"))]


def _tools(said: str) -> Finding:
    name = "client's tools"
    told: list[str] = []
    for line in said.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            first = json.loads(line)
            if first.get("subtype") == "init":
                told = [str(tool) for tool in first.get("tools") or ()]
                break
    if not told:
        return Finding(name, NOTE, "it does not tell which it has")
    new = sorted({tools.TOOL_NAMES.get(tool, tool) for tool in told} - tools.KNOWN_TOOLS.keys())
    if new:
        return Finding(name, NOTE, f"{len(told)}, of which dodo_claude does not know {', '.join(new)}",
                       "workers are not given them, unless allowed_tools names one")  # fmt: skip
    return Finding(name, OK, f"{len(told)}, all known")


def _hooks(said: str) -> Finding:
    name = "client's hook events"
    found = _HOOKS.search(said)
    if found is None:
        return Finding(name, NOTE, "it does not tell which it has")
    told = set(found[1].replace(" ", "").split(","))
    lost = sorted(hooks.needed_hooks() - told)
    if lost:
        return Finding(name, WRONG, f"{', '.join(lost)}: not known to it", "take the client that was proved")
    new = sorted(told - hooks.KNOWN_HOOKS)
    if new:
        text = f"{len(told)}, of which dodo_claude does not know {', '.join(new)}"
        return Finding(name, NOTE, text, "nothing of a run needs them")
    return Finding(name, OK, f"{len(told)}, all known")


# -- how far its trust reaches


def _reach(command: Sequence[str], root: Path, env: Mapping[str, str], session: _Session) -> Finding:
    """It must ask in a repository below a trusted folder: else trust is judged otherwise than by us."""
    name = "client's trust"
    inner = root / "inner"
    (inner / ".git").mkdir(parents=True)
    prompt = "A folder that nobody trusted."
    words = [f"{key}={value}" for key, value in {**env, "DODO_CLAUDE_NONCE": root.name}.items()]
    words += [*command, "--setting-sources", "user", "--permission-mode", "dontAsk", "--", prompt]
    tmux = project_tmux.own_tmux(root, env)
    pane = tmux.spawn(
        "doctor-inner", ["env", "-i", "TERM=screen-256color", *words], inner, root.name, "inner"
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if (start_dialog(tmux.capture(pane), root) or ("",))[0] == "trust":
            return Finding(name, OK, "it ends at the top of a git repository, as dodo_claude takes it")
        if any(prompt in text for text in session.others):
            return Finding(name, NOTE, "it began in a repository below a trusted folder, where dodo_claude would ask",
                           "answer that, or --trust: it does no harm")  # fmt: skip
        time.sleep(LOOK_SECONDS)
    return Finding(name, NOTE, "in a folder that is not trusted it neither asked nor began")
