"""A run: its lock, what it looks at first, its frozen plan; and what it does not do when nothing is stale."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodo_claude.config import language
from dodo_claude.config.config import Blueprint, load_config
from dodo_claude.config.records import AgentProfile, Stage
from dodo_claude.config.schema import SCHEMA
from dodo_claude.machine.files import make_state_dir
from dodo_claude.machine.ours import NotOursError
from dodo_claude.machine.server import Server
from dodo_claude.machine.tmux import Tmux
from dodo_claude.run import approval
from dodo_claude.run import run as runs
from dodo_claude.run.run import PreflightError, Run, RunInProgressError, preflight
from dodo_claude.state.journal import StageLog
from dodo_claude.text.errors import DodoClaudeError
from tests.samples.stages import STAGE, config_of


@pytest.fixture
def root(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    folder = tmp_path / "p"
    folder.mkdir()
    return folder


PATIENCE = 30.0
SCRIPTED = AgentProfile("scripted", "scripted", scenario="scenario.toml")


@pytest.fixture
def run(root: Path) -> Iterator[Run]:
    made = Run(config_of(root, STAGE))
    yield made
    made.close()


# -- the lock

HOLDER = (
    "import sys; from pathlib import Path; from dodo_claude.config.records import Config; from dodo_claude.run.run import Run\n"
    "root = Path(sys.argv[1]); run = Run(Config(root / 'o.toml', root, 'x', 1, 'private', (), ()))\n"
    "run.take_lock(); print('held', flush=True); sys.stdin.readline()\n"
)


def test_one_run_at_a_time(run: Run, root: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    text = rf"^run in progress: pid {holder.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \(wait for it, or stop it with Ctrl-C there\)$"
    for call in (run.take_lock, lambda: run.start([]), run.services):
        with pytest.raises(RunInProgressError, match=text):
            call()
    holder.kill()  # nothing is left to be cleared away by hand
    holder.wait(PATIENCE)
    holder.stdin.close()
    holder.stdout.close()
    run.take_lock()
    run.take_lock()
    assert f"pid {os.getpid()} since" in (root / ".orchestrate/run.lock").read_text()


def test_the_lock_is_let_go(run: Run, root: Path) -> None:
    run.take_lock()
    other = Run(run.config)
    with pytest.raises(RunInProgressError):
        other.take_lock()
    run.close()
    other.take_lock()
    other.close()


def test_who_only_asks_keeps_no_run_from_starting(run: Run, root: Path) -> None:
    run.take_lock()
    run.close()
    asks = os.open(root / ".orchestrate/run.lock", os.O_RDONLY)
    fcntl.flock(asks, fcntl.LOCK_SH)
    threading.Timer(0.01, os.close, [asks]).start()
    run.take_lock()


def test_what_a_killed_run_was_writing_goes_also_when_nothing_is_to_do(run: Run, root: Path) -> None:
    folder = root / ".orchestrate" / "runs" / "20261122-183644-9578"
    folder.mkdir(parents=True)
    remains, ours = folder / ".report.json.4194305.tmp", folder / f".report.md.{os.getpid()}.tmp"
    remains.touch()
    ours.touch()
    run.take_lock()
    assert os.listdir(folder) == [ours.name], "and what somebody is writing now stays"


def test_what_a_killed_run_was_writing_of_a_stage_goes_also_when_it_is_up_to_date(
    run: Run, root: Path
) -> None:
    attempt = root / ".orchestrate/stages/a/1"
    remains = [
        attempt / ".screen.txt.4194305.tmp",
        attempt.parent / ".open.4194305.tmp",
        attempt.parent / "mail/new/.x.4194305.tmp",
    ]
    ours = attempt / f".screen.txt.{os.getpid()}.tmp"
    for path in (*remains, ours):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    run.take_lock()
    assert [path for path in (*remains, ours) if path.exists()] == [ours]


def test_what_a_killed_run_left_of_a_copy_is_swept(run: Run, root: Path) -> None:
    folder = make_state_dir(root) / "store"
    folder.mkdir()
    digest = "0" * 64
    half, ours = folder / f".{digest}-1.4194305.tmp", folder / f".{digest}-1.{os.getpid()}.tmp"
    for path in (half, ours, folder / digest):
        path.write_text("x")
    run.take_lock()
    assert sorted(path.name for path in folder.iterdir()) == sorted([ours.name, digest])


def test_a_lock_that_can_not_be_made_is_one_line(run: Run, root: Path, tmp_path: Path) -> None:
    make_state_dir(root)
    (tmp_path / "victim").write_text("mine")
    (root / ".orchestrate/run.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(NotOursError, match=r"run\.lock: is a symbolic link where a file of ours belongs"):
        run.take_lock()
    assert (tmp_path / "victim").read_text() == "mine"


# -- before any worker starts


@pytest.fixture
def environ(root: Path, tmp_path: Path) -> dict[str, str]:
    """A machine on which all is well."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/claude").write_text("#!/bin/sh\n")
    (tmp_path / "bin/claude").chmod(0o755)
    state = {"hasCompletedOnboarding": True, "projects": {str(root): {"hasTrustDialogAccepted": True}}}
    (tmp_path / ".claude.json").write_text(json.dumps(state))
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}


