"""`dodo-claude`: the commands that are not a run. Each is thin: it finds the project and asks the others."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dodo_claude import __version__
from dodo_claude.commands import look, talk
from dodo_claude.commands.face import complete_stage, faults, say
from dodo_claude.control.caller import Caller
from dodo_claude.control.project import (
    FILE,
    find_config,
    find_report,
    find_root,
    find_session,
    stage_name,
)
from dodo_claude.machine import importing, streams
from dodo_claude.text.clean import clean_line, clean_text, shortened
from dodo_claude.text.errors import ConfigError, DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.config.records import Config
    from dodo_claude.report.report import RunReport
    from dodo_claude.report.runs import Span
    from dodo_claude.state.journal import StageLog


# Of the attempts before the last one `log` tells of so many; of a check's output of the last lines; of a line its beginning.
MOST_EARLIER = 10
MOST_OUTPUT = 30
# Groups of which `check` says when their stages will be known.
LATE_SHOWN = 12
LONGEST_LINE = 2_000  # characters


class _Commands(click.Group):
    """Its help gives each command's whole first sentence; click's own cuts it in mid-word."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click's, with streams that may be closed or full."""
        streams.settle(ends=True)
        try:
            return super().main(*args, **kwargs)
        finally:
            streams.failed()  # what is not written yet is, or ends it

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's, but on as many lines as it takes."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, self.commands[name].get_short_help_str(limit=500))
                    for name in self.list_commands(ctx)
                ]
            )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dodo-claude")
def main() -> None:
    """Claude Code workers in tmux as doit tasks. `doit orchestrate` runs them."""


for command in (*talk.COMMANDS, *look.COMMANDS):
    main.add_command(command)


def templates_dir() -> Path:
    """Where the templates lie: in the installed package, or beside it in a checkout."""
    packaged = Path(str(resources.files("dodo_claude"))) / "templates"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "templates"


def template_names() -> list[str]:
    """The names that `init` takes."""
    return sorted(path.name for path in templates_dir().iterdir() if (path / FILE).is_file())


def _templates(incomplete: str) -> list[str]:
    """For a shell's completion."""
    with suppress(OSError):
        return [name for name in template_names() if name.startswith(incomplete)]
    return []


@main.command()
@click.argument(
    "template", required=False, shell_complete=lambda context, parameter, incomplete: _templates(incomplete)
)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--claude", is_flag=True, help="install the slash commands instead: init --claude [FOLDER]")
def init(template: str | None, folder: Path | None, claude: bool) -> None:
    """Copy TEMPLATE into FOLDER (default: its own name).

    With --claude: install /orchestrate-parallel-dev and /orchestrate-status, with which a Claude orchestrates, into
    FOLDER (default: this one). What you edited there is kept.

    Example: dodo-claude init parallel-feature
    """
    from difflib import get_close_matches

    with faults():
        if claude:
            if folder is not None:
                raise DodoClaudeError(
                    "init --claude: takes a folder only (copy the template by a second init)"
                )
            _install_commands(Path(template or "."))
            return
        if template is None:
            raise DodoClaudeError(f"init: name a template ({', '.join(template_names())}), or --claude")
        names = template_names()
        if template not in names:
            near = get_close_matches(template, names, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(names)}"
            raise DodoClaudeError(f"template '{template}': not found ({hint})")
        source, target = templates_dir() / template, folder or Path(template)
        files = sorted(
            path.relative_to(source)
            for path in source.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        )
        with _writing(target):
            there = [str(target / name) for name in files if (target / name).exists()]
            if there:
                raise DodoClaudeError(
                    f"{there[0]}: exists already (choose another folder; nothing was written)"
                )
            for name in files:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, target / name)
            schema = target / "orchestrate.schema.json"
            if not schema.exists():
                schema.write_text(_schema_text(), encoding="utf-8")
        _approve(target / FILE)
        where = "" if target.resolve() == Path.cwd() else f"cd {target} && "
        say(f"wrote {len(files) + 1} files to {target}; next: {where}doit orchestrate")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """What can't be written below `folder` is said in a line."""
    from dodo_claude.machine.files import disk_problem

    try:
        yield
    except OSError as error:
        raise DodoClaudeError(disk_problem(error, folder)) from error


