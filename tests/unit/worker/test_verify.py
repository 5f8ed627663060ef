"""Is it done? Every way in which it is not, each with its words; and what becomes of half-made work."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from doit.dependency import get_file_md5

from dodo_claude.config import inputs
from dodo_claude.plugin.checker import ContentChecker
from dodo_claude.worker import verify
from dodo_claude.worker.verify import (
    digest_file,
    fingerprint,
    fingerprints,
    keep_copies,
    same_bytes,
    set_aside,
    target_problems,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside").write_text("theirs")
    return folder


def link_out(path: Path) -> None:
    path.symlink_to(path.parent.parent / "outside")


def link_in(path: Path) -> None:
    (path.parent / "real").write_text("x")
    path.symlink_to("real")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


TABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "was not written"),
    "a file": (lambda path: path.write_text("x"), ""),
    "an empty one": (lambda path: path.write_text(""), "is empty"),
    "a folder": (lambda path: path.mkdir(), "is a folder, not a file"),
    "a pipe": (os.mkfifo, "is not a regular file"),
    "a link that leads out": (link_out, "leads out of the project by a symbolic link"),
    "a link that leads nowhere": (lambda path: path.symlink_to("nowhere"), "is not a regular file"),
    "a link that leads nowhere outside": (
        lambda path: path.symlink_to("/nowhere/at/all"),
        "leads out of the project by a symbolic link",
    ),
    "a link to itself": (loop, "is not a regular file"),
    "a link inside": (link_in, ""),
    "a link to the root": (lambda path: path.symlink_to("."), "is a folder, not a file"),
    "one that can't be read": (lambda path: (path.write_text("x"), path.chmod(0)), "can't be read"),
}


@pytest.mark.parametrize("what", TABLE)
def test_each_problem_has_its_words(root: Path, what: str) -> None:
    make, words = TABLE[what]
    make(root / "t")
    if what == "one that can't be read" and os.access(root / "t", os.R_OK):
        pytest.skip("root reads everything")
    assert target_problems(root, ["t"], {}) == ((f"target 't' {words}",) if words else ())


def test_a_folder_that_was_made_a_link_leads_out(root: Path, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "away/t").write_text("x")
    (root / "dir").symlink_to(tmp_path / "away")
    assert target_problems(root, ["dir/t"], {}) == (
        "target 'dir/t' leads out of the project by a symbolic link",
    )


def test_a_root_that_is_itself_a_link_is_no_way_out(root: Path, tmp_path: Path) -> None:
    (root / "t").write_text("x")
    (tmp_path / "link").symlink_to(root)
    assert target_problems(tmp_path / "link", ["t"], {}) == ()


def test_all_problems_at_once_in_order(root: Path) -> None:
    (root / "b").write_text("")
    assert [problem.split("'")[1] for problem in target_problems(root, ["c", "b", "a"], {})] == [
        "c",
        "b",
        "a",
    ]


def test_unchanged(root: Path) -> None:
    path = root / "t"
    path.write_text("old")
    before = fingerprints(root, ["t"])
    recorded = json.loads(json.dumps(before))
    for known in (before, recorded):
        assert target_problems(root, ["t"], known) == ("target 't' was not changed in this attempt",)
        assert target_problems(root, ["t"], known, allow_unchanged=True) == ()
    # Written anew with the same bytes: somebody did the work.
    os.utime(path, ns=(1, 1))
    assert target_problems(root, ["t"], recorded) == ()


@pytest.mark.parametrize("recorded", [None, "x", [], [1, 2], {}, 7])
def test_an_unusable_record_never_counts_as_unchanged_or_same(root: Path, recorded: object) -> None:
    (root / "t").write_text("x")
    assert target_problems(root, ["t"], {"t": recorded}) == ()
    assert not same_bytes(root / "t", recorded)


def test_a_target_that_vanishes_while_it_is_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "t").write_text("x")
    monkeypatch.setattr(verify, "digest_file", lambda path: path.open("rb" if path.unlink() else "r").read())
    assert target_problems(root, ["t"], {}) == ("target 't' can't be read",)


# -- fingerprints


def test_same_bytes_without_reading(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "t"
    path.write_text("x")
    while not inputs.lasting(inputs.signature_of(path.stat())):
        pass
    mark = json.loads(json.dumps(fingerprint(path)))
    monkeypatch.setattr(verify, "digest_file", lambda path: pytest.fail("it was read"))
    assert same_bytes(path, mark)
    path.write_text("xx")  # another size needs no reading either
    assert not same_bytes(path, mark)


def test_same_bytes_by_content(root: Path) -> None:
    path = root / "t"
    path.write_text("x")
    mark = fingerprint(path)
    os.utime(path, ns=(5, 5))
    assert same_bytes(path, mark)
    path.write_text("y")
    assert not same_bytes(path, mark)
    shutil.copy(path, root / "other")
    path.unlink()
    assert not same_bytes(path, mark)
    path.mkdir()
    assert not same_bytes(path, mark)


def test_a_rewrite_with_the_old_time_is_seen_by_its_inode(root: Path) -> None:
    path = root / "t"
    path.write_text("x")
    mark = fingerprint(path)
    assert mark is not None
    (root / "new").write_text("y")
    os.utime(root / "new", ns=(mark[0], mark[0]))
    os.replace(root / "new", path)
    assert not same_bytes(path, mark)


def in_one_tick(one: Path, other: Path) -> None:
    """Two files with the same times: what a `git clone`, or any program, makes of files that it writes in a row."""
    for _ in range(1000):
        # New ones, and not by Python's open, which looks at the file: a kernel may then tell its times more finely.
        for path, text in ((one, "one"), (other, "two")):
            path.unlink(missing_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.write(fd, text.encode())
            os.close(fd)
        first, second = one.stat(), other.stat()
        if (first.st_mtime_ns, first.st_ctime_ns) == (second.st_mtime_ns, second.st_ctime_ns):
            return
    pytest.skip("this file system never gives two files the same times")


def test_another_file_of_the_same_times_is_another(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d2").mkdir()
    in_one_tick(root / "d/in.txt", root / "d2/in.txt")
    mark, state = fingerprint(root / "d/in.txt"), ContentChecker().get_state(str(root / "d/in.txt"), None)
    (root / "d").rename(root / "old")
    (root / "d2").rename(root / "d")
    now = root / "d/in.txt"
    assert not same_bytes(now, mark)
    assert ContentChecker().check_modified(str(now), now.stat(), state)
    assert ContentChecker().get_state(str(now), state) is not None
    now.write_text("one")
    assert same_bytes(now, mark)
    assert not ContentChecker().check_modified(str(now), now.stat(), state)


def test_a_file_of_another_device_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "t"
    path.write_text("x")
    mark, state = fingerprint(path), ContentChecker().get_state(str(path), None)
    assert mark is not None
    assert same_bytes(path, (*mark[:5], mark[5] + 1))
    assert not same_bytes(path, (*mark[:3], "other", mark[4], mark[5] + 1))
    assert not ContentChecker().check_modified(str(path), path.stat(), [*state[:5], state[5] + 1])
    assert ContentChecker().check_modified(
        str(path), path.stat(), [*state[:2], "other", *state[3:5], state[5] + 1]
    )


def test_what_was_written_in_this_very_tick_is_read_each_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "t"
    path.write_text("one")
    monkeypatch.setattr(inputs, "_ticked", lambda: path.stat().st_ctime_ns)  # the clock stands still
    mark, state = fingerprint(path), ContentChecker().get_state(str(path), None)
    read: list[Path] = []
    monkeypatch.setattr(verify, "digest_file", lambda path: read.append(path) or digest_file(path))
    assert same_bytes(path, mark)
    assert read == [path]
    assert ContentChecker().get_state(str(path), state) is not None
    monkeypatch.setattr(inputs, "_ticked", lambda: path.stat().st_ctime_ns + 1)
    assert same_bytes(path, fingerprint(path))
    assert ContentChecker().get_state(str(path), ContentChecker().get_state(str(path), None)) is None


def test_marks_of_before_inodes_and_devices_counted_are_read_by_content(root: Path) -> None:
    path = root / "t"
    path.write_text("x")
    status = path.stat()
    mark = [status.st_mtime_ns, 1, status.st_ino, digest_file(path), status.st_ctime_ns]
    state = [status.st_mtime, 1, get_file_md5(str(path)), status.st_ctime]
    assert same_bytes(path, mark)
    assert not ContentChecker().check_modified(str(path), path.stat(), state)
    assert len(ContentChecker().get_state(str(path), state)) == 6  # it is written anew
    assert not same_bytes(path, [*mark[:3], "other", mark[4]])
    assert ContentChecker().check_modified(str(path), path.stat(), [*state[:2], "other", state[3]])
    for odd in ([], [1], None, "abcd", [1, 2, 3, 4, 5, 6], {"a": 1}):  # of nobody that we know
        assert ContentChecker().check_modified(str(path), path.stat(), odd)
        assert not same_bytes(path, odd)


def test_no_fingerprint_of_what_is_no_file(root: Path) -> None:
    os.mkfifo(root / "pipe")
    names = ["missing", "sub", "pipe", "a\0b"]
    assert fingerprints(root, names[:3]) == dict.fromkeys(names[:3])


# -- half-made work


def attempt(root: Path, work: Path, targets: list[str], what: Callable[[], object]) -> list[str]:
    before = fingerprints(root, targets)
    keep_copies(root, targets, work / "before")
    what()
    return set_aside(root, targets, before, work / "before", work / "partial")


def test_half_made_targets_go_and_the_old_ones_come_back(root: Path, tmp_path: Path) -> None:
    targets = ["sub/changed", "same", "new", "deleted", "deep/er/made"]
    for name in ("sub/changed", "same", "deleted"):
        (root / name).write_text(f"old {name}")
    (root / "sub/changed").chmod(0o755)

    def work() -> None:
        (root / "sub/changed").write_text("half")
        (root / "new").write_text("half new")
        (root / "deleted").unlink()
        (root / "deep/er").mkdir(parents=True)
        (root / "deep/er/made").write_text("half made")

    aside = tmp_path / "aside"
    assert attempt(root, aside, targets, work) == ["sub/changed", "new", "deep/er/made"]
    assert {name: (root / name).read_text() for name in targets[:2] + targets[3:4]} == {
        name: f"old {name}" for name in ("sub/changed", "same", "deleted")
    }
    assert (root / "sub/changed").stat().st_mode & 0o777 == 0o755
    assert not (root / "new").exists()
    assert not (root / "deep/er/made").exists()
    assert (aside / "partial/sub/changed").read_text() == "half"
    assert (aside / "partial/deep/er/made").read_text() == "half made"


def test_twice_keeps_both(root: Path, tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        (root / "sub/t").write_text(text)
        assert set_aside(root, ["sub/t"], {}, tmp_path / "before", tmp_path / "partial") == ["sub/t"]
    found = {path.name: path.read_text() for path in (tmp_path / "partial/sub").iterdir()}
    assert found == {"t": "one", "t.2": "two", "t.3": "three"}
    assert set_aside(root, ["sub/t"], {}, tmp_path / "before", tmp_path / "partial") == []


def test_a_folder_in_a_targets_place(root: Path, tmp_path: Path) -> None:
    (root / "t").write_text("old")

    def work() -> None:
        (root / "t").unlink()
        (root / "t/in").mkdir(parents=True)
        (root / "t/in/file").write_text("deep")

    assert attempt(root, tmp_path / "aside", ["t"], work) == ["t"]
    assert (root / "t").read_text() == "old"
    assert (tmp_path / "aside/partial/t/in/file").read_text() == "deep"


def test_a_link_is_moved_and_what_it_leads_to_is_left(root: Path, tmp_path: Path) -> None:
    assert attempt(root, tmp_path / "aside", ["t"], lambda: link_out(root / "t")) == ["t"]
    assert (tmp_path / "outside").read_text() == "theirs"
    assert (tmp_path / "aside/partial/t").is_symlink()
    assert not os.path.lexists(root / "t")


def test_nothing_outside_is_moved_or_written(root: Path, tmp_path: Path) -> None:
    """A worker made its target's folder a link: `dir/t` is then somebody else's file."""
    (root / "dir").mkdir()
    (root / "dir/t").write_text("old")
    away = tmp_path / "away"
    away.mkdir()
    (away / "t").write_text("theirs")

    def work() -> None:
        shutil.rmtree(root / "dir")
        (root / "dir").symlink_to(away)

    assert attempt(root, tmp_path / "aside", ["dir/t"], work) == []
    assert (away / "t").read_text() == "theirs"
    assert (tmp_path / "aside/before/dir/t").read_text() == "old"


def test_keep_copies_takes_files_only(root: Path, tmp_path: Path) -> None:
    (root / "file").write_text("x")
    os.utime(root / "file", ns=(5, 5))
    os.mkfifo(root / "pipe")
    keep_copies(root, ["file", "sub", "pipe", "missing"], tmp_path / "before")
    assert os.listdir(tmp_path / "before") == ["file"]
    assert (tmp_path / "before/file").stat().st_mtime_ns == 5
    assert (tmp_path / "before").stat().st_mode & 0o777 == 0o700


def test_output_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert verify.output_tail(log) == ""
    log.write_bytes(b"\n\x1b[31mred\xff\n")
    assert verify.output_tail(log) == "red\N{REPLACEMENT CHARACTER}"
    log.write_text("😀" * 50_000 + "end\n")
    tail = verify.output_tail(log)
    assert len(tail) <= verify.TAIL_CHARACTERS
    assert tail.endswith("😀end")


def test_last_words_are_cut_where_they_are_long_and_say_so() -> None:
    assert verify.last_words("") == verify.last_words(" \n\n") == ""
    assert verify.last_words("one\ntwo \n\n") == ": two"
    assert verify.last_words("x" * 200) == f": {'x' * 200}"
    assert verify.last_words("x" * 201) == f": {'x' * 199}…"


def test_a_write_that_puts_its_time_back_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("good")
    mark = verify.fingerprint(path)
    status = path.stat()
    with path.open("r+") as stream:  # in place: the same inode, the same size
        stream.write("evil")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not verify.same_bytes(path, mark)
    path.write_text("good")
    assert verify.same_bytes(path, mark)