def look(root: Path, environ: dict[str, str], *stages: Stage) -> list[str]:
    return preflight(config_of(root, *stages), list(stages), environ)


def test_all_is_well(root: Path, environ: dict[str, str]) -> None:
    (root / "scenario.toml").write_text("")
    assert (
        look(root, environ, STAGE, replace(STAGE, agent=SCRIPTED), replace(STAGE, agent=None, command="true"))
        == []
    )
    assert os.listdir(root / ".orchestrate") == [".gitignore"]


def test_no_client(root: Path, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin/claude").chmod(0o644)
    mine = AgentProfile("mine", "command", ("my-agent", "x"))
    assert look(root, environ, STAGE, STAGE, replace(STAGE, agent=mine)) == [
        "agent 'claude': 'claude' not found on PATH (npm install -g @anthropic-ai/claude-code, or --agent scripted)",
        "agent 'mine': 'my-agent' not found on PATH (install it, or set agents.mine.command)",
    ]


def test_no_trust(root: Path, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".claude.json").write_text('{"hasCompletedOnboarding": true}')
    (problem,) = look(root, environ, STAGE)
    assert problem.startswith(f"claude: does not trust {root} ")


def test_no_scenario(root: Path, environ: dict[str, str]) -> None:
    assert look(root, environ, replace(STAGE, agent=SCRIPTED)) == [
        "agent 'scripted': scenario.toml not found beside orchestrate.toml; the scripted agent plays what that file "
        "says (write it, or use another agent)"
    ]


def test_no_tmux_is_no_matter_for_commands(
    root: Path, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (problem,) = look(root, environ, STAGE)
    assert problem.startswith("tmux: not found on PATH; tmux 3.2 or newer is needed")
    assert look(root, environ, replace(STAGE, agent=None, command="true")) == []


def test_nowhere_to_write(root: Path, environ: dict[str, str], runtime: Path) -> None:
    (runtime / "dodo-claude").symlink_to(root)
    (problem,) = look(root, environ, STAGE)
    assert problem == f"{runtime}/dodo-claude: must be a folder of yours with mode 0700 (remove it)"
    (root / ".orchestrate").rename(root / "old")
    (root / ".orchestrate").write_text("")
    with pytest.raises(NotOursError, match=r"\.orchestrate: is a file where a folder of ours belongs"):
        look(root, environ, STAGE)


def test_start_says_all_at_once_and_writes_no_plan(root: Path, tmp_path: Path) -> None:
    run = Run(config_of(root, STAGE), {"PATH": str(tmp_path / "empty"), "HOME": str(tmp_path)})
    with pytest.raises(PreflightError, match="'claude' not found"):
        run.start([STAGE])
    assert not (root / ".orchestrate/runs").exists()
    run.close()


# -- the plan

TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"'\\\r\n\t\0\x1b\x7fxuU0😀{}[]#=")
)
NASTY = [
    "\\x41", "\\u0041", "\\", "\\\\x", 'a"b', '"""', "'''", "''' \"\"\"", "\r\n", "a\r\nb\r", "\r", "\0", "\x1b[0m", "\x7f", "\x80",
    "😀", "\u2028", "\ufeff", "\\\n", "ends\\", " ", "", "true", "1979-05-27", "inf", "[x]", "# no comment", "\\x", "\x0b\x0c\x1f",
]  # fmt: skip