def _install_commands(folder: Path) -> None:
    """The slash commands for Claude Code, as files of the project in `folder`."""
    if not folder.is_dir():
        raise DodoClaudeError(f"{folder}: is no folder (make it, or name the project's)")
    from dodo_claude.control import detached

    if (folder / ".orchestrate").is_dir() and detached.holder(folder) is not None:
        raise DodoClaudeError(
            f"{folder}: a run is in progress, whose workers may not change .claude (wait for its end)"
        )
    commands = folder / ".claude" / "commands"
    try:
        commands.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DodoClaudeError(f"{commands}: {error.strerror} (it must be a folder to write to)") from error
    for source in sorted(Path(str(resources.files("dodo_claude"))).glob("claude/*.md")):
        target, text = commands / source.name, source.read_bytes()
        try:
            with target.open("xb") as stream:  # "x": what is there, a link too, is left alone
                stream.write(text)
            say(f"wrote {target}: /{source.stem} in Claude Code")
        except FileExistsError:
            if target.is_file() and target.read_bytes() == text:
                say(f"{target}: is there already")
            else:
                say(f"{target}: differs from ours, kept (for ours: move it away and run this again)")
        except OSError as error:
            raise DodoClaudeError(f"{target}: {error.strerror} (may you write there?)") from error


def _approve(file: Path) -> None:
    """What was just written by the user's own order needs no question, whichever built-in agent plays it."""
    from dodo_claude.config import profiles
    from dodo_claude.config.config import load_config
    from dodo_claude.run import approval

    # Where it can't be written down, the first run asks.
    with suppress(DodoClaudeError):
        for agent in (None, *profiles.BUILT_IN):
            approval.approve(load_config(file, agent=agent), os.environ)


def _schema_text() -> str:
    return (
        resources.files("dodo_claude.config").joinpath("orchestrate.schema.json").read_text(encoding="utf-8")
    )


# What `plan` writes. The request is a file of its own: as a prompt it would be a template.
PLANNED = """#:schema ./orchestrate.schema.json
# A planner turns request.md into stages, orchestrate.generated.toml, which run once you say yes: doit orchestrate
# Another request, or an edit of that file, counts with the next run.

[defaults]                        # of the planned stages, too
agent = "{agent}"
# allowed_tools = ["Bash(python3 -m unittest *)"]    # what workers may run: only files of this folder are theirs without it

[stages.work]                     # its planner is work:plan; what it plans becomes work:NAME, and work all of it
plan = "orchestrate.generated.toml"
prompt = "Plan what this asks for. Look around first: there may be something to build upon.\\n\\n{{{{ files['request.md'] }}}}"
"""


@main.command()
@click.argument("request")
@click.option(
    "--folder", default=".", type=click.Path(path_type=Path), help="where (default: here); made if need be"
)
@click.option("--yes", "-y", is_flag=True, help="run what is planned without asking")
@click.option(
    "--agent", default="claude", type=click.Choice(["claude", "scripted"]), help="who plans and works"
)
def plan(request: str, folder: Path, yes: bool, agent: str) -> None:
    """Let a worker plan REQUEST (- reads it from stdin) as stages, look at them, and run them.

    Writes orchestrate.toml and request.md, and starts `doit orchestrate` there.

    Example: dodo-claude plan "Implement user profiles with frontend, backend and tests"
    """
    import sys

    with faults():
        text = streams.read_input() if request == "-" else request
        if not text.strip():
            raise DodoClaudeError("plan: the request is empty (say what you want made)")
        for name in (FILE, "request.md"):
            if (folder / name).exists():
                there = folder / name
                remedy = "add a stage with `plan` to it, see README" if name == FILE else "move it away"
                raise DodoClaudeError(
                    f"{there}: exists already ({remedy}, or take another --folder; nothing was written)"
                )
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _write_new(folder / "request.md", text.rstrip("\n") + "\n")
            _write_new(folder / FILE, PLANNED.format(agent=agent))
            for name, content in (("orchestrate.schema.json", _schema_text()), ("doit.cfg", _CFG)):
                if not (folder / name).exists():
                    _write_new(folder / name, content)
        _approve(folder / FILE)
        if request == "-" and sys.stdout.isatty():
            with suppress(OSError):  # the request came by a pipe; the question is for the terminal
                os.dup2(os.open("/dev/tty", os.O_RDWR), 0)
        say(f"wrote {folder / FILE} and request.md; now, and to go on later: doit orchestrate")
        sys.stdout.flush()
        os.chdir(folder)
        os.execv(  # noqa: S606 (there is no shell to start it without)
            sys.executable, importing.python("doit", "orchestrate", *(["--yes"] if yes else []))
        )


