"""The scripted agent as an agent: the client's hooks, screens and arguments, with another program, which plays a file."""

from __future__ import annotations

from dodo_claude.agents.agent import Can, Job, Launch
from dodo_claude.agents.claude.client import Client
from dodo_claude.config.records import AgentProfile
from dodo_claude.machine import importing


class Scripted(Client):
    """It needs no account, and nothing in the user's home."""

    can = Can(hooks=True, resume=True, compact=True, limits=True, scenario=True)

    def passes(self, name: str) -> bool:
        return name == "DODO_CLAUDE_SCRIPTED_SPEED"  # a factor on its sleeps

    def launch(self, profile: AgentProfile, job: Job, variables: dict[str, str]) -> Launch:
        own = {
            # Its sessions are kept like the client's, but not among the client's.
            "CLAUDE_CONFIG_DIR": str(job.root / ".orchestrate" / "scripted"),
            "DODO_CLAUDE_SCENARIO": str(job.root / (profile.scenario or "scenario.toml")),
        }
        # Its scenario, like its file, knows the stage by the name without the files around it.
        if profile.prefix:
            own["DODO_CLAUDE_SCENARIO_STAGE"] = job.stage.removeprefix(profile.prefix)
        command = list(profile.command) or importing.python("dodo_claude.agents.scripted", deaf=True)
        return self.start(profile, job, variables | own, command)
