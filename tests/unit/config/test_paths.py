"""What a path may be, and what a glob finds."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.config import paths
from dodo_claude.config.paths import BadPathError, Project, matcher, matching, normal


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    for name in (
        "src/a.py",
        "src/sub/b.py",
        "src/.hidden.py",
        ".github/ci.yml",
        "app/[id]/page.tsx",
        "top.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (tmp_path / "outside.py").write_text("x")
    (root / "src/out.py").symlink_to(tmp_path / "outside.py")
    (root / "src/in.py").symlink_to("a.py")
    (root / "src/loop").symlink_to(".")
    (root / "src/gone.py").symlink_to("nothing")
    (root / "away").symlink_to(tmp_path)
    (root / "state").symlink_to(".git")
    return Project(str(root))


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a", "a"), ("./a", "a"), ("a//b/./c", "a/b/c"), (".", "."), ("ü/…", "ü/…"), ("..a", "..a")],
)
def test_normal(path: str, expected: str) -> None:
    assert normal(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        " ",
        "/",
        "/a",
        "//a",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "~",
        "~root/x",
        "a\0b",
        "a\nb",
        "a\x1bb",
        "\ud800",
    ],
)
def test_what_leaves_the_project_by_its_text_alone(path: str) -> None:
    with pytest.raises(BadPathError):
        normal(path)


@pytest.mark.parametrize("path", ["away", "away/x", "away/project/../x", "src/out.py", "away/not/there/yet"])
def test_what_leaves_it_through_a_link(project: Project, path: str) -> None:
    with pytest.raises(BadPathError):
        project.inside(path)


def test_links_inside_are_fine(project: Project) -> None:
    assert project.file("src/in.py") == "src/in.py"
    assert project.target("src/loop/new.py") == "src/loop/new.py"
    assert project.real("src/loop/loop/a.py") == project.real("src/a.py")


@pytest.mark.parametrize("path", [".git/x", ".GIT/x", ".orchestrate/x", "state/x", "src", "src/", ".", "x/"])
def test_what_is_no_target(project: Project, path: str) -> None:
    with pytest.raises(BadPathError):
        project.target(path)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("src/*.py", ["src/a.py", "src/in.py"]),
        ("src/**", ["src/a.py", "src/in.py", "src/sub/b.py"]),
        ("**/*.py", ["src/a.py", "src/in.py", "src/sub/b.py", "top.py"]),
        ("src/**/b.py", ["src/sub/b.py"]),
        ("src/.*.py", ["src/.hidden.py"]),
        (".github/*", [".github/ci.yml"]),
        ("?op.p[xy]", ["top.py"]),
        ("*/a.py", ["src/a.py"]),
        ("src/[!a]*.py", ["src/in.py"]),
        ("src/[z-a].py", []),
        ("[", []),
        ("away/*.py", []),
        ("nowhere/*", []),
        (".*/*", [".github/ci.yml"]),
    ],
)
def test_globs(project: Project, pattern: str, expected: list[str]) -> None:
    assert sorted(project.files(pattern)) == expected


SEGMENTS = st.text(st.sampled_from("ab*?["), min_size=1, max_size=5)


@given(SEGMENTS, st.text(st.sampled_from("ab["), min_size=1, max_size=6))
def test_one_part_matches_as_the_shell_does(pattern: str, name: str) -> None:
    if pattern != "**":
        assert matcher(pattern)(name) == fnmatch.fnmatchcase(name, pattern)


@given(st.lists(SEGMENTS, min_size=1, max_size=4), st.lists(st.sampled_from("ab"), min_size=1, max_size=4))
def test_two_stars_stand_for_any_number_of_folders(parts: list[str], folders: list[str]) -> None:
    path = "/".join(folders)
    if matcher("/".join(parts))(path):
        assert matcher("**/" + "/".join(parts))(path)
    assert matcher("**")(path)
    assert matcher("**/" + folders[-1])(path)


def test_no_pattern_takes_long() -> None:
    assert not matcher("/".join(["**", "*a*a*a*a*a*a*b"] * 12))("/".join(["a" * 60] * 40))


NAMES = st.text("ab*", max_size=5)


@given(st.text("ab*", min_size=1, max_size=7), NAMES)
def test_stars_match_as_fnmatch_has_it(pattern: str, name: str) -> None:
    if pattern != "**" and name:
        assert bool(matcher(pattern)(name)) == fnmatch.fnmatchcase(name, pattern)


PATHS = ["a", "a/b", "a/b/c", "a/c", "ab", "b", "b/a/b", "x/a/b", "x/b"]


@pytest.mark.parametrize(
    "pattern", ["**", "**/b", "a/**/c", "*b", "a*", "?", "[ab]", "x/[!b]*/b", "*/b", "[", "a/*c"]
)
def test_what_begins_and_ends_like_a_glob_is_tried_and_no_match_is_lost(pattern: str) -> None:
    found = [path for path in PATHS if matcher(pattern)(path)]
    assert matching(pattern, PATHS) == found
    assert matching(pattern, PATHS, sorted(path[::-1] for path in PATHS)) == found


@pytest.mark.parametrize("sign", ["\x1b", "\x9b", "\u202e", "\u2066"])
def test_no_path_holds_what_acts_on_a_terminal(sign: str) -> None:
    with pytest.raises(BadPathError, match="holds a control character"):
        normal(f"a{sign}b")


def test_what_lacks_a_globs_text_is_not_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    part_matcher = paths._part_matcher
    monkeypatch.setattr(
        paths,
        "_part_matcher",
        lambda part: lambda name: (asked.append(name), part_matcher(part)(name))[1],
    )
    names = [f"a/{number}" for number in range(100)]
    assert matching("a/*7*", names) == [name for name in names if "7" in name]
    assert len(asked) == 2 * 19  # parts of each
    assert matching("a/*7*x?", names) == []
    assert len(asked) == 2 * 19 + 2 * 19


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a/*x7*", "x7"),
        ("**/abc/*", "abc"),
        ("a/[abc]d*", "a"),
        ("[!a]", ""),
        ("[", ""),
        ("a?bc*", "bc"),
        ("**", ""),
    ],
)
def test_the_text_that_all_hold_that_a_glob_finds(pattern: str, text: str) -> None:
    assert paths._text_of(pattern) == text


def test_what_globs_are_tried_on_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"a/{number}" for number in range(100)]
    with paths.trying():
        matching("a/*7*", names, sorted(name[::-1] for name in names))
        tried = 100 + 19 * paths.A_MATCH
        assert paths._tried.get() == [tried]
        matching("a/*7*", names)  # as they are on disk
        assert paths._tried.get() == [tried + tried // paths.ON_DISK]
        assert not paths.tried_too_much()
        monkeypatch.setattr(paths, "MOST_TRIED", 1000)
        assert paths.tried_too_much()
    assert not paths.tried_too_much()