_CFG = "[GLOBAL]\nloader = orchestrate\n"


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as stream:  # never over what is there
        stream.write(text)


def _checked(file: Path) -> Config:
    """Read `file`, and all that it names. DodoClaudeError when something is wrong."""
    from dodo_claude.config.config import unswept

    with unswept():
        return _judged(file)


def _judged(file: Path) -> Config:
    from dodo_claude.agents.scripted.scenario import check_scenario
    from dodo_claude.config import crowd, quotes
    from dodo_claude.config.config import Blueprint
    from dodo_claude.config.findings import first_problems
    from dodo_claude.run import programs

    blueprint = Blueprint(file)
    config = blueprint.config()
    for plan in config.plans:
        if plan.digest is None and (config.root / plan.file).exists():
            raise DodoClaudeError("\n".join(blueprint.plan_problems(plan.group)))
    scenarios = {
        stage.agent.scenario
        for stage in config.stages
        if stage.agent is not None and stage.agent.base == "scripted" and stage.agent.scenario
    }
    if config.absent:
        told = (each.problem for each in config.absent)
        raise ConfigError(first_problems(told, len(config.absent), file.name))
    for name in sorted(scenarios):
        check_scenario(Path(os.path.relpath(config.root / name)))
    if faulty := programs.problems(config, config.stages, os.environ, blueprint.file):
        raise ConfigError(faulty)
    return replace(
        config,
        notes=(
            *config.notes,
            *map(str, programs.missing_scripts(config, blueprint.file)),
            *programs.idle_guards(config, blueprint.file),
            *quotes.notes(config),
            *crowd.notes(config),
        ),
    )


def _checked_json(file: Path) -> dict[str, Any]:
    """As schemas/check.schema.json has it."""
    told: dict[str, Any] = {"version": 1, "file": str(file), "stages": [], "notes": [], "problems": []}
    try:
        config = _checked(file)
    except ConfigError as error:
        told["problems"] = [asdict(problem) for problem in error.problems]
    except DodoClaudeError as error:
        nowhere = {"file": str(file), "line": None, "column": None, "path": "", "remedy": ""}
        told["problems"] = [{**nowhere, "text": line} for line in str(error).splitlines()]
    else:
        told["stages"] = [stage.name for stage in config.stages]
        told["notes"] = [str(note) for note in config.notes]
    return told


@main.command()
@click.argument("file", required=False, default=FILE, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="as JSON, for programs")
def check(file: Path, as_json: bool) -> None:
    """Say all that is wrong with FILE (default: orchestrate.toml). Starts nothing.

    Exit status: 0 nothing is wrong, 2 something is.

    Example: dodo-claude check
    """
    with faults():
        if as_json:
            told = _checked_json(file)
            say(json.dumps(told, indent=1))
            sys.exit(2 if told["problems"] else 0)
        config = _checked(file)
        count = len(config.stages)
        for note in config.notes:
            say(f"note: {note}")
        later = "".join(
            f", those of {late.group} when {' and '.join(late.makers) or late.source} is there"
            for late in config.late[:LATE_SHOWN]
        )
        if len(config.late) > LATE_SHOWN:
            later += f", and those of {len(config.late) - LATE_SHOWN} groups more"
        say(f"{file}: {count} stage{'' if count == 1 else 's'}{later}, no problems")


@main.command()
@click.argument("worker", shell_complete=complete_stage)
def attach(worker: str) -> None:
    """Show WORKER's session in this terminal; Ctrl-b d leaves it. `run` is a detached run.

    Inside tmux it is a popup, which Ctrl-b d leaves, too; on the server of the session itself your terminal goes on to
    it, and Ctrl-b L goes back. tmux's status line says which.

    Example: dodo-claude attach backend
    """
    from dodo_claude.commands.attach import way
    from dodo_claude.machine.tmux import check_version, is_watched, program

    with faults():
        tmux, session = find_session(worker)
        borderless = not check_version().startswith("tmux 3.2")
        watched = is_watched(os.environ)
        found = way(
            session, tmux.socket, os.environ, is_watched=watched, has_borderless=borderless, program=program()
        )
        os.execvpe(found.argv[0], found.argv, found.environ)  # noqa: S606 (there is no shell to start it without)


@main.command()
@click.argument("worker", shell_complete=complete_stage)
@click.option("--lines", default=0, help="lines of history above the screen")
def capture(worker: str, lines: int) -> None:
    """Print WORKER's screen: its text, without colours and all else that would act on your terminal.

    Example: dodo-claude capture backend --lines 100
    """
    with faults():
        tmux, session = find_session(worker)
        say(tmux.capture_session(session, history=lines))


