"""`dodo-claude`: the commands that are not a run. Each is thin: it finds the project and asks the others."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path

import click

from dodo_claude import __version__, look, talk
from dodo_claude.errors import DodoClaudeError
from dodo_claude.project import (
    FILE,
    RUN,
    complete_stage,
    faults,
    find_config,
    find_root,
    find_session,
    project_tmux,
    stage_name,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dodo-claude")
def main() -> None:
    """Claude Code workers in tmux as doit tasks. `doit orchestrate` runs them."""


for command in (*talk.COMMANDS, *look.COMMANDS):
    main.add_command(command)


def templates_dir() -> Path:
    """Where the templates lie: in the installed package, or beside it in a checkout."""
    packaged = Path(str(resources.files("dodo_claude"))) / "templates"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parent.parent / "templates"


def template_names() -> list[str]:
    """The names that `init` takes."""
    return sorted(path.name for path in templates_dir().iterdir() if (path / FILE).is_file())


def _templates(incomplete: str) -> list[str]:
    """For a shell's completion."""
    with suppress(OSError):
        return [name for name in template_names() if name.startswith(incomplete)]
    return []


@main.command()
@click.argument("template", shell_complete=lambda context, parameter, incomplete: _templates(incomplete))
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def init(template: str, folder: Path | None) -> None:
    """Copy TEMPLATE into FOLDER (default: its own name).

    Example: dodo-claude init parallel-feature
    """
    from difflib import get_close_matches

    with faults():
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
        there = [str(target / name) for name in files if (target / name).exists()]
        if there:
            raise DodoClaudeError(f"{there[0]}: exists already (choose another folder; nothing was written)")
        for name in files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
        schema = target / "orchestrate.schema.json"
        if not schema.exists():
            schema.write_text(_schema_text(), encoding="utf-8")
        _approve(target / FILE)
        where = "" if target.resolve() == Path.cwd() else f"cd {target} && "
        click.echo(f"wrote {len(files) + 1} files to {target}; next: {where}doit orchestrate")


def _approve(file: Path) -> None:
    """What was just written by the user's own order needs no question, whichever built-in agent plays it."""
    from dodo_claude import approval, profiles
    from dodo_claude.config import load_config

    # Where it can't be written down, the first run asks.
    with suppress(DodoClaudeError):
        for agent in (None, *profiles.BUILT_IN):
            approval.approve(load_config(file, agent=agent), os.environ)


def _schema_text() -> str:
    return resources.files("dodo_claude").joinpath("orchestrate.schema.json").read_text(encoding="utf-8")


