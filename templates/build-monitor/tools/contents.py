"""The contents of a Markdown file: python3 tools/contents.py FILE.md."""

# ruff: noqa: T201  printing is what it is for

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from text.toc import contents  # noqa: E402

print(contents(Path(sys.argv[1]).read_text(encoding="utf-8")))
