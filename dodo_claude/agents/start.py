"""How an agent is started in its pane: its environment, and the script that becomes the worker."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dodo_claude.agents.agent import Job, Launch
from dodo_claude.agents.table import agent_of
from dodo_claude.config.records import AgentProfile
from dodo_claude.state import vocabulary

# Variables that pass from the caller to a worker. Everything else stays out: an enclosing client's
# CLAUDECODE and session tokens, TMUX, and whatever secrets a shell holds. `env_pass` adds names.
_ENV_ALL = (
    "HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR",
    "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "VIRTUAL_ENV",
)  # fmt: skip
_ENV_PREFIXES = ("LC_",)


def launch(profile: AgentProfile, job: Job, environ: Mapping[str, str], env: Mapping[str, str]) -> Launch:
    """How to start `profile` for `job`; `env` are the stage's own variables."""
    variables = {
        "LANG": "C.UTF-8",
        **worker_env(profile, environ),
        "TERM": "screen-256color",  # both tmux's and the client's terminfo have it
        **env,
        "DODO_CLAUDE_STAGE": job.stage,
        "DODO_CLAUDE_ATTEMPT": str(job.attempt),
        "DODO_CLAUDE_NONCE": job.nonce,
        "DODO_CLAUDE_ROOT": str(job.root),
    }
    agent = agent_of(profile)
    made = agent.launch(profile, job, variables)
    if agent.vocabulary is None:
        return made
    return replace(
        made, files={**made.files, vocabulary.FILE: vocabulary.as_json(profile.base, agent.vocabulary)}
    )


def worker_env(profile: AgentProfile, environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables that a worker gets."""
    agent, names = agent_of(profile), {*_ENV_ALL, *profile.env_pass}
    passed = {
        name: value
        for name, value in environ.items()
        if name in names or name.startswith(_ENV_PREFIXES) or agent.passes(name)
    }
    # `dodo-claude` is to be found, also where its environment was not activated.
    programs, path = os.path.dirname(sys.executable), passed.get("PATH")
    if path and programs not in path.split(os.pathsep):
        passed["PATH"] = f"{path}{os.pathsep}{programs}"
    return passed


def reading_order(path: Path, mentions: Sequence[str] = ()) -> str:
    """What a worker is told whose prompt is the file `path`; with it the client attaches what the prompt's author mentions."""
    attached = f" It mentions {' '.join(mentions)} too." if mentions else ""
    return f"Read the file {path} and do what it says.{attached}"


def launch_script(job: Job, command: str, env_file: Path) -> str:
    """The pane's process: a script that becomes the worker. Nothing is typed into a shell.

    Its environment comes from `env_file`, which it removes: no secret stays in an argument list, in
    tmux's environment or in the attempt's folder.
    """
    quote = shlex.quote
    prompt_file = quote(str(job.folder / "prompt.md"))
    if job.by_file:
        prompt = f"prompt={quote(reading_order(job.folder / 'prompt.md', job.mentions))}"
    else:  # the x keeps the last newlines, which the shell would cut
        prompt = f"prompt=$(cat {prompt_file}; printf x)\nprompt=${{prompt%x}}"
    return f"""#!/bin/sh
# {job.stage.replace(chr(10), " ")}, attempt {job.attempt}: made by dodo_claude, run in the worker's pane.
. {quote(str(env_file))} && rm -f {quote(str(env_file))}
cd {quote(str(job.cwd))} || exit 126
{prompt}
exec {command}
"""


def env_script(env: Mapping[str, str]) -> str:
    """Lines of shell that set exactly `env`, but for names that no shell can hold."""
    return "".join(
        f"export {name}={shlex.quote(value)}\n"
        for name, value in sorted(env.items())
        if name.isascii() and name.isidentifier()
    )
