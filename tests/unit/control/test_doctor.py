"""What `dodo-claude doctor` finds, each thing broken once; its trial sessions."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest

from dodo_claude.agents.claude import versions
from dodo_claude.config.config import load_config
from dodo_claude.control import doctor
from dodo_claude.machine.files import make_state_dir
from tests.integration.scenes import configure
from tests.project import BIN, PATIENCE, Project
from tests.schemas import shape

pytestmark = pytest.mark.tmux
GOOD = {"one": {"targets": ["it.txt"]}}


def look(project: Project, *options: str, code: int) -> dict[str, dict[str, str]]:
    ran = project.run("dodo-claude", "doctor", "--json", *options, check=code)
    found = [json.loads(line) for line in ran.out.splitlines()]
    for finding in found:
        jsonschema.validate(finding, shape("finding"))
        assert finding["result"] != "wrong" or finding["text"]
    wrong = [finding["name"] for finding in found if finding["result"] == "wrong"]
    assert bool(wrong) == bool(code), found
    return {finding["name"]: finding for finding in found}


def client(project: Project, version: str = versions.CLIENT_VERSION) -> None:
    """A `claude` that is the scripted agent."""
    folder = project.home / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "claude"
    scenario = folder / "scenario.toml"
    scenario.write_text("[stages.trial]\nsteps = [{ say = 'ready' }]\n")
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "{version} (Claude Code)" && exit\n'
        f"export DODO_CLAUDE_SCENARIO={shlex.quote(str(scenario))}\n"
        f'exec {shlex.quote(sys.executable)} -m dodo_claude.agents.scripted "$@"\n'
    )
    program.chmod(0o755)
    project.env["PATH"] = f"{folder}:{project.environ()['PATH']}"


@contextmanager
def hanging(project: Project) -> Iterator[subprocess.Popen[str]]:
    """`dodo-claude doctor --client` while its session hangs."""
    client(project)
    program = project.home / "bin/claude"
    program.write_text(program.read_text().split("exec")[0] + "exec sleep 600\n")
    project.write("orchestrate.toml", "[stages.one]\nprompt = 'x'\n")
    project.approve()
    process = subprocess.Popen(
        [str(BIN / "dodo-claude"), "doctor", "--client"], cwd=project.root, env=project.environ(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        project.wait_for(
            lambda: [name for name in project.sessions() if "trial" in name and hung(project)], "its session"
        )
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def hung(project: Project) -> bool:
    """Is it the client's session, after that of the scripted agent?"""
    return any(path.exists() for path in Path(project.env["TMPDIR"]).glob("doctor-*/client"))


def remains(project: Project) -> list[str]:
    """Folders and sockets of trials."""
    folders = [*Path(project.env["TMPDIR"]).glob("doctor-*"), *project.root.glob("**/doctor-*")]
    return [str(path) for path in (*folders, *project.runtime.glob("dodo-claude/*/tmux.sock"))]


@pytest.fixture(autouse=True)
def _own_temporary_folder(project: Project) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="dc-", dir="/tmp") as folder:
        project.env["TMPDIR"] = folder
        yield


def test_all_is_well(project: Project) -> None:
    configure(project, GOOD)
    project.approve()
    found = look(project, code=0)
    assert found["hooks"]["text"] == "a trial session of the scripted agent told of itself"
    assert re.fullmatch(r"tmux \S+ \(proved on 3\.3a, .*next-3\.8\)", found["tmux"]["text"])
    assert found["orchestrate.toml"]["text"] == "1 stage, no problems"
    assert found["worker's PATH"]["result"] == "ok"
    assert "doit 0.37" in found["versions"]["text"]
    assert not (project.root / ".orchestrate").exists()  # it only looked
    assert os.listdir(project.root) == ["orchestrate.toml"]
    assert project.sessions() == []
    lines = project.run("dodo-claude", "doctor", check=0).out.splitlines()
    assert lines[0].startswith("ok     versions: ")


def test_without_a_project_it_looks_at_the_machine(project: Project) -> None:
    found = look(project, code=0)
    assert found["project"]["result"] == "note"
    assert found["hooks"]["result"] == "ok"


