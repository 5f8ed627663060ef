"""Secrets out of what is written: journals, screens, logs, errors.

Two nets: the shapes that well-known tokens have, and the values of variables whose names speak of a secret.
A net has holes; the README says so. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MARK = "[redacted]"
# A shorter value would be found in harmless words.
MIN_VALUE = 8
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE|PRIVATE", re.IGNORECASE)
# Names that look like it and hold paths, sockets or switches.
_HARMLESS_NAME = re.compile(
    r"^(SSH_AUTH_SOCK|XAUTHORITY|.*_KEY_FILE|.*_(FILE|PATH|DIR|SOCK|URL|ID))$", re.IGNORECASE
)
_SHAPES = re.compile(
    r"""
      sk-[A-Za-z0-9_-]{16,}                             # Anthropic, OpenAI and those that follow them
    | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_\w{20,}
    | glpat-[\w-]{16,}
    | xox[abeoprs]-[A-Za-z0-9-]{10,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
    | \bAIza[\w-]{30,}
    | \bnpm_[A-Za-z0-9]{30,} | \bpypi-[\w-]{40,}
    | \beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}           # a JSON web token
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    | (?<=://)[^\s/:@]+:[^\s/@]+(?=@)                   # user:password@ in a URL
    """,
    re.VERBOSE | re.DOTALL,
)


# One of these is in every text that `_SHAPES` finds something in: most texts are done with after that look.
_SIGNS = (
    "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "AKIA", "ASIA", "AIza", "npm_",
    "pypi-", "eyJ", "-----BEGIN", "://",
)  # fmt: skip


class Redactor:
    """Takes secrets out of texts; knows the values of `environ`'s secret-looking variables."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        values = {
            value
            for name, value in environ.items()
            if len(value) >= MIN_VALUE and _SECRET_NAME.search(name) and not _HARMLESS_NAME.match(name)
        }
        # Longest first: one secret may begin like another.
        words = "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True))
        self._values = re.compile(words) if words else None
        # Text that comes in pieces is held back by this much, so that none is cut in two.
        self.longest = max([512, *map(len, values)])

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if self._values is not None:
            text = self._values.sub(MARK, text)
        return _SHAPES.sub(MARK, text) if any(sign in text for sign in _SIGNS) else text

    def data(self, value: Any) -> Any:
        """JSON-like data without secrets in its strings, keys included."""
        # Most have none. All strings are looked through as one: what is between them is no part of a word.
        strings: list[str] = []
        copy = _copy(value, strings)
        together = "\0".join(strings)
        return copy if self.text(together) == together else self._redacted(copy)

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                self.text(key) if isinstance(key, str) else key: self._redacted(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._redacted(item) for item in value]
        return value


def _copy(value: Any, strings: list[str]) -> Any:
    """`value` as JSON has it, tuples as lists, and all its strings, keys too."""
    if isinstance(value, str):
        strings.append(value)
    elif isinstance(value, dict):
        strings += [key for key in value if isinstance(key, str)]
        return {key: _copy(item, strings) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        return [_copy(item, strings) for item in value]
    return value


NOTHING = Redactor({})
