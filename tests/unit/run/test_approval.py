"""What has to be approved, what is remembered of it, whose files are not run, what bypassPermissions needs."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.agents.claude import modes
from dodo_claude.config.config import load_config
from dodo_claude.config.records import Config
from dodo_claude.machine import ownership
from dodo_claude.run import approval
from dodo_claude.run.approval import ApprovalError
from dodo_claude.text.errors import DodoClaudeError

FILE = """
[agents.claude]
setting_sources = ["user"]
[agents.mine]
command = ["./agent.sh", "--fast"]
env_pass = ["MY_KEY"]
[stages.backend]
prompt = "Write it."
targets = ["api.py"]
check = "make test"
[stages.docs]
agent = "mine"
prompt_file = "docs.md"
targets = ["doc.txt"]
cwd = "sub"
env = { LEVEL = "a b" }
check = "cat doc.txt"
[stages.build]
command = "make -j4"
targets = ["out.bin"]
"""


class Place:
    """A project with a state folder of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "p"
        (self.root / "sub").mkdir(parents=True)
        self.environ = {
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
        }
        self.write("orchestrate.toml", FILE)
        self.write("docs.md", "Write docs.")
        self.write("agent.sh", "#!/bin/sh\n")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return path

    @property
    def config(self) -> Config:
        return load_config(self.root / "orchestrate.toml")

    @property
    def missing(self) -> list[str]:
        return [item.what for item in approval.unapproved(self.config, self.environ)]

    @property
    def state(self) -> Path:
        return approval.state_file(self.root, self.environ)

    def approve(self) -> None:
        approval.approve(self.config, self.environ)

    def edit(self, old: str, new: str, name: str = "orchestrate.toml") -> None:
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def require(self) -> None:
        approval.require(self.config, self.environ)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# -- what has to be approved


def test_what_runs_without_a_models_judgement_is_listed(place: Place) -> None:
    assert approval.listing(approval.items(place.config)) == [
        "check of stage 'backend': make test",
        "worker of stage 'backend': claude; permission mode dontAsk; may use Edit(./**)",
        "check of stage 'docs': cd sub && LEVEL='a b' cat doc.txt",
        "worker of stage 'docs': cd sub && LEVEL='a b' ./agent.sh --fast; gets your MY_KEY",
        "command of stage 'build': make -j4",
        "file 'agent.sh': named by agent 'mine'",
    ]


