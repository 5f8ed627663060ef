"""The commands by which a person sees what is and was: status, attach, capture, log, report, dashboard."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dodo_claude.commands.face import complete_stage, faults, say
from dodo_claude.control import project
from dodo_claude.control.project import (
    find_config,
    find_report,
    find_root,
    find_session,
    stage_name,
)
from dodo_claude.text.clean import clean_line, clean_text, shortened
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.config.records import Config
    from dodo_claude.report.record import RunReport
    from dodo_claude.report.runs import Span
    from dodo_claude.state.journal import StageLog

# Of the attempts before the last one `log` tells of so many; of a check's output of the last lines; of a line its beginning.
MOST_EARLIER = 10
MOST_OUTPUT = 30
LONGEST_LINE = 2_000  # characters


@click.command()
@click.option("--json", "as_json", is_flag=True, help="as JSON, for programs")
def status(as_json: bool) -> None:
    """Say of each stage how it is now, what its worker does and has used, whether a run is in progress, and what is in tmux.

    It is told from the journals, so it works with no run going on, too.

    Example: dodo-claude status --json
    """
    from dodo_claude.report import status as now

    with faults():
        found = project.find_status()
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        say(now.to_json(found) if as_json else now.text(found, width), nl=False)


@click.command()
@click.argument("worker", shell_complete=complete_stage)
def attach(worker: str) -> None:
    """Show WORKER's session in this terminal; Ctrl-b d leaves it. `run` is a detached run.

    Inside tmux it is a popup, which Ctrl-b d leaves, too; on the server of the session itself your terminal goes on to
    it, and Ctrl-b L goes back. tmux's status line says which.

    Example: dodo-claude attach backend
    """
    from dodo_claude.commands.attach import way
    from dodo_claude.machine.server import check_version, program
    from dodo_claude.machine.tmux import is_watched

    with faults():
        tmux, session = find_session(worker)
        borderless = not check_version().startswith("tmux 3.2")
        watched = is_watched(os.environ)
        found = way(
            session,
            tmux.server.socket,
            os.environ,
            is_watched=watched,
            has_borderless=borderless,
            program=program(),
        )
        os.execvpe(found.argv[0], found.argv, found.environ)  # noqa: S606 (there is no shell to start it without)


@click.command()
@click.argument("worker", shell_complete=complete_stage)
@click.option("--lines", default=0, help="lines of history above the screen")
def capture(worker: str, lines: int) -> None:
    """Print WORKER's screen: its text, without colours and all else that would act on your terminal.

    Example: dodo-claude capture backend --lines 100
    """
    with faults():
        tmux, session = find_session(worker)
        say(tmux.capture_session(session, history=lines))


@click.command()
@click.argument("stage", shell_complete=complete_stage)
def log(stage: str) -> None:
    """Tell how STAGE's last attempt went: its end, what it said, its check's output, where its files are; and how those
    before it ended, since the stage was last done.

    Example: dodo-claude log backend
    """
    from dodo_claude.state.journal import Attempt, StageLog
    from dodo_claude.worker.verify import output_tail

    with faults():
        config = find_config()
        name = stage_name(config, stage)
        history = StageLog(config.root / ".orchestrate", name)
        numbers = history.attempts()
        if not numbers:
            raise DodoClaudeError(f"stage '{name}': has not run yet (doit orchestrate {name})")
        attempt = Attempt(history, numbers[-1])
        result = attempt.result() or {"result": "under way"}
        say(f"{name}: attempt {attempt.number} {_short(result.get('result'))}")
        for title, said in _figures(result):
            say(f"  {title}: {said}")
        for line in _earlier(history, numbers[:-1]):
            say(f"  before: {line}")
        also = result.get("undeclared")  # an older version's result has none
        for each in also if isinstance(also, list) else ():
            if not isinstance(each, Mapping):
                continue  # it is none of ours
            seen = "" if each.get("known") else " (changed while it was at work"
            others = each.get("beside")
            beside = _short(", ".join(map(str, others if isinstance(others, list) else ())))
            seen += f", or by {beside})" if seen and beside else ")" if seen else ""
            say(f"  besides its targets: {_short(each.get('path'))}{seen}")
        for title, file in (("check", "check.log"), ("output", "output.log")):
            _quote(title, output_tail(attempt.dir / file).splitlines()[-MOST_OUTPUT:])
        _quote("last message", clean_text(str(result.get("message") or "")).splitlines())
        say(f"  files: {os.path.relpath(attempt.dir)}/")


def _short(value: object) -> str:
    """What a file of an attempt says, in a line."""
    return shortened(clean_line(str(value)), LONGEST_LINE)


def _quote(title: str, lines: list[str]) -> None:
    """What a worker, or a program, said, if it did."""
    if lines:
        say(f"  {title}:")
        say("".join(f"    {shortened(line, LONGEST_LINE)}\n" for line in lines), nl=False)


def _figures(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What stands in an attempt's result, in words."""
    from dodo_claude.text.durations import in_words

    seconds, moved = result.get("seconds"), result.get("set_aside")
    found = {
        "reason": result.get("reason"),
        "took": in_words(seconds) if isinstance(seconds, int | float) and seconds else "",
        "repairs": result.get("repairs"),
        "session": result.get("session_id"),
        "set aside in partial/": ", ".join(map(str, moved)) if isinstance(moved, list) else moved,
    }
    return [(title, _short(said)) for title, said in found.items() if said]