def reads_back(stage: Stage) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config_of(Path(folder), stage))
        path = run.write_plan()
        assert path.stat().st_mode & 0o777 == 0o600
        made = tomllib.loads(path.read_text(encoding="utf-8"))
        expected = run._plan()
        assert made["run"].keys() == expected["run"].keys()
        assert plain(made["stages"]) == expected["stages"]


def plain(value: object) -> object:
    """With what the writer can't say, which stands as hex, in clear again."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and value.startswith("hex:"):
        return bytes.fromhex(value[4:]).decode()
    return value


@pytest.mark.parametrize("text", NASTY, ids=repr)
def test_the_plan_reads_back(text: str) -> None:
    reads_back(replace(STAGE, prompt=text, check=text, file_dep=(text, "x"), targets=(text,)))


@settings(max_examples=150, deadline=None)
@given(TEXT, st.lists(TEXT, max_size=3), st.none() | TEXT)
def test_any_plan_reads_back(prompt: str, names: list[str], check: str | None) -> None:
    reads_back(replace(STAGE, prompt=prompt, file_dep=tuple(names), check=check))


@pytest.mark.parametrize("name", ["a", "a.b", "a:b", "g:x/y.z@1+2", "1", "a-b_c"])
def test_stages_of_every_name_are_in_the_plan(name: str) -> None:
    reads_back(replace(STAGE, name=name))


def test_the_plan_tells_what_runs(run: Run) -> None:
    text = run.write_plan().read_text()
    plan = tomllib.loads(text)
    assert plan["run"]["id"] == run.id
    waits = {
        "idle_timeout_seconds": 900.0,
        "person_timeout_seconds": 1800.0,
        "max_turns": 200,
        "on_permission": "ask",
    }
    assert plan["stages"]["api"] == {
        "prompt": "Write.", "file_dep": ["in"], "targets": ["a"], "after": [], "session": "w-api", "timeout_seconds": 20.0,
        "repairs": 1, "retries": 0, "keep": "on-failure", "cwd": ".", "agent": "claude", "allowed_tools": [],
        "protect": [], "env": {}, "allow_unchanged": False, **waits,
    }  # fmt: skip


def _keys(table: str) -> set[str]:
    found = json.loads(SCHEMA.read_text())["properties"][table]
    return set(found["additionalProperties"]["properties"])


def test_each_key_that_a_stage_may_have_is_in_the_plan(root: Path) -> None:
    """`foreach` and `orchestrate` make several stages, which are told one by one."""
    (root / "p.md").write_text("x")
    (root / "orchestrate.toml").write_text(
        """
        [orchestrate]
        notify = ["true"]
        [defaults]
        env = { A = "1", MY_TOKEN = "not to be told" }
        [stages.one]
        prompt_file = "p.md"
        model = "haiku"
        allow_unchanged = true
        check = "true"
        timeout = "20s"
        compact_at = "80%"
        [stages.made]
        command = "true"
        [stages.each]
        foreach = ["x"]
        prompt = "{{ item }}"
        [[stages.parts.phases]]
        prompt = "one"
        targets = ["a"]
        [[stages.parts.phases]]
        prompt = "two"
        check = "true"
        compact = "all"
        [[stages.parts.phases]]
        prompt = "three"
        handover = true
        [stages.work]
        plan = "made.toml"
        prompt = "Plan."
        [monitors.m]
        beside = "one"
        command = "date"
        match = "x"
        every = "5s"
        recovered = "well"
        """
    )
    config = Blueprint(root / "orchestrate.toml").config(set())
    told = tomllib.loads(Run(config, {}).write_plan().read_text())["stages"]
    seen = {key.removesuffix("_seconds") for stage in told.values() for key in stage}
    assert _keys("stages") - seen == {"foreach", "orchestrate"}
    one = told["one"]
    assert (one["allow_unchanged"], one["compact_at"], one["timeout_seconds"], one["model"]) == (
        True,
        80.0,
        20.0,
        "haiku",
    )
    assert one["env"] == {"A": "1", "MY_TOKEN": "[redacted]"}
    assert told["each:x"]["item"] == "x"
    assert told["parts"]["phases"] == [
        {"prompt": "one", "targets": ["a"], "handover": False},
        {"prompt": "two", "targets": [], "check": "true", "compact": "all", "handover": False},
        {"prompt": "three", "targets": [], "handover": True},
    ]
    monitor = {key.removesuffix("_seconds") for key in one["monitors"]["m"]}
    assert _keys("monitors") - monitor == {
        "beside",
        "message",
        "recovered_match",
    }  # of which only the first has a value


# -- what the stages share


@pytest.fixture
def started(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run for which all is there: what is looked at before is tested elsewhere."""
    monkeypatch.setattr(runs, "preflight", lambda *args: [])
    monkeypatch.setattr(approval, "require", lambda *args: None)
    return run


