"""change: one input changed among 1000 stages, that of a leaf and that of a root, beside the same graph by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.bench import nothing
from tests.bench.frame import Found, Skipped, in_turn, milliseconds, ratio, took
from tests.bench.lab import Lab, environ
from tests.bench.tools import Unavailable, on_path
from tests.project import BIN, Project

NAME = "change"
TITLE = (
    "1000 stages that are commands (`cat`), all up to date but for one input: of a leaf, then one of them runs; of a root, then "
    f"a chain of {1000 // nothing.STRIDE}. `none`: nothing changed."
)


def run(lab: Lab) -> Iterator[Found]:
    count = 200 if lab.quick else 1000
    project, by_hand = lab.project("change-ours"), lab.project("change-hand")
    for each in (project, by_hand):
        nothing.lay_out(each.root, count)
    nothing.lay_out_ours(project, count, commands=True)
    nothing.lay_out_hand(by_hand, count)
    makes: dict[str, Project] = {}
    try:
        on_path("make")
        makes["make"] = lab.project("change-make")
        nothing.lay_out(makes["make"].root, count)
        makes["make"].write("Makefile", nothing.makefile(count))
    except Unavailable as why:
        yield Skipped(f"{NAME}/make", str(why))
    changed = {"none": None, "leaf": count - 1, "root": 0}
    for what, number in changed.items():
        takers: dict[str, Callable[[], float]] = {
            "ours": partial(_changed, project, number, [BIN / "doit", "orchestrate"]),
            "hand": partial(_changed, by_hand, number, nothing.hand("run", "-f", "hand.py")),
        }
        takers |= {name: partial(_changed, each, number, [name, "-sr"]) for name, each in makes.items()}
        found = in_turn(lab.rounds(5), takers)
        for name, walls in found.items():
            yield milliseconds(f"{NAME}/{what}/{name}", walls)
        yield ratio(f"{NAME}/{what}/of hand", found["ours"], found["hand"])


def _changed(project: Project, number: int | None, command: list[str | Path]) -> float:
    """Seconds that `command` takes after the input `number` was changed. Sees that it did what it should."""
    if number is None:
        return took(command, project.root, environ(project)).wall
    source = project.root / f"in/{number}.txt"
    text = f"{source.read_text().strip()} again\n"
    source.write_text(text)
    done = took(command, project.root, environ(project))
    last = max(index for index in range(number, len(list((project.root / "in").iterdir())), nothing.STRIDE))
    assert text in (project.root / f"out/{last}.txt").read_text(), f"{command[0]} did not make it anew"
    return done.wall
