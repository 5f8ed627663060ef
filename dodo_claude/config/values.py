"""The short values of a stage that may be templates: a target, a check, a variable."""

from __future__ import annotations

import functools

from dodo_claude.config import language, prompts, templates
from dodo_claude.config.findings import Findings, did_you_mean, listed, show
from dodo_claude.config.locate import KeyPath
from dodo_claude.config.uses import LITERAL, VALUE_NAMES, analyse
from dodo_claude.text.errors import DodoClaudeError


class Values:
    """Renders the short values of one stage: a target, a check, a variable. `raw`: judges and leaves them as they are."""

    def __init__(self, findings: Findings, item: str | None, stage: str, *, raw: bool = False) -> None:
        self._findings = findings
        self.item = item
        self.stage = stage
        self.raw = raw
        self._known = VALUE_NAMES if item is not None or raw else ("stage",)

    def of(self, source: str | None, place: KeyPath, *, quoted: bool = False) -> str | None:
        """The value, or None when there is none or it is no template."""
        if source is None or not templates.is_template(source):
            return source
        if self._findings.complained(place):  # to fail takes jinja2 longer than to render
            return None
        uses = analyse(source, known=self._known)
        if uses.error is not None:
            self._findings.add_once(place, uses.error[0])
            if language.is_used_up():
                self._findings.raise_any()
            return None
        for name, _ in uses.undefined:
            self._findings.add_once(place, *undefined_name(name, VALUE_NAMES))
            return None
        if self.raw:
            return source
        try:
            return prompts.render_value(source, item=self.item, stage=self.stage, quoted=quoted)
        except DodoClaudeError as error:
            self._findings.add_once(place, str(error))
            if language.is_used_up():
                self._findings.raise_any()
            return None


@functools.lru_cache(maxsize=64)
def has_template(values: tuple[str | None, ...]) -> bool:
    return any(value is not None and templates.is_template(value) for value in values)


@functools.lru_cache(maxsize=64)
def untemplated(env: tuple[tuple[str, str | None], ...]) -> tuple[tuple[str, str], ...] | None:
    """Variables in their order; None: some are templates."""
    if has_template(tuple(value for _, value in env)):
        return None
    return tuple(sorted((key, value or "") for key, value in env))


def undefined_name(name: str, known: tuple[str, ...]) -> tuple[str, str]:
    if name == "item":
        return "'item' is only defined in a stage with foreach", "add foreach = ['…'] or leave {{ item }} out"
    remedy = did_you_mean(name, known, f"a template here knows {listed(known)}; {LITERAL}")
    return f"{show(name)} is undefined", remedy
