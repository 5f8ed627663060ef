"""The commands with which a project begins: init, plan, check."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dodo_claude.commands.face import faults, say
from dodo_claude.control.project import (
    FILE,
)
from dodo_claude.machine import importing, streams
from dodo_claude.text.errors import ConfigError, DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.config.records import Config

# Groups of which `check` says when their stages will be known.
LATE_SHOWN = 12


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


@click.command()
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


@click.command()
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
    from dodo_claude.config import crowd, quotes
    from dodo_claude.config.config import Blueprint
    from dodo_claude.config.findings import first_problems
    from dodo_claude.run import programs

    blueprint = Blueprint(file)
    config = blueprint.config()
    for plan in config.plans:
        if plan.digest is None and (config.root / plan.file).exists():
            raise DodoClaudeError("\n".join(blueprint.plan_problems(plan.group)))
    if config.absent:
        told = (each.problem for each in config.absent)
        raise ConfigError(first_problems(told, len(config.absent), file.name))
    _check_scenarios(config)
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


def _check_scenarios(config: Config) -> None:
    agents = [stage.agent for stage in config.stages if stage.agent is not None and stage.agent.scenario]
    if not agents:
        return  # most projects: what an agent is need not be known
    from dodo_claude.agents.scripted.scenario import check_scenario
    from dodo_claude.agents.table import agent_of

    for name in sorted({agent.scenario or "" for agent in agents if agent_of(agent).can.scenario}):
        check_scenario(Path(os.path.relpath(config.root / name)))


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


@click.command()
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


COMMANDS = (init, plan, check)
