"""The scripted agent: a terminal program that stands in for the `claude` client and plays a scenario file.

Run as `python -m dodo_claude.scripted ARGS`, with the client's arguments, for demos, tests and benchmarks. It owns the
client's manners (argument shape, input box, dialogs, hooks, exit codes, permission rules); what to play is in scenario.py.
Rules kept here:
- It does only what the real client was seen to do, version 2.1.330. What was not seen is left out, not made up.
- One thread. Whatever takes time is a generator that yields what it waits for, so that keys, signals, hooks and
  timers never race: everything that changes the session runs between two calls of select.
- It says on its screen that it is not Claude.
- It starts once per worker, so heavy imports stay out or move into the function that needs them.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import itertools
import json
import os
import re
import select
import signal
import sys
import termios
import time
import tty
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

from dodo_claude.scenario import (
    FAILURES,
    ScenarioError,
    Stage,
    Step,
    fill,
    fill_pattern,
    load_stage,
    pick_turn,
    read_content,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from typing import TypeAlias, TypeVar

    T = TypeVar("T")
    Wait: TypeAlias = "float | Job | Dialog | None"
    Flow: TypeAlias = Generator[Wait, None, T]

VERSION = "0 (dodo_claude scripted agent)"
# The client's default for a hook without a timeout of its own, in seconds.
HOOK_TIMEOUT = 600.0
# So many blocks of Stop hooks in a row are obeyed; the next one is overridden.
STOP_BLOCK_CAP = 9
# How long after an ESC byte the rest of a key's sequence may still come, in seconds; a lone ESC is the Esc key.
ESC_WAIT = 0.05
# How often a busy screen moves, in seconds. Slow on purpose: many workers share the machine.
SPINNER_TICK = 0.5
# Text above one of these sizes shows in the box as a placeholder and reaches the prompt wrapped.
PASTE_CHARS = 800
PASTE_LINES = 4
# How many lines of a command's output or of a written file the transcript shows.
SHOWN_LINES = 3
# What a generator yields that has nothing to wait for.
NOW = 0.0


# --- arguments ------------------------------------------------------------------------------------------------------

MANY = -1
MODES = ("acceptEdits", "auto", "bypassPermissions", "manual", "dontAsk", "plan")
OPTIONS = {
    "--session-id": 1,
    "--resume": 1,
    "--settings": 1,
    "--permission-mode": 1,
    "--model": 1,
    "--append-system-prompt": 1,
    "--append-system-prompt-file": 1,
    "--autocompact": 1,
    "--setting-sources": 1,
    "--allowedTools": MANY,
    "--disallowedTools": MANY,
    "--mcp-config": MANY,
    "--add-dir": MANY,
    "--strict-mcp-config": 0,
}


class StartError(Exception):
    """The agent does not start: one line for the person, exit code 1."""


def read_arguments(words: list[str]) -> tuple[dict[str, list[str]], str | None]:
    """The options with their values, and the prompt. A variadic option takes all words up to the next option,
    a prompt among them: that is why the client wants `--` before the prompt."""
    options: dict[str, list[str]] = {}
    prompt: str | None = None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            prompt = rest[0] if prompt is None and rest else prompt
            break
        if not word.startswith("-") or word == "-":
            prompt = word if prompt is None else prompt
            continue
        name, equals, value = word.partition("=")
        if name not in OPTIONS:
            raise StartError(f"error: unknown option '{name}'")
        values = options.setdefault(name, [])
        if equals:
            values.append(value)
        elif OPTIONS[name] == 1:
            if not rest:
                raise StartError(f"error: option '{name} <value>' argument missing")
            values.append(rest.pop(0))
        while OPTIONS[name] == MANY and not equals and rest and not rest[0].startswith("-"):
            values.append(rest.pop(0))
    mode = options.get("--permission-mode", ["manual"])[-1]
    if mode not in MODES:
        raise StartError(
            f"error: option '--permission-mode <mode>' argument '{mode}' is invalid. Allowed choices are {', '.join(MODES)}."
        )
    return options, prompt


def read_settings(source: str | None) -> dict[str, Any]:
    """The --settings file, or the JSON text given in its place."""
    if not source:
        return {}
    try:
        if source.lstrip().startswith("{"):
            table = json.loads(source)
        else:
            with open(source, encoding="utf-8") as file:
                table = json.load(file)
    except OSError as error:
        raise StartError(f"Error: Settings file not found: {source} ({error.strerror})") from None
    except ValueError as error:
        raise StartError(f"Settings Error: {source}: {error}") from None
    if not isinstance(table, dict):
        raise StartError(f"Settings Error: {source}: not an object")
    return table


def read_speed() -> float:
    """The factor on all sleeps; 0 leaves them out."""
    text = os.environ.get("DODO_CLAUDE_SCRIPTED_SPEED") or "1"
    try:
        return max(float(text), 0.0)
    except ValueError:
        raise StartError(f"scripted agent: DODO_CLAUDE_SCRIPTED_SPEED: '{text}' is not a number") from None


# --- permission rules -------------------------------------------------------------------------------------------------

# Commands that run without a rule while every path they name is inside the working directory.
READERS = {"ls", "cat", "head", "tail", "wc", "pwd", "echo", "printf", "true", "cd"}
GIT_READERS = {"status", "log", "diff"}
# What acceptEdits runs besides, inside the working directory.
MAKERS = {"mkdir", "touch"}
# Never written through an allow rule.
PROTECTED = re.compile(r"(^|/)(\.git|\.claude)(/|$)|(^|/)(\.mcp\.json|\.bashrc)$")


class Rules(NamedTuple):
    """Permission rules as written, `Edit(./**)`, and the directories their paths start from."""

    allow: tuple[str, ...]
    deny: tuple[str, ...]
    cwd: str


def permit(tool: str, subject: str, mode: str, rules: Rules) -> str:
    """'run', 'deny' or 'ask' for a Bash command line or for a Write's or Edit's path."""
    if _denied(tool, subject, rules):
        return "deny"
    if mode == "bypassPermissions":
        return "run"
    allowed = (
        _bash_allowed(subject, mode, rules) if tool == "Bash" else _path_allowed(tool, subject, mode, rules)
    )
    if allowed:
        return "run"
    return "deny" if mode == "dontAsk" else "ask"


def _split_rule(rule: str) -> tuple[str, str | None]:
    name, bracket, pattern = rule.partition("(")
    return name, pattern.removesuffix(")") if bracket else None


def _denied(tool: str, subject: str, rules: Rules) -> bool:
    for name, pattern in map(_split_rule, rules.deny):
        if pattern is None:
            if name == tool:
                return True
        elif tool == "Bash":
            if name == "Bash" and any(_matches_command(pattern, words) for words in _every_command(subject)):
                return True
        elif name in ("Edit", "Read") and _matches_path(pattern, _real(subject, rules), rules):
            return True
    return False


def _path_allowed(tool: str, path: str, mode: str, rules: Rules) -> bool:
    real = _real(path, rules)
    inside = _is_inside(real, rules.cwd)
    if PROTECTED.search(os.path.relpath(real, rules.cwd) if inside else real):
        return False
    if mode == "acceptEdits" and inside:
        return True
    for name, pattern in map(_split_rule, rules.allow):
        # A path rule of Edit covers Write as well and one of Write covers nothing; bare names cover only themselves.
        if name == tool if pattern is None else name == "Edit" and _matches_path(pattern, real, rules):
            return True
    return False


def _real(path: str, rules: Rules) -> str:
    return os.path.realpath(os.path.join(rules.cwd, os.path.expanduser(path)))


def _is_inside(real: str, folder: str) -> bool:
    return (real + "/").startswith(os.path.realpath(folder).rstrip("/") + "/")


def _matches_path(pattern: str, real: str, rules: Rules) -> bool:
    if pattern.startswith("//"):
        base, rest = "/", pattern[2:]
    elif pattern.startswith("~/"):
        base, rest = os.path.expanduser("~"), pattern[2:]
    elif pattern.startswith("/"):
        base, rest = rules.cwd, pattern[1:]
    else:
        # Relative rules work as in a .gitignore: at any depth.
        base, rest = rules.cwd, "**/" + pattern.removeprefix("./")
    prefix = os.path.realpath(base).rstrip("/") + "/"
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    glob = re.sub(r"\*\*/|\*\*|\*|\?|.", lambda found: pieces.get(found[0]) or re.escape(found[0]), rest)
    return real.startswith(prefix) and re.fullmatch(glob, real[len(prefix) :], re.DOTALL) is not None


def _matches_command(pattern: str, words: list[str]) -> bool:
    line = " ".join(words)
    prefix = pattern.removesuffix(":*").removesuffix(" *")
    if prefix != pattern:
        return line == prefix or line.startswith(prefix + " ")
    return line == pattern


def _bash_allowed(command: str, mode: str, rules: Rules) -> bool:
    allowed = [pattern for name, pattern in map(_split_rule, rules.allow) if name == "Bash"]
    if None in allowed or command.strip() in allowed:
        return True
    commands = _simple_commands(command, mode, rules)
    return bool(commands) and all(
        any(pattern and _matches_command(pattern, words) for pattern in allowed)
        or _is_harmless(words, mode, rules)
        for words in commands
    )


def _is_harmless(words: list[str], mode: str, rules: Rules) -> bool:
    known = words[0] in READERS or (words[0] == "git" and words[1:2] and words[1] in GIT_READERS)
    if not known and not (mode == "acceptEdits" and words[0] in MAKERS):
        return False
    return all(
        "$" not in word and _is_inside(_real(word, rules), rules.cwd) for word in words[1:] if word[:1] != "-"
    )


def _simple_commands(command: str, mode: str, rules: Rules) -> list[list[str]]:
    """The simple commands of a command line, or [] where a text rule cannot see through it or it writes a file."""
    if re.search(r"\$\(|`|[<>]\(|\$\{", command):
        return []
    commands: list[list[str]] = [[]]
    words = iter(_shell_words(command))
    for word in words:
        if not re.fullmatch(r"[();<>|&]+", word):
            commands[-1].append(word)
        elif "<" in word or ">" in word:
            if commands[-1] and commands[-1][-1].isdigit():
                commands[-1].pop()
            target = next(words, "")
            writes = ">" in word and not word.endswith("&") and target != "/dev/null"
            if writes and not _path_allowed("Edit", target, mode, rules):
                return []
        elif "(" in word or ")" in word:
            return []
        else:
            commands.append([])
    return [_unwrap(words) for words in commands if words]


def _shell_words(command: str) -> list[str]:
    import shlex

    lexer = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return ["("]


def _unwrap(words: list[str]) -> list[str]:
    if words[0] == "nohup" and len(words) > 1:
        return words[1:]
    return words[2:] if words[0] == "timeout" and len(words) > 2 else words


def _every_command(command: str) -> Iterable[list[str]]:
    """All that may be a command in the line, for deny rules: these look through brackets and wrappers."""
    for part in re.split(r"[;&|()`\n]+|\bif\b|\bthen\b|\{", command):
        words = part.replace('"', "").replace("'", "").replace("\\", "").split()
        while words and (re.match(r"\w+=", words[0]) or words[0] in ("command", "env", "nohup", "timeout")):
            del words[: 2 if words[0] == "timeout" else 1]
        if words:
            yield [os.path.basename(words[0]), *words[1:]]


# --- transcript file ----------------------------------------------------------------------------------------------------


def new_id() -> str:
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


class Transcript:
    """The session's JSON lines, where the client keeps them. The file appears with the first prompt."""

    def __init__(self, session: str, cwd: str) -> None:
        home = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".claude")
        self.session = session
        self.cwd = cwd
        self.path = os.path.join(home, "projects", re.sub(r"[/_.]", "-", cwd), session + ".jsonl")

    def add(self, kind: str, **fields: Any) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"type": kind, **fields, "uuid": new_id(), "timestamp": stamp}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "sessionId": self.session, "cwd": self.cwd}) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """What was written so far; a line cut short by a kill is left out."""
        lines = []
        with open(self.path, encoding="utf-8") as file:
            for text in file:
                with contextlib.suppress(ValueError):
                    lines.append(json.loads(text))
        return lines


