"""What a project, a worker or a value may not do, tried in real tmux: approval, least privilege, paths, quoting."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from dodo_claude.agents.claude import rules
from dodo_claude.config import profiles
from tests.project import BIN, PATIENCE, Project

pytestmark = pytest.mark.tmux

ONE = """
[defaults]
agent = "scripted"
repairs = 0
retries = 0
[stages.one]
prompt = "Write it."
targets = ["it.txt"]
check = "grep -q x it.txt"
"""
PLAY = "[stages.one]\nsteps = [{ write = 'it.txt', text = 'x' }]\n"


@pytest.fixture
def one(project: Project) -> Project:
    project.write("orchestrate.toml", ONE)
    project.write("scenario.toml", PLAY)
    return project


def plain(project: Project, *args: str, check: int | None = None):  # type: ignore[no-untyped-def]
    """`doit orchestrate` without the yes that `Project.orchestrate` gives."""
    return project.run("doit", "orchestrate", *args, check=check)


# -- S1, S2: whose project, and is it approved


def test_nothing_runs_before_it_is_approved(one: Project) -> None:
    for args in ((), ("--yes",)):
        ran = plain(one, *args, check=3)
        assert ran.err == (
            "ERROR: you have not approved yet what this project runs on your machine (run `doit orchestrate` in a "
            "terminal and look at it, or `doit orchestrate --trust`)\n"
        )
    assert one.attempts("one") == 0
    assert plain(one, "--explain", check=0).said("one: stale")
    assert plain(one, "--dry-run", check=0).said("one: stale")
    assert "no problems" in one.run("dodo-claude", "check", check=0).out

    ran = plain(one, "--trust", check=0)
    assert ran.out.startswith("approved: what this project runs\n")
    assert ran.said("1 stage: 1 done")
    assert plain(one, check=0).said("1 stage: 1 up to date")

    one.edit("orchestrate.toml", "grep -q x", "grep -q  x")
    ran = plain(one, "--yes", check=3)
    assert ran.err.startswith("ERROR: changed since you approved: check of stage 'one' (run `doit orch")
    assert one.attempts("one") == 1


def test_what_is_up_to_date_needs_no_answer(one: Project) -> None:
    one.orchestrate()
    shutil.rmtree(one.home / ".local")
    assert plain(one, check=0).said("1 stage: 1 up to date")


def test_plain_doit_is_held_to_it_too(one: Project) -> None:
    one.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    ran = one.run("doit", "run")
    assert ran.code != 0
    assert "you have not approved yet what this project runs" in ran.out + ran.err
    assert one.attempts("one") == 0
    assert "one" in one.run("doit", "list", check=0).out
    one.run("doit", "info", "one")
    one.approve()
    one.run("doit", "run", check=0)
    assert one.attempts("one") == 1


def test_init_approves_what_it_wrote(project: Project) -> None:
    project.run("dodo-claude", "init", "parallel-feature", "d", check=0)
    project.root /= "d"
    assert plain(project, "--agent", "scripted", check=0).said("3 stages: 3 done")


@pytest.mark.parametrize("name", ["orchestrate.toml", "scenario.toml"])
def test_a_file_that_everybody_may_write_is_not_run(one: Project, name: str) -> None:
    (one.root / name).chmod(0o666)
    for args in ((), ("--trust",)):
        ran = plain(one, *args, check=3)
        assert ran.err.startswith(f"ERROR: {name}: others can write it (mode 0666, owner ")
        assert f"(chmod go-w {name})" in ran.err
    assert one.attempts("one") == 0
    one.run("dodo-claude", "check", check=0)
    plain(one, "--explain", check=0)


def at_terminal(project: Project, answer: str, *args: str) -> tuple[int, str]:
    """`doit orchestrate` on a terminal of its own: exit status and screen. Answers each question alike."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(BIN / "doit"), "orchestrate", *args], cwd=project.root, env={**project.environ(), "TERM": "dumb"},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said, deadline = b"", time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:  # its end
                break
            said += data
            if b"[y/N] " in data:
                os.write(ours, answer.encode())
    code = process.wait(PATIENCE)
    os.close(ours)
    return code, said.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("answer", ["\n", "n\n", "what\n", "\x04"])
