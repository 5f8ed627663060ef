"""How each agent is started: its exact command line, settings and environment; run for real by /bin/sh."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodo_claude.agents import agents
from dodo_claude.agents.agents import Job, env_script, goes_by_file, launch, launch_script, worker_env
from dodo_claude.config import profiles
from dodo_claude.config.records import AgentProfile
from dodo_claude.machine.files import write_atomic
from tests.samples.jobs import JOB, NONCE

SCREENS = Path(__file__).parents[2] / "data/screens"

# Every hook event of the client. Another name in a settings file makes it drop the whole file.
KNOWN_EVENTS = frozenset(["PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "Notification", "UserPromptSubmit", "UserPromptExpansion", "SessionStart", "SessionEnd", "Stop", "StopFailure", "SubagentStart", "SubagentStop", "PreCompact", "PostCompact", "PreModelSwitch", "PostModelSwitch", "PermissionRequest", "PermissionDenied", "Setup", "TeammateIdle", "TaskCreated", "TaskCompleted", "Elicitation", "ElicitationResult", "ConfigChange", "WorktreeCreate", "WorktreeRemove", "InstructionsLoaded", "CwdChanged", "FileChanged", "DirectoryAdded", "MessageDisplay"])  # fmt: skip

CLAUDE = AgentProfile(
    "claude",
    "claude",
    ("claude",),
    allowed_tools=("Edit(./**)", "Bash(pytest *)"),
    disallowed_tools=profiles.DIALOGS,
)
SCRIPTED = replace(CLAUDE, name="scripted", base="scripted", command=(), scenario="play.toml")
COMMAND = AgentProfile("mine", "command", ("my-agent", "--now"), args=("it's",))
ARGUMENTS = (
    "--session-id 11111111-2222-3333-4444-555555555555 --settings /p/.orchestrate/stages/api/3/settings.json "
    "--setting-sources user --strict-mcp-config --permission-mode dontAsk "
    "--tools Agent,Bash,Edit,NotebookEdit,Read,ReportFindings,Skill,TaskCreate,TaskGet,TaskList,TaskStop,TaskUpdate,TodoWrite,"
    "ToolSearch,WebFetch,WebSearch,Write,ListMcpResourcesTool,ReadMcpResourceDirTool,ReadMcpResourceTool,RefreshMcpTools "
    "--name api "
    "--append-system-prompt-file /p/.orchestrate/stages/api/3/brief.md "
    "--debug-file /p/.orchestrate/stages/api/3/client/errors.log"
)
OFF = "--disallowedTools EnterPlanMode ExitPlanMode AskUserQuestion"
FIXED = {
    "TERM": "screen-256color",
    "DODO_CLAUDE_STAGE": "api",
    "DODO_CLAUDE_ATTEMPT": "3",
    "DODO_CLAUDE_NONCE": NONCE,
    "DODO_CLAUDE_ROOT": "/p",
}
CAP = {"CLAUDE_CODE_STOP_HOOK_BLOCK_CAP": "1000"}


def test_there_are_33_known_events() -> None:
    assert len(KNOWN_EVENTS) == 33
    assert set(agents.HOOKS) <= KNOWN_EVENTS
    assert len(set(agents.HOOKS)) == len(agents.HOOKS)


# -- snapshots


def test_claude() -> None:
    made = launch(CLAUDE, JOB, {"PATH": "/bin"}, {"MINE": "1"})
    assert made.command == f'claude {ARGUMENTS} {OFF} -- "$prompt"'
    assert made.interactive
    assert made.env == {
        "LANG": "C.UTF-8", "PATH": f"/bin:{os.path.dirname(sys.executable)}", "MINE": "1", **FIXED, **CAP,
        "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN": "1",
        "CLAUDE_CODE_ENABLE_TODO_TOOLS": "1",
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
        "CLAUDE_CODE_DEBUG_LOG_LEVEL": "error",
    }  # fmt: skip
    assert set(made.files) == {"brief.md", "settings.json", "denial.json"}


def test_claude_with_everything() -> None:
    profile = replace(
        CLAUDE, command=("/opt/my claude",), model="opus", permission_mode="acceptEdits", disallowed_tools=(),
        setting_sources=("user", "project"), args=("--verbose", "a b"),
    )  # fmt: skip
    arguments = ARGUMENTS.replace("sources user", "sources user,project").replace("dontAsk", "acceptEdits")
    assert launch(profile, JOB, {}, {}).command == (
        f"'/opt/my claude' {arguments} --model opus --verbose 'a b' -- \"$prompt\""
    )


def test_scripted() -> None:
    made = launch(SCRIPTED, JOB, {"CLAUDE_CONFIG_DIR": "/real", "ANTHROPIC_API_KEY": "k"}, {})
    assert (
        made.command
        == f'{shlex.quote(sys.executable)} -E -P -m dodo_claude.agents.scripted {ARGUMENTS} {OFF} -- "$prompt"'
    )
    assert made.env == {
        "LANG": "C.UTF-8", **FIXED, **CAP,
        "CLAUDE_CONFIG_DIR": "/p/.orchestrate/scripted", "DODO_CLAUDE_SCENARIO": "/p/play.toml",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("prompt_by", "end"),
    [("argument", """ "$(case $prompt in (-*) printf ' ';; esac)$prompt\""""), ("stdin", " < /p/.orchestrate/stages/api/3/prompt.md"),
     ("file", " /p/.orchestrate/stages/api/3/prompt.md")],
)  # fmt: skip
def test_a_command(prompt_by: str, end: str) -> None:
    made = launch(replace(COMMAND, prompt_by=prompt_by), JOB, {}, {})
    assert made.command == "my-agent --now 'it'\"'\"'s'" + end + " 3>&1"
    assert not made.interactive
    assert made.files == {}


