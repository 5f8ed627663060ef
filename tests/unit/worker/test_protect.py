"""Files that no stage may change."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.machine.files import make_state_dir
from dodo_claude.worker import protect
from dodo_claude.worker.protect import Guard, Watch
from tests.samples.stages import STAGE

ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


@pytest.fixture(autouse=True)
def always_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look will do that was made a moment ago: here a moment is all that lies between two changes."""
    monkeypatch.setattr(protect, "JUST_NOW", 0.0)


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def watch(root: Path, guard: Guard | None = None, protect: tuple[str, ...] = (), **stage: object) -> Watch:
    guard = guard or Guard(root, ENVIRON)
    return guard.begin(replace(STAGE, protect=protect, **stage), lambda marks: None)  # type: ignore[arg-type]


def changed(watch: Watch, *targets: str) -> list[tuple[str, bool]]:
    return [(change.name, change.made) for change in watch.changes(targets)]


def test_two_stars_at_the_end_are_all_files_below(tmp_path: Path) -> None:
    write(
        tmp_path,
        ".claude/settings.json",
        ".claude/hooks/x.sh",
        "docs/a.md",
        "docs/sub/b.md",
        "docs/.hidden",
        "src/c.md",
    )
    found = {name for name, mark in watch(tmp_path, protect=("docs/**",)).marks(()).items() if mark}
    assert found == {
        ".claude/settings.json",
        ".claude/hooks/x.sh",
        "docs/a.md",
        "docs/sub/b.md",
        "docs/.hidden",
    }


def test_all_of_the_project_is_not_our_own_state(tmp_path: Path) -> None:
    write(tmp_path, "x", "sub/.orchestrate/b", ".orchestrate/stages/x", ".git/HEAD")
    found = {name for name, mark in watch(tmp_path, protect=("**",)).marks(()).items() if mark}
    assert found == {"x", "sub/.orchestrate/b"}


def test_what_became_a_target_meanwhile_may_change(tmp_path: Path) -> None:
    write(tmp_path, "dodo.py")
    seen = watch(tmp_path)
    (tmp_path / "dodo.py").write_text("b")
    assert changed(seen) == [("dodo.py", False)]
    assert changed(seen, "dodo.py") == []


@pytest.mark.parametrize("how", ["changed", "made", "made in a new folder", "removed", "in the same tick"])
def test_what_is_changed(tmp_path: Path, how: str) -> None:
    write(tmp_path, "docs/a.md", "docs/sub/b.md", "docs/same.md")
    seen = watch(tmp_path, protect=("docs/**",))
    assert changed(seen) == []
    if how == "changed":
        (tmp_path / "docs/sub/b.md").write_text("longer than before")
        assert changed(seen) == [("docs/sub/b.md", False)]
    elif how == "made":
        write(tmp_path, "docs/sub/new.md")
        assert changed(seen) == [("docs/sub/new.md", True)]
    elif how == "made in a new folder":
        write(tmp_path, "docs/deep/er/new.md")
        assert changed(seen) == [("docs/deep/er/new.md", True)]
    elif how == "removed":
        (tmp_path / "docs/a.md").unlink()
        assert changed(seen) == [("docs/a.md", False)]
    else:
        (tmp_path / "docs/same.md").write_text("DOCS/SAME.MD")
        assert changed(seen) == [("docs/same.md", False)]
    # One that was touched, and holds what it held, is none.
    os.utime(tmp_path / "docs/same.md")
    assert len(changed(seen)) == 1


def test_a_path_that_exists_as_written_is_that_file(tmp_path: Path) -> None:
    write(tmp_path, "app/[id]/page.tsx", "app/i/page.tsx")
    seen = watch(tmp_path, protect=("app/[[]id]/page.tsx",))
    for name in ("app/[id]/page.tsx", "app/i/page.tsx"):
        (tmp_path / name).write_text("another")
    assert changed(seen) == [("app/[id]/page.tsx", False)]


# -- what checks change


def test_two_checks_at_once_and_one_that_works(tmp_path: Path) -> None:
    """Both change one file, one after the other, and the worker another before and during that."""
    write(tmp_path, "shots/x", "shots/y", "shots/z", ".orchestrate/x")
    guard = Guard(tmp_path, ENVIRON)
    told: list[Mapping[str, object]] = []
    one, two = (watch(tmp_path, guard, ("shots/*",), name=name) for name in "ab")
    works = guard.begin(replace(STAGE, name="c", protect=("shots/*",)), told.append)
    (tmp_path / "shots/z").write_text("by the worker")
    assert changed(works) == [("shots/z", False)]
    with guard.check(one):
        (tmp_path / "shots/x").write_text("first")
        with guard.check(two):
            (tmp_path / "shots/x").write_text("second")
            (tmp_path / "shots/z").write_text("by the check")
            guard.edited(str(tmp_path / "shots/y"), "c", 1.0)
            (tmp_path / "shots/y").write_text("by its tools")
        (tmp_path / "shots/x").write_text("third")
    assert changed(works) == [("shots/y", False), ("shots/z", False)]
    assert [sorted(marks) for marks in told] == [["shots/x"]] * 3
    (tmp_path / "shots/x").write_text("by somebody")
    assert ("shots/x", False) in changed(works)


def test_another_s_check_has_no_business_with_what_runs_on_its_own(tmp_path: Path) -> None:
    write(tmp_path, ".orchestrate/x", "orchestrate.toml", ".git/hooks/x", "sub/.claude/settings.json")
    guard = Guard(tmp_path, ENVIRON)
    own, other = watch(tmp_path, guard, name="a"), watch(tmp_path, guard, ("sub/.claude/*",), name="b")
    with guard.check(own):
        write(tmp_path, "doit.cfg", ".git/hooks/pre-commit")
        (tmp_path / "sub/.claude/settings.json").write_text("{}")
    assert changed(own) == []
    assert [name for name, _ in changed(other)] == [
        ".git/hooks/pre-commit",
        "doit.cfg",
        "sub/.claude/settings.json",
    ]


