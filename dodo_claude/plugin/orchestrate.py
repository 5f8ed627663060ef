"""`doit orchestrate`: doit's `run` with our loader, runner and reporter, and the two questions "what would
it do" (--dry-run) and "why" (--explain).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from doit.cmd_base import DodoTaskLoader
from doit.cmd_run import Run as DoitRun
from doit.exceptions import InvalidCommand, InvalidDodoFile
from doit.task import Stream

from dodo_claude.machine import streams
from dodo_claude.plugin import signals
from dodo_claude.plugin.loader import STATE, StageLoader, keeps_elsewhere, not_right
from dodo_claude.plugin.options import OPTIONS
from dodo_claude.plugin.task_control import StageControl
from dodo_claude.text.clean import clean_line, clean_text, one_line

if TYPE_CHECKING:
    from dodo_claude.config.records import Stage
    from dodo_claude.run.run import Run


class Orchestrate(DoitRun):
    """The doit command. doit calls `_execute` with the options that its parameters name."""

    name = "orchestrate"
    doc_purpose = "run the stages of orchestrate.toml, and dodo.py's tasks, that are stale"
    doc_usage = "[STAGE/TASK/TARGET...]"
    doc_description = None
    loader: StageLoader  # `execute` refuses any other
    cmd_options = OPTIONS

    def __init__(self, task_loader: Any = None, cmds: Any = None, **kwargs: Any) -> None:
        # doit's default loader knows no stages; a loader that the user chose is left alone.
        if type(task_loader) is DodoTaskLoader:
            stages = StageLoader()
            stages.cmd_names, stages.config = task_loader.cmd_names, task_loader.config
            task_loader = stages
        super().__init__(task_loader=task_loader, cmds=cmds, **kwargs)

    def help(self) -> str:
        """Called by doit for `doit help orchestrate`. The options' own defaults are doit's, and a run's without orchestrate.toml."""
        if not keeps_elsewhere((self.config or {}).get("GLOBAL", {})):
            for name, value in {**STATE, "check_file_uptodate": "dodo_claude's own"}.items():
                self.cmdparser[name].default = value
        return str(super().help())

    def execute(self, params: Any, args: list[str]) -> int:
        """Called by doit with the parsed command line."""
        if not isinstance(self.loader, StageLoader):
            raise InvalidCommand(
                'doit orchestrate needs the loader "orchestrate" (set it in doit.cfg or pyproject.toml)'
            )
        self.loader.agent = params.get("agent")
        self.loader.settles = not params.get("always")
        self.loader.looks = bool(params.get("dry_run") or params.get("explain"))
        other = ("always", "dry_run", "explain", "trust", "single")
        self.loader.may_idle = params.get("reporter") == self.name and not any(map(params.get, other))
        streams.settle(ends=False)
        self.outstream: Any = sys.stdout  # doit keeps Python's first one
        # Until something runs hardly anything is made that does not stay.
        gc.disable()
        try:
            code = int(super().execute(params, args))
            return code or int(streams.failed())
        except InvalidCommand as error:  # doit shows the word that it does not know as it is
            if error.not_found is not None:
                error.not_found = one_line(error.not_found)
            raise
        finally:
            gc.enable()

    def _execute(
        self, outfile: Any, verbosity: Any = None, always: bool = False, continue_: bool = True,
        reporter: Any = "orchestrate", num_process: int | None = None, par_type: str = "thread",
        single: bool = False, auto_delayed_regex: bool = False, force_verbosity: bool = False,
        failure_verbosity: int = 0, pdb: bool = False,
        trust: bool = False, yes: bool = False, allow_bypass: bool = False, detach: bool = False,
        dry_run: bool = False, explain: bool = False, board: bool | None = None,
    ) -> int:  # fmt: skip
        """Called by doit. Its parameters' names are the options' names, looked up by doit."""
        from dodo_claude.machine.files import disk_problem
        from dodo_claude.text.errors import DodoClaudeError

        if par_type != "thread":
            raise InvalidCommand(
                f"-P {par_type}: doit orchestrate works with threads only (leave the option out)"
            )
        before: dict[int, Any] = {}  # what minded signals
        self.control = StageControl(self.task_list, auto_delayed_regex=auto_delayed_regex)
        self.control.process(self.sel_tasks)
        if single:
            self._without_dependencies()
        try:
            if dry_run or explain:
                return self._tell_reasons(outfile, all_of_them=explain)
            run = self.loader.run
            if run is not None:
                before = signals.mind(signals.stop)
                run.take_lock()
                run.force = always or not self._own_backend()
                if allow_bypass:
                    from dodo_claude.run.safeguards import ALLOW_BYPASS

                    run.environ[ALLOW_BYPASS] = "1"
                if self.loader.idle is not None:
                    return self._nothing_to_do(outfile, reporter, self.loader.idle.names)
                if not (always or trust) and (done := self._done(reporter)):
                    self.loader.keep_idle(self)
                    return self._nothing_to_do(outfile, reporter, done)
                self._need_files()
                self._consent(run, trust=trust, yes=yes)
                if detach:
                    return self._detach(run)
            return self._run_stages(
                outfile, reporter, Stream(verbosity, force_verbosity), num_process, always, continue_,
                failure_verbosity, quiet=verbosity == 0, board=board,
            )  # fmt: skip
        except DodoClaudeError as error:
            sys.stderr.write("".join(f"ERROR: {line}\n" for line in clean_text(str(error)).splitlines()))
            return 3
        except OSError as error:  # a full disk, a file without permission
            sys.stderr.write(f"ERROR: {one_line(disk_problem(error, Path.cwd()))}\n")
            return 3
        except KeyboardInterrupt as stopped:  # before the runner minds signals, or after
            return self._stopped(stopped)
        except Exception as error:
            signalled = signals.signal_in(error)
            if signalled is None:
                raise
            return self._stopped(signalled)
        finally:
            signals.mind(signals.Late())
            self.dep_manager.close()
            if self.loader.run is not None:
                self.loader.run.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tell_reasons(self, outfile: Any, *, all_of_them: bool) -> int:
        """For --dry-run, and --explain."""
        from dodo_claude.plugin import explain

        with _opened(outfile) as out:
            out.write(clean_text(explain.text(self.control, self.dep_manager, reasons=all_of_them)))
        return 0

    def _consent(self, run: Run, *, trust: bool, yes: bool) -> None:
        """May the stages run? Whoever can be asked is asked. DodoClaudeError when they may not."""
        from dodo_claude.control import detached
        from dodo_claude.plugin import explain
        from dodo_claude.run import consent

        ask = not yes and sys.stdin.isatty() and sys.stdout.isatty() and not detached.is_inside()
        run.confirm = consent.confirmation(run, yes=yes, ask=ask, out=self.outstream)
        consent.settle(
            run, give=trust, ask=ask, out=self.outstream,
            stale=lambda wanted: explain.is_stale(self.control, self.dep_manager, wanted),
            dodo=self.loader.dodo,
        )  # fmt: skip

    def _detach(self, run: Run) -> int:
        """Have it run in a tmux session of its own."""
        from dodo_claude.control import detached
        from dodo_claude.plugin import explain

        if explain.is_stale(self.control, self.dep_manager, None):
            from dodo_claude.run import preflight

            preflight.look(run.config, self._stages(), run.environ)  # the other would say it to nobody
        run.close()  # the lock is the other's
        self.outstream.write(f"{clean_line(detached.start(run, sys.argv[1:]))}\n")
        return 0

    def _stopped(self, stopped: KeyboardInterrupt) -> int:
        """As the runner ends a run. It holds the lock, so what an earlier run left at work is its own."""
        from dodo_claude.plugin.runner import clear_left

        run = self.loader.run
        if run is not None:
            signals.mind(lambda number, frame: run.hurry.set())
            run.stopping.set()
            clear_left(run, self._stages())
        return 128 + (stopped.args[0] if stopped.args else signal.SIGINT)

    def _done(self, reporter: Any) -> list[str]:
        """The stages of this run if all are up to date, as doit's own check has it; else, or if there are others, none.

        doit's dispatcher and runner, made for tasks that do run, take as long again to come to the same.
        """
        from dodo_claude.plugin import explain

        if reporter != "orchestrate" or not self._own_backend():
            return []
        names = []
        with self.dep_manager.backend.at_once():
            for task in explain.chosen(self.control):
                if task.has_subtask and not task.actions and task.loader is None:
                    continue
                if not explain.is_done(task, self.control, self.dep_manager):
                    return []
                names.append(task.name)
        return names

    def _nothing_to_do(self, outfile: Any, reporter: str, names: list[str]) -> int:
        with _opened(outfile) as out:
            report = self.reporters[reporter](out, {})
            report.nothing_to_do(names)
        gc.freeze()  # Python's end would look for garbage among all that is left, several times
        return 0

    def _need_files(self) -> None:
        """Refuse a run that would come to a stage which reads what nobody makes. InvalidDodoFile."""
        from dodo_claude.plugin import explain

        config = self.loader.stage_config
        if config is not None and config.absent:
            tasks = explain.chosen(self.control)
            problems = config.absent_for(
                {task.name for task in tasks if not self.dep_manager.status_is_ignore(task)}
            )
            if problems:
                from dodo_claude.config.findings import first_problems

                raise InvalidDodoFile(not_right(first_problems(problems, len(problems), config.path.name)))

    def _stages(self) -> list[Stage]:
        """Those that were chosen on the command line, with what they need."""
        from dodo_claude.plugin import explain
        from dodo_claude.plugin.tasks import stage_of

        return [stage for task in explain.chosen(self.control) if (stage := stage_of(task)) is not None]

    def _own_backend(self) -> bool:
        from dodo_claude.plugin.backend import DurableDB

        return isinstance(self.dep_manager.backend, DurableDB)

    def _without_dependencies(self) -> None:
        for name in self.control.selected_tasks:
            task = self.control.tasks[name]
            for each in [self.control.tasks[sub] for sub in task.task_dep] if task.has_subtask else [task]:
                each.task_dep = []

    def _run_stages(
        self, outfile: Any, reporter: Any, stream: Stream, num_process: int | None, always: bool,
        continue_: bool, failure_verbosity: int, *, quiet: bool, board: bool | None,
    ) -> int:  # fmt: skip
        from dodo_claude.plugin.reporter import StageReporter
        from dodo_claude.plugin.runner import StageRunner

        run, config = self.loader.run, self.loader.stage_config
        workers = num_process or (config.max_workers if config is not None else 1)
        reporter_class = self.reporters[reporter] if isinstance(reporter, str) else reporter
        with _opened(outfile) as self.outstream:
            report = reporter_class(self.outstream, {"failure_verbosity": failure_verbosity})
            if run is not None and isinstance(report, StageReporter):
                run.workers = workers
                shows = _shows(self.outstream, quiet) if board is None else board and self.outstream.isatty()
                report.attend(run, quiet=quiet, board=shows, workers=workers, past=self._past)
            runner = StageRunner(
                self.dep_manager, report, continue_, always, stream, workers, run=run, stages=self._stages(),
                past=self._past,
            )  # fmt: skip
            gc.freeze()
            gc.enable()
            try:
                return runner.run_all(self.control.task_dispatcher())
            finally:
                if isinstance(report, StageReporter):
                    report.close()

    def _past(self, name: str) -> float | None:
        """How long a stage took when it last ran."""
        seconds = (self.dep_manager.get_values(name) or {}).get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None


def _shows(stream: TextIO, quiet: bool) -> bool:
    """Is this a place for a board?"""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") in ("", "dumb")
    return bool(stream.isatty() and not plain and not quiet)


@contextmanager
def _opened(outfile: Any) -> Iterator[TextIO]:
    """The stream of -o: a file's name, or doit's own stream, which stays open."""
    if not isinstance(outfile, str):
        yield _own(outfile)
        return
    with streams.opened(outfile) as stream:
        yield stream


def _own(stream: Any) -> Any:
    """Of Python's first standard output, which doit keeps, the one that took its place."""
    return sys.stdout if stream is None or stream is sys.__stdout__ else stream