def test_what_is_wrong_is_said_with_how_to_mend_it(project: Project) -> None:
    configure(project, GOOD)
    found = look(project, code=0)  # it is there for a person to say
    assert found["approval"]["result"] == "note"
    assert found["approval"]["text"] == "you have not approved yet what this project runs on your machine"
    assert "--trust" in found["approval"]["remedy"]
    project.approve()
    path = project.root / "orchestrate.toml"
    path.chmod(0o666)
    assert look(project, code=1)["files"]["remedy"] == "chmod go-w orchestrate.toml"
    path.chmod(0o644)
    path.write_text("[stages.one]\nprompt = 3\n")
    found = look(project, code=1)
    assert found["orchestrate.toml"]["text"].startswith("orchestrate.toml:2:")
    assert found["orchestrate.toml"]["remedy"] == "dodo-claude check shows all"


def test_hooks_that_tell_nothing_are_found(project: Project) -> None:
    """A worker whose shell can't write its spool, say: here a client without any hooks."""
    client(project)
    program = project.home / "bin/claude"
    program.write_text(program.read_text().split("exec")[0] + "sleep 0.2; exit 0\n")
    project.write("orchestrate.toml", "[stages.one]\nprompt = 'x'\n")
    project.home.joinpath(".claude.json").write_text(
        json.dumps(
            {
                "hasCompletedOnboarding": True,
                "projects": {str(project.root): {"hasTrustDialogAccepted": True}},
            }
        )
    )
    project.approve()
    found = look(project, "--client", code=1)
    assert found["hooks"]["result"] == "ok"
    assert found["client's start"]["text"].startswith(
        "a session did not begin: its worker ended before it began"
    )
    assert "client's hooks" not in found  # the user's account is not asked for nothing
    assert project.sessions() == []
    assert remains(project) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_of_a_trial_that_is_ended(project: Project, number: signal.Signals) -> None:
    """Here of a client that never begins."""
    with hanging(project) as process:
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
        assert process.returncode != 0
    assert project.sessions() == []
    assert remains(project) == []


def test_what_a_killed_doctor_left_goes_with_the_next(project: Project) -> None:
    mine = Path(project.env["TMPDIR"]) / "doctor-of-mine"
    mine.mkdir()
    (mine / ".lock").write_text("held")
    with hanging(project) as process:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert len(remains(project)) > 1
    (project.home / "bin/claude").unlink()
    look(project, "--client", code=1)
    assert project.sessions() == []
    assert remains(project) == [str(mine)]


def test_the_client_its_version_and_its_trust(project: Project) -> None:
    project.write("orchestrate.toml", "[stages.one]\nprompt = 'x'\n")
    project.approve()
    found = look(project, code=1)
    assert found["client"]["text"] == "'claude' not found on PATH"
    assert found["client"]["remedy"].startswith("npm install -g")
    client(project, "2.0.1")
    found = look(project, code=1)
    assert found["client"]["result"] == "wrong"
    assert found["client"]["text"].startswith("2.0.1 at ")
    assert found["client"]["text"].endswith(
        f"is too old: dodo_claude needs {versions.LOWEST_CLIENT_VERSION} or newer"
    )
    assert found["client"]["remedy"].startswith("run `claude update`")
    assert found["trust"]["result"] == "wrong"
    client(project, "99.0.0")
    assert look(project, code=1)["client"]["result"] == "note"
    client(project)
    project.home.joinpath(".claude.json").write_text(
        json.dumps(
            {
                "hasCompletedOnboarding": True,
                "projects": {str(project.root): {"hasTrustDialogAccepted": True}},
            }
        )
    )
    found = look(project, code=0)
    assert found["client"]["result"] == "ok"
    assert os.listdir(project.root) == ["orchestrate.toml"]


def test_a_repository_that_the_client_would_ask_about_and_settings_that_are_no_json(project: Project) -> None:
    project.write("orchestrate.toml", "[stages.one]\nprompt = 'x'\ncwd = 'inner'\n")
    project.write("inner/.git", "gitdir: elsewhere")
    project.approve()
    client(project)
    trusted = {str(project.root): {"hasTrustDialogAccepted": True}}
    state = project.home / ".claude.json"
    state.write_text(json.dumps({"hasCompletedOnboarding": True, "projects": trusted}))
    settings = project.home / ".claude/settings.json"
    settings.parent.mkdir()
    settings.write_text("{\n  // mine\n}")
    found = look(project, code=1)
    # A run in a terminal asks for that by itself: it is as that nobody approved what runs yet.
    assert (found["trust"]["result"], found["trust"]["text"], found["trust"]["remedy"]) == (
        "note",
        f"the client does not trust {project.root}/inner yet; doit orchestrate asks in a terminal whether you do",
        "say yes there, or doit orchestrate --trust",
    )
    assert found["client's settings"]["text"].startswith(f"{settings}:2:3: is not JSON")
    assert found["client's settings"]["remedy"] == "mend the file"
    settings.write_text("{}")
    assert look(project, code=0)["trust"]["result"] == "note"
    tried = doctor._account(("claude",), project.root / "inner", project.environ())
    assert tried.result == "note"
    assert tried.text == f"not tried with your account: claude: does not trust {project.root}/inner"
    assert tried.remedy.startswith("run `claude` there once and say yes")
    trusted[f"{project.root}/inner"] = {"hasTrustDialogAccepted": True}
    state.write_text(json.dumps({"hasCompletedOnboarding": True, "projects": trusted}))
    found = look(project, code=0)
    assert found["trust"]["text"] == f"the client trusts {project.root}, {project.root}/inner"
    assert found["client's settings"]["result"] == "ok"


