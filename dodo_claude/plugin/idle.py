"""A run with nothing to do, told by the last one: doit's check said of every stage that it is up to date, and all that it
looked at is as it was.

No rule of what is stale is here. The check hangs on the configuration, on doit's state, and on the files that stages
read and make; where all of these are the same, so is what it says. That is known by a look at each file's times, size
and place (see inputs.py), in a tenth of the time that the check itself takes with all that it needs.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from dodo_claude.config import inputs
from dodo_claude.config.records import Config
from dodo_claude.plugin import kept


class Idle(NamedTuple):
    """All stages are up to date."""

    names: list[str]
    config: Config  # of the project, without its stages


def find(question: kept.Question, state: inputs.Signature | None, environ: Mapping[str, str]) -> Idle | None:
    """Is there nothing to do? None: doit's check has to say so.

    `state`: doit's state before it was opened; None: somebody else may be writing it.
    """
    if state is None:
        return None
    try:
        with open(_path(question, environ), "rb", opener=kept.own) as stream:
            data = json.load(stream)
        if data["state"] != state or data["files"][1] != _digest(data["files"][0])[0]:
            return None
        if (mark := kept.same(question, environ)) is None or data["mark"] != mark:
            return None
        name, max_workers, socket = data["config"]
        config = Config(question.path, Path(data["root"]), name, max_workers, socket, stages=(), groups=())
        return Idle([str(each) for each in data["names"]], config)
    except kept.ODD:
        return None


def keep(
    question: kept.Question, state: inputs.Signature | None, config: Config, environ: Mapping[str, str]
) -> None:
    """doit's check just said of all stages of `config` that they are up to date; its state was `state` before."""
    if state is None or any(stage.prompt_env for stage in config.stages):
        return
    files = sorted({name for stage in config.stages for name in (*stage.file_dep, *stage.targets)})
    try:
        digest, newest = _digest(files)
    except (
        OSError,
        OverflowError,
    ):  # a target may be made anew at this moment; a time may be before all times
        return
    mark = kept.same(question, environ)
    if mark is None or newest >= time.time_ns() - inputs.TICK_NS:
        return
    data = {
        "mark": mark,
        "state": state,
        "files": [files, digest],
        "names": [stage.name for stage in config.stages],
        "root": str(config.root),
        "config": [config.name, config.max_workers, config.socket],
    }
    kept.write(_path(question, environ), json.dumps(data).encode())


def _path(question: kept.Question, environ: Mapping[str, str]) -> Path:
    return kept.place(question.path.parent, environ, "-idle")


def _digest(files: Iterable[str]) -> tuple[str, int]:
    """Of what tells one state of all files from another, with the newest of their times. OSError: one is missing."""
    found = array("q")
    newest = 0
    for name in files:
        mark = inputs.signature_of(os.stat(name))
        newest = max(newest, mark[0], mark[1])
        found.extend(mark)
    return hashlib.blake2b(found.tobytes(), digest_size=16).hexdigest(), newest