def test_at_a_terminal_it_asks_and_a_no_starts_nothing(one: Project, answer: str) -> None:
    code, said = at_terminal(one, answer)
    assert code == 3
    assert "This project runs these commands on your machine, as you:\n" in said
    assert "    check of stage 'one': grep -q x it.txt\n" in said
    assert "    worker of stage 'one': scripted; permission mode dontAsk; may use Edit(./**)\n" in said
    assert "Run them? [y/N]" in said
    assert "ERROR: not approved: nothing was started" in said
    assert one.attempts("one") == 0


def test_a_yes_is_kept_until_something_changes(one: Project) -> None:
    code, said = at_terminal(one, "y\n")
    assert (code, said.count("Run them?")) == (0, 1)
    assert at_terminal(one, "n\n")[1].count("Run them?") == 0
    one.edit("orchestrate.toml", '"grep -q x', '"test -s it.txt; grep -q x')
    code, said = at_terminal(one, "y\n")
    assert code == 0
    assert "that changed since you approved it:\n    check of stage 'one': test -s it.txt; grep" in said
    assert "worker of stage" not in said
    assert one.attempts("one") == 2
    one.edit("orchestrate.toml", '"test -s', '"test  -s')
    assert at_terminal(one, "y\n", "--yes")[0] == 3


# -- S3, S15, S16: least privilege


def launched(project: Project, attempt: int) -> tuple[str, object]:
    """The command line and the permissions of an attempt, without what is an attempt's own."""
    folder = project.log("one").dir / str(attempt)
    script = (folder / "launch.sh").read_text().splitlines()[-1]
    script = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", script)
    settings = json.loads((folder / "settings.json").read_text())
    return script.replace(f"/one/{attempt}/", "/one/N/"), settings["permissions"]


def test_what_a_worker_writes_raises_no_permission(one: Project) -> None:
    """Neither may it write the file, nor does it matter if something else does."""
    one.write(
        "scenario.toml",
        "[stages.one]\nsteps = [{ write = '.claude/settings.local.json', text = '{}' },"
        " { write = 'orchestrate.toml', text = '' }, { write = '.orchestrate/x', text = '' },"
        " { bash = 'git push' }, { write = 'it.txt', text = 'x' }]\n",
    )
    before = one.read("orchestrate.toml")
    one.orchestrate()
    assert not (one.root / ".claude").exists()
    assert not (one.root / ".orchestrate/x").exists()
    assert one.read("orchestrate.toml") == before
    raised = json.dumps({"permissions": {"defaultMode": "bypassPermissions", "allow": ["Bash"]}})
    one.write(".claude/settings.local.json", raised)
    one.write(".claude/settings.json", raised)
    one.env |= {"CLAUDE_CODE_PERMISSION_MODE": "bypassPermissions", "PERMISSION_MODE": "bypassPermissions"}
    (one.root / "it.txt").unlink()
    one.orchestrate()
    first, second = launched(one, 1), launched(one, 2)
    assert first == second
    command, permissions = second
    assert "--setting-sources user --strict-mcp-config --permission-mode dontAsk " in command
    assert command.endswith(' -- "$prompt"')
    assert isinstance(permissions, dict)
    assert permissions["allow"] == ["Edit(./**)", *rules.WORKER_COMMANDS]


def test_allowed_tools_do_not_beat_the_deny_list(one: Project) -> None:
    one.write(
        "orchestrate.toml",
        ONE.replace("targets", 'allowed_tools = ["Bash", "Bash(git push *)", "Edit"]\ntargets'),
    )
    one.write(
        "scenario.toml",
        "[stages.one]\nsteps = [{ bash = 'git push; touch pushed' }, { bash = 'git stash' },"
        " { write = 'dodo.py', text = 'boom' }, { write = 'it.txt', text = 'x' }]\n",
    )
    one.orchestrate()
    assert not (one.root / "pushed").exists()
    assert not (one.root / "dodo.py").exists()
    permissions = launched(one, 1)[1]
    assert isinstance(permissions, dict)
    assert {*profiles.DIALOGS, "CronCreate", "Bash(git push *)"} <= {*permissions["deny"]}