def _earlier(history: StageLog, numbers: list[int]) -> list[str]:
    """How the attempts ended that did not make the stage done, back to the last that did; the newest first."""
    from dodo_claude.state.journal import Attempt
    from dodo_claude.worker.since import ended

    found: list[str] = []
    for number in reversed(numbers):
        attempt = Attempt(history, number)
        result = attempt.result() or {}
        how = ended(result)
        if not how or len(found) == MOST_EARLIER:
            break
        found.append(f"attempt {number} {_short(how)} (files: {os.path.relpath(attempt.dir)}/)")
    return found


@click.command()
@click.option("--markdown", "rendering", flag_value="markdown", help="as Markdown")
@click.option("--json", "rendering", flag_value="json", help="as JSON, for programs")
@click.option(
    "--html",
    "html_file",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="as one HTML page, written to FILE, or to report.html in the run's folder; '-': print it",
)
@click.option("--run", "run_id", metavar="ID", help="of that run instead of the last (.orchestrate/runs/ID)")
def report(rendering: str | None, html_file: str | None, run_id: str | None) -> None:
    """Tell what the last run came to: each stage's state, files, checks and cost, and what is left and why.

    A run that is under way, or was killed, is told of as far as it got.

    The page needs no network and no script: timeline, graph, and of each stage prompt, diffs, checks and messages.

    Example: dodo-claude report --markdown > report.md

    Example: dodo-claude report --html report.html
    """
    from dodo_claude.report import words

    with faults():
        if rendering is not None and html_file is not None:
            raise DodoClaudeError("report: --html goes with neither --markdown nor --json")
        if html_file is not None:
            config = find_config()
            _write_page(config, html_file, *find_report(run_id, config))
            return
        _, told = find_report(run_id)
        say(words.RENDERINGS[rendering or "text"](told), nl=False)


def _write_page(config: Config, file: str, span: Span, told: RunReport) -> None:
    """The report as a page, to `file`; '': to where the run writes it."""
    from dodo_claude.machine.files import disk_problem, make_folder, write_atomic
    from dodo_claude.report.details import details
    from dodo_claude.report.page import is_page, page
    from dodo_claude.text.redact import Redactor

    text = page(told, details(config, span, told, Redactor(os.environ)))
    if file == "-":
        say(text, nl=False)
        return
    path = Path(file) if file else config.root / ".orchestrate" / "runs" / span.id / "report.html"
    try:
        if not file:
            make_folder(path.parent)
        elif path.is_dir():
            raise DodoClaudeError(f"{path}: is a folder (name a file in it)")
        elif path.exists() and not (
            path.is_file() and is_page(path.read_text(encoding="utf-8", errors="replace"))
        ):
            raise DodoClaudeError(f"{path}: exists, and is no report (name another file, or remove it)")
        # What somebody asked for by name is theirs to share.
        write_atomic(path, text, mode=0o666 if file else 0o600)
    except OSError as error:
        raise DodoClaudeError(disk_problem(error, path)) from error
    say(f"report: {os.path.relpath(path)}")


@click.command()
@click.option("--web", "in_browser", is_flag=True, help="in a browser: serve it and print the address, once")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="with --web: that port (default: one that is free)"
)
@click.option(
    "--host", metavar="ADDR", help="with --web: listen on that address, unencrypted (default: 127.0.0.1)"
)
@click.option("--control", is_flag=True, help="with --web: keys that act work in the browser, too")
def dashboard(in_browser: bool, port: int | None, host: str | None, control: bool) -> None:
    """Show the project in this terminal, live: the graph of its stages, and of each its worker's screen, events, prompt,
    files, check and messages; with keys to attach, send, answer, interrupt, stop and try again (? shows them).

    It works with no run going on, too. Leaving it ends nothing. Needs: pip install 'dodo-claude[dashboard]'

    Example: dodo-claude dashboard
    """
    from importlib.util import find_spec

    with faults():
        for name, needed in (
            ("Textual", "textual"),
            ("textual-serve", "textual_serve"),
            ("aiohttp", "aiohttp"),
        ):
            if (in_browser or needed == "textual") and find_spec(needed) is None:
                raise DodoClaudeError(f"dashboard: needs {name} (pip install 'dodo-claude[dashboard]')")
        if in_browser:
            from dodo_claude.dashboard import web

            sys.exit(
                web.dashboard(find_root(), host=host or "127.0.0.1", port=port or 0, control=control, say=say)
            )
        if control or port is not None or host is not None:
            raise DodoClaudeError("dashboard: --port, --host and --control are for --web (add it)")
        from dodo_claude.dashboard.dashboard import show

        show()


COMMANDS = (status, attach, capture, log, report, dashboard)