def test_services_are_made_once_and_end_with_the_run(started: Run, root: Path) -> None:
    run = started
    before = threading.active_count()
    services = run.services()
    assert run.services() is services
    assert threading.active_count() == before + 1
    event = services.waker.register("x")
    run.stop()
    assert event.is_set()
    assert services.stopping.is_set()
    run.close()
    assert threading.active_count() == before
    run.close()
    run.stop()


def test_close_leaves_no_empty_server_and_keeps_a_full_one(started: Run, root: Path) -> None:
    run = started
    run.services()
    terminal = run.terminal()
    assert isinstance(terminal, Tmux)
    assert run.terminal() is terminal
    pane = terminal.spawn("w", ["sleep", "1000"], root, "m", "it")
    run.close()
    again = run.terminal()
    assert again.server.sessions() == {"w": (pane.session, "m")}
    again.close("w", "m")
    run.close()
    done = subprocess.run(
        ["tmux", "-S", str(terminal.server.socket), "list-sessions"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1


def test_the_users_own_server_is_never_stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = runs.open_tmux(replace(config_of(root), socket="default"), {})
    monkeypatch.setattr(Server, "cmd", lambda self, name, *args: pytest.fail(f"tmux {name}"))
    terminal.server.stop_if_empty()


# -- prompts


def finish(root: Path, stage: str, message: str, result: str = "succeeded") -> None:
    StageLog(make_state_dir(root), stage).begin().finish({"result": result, "message": message})


def test_the_last_message_that_counts(run: Run, root: Path) -> None:
    assert run.message("none") == ""
    finish(root, "one", "old")
    finish(root, "one", "new")
    finish(root, "one", "bad", "failed")
    StageLog(make_state_dir(root), "one").begin()
    assert run.message("one") == "new"
    grouped = Run(replace(run.config, groups=(("g", ("g:a", "g:b")),)))
    finish(root, "g:a", "A")
    assert grouped.message("g") == "g:a:\nA\n\ng:b:\n"


def test_a_prompt_with_files_and_messages_as_data(root: Path) -> None:
    (root / "orchestrate.toml").write_text(
        """
[stages.one]
prompt = "x"
targets = ["o"]
[stages.two]
prompt = "{{ stage }}: {{ files['in'] }} {{ stages['one'].message }} {{ env['A'] }} {{ env['B'] }}"
env = { A = "stage's" }
[agents.claude]
env_pass = ["B"]
"""
    )
    (root / "in").write_bytes(b"{{ secret }}\xff")
    finish(root, "one", "did it {% raw %}")
    run = Run(load_config(root / "orchestrate.toml"), {"A": "caller's", "B": "caller's"})
    text = run.render_prompt(run.config.stages[1]).text
    for part in ("two: ", "{{ secret }}\N{REPLACEMENT CHARACTER}", "did it {% raw %}", " stage's caller's"):
        assert part in text
    (root / "in").unlink()
    with pytest.raises(
        DodoClaudeError, match=r"^in: No such file or directory \(the prompt of stage 'two' includes it\)$"
    ):
        run.render_prompt(run.config.stages[1])


def test_a_prompt_that_makes_too_much_is_told_with_its_place(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "MOST", 1000)
    (root / "p.md").write_text("\n{% for a in files['in'] %}{% endfor %}")
    (root / "in").write_text("x" * 200)
    text = "[stages.one]\nprompt_file = 'p.md'\n[stages.two]\nprompt = \"{% for a in files['in'] %}{% endfor %}\""
    (root / "orchestrate.toml").write_text(text)
    run = Run(load_config(root / "orchestrate.toml"), {})
    fact = "the template can't be rendered: {}it makes more than 1 000 characters in all"
    for stage, place in zip(
        run.config.stages,
        (
            "p.md: the prompt of stage 'one': " + fact.format("line 2: "),
            "orchestrate.toml:3: the prompt of stage 'two': " + fact.format(""),
        ),
        strict=True,
    ):
        with pytest.raises(DodoClaudeError) as caught:
            run.render_prompt(stage)
        assert str(caught.value) == place


def test_a_prompt_with_files_of_its_item_and_of_a_glob(root: Path) -> None:
    (root / "orchestrate.toml").write_text(
        '[stages.map]\nforeach = ["in/a.txt", "in/b.txt"]\nprompt = "{{ files[item] }}"\ntargets = ["{{ item|stem }}.md"]\n'
        "[stages.all]\nprompt = \"{% for path, text in files.glob('*.md') %}{{ path }}: {{ text }} {% endfor %}\"\n"
    )
    (root / "in").mkdir()
    for name in ("in/a.txt", "in/b.txt", "a.md", "b.md"):
        (root / name).write_text(f"text of {name}")
    run = Run(load_config(root / "orchestrate.toml"), {})
    first, second, every = (run.render_prompt(stage).text for stage in run.config.stages)
    assert "text of in/a.txt" in first
    assert "text of in/b.txt" not in first
    assert "text of in/b.txt" in second
    for name in ("a.md", "b.md"):
        assert f'{name}: <file path="{name}"' in every
        assert f"text of {name}\n</file" in every


def test_a_prompt_with_the_report_of_the_stages_before(root: Path) -> None:
    (root / "orchestrate.toml").write_text(
        """
[orchestrate]
name = "p"
[stages.one]
prompt = "x"
targets = ["o"]
[stages.two]
prompt = "Sum up {{ report }}"
file_dep = ["o"]
[stages.three]
prompt = "x"
"""
    )
    finish(root, "one", "I said </report> and {{ stage }} and sk-abcdefghijklmnopqrstu")
    finish(root, "three", "not this")
    run = Run(load_config(root / "orchestrate.toml"), {})
    text = run.render_prompt(run.config.stages[1]).text
    found = re.fullmatch(r'Sum up <report of="p" mark="(\w+)">\n(.*)\n</report mark="\1">', text, re.S)
    assert found is not None
    assert "I said </report> and {{ stage }} and [redacted]" in found[2]
    assert "## one" in found[2]
    assert "not this" not in text
    assert "three" not in text


def test_the_plan_says_when_it_began_and_which_stages_it_is_of(root: Path) -> None:
    run = Run(config_of(root, STAGE, replace(STAGE, name="doc", targets=("d",))), {})
    run.chosen = frozenset({"doc"})
    before = time.time()
    plan = tomllib.loads(run.write_plan().read_text())["run"]
    began = datetime.fromisoformat(plan["started"]).timestamp()
    assert before - 0.001 <= began <= time.time()
    assert plan["chosen"] == ["doc"]


LATE = (
    '[stages.gen]\ncommand = "x"\ntargets = ["list"]\n'
    '[agents.claude]\nsetting_sources = ["project"]\n'
    '[stages.map]\nforeach = { lines = "list" }\nprompt = "{{ item }}"\ncwd = "in/{{ item }}"\ntargets = ["out/{{ item }}"]\n'
)


def test_what_comes_later_is_looked_at_before_the_start(root: Path, environ: dict[str, str]) -> None:
    (root / "orchestrate.toml").write_text(LATE)
    run = Run(Blueprint(root / "orchestrate.toml").config(set()), {**environ, "PATH": "/nowhere"})
    with pytest.raises(PreflightError, match="agent 'claude': 'claude' not found on PATH"):
        run.start([run.config.stages[0]])
    run.close()


def test_a_run_learns_of_stages(root: Path, environ: dict[str, str]) -> None:
    (root / "orchestrate.toml").write_text(LATE)
    blueprint = Blueprint(root / "orchestrate.toml")
    run = Run(blueprint.config(set()), environ)
    approval.approve(run.config, environ)
    run.start([run.config.stages[0]])
    targets = run.services().targets
    assert set(targets) == {"list"}
    (root / "list").write_text("a\n")
    run.learn(blueprint.config({"map"}))
    assert [stage.name for stage in run.learned] == ["map:a"]
    assert set(targets) == {"list", "out/a"}
    (plan,) = (root / ".orchestrate/runs").glob("*/plan.toml")
    assert set(tomllib.loads(plan.read_text())["stages"]) == {"gen", "map:a"}
    # Settings that lie in an item's folder were not approved, since nobody knew of that folder.
    (root / "in/a/.claude").mkdir(parents=True)
    (root / "in/a/.claude/settings.json").write_text("{}")
    with pytest.raises(
        approval.ApprovalError, match=r"changed since you approved: file 'in/a/\.claude/settings\.json'"
    ):
        run.learn(blueprint.config({"map"}))
    run.close()


# -- nothing to do costs nothing


def test_doits_face_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys, dodo_claude.plugin.loader, dodo_claude.plugin.commands, dodo_claude.plugin.reporter, dodo_claude.plugin.backend\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    loaded = set(done.stdout.split())
    assert "doit" in loaded
    assert not loaded & {
        "libtmux",
        "jinja2",
        "jsonschema",
        "toml",
        "click",
        "asyncio",
        "multiprocessing",
    } - _doits(tmp_path)


def _doits(tmp_path: Path) -> set[str]:
    """What doit itself brings along."""
    script = "import sys, doit.cmd_run, doit.cmd_base, doit.runner; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    return set(done.stdout.split())


def test_a_prompt_quotes_files_up_to_a_limit_in_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "MOST", 1000)
    for number in range(3):
        (root / f"{number}.txt").write_text("x" * 400)
    text = "[stages.one]\nprompt = \"{% for path, text in files.glob('*.txt') %}{{ path }}{% endfor %}\""
    (root / "orchestrate.toml").write_text(text)
    run = Run(load_config(root / "orchestrate.toml"), {})
    match = r"^orchestrate\.toml:1: the prompt of stage 'one': its 3 files have more than 1 000 characters in all: quote fewer$"
    with pytest.raises(DodoClaudeError, match=match):
        run.render_prompt(run.config.stages[0])
