"""What the model answers, by stage, in the real client's sessions."""

from __future__ import annotations

from pathlib import Path

from .messages_api import Reply, Request, tool


def stages(*tables: str) -> str:
    return "[orchestrate]\nname = 'e2e'\n[defaults]\ntimeout = '60s'\nkeep = 'on-failure'\n" + "\n".join(
        tables
    )


def by_stage(**scripts: object):  # type: ignore[no-untyped-def]
    """A script for each stage: the brief in the system prompt names the stage."""

    def reply(request: Request) -> Reply:
        for name, script in scripts.items():
            if f"the stage '{name}'" in request.system:
                return script(request)  # type: ignore[operator,no-any-return]
        raise AssertionError(f"no stage in {request.system[-500:]!r}")

    return reply


def write(path: Path, content: str) -> Reply:
    return tool("Write", file_path=str(path), content=content)