@main.command()
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


@main.command()
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
    from dodo_claude.report import rendered

    with faults():
        if rendering is not None and html_file is not None:
            raise DodoClaudeError("report: --html goes with neither --markdown nor --json")
        if html_file is not None:
            config = find_config()
            _write_page(config, html_file, *find_report(run_id, config))
            return
        _, told = find_report(run_id)
        say(rendered.RENDERINGS[rendering or "text"](told), nl=False)


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


@main.command()
@click.option(
    "--keep", default=10, show_default=True, metavar="N", type=click.IntRange(1), help="how many runs stay"
)
@click.option("--dry-run", is_flag=True, help="only say what would go")
@click.option("--json", "as_json", is_flag=True, help="as JSON, for programs")
def gc(keep: int, dry_run: bool, as_json: bool) -> None:
    """Remove what old runs left behind: their reports, and the attempts of theirs that nothing needs any more.

    The last N runs stay whole, and of each stage the last N attempts, the one whose result counts, and what a rerun
    or a resumed session goes on from. Copies of files of yours, or of a worker's, that are nowhere else stay, too.

    Exit status: 0 done, 2 an error, 3 a run is in progress.

    Example: dodo-claude gc --keep 5 --dry-run
    """
    import sys

    from dodo_claude.machine.files import disk_problem
    from dodo_claude.run import garbage, lock
    from dodo_claude.run import gc as collector

    with faults():
        root = find_root()
        fd = None
        try:
            if (root / ".orchestrate").is_dir():  # else nothing ever ran
                fd = lock.take(root)
            old = collector.look(root, keep)
            if not dry_run:
                collector.remove(root, old)
        except lock.RunInProgressError as error:
            say(f"gc: {error}", err=True)
            sys.exit(3)
        except OSError as error:
            raise DodoClaudeError(f"gc: {disk_problem(error, root / '.orchestrate')}") from error
        finally:
            if fd is not None:
                os.close(fd)
        tell = garbage.to_json if as_json else garbage.text
        say(tell(old, removed=not dry_run), nl=False)


@main.command()
@click.argument("stage", shell_complete=complete_stage)
@click.option(
    "--agent", metavar="AGENT", help="the agent that worked on it, if `doit orchestrate --agent` chose one"
)
def recheck(stage: str, agent: str | None) -> None:
    """Check again what STAGE's last attempt made, with the check as it is now. Nobody works.

    For an attempt that failed by nothing but its check, and a stage that has changed in nothing else since. `doit
    orchestrate` does it by itself, before a worker starts, when the check or what it runs is another; this does it also
    when neither is.

    Exit status: 0 the check passed, 1 it did not, 2 there is nothing to check again, 3 a run is in progress.

    Example: dodo-claude recheck backend
    """
    from dodo_claude.commands import again
    from dodo_claude.config.config import load_config
    from dodo_claude.run.lock import RunInProgressError

    with faults():
        config = load_config(find_root() / FILE, agent=agent)
        try:
            good, said = again.recheck(config, stage_name(config, stage), os.environ)
        except RunInProgressError as error:
            say(f"recheck: {error}", err=True)
            sys.exit(3)
        say(said)
        sys.exit(0 if good else 1)


@main.command()
@click.argument("worker", required=False, shell_complete=complete_stage)
@click.option("--all", "everything", is_flag=True, help="all workers of this project")
def stop(worker: str | None, everything: bool) -> None:
    """Stop WORKER, a stage or a group: end what is at work on it, remove its session; `run` is a detached run.

    The run in progress does not try it again, and does not run what needs it; all else goes on. The next run goes on with it,
    in the same session. With --all, nothing of this project goes on. Says of each stage what was done.

    Example: dodo-claude stop backend
    """
    from dodo_claude.control import stopping
    from dodo_claude.state.stops import USER

    with faults():
        if bool(worker) == everything:
            raise DodoClaudeError("stop: name one worker, or --all")
        sender = Caller().sender(USER)
        say("\n".join(stopping.stop(find_config(), worker, sender)) or stopping.NOTHING)


@main.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path))
def mcp(folder: Path) -> None:
    """Serve MCP on standard input and output, for a Claude that orchestrates the project in FOLDER (default: this one).

    Example: dodo-claude mcp
    """
    from dodo_claude.commands import mcp_server

    with faults():
        mcp_server.serve(folder)
