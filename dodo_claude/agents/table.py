"""Which agent each base is: the one table of them."""

from __future__ import annotations

from pathlib import Path

from dodo_claude.agents.agent import Agent
from dodo_claude.agents.claude.client import Claude
from dodo_claude.agents.claude.scripted import Scripted
from dodo_claude.agents.command import Command
from dodo_claude.config.records import AgentProfile
from dodo_claude.state import vocabulary

AGENTS: dict[str, Agent] = {"claude": Claude(), "scripted": Scripted(), "command": Command()}


def agent_of(profile: AgentProfile | None) -> Agent:
    """The agent of a stage; of one that has none, an agent that can nothing."""
    return AGENTS["command" if profile is None else profile.base]


def boxes() -> list[str]:
    """What shows that an input box is open, of whatever agent."""
    return [*dict.fromkeys(agent.box for agent in AGENTS.values() if agent.box)]


def agent_at(folder: Path) -> Agent:
    """The agent that works in the attempt's `folder` and is spoken to from elsewhere."""
    named = vocabulary.of_attempt(folder)
    return AGENTS["claude"] if named is None else AGENTS.get(named[0], AGENTS["command"])
