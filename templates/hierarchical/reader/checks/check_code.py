"""Acceptance of measure.py: the examples of request.md, run as they stand there. A line for each fault."""

from __future__ import annotations

import doctest
import importlib.util
import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent


def names() -> dict[str, object]:
    """All that the module defines."""
    spec = importlib.util.spec_from_file_location("measure", ROOT / "measure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(vars(module))


if __name__ == "__main__":
    failed, ran = doctest.testfile(str(ROOT / "request.md"), module_relative=False, globs=names())
    if failed or not ran:
        sys.exit(f"{failed} of {ran} examples of request.md fail")
    sys.stdout.write("measure.py does what request.md says\n")