# --- keys ---------------------------------------------------------------------------------------------------------------

PASTE_START, PASTE_END = "\x1b[200~", "\x1b[201~"
CUT_KEY = re.compile(r"\x1b(\[[0-9;?<]*|O)?")
KEY = re.compile(
    r"\x1b\[200~(?P<paste>.*?)\x1b\[201~|(?P<sequence>\x1b\[(?!200~)[0-9;?<]*[ -/]*[@-~]|\x1bO.)"
    r"|(?P<control>[\x00-\x09\x0b-\x1f\x7f])|(?P<text>[^\x00-\x09\x0b-\x1f\x7f]+)",
    re.DOTALL,
)
NAMES = {
    "\r": "enter",
    "\x03": "ctrl-c",
    "\x04": "ctrl-d",
    "\x15": "ctrl-u",
    "\x7f": "back",
    "\x08": "back",
    "\x1b": "esc",
}


class Keys:
    """Bytes from the terminal into (name, text) pairs: text, paste, enter, esc, ctrl-c, ctrl-d, ctrl-u, back."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""

    def feed(self, data: bytes, *, no_more: bool = False) -> list[tuple[str, str]]:
        """`no_more`: nothing came for ESC_WAIT, so what looks like the start of a sequence is the Esc key."""
        self.held += self.decoder.decode(data)
        keys = []
        while self.held:
            if self.held.startswith(PASTE_START) and PASTE_END not in self.held:
                break  # the end always comes; a search of its own because a large paste comes in many pieces
            found = KEY.match(self.held)
            if found is None or (not no_more and found[0] == "\x1b" and CUT_KEY.fullmatch(self.held)):
                break
            self.held = self.held[found.end() :]
            if found["paste"] is not None:
                keys.append(("paste", found["paste"]))
            elif found["control"] in NAMES:
                keys.append((NAMES[found["control"]], ""))
            elif found["text"]:
                # The client takes a long run of characters for a paste, brackets or not.
                keys.append(("paste" if is_long(found["text"]) else "text", found["text"]))
        return keys

    @property
    def waits(self) -> bool:
        """An ESC is held back that may be a key of its own."""
        return bool(self.held) and not self.held.startswith(PASTE_START)


def is_long(text: str) -> bool:
    return len(text) > PASTE_CHARS or text.count("\n") + 1 >= PASTE_LINES


def clean_paste(text: str) -> str:
    """Pasted text as the client alters it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)", "", text)
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "", text).rstrip()


class Box:
    """The input box. A long paste is one private-use character in `text`, so that deleting it is deleting one."""

    FIRST = 0xF0000

    def __init__(self) -> None:
        self.text = ""
        self.pastes: list[str] = []
        self.mark = os.urandom(2).hex()

    def paste(self, text: str) -> None:
        text = clean_paste(text)
        if is_long(text):
            self.pastes.append(text)
            text = chr(self.FIRST + len(self.pastes) - 1)
        self.text += text

    def shown(self) -> str:
        return self._spell(lambda number, text: f"[Pasted text #{number}{_plus_lines(text)}]", self.text)

    def sent(self) -> str:
        wrapped = '\n\n<pasted_content id="{0}">\n{1}\n</pasted_content id="{0}">\n'
        return self._spell(lambda _number, text: wrapped.format(self.mark, text), self.text.rstrip())

    def _spell(self, spell: Callable[[int, str], str], text: str) -> str:
        pieces = []
        for char in text:
            number = ord(char) - self.FIRST
            pieces.append(spell(number + 1, self.pastes[number]) if 0 <= number < len(self.pastes) else char)
        return "".join(pieces)