CHANGES = {
    "a check": ("make test", "make test && curl x", ["check of stage 'backend'"]),
    "a command": ("make -j4", "make -j8", ["command of stage 'build'"]),
    "a folder": ('cwd = "sub"', 'cwd = "."', ["check of stage 'docs'", "worker of stage 'docs'"]),
    "a variable": ('"a b"', '"a c"', ["check of stage 'docs'", "worker of stage 'docs'"]),
    "a program's argument": ("--fast", "--slow", ["worker of stage 'docs'"]),
    "a variable that passes": ("MY_KEY", "MY_KEYS", ["worker of stage 'docs'"]),
    "allowed tools": ('check = "make test"', 'check = "make test"\nallowed_tools = ["Bash"]', ["worker of stage 'backend'"]),
    "whose settings": ('["user"]', '["user", "project"]', ["worker of stage 'backend'"]),
    "the mode": ("setting_sources", "permission_mode = 'acceptEdits'\nsetting_sources", ["worker of stage 'backend'"]),
    "the sandbox": ("setting_sources", "sandbox = true\nsetting_sources", ["worker of stage 'backend'"]),
    "a new stage": ("[stages.build]", "[stages.more]\ncommand = 'true'\n[stages.build]", ["command of stage 'more'"]),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_asked_again_and_named(place: Place, change: str) -> None:
    place.approve()
    assert place.missing == []
    place.require()
    old, new, named = CHANGES[change]
    if change == "the sandbox":  # what it is made of need not be on this machine
        for program in modes.SANDBOX_PROGRAMS:
            place.write(f"bin/{program}", "#!/bin/sh\n").chmod(0o755)
        place.environ["PATH"] += f":{place.root}/bin"
    place.edit(old, new)
    assert place.missing == named
    with pytest.raises(
        ApprovalError, match=f"^changed since you approved: {', '.join(named)} \\(run `doit orch"
    ):
        place.require()
    place.approve()
    place.edit(new, old)
    assert place.missing == []  # the other branch was approved, too


@pytest.mark.parametrize(
    ("old", "new"),
    [("Write it.", "Write it well."), ('targets = ["api.py"]', 'targets = ["api2.py"]\nmodel = "opus"\ntimeout = "5m"')],
)  # fmt: skip
def test_what_a_model_judges_is_not_asked_again(place: Place, old: str, new: str) -> None:
    place.approve()
    place.edit(old, new)
    assert place.missing == []


def test_one_byte_of_a_program_that_is_named(place: Place) -> None:
    place.approve()
    place.edit("sh\n", "sh \n", "agent.sh")
    assert place.missing == ["file 'agent.sh'"]


HOOKS = {
    "hooks": {"Stop": [{"hooks": [{"type": "command", "command": '"$CLAUDE_PROJECT_DIR"/tools/hook.sh x'}]}]}
}


def test_the_clients_settings_count_only_where_they_are_taken_over(place: Place) -> None:
    settings = place.write(".claude/settings.json", json.dumps(HOOKS))
    place.write(".claude/settings.local.json", "{}")
    place.write("tools/hook.sh", "true\n")
    place.write(".mcp.json", "{}")
    place.approve()
    settings.write_text("{}")
    assert place.missing == []  # no agent reads it

    settings.write_text(json.dumps(HOOKS))
    place.edit('["user"]', '["user", "project"]')
    assert place.missing == [
        "worker of stage 'backend'",
        "file '.claude/settings.json'",
        "file 'tools/hook.sh'",
    ]
    shown = approval.listing(approval.unapproved(place.config, place.environ))
    assert shown[1] == "file '.claude/settings.json': \"$CLAUDE_PROJECT_DIR\"/tools/hook.sh x"
    place.approve()
    place.write("tools/hook.sh", "true;\n")
    assert place.missing == ["file 'tools/hook.sh'"]
    place.write(".claude/settings.json", json.dumps(HOOKS) + " ")
    assert "file '.claude/settings.json'" in place.missing
    place.write(".claude/settings.json", "no JSON: {")
    assert "file '.claude/settings.json'" in place.missing

    place.edit('["user", "project"]', '["local"]\nargs = ["--mcp-config=.mcp.json"]')
    assert place.missing == [
        "worker of stage 'backend'",
        "file '.mcp.json'",
        "file '.claude/settings.local.json'",
    ]


def test_things_that_are_alike_are_listed_once_and_nothing_acts_on_a_terminal(place: Place) -> None:
    items = "', '".join(f"i{number}" for number in range(9))
    place.write(
        "orchestrate.toml",
        f"[stages.r]\nforeach = ['{items}']\nprompt = 'x'\ntargets = ['{{{{ item }}}}']\n"
        '[stages.z]\ncommand = "true \\u001b[2K\\nfalse"\n[stages.long]\ncommand = \'echo '
        + "x" * 600
        + "'\n",
    )
    lines = approval.listing(approval.items(place.config))
    assert lines[0].startswith("worker of stage 'r:i0', 'r:i1', 'r:i2', 'r:i3' and 5 more: claude;")
    assert lines[1] == "command of stage 'z': true \\x1b[2K\\nfalse"
    assert lines[2].endswith("x… (105 more characters)")
    many = [approval.Item("check of stage", f"s{n}", f"cmd {n}", f"{n}") for n in range(100)]
    assert approval.listing(many)[-1] == "… and 40 more: read orchestrate.toml"


# -- what is remembered


def test_it_is_kept_outside_of_the_project_for_its_user_alone(place: Place) -> None:
    before = sorted(place.root.rglob("*"))
    place.approve()
    assert sorted(place.root.rglob("*")) == before
    assert place.state.parent == Path(place.environ["XDG_STATE_HOME"]) / "dodo-claude" / "approved"
    assert place.state.stat().st_mode & 0o777 == 0o600
    assert place.state.parent.stat().st_mode & 0o777 == 0o700
    assert place.state.parent.parent.stat().st_mode & 0o777 == 0o700
    text = place.state.read_text()
    assert "make" not in text
    assert json.loads(text)["root"] == str(place.root)


def test_without_a_state_home_it_lies_below_home(tmp_path: Path) -> None:
    for value in ("", "relative"):
        path = approval.state_file(tmp_path, {"HOME": str(tmp_path), "XDG_STATE_HOME": value})
        assert path.parent == tmp_path / ".local/state/dodo-claude/approved"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"approved": 1}', '{"approved": {"a": 1}}', "[" * 100_000, "\xff"]
)
def test_what_cannot_be_read_approves_nothing(place: Place, text: str) -> None:
    place.approve()
    place.state.write_text(text, encoding="latin-1")
    assert len(place.missing) == 6
    assert not approval.was_asked(place.config, place.environ)
    place.approve()
    assert place.missing == []