@pytest.mark.parametrize(
    ("words", "prompt", "given"),
    [
        ((), "- one\n- two\n", " - one\n- two\n"),
        ((), "--help me", " --help me"),
        ((), "one - two", "one - two"),
        (("--",), "- one", "- one"),
    ],
)
def test_a_prompt_is_no_option_of_a_command(
    tmp_path: Path, words: tuple[str, ...], prompt: str, given: str
) -> None:
    """Its program gets the prompt as its last argument, with a blank before a leading dash unless `--` stands there."""
    show = (
        sys.executable,
        "-c",
        "import sys; open('got', 'w').write(repr(sys.argv[-1]))",
    )
    profile = replace(COMMAND, command=show, args=words, prompt_by="argument")
    job = replace(JOB, folder=tmp_path, cwd=tmp_path)
    (tmp_path / "prompt.md").write_text(prompt)
    (tmp_path / "env").write_text("")
    script = launch_script(job, launch(profile, job, {}, {}).command, tmp_path / "env")
    subprocess.run(["sh", "-c", script], check=True)
    assert (tmp_path / "got").read_text() == repr(given)


def settings_of(profile: AgentProfile, job: Job) -> dict[str, object]:
    return dict(json.loads(launch(profile, job, {}, {}).files["settings.json"]))


def test_settings() -> None:
    hook = {"type": "command", "command": "/bin/sh /h/hook.sh '/a spool'", "timeout": 60}

    def answering(kind: str, what: str) -> dict[str, object]:
        return {**hook, "command": f"{hook['command']} {kind} {what}"}

    made = settings_of(CLAUDE, JOB)
    assert made.pop("statusLine")["type"] == "command"
    assert made == {
        "disableAllHooks": False,
        "prefersReducedMotion": True,
        "hooks": {
            **{name: [{"hooks": [hook]}] for name in agents.HOOKS},
            **{
                name: [{"hooks": [answering("mail", f"/p/.orchestrate/stages/api/mail {name}")]}]
                for name in ("PostToolBatch", "Stop")
            },
            "PermissionRequest": [
                {"hooks": [{**answering("permit", "/p/.orchestrate/stages/api/3/permits"), "timeout": 1860}]}
            ],
            "WorktreeCreate": [{"hooks": [{**hook, "command": agents.NO_WORKTREE}]}],
            "SessionStart": [
                {"matcher": "startup|resume|clear", "hooks": [hook]},
                {
                    "matcher": "compact",
                    "hooks": [answering("answer", "/p/.orchestrate/stages/api/3/reminder.json")],
                },
            ],
        },
        "permissions": {
            "allow": ["Edit(./**)", "Bash(pytest *)", *agents.WORKER_COMMANDS],
            "deny": [*profiles.DIALOGS, *agents.never(CLAUDE, JOB)],
        },
    }


def test_a_hook_waits_for_a_permission_as_long_as_its_dialog_may() -> None:
    made = launch(CLAUDE, replace(JOB, patience=604_800.0), {}, {}).files["settings.json"]
    (entry,) = json.loads(made)["hooks"]["PermissionRequest"]
    assert entry["hooks"][0]["timeout"] == 604_860


def test_what_would_be_asked_can_be_refused() -> None:
    hooks = settings_of(CLAUDE, replace(JOB, deny_dialogs=True))["hooks"]
    answered = {name: entry[0]["hooks"][0]["command"] for name, entry in hooks.items()}
    assert answered["PermissionRequest"].endswith("spool' answer /p/.orchestrate/stages/api/3/denial.json")
    assert answered["Notification"].endswith("spool'")


def test_the_status_line_keeps_what_the_client_tells(tmp_path: Path) -> None:
    command = settings_of(CLAUDE, replace(JOB, folder=tmp_path))["statusLine"]["command"]
    done = subprocess.run(
        ["/bin/sh", "-c", command], input='{"cost": 1}', capture_output=True, text=True, check=True
    )
    assert done.stdout == "dodo_claude: api, attempt 3\n"
    assert (tmp_path / "status.json").read_text() == '{"cost": 1}'
    assert (tmp_path / "status.json").stat().st_mode & 0o777 == 0o600


def test_a_session_is_resumed() -> None:
    made = launch(CLAUDE, replace(JOB, resume=True), {}, {})
    assert f"--resume {JOB.session_id} " in made.command
    assert "--session-id" not in made.command


def test_settings_of_a_worker_in_a_folder_of_its_own() -> None:
    job = replace(JOB, cwd=Path("/p/sub"), by_file=True)
    permissions = settings_of(CLAUDE, job)["permissions"]
    assert permissions == {
        "allow": [
            "Edit(./**)", "Bash(pytest *)", *agents.WORKER_COMMANDS, "Read(//p/.orchestrate/stages/api/3/prompt.md)", "Read(//p/**)",
            "Edit(//p/api/profile.py)",
        ],
        "deny": [*profiles.DIALOGS, *agents.never(CLAUDE, job)],
    }  # fmt: skip