def _plus_lines(text: str) -> str:
    return f" +{text.count(chr(10))} lines" if "\n" in text else ""


# --- screen -------------------------------------------------------------------------------------------------------------


def columns(text: str) -> int:
    """How many cells of a terminal `text` takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def rows_of(text: str, width: int) -> list[str]:
    """`text` cut into rows of at most `width` cells."""
    rows = []
    for line in text.split("\n"):
        row, used = "", 0
        for char in line:
            cells = columns(char)
            if used + cells > width:
                rows.append(row)
                row, used = "", 0
            row, used = row + char, used + cells
        rows.append(row)
    return rows


class View(NamedTuple):
    """What the live part of the screen shows, below the transcript."""

    box: str = ""
    placeholder: str = ""
    busy: str = ""
    footer: str = ""
    queued: tuple[str, ...] = ()
    dialog: tuple[str, ...] = ()


def render(view: View, width: int, height: int) -> list[str]:
    """The live part as rows, none wider than `width` - 1 so that none wraps. Pure."""
    width = max(width - 1, 4)
    rule = "─" * width
    rows = [""]
    if view.busy:
        rows += [view.busy, ""]
    for text in view.queued:
        rows += [f"❯ {text}", "  Queued · ctrl+x ctrl+s to send now", ""]
    if view.dialog:
        rows += [rule, *view.dialog]
    else:
        # The box is told from its surroundings by the inverse cell; a placeholder's first letter is that cell.
        typed = rows_of("❯\xa0" + view.box, width - 1)
        hint = view.placeholder if not view.box else ""
        cursor = f"\x1b[7m{hint[0]}\x1b[0;2m{hint[1 : width - 2]}\x1b[0m" if hint else "\x1b[7m \x1b[0m"
        rows += [rule, *typed[:-1], typed[-1] + cursor, rule, view.footer]
    cut = [row if "\x1b" in row else rows_of(row, width)[0] for row in rows]
    return cut[-max(height - 1, 1) :]


class Screen:
    """The terminal: finished lines go up into the scrollback, the live rows are wiped and drawn again below them."""

    def __init__(self) -> None:
        self.before = termios.tcgetattr(0)
        self.fresh: list[str] = []
        self.rows: list[str] = []
        self.ends_blank = False
        self.title = ""
        # Not the default, which would drop what was typed before: the client keeps that in its box.
        tty.setraw(0, termios.TCSANOW)
        self.put("\x1b[?2004h\x1b[?25l")

    def put(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        with contextlib.suppress(OSError):  # the terminal may be gone; then the hang-up ends the session
            while data:
                data = data[os.write(1, data) :]

    def say(self, *lines: str) -> None:
        for line in lines:
            shown = line.expandtabs(4).replace("\r\n", "\n")
            self.fresh += re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "", shown).split("\n")

    def wipe(self) -> str:
        """What takes the live rows off the screen. A narrower window has wrapped them: hence the count by cells."""
        width = max(self.size()[0], 1)
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in self.rows]
        up = sum(max(-(-columns(row) // width), 1) for row in plain) - 1
        return (f"\x1b[{up}A" if up > 0 else "") + "\r\x1b[J"

    def draw(self, view: View) -> None:
        rows = render(view, *self.size())
        if self.fresh:
            self.ends_blank = not self.fresh[-1]
        rows = rows[1:] if self.ends_blank and len(rows) > 1 and not rows[0] else rows
        title = "◐ scripted agent" if view.busy else "✳ scripted agent"
        if not self.fresh and rows == self.rows and title == self.title:
            return
        text = self.wipe() + "".join(line + "\r\n" for line in self.fresh) + "\r\n".join(rows)
        self.put((f"\x1b]0;{title}\x07" if title != self.title else "") + text)
        self.fresh, self.rows, self.title = [], rows, title

    def size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(1)
        except OSError:
            return 80, 24
        return width or 80, height or 24

    def close(self) -> None:
        text = self.wipe() + "".join(line + "\r\n" for line in self.fresh)
        self.put(text + "\x1b[?2004l\x1b[?25h")
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSANOW, self.before)


# --- waiting ------------------------------------------------------------------------------------------------------------


class Job:
    """A child process. Its output goes to files without a name, so that waiting for it is waiting for its end only."""

    def __init__(self, pid: int, output: tuple[int, int], deadline: float, task: Task | None) -> None:
        self.pid = pid
        self.output = output
        self.deadline = deadline
        self.task = task
        self.ended = False
        # Exit code, negative for a signal; None when it overran its time.
        self.code: int | None = None
        self.out = ""
        self.err = ""
        self.then: Callable[[Job], None] | None = None


class Dialog:
    """An open permission dialog; `answer` becomes yes or no."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines
        self.answer = ""


class Task:
    """A generator under way, with what it waits for: seconds, a job, a dialog, or None for ever."""

    def __init__(self, flow: Flow[Any]) -> None:
        self.flow = flow
        self.wait: Wait = 0.0
        self.due = 0.0

    def is_ready(self, now: float) -> bool:
        if isinstance(self.wait, Job):
            return self.wait.ended
        if isinstance(self.wait, Dialog):
            return bool(self.wait.answer)
        return self.wait is not None and now >= self.due