def test_what_others_could_write_approves_nothing(place: Place) -> None:
    place.approve()
    place.state.chmod(0o666)
    assert len(place.missing) == 6


def test_an_approval_is_of_one_folder(place: Place, tmp_path: Path) -> None:
    place.approve()
    shutil.copytree(place.root, tmp_path / "copy")
    assert len(approval.unapproved(load_config(tmp_path / "copy/orchestrate.toml"), place.environ)) == 6


def test_the_first_question_says_so(place: Place) -> None:
    with pytest.raises(ApprovalError, match=r"^you have not approved yet what this project runs .*--trust"):
        place.require()


def test_old_approvals_are_forgotten_some_day(place: Place) -> None:
    for number in range(approval.KEPT + 2):
        place.write("orchestrate.toml", f"[stages.a]\ncommand = 'echo {number}'\n")
        place.approve()
    place.write("orchestrate.toml", "[stages.a]\ncommand = 'echo 1'\n")
    assert place.missing == ["command of stage 'a'"]
    place.write("orchestrate.toml", "[stages.a]\ncommand = 'echo 2'\n")
    assert place.missing == []


def test_two_at_once_lose_nothing(place: Place) -> None:
    configs = []
    for number in range(12):
        place.write("orchestrate.toml", f"[stages.a{number}]\ncommand = 'echo {number}'\n")
        configs.append(place.config)
    threads = [threading.Thread(target=approval.approve, args=(config, place.environ)) for config in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [config for config in configs if approval.unapproved(config, place.environ)] == []


def test_a_state_folder_that_cannot_be_made_is_a_line(place: Place) -> None:
    Path(place.environ["XDG_STATE_HOME"]).write_text("a file")
    with pytest.raises(DodoClaudeError, match="can't be written: "):
        place.approve()


# -- whose files are run

MODES = [
    (0o644, True),
    (0o600, True),
    (0o640, True),
    (0o444, True),
    (0o666, False),
    (0o646, False),
    (0o602, False),
]


@pytest.mark.parametrize(
    "name", ["orchestrate.toml", "docs.md", "agent.sh", "dodo.py", "doit.cfg", "pyproject.toml"]
)
@pytest.mark.parametrize(("mode", "runs"), MODES, ids=lambda value: oct(value) if value > 1 else str(value))
def test_a_file_that_everybody_may_write_is_not_run(place: Place, name: str, mode: int, runs: bool) -> None:
    if not (place.root / name).exists():  # doit's own
        (place.root / name).write_text("[tool.doit]\nloader = 'orchestrate'\n")
    (place.root / name).chmod(mode)
    found = approval.unsafe_files(place.config)
    assert (found == []) is runs
    if not runs:
        owner = ownership.user_name(os.geteuid())
        assert found == [
            f"{name}: others can write it (mode {mode:04o}, owner {owner}): it is not run (chmod go-w {name})"
        ]
        place.approve()
        with pytest.raises(ApprovalError, match="others can write it"):
            place.require()


def test_a_group_may_write_only_where_it_is_its_users_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.root / "orchestrate.toml").chmod(0o664)
    for private in (True, False):
        monkeypatch.setattr(ownership, "is_private", lambda gid, uid, private=private: private)
        assert (approval.unsafe_files(place.config) == []) is private


