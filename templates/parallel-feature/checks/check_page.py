"""Acceptance of profiles/page.py: tries out what docs/profile.md says of the page. A line for each fault."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

HOSTILE = {
    "name": "Ann <b>Bo</b> & \"Co\" 'Ltd'",
    "email": "\"><img src=x onerror='y'>@example.org",
    "bio": "One\nblock with <script>alert(1)</script>.\n\n\nAnd & another: &lt; stays &lt;.",
}
VOID = {"meta", "link", "br", "hr", "img", "input"}  # tags without an end


class Page(HTMLParser):
    """What a browser would make of a page: its tags with their attributes and their text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words: list[str] = []
        self.found.append((tag, dict(attrs), words))
        if tag not in VOID:
            self._open.append((tag, words))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for _, words in self._open:
            words.append(data)

    def texts(self, tag: str) -> list[str]:
        """The text of every such tag, its blanks made single."""
        return [" ".join("".join(words).split()) for name, _, words in self.found if name == tag]

    def attributes(self, tag: str, key: str) -> list[str]:
        return [attrs.get(key) or "" for name, attrs, _ in self.found if name == tag and key in attrs]


def faults() -> Iterator[str]:
    """Everything that does not hold, in words."""
    from profiles.page import render_page

    given = dict(HOSTILE)
    text = render_page(given)
    if not isinstance(text, str):
        yield f"render_page gives {type(text).__name__}, not str"
        return
    if given != HOSTILE:
        yield "render_page changes the profile it is given"
    page = Page(text)
    if not text.lstrip().lower().startswith("<!doctype html>"):
        yield "the page does not begin with <!DOCTYPE html>"
    if [name.lower() for name in page.attributes("meta", "charset")] != ["utf-8"]:
        yield 'the page does not say <meta charset="utf-8">, once'
    for tag in ("title", "h1"):
        if page.texts(tag) != [HOSTILE["name"]]:
            yield f"<{tag}> should be, once, {HOSTILE['name']!r}; it is {page.texts(tag)}"
    links = [unquote(link) for link in page.attributes("a", "href") if link.startswith("mailto:")]
    if links != [f"mailto:{HOSTILE['email']}"] or HOSTILE["email"] not in page.texts("a"):
        yield f"no mailto: link to, and with the text, {HOSTILE['email']!r}; the links are {links}"
    blocks = [" ".join(block.split()) for block in HOSTILE["bio"].split("\n\n\n")]
    if page.texts("p") != blocks:
        yield f"the bio's <p> should be {blocks}; they are {page.texts('p')}"
    for tag in ("b", "script", "img"):
        if page.texts(tag):
            yield f"a value of the profile became the tag <{tag}>"
    if Page(render_page({**HOSTILE, "bio": ""})).texts("p"):
        yield "an empty bio makes a <p>"


if __name__ == "__main__":
    found = [f"profiles/page.py: {fault}" for fault in faults()]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("profiles/page.py does what docs/profile.md says\n")