def scratch_file(data: bytes = b"") -> int:
    folder = os.environ.get("TMPDIR") or os.sep + "tmp"
    path = os.path.join(folder, f"scripted-{os.getpid()}-{os.urandom(6).hex()}")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    while data:
        data = data[os.write(file, data) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


class Loop:
    """Runs tasks, children and signals on one thread. Knows nothing of sessions."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.jobs: dict[int, Job] = {}
        self.current: Task | None = None
        self.has_input = True
        self.wake, wake_end = os.pipe()
        for end in (self.wake, wake_end):
            os.set_blocking(end, False)
        # Python writes each signal's number into this pipe; the handlers themselves have nothing to do.
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGWINCH):
            signal.signal(number, lambda *_: None)

    def start(self, flow: Flow[Any]) -> Task:
        task = Task(flow)
        self.tasks.append(task)
        return task

    def cancel(self, task: Task) -> None:
        """Drop the task and end the children it waits for."""
        if task in self.tasks:
            self.tasks.remove(task)
            task.flow.close()
        for job in self.jobs.values():
            if job.task is task:
                self.end_job(job, signal.SIGTERM)

    def spawn(
        self,
        argv: list[str],
        env: dict[str, str],
        data: bytes = b"",
        timeout: float = float("inf"),
        own_session: bool = False,
    ) -> Job:
        files = scratch_file(data), scratch_file(), scratch_file()
        actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)]
        # A group of its own, so that ending a child ends what it started.
        group: dict[str, Any] = {"setsid": True} if own_session else {"setpgroup": 0}
        pid = os.posix_spawn(
            argv[0],
            argv,
            env,
            file_actions=actions,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            **group,
        )
        os.close(files[0])
        job = Job(pid, files[1:], time.monotonic() + timeout, self.current)
        self.jobs[pid] = job
        return job

    def end_job(self, job: Job, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(job.pid, number)

    def advance(self) -> None:
        """Run every task as far as it goes without waiting."""
        moved = True
        while moved:
            moved = False
            for task in list(self.tasks):
                if task in self.tasks and task.is_ready(time.monotonic()):
                    self._step(task)
                    moved = True

    def _step(self, task: Task) -> None:
        self.current = task
        try:
            task.wait = next(task.flow)
        except StopIteration:
            if task in self.tasks:
                self.tasks.remove(task)
        finally:
            self.current = None
        if isinstance(task.wait, float | int):
            task.due = time.monotonic() + task.wait

    def rest(self, longest: float | None) -> tuple[bytes, bytes]:
        """Sleep until something happens. Returns what was typed and the numbers of the signals that came."""
        now = time.monotonic()
        dues = [task.due for task in self.tasks if isinstance(task.wait, float | int)]
        dues += [job.deadline for job in self.jobs.values() if job.deadline != float("inf")]
        if longest is not None:
            dues.append(now + longest)
        timeout = max(min(dues) - now, 0.0) if dues else None
        watched = [self.wake, 0] if self.has_input else [self.wake]
        ready = select.select(watched, [], [], timeout)[0]
        typed = signals = b""
        if self.wake in ready:
            signals = os.read(self.wake, 4096)
        if 0 in ready:
            with contextlib.suppress(OSError):
                typed = os.read(0, 65536)
            if not typed:  # the terminal is gone
                self.has_input = False
                signals += bytes([signal.SIGHUP])
        self._reap()
        return typed, signals

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid in self.jobs:
                    self._finish(self.jobs[pid], os.waitstatus_to_exitcode(status))
        for job in list(self.jobs.values()):
            if time.monotonic() >= job.deadline:
                self.end_job(job, signal.SIGKILL)
                self._finish(job, None)

    def _finish(self, job: Job, code: int | None) -> None:
        del self.jobs[job.pid]
        job.ended, job.code = True, code
        job.out, job.err = (_drain(file) for file in job.output)
        if job.then:
            job.then(job)


def _drain(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(file, "rb") as stream:
        return stream.read().decode("utf-8", "replace")


# --- hooks --------------------------------------------------------------------------------------------------------------

# Which of prompt_id, permission_mode and effort an event's record has, by their first letters.
COMMON = {
    "SessionStart": "",
    "UserPromptSubmit": "pm",
    "PreToolUse": "pme",
    "PostToolUse": "pme",
    "PostToolUseFailure": "pme",
    "PostToolBatch": "pme",
    "PermissionRequest": "pme",
    "Notification": "p",
    "Stop": "pme",
    "StopFailure": "pe",
    "SubagentStop": "pme",
    "PreCompact": "p",
    "PostCompact": "p",
    "SessionEnd": "p",
}


class Reply(NamedTuple):
    """What one hook answered."""

    code: int | None
    data: dict[str, Any]
    blocks: str | None

    @classmethod
    def of(cls, job: Job, command: str) -> Reply:
        """Anything but exit 0 with an object, or exit 2, is no answer: the client's hooks fail open."""
        data: dict[str, Any] = {}
        if job.code == 0 and job.out.lstrip().startswith("{"):
            with contextlib.suppress(ValueError):
                data = json.loads(job.out)
        blocks = None
        if job.code == 2:
            blocks = f"[{command}]: {job.err.strip()}"
        elif data.get("decision") == "block":
            blocks = str(data.get("reason", ""))
        return cls(job.code, data, blocks)

    def own(self, key: str) -> Any:
        table = self.data.get("hookSpecificOutput")
        return table.get(key) if isinstance(table, dict) else None


def first_block(replies: list[Reply]) -> str | None:
    return next((reply.blocks for reply in replies if reply.blocks is not None), None)


# --- the session --------------------------------------------------------------------------------------------------------


def read_stop(replies: list[Reply]) -> tuple[str, str | None]:
    """Why a Stop's hooks let the agent go on, with the words the screen says it with; None when they do not."""
    block = first_block(replies)
    if block is not None:
        return "reported a problem", block
    contexts = (reply.own("additionalContext") for reply in replies)
    return "says:", next((str(context) for context in contexts if context), None)


class TurnError(Exception):
    """The turn failed, and StopFailure has said so: no Stop hook is due."""


class Prompt(NamedTuple):
    """A prompt on its way. `steps` are played in place of the scenario's turn; `announced`: its hook has run."""

    text: str
    shown: str
    is_note: bool = False
    steps: tuple[Step, ...] | None = None
    announced: bool = False
    id: str = ""
    # A slash command, whose argument is then the text.
    command: str = ""


class Agent:
    """One session of the client, played from a scenario's stage."""

    def __init__(self, options: dict[str, list[str]], settings: dict[str, Any], stage: Stage) -> None:
        def last(name: str) -> str | None:
            return options[name][-1] if options.get(name) else None

        self.stage = stage
        self.settings = settings
        self.mode = last("--permission-mode") or "manual"
        self.model = last("--model") or "scripted"
        self.cwd = os.getcwd()
        self.resumes = last("--resume") is not None
        self.transcript = Transcript(last("--resume") or last("--session-id") or new_id(), self.cwd)
        self.rules = gather_rules(options, settings, self.cwd)
        self.speed = read_speed()
        self.values = stage.values()
        self.cursor = 0
        self.prompt_id: str | None = None
        self.box = Box()
        self.keys = Keys()
        self.last_key = 0.0
        self.queue: list[Prompt] = []
        self.background = 0
        self.turn: Task | None = None
        self.prompt: Prompt | None = None
        self.dialog: Dialog | None = None
        # How many prompts have been taken up.
        self.taken = 0
        self.ending: Task | None = None
        self.exit_code: int | None = None
        self.ready = False
        self.spoke = False
        self.armed = ""
        self.doing = ""
        self.placeholder = ""
        self.last_message = ""
        self.began = 0.0
        self.swallows_enter = stage.ignore_first_enter
        self.just_pasted = False
        self.ignores_sigterm = False

    # the loop

    def run(self, prompt: str | None) -> int:
        self.loop = Loop()
        self.screen = Screen()
        try:
            self.turn = self.loop.start(self.open(prompt))
            while self.exit_code is None:
                self.loop.advance()
                self.next_prompt()
                if self.ready and self.exit_code is None:
                    self.screen.draw(self.view())
                if self.exit_code is None:
                    self.listen()
        finally:
            for job in self.loop.jobs.values():
                self.loop.end_job(job, signal.SIGTERM)
            self.screen.close()
        return self.exit_code

    def listen(self) -> None:
        longest = ESC_WAIT if self.keys.waits else SPINNER_TICK if self.turn and self.ready else None
        typed, signals = self.loop.rest(longest)
        now = time.monotonic()
        self.last_key = now if typed else self.last_key
        for name, text in self.keys.feed(typed, no_more=now - self.last_key >= ESC_WAIT):
            if not self.ending:
                self.press(name, text)
        for number in signals:
            self.catch(number)

    def catch(self, number: int) -> None:
        """A signal. The second one does not wait for the SessionEnd hooks of the first."""
        codes = {signal.SIGTERM: 143, signal.SIGHUP: 143, signal.SIGINT: 0}
        if number not in codes or (number == signal.SIGTERM and self.ignores_sigterm):
            return
        if self.ending:
            self.exit_code = codes[signal.Signals(number)]
        else:
            self.leave(codes[signal.Signals(number)], "other")

    def leave(self, code: int, reason: str) -> None:
        for task in list(self.loop.tasks):
            self.loop.cancel(task)
        self.turn = self.dialog = None

        def end() -> Flow[None]:
            yield from self.fire("SessionEnd", subject=reason, reason=reason)
            self.exit_code = code

        self.ending = self.loop.start(end())

    def view(self) -> View:
        busy = ""
        if self.turn and (self.prompt or self.doing) and not self.dialog:
            seconds = int(time.monotonic() - self.began)
            star = "✽✻✶✳"[int((time.monotonic() - self.began) / SPINNER_TICK) % 4]
            busy = f"{star} Playing… ({self.doing + ' · ' if self.doing else ''}{seconds}s)"
        signs = {
            "dontAsk": "⏵⏵ don't ask mode on",
            "acceptEdits": "⏵⏵ accept edits on",
            "manual": "⏸ manual mode on",
        }
        footer = "  " + signs.get(self.mode, f"⏵⏵ {self.mode} mode on")
        footer += " · esc to interrupt" if busy else " · scripted agent, not Claude"
        queued = tuple(prompt.shown.split("\n")[0] for prompt in self.queue if not prompt.is_note)
        return View(
            box=self.box.shown(),
            placeholder=self.placeholder,
            busy=busy,
            footer=f"  {self.armed} again to exit" if self.armed else footer,
            queued=queued,
            dialog=self.dialog.lines if self.dialog else (),
        )

    # starting

    def open(self, prompt: str | None) -> Flow[None]:
        """The first task. What is typed before the screen is ready stays in the box, but its Enter is lost."""
        yield self.stage.slow_start * self.speed
        self.screen.say(
            "",
            " ▗▄▄▄▖   Scripted agent: this is NOT Claude",
            f" ▐▘ ▝▌   it plays the stage '{self.stage.name}' of a scenario file, no model is asked",
            f" ▝▀▀▀▘   {self.cwd}",
            "",
        )
        own = {"source": "startup", "model": self.model}
        if self.resumes:
            own = self.recall()
        self.ready = True
        yield from self.fire("SessionStart", subject=own["source"], **own)
        if prompt:
            self.queue.insert(0, Prompt(prompt, prompt, id=new_id()))

    def recall(self) -> dict[str, Any]:
        """Show a resumed session's history, go on after its last turn, and return what its SessionStart says."""
        tokens = 0
        for line in self.transcript.lines():
            message = line.get("message") or {}
            if line["type"] == "user":
                self.screen.say(f"❯ {message['content']}", "")
            elif line["type"] == "assistant":
                self.screen.say(f"● {message['content'][0]['text']}", "")
                tokens = sum(message["usage"].values())
            elif line.get("subtype") == "scripted_turn":
                self.cursor = line["next"]
        silence = max(int(time.time() - os.path.getmtime(self.transcript.path)), 0)
        return {
            "source": "resume",
            "seconds_since_last_response": silence,
            "context_tokens": tokens,
            "prompt_cache_likely_expired": silence > 300,
            "estimated_cache_write_usd": 0.0,
        }

    # keys

    def press(self, name: str, text: str) -> None:
        """A key. With a dialog open every key is for the dialog: a pasted prompt is lost and its Enter approves."""
        if name not in ("ctrl-c", "ctrl-d"):
            self.armed = ""
        if self.dialog:
            self.press_in_dialog(name, text)
        elif name == "enter":
            self.press_enter()
        elif name == "paste":
            self.box.paste(text)
            self.just_pasted = True
        elif name == "text":
            self.box.text += text
        elif name == "back":
            self.box.text = self.box.text[:-1]
        elif name == "ctrl-u":
            above, newline, _ = self.box.text.rpartition("\n")
            self.box.text = above + newline if not self.box.text.endswith("\n") else above
        elif name == "esc" and self.turn and self.prompt:
            self.interrupt()
        elif name in ("ctrl-c", "ctrl-d"):
            self.press_exit(name)

    def press_in_dialog(self, name: str, text: str) -> None:
        if name == "enter" or (name == "text" and text[0] in "12"):
            assert self.dialog is not None
            if text.startswith("2") and any("accept edits" in line for line in self.dialog.lines):
                self.mode = "acceptEdits"
            self.dialog.answer = "yes"
        elif name in ("esc", "ctrl-c") or (name == "text" and text[0] == "3"):
            self.interrupt()

    def press_enter(self) -> None:
        if not self.ready or (self.swallows_enter and self.just_pasted):
            self.swallows_enter = self.swallows_enter and not self.ready
            return
        self.just_pasted = False
        if self.box.text.endswith("\\"):
            self.box.text = self.box.text[:-1] + "\n"
            return
        text, shown = self.box.sent(), self.box.shown().rstrip()
        self.box.text = ""
        if not text.strip():
            return
        self.placeholder = ""
        command = re.match(r"/([A-Za-z][\w:-]*)(?:\s+(.*))?$", text, re.DOTALL)
        if command:
            self.obey(command[1], command[2])
        elif text.startswith("!"):
            self.screen.say(f"❯ {shown}", "  ⎿  the scripted agent plays no shell mode", "")
        else:
            self.submit(Prompt(text, shown))

    def press_exit(self, name: str) -> None:
        label = {"ctrl-c": "Press Ctrl-C", "ctrl-d": "Press Ctrl-D"}[name]
        if self.turn and self.prompt:
            if name == "ctrl-c":
                self.interrupt()
        elif self.box.text:
            if name == "ctrl-c":
                self.box.text = ""
        elif self.armed == label:
            self.leave(0, "prompt_input_exit")
        else:
            self.armed = label

    def obey(self, command: str, rest: str | None) -> None:
        """A slash command: it fires no UserPromptSubmit. A busy session queues it."""
        if command == "exit":
            self.leave(0, "prompt_input_exit")
        elif command in ("compact", "clear"):
            self.queue.append(Prompt(rest or "", f"/{command} {rest or ''}".rstrip(), command=command))
        else:
            self.screen.say(f"❯ /{command}", f"  ⎿  Unknown command: /{command}", "")

    def interrupt(self) -> None:
        """Esc. No hook tells of it. A prompt that brought nothing yet goes back into the box."""
        assert self.turn is not None
        self.loop.cancel(self.turn)
        self.turn = None
        if self.dialog:
            self.screen.say("  Did not run 1 call")
        if self.dialog or self.spoke:
            self.screen.say("  ⎿  Interrupted · What should Claude do instead?", "")
        elif self.prompt and not self.prompt.is_note:
            self.box.text = self.prompt.text + self.box.text
        self.dialog = self.prompt = None
        self.doing = ""

    # prompts

    def submit(self, prompt: Prompt) -> None:
        """Enter, or a note of the client's own. While busy a typed prompt is announced at once and queued."""
        prompt = prompt._replace(id=new_id())
        if self.prompt and not prompt.is_note:
            prompt = prompt._replace(announced=True)
            self.loop.start(self.announce(prompt))
        self.queue.append(prompt)

    def announce(self, prompt: Prompt) -> Flow[str | None]:
        replies = yield from self.fire("UserPromptSubmit", prompt_id=prompt.id, prompt=prompt.text)
        return first_block(replies)

    def next_prompt(self) -> None:
        """Called by the loop when no task can go on. Prompts queued while busy become one turn, as in the client."""
        while True:
            if self.turn and self.turn not in self.loop.tasks:
                self.turn = self.prompt = None
            if self.turn or self.ending or not self.queue or not self.ready:
                return
            count = len(list(itertools.takewhile(lambda prompt: prompt.announced, self.queue))) or 1
            taken, self.queue = self.queue[:count], self.queue[count:]
            self.turn = self.loop.start(self.take_up(taken))
            self.loop.advance()

    def take_up(self, taken: list[Prompt]) -> Flow[None]:
        prompt = taken[0]._replace(
            text="\n".join(prompt.text for prompt in taken), shown="\n".join(prompt.shown for prompt in taken)
        )
        self.taken += 1
        if prompt.command:
            return self.compact(prompt) if prompt.command == "compact" else self.clear()
        self.prompt = prompt
        self.prompt_id = prompt.id
        self.began = time.monotonic()
        self.spoke = False
        return self.answer(prompt)

    def answer(self, prompt: Prompt) -> Flow[None]:
        if not prompt.announced:
            blocked = yield from self.announce(prompt)
            if blocked is not None:
                self.screen.say("  UserPromptSubmit operation blocked by hook:", f"  {blocked}", "")
                self.box.text = self.box.text if prompt.is_note else prompt.text + self.box.text
                return
        self.screen.say(*([] if prompt.is_note else [f"❯ {prompt.shown}", ""]))
        self.transcript.add("user", message={"role": "user", "content": prompt.text})
        try:
            yield from self.respond(prompt)
        except TurnError:
            self.screen.say("")
        self.turn = self.prompt = None
        self.loop.start(self.remind("idle_prompt", self.stage.idle_notice))

    def respond(self, prompt: Prompt) -> Flow[None]:
        """Play turns until a Stop is not blocked."""
        text, steps, active = prompt.text, prompt.steps, prompt.is_note and prompt.steps is None
        for blocks in range(STOP_BLOCK_CAP + 1):
            self.last_message = ""
            yield from self.play(text, steps)
            self.doing = "running Stop hook"
            running = [{"type": "shell", "status": "running"}] * self.background
            replies = yield from self.fire(
                "Stop",
                stop_hook_active=active,
                last_assistant_message=self.last_message,
                background_tasks=running,
                session_crons=[],
            )
            self.doing = ""
            told, reason = read_stop(replies)
            if reason is None:
                break
            if blocks == STOP_BLOCK_CAP:
                self.screen.say(f"  Stop hook blocked {blocks} times in a row: overridden", "")
                break
            self.screen.say("● Ran 1 stop hook", f"  ⎿  Stop hook {told}", f"     {reason}", "")
            self.transcript.add("user", message={"role": "user", "content": reason})
            text, steps, active = reason, None, True
        self.screen.say(f"✻ Worked for {int(time.monotonic() - self.began)}s · done", "")

    def play(self, text: str, steps: tuple[Step, ...] | None) -> Flow[None]:
        if steps is None:
            index = pick_turn(self.stage.turns, self.cursor, text)
            if index is None:
                self.speak("The scenario has no turn for this prompt.")
                return
            self.cursor = index + 1
            self.transcript.add("system", subtype="scripted_turn", next=self.cursor)
            steps = self.stage.turns[index].steps
        for step in steps:
            goes_on = yield from PLAYS[step.kind](self, step, text)
            if not goes_on:
                return

    # hooks

    def fire(self, event: str, subject: str = "", **own: Any) -> Flow[list[Reply]]:
        """Run the event's hooks at the same time and wait for those that are not asynchronous. `subject` is what
        a matcher is matched with."""
        started = []
        for hook in self.hooks_for(event, subject):
            command = str(hook["command"])
            data = json.dumps(self.record(event, own)).encode()
            timeout = float(hook.get("timeout", HOOK_TIMEOUT))
            job = self.loop.spawn(["/bin/sh", "-c", command], self.hook_environment(), data, timeout)
            if hook.get("asyncRewake"):
                job.task = None
                job.then = functools.partial(self.wake, hook)
            elif hook.get("async"):
                job.task = None
            else:
                started.append((job, command))
        for job, _ in started:
            yield job
        replies = [Reply.of(job, command) for job, command in started]
        for reply in replies:
            if reply.own("additionalContext") and event != "Stop":
                content = {
                    "type": "hook_additional_context",
                    "hookEvent": event,
                    "content": reply.own("additionalContext"),
                }
                self.transcript.add("attachment", attachment=content)
        return replies

    def hooks_for(self, event: str, subject: str) -> Iterable[dict[str, Any]]:
        if self.stage.no_hooks or self.settings.get("disableAllHooks"):
            return
        for group in self.settings.get("hooks", {}).get(event, []):
            matcher = group.get("matcher") or "*"
            if matcher == "*" or not subject or re.fullmatch(matcher, subject):
                yield from (hook for hook in group.get("hooks", []) if hook.get("type") == "command")

    def record(self, event: str, own: dict[str, Any]) -> dict[str, Any]:
        record: dict[str, Any] = {
            "session_id": self.transcript.session,
            "transcript_path": self.transcript.path,
            "cwd": self.cwd,
        }
        if "p" in COMMON[event] and self.prompt_id:
            record["prompt_id"] = self.prompt_id
        if "m" in COMMON[event]:
            record["permission_mode"] = "default" if self.mode == "manual" else self.mode
        if "e" in COMMON[event]:
            record["effort"] = {"level": "medium"}
        return {**record, "hook_event_name": event, **own}

    def hook_environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CLAUDE_PROJECT_DIR": self.cwd,
            "CLAUDE_CODE_SESSION_ID": self.transcript.session,
            "CLAUDE_PID": str(os.getpid()),
            "CLAUDECODE": "1",
        }

    def wake(self, hook: dict[str, Any], job: Job) -> None:
        """An asyncRewake hook ended: exit code 2 puts its stderr before the agent, anything else is nothing."""
        if job.code != 2 or self.ending:
            return
        opening = hook.get("rewakeMessage") or 'Stop hook blocking error from command "Stop":'
        self.screen.say(f"● {hook.get('rewakeSummary') or 'Stop hook feedback'}", "")
        text = f"<task-notification>\n{opening}\n{job.err.strip()}\n</task-notification>"
        self.submit(Prompt(text, "", is_note=True))

    def remind(self, kind: str, delay: float) -> Flow[None]:
        """Notification for a dialog or an idle session that nobody looked at for `delay` seconds."""
        dialog, taken = self.dialog, self.taken
        yield delay
        if dialog is not self.dialog or taken != self.taken or (kind == "idle_prompt" and self.turn):
            return
        message = {"permission_prompt": "Claude needs your permission"}.get(
            kind, "Claude is waiting for your input"
        )
        yield from self.fire("Notification", subject=kind, message=message, notification_type=kind)

    # slash commands

    def compact(self, prompt: Prompt) -> Flow[None]:
        """/compact: neither UserPromptSubmit nor Stop; PostCompact is its end."""
        self.screen.say(f"❯ {prompt.shown}")
        self.began, self.doing = time.monotonic(), "compacting conversation"
        replies = yield from self.fire(
            "PreCompact", subject="manual", trigger="manual", custom_instructions=prompt.text or None
        )
        blocked = first_block(replies)
        if blocked is not None:
            self.doing = ""
            self.screen.say(f"  ⎿  Compaction blocked by hook: {blocked}", "")
            return
        summary = "<analysis>compacted by the scripted agent</analysis>\n<summary>\n1. Scripted session.\n</summary>"
        agent = "a" + os.urandom(8).hex()
        yield from self.fire(
            "SubagentStop",
            agent_id=agent,
            agent_type="",
            stop_hook_active=False,
            agent_transcript_path=f"{self.transcript.path.removesuffix('.jsonl')}/subagents/agent-{agent}.jsonl",
            last_assistant_message=summary,
            background_tasks=[],
            session_crons=[],
        )
        own = {"prompt_id": self.prompt_id} if self.prompt_id else {}
        yield from self.fire("SessionStart", subject="compact", **own, source="compact", model=self.model)
        self.transcript.add("system", subtype="compact_boundary", compactMetadata={"trigger": "manual"})
        yield from self.fire("PostCompact", subject="manual", trigger="manual", compact_summary=summary)
        self.doing = ""
        self.screen.say("  ⎿  Compacted (ctrl+o to see full summary)", "")

    def clear(self) -> Flow[None]:
        yield from self.fire("SessionEnd", subject="clear", reason="clear")
        self.transcript = Transcript(new_id(), self.cwd)
        yield from self.fire("SessionStart", subject="clear", source="clear", model=self.model)
        self.screen.say("❯ /clear", "")

    # what a turn does

    def speak(self, text: str) -> None:
        self.spoke = True
        self.last_message = text
        self.screen.say("● " + text.replace("\n", "\n  "), "")
        asked = len(self.prompt.text) if self.prompt else 0
        usage = self.stage.usage or {"input_tokens": asked // 4 + 1, "output_tokens": len(text) // 4 + 1}
        counts = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, **usage}
        message = {
            "id": "msg_" + os.urandom(11).hex(),
            "type": "message",
            "role": "assistant",
            "model": self.model,
        }
        content = [{"type": "text", "text": text}]
        self.transcript.add(
            "assistant",
            message={**message, "content": content, "usage": counts},
            requestId="req_" + os.urandom(8).hex(),
        )

    def use_tool(
        self,
        tool: str,
        given: dict[str, Any],
        run: Callable[[dict[str, Any]], Flow[Outcome]],
        must_ask: bool = False,
    ) -> Flow[None]:
        """One tool call from PreToolUse to PostToolBatch. `run` does the work and says how it went."""
        self.spoke = True
        call: dict[str, Any] = {
            "tool_name": tool,
            "tool_input": given,
            "tool_use_id": "toolu_" + os.urandom(11).hex(),
        }
        self.screen.say(_headline(tool, given, self.cwd))
        refused = yield from self.may_use(tool, call, must_ask)
        if refused:
            self.screen.say("  ⎿  Not run · permission denied", f"     {refused}", "")
            said = refused
        else:
            start = time.monotonic()
            outcome = yield from run(call["tool_input"])
            took = int((time.monotonic() - start) * 1000)
            self.screen.say(*outcome.shown, "")
            said = outcome.error or outcome.said
            if outcome.error:
                own = {"error": outcome.error, "is_interrupt": False, "duration_ms": took}
                yield from self.fire("PostToolUseFailure", subject=tool, **call, **own)
            else:
                own = {"tool_response": outcome.response, "duration_ms": took}
                yield from self.fire("PostToolUse", subject=tool, **call, **own)
        yield from self.fire("PostToolBatch", tool_calls=[{**call, "tool_response": said}])

    def may_use(self, tool: str, call: dict[str, Any], must_ask: bool) -> Flow[str]:
        """Why the call may not run, or "". PreToolUse is asked first; its allow does not beat a deny rule."""
        replies = yield from self.fire("PreToolUse", subject=tool, **call)
        block = first_block(replies)
        decisions = {str(reply.own("permissionDecision")): reply for reply in replies}
        if "deny" in decisions:
            block = str(decisions["deny"].own("permissionDecisionReason") or "")
        if block is not None:
            return f"PreToolUse:{tool} hook error: {block}"
        if "allow" in decisions and decisions["allow"].own("updatedInput"):
            call["tool_input"] = {**call["tool_input"], **decisions["allow"].own("updatedInput")}
        subject = call["tool_input"]["command" if tool == "Bash" else "file_path"]
        verdict = permit(tool, subject, self.mode, self.rules)
        if _denied(tool, subject, self.rules):
            return f"Permission to use {tool} with {'command ' if tool == 'Bash' else ''}{subject} has been denied."
        if "allow" in decisions:
            return ""
        if (must_ask and self.mode != "bypassPermissions") or "ask" in decisions:
            verdict = "deny" if self.mode in ("dontAsk", "bypassPermissions") else "ask"
        if verdict == "deny":
            return (
                f"Permission to use {tool} has been denied because Claude Code is running in don't ask mode."
            )
        return "" if verdict == "run" else (yield from self.ask(tool, call))

    def ask(self, tool: str, call: dict[str, Any]) -> Flow[str]:
        """Open the dialog, unless a PermissionRequest hook answers. A person's No ends the turn without a hook."""
        given = call["tool_input"]
        mode = {"type": "setMode", "mode": "acceptEdits", "destination": "session"}
        folder = {"type": "addDirectories", "directories": [self.cwd], "destination": "session"}
        own = {"tool_name": tool, "tool_input": given, "permission_suggestions": [folder, mode]}
        replies = yield from self.fire("PermissionRequest", subject=tool, **own)
        for reply in replies:
            decision = reply.own("decision") or {}
            if decision.get("behavior") == "allow":
                return ""
            if decision.get("behavior") == "deny":
                return str(decision.get("message") or "denied by a hook")
        self.dialog = Dialog(dialog_lines(tool, given, self.cwd))
        self.loop.start(self.remind("permission_prompt", self.stage.permission_notice))
        yield self.dialog
        self.dialog = None
        return ""


