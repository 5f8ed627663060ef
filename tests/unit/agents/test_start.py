"""What a worker gets of its environment, and the script that becomes it; run for real by /bin/sh."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodo_claude.agents import start
from dodo_claude.agents.start import env_script, launch, launch_script, reading_order, worker_env
from dodo_claude.config.records import AgentProfile
from dodo_claude.machine.files import write_atomic
from tests.samples.jobs import CLAUDE, COMMAND, FIXED, JOB, SCRIPTED

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
        assert name in (*start._ENV_ALL, "CLAUDE_CONFIG_DIR") or re.match(
            r"LC_|ANTHROPIC_|CLAUDE_CODE_USE_", name
        )


def test_a_stage_can_not_forge_what_the_worker_is_known_by() -> None:
    made = launch(CLAUDE, JOB, {}, {"DODO_CLAUDE_NONCE": "forged", "TERM": "dumb", "PATH": "/mine"})
    assert made.env["DODO_CLAUDE_NONCE"] == JOB.nonce
    assert made.env["PATH"] == "/mine"


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


def test_a_prompt_that_is_read_names_what_its_author_attaches() -> None:
    path = Path("/p/prompt.md")
    assert reading_order(path) == "Read the file /p/prompt.md and do what it says."
    assert reading_order(path, ("@a.md", '@"b c"')).endswith(' says. It mentions @a.md @"b c" too.')
