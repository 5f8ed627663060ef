"""Texts of a stranger that would act on a terminal."""

from __future__ import annotations

EVIL = "[bold]x[/bold] \x1b[31mred\x1b]0;title\x07 \x9b2J \x1b]8;;http://x\x1b\\link \u202eabc"