class Outcome(NamedTuple):
    """How a tool's work went: for the screen, for the model, for the PostToolUse hook; or the error."""

    shown: list[str]
    said: str = ""
    response: dict[str, Any] | None = None
    error: str = ""


def gather_rules(options: dict[str, list[str]], settings: dict[str, Any], cwd: str) -> Rules:
    source = options.get("--settings", [""])[-1]
    permissions = settings.get("permissions") or {}
    # In a settings file '/' leads to the folder of the file; everywhere else to the working directory.
    folder = cwd if source.lstrip().startswith("{") else os.path.dirname(os.path.abspath(source))

    def rules(option: str, key: str) -> tuple[str, ...]:
        given = [rule for text in options.get(option, []) for rule in split_rules(text)]
        return (*given, *(re.sub(r"\(/(?=[^/])", f"(/{folder}/", rule) for rule in permissions.get(key, [])))

    return Rules(rules("--allowedTools", "allow"), rules("--disallowedTools", "deny"), cwd)


def split_rules(text: str) -> list[str]:
    """One value of --allowedTools: rules apart by commas or blanks, those within brackets belonging to a rule."""
    return re.findall(r"[^\s,(]+(?:\([^)]*\))?", text)


def _short(path: str, cwd: str) -> str:
    return os.path.relpath(path, cwd) if _is_inside(path, cwd) else path


