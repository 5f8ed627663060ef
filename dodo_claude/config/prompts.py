"""What a prompt, a monitor's message and a short value say: templates, rendered; and how foreign text stands in one.

Rules that this file keeps:
* One pass: a value is never rendered again, whatever it holds.
* What the digest of a stage is made of must not come from `fence`, whose mark differs each time: it is made from the
  template's source and the bytes of the files it includes.
"""

from __future__ import annotations

import bisect
import functools
import html
import itertools
import posixpath
import re
from collections.abc import Mapping, Sequence

from dodo_claude.config import language
from dodo_claude.config.records import Prompt
from dodo_claude.config.templates import (
    BEGIN,
    END,
    FILTERS,
    MARKED,
    PLAIN,
    QUOTED,
    SIMPLE,
    UNMARKED,
    Table,
    TextsByPath,
    compiled,
    core_of,
    is_simple,
    is_template,
    not_rendered,
    put_in,
    rendered_by,
)
from dodo_claude.text.clean import one_line, without_controls
from dodo_claude.text.errors import DodoClaudeError

# Of a monitor's message; where a recovery is told there are no lines.
MESSAGE_NAMES = ("item", "stage", "lines")

# How much of a file or a message one prompt takes in: about 25,000 tokens, beyond which a worker had better read it.
CAP = 100_000

# The schema's limit for a text, which holds for what becomes of one, too.
MAX_VALUE = 100_000

# A mark that a text could hold by chance is no fence.
_MARK = re.compile(r"[A-Za-z0-9]{8,64}")


# A file that an author mentions for the client to attach; it may be in double quotes.
_MENTION = re.compile(r'(?<![^\s\ufeff])@(?:"[^"\n]+"|\S+)')


def render(
    source: str,
    *,
    item: str | None,
    stage: str,
    files: Mapping[str, str],
    messages: Mapping[str, str],
    env: Mapping[str, str],
    globs: Mapping[str, Sequence[str]] | None = None,
    report: str | None = None,
) -> Prompt:
    """The prompt of a template, in one pass; DodoClaudeError when it can't be made.

    `files` (by path), `messages` (by stage) and `report` come ready to stand in the prompt: see fence. `globs` has
    the paths that each glob found, which are among `files`.
    """
    tables = {
        "files": TextsByPath(
            {posixpath.normpath(path): text for path, text in files.items()},
            {posixpath.normpath(glob): paths for glob, paths in (globs or {}).items()},
        ),
        "stages": Table(
            "stages", {name: Table("a stage", {"message": text}) for name, text in messages.items()}
        ),
        "env": Table("env", env),
    }
    values = {"stage": stage, "item": item, "report": report}
    text = _render(source, values, tables)
    if not is_template(source):
        return _parted(text, [(False, text)])
    # A second pass says which of it came out of the template's values: looked at, and never used.
    marked = _render(source.translate(UNMARKED), values, tables, how=MARKED)
    parts = _parts(marked)
    return _parted(text, parts if "".join(part for _, part in parts) == text else [(True, text)])


def _parts(marked: str) -> list[tuple[bool, str]]:
    """Texts in their order, each with whether it is data."""
    parts, depth = [], 0
    for part in re.split(f"([{BEGIN}{END}])", marked):
        if part in (BEGIN, END):
            depth += 1 if part == BEGIN else -1
        elif part:
            parts.append((depth > 0, part))
    return parts


def _parted(text: str, parts: Sequence[tuple[bool, str]]) -> Prompt:
    data = "".join(
        part if is_data else "\n" if part[-1].isspace() else "." for is_data, part in parts if part
    )
    own: list[str] = []
    ends = [*itertools.accumulate(len(part) for _, part in parts)]
    for found in _MENTION.finditer(text):
        if not parts[bisect.bisect_right(ends, found.start())][0]:
            own.append(found[0])
    return Prompt(text, data, tuple(dict.fromkeys(own)))


def render_value(source: str, *, item: str | None, stage: str, quoted: bool = False) -> str:
    """The text of a short value such as a target; for a shell, what is put in is quoted for it."""
    before, core, behind = core_of(source) if is_template(source) else ("", source, "")
    text = _render(core, {"stage": stage, "item": item}, {}, how=QUOTED if quoted else PLAIN)
    if before or behind:
        text = before + text + behind
    if len(text) > MAX_VALUE:
        raise DodoClaudeError(f"it makes {len(text)} characters, of at most {MAX_VALUE}")
    try:
        language.count(len(text) + (language.RENDERING if text is not source else 0))
    except language.TooMuchError as error:
        raise not_rendered(error) from error
    return text


def render_message(source: str, *, item: str | None, stage: str, lines: str | None) -> str:
    """The text of a monitor's message; `lines` come ready to stand in it: see fence."""
    return _render(source, {"stage": stage, "item": item, "lines": lines}, {})


def fence(kind: str, label: str, text: str, mark: str, cap: int = CAP) -> str:
    """`text` as data in a prompt, between lines that carry `mark`, which nobody who wrote the text could know.

    The kind is `file`, with its path as the label, `message`, with the stage it comes from, or `report`, `output` or
    `data`, with what it is of. Control characters are taken out, and of more than `cap` bytes the middle. ValueError
    when the mark is in the text or no mark: the caller takes another.
    """
    clean, name = without_controls(text), one_line(label)
    if not _MARK.fullmatch(mark) or mark in clean or mark in name:
        raise ValueError("the mark must be 8 to 64 letters and digits that the text does not hold")
    attribute = {"file": "path", "message": "stage"}.get(kind, "of")
    body = _capped(clean, cap)
    end = "" if body.endswith("\n") or not body else "\n"
    return f'<{kind} {attribute}="{html.escape(name)}" mark="{mark}">\n{body}{end}</{kind} mark="{mark}">'


def _capped(text: str, cap: int) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= cap:
        return data.decode("utf-8")
    half = cap // 2
    # Cutting bytes may cut a character in two; what is left of it is dropped.
    head = data[:half].decode("utf-8", "ignore")
    tail = data[len(data) - half :].decode("utf-8", "ignore") if half else ""
    cut = len(data) - len(head.encode()) - len(tail.encode())
    return f"{head}\n[… {cut} of {len(data)} bytes are left out here …]\n{tail}"


def _render(
    source: str, values: Mapping[str, str | None], tables: Mapping[str, object], *, how: str = PLAIN
) -> str:
    if not is_template(source):
        return source
    given = {name: value for name, value in values.items() if value is not None}
    parts = _simple_parts(source)
    if parts is not None and all(name in given for _, name, _ in parts[1:]):
        return parts[0][0] + "".join(
            [_simple_value(name, by, given, how) + text for text, name, by in parts[1:]]
        )
    try:
        template = compiled(source, how)
    except Exception as error:
        raise not_rendered(error) from error
    return rendered_by(template, values, tables)


@functools.lru_cache(maxsize=1024)  # every item of a foreach asks about the same texts
def _simple_parts(source: str) -> list[tuple[str, str, str]] | None:
    """Each value that a simple template puts in, and its filter, with the text behind it; first the text before all."""
    if not is_simple(source):
        return None
    first, *more = SIMPLE.split(source)
    return [(first, "", ""), *((more[at + 2], more[at], more[at + 1] or "") for at in range(0, len(more), 3))]


def _simple_value(name: str, by: str, given: Mapping[str, str], how: str) -> str:
    value = given[name]
    return put_in(FILTERS[by](value) if by else value, how)
