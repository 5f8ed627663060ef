"""Odd inputs x commands: what a user, a clone or a machine may do to a project, and every command over it.

`python -m tests.odd` walks all of it, or the families that are named, and prints a table in Markdown:

    python -m tests.odd [--some N] [--seed N] [--details FILE] [FAMILY...]

A cell is one command in a process of its own, a fork of this one, in a project that is as it was laid out but for the
input. It must end, without a traceback; nothing of the user's is lost, nothing is written but in the project; nothing
but newline and tab acts on a terminal; the exit status is one that we give, and is explained where it is not 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import gc
import importlib
import json
import os
import pty
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import termios
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from doit import cmd_run
from doit.doit_cmd import DoitMain

from dodo_claude.commands import mcp
from dodo_claude.commands.main import main as dodo_claude
from dodo_claude.machine import streams
from dodo_claude.text.errors import DodoClaudeError
from tests import warm
from tests.planted import KINDS, PACKAGE, Touched, lay_out, places, plant
from tests.project import Project, kill_servers
from tests.samples.dirty import dirty

HERE = Path(__file__).parent
# Of our harness alone: what waits for ever is ended, and is a fault.
HANGS_SECONDS = 60.0
# By group, which is a column; all but `doit dumpdb`, which reads databases of doit's own. `dodo-claude` and `doit` are what a user types; `mcp` is a tool of the server, `dashboard`
# the application without its terminal. W is the worker, or the stage: `a`, unless the input says another.
COMMANDS: dict[str, tuple[str, ...]] = {
    "looks": (
        "dodo-claude status", "dodo-claude status --json", "dodo-claude log W", "dodo-claude log b",
        "dodo-claude events --all", "dodo-claude events --json W", "dodo-claude events --follow --until-end",
        "dodo-claude capture W", "dodo-claude attach W", "dodo-claude check", "dodo-claude check --json",
        "dodo-claude doctor", "dodo-claude completion bash", "dodo-claude --help", "dodo-claude nosuch",
    ),
    "reports": (
        "dodo-claude report", "dodo-claude report --json", "dodo-claude report --markdown",
        "dodo-claude report --html -", "dodo-claude report --run W", "dodo-claude gc --dry-run --json",
        "dodo-claude gc --keep 1",
    ),
    "talks": (
        "dodo-claude send W word", "dodo-claude answer W yes", "dodo-claude ask --wait 0s what?", "dodo-claude allow W",
        "dodo-claude deny W no", "dodo-claude interrupt W", "dodo-claude compact W", "dodo-claude note word",
        "dodo-claude note -", "dodo-claude progress 5", "dodo-claude stop W", "dodo-claude stop --all",
        "dodo-claude recheck b",
    ),
    "begins": (
        "dodo-claude init single made", "dodo-claude init --claude made", "dodo-claude plan --folder . word",
    ),
    "mcp": (
        "dodo-claude mcp", "mcp list_workers", "mcp read_screen W", "mcp send W word", "mcp answer W yes", "mcp status",
        "mcp events", "mcp report", "mcp notes", "mcp notes word", "mcp stop W",
    ),
    "dashboard": ("dodo-claude dashboard", "dashboard"),
    "doit looks": (
        "doit list --all --status", "doit list --deps", "doit info W", "doit help", "doit help W",
        "doit help orchestrate", "doit tabcompletion --hardcode-tasks", "doit orchestrate --explain W",
        "doit orchestrate --dry-run", "doit clean --dry-run W", "doit nosuch",
    ),
    "doit acts": (
        "doit forget W", "doit ignore W", "doit reset-dep", "doit clean b", "doit run a", "doit orchestrate",
        "doit orchestrate -s b", "doit strace a",
    ),
}  # fmt: skip
ALL = [(group, line) for group, lines in COMMANDS.items() for line in lines]
# They may make, put back and remove the stages' targets; and what some put into the project.
RUNS = (
    "doit clean b",
    "doit run",
    "doit orchestrate",
    "doit strace",
    "dodo-claude recheck",
    "dodo-claude stop",
    "mcp stop",
)
TARGETS = {"a.txt", "b.txt", "nowhere"}  # what a link there leads to
MAKES = {"dodo-claude init": {"made"}, "dodo-claude plan": {"request.md", "orchestrate.toml", "doit.cfg", "orchestrate.schema.json"}}  # fmt: skip
CFG = "[GLOBAL]\nloader = orchestrate\n"
# Newline and tab are all that may act; of what came as a byte that is no UTF-8, too.
# Of what plain doit does by itself, before it knows of us or without: told, and no fault of ours.
OWN = "doit's own: "
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\udc80-\udc9f]")
# On a terminal we colour and move: there it is only what nobody of us writes.
ACTS_THERE = re.compile("[\x80-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\udc80-\udc9f]")
TOUCHED = Touched()
# What a command imports when it needs it is imported once, here, and not in each process.
LAZY = {
    "mcp": ("mcp.server.mcpserver", "mcp.server.stdio"),
    "dashboard": ("dodo_claude.dashboard.dashboard", "textual.pilot"),
}


@dataclass
class Place:
    """A project, laid out, and how a command is started in it."""

    root: Path
    outside: Path
    env: dict[str, str]
    cwd: Path
    streams: str = "---"  # see `given`
    size: tuple[int, int] | None = None  # columns and lines of a terminal
    worker: str = "a"
    first: Callable[[], object] = field(
        default=lambda: None
    )  # done in the command's process before it begins
    on_touch: tuple[int, Callable[[], object]] | None = None  # done when it touches a file for that time
    mute: bool = False  # what it says may not be to be had: our streams are files
    lax: bool = False  # it is the user who leads outside, or into the state folder

    @property
    def state(self) -> Path:
        return self.root / ".orchestrate"


@dataclass(frozen=True)
class Input:
    family: str
    name: str
    make: Callable[[Place], None]


# -- inputs: of each family a generator


def _raw(text: str | bytes) -> str:
    return os.fsdecode(text) if isinstance(text, bytes) else text


NAMES = {
    "no UTF-8": b"caf\xe9", "a raw C1 byte": b"a\x9b31m", "a newline": "a\nb", "a return": "a\rb", "a tab": "a\tb",
    "an escape": "a\x1b[2Jb", "a title": "\x1b]0;t\x07", "a C1": "a\x9b2Jb", "bidi": "a\u202eb\u2066", "unseen": "a\u200bb",
    "a dash": "-rf", "blanks": " a b ", "quotes": "a'b\"c", "a shell's": "$(touch hacked)`touch hacked`;&|", "a glob": "a*[b]?",
    "long": "n" * 200, "dots": "...", "braces": "{{ item }}{x}%s%(y)s", "wide": "😀漢", "combining": "e\u0301" * 20,
    "backslashes": "a\\b\\n", "a comment": "a#b", "a tilde": "~", "a colon": "a:b", "markup": "[red]a[x]<b>&amp;`*_|",
}  # fmt: skip


def _project_named(name: str, place: Place) -> None:
    (place.root.parent / "in").mkdir()
    place.root = place.cwd = place.root.rename(place.root.parent / "in" / name)


def _standing_in(name: str, place: Place) -> None:
    place.cwd = place.root / name
    place.cwd.mkdir()


def _read(name: str, place: Place) -> None:
    (place.root / "in").mkdir()
    (place.root / "in" / name).write_text("x\n")
    _write(place, "orchestrate.toml", ONE.replace('["in.txt"]', '["in/*"]'))


def _item(name: str, place: Place) -> None:
    (place.root / "in").mkdir()
    (place.root / "in" / name).write_text("x\n")
    _write(
        place, "orchestrate.toml", '[stages.a]\nforeach = { glob = "in/*" }\ncommand = "echo {{ item }}"\n'
    )


def _stage_folder(name: str, place: Place) -> None:
    shutil.copytree(place.state / "stages/b", place.state / "stages" / name)
    (place.state / "runs" / name).mkdir()


def _worker(name: str, place: Place) -> None:
    place.worker = name


def names() -> Iterator[Input]:
    for what, make in (
        ("the project's folder", _project_named), ("the folder where one stands", _standing_in),
        ("a file that a glob finds", _read), ("an item", _item), ("a stage's folder", _stage_folder),
    ):  # fmt: skip
        for said, name in NAMES.items():
            yield Input("names", f"{what} has {said}", partial(make, _raw(name)))
    for said, name in {**NAMES, "nothing": "", "ways up": "../../x", "a way": "/etc/passwd", "too long": "x" * 20_000, "run": "run"}.items():  # fmt: skip
        yield Input("words", f"a worker's name has {said}", partial(_worker, _raw(name)))


ONE = """
[stages.a]
command = "cat in.txt > a.txt"
file_dep = ["in.txt"]
targets = ["a.txt"]
[stages.b]
command = "echo b > b.txt"
targets = ["b.txt"]
"""


def _write(place: Place, name: str, text: str | bytes) -> None:
    (place.root / name).write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)


def _broken(path: Path, place: Place) -> None:
    shutil.copytree(HERE / "data/broken", place.root, dirs_exist_ok=True, symlinks=True)
    _write(place, "orchestrate.toml", path.read_bytes())


def _stage(text: str) -> str:
    return f"{ONE}[stages.c]\n{text}\n"


CONFIGS: dict[str, str | bytes] = {
    "nothing": "", "blanks": " \n\t\n", "a comment": "# only", "a BOM": "\ufeff" + ONE, "CRLF": ONE.replace("\n", "\r\n"),
    "returns": ONE.replace("\n", "\r"), "UTF-16": ONE.encode("utf-16"), "Latin-1": ONE.encode() + b"# caf\xe9\n",
    "a NUL": ONE + "\0", "bytes": random.Random(1).randbytes(4000), "cut": ONE[: len(ONE) // 2 - 3],
    "a long comment": ONE + "#" * 3_000_000, "surrogates": ONE + "# \ud800\n", "an escape": ONE + "# \x1b[2J\n",
    "an escape in a key": ONE + '["\\u001b[2J\\u202e"]\n', "an escape in a stage's name": ONE + '[stages."\\u001b[2J"]\ncommand = "x"\n',
    "an escape in a command": _stage('command = "echo \\u001b[2J\\u202e"'), "an escape in a target": _stage('command = "x"\ntargets = ["c\\u001b[2J\\n"]'),
    "an escape in a check": _stage('command = "true"\ncheck = "printf \'\\\\033[2J\\\\302\\\\233\'; false"'),
    "an output that acts": _stage("command = \"printf '\\\\033[2J\\\\033]0;t\\\\007\\\\342\\\\200\\\\256\\\\233'; false\""),
    "no stages": "[orchestrate]\nname = 'x'\n", "an empty stage": "[stages.a]\n", "many stages": "".join(f'[stages.s{n}]\ncommand = "true"\n' for n in range(60)),
    "a stage that needs itself": '[stages.a]\ncommand = "x"\nafter = ["a"]\n', "NaN": "[stages.a]\ncommand = 'x'\ntimeout = nan\n",
    "an endless float": "[stages.a]\ncommand = 'x'\nretries = 1e999\n", "dates": "[stages.a]\ncommand = 1979-05-27T07:32:00Z\n",
    "a deep list": "a = " + "[" * 5000, "a deep table": "[" + "a." * 5000 + "a]", "a big number": "a = " + "9" * 50_000,
    "an open template": _stage("prompt = '{% for'"), "a template that divides": _stage("prompt = '{{ 1 / 0 }}'"),
    "a template that climbs": _stage("prompt = \"{{ ''.__class__.__mro__ }}\""), "a template that swells": _stage("prompt = \"{{ 'x' * 10 ** 10 }}\""),
    "a template without an end": _stage("prompt = '{% for x in range(10 ** 10) %}x{% endfor %}'"),
    "a prompt of a device": _stage("prompt_file = '/dev/zero'"), "a target above": _stage("command = 'x'\ntargets = ['../c']"),
    "a target at home": _stage("command = 'x'\ntargets = ['~/c']"), "a target of ours": _stage("command = 'x'\ntargets = ['.orchestrate/notes.md']"),
    "a target that is the file": _stage("command = 'x'\ntargets = ['orchestrate.toml']"), "a target that is the folder": _stage("command = 'x'\ntargets = ['.']"),
    "a glob of all": _stage("command = 'true'\nfile_dep = ['**']"), "a glob above": _stage("command = 'true'\nfile_dep = ['../**']"),
    "a folder that is not there": _stage("command = 'true'\ncwd = 'nowhere'"), "a program that is not there": _stage("command = '/nowhere/x'"),
    "an agent that is not there": "[agents.x]\ncommand = '/nowhere/x'\n" + _stage("prompt = 'x'\nagent = 'x'"),
    "a command that kills itself": _stage("command = 'kill -9 $$'"), "a command that says much": _stage("command = 'yes | head -c 3000000; false'"),
    "a command with an empty name": _stage("command = ''"), "an env with a newline": _stage('command = "true"\nenv = { A = "x\\ny\\u001b" }'),
}  # fmt: skip
DODOS: dict[str, dict[str, str | bytes]] = {
    "dodo.py with a fault": {"dodo.py": "def task_x(:\n"}, "dodo.py that raises": {"dodo.py": "raise ValueError('x')\n"},
    "dodo.py that ends": {"dodo.py": "raise SystemExit('enough')\n"}, "dodo.py without tasks": {"dodo.py": "x = 1\n"},
    "dodo.py with a stage's name": {"dodo.py": "def task_a():\n    return {'actions': ['true']}\n"},
    "dodo.py with a stage's target": {"dodo.py": "def task_x():\n    return {'actions': ['true'], 'targets': ['a.txt']}\n"},
    "dodo.py whose texts act": {"dodo.py": "def task_x():\n    'says \\x1b[2J\\u202e'\n    return {'actions': ['true'], 'doc': 'x\\x1b[2J\\u202e'}\n"},
    "dodo.py that is no UTF-8": {"dodo.py": b"# caf\xe9\n"}, "dodo.py with a NUL": {"dodo.py": "x = 1\0\n"},
    "doit.cfg with a fault": {"doit.cfg": "[GLOBAL\nx"}, "doit.cfg that is no UTF-8": {"doit.cfg": b"[GLOBAL]\n# caf\xe9\n"},
    "doit.cfg that names nothing": {"doit.cfg": "[GLOBAL]\nloader = nosuch\n"}, "doit.cfg of sections": {"doit.cfg": CFG + "[orchestrate]\nagent = nosuch\n[x]\ny = \x1b[2J\n"},
    "pyproject.toml with a fault": {"pyproject.toml": "[tool.doit\n"}, "pyproject.toml that is no UTF-8": {"pyproject.toml": b"[tool.doit]\n# caf\xe9\n"},
    "scenario.toml with a fault": {"scenario.toml": "[stages\n"}, "no doit.cfg": {"doit.cfg": ""},
}  # fmt: skip


def _files(texts: dict[str, str | bytes], place: Place) -> None:
    for name, text in texts.items():
        _write(place, name, text)


def configs() -> Iterator[Input]:
    for path in sorted((HERE / "data/broken").glob("*.toml")):
        yield Input("configurations", path.name, partial(_broken, path))
    for said, text in CONFIGS.items():
        yield Input("configurations", said, partial(_files, {"orchestrate.toml": text}))
    for said, texts in DODOS.items():
        yield Input("configurations", said, partial(_files, texts))


# What may stand where a file of the user's belongs.
STANDS = (
    "a pipe", "a folder", "a link outside", "a link to itself", "a link to nowhere", "a device", "a socket", "nothing in it",
    "bytes in it", "not there",
)  # fmt: skip
MINE = ("orchestrate.toml", "in.txt", "a.txt", "prompt.md", "items.txt", "scenario.toml", "dodo.py", "pyproject.toml", "doit.cfg")  # fmt: skip
READING = f"""{ONE}
[stages.c]
prompt_file = "prompt.md"
agent = "scripted"
[stages.d]
foreach = {{ lines = "items.txt" }}
command = "echo {{{{ item }}}}"
"""


def _stands(name: str, kind: str, place: Place) -> None:
    texts = {"orchestrate.toml": READING, "prompt.md": "do", "items.txt": "one\n", "scenario.toml": "", "dodo.py": "", "pyproject.toml": ""}  # fmt: skip
    for each, text in texts.items():
        _write(place, each, text)
    path = place.root / name
    data = path.read_bytes()
    path.unlink()
    match kind:
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
            (path / "in it").write_bytes(data)
        case "a link outside":
            (place.outside / name).write_bytes(data)
            path.symlink_to(place.outside / name)
            place.lax = True
        case "a link to itself":
            path.symlink_to(name)
        case "a link to nowhere":
            path.symlink_to("nowhere")
        case "a device":
            path.symlink_to("/dev/zero")
        case "a socket":
            with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
                made.bind(name)
        case "nothing in it":
            path.write_bytes(b"")
        case "bytes in it":
            path.write_bytes(random.Random(name).randbytes(3000))


def stands() -> Iterator[Input]:
    for name in MINE:
        for kind in STANDS:
            yield Input("the user's files", f"{name}: {kind}", partial(_stands, name, kind))


def _planted(where: str, kind: str, place: Place) -> None:
    plant(place.state, where, kind, place.outside)


def role(where: str) -> str:
    """What is the same for each stage, attempt, run and letter."""
    return re.sub(r"[ab](?=/|$)|\d[\w-]*", "*", where)


def state_files(where: Iterable[str]) -> Iterator[Input]:
    """Of each role in the state folder one, the first."""
    firsts = {role(each): each for each in sorted(where, reverse=True)}
    for each in sorted(firsts.values()):
        for kind in KINDS:
            yield Input("the state folder", f"{each}: {kind}", partial(_planted, each, kind))


def _dirtied(place: Place) -> None:
    for path in place.state.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".jsonl", ".md", ".log", ".txt", ".answer"):
            with suppress(ValueError):
                text = path.read_text()
                lines = [text] if path.suffix == ".json" else text.splitlines()
                if path.suffix.startswith(".json"):
                    text = "".join(f"{json.dumps(dirty(json.loads(line)))}\n" for line in lines)
                else:
                    text = "".join(f"{dirty(line)}\n" for line in lines)
                path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _no_state(place: Place) -> None:
    shutil.rmtree(place.state)


def _wide_open(place: Place) -> None:
    for path in (place.state, *place.state.rglob("*")):
        path.chmod(0o777)


def _unsettled(place: Place) -> None:
    (place.state / "settled").unlink(missing_ok=True)
    _planted("stages/a", "link", place)


def whole_states() -> Iterator[Input]:
    yield Input("the state folder", "stages/a: link, after a run that was cut off", _unsettled)
    yield Input("the state folder", "every text acts on a terminal", _dirtied)
    yield Input("the state folder", "not there", _no_state)
    yield Input("the state folder", "anybody may write it", _wide_open)


def _env(changes: dict[str, str | None], place: Place) -> None:
    home = place.env["HOME"]
    for name, value in changes.items():
        place.env.pop(name, None)
        if value is not None:
            place.env[name] = value.replace("ROOT", str(place.root)).replace("HOME", home)


ENVS: dict[str, dict[str, str | None]] = {
    "nothing in it": dict.fromkeys(("HOME", "PATH", "LANG", "XDG_RUNTIME_DIR")),
    "no HOME": {"HOME": None}, "a relative HOME": {"HOME": "here"}, "a HOME that is not there": {"HOME": "HOME/nowhere"},
    "a HOME that is a file": {"HOME": "ROOT/in.txt"}, "no XDG_RUNTIME_DIR": {"XDG_RUNTIME_DIR": None},
    "a relative XDG_RUNTIME_DIR": {"XDG_RUNTIME_DIR": "here"}, "an XDG_RUNTIME_DIR that is not there": {"XDG_RUNTIME_DIR": "/nowhere"},
    "an XDG_RUNTIME_DIR that is a file": {"XDG_RUNTIME_DIR": "ROOT/in.txt"}, "a relative XDG_STATE_HOME": {"XDG_STATE_HOME": "here"},
    "an XDG_STATE_HOME that is a file": {"XDG_STATE_HOME": "ROOT/in.txt"}, "no PATH": {"PATH": None}, "an empty PATH": {"PATH": ""},
    "a PATH to nowhere": {"PATH": "/nowhere:relative:\udce9"}, "LANG=C": {"LANG": "C"}, "an unknown LANG": {"LANG": "xx_YY.nosuch", "LC_ALL": "zz"},
    "ASCII": {"PYTHONIOENCODING": "ascii"}, "no TERM": {"TERM": None}, "an odd TERM": {"TERM": "\x1b[2J"},
    "odd sizes": {"COLUMNS": "0", "LINES": "-1"}, "sizes that are no numbers": {"COLUMNS": "x", "LINES": "1e9"}, "one column": {"COLUMNS": "1", "LINES": "1"},
    "huge sizes": {"COLUMNS": "99999999", "LINES": "99999999"}, "TMUX of nobody": {"TMUX": "/nowhere,1,0", "TMUX_PANE": "%99"},
    "an odd TMUX": {"TMUX": "\x1b[2J", "TMUX_PANE": ""}, "an odd TZ": {"TZ": "\x1b/../../etc/passwd"}, "an odd PWD": {"PWD": "/nowhere"},
    "a worker's": {"DODO_CLAUDE_ROOT": "ROOT", "DODO_CLAUDE_STAGE": "a", "DODO_CLAUDE_ATTEMPT": "9", "DODO_CLAUDE_NONCE": "0" * 32},
    "a worker's of nowhere": {"DODO_CLAUDE_ROOT": "/nowhere", "DODO_CLAUDE_STAGE": "a", "DODO_CLAUDE_ATTEMPT": "9", "DODO_CLAUDE_NONCE": "x"},
    "a worker's that is none": {"DODO_CLAUDE_ROOT": "ROOT", "DODO_CLAUDE_STAGE": "../\x1b[2J", "DODO_CLAUDE_ATTEMPT": "-1\u202e", "DODO_CLAUDE_NONCE": ""},
    "a bytes' TMPDIR": {"TMPDIR": "/nowhere/\udce9"}, "colours": {"FORCE_COLOR": "1", "NO_COLOR": "1"}, "an odd DOIT_CONFIG": {"DOIT_CONFIG": "/nowhere"},
}  # fmt: skip


def _in_it(name: str, place: Place) -> None:
    place.first = partial(MACHINES[name], place)
    place.mute = name.startswith("no file may")


def _cwd_gone(place: Place) -> None:
    (place.outside / "gone").mkdir()
    os.chdir(place.outside / "gone")
    (place.outside / "gone").rmdir()


def _in_state(place: Place) -> None:
    os.chdir(place.state)
    place.lax = True


def _limit(what: int, to: int, place: Place) -> None:
    resource.setrlimit(what, (to, resource.getrlimit(what)[1]))


def _busy_lock(place: Place) -> None:
    _held.append(os.open(place.state / "run.lock", os.O_RDWR | os.O_CREAT))
    fcntl.flock(_held[-1], fcntl.LOCK_EX)


_held: list[int] = []  # open until the process ends
MACHINES: dict[str, Callable[[Place], object]] = {
    "the folder where one stands is gone": _cwd_gone, "one stands in /": lambda place: os.chdir("/"),
    "one stands in the state folder": _in_state, "umask 777": lambda place: os.umask(0o777),
    "umask 0": lambda place: os.umask(0), "few files may be open": partial(_limit, resource.RLIMIT_NOFILE, 24),
    "no file may grow": partial(_limit, resource.RLIMIT_FSIZE, 0), "no file may be large": partial(_limit, resource.RLIMIT_FSIZE, 4096),
    "the stack is small": partial(_limit, resource.RLIMIT_STACK, 256 * 1024), "a run is in progress": _busy_lock,
    "signals are ignored": lambda place: [signal.signal(each, signal.SIG_IGN) for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)],
    "children are nobody's": lambda place: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
}  # fmt: skip


def surroundings() -> Iterator[Input]:
    for said, changes in ENVS.items():
        yield Input("the environment", said, partial(_env, changes))
    for said in MACHINES:
        yield Input("the machine", said, partial(_in_it, said))


# How standard input, output and error are: `-` as they should be, closed, full, a pipe that nobody reads, bytes to read.
STREAMS = ("c--", "-c-", "-f-", "-p-", "--c", "--f", "--p", "ccc", "-ff", "-pp", "b--")
SIZES = ((80, 24), (0, 0), (1, 1), (9, 3), (5000, 2000), (65535, 1))


def _streams(how: str, place: Place) -> None:
    place.streams = how


def _terminal(size: tuple[int, int], term: str, place: Place) -> None:
    place.size, place.env["TERM"] = size, term


def terminals() -> Iterator[Input]:
    for how in STREAMS:
        yield Input("streams", how, partial(_streams, how))
    for size in SIZES:
        yield Input("terminals", f"{size[0]} x {size[1]}", partial(_terminal, size, "xterm-256color"))
    for term in ("dumb", "nosuch", ""):
        yield Input("terminals", f"TERM={term}", partial(_terminal, (80, 24), term))


def _state_gone(place: Place) -> None:
    shutil.rmtree(place.state, ignore_errors=True)


def _state_moved(place: Place) -> None:
    place.state.rename(place.root / ".orchestrate-moved")


def _state_linked(place: Place) -> None:
    place.state.rename(place.outside / ".orchestrate")
    place.state.symlink_to(place.outside / ".orchestrate")


def _state_filed(place: Place) -> None:
    _state_moved(place)
    place.state.write_text("no folder\n")


def _root_moved(place: Place) -> None:
    place.root.rename(place.root.with_name("moved"))


def _root_replaced(place: Place) -> None:
    _root_moved(place)
    place.root.mkdir()
    (place.root / "orchestrate.toml").write_text(ONE)


def _config_moved(place: Place) -> None:
    (place.root / "orchestrate.toml").rename(place.root / "other.toml")


def _config_foldered(place: Place) -> None:
    _config_moved(place)
    (place.root / "orchestrate.toml").mkdir()


def _stages_gone(place: Place) -> None:
    shutil.rmtree(place.state / "stages", ignore_errors=True)


DEEDS = {
    "its state folder is removed": _state_gone, "its state folder is moved": _state_moved,
    "its state folder is a link outside": _state_linked, "its state folder is a file": _state_filed,
    "it is moved": _root_moved, "it is another": _root_replaced, "its orchestrate.toml is moved": _config_moved,
    "its orchestrate.toml is a folder": _config_foldered, "its stages' folder is removed": _stages_gone,
}  # fmt: skip
# Before which of the times that a command touches a file of the project.
TOUCHES = (1, 3, 8, 18)


def _taken(deed: Callable[[Place], None], touch: int, place: Place) -> None:
    place.on_touch = (touch, partial(deed, place))


def taken_away() -> Iterator[Input]:
    for said, deed in DEEDS.items():
        for touch in TOUCHES:
            yield Input("taken away", f"{said} before touch {touch}", partial(_taken, deed, touch))


def inputs(where: Iterable[str]) -> list[Input]:
    """All, given what there is in a state folder."""
    made = (
        names(),
        configs(),
        stands(),
        surroundings(),
        terminals(),
        taken_away(),
        whole_states(),
        state_files(where),
    )
    return [each for family in made for each in family]


# -- one cell


@dataclass(frozen=True)
class Cell:
    code: int
    said: str
    faults: tuple[str, ...]

    @property
    def word(self) -> str:
        if any(not fault.startswith(OWN) for fault in self.faults):
            return "FAULT"
        return "doit's own" if self.faults else {0: "ok", 2: "refused", 3: "refused"}.get(self.code, "failed")


def _entries(folder: Path) -> set[tuple[object, ...]]:
    """All that is there but for the state folders: names, and what would be another if somebody wrote it."""
    found: set[tuple[object, ...]] = set()
    todo = [str(folder)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if (
                    entry.name.startswith((".orchestrate", ".doit.db")) or entry.name == "__pycache__"
                ):  # doit's own
                    continue
                now = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    found.add((entry.name, now.st_ino, now.st_mode))
                    todo.append(entry.path)
                else:
                    found.add((entry.name, now.st_ino, now.st_mode, now.st_size, now.st_mtime_ns))
    return found


def _marks(folder: Path) -> set[tuple[str, int, int]]:
    """What of a tree is another as soon as anything in it is."""
    found = set()
    for path, folders, names in os.walk(folder):
        for name in (*folders, *names):
            now = os.lstat(os.path.join(path, name))
            found.add((os.path.join(path, name), now.st_ino, now.st_ctime_ns))
    return found


class Bench:
    """One project, laid out once, and again for each input and after each command that changed it."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.box, self.home, self.runtime, self.aside = (
            folder / "box",
            folder / "home",
            runtime,
            folder / "aside",
        )
        for each in (self.box, self.home, self.aside):
            each.mkdir()
        self.project = Project(self.box / "project", self.home, runtime)
        self.project.root.mkdir()
        lay_out(self.project)
        self.project.write("doit.cfg", CFG)
        self.project.approve()
        self.whole, self.whole_home = folder / "whole", folder / "whole home"
        shutil.copytree(self.project.root, self.whole, symlinks=True)
        shutil.copytree(self.home, self.whole_home, symlinks=True)
        self.state = self.whole / ".orchestrate"  # as it is laid out
        self.places = places(self.state)
        self._input: Input | None = None
        self._place: Place | None = None
        self._there: set[tuple[str, int, int]] = set()

    def inputs(self) -> list[Input]:
        return inputs(self.places)

    def _laid_out(self, given: Input) -> Place:
        if self._input is given and self._place is not None and self._now() == self._there:
            return self._place
        for folder in (self.box, self.home):
            shutil.rmtree(folder)
        self.box.mkdir()
        shutil.copytree(self.whole, self.project.root, symlinks=True)
        shutil.copytree(self.whole_home, self.home, symlinks=True)
        (self.box / "outside").mkdir()
        self._place = Place(
            self.project.root, self.box / "outside", self.project.environ(), self.project.root
        )
        given.make(self._place)
        self._input, self._there = given, self._now()
        return self._place

    def _now(self) -> set[tuple[str, int, int]]:
        return _marks(self.box) | _marks(self.home)

    def look(self, given: Input, line: str) -> Cell:
        place = self._laid_out(given)
        before = _entries(self.box)
        code, said, faults = self._run(place, line)
        if self._now() != self._there:
            self._input = None
        if place.on_touch is None:  # else that is what the input did
            after = _entries(self.box)
            may = {name for start, names in MAKES.items() if line.startswith(start) for name in names}
            may |= TARGETS if line.startswith(RUNS) else set()
            made = may | ({"commands", ".claude"} if "made" in may else set())
            faults += [f"lost: {entry[0]!r}" for entry in before - after if entry[0] not in may]
            if "made" not in may:
                faults += [f"written: {entry[0]!r}" for entry in after - before if entry[0] not in made]
            else:
                others = {entry for entry in after - before if entry[1] not in self._below("made", place)}
                faults += [f"written: {entry[0]!r}" for entry in others]
        plain = line.startswith("doit ") and not line.startswith("doit orchestrate")
        # Of a word that it does not know doit speaks before we hear of it.
        theirs = OWN if OWN in faults or (plain and place.worker != "a") else ""
        faults = [each for each in faults if each != OWN]
        acts = (ACTS if place.size is None else ACTS_THERE).search(said)
        if acts:
            faults.append(
                f"{theirs}acts on a terminal: {said[max(acts.start() - 40, 0) : acts.end() + 40]!r}"
            )
        if "Traceback" in said or "Exception ignored" in said:
            # That of a dodo.py is for the user.
            own = line.startswith("doit ") and (PACKAGE not in said or "in get_module" in said)
            whose = OWN if own else theirs
            faults.append(f"{whose}traceback: {said[-1500:]}")
        if code not in (0, 1, 2, 3) and not (place.size and code == -signal.SIGHUP):
            faults.append(f"exit status {code}")
        if code and not said.strip() and place.streams == "---" and not place.mute:
            faults.append(f"{theirs}exit status {code}, and says nothing")
        return Cell(code, said, tuple(faults))

    def _below(self, name: str, place: Place) -> set[object]:
        top = place.cwd / name
        paths = [top, *top.rglob("*")] if top.is_dir() else []
        return {path.lstat().st_ino for path in paths}

    # -- its process

    def _run(self, place: Place, line: str) -> tuple[int, str, list[str]]:
        files = [self.aside / name for name in ("out", "err", "faults")]
        for path in files:
            path.write_bytes(b"")
        master = slave = -1
        if place.size is not None:
            master, slave = pty.openpty()
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", place.size[1], place.size[0], 0, 0))
        pid = os.fork()
        if pid == 0:
            code = 120
            try:
                code = _child(place, line, files, slave)
            except BaseException:
                with files[2].open("a") as out:
                    out.write(json.dumps(traceback.format_exc()) + "\n")
            finally:
                os._exit(code)
        hung, said = False, b""
        if slave >= 0:
            os.close(slave)
            said = _typed(master, pid, line)
        ended = 0
        watch = os.pidfd_open(pid)
        try:
            if not select.select([watch], [], [], HANGS_SECONDS)[0]:
                hung = True
                os.killpg(pid, signal.SIGKILL)
            ended = os.waitpid(pid, 0)[1]
        finally:
            os.close(watch)
            if master >= 0:
                os.close(master)
        faults = [json.loads(line) for line in files[2].read_text().splitlines()]
        if hung:
            faults.append(f"hangs: {HANGS_SECONDS:.0f} s")
        with suppress(ProcessLookupError):
            os.killpg(pid, 0)
            os.killpg(pid, signal.SIGKILL)
            faults.append("leaves a process")
        said = said or b"".join(path.read_bytes() for path in files[:2])
        return os.waitstatus_to_exitcode(ended), said.decode("utf-8", "surrogateescape"), faults


