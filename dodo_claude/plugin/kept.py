"""The configuration as it was made last time, if all that it was made from is as it was. Owns the file it is kept in.

Reading, judging and expanding 1000 stages takes six times as long as all else that a run with nothing to do does;
this takes a twentieth of that. Only a configuration without a fault is kept, and none whose stages are found in
mid-run: those are made more than once.

The file lies beside the approvals, in the user's state folder, and not in the project: who can write there can approve
by himself, so nothing runs by it that would not run without it. It is data (JSON), and whatever is wrong with it means
that there is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dodo_claude.config import inputs, records
from dodo_claude.config.records import Config, Stage
from dodo_claude.machine.files import make_private, user_state, write_atomic
from dodo_claude.text.errors import DodoClaudeError

# Of the file's form.
FORM = 2
# A configuration of 12000 stages with prompts of their own is smaller.
MOST = 100_000_000  # bytes

# What reading a file that is not as we wrote it raises.
ODD = (
    DodoClaudeError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RecursionError,
    OverflowError,
)

_RECORDS = {
    cls.__name__: cls
    for cls in (records.AgentProfile, records.Phase, records.Monitor, records.Budget, records.Foreach)
}
_FIELDS = {cls: tuple(field.name for field in fields(cls)) for cls in (*_RECORDS.values(), Config, Stage)}


class Question(NamedTuple):
    """What a configuration is asked for, besides what is on disk."""

    path: Path  # absolute
    task_names: Collection[str]
    agent: str | None
    made_by: Mapping[str, str]
    settled: Collection[str] | None
    delayed: bool = False

    def text(self) -> str:
        """The same only for the same question to the same program."""
        return json.dumps(
            [
                FORM, str(self.path), sorted(self.task_names), self.agent, sorted(self.made_by.items()),
                None if self.settled is None else sorted(self.settled), self.delayed, _program(),
            ]
        )  # fmt: skip


def _program() -> list[object]:
    """What makes configurations of files: ours, Python, and the packages that both use, as they are now."""
    ours, folders = [], [str(Path(__file__).parents[1])]
    for folder in folders:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.endswith((".py", ".json")):
                    ours.append([entry.path, *inputs.signature_of(entry.stat())])
                elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                    folders.append(entry.path)
    # Whoever installs, removes or renews a package changes its folder.
    packages = [
        [path, os.stat(path).st_mtime_ns]
        for path in sys.path
        if path.endswith(("site-packages", "dist-packages")) and os.path.isdir(path)
    ]
    return [sorted(ours), packages, sys.version, sys.getfilesystemencoding()]


def place(root: Path, environ: Mapping[str, str], what: str = "") -> Path:
    """Where the configuration of the project at `root` is kept; or `what` belongs to it."""
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return user_state(environ) / "made" / f"{name}{what}.json"


def find(question: Question, environ: Mapping[str, str]) -> tuple[Config, dict[str, str]] | None:
    """The configuration and the digests that were kept with it; None: it has to be made."""
    try:
        path = _path(question, environ)
        with open(path, "rb", opener=own) as stream:
            same, renewed = _same(question, stream)
            if same is None:
                return None
            data = stream.read(MOST)
        found = _config(question.path, json.loads(data))
    except ODD:
        return None
    if renewed is not None:
        # Else what was made a moment ago would be compared in full on each run.
        write(path, question.text().encode(), json.dumps(renewed).encode(), same, data)
    return found


def same(question: Question, environ: Mapping[str, str]) -> str | None:
    """The mark of the configuration that `find` would give, without making it."""
    try:
        with open(_path(question, environ), "rb", opener=own) as stream:
            mark, renewed = _same(question, stream)
    except ODD:
        return None
    return mark.decode() if mark is not None and renewed is None else None


def _same(question: Question, stream: BinaryIO) -> tuple[bytes | None, Any]:
    if stream.readline(MOST) != question.text().encode() + b"\n":
        return None, None
    different, renewed = inputs.changed(json.loads(stream.readline(MOST)))
    mark = stream.readline(MOST)
    return (None, None) if different or not mark.endswith(b"\n") else (mark[:-1], renewed)


def keep(
    question: Question,
    config: Config,
    seen: inputs.Inputs,
    digests: Callable[[Config], Mapping[str, str]],
    environ: Mapping[str, str],
) -> None:
    """For `find`. What can't be written is not kept."""
    if config.late or config.plans or config.absent or not question.path.is_absolute():
        return
    parts = [json.dumps(part).encode() for part in (seen.data(), _data(config, digests(config)))]
    mark = secrets.token_hex(8).encode()
    with contextlib.suppress(DodoClaudeError):  # no home to keep it in
        write(_path(question, environ), question.text().encode(), parts[0], mark, parts[1])