NEVER_DONE = [
    "OfferChromeSetup", "ShowOnboardingRolePicker",
    "CronCreate", "CronDelete", "CronList", "EnterWorktree", "ExitWorktree", "ScheduleWakeup",
    "Bash(git push *)", "Bash(git -C * push)", "Bash(git -C * push *)", "Bash(git -c * push)", "Bash(git -c * push *)",
    "Bash(git stash *)", "Bash(git reset --hard *)", "Bash(git clean *)", "Bash(sudo *)", "Bash(su *)", "Bash(doas *)",
    "Bash(dodo-claude allow *)", "Bash(dodo-claude deny *)",
    "Bash(rm -rf /*)", "Bash(rm -rf ~*)", "Bash(rm -rf ..*)", "Bash(rm -fr /*)", "Bash(rm -fr ~*)", "Bash(rm -fr ..*)",
    "Bash(rm -r -f /*)", "Bash(rm -r -f ~*)", "Bash(rm -r -f ..*)",
    "Bash(sh)", "Bash(bash)", "Bash(zsh)", "Bash(sh -s *)", "Bash(bash -s *)", "Bash(zsh -s *)",
    "Read(./.env)", "Read(./.env.local)", "Read(./.env.*.local)", "Read(./.env.development)", "Read(./.env.production)",
    "Read(./.env.staging)", "Read(~/.ssh/**)", "Read(~/.aws/**)", "Read(~/.azure/**)", "Read(~/.config/gcloud/**)",
    "Read(~/.config/gh/**)", "Read(~/.gnupg/**)", "Read(~/.kube/**)", "Read(~/.docker/config.json)",
    "Read(~/.git-credentials)", "Read(~/.netrc)", "Read(~/.npmrc)", "Read(~/.pypirc)",
    "Read(~/.claude/.credentials.json)", "Read(~/.claude.json)",
    "Edit(~/.claude/**)", "Edit(./.git/**)", "Edit(./.claude/**)", "Edit(./.mcp.json)", "Edit(./orchestrate.toml)", "Edit(./dodo.py)",
    "Edit(./doit.cfg)", "Edit(./.orchestrate/**)",
]  # fmt: skip


def test_what_no_worker_may_do() -> None:
    for profile in (CLAUDE, SCRIPTED, replace(CLAUDE, permission_mode="bypassPermissions")):
        assert agents.never(profile, JOB) == NEVER_DONE
    elsewhere = launch(CLAUDE, JOB, {"CLAUDE_CONFIG_DIR": "/c [d]"}, {}).files["settings.json"]
    assert "Edit(//c \\[d\\]/**)" in json.loads(elsewhere)["permissions"]["deny"]
    below = agents.never(CLAUDE, replace(JOB, root=Path("/a [b]*"), cwd=Path("/a [b]*/sub")))
    assert below[: len(NEVER_DONE)] == NEVER_DONE
    assert below[len(NEVER_DONE) :][3:5] == [
        r"Edit(//a \[b\]\*/orchestrate.toml)",
        r"Edit(//a \[b\]\*/dodo.py)",
    ]
    around = replace(
        JOB, root=Path("/top/a"), outside=("../.git/hooks/*", "../.git/config", "/etc/[x]/hooks/*")
    )
    assert agents.never(CLAUDE, around)[len(NEVER_DONE) :] == [
        *agents.never(CLAUDE, replace(around, outside=()))[len(NEVER_DONE) :],
        "Edit(//top/.git/hooks/**)",
        "Edit(//top/.git/config)",
        r"Edit(//etc/\[x\]/hooks/**)",
    ]


def test_every_tool_that_is_known_is_given_or_not() -> None:
    assert {*agents.KNOWN_TOOLS.values()} == {agents.GIVEN, agents.NAMED, agents.NEVER}
    offered = agents.tools(CLAUDE)
    assert {"Read", "Write", "Bash", "Agent"} <= {*offered}
    assert not {"Monitor", "SendMessage", "CronCreate", "EnterWorktree", *profiles.DIALOGS} & {*offered}


def test_a_tool_that_is_off_is_offered_where_it_is_named_unless_it_is_never() -> None:
    named = (
        "Monitor",
        "Workflow(x)",
        "EnterWorktree",
        "NewTool",
        "mcp__db__query",
        "Bash(make *)",
        "Bash(git log *)",
    )
    offered = agents.tools(replace(CLAUDE, allowed_tools=named, disallowed_tools=("WebFetch", "Read(./x)")))
    assert offered[-3:] == ["Monitor", "Workflow", "NewTool"]
    assert "WebFetch" not in offered
    assert "Read" in offered
    assert offered.count("Bash") == 1


@pytest.mark.parametrize(
    ("stage", "name"),
    [("api", "api"), ("recipe:recipes/raw/bread.txt", "…e:recipes/raw/bread.txt"), ("a\x1b\nb", "a\\x1b\\nb"), ("日" * 20, f"…{'日' * 11}")],
)  # fmt: skip
def test_a_sessions_name_is_short(stage: str, name: str) -> None:
    assert agents.session_name(stage) == name


def test_settings_of_a_sandboxed_worker() -> None:
    made = settings_of(replace(CLAUDE, sandbox=True), JOB)
    assert made["sandbox"] == {
        "enabled": True, "failIfUnavailable": True, "allowUnsandboxedCommands": False, "autoAllowBashIfSandboxed": False,
    }  # fmt: skip
    rules = agents.never(replace(CLAUDE, sandbox=True), JOB)
    assert [rule for rule in rules if ".git/" in rule] == ["Edit(./.git/hooks/**)", "Edit(./.git/config)"]
    assert "sandbox" not in settings_of(CLAUDE, JOB)


def test_a_worker_without_questions_starts_without_one() -> None:
    profile = replace(CLAUDE, permission_mode="bypassPermissions")
    assert settings_of(profile, JOB)["skipDangerousModePermissionPrompt"] is True
    made = launch(profile, JOB, {}, {"IS_SANDBOX": "0"})
    assert "--permission-mode bypassPermissions " in made.command
    assert made.env["IS_SANDBOX"] == "1"
    assert "IS_SANDBOX" not in launch(CLAUDE, JOB, {"IS_SANDBOX": "1"}, {}).env


