"""`tests/bench/run [NAME…] [--quick] [--out DIR] [--update] [--list]`."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from tests.bench import table
from tests.bench.frame import Found, Skipped, cores
from tests.bench.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
# In this order: short ones first, and none between those that load the machine in the same way.
BENCHES = (
    "hook",
    "reaction",
    "overhead",
    "client",
    "peer",
    "makespan",
    "loading",
    "change",
    "nothing",
    "workers",
)
# Only where they are named.
LONG = ("scale",)


def load(name: str) -> ModuleType:
    return import_module(f"tests.bench.{name}")


def main(words: list[str]) -> int:
    """The exit code: 0 when every bench ran, whatever it found; goals that are not met are no error."""
    parser = argparse.ArgumentParser("tests/bench/run", description="How fast dodo_claude is, in one run.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"which benches: {', '.join(BENCHES)} [all of these], {', '.join(LONG)}",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: does it work?")
    parser.add_argument(
        "--out", type=Path, default=ROOT / ".bench", help="where bench.md and bench.json go [.bench]"
    )
    parser.add_argument("--update", action="store_true", help="put the tables into the READMEs, too")
    args = parser.parse_args(words)
    known = (*BENCHES, *LONG)
    unknown = [name for name in args.names if name not in known]
    if unknown:
        parser.error(f"no bench {', '.join(unknown)} (there are: {', '.join(known)})")
    chosen = [load(name) for name in known if name in (args.names or BENCHES)]
    found: list[Found] = []
    failed = False
    started = time.monotonic()
    surroundings = dict(surroundings_now())
    for bench in chosen:
        before = time.monotonic()
        try:
            for item in measured(bench, quick=args.quick):
                found.append(item)
                say(bench.NAME, told(item))
        except Exception as error:
            traceback.print_exc()
            failed = True
            found.append(Skipped(bench.NAME, f"it failed: {type(error).__name__}"))
        say(bench.NAME, f"took {time.monotonic() - before:.0f} s")
    surroundings["took"] = f"{time.monotonic() - started:.0f} s{', quick' if args.quick else ''}"
    surroundings["load at its end"] = load_average()
    titles = {bench.NAME: bench.TITLE for bench in chosen}
    report = table.Report(surroundings, titles, found)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench.md").write_text(
        f"# dodo_claude: benches\n\n{table.markdown(report)}", encoding="utf-8"
    )
    (args.out / "bench.json").write_text(table.as_json(report), encoding="utf-8")
    if args.update:
        table.renew(ROOT / "tests/bench/README.md", table.markdown(report))
        table.renew(ROOT / "README.md", table.summary(report))
    print(table.summary(report))
    print(f"\nall figures: {args.out / 'bench.md'}, {args.out / 'bench.json'}")
    return 1 if failed else 0


def measured(bench: ModuleType, *, quick: bool) -> Iterator[Found]:
    """What a bench finds, as it finds it."""
    with Lab(quick=quick, cache=ROOT / ".bench" / "cache", say=partial(say, bench.NAME)) as lab:
        yield from bench.run(lab)


def told(item: Found) -> str:
    if isinstance(item, Skipped):
        return f"{item.name} skipped: {item.why}"
    spread = item.spread
    quartiles = f" ({table.number(spread.low)} – {table.number(spread.high)})"
    return f"{item.name} {table.measure(spread.median, item.unit)}{quartiles}"


def say(bench: str, text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {bench}: {text}", file=sys.stderr, flush=True)


def load_average() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def surroundings_now() -> Iterator[tuple[str, str]]:
    """What the figures hang on besides us."""
    yield "when", time.strftime("%Y-%m-%d %H:%M")
    yield "machine", f"{cores()} cores, {platform.system()} {platform.machine()}"
    tmux = subprocess.run(["tmux", "-V"], capture_output=True, text=True, check=False).stdout.strip()
    packages = ", ".join(f"{name} {version(name)}" for name in ("doit", "libtmux", "jsonschema"))
    yield "versions", f"CPython {platform.python_version()}, {tmux}, {packages}"
    yield "load at its start", load_average()


if __name__ == "__main__":
    # Whatever ends it, what it started ends with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    raise SystemExit(main(sys.argv[1:]))