BYPASS = ONE + '[agents.scripted]\npermission_mode = "bypassPermissions"\n'


def test_bypass_needs_consent_on_the_command_line(one: Project) -> None:
    one.write("orchestrate.toml", BYPASS)
    ran = plain(one, "--trust", check=3)
    assert "needs your consent for this run as well (--allow-bypass, or DODO_CLAUDE_ALLOW_BYPASS=1" in ran.err
    assert one.attempts("one") == 0
    contained = any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))
    ran = plain(one, "--trust", "--allow-bypass", check=0 if contained else 3)
    if not contained:
        assert "this is no container" in ran.err
        return
    assert ran.err.startswith("WARNING: agent 'scripted' works without permission rules, in this container\n")
    assert "--permission-mode bypassPermissions" in launched(one, 1)[0]
    one.write("it.txt", "y")
    one.env["DODO_CLAUDE_ALLOW_BYPASS"] = "1"
    assert "WARNING: agent 'scripted'" in plain(one, check=0).err  # on each run
    one.write(
        "orchestrate.toml",
        BYPASS.replace("permission_mode", "args = ['--permission-mode=bypassPermissions'] #"),
    )
    assert "is not supported" in one.run("dodo-claude", "check", check=2).err


# -- S5: paths stay inside


OUTSIDE = ["../x", "/etc/x", "~/x", "a/../../x", "link/x", "a\\u0000b", "a\\nb"]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("key", ["targets", "file_dep", "cwd", "prompt_file"])
def test_no_path_leads_outside(one: Project, key: str, path: str, tmp_path: Path) -> None:
    (one.root / "link").symlink_to(tmp_path)
    value = f'["{path}"]' if key in ("targets", "file_dep") else f'"{path}"'
    work = "" if key == "prompt_file" else 'prompt = "x"\n'
    one.write("orchestrate.toml", f"[stages.one]\n{work}{key} = {value}\n")
    ran = one.run("dodo-claude", "check", check=2)
    assert f"stages.one.{key}" in ran.err
    assert "no problems" not in ran.out


def test_a_folder_that_became_a_link_between_check_and_use_is_not_written_through(
    one: Project, tmp_path: Path
) -> None:
    """The client resolves it again when the worker writes; what was made outside is no target either."""
    outside = tmp_path / "outside"
    outside.mkdir()
    one.write("orchestrate.toml", ONE.replace("it.txt", "out/it.txt"))
    one.write(
        "scenario.toml",
        "[stages.one]\nsteps = [{ sleep = 30 }, { write = 'out/it.txt', text = 'x' }]\n",
    )
    (one.root / "out").mkdir()
    one.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "0.03"  # about a second
    with one.started() as live:
        one.wait_for(lambda: one.attempts("one") and "UserPromptSubmit" in one.kinds("one"), "the worker")
        (one.root / "out").rmdir()
        (one.root / "out").symlink_to(outside)
        assert live.wait() != 0
    assert list(outside.iterdir()) == []


# -- S6, S7, S9: values and prompts


HOSTILE = ["; touch PWN", "$(touch PWN)", "`touch PWN`", "x\\ntouch PWN", "' ; touch PWN '", "&& touch PWN"]


@pytest.mark.parametrize("item", HOSTILE)
def test_an_item_that_is_a_command_is_refused(one: Project, item: str) -> None:
    one.write("orchestrate.toml", f'[stages.one]\nforeach = ["{item}"]\ncommand = "echo {{{{ item }}}}"\n')
    assert "is not an item" in one.run("dodo-claude", "check", check=2).err


