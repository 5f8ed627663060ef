"""What no worker may do, whatever it is allowed, and what it may always do: as the rules for permissions that the client reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dodo_claude.agents.agent import Job
from dodo_claude.agents.claude.tools import KNOWN_TOOLS, NEVER
from dodo_claude.config.records import AgentProfile

# What every worker may run, so that it can speak: see the brief.
WORKER_COMMANDS = tuple(f"Bash(dodo-claude {verb} *)" for verb in ("progress", "note", "send", "ask"))
# What no worker may do, whatever `allowed_tools` says: in the client deny beats allow, bypassPermissions
# and a hook's "allow". Each was tried on the client (tests/e2e/test_security.py). A rule reads the text of
# a command, so it is a guard rail against mistakes and no wall. With `sandbox` those on files hold for
# programs too: the client mounts them away.
_NEVER_COMMANDS = (
    "git push *", "git -C * push", "git -C * push *", "git -c * push", "git -c * push *",
    "git stash *", "git reset --hard *", "git clean *",
    "sudo *", "su *", "doas *",
    "dodo-claude allow *", "dodo-claude deny *",
    "rm -rf /*", "rm -rf ~*", "rm -rf ..*", "rm -fr /*", "rm -fr ~*", "rm -fr ..*",
    "rm -r -f /*", "rm -r -f ~*", "rm -r -f ..*",
    # The client judges each part of a pipe by itself: of one into a shell this part is a shell that reads its input.
    "sh", "bash", "zsh", "sh -s *", "bash -s *", "zsh -s *",
)  # fmt: skip
# A path with ./ is meant at any depth, as in a .gitignore. No `.env.*`: an .env.example is there to be read.
_NEVER_READ = (
    "./.env", "./.env.local", "./.env.*.local", "./.env.development", "./.env.production", "./.env.staging",
    "~/.ssh/**", "~/.aws/**", "~/.azure/**", "~/.config/gcloud/**", "~/.config/gh/**", "~/.gnupg/**", "~/.kube/**",
    "~/.docker/config.json", "~/.git-credentials", "~/.netrc", "~/.npmrc", "~/.pypirc",
    # Not the whole folder: the client lets a model read its own long outputs from it.
    "~/.claude/.credentials.json", "~/.claude.json",
)  # fmt: skip
# What decides what runs here, now or next time.
_NEVER_EDIT = (".claude/**", ".mcp.json", "orchestrate.toml", "dodo.py", "doit.cfg", ".orchestrate/**")


def never(profile: AgentProfile, job: Job, config_dir: str | None = None) -> list[str]:
    """The deny rules that every worker has."""
    # In the sandbox a rule for all of .git would keep git itself from committing.
    git = (".git/hooks/**", ".git/config") if profile.sandbox else (".git/**",)
    files = (*git, *_NEVER_EDIT)
    rules = [
        name for name, offer in KNOWN_TOOLS.items() if offer == NEVER and name not in profile.disallowed_tools
    ]
    rules += [f"Bash({command})" for command in _NEVER_COMMANDS]
    rules += [f"Read({path})" for path in _NEVER_READ]
    # Its memory is there, which it may write to without any rule, also where it is switched off.
    rules.append("Edit(~/.claude/**)")
    if config_dir:
        rules.append(f"Edit({absolute(Path(config_dir))}/**)")
    rules += [f"Edit(./{name})" for name in files]
    if job.cwd != job.root:
        # ./ speaks of the worker's own folder.
        rules += [f"Edit({absolute(job.root)}/{name})" for name in files]
    rules += [f"Edit({absolute(job.root)}/{name})" for name in job.orders]
    # What the sandbox is to mount away must be there: it would be made, to be mounted on.
    others = [name for name in job.others if not profile.sandbox or (job.root / name).is_file()]
    rules += [f"Edit({absolute(path)})" for path in _by_all_names(job.root, others)]
    for name in job.outside:
        path = Path(os.path.normpath(job.root / name.removesuffix("/*")))
        rules.append(f"Edit({absolute(path)}{'/**' if name.endswith('/*') else ''})")
    return rules


def _by_all_names(root: Path, names: Iterable[str]) -> Iterator[str]:
    """Files of the project as they are called, and as they are called without links."""
    real: dict[str, tuple[str, str]] = {}  # of a folder both its paths
    for name in names:
        folder, _, last = name.rpartition("/")
        if folder not in real:
            path = str(root / folder)
            real[folder] = path, os.path.realpath(path)
        for path in dict.fromkeys(real[folder]):
            yield f"{path}/{last}"


def absolute(path: Path | str) -> str:
    """`path` as a rule names exactly it: '//' begins an absolute path, what a glob would act on is escaped."""
    return "/" + re.sub(r"([\\*?\[\]])", r"\\\1", str(path))
