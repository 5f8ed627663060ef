"""Runs in the tmux session orchestrator-demo: takes commands from the narrator, runs them here, says how they ended.

The narrator sits at another terminal. They talk over a socket, a JSON object a line; its end means that the
demo is over, and the session becomes a plain shell for whoever looks in.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

FAREWELL = """
The demo is over; this shell is yours. Try:  doit list --status
                                             doit orchestrate --explain
                                             dodo-claude log backend
Ctrl-b d leaves the session as it is, `exit` ends it.
"""


def environment(given: dict[str, str]) -> dict[str, str]:
    """The narrator's environment with what only this pane knows."""
    own = {name: os.environ[name] for name in ("TERM", "TMUX", "TMUX_PANE") if name in os.environ}
    return {**given, **own}


def main(path: str, folder: str) -> None:
    """Serve the narrator at `path`; `folder` is where everything runs."""
    # A handler rather than SIG_IGN, which the commands would inherit: Ctrl-C in this pane is for them.
    signal.signal(signal.SIGINT, lambda *_: None)
    os.chdir(folder)
    env = environment(dict(os.environ))
    with socket.socket(socket.AF_UNIX) as narrator:
        narrator.connect(path)

        def tell(**facts: Any) -> None:
            narrator.sendall(json.dumps(facts).encode() + b"\n")

        sys.stdout.write("dodo_claude demo: this session runs the commands that its narrator announces.\n")
        for line in narrator.makefile(encoding="utf-8"):
            order = json.loads(line)
            env = environment(order["env"])
            sys.stdout.write(f"\n$ {order['shown']}\n")
            sys.stdout.flush()
            process = subprocess.Popen(order["argv"], env=env)
            tell(pid=process.pid)
            code = process.wait()
            sys.stdout.write(f"exit status {code}\n")
            sys.stdout.flush()
            tell(code=code)
    sys.stdout.write(FAREWELL)
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvpe("bash", ["bash", "--norc", "--noprofile"], {**env, "PS1": "demo/work$ "})  # noqa: S606  it becomes that shell


if __name__ == "__main__":
    main(*sys.argv[1:])
