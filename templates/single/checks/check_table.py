"""Acceptance of table.py: runs it as request.md says it is run. A line for each fault."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Seconds that one run may take.
LIMIT = 10

GOOD = {
    "numbers to the right, short rows, empty lines": (
        "name,price,left\n\nTea,3.50,10\n Cup ,-12,\n\nPot,7\n",
        "| name | price | left |\n| --- | ---: | ---: |\n| Tea | 3.50 | 10 |\n| Cup | -12 |  |\n| Pot | 7 |  |\n",
    ),
    "no numbers, signs of Markdown, ends of lines": (
        'a,b,c,d\n1,,٣,1.\n"x|y\nz",,3,1\n"B, C",,,"""d"""\n',
        "| a | b | c | d |\n| --- | --- | --- | --- |\n| 1 |  | ٣ | 1. |\n"
        '| x\\|y<br>z |  | 3 | 1 |\n| B, C |  |  | "d" |\n',
    ),
    "a head alone": ("Ö,ß\n", "| Ö | ß |\n| --- | --- |\n"),
}
# What is in the file (None: there is none), and what stderr has to name besides it.
BAD: dict[str, tuple[bytes | None, str]] = {
    "a row too long": (b"a,b\n1,2\n3,4,5\n", "3"),
    "a file of empty lines": (b"\n\n", ""),
    "not UTF-8": (b"a\n\xff\n", ""),
    "no file": (None, ""),
}


def run(folder: Path, content: bytes | None) -> subprocess.CompletedProcess[str]:
    """The program on a file of that content."""
    path = folder / "data.csv"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    return subprocess.run(
        # Without the environment's packages: the standard library has to be enough, and it starts sooner.
        [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(ROOT / "table.py"), "data.csv"],
        cwd=folder, capture_output=True, encoding="utf-8", timeout=LIMIT, check=False,
    )  # fmt: skip


def faults(folder: Path) -> Iterator[str]:
    """Everything that does not hold, in words."""
    for what, (text, table) in GOOD.items():
        done = run(folder, text.encode())
        if (done.returncode, done.stdout, done.stderr) != (0, table, ""):
            said = done.stderr.strip().splitlines()[-1:] or [done.stdout]
            yield f"{what}: exit status {done.returncode}, {said[0]!r} in place of {table!r}"
    for what, (content, named) in BAD.items():
        done = run(folder, content)
        lines = done.stderr.splitlines()
        if done.returncode != 1 or done.stdout or len(lines) != 1:
            yield f"{what}: exit status {done.returncode}, {len(done.stdout)} characters on stdout, {len(lines)} lines on stderr"
        elif "data.csv" not in lines[0] or named not in lines[0].replace("data.csv", ""):
            yield f"{what}: stderr does not name data.csv{' and row ' * bool(named)}{named}: {lines[0]}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        try:
            found = [f"table.py: {fault}" for fault in faults(Path(place))]
        except subprocess.TimeoutExpired:
            found = [f"table.py: a run took more than {LIMIT} s"]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("table.py does what request.md says\n")
