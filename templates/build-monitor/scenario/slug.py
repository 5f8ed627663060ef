"""Titles as the names of anchors."""

import re
import unicodedata


def slug(title: str) -> str:
    """`title` in a to z, digits and single dashes."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
