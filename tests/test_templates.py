"""Templates: what `dodo-claude init` copies runs, is skipped when nothing changed, and its checks see faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dodo_claude.commands.start import template_names, templates_dir
from tests.project import Project

STAGES = ("frontend", "backend", "tests")


@pytest.fixture
def feature(project: Project) -> Project:
    """The template parallel-feature, fresh."""
    project.begin("init", "parallel-feature", "d")
    project.root /= "d"
    return project


def attempts(project: Project) -> tuple[int, ...]:
    return tuple(project.attempts(stage) for stage in STAGES)


def workers(project: Project) -> tuple[int, ...]:
    """An attempt that only checks files again has none."""
    return tuple(len([*project.log(stage).dir.glob("*/launch.sh")]) for stage in STAGES)


def play(project: Project, check: int = 0) -> list[str]:
    return project.orchestrate("--agent", "scripted", check=check).lines


def test_every_template_is_in_order(project: Project) -> None:
    for name in template_names():
        project.begin("init", name, name)
        first = project.read(f"{name}/orchestrate.toml").splitlines()[0]
        assert first == "#:schema ./orchestrate.schema.json"
        told = project.begin("check", f"{name}/orchestrate.toml")
        assert told.said("no problems")
        assert "note:" not in told.out
        assert f"[{name}]({name}/)" in (templates_dir() / "README.md").read_text(encoding="utf-8")


@pytest.mark.tmux
def test_one_that_is_stopped_in_mid_work_goes_on(feature: Project) -> None:
    """As the README has a newcomer try it."""
    feature.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    with feature.started("--agent", "scripted") as live:
        live.until("Bash head -n 40 checks/check_api.py")  # before it has written anything
        assert live.kill(signal.SIGINT) == 130
    feature.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "0"
    lines = play(feature)
    assert "3 stages: 3 done" in lines[-2]
    assert not [line for line in lines if "sent what is missing" in line]


@pytest.mark.tmux
def test_parallel_feature_is_built_once(feature: Project) -> None:
    lines = play(feature)
    assert "3 stages: 3 done" in lines[-2]
    for target in (
        "profiles/page.py",
        "profiles/api.py",
        "docs/api-contract.md",
        "tests/test_profile_api.py",
    ):
        assert feature.read(target)
    # The contract really travels: the tests worker has the backend's text in its prompt, and uses it.
    prompt = feature.read(".orchestrate/stages/tests/1/prompt.md")
    assert feature.read("docs/api-contract.md") in prompt
    assert 'PATH = "/api/profile"' in feature.read("tests/test_profile_api.py")

    assert "3 stages: 3 up to date" in play(feature)[-1]
    for name in ("docs/profile.md", "profiles/api.py", "checks/check_api.py", "prompts/tests.md"):
        os.utime(feature.root / name)
    assert "3 stages: 3 up to date" in play(feature)[-1]
    assert attempts(feature) == (1, 1, 1)
    assert feature.sessions() == []

    # A check that can't pass: that stage and what needs it, and after the mending the same two.
    check = 'check = "python3 checks/check_api.py'
    feature.edit("orchestrate.toml", check, f"{check} && false")
    contract = feature.read("docs/api-contract.md")
    lines = play(feature, check=1)
    assert [line for line in lines if "FAILED" in line] == [
        "backend FAILED: check `python3 checks/check_api.py && false` ended with exit status 1: "
        "profiles/api.py and its contract do what docs/profile.md says"
    ]
    assert "frontend up to date" in lines
    assert "tests not run: needs backend" in lines
    # The files that were there were checked anew before a worker tried, in vain.
    assert (attempts(feature), workers(feature)) == ((1, 3, 1), (1, 2, 1))
    assert feature.read("docs/api-contract.md") == contract
    feature.edit("orchestrate.toml", " && false", "")
    # What it had made is checked again and good: nobody works, and what was made of the same bytes stands.
    assert "3 stages: 1 done, 2 up to date" in play(feature)[-2]
    assert (attempts(feature), workers(feature)) == ((1, 4, 1), (1, 2, 1))


@pytest.mark.tmux
def test_without_the_contract_in_its_prompt_the_tests_worker_has_nothing_to_go_by(feature: Project) -> None:
    feature.edit("prompts/tests.md", "{{ files['docs/api-contract.md'] }}", "")
    feature.edit(
        "orchestrate.toml",
        '    "profiles/api.py",\n',
        '    "profiles/api.py",\n    "docs/api-contract.md",\n',
    )
    lines = play(feature, check=1)
    assert any(
        line.startswith("tests FAILED: target 'tests/test_profile_api.py' was not written") for line in lines
    )


# -- the checks of parallel-feature, on good work and on work with one fault each


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """parallel-feature with all its targets in place, as its scenario writes them."""
    source = templates_dir() / "parallel-feature"
    for name, origin in {
        **{
            f"checks/{path.name}": f"checks/{path.name}"
            for path in (source / "checks").iterdir()
            if path.is_file()
        },
        "profiles/page.py": "scenario/page.py",
        "profiles/api.py": "scenario/api.py",
        "docs/api-contract.md": "scenario/api-contract.md",
        "tests/test_profile_api.py": "scenario/test_profile_api.py",
    }.items():
        text = (source / origin).read_text(encoding="utf-8")
        if name.startswith("tests/"):
            text = text.replace("{endpoint}", "/api/profile").replace("{errors}", "errors")
            text = text.replace("{allow}", "GET, PUT")
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def judged(root: Path, check: str) -> tuple[int, str]:
    """A check's exit status and all that it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", f"checks/{check}"], cwd=root, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("check", ["check_page.py", "check_api.py", "run_tests.py"])
