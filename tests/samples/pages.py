"""A page, read as a browser would."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser

from dodo_claude.report.details import Details
from dodo_claude.report.page import page
from dodo_claude.report.record import RunReport


class Parsed(HTMLParser):
    """A document as a parser sees it; it must be well nested."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.headings: list[int] = []
        self.declarations: list[str] = []
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert not self._open

    def handle_decl(self, decl: str) -> None:
        self.declarations.append(decl)

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, tuple(key for key, _ in attrs)))
        self.attributes += [(name, key, value or "") for key, value in attrs]
        if re.fullmatch("h[1-6]", name):
            self.headings.append(int(name[1]))
        if name != "meta":
            self._open.append(name)

    def handle_startendtag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{name}/>")

    def handle_endtag(self, name: str) -> None:
        assert self._open, f"</{name}> ends nothing"
        assert self._open.pop() == name

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("an instruction")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError("a declaration")

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def values(self, key: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == key]


def text_of(told: RunReport, details: Mapping[str, Details] | None = None) -> str:
    return Parsed(page(told, details or {})).text
