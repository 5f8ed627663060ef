"""The client's own state file: what it says, and how a yes of the user gets into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.agents.claude import first_run, trust
from dodo_claude.text.errors import DodoClaudeError
from tests.samples.stages import STAGE, config_of

READY = {
    "hasCompletedOnboarding": True,
    "projects": {"/site": {"hasTrustDialogAccepted": True, "history": [1]}},
}
KEY = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def write(home: Path, state: object) -> dict[str, str]:
    (home / ".claude.json").write_text(json.dumps(state))
    return {"HOME": str(home)}


def read(home: Path) -> dict[str, object]:
    return dict(json.loads((home / ".claude.json").read_text()))


# -- what would open a dialog

TRUST = "claude: does not trust {} (run `claude` there once and say yes, or run `doit orchestrate --trust`)"
SET_UP = "claude: has not been set up for this user (run `claude` once by hand, then log in)"
USE_KEY = (
    "claude: would ask whether to use the key in ANTHROPIC_API_KEY (run `claude` once by hand and say yes, or unset "
    "the variable)"
)
APPROVED = {"customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}}
CASES: dict[str, tuple[dict[str, object], str, dict[str, str], list[str]]] = {
    "all is well": (READY, "/site", {}, []),
    "a folder below": (READY, "/site/a/b", {}, []),
    "a folder beside": (READY, "/siteshop", {}, [TRUST.format("/siteshop")]),
    "a folder above": (READY, "/", {}, [TRUST.format("/")]),
    "nothing at all": ({}, "/site", {}, [SET_UP, TRUST.format("/site")]),
    "a no": ({**READY, "projects": {"/site": {"hasTrustDialogAccepted": False}}}, "/site", {}, [TRUST.format("/site")]),
    "a word for a yes": ({**READY, "projects": {"/site": {"hasTrustDialogAccepted": "yes"}}}, "/site", {}, [TRUST.format("/site")]),
    "projects of another kind": ({**READY, "projects": [1]}, "/site", {}, [TRUST.format("/site")]),
    "a project of another kind": ({**READY, "projects": {"/site": True}}, "/site", {}, [TRUST.format("/site")]),
    "an unknown key": (READY, "/site", {"ANTHROPIC_API_KEY": KEY}, [USE_KEY]),
    "an approved key": ({**READY, **APPROVED}, "/site", {"ANTHROPIC_API_KEY": KEY}, []),
    "another key's end": ({**READY, **APPROVED}, "/site", {"ANTHROPIC_API_KEY": KEY + "x"}, [USE_KEY]),
    "a rejected key": (
        {**READY, "customApiKeyResponses": {"approved": [], "rejected": [KEY[-20:]]}},
        "/site", {"ANTHROPIC_API_KEY": KEY}, [USE_KEY],
    ),
    "a token beside the key": (READY, "/site", {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": "t"}, [USE_KEY]),
    "a token alone": (READY, "/site", {"ANTHROPIC_AUTH_TOKEN": "t"}, []),
    "an empty key": (READY, "/site", {"ANTHROPIC_API_KEY": ""}, []),
    "responses of another kind": ({**READY, "customApiKeyResponses": {"approved": KEY[-20:]}}, "/site", {"ANTHROPIC_API_KEY": KEY}, [USE_KEY]),
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
def test_problems(home: Path, what: str) -> None:
    state, folder, environ, expected = CASES[what]
    assert trust.problems([Path(folder)], write(home, state) | environ) == expected


def test_no_file_is_no_state(home: Path) -> None:
    environ = {"HOME": str(home)}
    assert trust.problems([Path("/site")], environ) == [SET_UP, TRUST.format("/site")]
    assert not trust.is_trusted(Path("/site"), environ)
    assert os.listdir(home) == []


def test_the_clients_own_folder_goes_before_home(home: Path, tmp_path: Path) -> None:
    write(home, READY)
    environ = {"HOME": str(tmp_path), "CLAUDE_CONFIG_DIR": str(home)}
    assert trust.is_trusted(Path("/site"), environ)
    assert first_run.state_file({"HOME": "/h", "CLAUDE_CONFIG_DIR": ""}) == Path("/h/.claude.json")


DAMAGED = ["", "{", "[]", "null", "7", '"text"', '{"a": \xff}', "[" * 100_000]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: repr(text[:10]))
def test_a_damaged_file_is_one_line_and_stays_as_it_is(home: Path, text: str) -> None:
    path = home / ".claude.json"
    path.write_text(text, encoding="latin-1")
    environ = {"HOME": str(home)}
    (problem,) = trust.problems([Path("/site")], environ)
    assert problem.startswith(f"{path}: can't be read: ")
    assert problem.endswith("(mend it, or run `claude` once by hand)")
    assert "\n" not in problem
    with pytest.raises(DodoClaudeError):
        trust.record(Path("/site"), environ)
    assert path.read_text(encoding="latin-1") == text


# -- how far trust reaches

# What is trusted, where the client starts, whether it starts without asking; as measured on 2.1.332. In the folder:
# repo/.git, repo/part, repo/inner/.git, link/part of a worktree of repo, plain/part, named/.git that names link's.
REACH = [
    (".", "plain/part", True),
    (".", "repo", False),
    (".", "repo/part", False),
    ("repo", "repo/part", True),
    ("repo/part", "repo/part", True),
    ("repo/part", "repo", False),
    ("repo", "repo/inner", False),
    ("repo/inner", "repo/inner", True),
    ("repo", "link", True),
    ("repo", "link/part", True),
    ("repo/part", "link", False),
    (".", "link", False),
    ("link", "link/part", True),
    ("repo", "named", False),
    (".", "broken", False),
    ("bare.git", "bare-link", True),
    ("submodule", "submodule-link", False),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("tree").resolve()

    def git(*words: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=n@localhost", "-c", "protocol.file.allow=always")
        subprocess.run(["git", *who, *words], cwd=top, check=True, capture_output=True)

    for name in ("repo", "repo/inner", "submodule-of"):
        git("init", "-q", name)
        git("-C", name, "commit", "-q", "--allow-empty", "-m", "first")
    git("-C", "repo", "worktree", "add", "-q", "../link")
    git("clone", "-q", "--bare", "repo", "bare.git")
    git("-C", "bare.git", "worktree", "add", "-q", "../bare-link")
    git("-C", "submodule-of", "submodule", "add", "-q", str(top / "repo"), "sub")
    (top / "submodule").symlink_to("submodule-of/sub")
    git("-C", "submodule", "worktree", "add", "-q", str(top / "submodule-link"))
    for name in ("repo/part", "link/part", "plain/part", "named", "broken"):
        (top / name).mkdir(parents=True)
    (top / "named/.git").write_bytes((top / "link/.git").read_bytes())
    (top / "broken/.git").write_text("gitdir: nowhere")
    return top


@pytest.mark.parametrize(("trusted", "start", "starts"), REACH)
def test_trust_reaches_to_the_top_of_a_repository_and_to_its_worktrees(
    home: Path, tree: Path, trusted: str, start: str, starts: bool
) -> None:
    place = str((tree / trusted).resolve())
    environ = write(
        home, {"hasCompletedOnboarding": True, "projects": {place: {"hasTrustDialogAccepted": True}}}
    )
    assert trust.is_trusted(tree / start, environ) is starts
    expected = [] if starts else [TRUST.format(tree / start)]
    assert trust.problems([tree / start], environ) == expected
    assert trust.record(tree / start, environ) is not starts
    assert trust.is_trusted(tree / start, environ)


def test_a_stage_in_a_repository_of_its_own_needs_its_own_trust(tree: Path) -> None:
    stages = tuple(replace(STAGE, name=cwd, cwd=cwd) for cwd in (".", "part", "inner", "inner"))
    config = config_of(tree / "repo", *stages)
    assert trust.folders(config, config.stages) == [tree / "repo", tree / "repo/inner"]


# -- recording


def test_record_adds_one_folder_and_touches_nothing_else(home: Path) -> None:
    state = {
        **READY,
        "é": "😀 \ud800",
        "big": 12345678901234567890,
        "float": 0.1,
        "null": None,
        "nested": {"a": [{}]},
    }
    environ = write(home, state)
    (home / ".claude.json").chmod(0o640)
    assert trust.record(Path("/new"), environ)
    assert trust.is_trusted(Path("/new"), environ)
    expected = json.loads(json.dumps(state))
    expected["projects"]["/new"] = {"hasTrustDialogAccepted": True}
    assert read(home) == expected
    assert (home / ".claude.json").stat().st_mode & 0o777 == 0o640
    inode = (home / ".claude.json").stat().st_ino
    assert not trust.record(Path("/new"), environ)
    assert not trust.record(Path("/site/below"), environ)
    assert (home / ".claude.json").stat().st_ino == inode


def test_record_keeps_what_the_project_has(home: Path) -> None:
    environ = write(home, {"projects": {"/p": {"hasTrustDialogAccepted": False, "allowedTools": ["x"]}}})
    assert trust.record(Path("/p"), environ)
    assert read(home) == {"projects": {"/p": {"hasTrustDialogAccepted": True, "allowedTools": ["x"]}}}


def test_record_makes_a_private_file_where_there_is_none(home: Path) -> None:
    environ = {"CLAUDE_CONFIG_DIR": str(home / "deep/er")}
    before = os.umask(0)
    try:
        assert trust.record(Path("/p"), environ)
    finally:
        os.umask(before)
    assert (home / "deep/er/.claude.json").stat().st_mode & 0o777 == 0o600


def test_record_through_a_link_keeps_the_link(home: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles"
    real.mkdir()
    (real / "state.json").write_text(json.dumps(READY))
    (home / ".claude.json").symlink_to(real / "state.json")
    assert trust.record(Path("/new"), {"HOME": str(home)})
    assert (home / ".claude.json").is_symlink()
    assert "/new" in (real / "state.json").read_text()


def test_record_that_fails_leaves_the_old_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = write(home, READY)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        trust.record(Path("/new"), environ)
    assert read(home) == READY
    assert sorted(os.listdir(home)) == [".claude.json", ".claude.json.dodo-claude.lock"]


def test_what_a_client_writes_meanwhile_does_not_undo_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its lock a client writes what it read before; a lock that a killed one left holds nobody up."""
    path, folder = home / ".claude.json", home / "project"
    path.write_text('{"theme": "dark"}', encoding="utf-8")
    lock = home / ".claude.json.lock"
    lock.mkdir()
    waiting = threading.Thread(target=trust.record, args=(folder, {"HOME": str(home)}))
    waiting.start()
    waiting.join(0.3)
    path.write_text('{"theme": "dark", "numStartups": 2}', encoding="utf-8")
    lock.rmdir()
    waiting.join(20)
    assert trust.is_trusted(folder, {"HOME": str(home)})
    assert json.loads(path.read_text(encoding="utf-8"))["numStartups"] == 2
    assert not lock.exists()
    lock.mkdir()
    os.utime(lock, (1_000_000_000, 1_000_000_000))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits for nobody"))
    assert trust.record(home / "another", {"HOME": str(home)})
    assert lock.is_dir()  # it is not ours


def test_two_at_once_keep_both_folders(home: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from dodo_claude.agents.claude import trust\n"
        "sys.stdin.readline()  # both are up\n"
        "for n in range(25): trust.record(Path(f'/{sys.argv[1]}/{n}'), os.environ)\n"
    )
    write(home, READY)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, name], env={**os.environ, "HOME": str(home)}, stdin=subprocess.PIPE
        )
        for name in ("one", "two")
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    for process in running:
        process.wait(60)
    assert [process.returncode for process in running] == [0, 0]
    projects = read(home)["projects"]
    assert isinstance(projects, dict)
    assert len(projects) == 51


@pytest.mark.parametrize("name", [".git", "elsewhere/gitdir", "elsewhere/commondir"])
def test_a_pipe_where_git_keeps_a_line_is_not_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    (tmp_path / "elsewhere/gitdir").write_text("../.git\n")
    (tmp_path / "elsewhere/commondir").write_text("/somebody/.git\n")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert trust._main_repository(tmp_path / ".git") == []