def test_which_group_is_its_users_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd
    from types import SimpleNamespace

    groups = {5: ("ann", []), 6: ("ann", ["ann", "bob"]), 7: ("users", []), 8: ("ann", ["ann"])}
    monkeypatch.setattr(
        grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=groups[gid][0], gr_mem=groups[gid][1])
    )
    for gid, private in ((5, True), (6, False), (7, False), (8, True)):
        monkeypatch.setattr(pwd, "getpwuid", lambda uid, gid=gid: SimpleNamespace(pw_name="ann", pw_gid=gid))
        assert ownership.is_private(gid, 1) is private
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="ann", pw_gid=5))
    assert ownership.is_private(8, 1) is False  # not the primary one
    assert ownership.is_private(99, 1) is False  # no such group


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_strangers_file_is_not_run(place: Place) -> None:
    os.chown(place.root / "orchestrate.toml", 65534, 0)
    (found,) = approval.unsafe_files(place.config)
    assert found.startswith("orchestrate.toml: belongs to nobody (mode 0644), not to you: it is not run (")


def test_a_link_is_judged_by_what_it_leads_to(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "real.toml"
    os.replace(place.root / "orchestrate.toml", other)
    (place.root / "orchestrate.toml").symlink_to(other)
    assert approval.unsafe_files(place.config) == []
    other.chmod(0o666)
    assert len(approval.unsafe_files(place.config)) == 1


def test_a_folder_that_everybody_may_write(place: Place) -> None:
    place.root.chmod(0o777)
    (found,) = approval.unsafe_files(place.config)
    assert "everybody can replace its files" in found
    place.root.chmod(0o1777)
    assert approval.unsafe_files(place.config) == []


# -- bypassPermissions and the sandbox


def bypass(place: Place, *, sandbox: bool) -> Config:
    config = place.config
    stages = tuple(
        replace(
            stage,
            agent=stage.agent and replace(stage.agent, permission_mode="bypassPermissions", sandbox=sandbox),
        )
        for stage in config.stages[:1]
    )
    return replace(config, stages=stages)


@pytest.mark.parametrize("consent", [True, False])
@pytest.mark.parametrize("proof", ["container", "sandbox", "none"])
def test_bypass_needs_consent_and_a_place(place: Place, tmp_path: Path, consent: bool, proof: str) -> None:
    config = bypass(place, sandbox=proof == "sandbox")
    environ = {**place.environ, approval.ALLOW_BYPASS: "1" if consent else "yes"}
    marks = [tmp_path / "nothing", tmp_path if proof == "container" else tmp_path / "nothing"]
    problems = approval.bypass_problems(config, environ, marks)
    assert [("your consent" in text, "no container" in text) for text in problems] == (
        [] if consent else [(True, False)]
    ) + ([] if proof != "none" else [(False, True)])


def test_nobody_else_needs_it(place: Place) -> None:
    assert approval.bypass_problems(place.config, {}, []) == []


def test_bypass_is_said_on_each_run(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    approval.warn(bypass(place, sandbox=True))
    assert capsys.readouterr().err == (
        "WARNING: agent 'claude' works without permission rules, in the client's sandbox\n"
    )


@pytest.mark.parametrize("there", [[], ["bwrap"], ["bwrap", "socat"]])
def test_the_sandbox_needs_its_programs(place: Place, tmp_path: Path, there: list[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("sys.platform", "linux")
    place.edit("setting_sources", "sandbox = true\nsetting_sources")
    place.approve()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in there:
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    place.environ["PATH"] = str(programs)
    lacking = [name for name in ("bwrap", "socat") if name not in there]
    if lacking:
        with pytest.raises(
            ApprovalError, match=rf"^agents.claude: sandbox: {' and '.join(lacking)} not found on PATH"
        ):
            place.require()
    else:
        place.require()