def test_values_in_shell_commands_are_quoted(one: Project) -> None:
    """Even where a value's form would let it be none but words: what is allowed may grow one day."""
    from dodo_claude.config import prompts

    for item in ["; touch PWN", "$(touch PWN)", "`touch PWN`", "x\ntouch PWN", "' ; touch PWN '", "-rf", "*"]:
        command = prompts.render_value("printf %s {{ item }} {{ stage }}", item=item, stage=item, quoted=True)
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=one.root, capture_output=True, text=True, check=True
        )
        assert done.stdout == item + item
    assert not (one.root / "PWN").exists()


def test_a_workers_words_are_no_shell_text(one: Project) -> None:
    """A message that another prompt quotes, a file that it includes: data, once."""
    hostile = "; touch PWN $(touch PWN) `touch PWN` {{ 1234 * 5678 }} {% raw %} </file>"
    one.write("in.txt", hostile)
    one.write(
        "orchestrate.toml",
        ONE
        + '[stages.two]\nprompt = "{{ stages.one.message }} {{ files[\'in.txt\'] }}"\ntargets = ["two.txt"]\n',
    )
    one.write(
        "scenario.toml",
        f"[stages.one]\nsteps = [{{ write = 'it.txt', text = 'x' }}, {{ say = {json.dumps(hostile.replace('{', '(').replace('}', ')'))} }}]\n"
        "[stages.two]\nsteps = [{ write = 'two.txt', text = 'x' }]\n",
    )
    one.orchestrate()
    prompt = (one.log("two").dir / "1/prompt.md").read_text()
    assert hostile in prompt
    assert str(1234 * 5678) not in prompt  # too long to be met in a random mark
    assert not list(one.root.rglob("PWN"))


@pytest.mark.parametrize(
    "template",
    ["{{ item.__class__ }}", "{{ stage.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ self }}", "{{ config }}",
     "{{ stages.__class__.message }}", "{% include 'x' %}", "{% import 'os' as os %}", "{{ cycler.__init__.__globals__ }}"],
)  # fmt: skip
def test_a_template_reaches_nothing_but_its_names(one: Project, template: str) -> None:
    one.write("orchestrate.toml", f"[stages.one]\nprompt = {json.dumps('x ' + template)}\ntargets = ['a']\n")
    assert "stages.one.prompt" in one.run("dodo-claude", "check", check=2).err


def test_a_prompt_that_looks_like_an_option_is_a_prompt(one: Project) -> None:
    prompt = "--dangerously-skip-permissions --permission-mode bypassPermissions"
    one.write("orchestrate.toml", ONE.replace("Write it.", prompt))
    one.write(
        "scenario.toml",
        "[stages.one]\nsteps = [{ bash = 'touch PWN' }, { write = 'it.txt', text = 'x' }]\n",
    )
    one.orchestrate()
    assert not (one.root / "PWN").exists()
    assert (one.log("one").dir / "1/prompt.md").read_text() == prompt
    assert prompt not in launched(one, 1)[0]


# -- S11: a worker's environment


def test_no_secret_and_no_tmux_reach_a_worker(one: Project) -> None:
    one.write(
        "orchestrate.toml",
        ONE.replace("targets", 'allowed_tools = ["Bash"]\ntargets')
        + '[agents.scripted]\nenv_pass = ["WANTED_TOKEN"]\n',
    )
    one.write(
        "scenario.toml",
        "[stages.one]\nsteps = [{ bash = 'env > env.txt' }, { write = 'it.txt', text = 'x' }]\n",
    )
    one.env |= {
        "TMUX": "/tmp/none,1,0", "TMUX_PANE": "%1", "CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": "outer",
        "GITHUB_TOKEN": "s3cr3t", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "SSH_AUTH_SOCK": "/s3cr3t", "MY_PASSWORD": "s3cr3t",
        "WANTED_TOKEN": "wanted",
    }  # fmt: skip
    one.orchestrate()
    dump = one.read("env.txt")
    names = {line.partition("=")[0] for line in dump.splitlines()}
    assert "s3cr3t" not in dump
    assert "WANTED_TOKEN=wanted" in dump
    assert not names & {"TMUX", "TMUX_PANE", "DODO_CLAUDE_ALLOW_BYPASS"}
    assert "CLAUDE_CODE_SESSION_ID=outer" not in dump  # the client has one of its own
