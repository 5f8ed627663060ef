"""`dodo-claude recheck`: one stage's files are checked again because somebody asks for it, with no run around it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from dodo_claude.config.config import load_config
from dodo_claude.config.records import Config
from dodo_claude.machine import files
from dodo_claude.plugin import freshness
from dodo_claude.run import stage_prompt
from dodo_claude.run.run import Run
from dodo_claude.state.events import Result
from dodo_claude.text.clean import clean_line
from dodo_claude.text.errors import ConfigError, DodoClaudeError
from dodo_claude.worker import recovery
from dodo_claude.worker.recheck import NotAgainError, OtherAgentError
from dodo_claude.worker.services import Done


def recheck(config: Config, name: str, environ: Mapping[str, str]) -> tuple[bool, str]:
    """Did the stage's check pass, and a line for people. DodoClaudeError where there is nothing to check again.

    What passed, the next run takes over: the attempt is written down as done, and doit has not stored it.
    """
    if not files.is_folder(config.root / ".orchestrate"):
        raise DodoClaudeError(f"stage '{name}': has not run yet (doit orchestrate {name})")
    run = Run(config, environ)
    try:
        run.start_nobody()
        done, whose = _recheck(run, name)
    except NotAgainError as error:
        raise DodoClaudeError(
            f"stage '{name}': there is nothing to check again: {_words(error, config, name)}"
        ) from error
    finally:
        run.close()
    if done.outcome.result is Result.SUCCEEDED:
        return True, f"{name}: passed, checked again {whose} (the next `doit orchestrate` goes on from it)"
    return False, f"{name}: {done.outcome.reason}; checked again {whose} (dodo-claude log {name} tells more)"


def _words(error: NotAgainError, config: Config, name: str) -> str:
    """Why there is nothing to check again, and what to do."""
    if not isinstance(error, OtherAgentError):
        return f"{error} ({error.remedy or f'doit orchestrate {name} goes on with it'})"
    agent = clean_line(error.agent)  # an attempt's folder said so
    try:
        load_config(config.path, agent=error.agent)
    except ConfigError:
        gone = f"which is not among the agents of {config.path.name} any more"
        return f"{error}, {gone} (doit orchestrate {name} has it done anew, or bring [agents.{agent}] back)"
    return f"{error} (dodo-claude recheck {name} --agent {agent})"


def _recheck(run: Run, name: str) -> tuple[Done, str]:
    """In a thread, so that a Ctrl-C ends the check as it ends one of a run."""
    (stage,) = (stage for stage in run.config.stages if stage.name == name)
    made = freshness.definition(stage, run.environ)
    groups = dict(run.config.groups)
    quoted = [each for name in (*stage.messages, *stage.report) for each in groups.get(name, (name,))]
    if quoted:
        made["messages"] = {
            each: freshness.digest_text(stage_prompt.message(run.config, each)) for each in quoted
        }
    services = run.services()
    run.begun.add(name)
    found: list[tuple[Done, str] | BaseException] = []

    def work() -> None:
        try:
            found.append(recovery.recheck(stage, made, services))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt:
            run.stop()
    (end,) = found
    if isinstance(end, BaseException):
        raise end
    return end
