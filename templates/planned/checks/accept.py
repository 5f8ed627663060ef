"""Acceptance of the profiles: runs them as request.md says, and their tests. A line for each fault."""

from __future__ import annotations

import io
import json
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# Tests that are wanted at least.
LEAST = 4
ADA = {"name": "Ada", "email": "ada@example.org"}
BOB = {"name": "Bob", "email": "bob@example.org"}


def faults(folder: Path) -> Iterator[str]:
    """Everything that does not hold, in words."""
    from profiles import page, store

    path = str(folder / "profiles.json")
    store.save(path, ADA)
    store.save(path, {**BOB, "email": "old"})
    store.save(path, BOB)
    if json.loads(Path(path).read_text(encoding="utf-8")) != {"Ada": ADA, "Bob": BOB}:
        yield "profiles/store.py: the file is not an object of all profiles by name"
    if store.load(path, "Bob") != BOB:
        yield "profiles/store.py: load does not give what save was given last"
    try:
        store.load(path, "Eve")
        yield "profiles/store.py: load of a name that is not there gives something"
    except KeyError as error:
        if error.args != ("Eve",):
            yield "profiles/store.py: the KeyError does not have the name"
    if page.page(ADA) != "Name: Ada\nEmail: ada@example.org\n":
        yield f"profiles/page.py: page gives {page.page(ADA)!r}"
    yield from tests()


def tests() -> Iterator[str]:
    """What is wrong with the tests."""
    suite = unittest.TestLoader().discover(str(ROOT / "tests"), "test_profiles.py")
    result = unittest.TextTestRunner(io.StringIO()).run(suite)
    if not result.wasSuccessful() or result.skipped:
        yield "tests/test_profiles.py: a test fails, or is skipped"
    if result.testsRun < LEAST:
        yield f"tests/test_profiles.py: {result.testsRun} tests, at least {LEAST} are wanted"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        found = list(faults(Path(place)))
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("the profiles do what request.md says\n")
