"""A profile as an HTML page. Owns the markup and its escaping; where a profile comes from is not known here."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import quote

STYLE = "body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto }"

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>{style}</style>
</head>
<body>
<h1>{name}</h1>
<address>{email}</address>
{bio}</body>
</html>
"""


def render_page(profile: dict[str, str]) -> str:
    """The whole page of a valid profile. Every value is shown as text, whatever it holds."""
    values = {
        "style": STYLE,
        "name": escape(profile["name"]),
        "email": mail_link(profile["email"]),
        "bio": paragraphs(profile["bio"]),
    }
    return PAGE.format_map(values)


def mail_link(address: str) -> str:
    """A link that writes to `address`."""
    # Percent signs for the URL, entities for the attribute: quoting leaves nothing that ends either.
    return f'<a href="mailto:{quote(address, safe="@")}">{escape(address)}</a>'


def paragraphs(text: str) -> str:
    """A <p> for each block of lines between blank lines; '' for a text without any."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text)]
    return "".join(f"<p>{escape(block)}</p>\n" for block in blocks if block)
