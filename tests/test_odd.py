"""Some cells of the table of odd inputs and commands, others with another DODO_CLAUDE_SEED; with DODO_CLAUDE_LONG=1 all."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodo_claude.commands import main
from tests import odd
from tests.odd import Bench, Input

# All of it: an hour of one core.
LONG = bool(os.environ.get("DODO_CLAUDE_LONG"))
SEED = int(os.environ.get("DODO_CLAUDE_SEED") or 1)
SOME = 50


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with odd.laid_out(tmp_path_factory.mktemp("odd")) as bench:
        yield bench


def test_every_command_is_in_the_table() -> None:
    theirs = {line.split()[1] for _, line in odd.ALL if line.startswith("dodo-claude ")}
    assert theirs >= main.main.commands.keys()


def test_odd_inputs_break_no_command(bench: Bench) -> None:
    cells = odd.all_cells(bench.inputs())
    assert len({each.name for each, *_ in cells}) >= 150
    if not LONG:
        cells = random.Random(SEED).sample(cells, SOME)
    bad = [
        f"{each.family}: {each.name!a}: {line}: {cell.faults}"
        for each, _, line, cell in odd.walk(bench, cells)
        if cell.word == "FAULT"
    ]
    assert not bad, "\n".join([*bad, f"again: DODO_CLAUDE_SEED={SEED}"])


# Each was a fault once.
FOUND = (
    ("a stage's folder has no UTF-8", "dodo-claude gc --dry-run --json"),
    ("the folder where one stands is gone", "dodo-claude status"),
    ("a worker's name has a title", "doit orchestrate --explain W"),
    ("a file that a glob finds has a C1", "doit info W"),
    ("a file that a glob finds has bidi", "doit info W"),
    ("in.txt: a pipe", "doit reset-dep"),
    ("in.txt: a socket", "doit reset-dep"),
    ("scenario.toml: a pipe", "dodo-claude check"),
    ("every text acts on a terminal", "dodo-claude report --html -"),
    ("stages/a: link", "doit forget W"),
    ("stages/a: link, after a run that was cut off", "doit list --all --status"),
    ("stages/a: link, after a run that was cut off", "doit reset-dep"),
    ("its stages' folder is removed before touch 3", "dodo-claude log W"),
    ("its state folder is a file before touch 8", "dodo-claude send W word"),
    ("its state folder is a link outside before touch 8", "doit reset-dep"),
    ("it is another before touch 8", "dodo-claude status"),
    ("it is another before touch 18", "dodo-claude status"),
    ("it is another before touch 18", "doit strace a"),
)


def test_what_was_a_fault_once_is_none(bench: Bench) -> None:
    known = {each.name: each for each in bench.inputs()}
    bad = [
        f"{name}: {line}: {cell}" for name, line in FOUND if (cell := bench.look(known[name], line)).faults
    ]
    assert not bad, "\n".join(bad)


def _written(name: str, data: bytes, place: odd.Place) -> None:
    (place.state / name).write_bytes(data)


@settings(max_examples=1000 if LONG else 15)
@given(data=st.data())
def test_whatever_a_state_file_holds_no_command_breaks(bench: Bench, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([each for each in bench.places if (bench.state / each).is_file()]))
    whole = (bench.state / name).read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    text = data.draw(
        st.sampled_from([b"", b"[" * 5000, b'{"at": 1e999}', b"null", b"9" * 400, b"\xff\xfe\x00"])
    )
    written = whole[:cut] + (text or data.draw(st.binary(max_size=60)))
    _, line = data.draw(st.sampled_from(odd.ALL))
    cell = bench.look(Input("written", name, lambda place: _written(name, written, place)), line)
    assert cell.word != "FAULT", cell