def _headline(tool: str, given: dict[str, Any], cwd: str) -> str:
    names = {"Bash": "Bash", "Write": "Write", "Edit": "Update"}
    return f"● {names[tool]}({given['command'] if tool == 'Bash' else _short(given['file_path'], cwd)})"


def dialog_lines(tool: str, given: dict[str, Any], cwd: str) -> tuple[str, ...]:
    if tool == "Bash":
        head = ("Bash command", given["command"], "Do you want to proceed?")
        second = f"Yes, and always allow access to {cwd} from this project"
    else:
        name = _short(given["file_path"], cwd)
        exists = os.path.exists(given["file_path"])
        head = ("Create file", name, f"Do you want to {'make this edit to' if exists else 'create'} {name}?")
        second = "Yes, and switch to accept edits for this session (shift+tab)"
    title, what, question = head
    body = (title, *what.split("\n")[:SHOWN_LINES], "", question, "❯ 1. Yes", f"  2. {second}", "  3. No", "")
    return tuple(" " + line for line in (*body, "Esc to cancel · Tab to amend"))


# --- the steps of a scenario ----------------------------------------------------------------------------------------------
# Each takes the agent, the step and the prompt's text; False ends the turn early, with its Stop hook.


def _say(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    agent.speak(fill(step.value, agent.values))
    yield NOW
    return True


def _sleep(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    yield step.value * agent.speed
    return True


def _capture(agent: Agent, step: Step, prompt: str) -> Flow[bool]:
    pattern = fill_pattern(step.options["from_prompt"], agent.values)
    found = re.search(pattern, prompt)
    if found is None:
        agent.speak(f"The prompt has nothing that fits {pattern} (for {{{step.value}}}); I stop here.")
        return False
    agent.values[step.value] = found[1] or ""
    yield NOW
    return True


def _write(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    path = os.path.abspath(fill(step.value, agent.values))
    try:
        content = read_content(step, agent.stage.folder, agent.values)
    except OSError as error:
        agent.speak(f"The scenario's file {step.options['from']} cannot be read: {error.strerror}.")
        return False
    if step.kind == "append" and os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            content = file.read() + content
    yield from agent.use_tool(
        "Write", {"file_path": path, "content": content}, lambda given: write_file(agent, given)
    )
    return True


def write_file(agent: Agent, given: dict[str, Any]) -> Flow[Outcome]:
    path, content = given["file_path"], given["content"]
    old = None
    try:
        if os.path.islink(path):
            raise OSError(0, f"Refusing to write {path}: it is a symbolic link")
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                old = file.read()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        return Outcome([f"  ⎿  Error writing file: {error.strerror}"], error=str(error.strerror))
    lines = content.splitlines()
    name = _short(path, agent.cwd)
    head = f"  ⎿  Wrote {len(lines)} {'line' if len(lines) == 1 else 'lines'} to {name}"
    body = [f"      {number} {line}" for number, line in enumerate(lines[:SHOWN_LINES], 1)]
    body += [f"     … +{len(lines) - SHOWN_LINES} lines"] if len(lines) > SHOWN_LINES else []
    response: dict[str, Any] = {
        "type": "create" if old is None else "update",
        "filePath": path,
        "content": content,
    }
    response |= {"structuredPatch": [], "originalFile": old, "userModified": False}
    yield NOW
    return Outcome([head, *body], f"File created successfully at: {path}", response)


def _edit(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    path = os.path.abspath(fill(step.value, agent.values))
    old, new = (fill(step.options[key], agent.values) for key in ("old", "new"))
    try:
        with open(path, encoding="utf-8") as file:
            before = file.read()
    except (OSError, UnicodeDecodeError):
        before = ""
    if old not in before:
        # The client checks the input before it asks the hooks.
        agent.screen.say(f"● Update({_short(path, agent.cwd)})", "  ⎿  Error editing file", "")
        return True
    given = {"file_path": path, "old_string": old, "new_string": new, "replace_all": False}

    def run(given: dict[str, Any]) -> Flow[Outcome]:
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(before.replace(given["old_string"], given["new_string"], 1))
        except OSError as error:
            return Outcome([f"  ⎿  Error editing file: {error.strerror}"], error=str(error.strerror))
        response: dict[str, Any] = {
            "filePath": path,
            "oldString": old,
            "newString": new,
            "originalFile": before,
        }
        response |= {"structuredPatch": [], "userModified": False, "replaceAll": False}
        yield NOW
        return Outcome([f"  ⎿  Updated {_short(path, agent.cwd)}"], f"{path} has been updated.", response)

    yield from agent.use_tool("Edit", given, run)
    return True


def _bash(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    given = {"command": fill(step.value, agent.values), "description": "scripted command"}
    yield from agent.use_tool("Bash", given, lambda given: run_bash(agent, given))
    return True


def run_bash(agent: Agent, given: dict[str, Any]) -> Flow[Outcome]:
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    job = agent.loop.spawn([shell, "-c", given["command"]], agent.hook_environment())
    yield job
    lines = (job.out + job.err).splitlines()
    shown = [("  ⎿  " if number == 0 else "     ") + line for number, line in enumerate(lines[:SHOWN_LINES])]
    shown += [f"     … +{len(lines) - SHOWN_LINES} lines"] if len(lines) > SHOWN_LINES else []
    if job.code:
        text = "\n".join([f"Exit code {job.code}", *lines])
        return Outcome(
            [f"  ⎿  Error: Exit code {job.code}", *(line.replace("⎿", " ") for line in shown)], error=text
        )
    response: dict[str, Any] = {
        "stdout": job.out.rstrip("\n"),
        "stderr": job.err.rstrip("\n"),
        "interrupted": False,
    }
    response |= {"isImage": False, "noOutputExpected": False}
    return Outcome(shown or ["  ⎿  (No output)"], job.out.rstrip("\n"), response)


def _permission(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    """A call that no rule covers: a dialog where the mode has dialogs, a denial in dontAsk, which has none."""
    options = {key: fill(value, agent.values) for key, value in step.options.items()}
    if step.value == "Bash":
        given = {"command": options["command"], "description": "scripted command"}
        yield from agent.use_tool("Bash", given, lambda given: run_bash(agent, given), must_ask=True)
    else:
        given = {"file_path": os.path.abspath(options["path"]), "content": options["text"]}
        yield from agent.use_tool("Write", given, lambda given: write_file(agent, given), must_ask=True)
    return True


def _background(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    """A shell of the agent's that outlasts the turn: its end comes back as a prompt of the client's own."""

    def wait() -> Flow[None]:
        yield step.value * agent.speed
        agent.background -= 1
        note = "<task-notification>\n<status>completed</status>\n</task-notification>"
        agent.submit(Prompt(note, "", is_note=True, steps=step.options["then"]))

    agent.background += 1
    agent.spoke = True
    agent.screen.say("● Bash(background)", "  ⎿  Running in the background", "")
    agent.loop.start(wait())
    yield NOW
    return True


def _fail(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    text = fill(step.options.get("text", FAILURES[step.value]), agent.values)
    agent.spoke = True
    agent.screen.say(f"● {text}")
    agent.placeholder = "Once fixed, resend your message"
    yield from agent.fire("StopFailure", subject=step.value, error=step.value, last_assistant_message=text)
    raise TurnError


def _exit(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    """A crash: no SessionEnd."""
    agent.exit_code = step.value
    yield None
    return False


def _kill(_agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    os.kill(os.getpid(), step.value)
    yield None
    return False


def _hang(_agent: Agent, _step: Step, _prompt: str) -> Flow[bool]:
    yield None
    return False


def _ignore_sigterm(agent: Agent, _step: Step, _prompt: str) -> Flow[bool]:
    agent.ignores_sigterm = True
    yield NOW
    return True


def _spawn(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    """A process in a session of its own, which the agent's end does not touch."""
    job = agent.loop.spawn(
        ["/bin/sh", "-c", fill(step.value, agent.values)], dict(os.environ), own_session=True
    )
    del agent.loop.jobs[job.pid]
    for file in job.output:
        os.close(file)
    yield NOW
    return True


PLAYS: dict[str, Callable[[Agent, Step, str], Flow[bool]]] = {
    "say": _say,
    "sleep": _sleep,
    "capture": _capture,
    "write": _write,
    "append": _write,
    "edit": _edit,
    "bash": _bash,
    "permission": _permission,
    "background": _background,
    "fail": _fail,
    "exit": _exit,
    "kill": _kill,
    "hang": _hang,
    "ignore_sigterm": _ignore_sigterm,
    "spawn": _spawn,
}


# --- start --------------------------------------------------------------------------------------------------------------


def prepare(words: list[str]) -> tuple[Agent, str | None]:
    """The agent, ready to run, and its first prompt; StartError where the client would not start either."""
    options, prompt = read_arguments(words)
    mode = options.get("--permission-mode", ["manual"])[-1]
    if mode == "auto":
        raise StartError("error: the scripted agent plays no auto mode; give another --permission-mode")
    if mode == "bypassPermissions" and os.geteuid() == 0 and not os.environ.get("IS_SANDBOX"):
        raise StartError("bypassPermissions cannot be used with root/sudo privileges for security reasons")
    settings = read_settings(options.get("--settings", [""])[-1])
    scenario = os.environ.get("DODO_CLAUDE_SCENARIO")
    name = os.environ.get("DODO_CLAUDE_STAGE")
    if not scenario or not name:
        unset = "DODO_CLAUDE_STAGE" if scenario else "DODO_CLAUDE_SCENARIO"
        raise StartError(f"scripted agent: {unset} is not set; name the scenario file and the stage to play")
    try:
        agent = Agent(options, settings, load_stage(scenario, name))
    except ScenarioError as error:
        more = len(error.problems) - 1
        raise StartError(error.problems[0] + (f" (and {more} more)" if more else "")) from None
    known = os.path.exists(agent.transcript.path)
    if agent.resumes and not known:
        raise StartError(f"No conversation found with session ID: {agent.transcript.session}")
    if not agent.resumes and known:
        raise StartError(f"Error: Session ID {agent.transcript.session} is already in use.")
    if not os.isatty(0) or not os.isatty(1):
        raise StartError("scripted agent: it needs a terminal; start it in tmux")
    return agent, prompt


def main(words: list[str]) -> int:
    if words in (["--version"], ["-v"]):
        sys.stdout.write(VERSION + "\n")
        return 0
    try:
        agent, prompt = prepare(words)
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return agent.run(prompt)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