def test_good_work_passes(made: Path, check: str) -> None:
    code, said = judged(made, check)
    assert code == 0, said


@pytest.mark.parametrize(
    ("check", "file", "old", "new", "fault"),
    [
        ("check_page.py", "profiles/page.py", 'escape(profile["name"])', 'profile["name"]', "became the tag <b>"),
        ("check_page.py", "profiles/page.py", 'quote(address, safe="@")', "address", "no mailto: link"),
        ("check_page.py", "profiles/page.py", "if block)", ")", "an empty bio makes a <p>"),
        ("check_page.py", "profiles/page.py", '<meta charset="utf-8">\n', "", 'does not say <meta charset="utf-8">'),
        ("check_api.py", "profiles/api.py", "{1,80}", "{1,90}", "not 400"),
        ("check_api.py", "profiles/api.py", 'Allow="GET, PUT"', "**{}", "not 405, Allow: GET, PUT"),
        ("check_api.py", "profiles/api.py", "urlsplit(self.path).path != PATH", "False", "not 404"),
        ("check_api.py", "profiles/api.py", "(ValueError, RecursionError)", "RecursionError", "RemoteDisconnected"),
        ("check_api.py", "profiles/api.py", "application/json", "text/plain", "text/plain"),
        ("check_api.py", "profiles/api.py", "http://127.0.0.1:{running.server_port}{PATH}", "here", "does not serve at"),
        ("check_api.py", "docs/api-contract.md", "## PUT /api/profile", "## PUT", "no heading"),
        ("check_api.py", "docs/api-contract.md", "405", "4O5", "nothing about 405"),
        ("run_tests.py", "profiles/api.py", "self.server.profile = profile\n", "pass\n", "2 failed"),
        ("run_tests.py", "tests/test_profile_api.py", "def test_", "def no_test_", "0 tests ran"),
        ("run_tests.py", "tests/test_profile_api.py", "    def test_another_path", "    @unittest.skip('x')\n    def test_another_path", "1 were skipped"),
        ("run_tests.py", "tests/test_profile_api.py", "import unittest", "import unittest, nothing_such", "failed"),
    ],
)  # fmt: skip
def test_a_fault_is_seen(made: Path, check: str, file: str, old: str, new: str, fault: str) -> None:
    path = made / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    code, said = judged(made, check)
    assert code == 1, said
    assert fault in said


BLIND = """
import json, threading, unittest
from http.client import HTTPConnection
from profiles.api import make_server
class Blind(unittest.TestCase):
    def ask(self):
        with make_server(0) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            connection = HTTPConnection("127.0.0.1", server.server_port)
            connection.request("GET", "/nowhere")
            connection.getresponse().read()
            connection.close()
            server.shutdown()
            thread.join()
    test_1 = test_2 = test_3 = test_4 = ask
"""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (BLIND, "they also pass with a server that answers 200 to everything"),
        (BLIND.replace('connection.request("GET", "/nowhere")\n            connection.getresponse().read()', "pass"), "0 HTTP requests"),
    ],
)  # fmt: skip
def test_tests_that_look_at_nothing_are_refused(made: Path, text: str, fault: str) -> None:
    (made / "tests/test_profile_api.py").write_text(text, encoding="utf-8")
    code, said = judged(made, "run_tests.py")
    assert code == 1
    assert fault in said.splitlines()[-1]
