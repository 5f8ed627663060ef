"""The demo from start to end: its options, who plays, what is made before the acts and cleared away after them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn

import telling
from acts import LOOK_ACT, Demo, expect, program
from sessions import (
    DEMO,
    WORK,
    DemoError,
    Stagehand,
    check_tmux,
    command_environ,
    only_one,
    refuse_strangers,
    remove_sessions,
)

ABOUT = """\
Three workers build a small feature in tmux under `doit orchestrate`: two side by side, a third one tests what
they made. Then it is run again, broken and mended, to show that only what is stale runs.
"""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants the demo to end."""


# -- who plays


def choose_agent(wanted: str | None, ask: bool) -> tuple[str, bool]:
    """The agent that plays, and whether demo/work has to be recorded as trusted for it."""
    if wanted == "scripted":
        telling.prose("The scripted agent, as --agent says.")
        return "scripted", False
    problem = claude_problem()
    if problem and wanted == "claude":
        raise DemoError(f"--agent claude: {problem}")
    if not problem:
        from dodo_claude.agents.claude import trust

        if trust.is_trusted(WORK, os.environ):
            telling.prose("Claude Code: `claude` is on PATH and trusts demo/work.")
            return "claude", False
        problem = settle_trust(explicit=wanted == "claude", ask=ask)
        if not problem:
            return "claude", True
    telling.prose(f"The scripted agent, since {problem.replace('claude: ', '`claude` ')}.")
    return "scripted", False


def claude_problem() -> str:
    """Why the real client can't play; '' when it can, trust aside."""
    command = shutil.which("claude")
    if command is None:
        return "`claude` is not on PATH (npm install -g @anthropic-ai/claude-code)"
    try:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"`claude --version` does not work: {error}"
    if done.returncode != 0:
        return f"`claude --version` ends with exit status {done.returncode}"
    from dodo_claude.agents.claude import clients, first_run, versions

    told = clients.version(command)
    if told is not None and versions.is_too_old(told):
        return clients.too_old_line(command, told)
    try:
        state = json.loads(first_run.state_file(os.environ).read_bytes())
    except (OSError, ValueError):
        state = {}
    return "; ".join(first_run.start_problems(state, os.environ))


def settle_trust(*, explicit: bool, ask: bool) -> str:
    """'' when demo/work may be recorded as trusted, else why not."""
    telling.prose(
        f"Claude Code works only in folders that you trust. Here that is {WORK}, just copied from "
        "templates/parallel-feature; your trust would be recorded in the client's own settings."
    )
    if ask:
        agreed = telling.yes("Trust it, and let Claude Code do the work (this costs tokens)?")
        return "" if agreed else "you said no"
    if explicit:
        telling.prose("It is recorded now, since you gave --agent claude.")
        return ""
    return "nobody can be asked for that trust here (--agent claude gives it)"


# -- setting up and clearing away


def make_work() -> None:
    """Copy the template to demo/work, with its sessions where a plain `tmux attach` finds them."""
    command = [program("dodo-claude"), "init", "parallel-feature", str(WORK)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, env=command_environ(), check=False)
    if done.returncode != 0:
        raise DemoError(f"`{' '.join(command)}` failed")
    path = WORK / "orchestrate.toml"
    text = path.read_text(encoding="utf-8")
    for old, new in (
        ('tmux = { socket = "private" }', 'tmux = { socket = "default" }'),
        ('keep = "on-failure"', 'keep = "screen"    '),
    ):
        expect(text.count(old) == 1, f"{path} has no {old}")
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def clear_away(*, files: bool = True) -> list[str]:
    """Remove what an earlier demo, or this one, made; the names of it."""
    removed = remove_sessions()
    if files and WORK.is_symlink():
        raise DemoError(f"{WORK}: is a symbolic link, which this demo never makes (remove it yourself)")
    if files and WORK.exists():
        shutil.rmtree(WORK)
        removed.append("demo/work")
    return removed


def clean() -> None:
    """--clean."""
    removed = clear_away()
    telling.line(f"removed: {', '.join(removed)}" if removed else "nothing to remove")
    if (DEMO / ".venv").is_dir():
        telling.line("demo/.venv stays, so that the next demo starts at once (rm -r demo/.venv)")


def perform(agent: str | None, *, asks: bool) -> None:
    """The demo from start to end. Whatever cuts it off leaves no process, and before the report no session."""
    stagehand = Stagehand()
    demo: Demo | None = None
    try:
        removed = clear_away()
        telling.line(telling.paint("dodo_claude: three workers, one feature, nothing twice", "bold"))
        if removed:
            telling.prose(f"Cleared away from last time: {', '.join(removed)}.")
        telling.title(1, "Who plays")
        make_work()
        chosen, trust = choose_agent(agent, asks)
        if chosen == "scripted":
            telling.prose(
                "It is a terminal program with the client's hooks that plays a scenario file; no model is asked. "
                "All else is real: tmux, doit, hooks, checks, files."
            )
        telling.prose("The project is demo/work, copied from templates/parallel-feature.")
        stagehand.open()
        demo = Demo(chosen, trust, asks, stagehand)
        demo.play()
    except BaseException as error:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        end_early(stagehand, demo, interrupted=isinstance(error, Interrupted))
        raise
    finally:
        stagehand.close()


def end_early(stagehand: Stagehand, demo: Demo | None, *, interrupted: bool) -> None:
    """Leave no process behind; and no session, unless the first run is over and something went wrong after it."""
    if interrupted:
        tell_if_possible("Stopping: ending the workers ...")
    stagehand.stop()
    if demo is not None and demo.act >= LOOK_ACT and not interrupted:
        tell_if_possible("The sessions and demo/work stay for you to look at; --clean removes them.")
        return
    removed = clear_away(files=interrupted or demo is None)
    told = f"Removed: {', '.join(removed)}." if removed else "There was nothing to remove."
    tell_if_possible(told + (" demo/work stays, its logs may tell more." if WORK.exists() else ""))


def tell_if_possible(text: str) -> None:
    """Say it, unless the terminal is gone."""
    with contextlib.suppress(OSError):
        telling.line()
        telling.prose(text)


def on_signal(number: int, frame: FrameType | None) -> NoReturn:
    """SIGINT, SIGTERM, SIGHUP."""
    raise Interrupted(number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo-orchestration.sh", description=ABOUT)
    parser.add_argument(
        "--agent",
        choices=("claude", "scripted"),
        help="who plays (default: claude where it can, else scripted)",
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing and do not pause between the acts")
    parser.add_argument("--clean", action="store_true", help="remove the demo's sessions and demo/work")
    parser.add_argument("--look-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        check_tmux()
        with only_one():
            if options.clean:
                clean()
                return 0
            refuse_strangers()
            if not options.look_only:
                perform(options.agent, asks=telling.is_asked() and not options.yes)
    except DemoError as error:
        sys.stdout.flush()
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except Interrupted as signalled:
        return 128 + int(signalled.args[0])
    except BrokenPipeError:
        # Whoever read us has left; Python would complain of it once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
