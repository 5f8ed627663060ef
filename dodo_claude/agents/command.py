"""An agent without hooks: a program that takes a prompt and exits when it is done."""

from __future__ import annotations

import shlex

from dodo_claude.agents.agent import Agent, Can, Job, Launch
from dodo_claude.config.records import AgentProfile

# A blank before a prompt that begins with a dash (a Markdown list, say): parsers of arguments look at the first
# character only. Not every program takes the `--` that would say the same.
_NO_OPTION = "$(case $prompt in (-*) printf ' ';; esac)"


class Command(Agent):
    """It can nothing of what `Can` lists; a stage without an agent is the same in that."""

    can = Can()

    def launch(self, profile: AgentProfile, job: Job, variables: dict[str, str]) -> Launch:
        words = [*profile.command, *profile.args]
        command = shlex.join(words)
        if profile.prompt_by == "stdin":
            command += f" < {shlex.quote(str(job.folder / 'prompt.md'))}"
        elif profile.prompt_by == "file":
            command += f" {shlex.quote(str(job.folder / 'prompt.md'))}"
        elif words[-1:] == ["--"]:
            command += ' "$prompt"'
        else:
            command += f' "{_NO_OPTION}$prompt"'
        # A hold on the terminal that no program knows of: one that closes its outputs before it ends (as `cat` does)
        # would let tmux see the terminal's end, hang it up, and so kill what was about to exit well.
        return Launch(f"{command} 3>&1", variables, {})