def _typed(master: int, pid: int, line: str) -> bytes:
    """What comes out at a terminal where somebody says no, or leaves the dashboard."""
    said, until, answered = b"", time.monotonic() + HANGS_SECONDS, 0
    if line.endswith((" -", "-claude mcp")):
        os.write(master, b"\x04")  # there is nothing to read
    while time.monotonic() < until and select.select([master], [], [], until - time.monotonic())[0]:
        try:
            more = os.read(master, 65536)
        except OSError:
            break
        said += more
        if answered < 40:
            answered += 1
            os.write(master, b"q" if "dashboard" in line else b"n\n" if b"[y/N]" in more else b"")
    return said


def given(how: str, fd: int, path: Path) -> int | None:
    """A stream's file; None: it is closed."""
    if how == "c":
        return None
    if how == "p":
        read, write = os.pipe()
        os.close(read)
        return write
    if how == "b":
        read, write = os.pipe()
        os.write(write, b"\xff\xfe\x00\x1b[2J\n")
        os.close(write)
        return read
    return os.open("/dev/full" if how == "f" else os.devnull if fd == 0 else path, os.O_RDWR)


def _child(place: Place, line: str, files: list[Path], slave: int) -> int:
    """A command as its process would run it; its exit status."""
    os.setsid()
    told = os.open(files[2], os.O_WRONLY | os.O_APPEND)
    told = fcntl.fcntl(told, fcntl.F_DUPFD_CLOEXEC, 20)
    if slave >= 0:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    paths = [Path(os.devnull), *files[:2]]
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        taken = os.dup(slave) if slave >= 0 else given(place.streams[fd], fd, paths[fd])
        os.close(fd)
        if taken is not None:
            os.dup2(taken, fd)
            os.close(taken)
        encoding = place.env.get("PYTHONIOENCODING") or "utf-8"
        how = "r" if fd == 0 else "w"
        stream = None if taken is None else open(fd, how, encoding=encoding, errors="backslashreplace" if fd == 2 else "strict", closefd=False)  # noqa: SIM115  # fmt: skip
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    streams._sinks.clear()
    os.environ.clear()
    os.environ.update(place.env)
    os.chdir(place.cwd)
    if line.startswith("doit"):
        _approve(place)
    words = [place.worker if word == "W" else word for word in line.split()]
    sys.argv = [words[0], *words[1:]]
    try:
        place.first()
        with _listening(place):
            try:
                code = PROGRAMS[words[0]](words[1:])
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        # doit shows it as it is, and Python ends with 1.
        with suppress(OSError):
            print(traceback.format_exc(), file=sys.stderr, flush=True)
        code = 1
    # What its client has to say the client writes by itself. What is another in mid-run is not where it was.
    others = [each for each in TOUCHED.others if "/client" not in each]
    faults = [f"touched: {each}" for each in (*TOUCHED.there, *others)]
    if place.lax or place.on_touch is not None:
        faults = []
    for each in (*faults[:3], *([OWN] if _without_us else [])):
        os.write(told, f"{json.dumps(each)}\n".encode())
    return code