def test_a_run_after_one_that_died_in_a_check_knows(tmp_path: Path) -> None:
    guard = Guard(tmp_path, ENVIRON)
    (tmp_path / ".orchestrate").mkdir()
    seen = watch(tmp_path, guard)
    with guard.check(seen):
        assert Guard(tmp_path, ENVIRON).was_cut_off(0.0)
    assert not Guard(tmp_path, ENVIRON).was_cut_off(
        os.stat(tmp_path / ".orchestrate" / protect.CUT_OFF).st_mtime + 1
    )


# -- very many files


def test_many_look_at_once_and_the_look_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, *(f"src/{folder}/{number}" for folder in range(10) for number in range(10)))
    guard = Guard(tmp_path, ENVIRON)
    for folder in (tmp_path / "src").glob("**/"):
        os.utime(folder, (0, 0))
    first = watch(tmp_path, guard, ("src/**",))
    looks: list[int] = []
    fresh = guard._fresh
    monkeypatch.setattr(guard, "_fresh", lambda: looks.append(1) or fresh())
    threads = [threading.Thread(target=first.changes, args=((),)) for _ in range(20)]
    with guard._lock:
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert len(looks) <= 2


def test_of_very_many_what_differs_is_written_down(tmp_path: Path) -> None:
    names = [f"src/{number}" for number in range(protect.MOST_MARKS)]
    write(tmp_path, *names)
    make_state_dir(tmp_path)
    guard = Guard(tmp_path, ENVIRON, "run-1")
    first = watch(tmp_path, guard, ("src/**",))
    begun = guard.written(first, ())
    assert begun == {"protected": {}, "protected_in": "runs/run-1/protected.json"}
    (tmp_path / "src/7").write_text("another")
    (tmp_path / "src/8").unlink()
    second = watch(tmp_path, guard, ("src/**",))
    begun = guard.written(second, ())
    assert list(begun["protected"]) == ["src/7", "src/8"]  # type: ignore[call-overload]
    later = Guard(tmp_path, ENVIRON, "run-2").read(begun)
    assert {name: mark and list(mark) for name, mark in second.since.items() if mark} == {  # type: ignore[call-overload]
        name: list(mark)
        for name, mark in later.items()
        if mark  # type: ignore[call-overload]
    }
    assert later["src/8"] is None


# -- git's files, wherever they are


def git(folder: Path, *words: str) -> None:
    environ = {**ENVIRON, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com",
               "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}  # fmt: skip
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, env=environ)


@pytest.fixture(params=["below its top", "a worktree", "hooks elsewhere", "a repository in it"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, list[Path]]:
    """A project, the folder that its stage works in, and files that git would act on."""
    top = tmp_path / "top"
    top.mkdir()
    git(top, "init")
    common = [top / ".git/hooks/pre-commit", top / ".git/config", top / ".git/info/attributes"]
    match request.param:
        case "below its top":
            (top / "a/b").mkdir(parents=True)
            return top / "a/b", ".", common
        case "a worktree":
            git(top, "commit", "--allow-empty", "-m", "x")
            git(top, "worktree", "add", str(tmp_path / "tree"))
            return tmp_path / "tree", ".", [*common, tmp_path / "tree/.git"]
        case "hooks elsewhere":
            git(top, "config", "core.hooksPath", "tools/hooks")
            (top / "tools/hooks").mkdir(parents=True)
            (top / "a").mkdir()
            return top / "a", ".", [top / "tools/hooks/pre-commit", top / ".git/config"]
        case _:
            (top / "module/src").mkdir(parents=True)
            git(top / "module", "init")
            return (
                top,
                "module/src",
                [*common, top / "module/.git/hooks/pre-commit", top / "module/.git/config"],
            )


def test_what_git_acts_on_is_guarded_where_it_is(places: tuple[Path, str, list[Path]]) -> None:
    root, cwd, files = places
    for number, file in enumerate(files):
        seen = watch(root, cwd=cwd)
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# {number}\n")
        name = os.path.relpath(file, root)
        assert [name for name, _ in changed(seen)] == [name]
        assert protect.is_order(name)


def test_another_repository_s_variables_do_not_mislead(tmp_path: Path) -> None:
    for name in ("top", "other"):
        (tmp_path / name / "sub").mkdir(parents=True)
        git(tmp_path / name, "init")
    environ = {**ENVIRON, "GIT_DIR": str(tmp_path / "other/.git"), "GIT_WORK_TREE": str(tmp_path / "other")}
    rules = Guard(tmp_path / "top/sub", environ).outside(STAGE)
    assert "../.git/hooks/*" in rules
    assert not any("other" in rule for rule in rules)


@pytest.mark.parametrize("environ", [ENVIRON, {"PATH": "/nonexistent"}])
def test_without_a_repository_or_git_there_is_nothing_more(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    if environ is not ENVIRON:
        git(tmp_path, "init")
    assert Guard(tmp_path, environ).outside(STAGE) == ()


def test_what_a_stage_s_tools_did_before_is_no_excuse_later(tmp_path: Path) -> None:
    guard = Guard(tmp_path, ENVIRON)
    guard.edited(str(tmp_path / "plan.toml"), "plan", 5.0)
    assert guard.editors("plan.toml", 5.0) == {"plan"}
    assert guard.editors("plan.toml", 6.0) == frozenset()
