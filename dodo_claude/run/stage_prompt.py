"""A stage's prompt as its worker gets it: with the files, messages and reports that it quotes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace

from dodo_claude.config import language, prompts, quotes
from dodo_claude.config.records import Config, Prompt, Stage
from dodo_claude.machine.files import make_state_dir
from dodo_claude.state.events import Result
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.numbers import grouped
from dodo_claude.text.redact import Redactor


def render(config: Config, environ: Mapping[str, str], redact: Redactor, stage: Stage) -> Prompt:
    """`stage`'s prompt with its files and messages in it as data, fenced by a mark nobody could know."""
    assert stage.prompt is not None
    globs = dict(stage.prompt_globs)
    local, path = stage.local_name, stage.local_path
    names = dict.fromkeys([*stage.prompt_files, *(name for matches in globs.values() for name in matches)])
    texts: dict[str, str] = {}
    quoted = 0
    for name in names:
        texts[name] = _included(config, stage, name)
        quoted += len(texts[name])
        if quoted > language.MOST:
            most = grouped(language.MOST)
            fact = f"its {len(names)} files have more than {most} characters in all: quote fewer"
            raise DodoClaudeError(f"{quotes.place(config, stage)}: {fact}")
    said = {name: message(config, name) for name in stage.messages}
    report = report_of(config, redact, stage) if stage.report else ""
    env = {name: environ[name] for name in stage.prompt_env if name in environ}
    while True:
        mark = secrets.token_hex(8)
        if not any(mark in text for text in (*texts.values(), *said.values(), report)):
            break
    try:
        prompt = prompts.render(
            stage.prompt,
            item=stage.item,
            stage=local(stage.name),
            files={
                path(name): prompts.fence("file", path(name), text, mark, prompts.CAP + quotes.NOTE)
                for name, text in texts.items()
            },
            messages={
                local(name): prompts.fence("message", local(name), text, mark) for name, text in said.items()
            },
            env=env | dict(stage.env),
            globs={path(glob): [path(name) for name in names] for glob, names in globs.items()},
            report=prompts.fence("report", config.name, report, mark) if stage.report else None,
        )
    except DodoClaudeError as error:
        raise DodoClaudeError(f"{quotes.place(config, stage)}: {error}") from error
    if stage.plan is not None:
        from dodo_claude.config import plans

        brief = plans.brief(stage, config)
        prompt = replace(prompt, text=prompt.text + brief, data=prompt.data + brief)
    return prompt


def report_of(config: Config, redact: Redactor, stage: Stage) -> str:
    """What the stages came to that `stage` comes after, as Markdown."""
    from dodo_claude.report import gather, words

    return words.stages_markdown(gather.of_stages(config, stage.report, redact))


def _included(config: Config, stage: Stage, name: str) -> str:
    try:
        return quotes.excerpt(str(config.root / name))
    except OSError as error:
        raise DodoClaudeError(
            f"{name}: {error.strerror or error} (the prompt of stage '{stage.name}' includes it)"
        ) from error


def message(config: Config, name: str) -> str:
    """The last message of a stage; of a group, all of them under their names."""
    members = dict(config.groups).get(name)
    if members is not None:
        return "\n\n".join(f"{member}:\n{message(config, member)}" for member in members)
    log = StageLog(make_state_dir(config.root), name)
    for number in reversed(log.attempts()):
        result = Attempt(log, number).result()
        if result is not None and result.get("result") == Result.SUCCEEDED.value:
            return str(result.get("message") or "")
    return ""