def test_brief_names_targets_as_the_worker_sees_them(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/CLAUDE.md").write_text("notes")
    job = replace(JOB, root=tmp_path, cwd=tmp_path / "sub", targets=("api/a.py", "sub/b.py"))
    text = agents.brief(job)
    assert "\n- ../api/a.py\n- b.py\n" in text
    assert f"run in {tmp_path / 'sub'} " in text
    assert "\n    make test\n" in text
    assert "CLAUDE.md" in text
    bare = agents.brief(replace(job, targets=(), check=None, cwd=tmp_path))
    assert "exist" not in bare
    assert "CLAUDE.md" not in bare
    assert job.nonce not in text + settings_of_text(job)


def settings_of_text(job: Job) -> str:
    return launch(CLAUDE, job, {}, {}).files["settings.json"]


# -- what else the client may ask at a turn's end


def test_the_settings_that_a_worker_reads_besides_ours() -> None:
    def files(*sources: str, **environ: str) -> list[str]:
        found = agents.settings_files(replace(CLAUDE, setting_sources=sources), Path("/p/sub"), environ)
        return [str(path) for path in found if not str(path).startswith("/etc")]

    assert files("user", HOME="/h") == ["/h/.claude/settings.json"]
    assert files("user", HOME="/h", CLAUDE_CONFIG_DIR="/c") == ["/c/settings.json"]
    assert files("project", "local") == [f"/p/sub/.claude/settings{kind}.json" for kind in ("", ".local")]
    assert files() == []


STOPS = {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "true"}]}]}}
QUIET = {"hooks": {"PreToolUse": [{"hooks": []}], "Stop": []}, "enabledPlugins": {}}


@pytest.mark.parametrize(
    ("profile", "tables", "may"),
    [
        (CLAUDE, [None, QUIET, [], {}, {"hooks": []}], False),
        (CLAUDE, [QUIET, STOPS], True),
        (CLAUDE, [{"enabledPlugins": {"a@b": True}}], True),
        (replace(CLAUDE, args=("--plugin-dir", "x")), [], True),
        (replace(CLAUDE, command=("claude", "--settings=x.json")), [], True),
        (replace(CLAUDE, allowed_tools=("Skill(tidy)",)), [], True),
    ],
)
def test_whether_anothers_hook_may_send_a_worker_on(
    profile: AgentProfile, tables: list[object], may: bool
) -> None:
    assert agents.may_hold(profile, tables) is may


@pytest.mark.parametrize(
    ("session", "since"),
    [
        ({"sessionId": "s", "status": "idle", "statusUpdatedAt": 1500}, 1.5),
        ({"sessionId": "s", "status": "busy", "statusUpdatedAt": 1500}, 0.0),
        ({"sessionId": "t", "status": "idle", "statusUpdatedAt": 1500}, 0.0),
        ({"sessionId": "s", "status": "idle", "statusUpdatedAt": "1500"}, 0.0),
        ({"sessionId": "s", "status": "idle"}, 0.0),
        ([], 0.0),
        (None, 0.0),
    ],
)
def test_since_when_the_registry_calls_a_session_idle(session: object, since: float) -> None:
    assert agents.idle_since(session, "s") == since


# -- the environment

NEVER = [
    "CLAUDECODE",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_PID",
    "CLAUDE_PROJECT_DIR",
    "CLAUDE_CODE_SSE_PORT",
    "TMUX",
    "TMUX_PANE",
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "OPENAI_API_KEY",
    "DATABASE_URL",
    "SSH_AUTH_SOCK",
    "MY_SECRET",
    "LD_PRELOAD",
    "NODE_OPTIONS",
    "PYTHONPATH",
    "BASH_ENV",
    "ENV",
    "PROMPT_COMMAND",
    "DODO_CLAUDE_NONCE",
    "anthropic_api_key",
    "XANTHROPIC_A",
]
EVERY = [
    "HOME",
    "PATH",
    "USER",
    "SHELL",
    "LANG",
    "TZ",
    "LC_ALL",
    "LC_CTYPE",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
]
CLIENTS = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_MODEL",
    "CLAUDE_CONFIG_DIR",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
]
SPEED = ["DODO_CLAUDE_SCRIPTED_SPEED"]


@pytest.mark.parametrize(
    ("profile", "passing"), [(CLAUDE, EVERY + CLIENTS), (SCRIPTED, EVERY + SPEED), (COMMAND, EVERY)], ids=lambda p: getattr(p, "name", "")
)  # fmt: skip
def test_what_passes_to_a_worker(profile: AgentProfile, passing: list[str]) -> None:
    environ = dict.fromkeys(NEVER + EVERY + CLIENTS + SPEED, "x")
    assert set(worker_env(profile, environ)) == set(passing)
    more = worker_env(replace(profile, env_pass=("MY_SECRET",)), environ)
    assert set(more) == {*passing, "MY_SECRET"}


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,12}", fullmatch=True), st.text(max_size=3)))
def test_a_strangers_variable_never_passes(environ: dict[str, str]) -> None:
    for name in worker_env(CLAUDE, environ):
        assert name in agents._ENV_ALL + agents._ENV_CLAUDE or re.match(
            r"LC_|ANTHROPIC_|CLAUDE_CODE_USE_", name
        )


def test_a_stage_can_not_forge_what_the_worker_is_known_by() -> None:
    made = launch(CLAUDE, JOB, {}, {"DODO_CLAUDE_NONCE": "forged", "TERM": "dumb", "PATH": "/mine"})
    assert made.env["DODO_CLAUDE_NONCE"] == JOB.nonce
    assert made.env["PATH"] == "/mine"


# -- the launch script, run by /bin/sh