def test_a_program_of_the_project_is_not_run_before_the_yes(project: Project) -> None:
    project.write(
        "orchestrate.toml",
        "[agents.mine]\nbase = 'claude'\ncommand = ['./mine']\n[stages.one]\nagent = 'mine'\nprompt = 'x'\n",
    )
    project.write("mine", "#!/bin/sh\ntouch ran\n").chmod(0o755)
    found = look(project, code=1)
    assert found["trust"]["result"] == "wrong"
    assert found["client"]["result"] == "note"
    assert not (project.root / "ran").exists()


@pytest.mark.parametrize("name", ["run.lock", "state.db"])
def test_a_file_of_the_state_folder_that_a_run_could_not_write(project: Project, name: str) -> None:
    configure(project, GOOD)
    config = load_config(project.root / "orchestrate.toml")
    file = make_state_dir(project.root) / name

    def state() -> list[tuple[str, str, str]]:
        found = doctor._project(config, project.environ())
        return [(each.result, each.text, each.remedy) for each in found if each.name == "state folder"]

    shutil.copy("/bin/sleep", file)  # nobody, not even root, may write a program that runs
    with subprocess.Popen([file, "600"]) as process:
        try:
            found = state()
        finally:
            process.kill()
    assert found == [("WRONG", f"{file}: Text file busy", "free it, or mend its mode; then run again")]
    assert state() == [("ok", f"{file.parent} can be written", "")]
    file.unlink()
    file.mkdir()
    (wrong,) = state()
    assert wrong == (
        "WRONG",
        f"{file}: is a folder where a file of ours belongs",
        "remove it; then run again",
    )
    shutil.move(file.parent, project.home / "elsewhere")
    file.parent.symlink_to("/nowhere")
    (wrong,) = state()
    assert wrong[1] == f"{file.parent}: is a symbolic link where a folder of ours belongs"


def test_no_tmux(project: Project) -> None:
    folder = project.home / "few"
    folder.mkdir()
    for program in ("sh", "env"):
        (folder / program).symlink_to(str(shutil.which(program)))
    project.env["PATH"] = str(folder)
    found = look(project, code=1)
    assert found["tmux"]["text"] == "tmux: not found on PATH; tmux 3.2 or newer is needed"
    assert "apt install tmux" in found["tmux"]["remedy"]
    assert found["hooks"]["result"] == "wrong"


def test_little_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    for free, result in ((10**7, "WRONG"), (5 * 10**8, "note"), (10**10, "ok")):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        assert {finding.result for finding in doctor._disk(None, {"HOME": "/"})} == {result}


def test_each_disk_is_told_of_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=5 * 10**9))
    (found,) = doctor._disk(None, {"HOME": str(tmp_path / "home")})
    assert found.text == f"5.0 GB free at {tmp_path} and {tmp_path}/home"
    numbers = iter((1, 2))
    monkeypatch.setattr(doctor, "_disk_of", lambda place: next(numbers))
    texts = [found.text for found in doctor._disk(None, {"HOME": str(tmp_path / "home")})]
    assert texts == [f"5.0 GB free at {tmp_path}", f"5.0 GB free at {tmp_path}/home"]


def test_hooks_that_are_silent(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    monkeypatch.setattr(doctor.trial, "orchestrate", lambda *words: (0, "report: of a folder that is gone"))
    found = doctor._hooks(project.environ())
    assert (found.result, found.remedy) == ("WRONG", "")
    assert found.text.startswith("a trial session told nothing of SessionStart, ")
