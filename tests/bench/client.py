"""client: the real client's start, alone and as a worker of ours, with a stand-in of its API on this machine."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator

from dodo_claude.state import events as life
from tests.bench.frame import Found, Skipped, in_turn, milliseconds, ratio
from tests.bench.lab import Lab, orchestrate, until
from tests.bench.played import event_times
from tests.e2e.client import ClientUnavailable, claude_path, client_env, client_home
from tests.e2e.lab import Tmux
from tests.e2e.messages_api import MessagesApi, say, turns

NAME = "client"
TITLE = (
    "The real client in tmux, from its process's start to its prompt at the API (a stand-in on this machine): `alone`, as a "
    "person starts it, and `ours`, as a worker with its hooks, rules and brief. Then what is ours around it: `begun to "
    "spawned`, and from the end of the API's last answer to the Stop hook (the client's own) and on to the outcome (the "
    "client's end in it)."
)


def run(lab: Lab) -> Iterator[Found]:
    if lab.quick:
        yield Skipped(NAME, "not in a quick run")
        return
    try:
        claude = claude_path()
    except ClientUnavailable as why:
        yield Skipped(NAME, str(why))
        return
    parts: dict[str, list[float]] = {"begun to spawned": [], "Stop to outcome": [], "whole run": []}
    number = 0

    def alone() -> float:
        nonlocal number
        number += 1
        folder = lab.folder(f"client-alone-{number}").resolve()
        (folder / "p").mkdir()
        home = client_home(folder, [folder / "p"])
        tmux = Tmux(folder / "s")
        with MessagesApi(turns(say("Done."))) as api:
            env = {**client_env(home, api.base_url), "CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN": "1"}
            words = [
                "env",
                "-i",
                *(f"{name}={value}" for name, value in env.items()),
                str(claude),
                "--",
                "Do it.",
            ]
            script = folder / "launch.sh"
            script.write_text(f"exec {shlex.join(words)}\n")
            began = time.monotonic()
            try:
                tmux.start(script, folder / "p")
                until(lambda: _first(api) is not None, "the client's first request")
            finally:
                tmux.close()
            return (_first(api) or 0.0) - began

    def ours() -> float:
        nonlocal number
        number += 1
        with lab.passing(f"client-ours-{number}") as project, MessagesApi(turns(say("Done."))) as api:
            home = client_home(project.home, [project.root])
            project.env |= client_env(home, api.base_url)
            project.env["PATH"] = f"{claude.parent}:{os.environ.get('PATH', os.defpath)}"
            project.write(
                "orchestrate.toml", '[orchestrate]\nname = "bench"\n[stages.one]\nprompt = "Do it."\n'
            )
            project.approve()
            clock = time.time() - time.monotonic()
            whole = orchestrate(project).wall
            at = event_times(project, "one")
            parts["begun to spawned"].append(at[life.SPAWNED] - at[life.BEGUN])
            parts["Stop to outcome"].append(at[life.OUTCOME] - at["Stop"])
            parts["whole run"].append(whole)
            return (_first(api) or 0.0) + clock - at[life.SPAWNED]

    found = in_turn(lab.rounds(5), {"alone": alone, "ours": ours})
    yield milliseconds(f"{NAME}/alone", found["alone"])
    yield milliseconds(f"{NAME}/ours", found["ours"])
    yield ratio(f"{NAME}/ours of alone", found["ours"], found["alone"])
    for name, values in parts.items():
        yield milliseconds(f"{NAME}/{name}", values)


def _first(api: MessagesApi) -> float | None:
    """When the prompt came, on the monotonic clock."""
    return next((request.at for request in api.requests if request.kind == "turn"), None)