@contextlib.contextmanager
def _listening(place: Place) -> Iterator[None]:
    TOUCHED.deed = place.on_touch
    with TOUCHED.listening(place.state, place.outside):
        yield


def _approve(place: Place) -> None:
    """What a user's yes did."""
    with suppress(Exception):
        Project(place.root, Path(place.env["HOME"]), Path(place.env["XDG_RUNTIME_DIR"]), place.env).approve()


def _dodo_claude(words: list[str]) -> int:
    dodo_claude(words, prog_name="dodo-claude")
    return 0


_without_us: list[bool] = []


def _doit(words: list[str]) -> int:
    cmd_run.opt_outfile["default"] = sys.stdout  # doit keeps Python's first one
    _without_us.append(True)
    main = DoitMain()
    if words[0] == "orchestrate" or main.config["GLOBAL"].get("loader") == "orchestrate":
        _without_us.clear()
    return int(main.run(words) or 0)


def _tool(words: list[str]) -> int:
    from mcp.server.mcpserver.exceptions import ToolError

    names = {"notes": ["add"], "stop": ["worker"]}.get(words[0], ["worker", "text"])
    try:
        result = asyncio.run(mcp._server().call_tool(words[0], dict(zip(names, words[1:], strict=False))))
        print("\n".join(content.text for content in result.content))
    except ToolError as error:
        print(error, file=sys.stderr)
        if error.__cause__ is not None:
            raise
        return 2
    return 0