def _path(question: Question, environ: Mapping[str, str]) -> Path:
    # That of commands that run nothing is another.
    return place(question.path.parent, environ, "-now" if question.settled is None else "")


def own(path: str, flags: int) -> int:
    """A descriptor of a file that nobody else can have written."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        os.close(fd)
        raise PermissionError(path)
    return fd


def write(path: Path, *lines: bytes) -> None:
    """For one of our files there. What can't be written is not."""
    with contextlib.suppress(OSError):
        make_private(path.parent)
        write_atomic(path, b"\n".join(lines).decode())


# -- a configuration as data: what all stages have in common stands there once, all else in columns


def _data(config: Config, digests: Mapping[str, str]) -> dict[str, Any]:
    agents: dict[Any, int] = {}
    templates = [foreach.template for foreach in config.foreach]
    stages = [*config.stages, *templates]
    for stage in stages:
        agents.setdefault(stage.agent, len(agents))
    columns = {}
    for name in _FIELDS[Stage]:
        column = [getattr(stage, name) for stage in stages]
        if name == "agent":
            column = [agents[agent] for agent in column]
        same = bool(column) and all(value == column[0] and type(value) is type(column[0]) for value in column)
        columns[name] = [same, _plain(column[0] if same else tuple(column))]
    others = {
        name: _plain(getattr(config, name))
        for name in _FIELDS[Config]
        if name not in ("path", "root", "stages", "foreach", "plans", "absent")
    }
    foreach = [
        {name: _plain(getattr(each, name)) for name in _FIELDS[records.Foreach] if name != "template"}
        for each in config.foreach
    ]
    return {
        "root": str(config.root),
        "count": len(stages),
        "agents": _plain(tuple(agents)),
        "stages": columns,
        "foreach": foreach,
        "others": others,
        "digests": digests,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if type(value) in _FIELDS:
        return {type(value).__name__: [_plain(getattr(value, name)) for name in _FIELDS[type(value)]]}
    return value


def _frozen(value: Any) -> Any:
    """What `_plain` was given."""
    if isinstance(value, list):
        return tuple([_frozen(each) if isinstance(each, list | dict) else each for each in value])
    if isinstance(value, dict):
        ((name, values),) = value.items()
        return _RECORDS[name](*map(_frozen, values))
    return value


def _config(path: Path, data: Any) -> tuple[Config, dict[str, str]]:
    agents: Sequence[Any] = _frozen(data["agents"])
    columns: list[Iterable[Any]] = []
    count = data["count"]
    for name in _FIELDS[Stage]:
        same, value = data["stages"][name]
        column: Sequence[Any] = (_frozen(value),) * count if same else _frozen(value)
        if len(column) != count:
            raise ValueError(name)
        columns.append([agents[index] for index in column] if name == "agent" else column)
    stages = tuple(map(Stage, *columns))
    known = count - len(data["foreach"])
    templates: Iterator[Stage] = iter(stages[known:])
    foreach = tuple(
        records.Foreach(template=next(templates), **{name: _frozen(value) for name, value in each.items()})
        for each in data["foreach"]
    )
    others = {name: _frozen(value) for name, value in data["others"].items()}
    root = Path(data["root"])
    return Config(path=path, root=root, stages=stages[:known], foreach=foreach, **others), data["digests"]
