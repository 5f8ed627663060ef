"""A real client at a gate that the test opens."""

from __future__ import annotations

import json

from tests.project import Project

from .messages_api import Reply, tool

GATE = "touch {0}.at; while [ ! -e {0} ]; do sleep 0.05; done"


def gate(name: str) -> Reply:
    return tool("Bash", command=GATE.format(name), description="wait")


def send(client: Project, text: str) -> str:
    return str(json.loads(client.run("dodo-claude", "send", "one", text, "--json", check=0).out)["id"])