def _dashboard(words: list[str]) -> int:
    """All that it shows of a stage, as text."""
    from dodo_claude.dashboard.dashboard import Dashboard

    async def sit() -> None:
        app = Dashboard()
        async with app.run_test(size=(100, 40)) as pilot:
            for key in ("down", "tab", "tab", "question_mark", "escape"):
                await pilot.press(key)
                seen.extend(strip.text.rstrip() for strip in app.screen._compositor.render_strips())

    seen: list[str] = []
    try:
        asyncio.run(sit())
        # Not by a print, which has the locale's characters: its box is of none of them.
        with suppress(OSError):
            os.write(1, "\n".join(seen).encode("utf-8", "surrogateescape"))
    except DodoClaudeError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


PROGRAMS = {"dodo-claude": _dodo_claude, "doit": _doit, "mcp": _tool, "dashboard": _dashboard}


# -- all of them


def all_cells(inputs: Iterable[Input]) -> list[tuple[Input, str, str]]:
    """But those in which doit itself waits for ever to read its configuration, before it knows of us, and the one in which
    it is right to wait."""
    return [
        (each, group, line)
        for each in inputs
        for group, line in ALL
        if not (
            line.startswith("doit ")
            and each.name.startswith(("doit.cfg: ", "pyproject.toml: "))
            and each.name.endswith((": a pipe", ": a device"))
        )
        and (each.name, line) != ("a run is in progress", "dodo-claude events --follow --until-end")
    ]


