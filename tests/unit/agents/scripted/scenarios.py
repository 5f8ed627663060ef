"""Scenario files that tests write."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
[stages.backend]
slow_start = 0.5
usage = { input_tokens = 1000, output_tokens = 20 }
context = 40.5
compact_seconds = 0.5
compact_fails = ["server_error", "empty"]
[[stages.backend.turns]]
when = "profile"
once = true
context = 72
steps = [
  { say = "Reading the contract." },
  { sleep = 0.5 },
  { capture = "path", from_prompt = 'GET (/\\S+)' },
  { capture = "line", from_told = 'line (\\d+)' },
  { told = "line", then = [{ say = "I see." }] },
  { write = "api.py", from = "api.txt" },
  { append = "notes.md", text = "{path} {untouched}" },
  { edit = "api.py", old = "x", new = "" },
  { bash = "true" },
  { permission = "Bash", command = "make install" },
  { permission = "Write", path = "a", text = "b" },
  { background = { seconds = 2, then = [{ say = "ready" }] } },
  { background = { seconds = 2, then = { say = "ready" } } },
  { unanswered = "401 no key", attempt = 3 },
  { fail = "rate_limit", text = "no more" },
  { exit = 3 }, { kill = 9 }, { hang = true }, { ignore_sigterm = true }, { spawn = "sleep 999" },
]
[[stages.backend.turns]]
steps = [{ say = "Again." }]
[stages.research]
steps = [{ say = "{item}" }]
["stages"."research:tview"]
steps = [{ say = "its own" }]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "scenario.toml"
    path.write_text(text)
    (folder / "api.txt").write_text("get('{path}', {'a': 1})")
    return path