@main.command()
@click.argument("file", required=False, default=FILE, type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Say all that is wrong with FILE (default: orchestrate.toml). Starts nothing.

    Example: dodo-claude check
    """
    from dodo_claude.config import load_config
    from dodo_claude.scripted.scenario import check_scenario

    with faults():
        config = load_config(file)
        scenarios = {
            stage.agent.scenario
            for stage in config.stages
            if stage.agent is not None and stage.agent.base == "scripted" and stage.agent.scenario
        }
        for name in sorted(scenarios):
            check_scenario(Path(os.path.relpath(config.root / name)))
        count = len(config.stages)
        for note in config.notes:
            click.echo(f"note: {note}")
        later = "".join(
            f", those of {late.group} when {' and '.join(late.makers) or late.source} is there"
            for late in config.late
        )
        click.echo(f"{file}: {count} stage{'' if count == 1 else 's'}{later}, no problems")


@main.command()
@click.argument("worker", shell_complete=complete_stage)
def attach(worker: str) -> None:
    """Show WORKER's session in this terminal; Ctrl-b d leaves it. Works inside tmux too.

    Example: dodo-claude attach backend
    """
    with faults():
        tmux, session = find_session(worker)
        options = ["-S", str(tmux.socket)] if tmux.socket is not None else []
        inside = os.environ.get("TMUX", "").partition(",")[0]
        same = inside and (tmux.socket is None or Path(inside) == tmux.socket)
        verb = "switch-client" if same else "attach-session"
        environ = {name: value for name, value in os.environ.items() if name != "TMUX" or same}
        os.execvpe(  # noqa: S606 (there is no shell to start it without)
            "tmux", ["tmux", *options, verb, "-t", session], environ
        )


@main.command()
@click.argument("worker", shell_complete=complete_stage)
@click.option("--lines", default=0, help="lines of history above the screen")
def capture(worker: str, lines: int) -> None:
    """Print WORKER's screen.

    Example: dodo-claude capture backend --lines 100
    """
    with faults():
        tmux, session = find_session(worker)
        click.echo(tmux.capture_session(session, history=lines))


@main.command()
@click.argument("stage", shell_complete=complete_stage)
def log(stage: str) -> None:
    """Tell how STAGE's last attempt went: its end, what it said, its check's output, where its files are.

    Example: dodo-claude log backend
    """
    from dodo_claude.journal import Attempt, StageLog
    from dodo_claude.verify import output_tail

    with faults():
        config = find_config()
        name = stage_name(config, stage)
        history = StageLog(config.root / ".orchestrate", name)
        numbers = history.attempts()
        if not numbers:
            raise DodoClaudeError(f"stage '{name}': has not run yet (doit orchestrate {name})")
        attempt = Attempt(history, numbers[-1])
        result = attempt.result() or {"result": "under way"}
        click.echo(f"{name}: attempt {attempt.number} {result['result']}")
        for key in ("reason", "seconds", "repairs", "session_id", "set_aside"):
            if result.get(key):
                click.echo(f"  {key}: {result[key]}")
        for title, file in (("check", "check.log"), ("output", "output.log")):
            text = output_tail(attempt.dir / file)
            if text:
                click.echo(f"  {title}:")
                click.echo("".join(f"    {line}\n" for line in text.splitlines()[-30:]), nl=False)
        if result.get("message"):
            click.echo("  last message:")
            click.echo("".join(f"    {line}\n" for line in str(result["message"]).splitlines()), nl=False)
        click.echo(f"  files: {os.path.relpath(attempt.dir)}/")


@main.command()
@click.option("--markdown", "rendering", flag_value="markdown", help="as Markdown")
@click.option("--json", "rendering", flag_value="json", help="as JSON, for programs")
@click.option("--run", "run_id", metavar="ID", help="of that run instead of the last (.orchestrate/runs/ID)")
def report(rendering: str | None, run_id: str | None) -> None:
    """Tell what the last run came to: each stage's state, files, checks and cost, and what is left and why.

    A run that is under way, or was killed, is told of as far as it got.

    Example: dodo-claude report --markdown > report.md
    """
    from dodo_claude import detached, history, rendered
    from dodo_claude.redact import Redactor

    with faults():
        root = find_root()
        state = root / ".orchestrate"
        span = history.find(state, run_id)
        told = history.saved(state, span.id)
        if told is None:  # it has not ended, or could not write it
            holder = detached.holder(root) or ""
            live = bool(holder) and holder.startswith(f"pid {span.id.rpartition('-')[2]} ")
            span = replace(span, live=live, chosen=history.chosen(state, span.id))
            told = history.report(find_config(), span, redact=Redactor(os.environ))
        click.echo(rendered.RENDERINGS[rendering or "text"](told), nl=False)


@main.command()
@click.argument("worker", required=False, shell_complete=complete_stage)
@click.option("--all", "everything", is_flag=True, help="all workers of this project")
def stop(worker: str | None, everything: bool) -> None:
    """End WORKER and remove its session; with --all every one of this project. `run` is a detached run.

    Example: dodo-claude stop --all
    """
    from dodo_claude import detached

    with faults():
        if bool(worker) == everything:
            raise DodoClaudeError("stop: name one worker, or --all")
        config = find_config()
        tmux = project_tmux(config)
        name = None if worker in (None, RUN) else stage_name(config, str(worker))
        wanted = {stage.session for stage in config.stages if worker is None or stage.name == name}
        ended = 0
        if worker in (None, RUN) and detached.stop(config, tmux):
            ended += 1
        for session, (session_id, mark) in tmux.sessions().items():
            if session in wanted and mark:
                tmux.end_session(session_id, mark)
                ended += 1
        tmux.stop_server_if_empty()
        click.echo(f"ended {ended} session{'' if ended == 1 else 's'}")
