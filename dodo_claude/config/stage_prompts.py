"""The prompts of a stage and its phases: read once for all items, judged, and what they name put into the draft."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dodo_claude.config import language
from dodo_claude.config.documents import Table
from dodo_claude.config.drafts import Draft, Surroundings
from dodo_claude.config.findings import At, Findings, did_you_mean, dotted, show
from dodo_claude.config.locate import KeyPath
from dodo_claude.config.paths import BadPathError, is_glob
from dodo_claude.config.records import AgentProfile, Stage
from dodo_claude.config.sources import UnreadableError, read_text
from dodo_claude.config.uses import PROMPT_NAMES, Uses, analyse
from dodo_claude.config.values import undefined_name
from dodo_claude.text.errors import DodoClaudeError, Problem

# Same as the schema's limit for a prompt that stands in orchestrate.toml, in bytes.
MAX_PROMPT = 1_000_000


@dataclass(frozen=True, slots=True)
class PromptRead:
    source: str
    place: KeyPath
    file: str | None
    uses: Uses


def judged(value: str, place: KeyPath, judge: Callable[[str], str], findings: Findings) -> str | None:
    try:
        return judge(value)
    except BadPathError as bad:
        findings.add_once(place, bad.text, bad.remedy)
        return None


class StagePrompts:
    """Those of one table: of the stage itself, and of its phases."""

    def __init__(self, table: Table, around: Surroundings, agent: AgentProfile | None) -> None:
        self._name = table.name
        self._own = table.values
        self._prefix = table.document.prefix
        self._around = around
        self._findings = around.findings
        self._agent = agent
        self._read_already: dict[KeyPath, PromptRead | None] = {}  # by the place of their tables

    def of(self, table: Mapping[str, Any] | None = None, of: KeyPath = ()) -> PromptRead | None:
        """The prompt of the stage, or of a phase: its table, and the place of that."""
        table = self._own if table is None else table
        of = of or ("stages", self._name)
        if of not in self._read_already:
            self._read_already[of] = self._read_prompt(table, of)
        return self._read_already[of]

    def _read_prompt(self, table: Mapping[str, Any], of: KeyPath) -> PromptRead | None:
        key = "prompt" if "prompt" in table else "prompt_file"
        place: KeyPath = (*of, key)
        value = table.get(key)
        if value is None:
            return None
        file = None
        if key == "prompt_file":
            file = judged(value, place, self._around.project.file, self._findings)
            source = None if file is None else self._read(file, place)
            if file is None or source is None:
                return None
        else:
            source = value
        known = PROMPT_NAMES if "foreach" in self._own else PROMPT_NAMES[1:]
        if not source.strip():
            self._findings.add(place, "the prompt is empty" if file is None else f"{file} is empty")
            return None
        if "\0" in source:
            self._findings.add(place, "the prompt holds a NUL character")
            return None
        prompt = PromptRead(source, place, file, analyse(source, known=known))
        self._judge_prompt(prompt)
        return prompt

    def _read(self, file: str, place: KeyPath) -> str | None:
        try:
            path = Path(self._around.project.root, file)
            return read_text(path, MAX_PROMPT).replace("\r\n", "\n")
        except UnreadableError as error:
            if (error.line, error.column) == (1, 1):
                self._findings.add(place, f"{file}: {error.text}", error.remedy)
            else:
                self._findings.put(
                    Problem(file, error.line, error.column, dotted(place), error.text, error.remedy)
                )
            return None

    def _judge_prompt(self, prompt: PromptRead) -> None:
        uses = prompt.uses
        if uses.error is not None:
            self._in_prompt(prompt, uses.error[1], uses.error[0])
            if language.is_used_up():
                self._findings.raise_any()
        for name, line in uses.undefined:
            self._in_prompt(prompt, line, *undefined_name(name, PROMPT_NAMES))
        allowed = {*(self._around.defaults.get("env") or {}), *(self._own.get("env") or {})}
        allowed |= set(self._agent.env_pass if self._agent else ())
        for name in uses.env:
            if name not in allowed:
                remedy = did_you_mean(name, allowed, "name it in the stage's env or the agent's env_pass")
                self._in_prompt(
                    prompt, uses.line("env", name), f"env.{name} is not given to this stage", remedy
                )
        for name in uses.stages:
            if self._around.known_name(name, self._prefix) is None:
                line = uses.line("stages", name)
                self._in_prompt(prompt, line, f"unknown stage {show(name)}", self._around.nearest_stage(name))

    def name_uses(self, draft: Draft, prompt: PromptRead, own: Collection[str] = ()) -> dict[str, Any]:
        """What a prompt uses, for the stage or the phase; `own`: what earlier phases made, which is no file_dep."""
        files, project = [], self._around.project
        for table, written, line in self._paths_used(draft.stage, prompt):
            try:
                path = project.file(written) if table == "files" else project.inside(written)
            except BadPathError as bad:
                self._in_prompt(prompt, line, bad.text, bad.remedy)
                continue
            if table == "files":
                files.append(path)
                draft.said.setdefault(path, partial(self.problem, prompt, line, ""))
            elif is_glob(path):
                draft.prompt_globs.setdefault(path, At(self._findings, prompt.place))
            else:
                self._in_prompt(prompt, line, f"{show(path)} is no glob", f"write files[{path!r}]")
        made = {project.real(path) for path in own}
        for path in [*files, *([prompt.file] if prompt.file else [])]:
            if not made or project.real(path) not in made:
                draft.file_dep.setdefault(path, At(self._findings, prompt.place))
        for name in prompt.uses.stages:
            if (known := self._around.known_name(name, self._prefix)) is not None:
                draft.after.setdefault(known, At(self._findings, prompt.place))
        if prompt.uses.report:
            draft.report = At(self._findings, prompt.place)
        found = {
            "prompt_files": tuple(dict.fromkeys(files)),
            "messages": tuple(self._prefix + name for name in prompt.uses.stages),
            "prompt_env": prompt.uses.env,
        }
        return {key: names for key, names in found.items() if names}

    def _paths_used(self, stage: Stage, prompt: PromptRead) -> Iterator[tuple[str, str, int]]:
        """(files | globs, path, line) of each path that the prompt names, for this stage's item."""
        uses = prompt.uses
        yield from (("files", path, uses.line("files", path)) for path in uses.files)
        yield from (("globs", path, uses.line("globs", path)) for path in uses.globs)
        for table, made in uses.made:
            try:
                yield table, made.of(stage.item, stage.local_name(stage.name)), made.line
            except DodoClaudeError as error:
                self._in_prompt(prompt, made.line, str(error))

    def _in_prompt(self, prompt: PromptRead, line: int, text: str, remedy: str = "") -> None:
        self._findings.put(self.problem(prompt, line, text, remedy))

    def problem(self, prompt: PromptRead, line: int, text: str, remedy: str = "") -> Problem:
        """One in a line of the prompt: in its own file, or in the line of orchestrate.toml that it is."""
        if prompt.file is not None:
            return Problem(prompt.file, line, 1, dotted(prompt.place), text, remedy)
        start, column = self._findings.positions.of(prompt.place)
        found = self._toml_line(prompt, start, line)
        place = (start, column) if found is None else (found, 1)
        return Problem(self._findings.file, *place, dotted(prompt.place), text, remedy)

    def _toml_line(self, prompt: PromptRead, start: int, line: int) -> int | None:
        """The line of the file that is a multi-line string's `line`; None where escapes make them differ."""
        opening = self._findings.positions.opening(prompt.place)
        if opening[:3] not in ('"""', "'''"):
            return None
        found = start + line - (0 if opening[3:] == "\n" else 1)
        wanted = prompt.source.split("\n")[line - 1]
        return found if found > start and wanted in self._findings.positions.line_text(found) else None