@contextlib.contextmanager
def laid_out(folder: Path) -> Iterator[Bench]:
    """`folder` is for it alone. What it started in tmux ends with it."""
    runtime = Path(tempfile.mkdtemp(prefix="dc-", dir="/tmp"))
    try:
        yield Bench(folder, runtime)
    finally:
        kill_servers(runtime)
        shutil.rmtree(runtime, ignore_errors=True)


def walk(
    bench: Bench, cells: Iterable[tuple[Input, str, str]], until: float | None = None
) -> Iterator[tuple[Input, str, str, Cell]]:
    """`until`: by the monotonic clock, when to begin no more."""
    cells = list(cells)
    lazy = [module for group in {group for _, group, _ in cells} for module in LAZY.get(group, ())]
    for module in [*lazy, *warm.modules()]:
        importlib.import_module(module)
    gc.freeze()
    for each, group, line in cells:
        if until is not None and time.monotonic() > until:
            return
        yield each, group, line, bench.look(each, line)


def table(found: list[tuple[Input, str, str, Cell]], *, by_family: bool) -> str:
    """Rows: inputs, or families of them; columns: groups of commands."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    rows: dict[str, set[str]] = {}
    for given, group, _, cell in found:
        row = given.family if by_family else f"{given.family}: {given.name}"
        counts.setdefault(row, {}).setdefault(group, Counter())[cell.word] += 1
        rows.setdefault(row, set()).add(given.name)
    lines = [f"| input | {'inputs | ' if by_family else ''}{' | '.join(COMMANDS)} |"]
    lines.append("|---" * (len(COMMANDS) + 1 + by_family) + "|")
    for row, groups in counts.items():
        told = [
            ", ".join(f"{word} {n}" for word, n in sorted(groups.get(g, Counter()).items())) for g in COMMANDS
        ]
        number = f"{len(rows[row])} | " if by_family else ""
        lines.append(
            f"| {row.encode('unicode_escape').decode().replace('|', '/')} | {number}{' | '.join(told)} |"
        )
    total = Counter(cell.word for *_, cell in found)
    inputs_ = len({id(given) for given, *_ in found})
    lines.append(f"\n{inputs_} inputs, {len(found)} cells: {', '.join(f'{n} {word}' for word, n in sorted(total.items()))}")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.odd")
    parser.add_argument("families", nargs="*", help="only these")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--some", type=int, help="so many cells, chosen by the seed")
    parser.add_argument("--only", default="", help="inputs with this in their name")
    parser.add_argument("--command", default="", help="commands with this in their line")
    parser.add_argument("--minutes", type=float, help="begin no more after that")
    parser.add_argument("--details", type=Path, help="the table by input goes to that file")
    chosen = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="odd-") as folder, laid_out(Path(folder)) as bench:
        every = [each for each in bench.inputs() if chosen.only in each.name and each.family in (chosen.families or [each.family])]  # fmt: skip
        # Each input with all its commands, in an order of its own: what there is time for is of all families.
        random.Random(chosen.seed).shuffle(every)
        cells = [cell for cell in all_cells(every) if chosen.command in cell[2]]
        if chosen.some:
            some = random.Random(chosen.seed).sample(range(len(cells)), min(chosen.some, len(cells)))
            cells = [cells[number] for number in sorted(some)]
        until = time.monotonic() + chosen.minutes * 60 if chosen.minutes else None
        for each, group, line, cell in walk(bench, cells, until):
            found.append((each, group, line, cell))
            if cell.faults:
                print(
                    f"{cell.word}: {each.family}: {each.name!a}: {line}: {cell.faults!a}",
                    file=sys.stderr,
                    flush=True,
                )
    if chosen.details:
        chosen.details.write_text(table(found, by_family=False) + "\n")
    print(table(found, by_family=True))
    sys.exit(any(cell.faults for *_, cell in found))


if __name__ == "__main__":
    main()