# A client that writes down what it was given, and what others can see of it.
CLIENT = """\
import json, os, sys
from pathlib import Path
here = Path(sys.argv[1])
(here / "argv").write_bytes(b"\\0".join(map(os.fsencode, sys.argv[3:])))
(here / "env").write_text(json.dumps({name: value.encode(errors="surrogateescape").hex() for name, value in os.environ.items()}))
(here / "cmdline").write_bytes(Path("/proc/self/cmdline").read_bytes() if os.path.exists("/proc/self") else b"")
(here / "cwd").write_text(os.getcwd())
"""


class Started:
    def __init__(self, here: Path, prompt: bytes, env: dict[str, str], *, by_file: bool = False) -> None:
        """Write what `worker` would write, run the script as tmux would."""
        self.folder = here / 'attempt \'$(x)`y` "z"'
        self.folder.mkdir(exist_ok=True)
        self.seen = here / "seen"
        self.seen.mkdir(exist_ok=True)
        client = here / "client.py"
        client.write_text(CLIENT)
        self.env_file = here / "env $(file)"
        job = replace(JOB, folder=self.folder, cwd=here, root=here, by_file=by_file)
        (self.folder / "prompt.md").write_bytes(prompt)
        profile = replace(
            COMMAND, command=(sys.executable, "-S", "-E", str(client), str(self.seen)), args=("--",)
        )
        made = launch(profile, job, {}, env)
        write_atomic(self.env_file, env_script(made.env))
        write_atomic(self.folder / "launch.sh", launch_script(job, made.command, self.env_file))
        self.done = subprocess.run(
            ["env", "-i", "/bin/sh", str(self.folder / "launch.sh")],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def prompt(self) -> bytes:
        assert (self.done.returncode, self.done.stderr) == (0, "")
        return (self.seen / "argv").read_bytes()

    @property
    def env(self) -> dict[str, bytes]:
        return {
            name: bytes.fromhex(value) for name, value in json.loads((self.seen / "env").read_text()).items()
        }


PROMPTS = [
    b"", b"plain", b"it's \"quoted\"", b"$(touch PWN) `touch PWN` ${HOME} $HOME \\$x", b"-x", b"--dangerously-skip-permissions",
    b"/clear", b"ends;", b"ends\\", b"\\;", b"a\r\nb\r\n", b"end\n\n\n", b"\n\n", b" ", b"\x1b[201~\rrm\x1b]0;t\x07", b"\x9b\xff\xfe",
    "😀 é \u2028 日本".encode(), b"%s %n \\n \\0 \\c", b"* ? [a] ~ !", b"#(touch PWN) #{pid}", b"x" * 90_000, b"EOF\nx\n",
]  # fmt: skip


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: repr(prompt[:20]))
def test_a_prompt_arrives_byte_for_byte(tmp_path: Path, prompt: bytes) -> None:
    assert Started(tmp_path, prompt, {}).prompt == prompt
    assert not [path for path in tmp_path.rglob("*") if path.name == "PWN"]


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=300).map(lambda data: data.replace(b"\0", b"")),
    st.text(st.characters(exclude_characters="\0", codec="utf-8")),
)
def test_any_prompt_and_any_value_arrive(prompt: bytes, value: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started = Started(Path(folder), prompt, {"VALUE": value})
        assert started.prompt == prompt
        assert started.env["VALUE"] == value.encode()


def test_a_prompt_that_goes_by_file(tmp_path: Path) -> None:
    started = Started(tmp_path, b"x" * 150_000, {}, by_file=True)
    assert started.prompt == f"Read the file {started.folder}/prompt.md and do what it says.".encode()


@pytest.mark.parametrize(
    ("prompt", "by_file"),
    [("x" * agents.MAX_ARGUMENT, False), ("x" * (agents.MAX_ARGUMENT + 1), True), ("é" * 50_001, True), ("/clear", True),
     ("  /compact now", True), ("/my-plugin:cmd x", True), ("/usr/bin is a folder", False), ("a /clear", False), ("/ x", False),
     ("", False)],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_goes_by_file(prompt: str, by_file: bool) -> None:
    assert goes_by_file(prompt) is by_file


def test_deliverable() -> None:
    assert agents.deliverable("a\r\nb\rc\td\x00\x1b[201~\x7f\x9be\n") == "a\nb\nc\td[201~e\n"


def test_secrets_are_nowhere_but_in_the_workers_environment(tmp_path: Path) -> None:
    secret = "s3cr3t-$(x)'\"\n`y`"
    started = Started(tmp_path, b"do it", {"ANTHROPIC_API_KEY": secret, "BYTES": os.fsdecode(b"\xe9")})
    assert started.prompt == b"do it"
    assert started.env["ANTHROPIC_API_KEY"] == secret.encode()
    assert started.env["BYTES"] == b"\xe9"
    assert not started.env_file.exists()
    assert b"s3cr3t" not in (started.seen / "cmdline").read_bytes()
    for path in started.folder.iterdir():
        assert b"s3cr3t" not in path.read_bytes()
        assert JOB.nonce.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0 or path.name == "prompt.md"


def test_the_worker_gets_exactly_its_environment(tmp_path: Path) -> None:
    started = Started(
        tmp_path, b"x", {"A": "1", "no good": "2", "B.C": "3", "é": "4", "": "5", "D;touch PWN": "6"}
    )
    assert started.prompt == b"x"
    assert set(started.env) - {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"} == {"A", "LANG", *FIXED}
    assert (started.seen / "cwd").read_text() == str(tmp_path)


def test_a_folder_that_is_gone_starts_nothing_in_the_wrong_place(tmp_path: Path) -> None:
    job = replace(JOB, folder=tmp_path, cwd=tmp_path / "missing", root=tmp_path)
    script = tmp_path / "launch.sh"
    (tmp_path / "prompt.md").write_text("x")
    (tmp_path / "env").write_text("export A=1\n")
    script.write_text(launch_script(job, f"touch {tmp_path}/ran", tmp_path / "env"))
    done = subprocess.run(["/bin/sh", str(script)], capture_output=True, check=False)
    assert done.returncode == 126
    assert not (tmp_path / "ran").exists()


def test_a_stages_name_in_the_script_is_no_command(tmp_path: Path) -> None:
    job = replace(JOB, stage="x\ntouch PWN\n", folder=tmp_path, cwd=tmp_path, root=tmp_path)
    (tmp_path / "prompt.md").write_text("x")
    (tmp_path / "env").write_text("")
    (tmp_path / "launch.sh").write_text(launch_script(job, "true", tmp_path / "env"))
    subprocess.run(["/bin/sh", str(tmp_path / "launch.sh")], check=True, cwd=tmp_path)
    assert not (tmp_path / "PWN").exists()


# -- the client's input box

RULE = "─" * 80
EMPTY = "\x1b[39m❯\xa0\x1b[7m \x1b[0m"
# As tmux gives the rows of clients 2.1.330 and 2.1.332: blanks at their ends are what was there before, or nothing.
RULED = "\x1b[38;5;244m" + RULE
AFTER = f"\x1b[0m\x1b[38;5;244m\x1b[49m{RULE}"
FOOT = "\x1b[39m  \x1b[38;5;246m⏸ manual mode on · ? for shortcuts\x1b[39m"
SEARCH = "\x1b[39m  \x1b[38;5;246msearch prompts:\x1b[39m "


def box(*rows: str, rule: str = RULED, foot: str = FOOT) -> str:
    return "\n".join(("● Done.", "", RULED, *rows, rule, foot))


BOXES = {
    "an empty box": (f"text\n{RULE}\n{EMPTY}\n{RULE}\n? for shortcuts", "free"),
    "a dim hint": (f"{RULE}\n❯\xa0\x1b[7mT\x1b[0;2mry this\x1b[0m\n{RULE}", "free"),
    "a draft": (f"{RULE}\n❯\xa0half a word\x1b[7m \x1b[0m\n{RULE}", "draft"),
    "a draft of two lines": (f"{RULE}\n{EMPTY}\n  more\n{RULE}", "draft"),
    "a menu": (f"Do you want to proceed?\n❯ 1. Yes\n  2. No\n{RULE}", "absent"),
    "history looks alike": (f"❯ old prompt\n{RULE}\n{EMPTY}\n{RULE}", "free"),
    "with the focus": (box("\x1b[39m❯\xa0\x1b[7m ", rule=AFTER), "free"),
    "with the focus, busy": (box("\x1b[38;5;246m❯\xa0\x1b[7m\x1b[39m ", rule=AFTER), "free"),
    "with the focus, blanks": (box("\x1b[39m❯\xa0   \x1b[7m \x1b[0m\x1b[39m\x1b[49m     "), "draft"),
    "with the focus, a hint": (
        box(
            "\x1b[38;5;246m❯\xa0\x1b[7m\x1b[39mP\x1b[0;2m\x1b[39m\x1b[49mress up to edit\x1b[0m\x1b[39m\x1b[49m    "
        ),
        "free",
    ),
    "with the focus, the cursor at a draft's start": (
        box("\x1b[39m❯\xa0\x1b[7ma\x1b[0m\x1b[39m\x1b[49mbc   "),
        "draft",
    ),
    "with the focus, a draft of one letter": (
        box("\x1b[39m❯\xa0\x1b[7ma\x1b[0m\x1b[39m\x1b[49m   "),
        "draft",
    ),
    "with the focus, a second line": (
        box("\x1b[39m❯\xa0      ", "  \x1b[7m \x1b[0m\x1b[39m\x1b[49m   "),
        "draft",
    ),
    "with the focus, a hint behind a draft": (
        box("\x1b[39m❯\xa0/com\x1b[7mp\x1b[0;2m\x1b[39m\x1b[49mact\x1b[0m\x1b[39m\x1b[49m"),
        "draft",
    ),
    "without the focus": (box("\x1b[39m❯\xa0 "), "free"),
    "without the focus, nothing behind the sign": (box("\x1b[38;5;246m❯\xa0\x1b[39m"), "free"),
    "without the focus, busy": (box("\x1b[38;5;246m❯\xa0\x1b[39m "), "free"),
    "without the focus, what was cleared": (box("\x1b[39m❯\xa0" + " " * 60), "free"),
    "without the focus, a hint": (
        box("\x1b[38;5;246m❯\xa0\x1b[2m\x1b[39mPress up to edit queued messages\x1b[0m\x1b[39m\x1b[49m    "),
        "free",
    ),
    "without the focus, a hint of two rows": (
        box("\x1b[39m❯\xa0\x1b[2mPress up to", "  edit queued\x1b[0m\x1b[39m\x1b[49m    "),
        "free",
    ),
    "without the focus, a draft": (box("\x1b[39m❯\xa0human draft "), "draft"),
    "without the focus, a draft in colour": (
        box("\x1b[39m❯\xa0\x1b[38;2;2;7;2m/compact\x1b[39m it "),
        "draft",
    ),
    "without the focus, a hint behind a draft": (box("\x1b[39m❯\xa0/com\x1b[2mpact\x1b[0m "), "draft"),
    "without the focus, a long draft": (
        box("\x1b[39m❯\xa0human draft", "  human draft ", "  human "),
        "draft",
    ),
    "without the focus, a second line": (box("\x1b[39m❯\xa0      ", "  two      "), "draft"),
    "without the focus, a second line that is empty": (box("\x1b[39m❯\xa0      ", "", foot=FOOT), "draft"),
    "without the focus, a long paste": (box("\x1b[39m❯\xa0[Pasted text #1 +6 lines]   "), "draft"),
    "a search that is typed": (
        box(
            "\x1b[39m❯\xa0      ",
            foot=f"{SEARCH}\x1b[7m\x1b[38;5;246m \x1b[0m\x1b[39m\x1b[49m ⏸ manual mode on",
        ),
        "draft",
    ),
    "a search without the focus": (
        box("\x1b[39m❯\xa0      ", foot=f"{SEARCH}\x1b[38;5;246m \x1b[39m ⏸"),
        "draft",
    ),
    "something chosen in the foot": (
        box("\x1b[39m❯\xa0 ", foot="\x1b[39m  \x1b[7m1 shell\x1b[0m · esc"),
        "draft",
    ),
    "a session's name in the rule": (
        f"\x1b[38;5;244m──────\x1b[39m \x1b[38;5;244ma long name of a stage\x1b[39m ─\n\x1b[39m❯\xa0 \n{RULED}\n{FOOT}",
        "free",
    ),
    "a prompt of the history": (
        f"\x1b[38;5;244m───\x1b[39m \x1b[2mHistory 3/3\x1b[0m\x1b[39m\x1b[49m ───\n\x1b[39m❯\xa0and so on \n{RULED}\n{FOOT}",
        "draft",
    ),
    "a shell's command": (box("!\xa0\x1b[39mls          "), "absent"),
    "colours of the rows above": (
        f"\x1b[2mdim\n\x1b[7m{box(chr(0x1B) + '[0m❯' + chr(0xA0) + 'draft')}",
        "draft",
    ),
    "nothing": ("", "absent"),
}


@pytest.mark.parametrize("what", BOXES)
def test_input_box(what: str) -> None:
    screen, state = BOXES[what]
    assert agents.input_box(screen) == state


# -- dialogs before it begins

HOME_SETTINGS = "/home/you/home/.claude/settings.json"
START_DIALOGS = {
    "settings-broken": ("settings", f"{HOME_SETTINGS}: Invalid or malformed JSON (line 1, column 12)"),
    "settings-hook": ("settings", f'{HOME_SETTINGS}: hooks.NoSuch: Unknown hook event "NoSuch" was ignored.'),
    "settings-perm": ("settings", f"{HOME_SETTINGS}: permissions: Expected object, but received number"),
    "settings-mode": (
        "settings",
        f"{HOME_SETTINGS}: permissions.defaultMode: Invalid value. Expected one of: "
        '"acceptEdits", "auto", "bypassPermissions", "default", "dontAsk", "plan"',
    ),
    "settings-ours": (
        "version",
        '/home/you/project/bad.json: hooks.NoSuch: Unknown hook event "NoSuch" was ignored.; '
        "permissions: Expected object, but received number",
    ),
    "trust": ("trust", "it asks whether to trust /home/you/project"),
}


@pytest.mark.parametrize("name", START_DIALOGS)
def test_a_dialog_before_it_begins_is_known_by_its_text(name: str) -> None:
    screen = (SCREENS / f"{name}.txt").read_text(encoding="utf-8")
    assert agents.start_dialog(screen, Path("/home/you/project")) == START_DIALOGS[name]
    assert agents.start_dialog(screen.replace("Enter to confirm", ""), Path("/x")) is None  # drawn in part


def test_other_screens_are_none_of_them() -> None:
    for path in SCREENS.glob("*.txt"):
        if path.stem not in START_DIALOGS:
            assert agents.start_dialog(path.read_text(encoding="utf-8"), Path("/x")) is None
    assert agents.start_dialog("  Settings Error\n\n  Enter to confirm", Path("/x")) == ("settings", "")


def test_a_long_fault_is_cut() -> None:
    fault = "x " * 300
    screen = f"  Settings Error\n\n  /a/settings.json\n  └ {fault}\n\n  Enter to confirm"
    found = agents.start_dialog(screen, Path("/x"))
    assert found is not None
    assert len(found[1]) == agents.TOLD


# -- targets of other stages


def test_targets_of_other_stages_are_closed() -> None:
    job = replace(JOB, root=Path("/p"), cwd=Path("/p"), others=("b.txt", "out/[1].txt"))
    rules = json.loads(agents.settings(CLAUDE, job))["permissions"]["deny"]
    assert {"Edit(//p/b.txt)", "Edit(//p/out/\\[1\\].txt)"} <= set(rules)


def test_a_closed_target_below_a_link_is_closed_by_both_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    rules = agents.never(CLAUDE, replace(JOB, root=tmp_path, cwd=tmp_path, others=("link/x",)))
    assert {f"Edit(/{tmp_path}/link/x)", f"Edit(/{tmp_path}/real/x)"} <= set(rules)


def test_the_sandbox_mounts_away_only_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    job = replace(JOB, root=tmp_path, cwd=tmp_path, others=("there", "not-there"))
    rules = agents.never(replace(CLAUDE, sandbox=True), job)
    assert f"Edit(/{tmp_path}/there)" in rules
    assert f"Edit(/{tmp_path}/not-there)" not in rules


def test_its_own_targets_are_open_and_of_very_many_others_the_nearest_are_closed() -> None:
    assert agents.closed(["a", "b", "c"], ["b"]) == ("a", "c")
    many = [f"out/{number:05}.txt" for number in range(3000)]
    found = agents.closed(many, ["out/01500.txt"])
    assert len(found) == agents.MOST_CLOSED - 1
    assert found[0] == "out/01250.txt"
    assert "out/01500.txt" not in found
    for own in (["aaa"], ["zzz"], [], [f"out/{number:05}x" for number in range(1000)], ["out/00000.txt"]):
        assert 0 < len(agents.closed(many, own)) <= agents.MOST_CLOSED
    assert agents.closed((), ()) == ()


def test_what_the_clients_tools_wrote_is_known_by_what_it_says_of_the_call() -> None:
    def call(tool: str, said: object, **given: object) -> dict[str, object]:
        return {"tool_name": tool, "tool_input": given, "tool_response": said}

    batch = {
        "cwd": "/p/sub",
        "tool_calls": [
            call(
                "Write",
                "File created successfully at: /p/a.txt (file state is current)",
                file_path="/p/a.txt",
            ),
            call("Write", "The file /p/b.txt has been updated successfully.", file_path="/p/b.txt"),
            call("Edit", "The file /p/c.txt has been updated.", file_path="c.txt"),
            call("Write", "<tool_use_error>File is in a directory that is denied", file_path="/p/d.txt"),
            call("Write", "File created successfully at: /tmp/x", file_path="/tmp/x"),
            call("Bash", "The file has been updated", command="true"),
            call("Write", {"odd": 1}, file_path="/p/e.txt"),
            "odd",
        ],
    }
    assert agents.written(batch, Path("/p")) == ["a.txt", "b.txt", "sub/c.txt"]
    assert agents.written({}, Path("/p")) == []


# -- what the client takes up in a prompt


@pytest.mark.parametrize(
    ("data", "acts"),
    [
        ("see @note.txt", True), ("@note.txt", True), ("a\n@note.txt, b", True), ("a\u3000@note.txt", True), ("a\ufeff@note.txt", True),
        ("see @./x", True), ("@/etc/hosts", True), ("@~/x", True), ("@NOTE.TXT:3", True), ("@sub/none", True), ('@"a b.txt"', True),
        ("@agent-x", True), ("@srv:thing", True), ("try ultracode", True), ("Ultrathink!", True),
        ("a@note.txt", False), ("`@note.txt`", False), ("(@note.txt)", False), ("'@note.txt'", False), ("x <me@note.txt>", False),
        ("@property\ndef a():", False), ("    @app.get('/x')", False), ("@ note.txt", False), ("@", False), ("ultracodes", False), ("", False),
    ],
)  # fmt: skip
def test_what_the_client_would_take_up(tmp_path: Path, data: str, acts: bool) -> None:
    for name in ("note.txt", "a b.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "sub").mkdir()
    assert agents.acts_on(data, tmp_path) is acts
    if acts:
        assert agents.acts_on(data)


def test_where_the_session_is_may_be_unknown() -> None:
    assert agents.acts_on("@property\n")
    assert not agents.acts_on("me@here.org")


def test_a_prompt_that_is_read_names_what_its_author_attaches() -> None:
    path = Path("/p/prompt.md")
    assert agents.reading_order(path) == "Read the file /p/prompt.md and do what it says."
    assert agents.reading_order(path, ("@a.md", '@"b c"')).endswith(' says. It mentions @a.md @"b c" too.')


# -- what the client says of what it could not do


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            '2026-11-29T19:12:52.892Z [ERROR] API error (attempt 1/11): 401 401 {"type":"error","error":'
            '{"type":"authentication_error","message":"invalid x-api-key"}}',
            agents.NoAnswer(1795979572.892, "401 invalid x-api-key", "attempt 1 of 11"),
        ),
        (
            "2026-11-29T19:12:50.725Z [ERROR] API error (attempt 2/11): undefined Connection error.",
            agents.NoAnswer(1795979570.725, "Connection error.", "attempt 2 of 11"),
        ),
        (
            '2026-11-29T19:12:50Z [ERROR] API error (attempt 1/11): 500 500 {"error": "odd\x1b[2J"}',
            agents.NoAnswer(1795979570.0, '500 500 {"error": "odd\\x1b[2J"}', "attempt 1 of 11"),
        ),
        # It does not ask again: its hook tells.
        ('2026-11-29T19:12:50Z [ERROR] API error (attempt 1/11): 400 400 {"type":"error"}', None),
        ("2026-11-29T19:12:50Z [ERROR] unmount terminal cleanup failed: EIO", None),
        ("soon [ERROR] API error (attempt 1/11): 401 no", None),
        ("", None),
    ],
)
def test_what_the_clients_log_says_of_a_request_without_an_answer(
    line: str, found: agents.NoAnswer | None
) -> None:
    assert agents.no_answer(line.encode()) == found


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ("Permission to use Bash with command make has been denied.", "by a deny rule"),
        (
            "<tool_use_error>File is in a directory that is denied by your permission settings.</tool_use_error>",
            "by a deny rule",
        ),
        (
            "Permission to use Bash has been denied because Claude Code is running in don't ask mode. IMPORTANT: …",
            "no rule allows it",
        ),
        ("PreToolUse:Bash hook error: my own\nrule", "a hook says: my own\\nrule"),
        ("File created successfully at: /p/a", None),
        ([{"type": "text", "text": "Permission to use Bash with command make has been denied."}], None),
        (None, None),
    ],
)
def test_what_the_client_refused(response: object, why: str | None) -> None:
    call = {
        "tool_name": "Bash",
        "tool_input": {"command": "make"},
        "tool_use_id": "t1",
        "tool_response": response,
    }
    expected = [] if why is None else [("Bash make", why, "t1")]
    assert list(agents.denied({"tool_calls": [call, "odd"]})) == expected
    assert list(agents.denied({"tool_calls": "odd"})) == []
