"""The client as an agent: its command line, environment and files, and where to find what else is known of it."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from dodo_claude.agents import faults, usage
from dodo_claude.agents.agent import CLIENT_LOG, Agent, Can, Job, Launch, NoAnswer
from dodo_claude.agents.brief import brief
from dodo_claude.agents.claude import dialogs, elsewhere, errors_log, hooks, prompts, screens, tools
from dodo_claude.agents.claude.modes import BYPASS, BYPASS_ENV
from dodo_claude.agents.claude.settings import settings
from dodo_claude.config.records import AgentProfile
from dodo_claude.text.cells import cells
from dodo_claude.text.clean import one_line

# The client draws the name into the rule above its input box, by which `input_box` knows the box: a long one takes
# the rule's place.
MAX_NAME = 24  # columns


class Client(Agent):
    """What the client and the scripted agent, which behaves like it, have in common."""

    box = screens.BOX

    def start(self, profile: AgentProfile, job: Job, variables: dict[str, str], command: list[str]) -> Launch:
        """How `command` is started with the client's arguments."""
        # A turn's end answered with messages 9 times without a tool between would be the end all the same.
        variables = {**variables, "CLAUDE_CODE_STOP_HOOK_BLOCK_CAP": "1000"}
        if profile.permission_mode == BYPASS:
            variables |= BYPASS_ENV
        arguments = _arguments(profile, job)
        return Launch(
            command=f'{shlex.join([*command, *arguments, "--"])} "$prompt"',
            env=variables,
            files={
                "brief.md": brief(job),
                "settings.json": settings(profile, job, variables.get("CLAUDE_CONFIG_DIR")),
                "denial.json": hooks.verdict(hooks.DENIAL),
            },
        )

    def start_dialog(self, screen: str, attempt: Path) -> tuple[str, str] | None:
        return dialogs.start_dialog(screen, attempt)

    def may_hold(self, profile: AgentProfile, cwd: Path, env: Mapping[str, str]) -> bool:
        return elsewhere.may_hold(profile, map(_json, elsewhere.settings_files(profile, cwd, env)))

    def deliverable(self, prompt: str) -> str:
        return prompts.deliverable(prompt)

    def goes_by_file(self, prompt: str) -> bool:
        return prompts.goes_by_file(prompt)

    def acts_on(self, data: str, folder: Path | None = None) -> bool:
        return prompts.acts_on(data, folder)

    def reminder(self, text: str) -> str:
        return hooks.reminder(text)

    def input_box(self, screen: str) -> str:
        return screens.input_box(screen)

    def fault(self, error: str, text: str) -> str:
        return faults.kind_of(error, text)

    def no_answer(self, line: bytes) -> NoAnswer | None:
        return errors_log.no_answer(line)

    def idle_since(self, env: Mapping[str, str], pid: int, session_id: str | None) -> float:
        return elsewhere.idle_since(_json(elsewhere.session_file(env, pid)), session_id)

    def cost(self, status: Mapping[str, object]) -> float | None:
        return usage.cost_of(status)

    def context(self, status: Mapping[str, object]) -> float | None:
        return usage.context_used(status)

    def aims_at(self, call: Mapping[str, object]) -> str | None:
        return tools.aims_at(call)

    def may_start(self, tool: object) -> bool:
        return tool not in tools.WRITING_TOOLS and tool not in tools.HARMLESS_TOOLS

    def written(self, batch: Mapping[str, object], root: Path) -> list[str]:
        return hooks.written(batch, root)

    def denied(self, batch: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
        return hooks.denied(batch)

    def rule_of(self, source: str) -> str:
        return hooks.RULE_OF.get(source, "")

    def verdict(self, message: str | None) -> str:
        return hooks.verdict(message)

    def is_personal(self, tool: str) -> bool:
        return tool in tools.PERSONAL_TOOLS


class Claude(Client):
    """Claude Code itself."""

    can = Can(hooks=True, resume=True, compact=True, limits=True, setup=True, large=True)

    def passes(self, name: str) -> bool:
        return name == "CLAUDE_CONFIG_DIR" or name.startswith(("ANTHROPIC_", "CLAUDE_CODE_USE_"))

    def launch(self, profile: AgentProfile, job: Job, variables: dict[str, str]) -> Launch:
        own = {
            # A client that replaces its own binary in mid-run is another client.
            "DISABLE_AUTOUPDATER": "1",
            # The other screen has no scrollback and is wiped at exit: people want to read it.
            "CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN": "1",
            # Its list of tasks, off by default, tells how far it is.
            "CLAUDE_CODE_ENABLE_TODO_TOOLS": "1",
            # A memory outside of the project that each later worker is told of: in no digest. Writing there is denied, too.
            "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
            # Of its log the errors only.
            "CLAUDE_CODE_DEBUG_LOG_LEVEL": "error",
        }
        return self.start(profile, job, variables | own, list(profile.command))


def _json(path: Path) -> object:
    """What a file of the client's holds; None when it can't be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return json.loads(path.read_bytes())
    return None


def _arguments(profile: AgentProfile, job: Job) -> list[str]:
    arguments = [
        "--resume" if job.resume else "--session-id", job.session_id,
        "--settings", str(job.folder / "settings.json"),
        "--setting-sources", ",".join(profile.setting_sources),
        # A stranger's .mcp.json neither runs nor opens a dialog.
        "--strict-mcp-config",
        "--permission-mode", profile.permission_mode,
        "--tools", ",".join(tools.tools(profile)),
        # Without a name the client asks for one, by a request that holds the whole prompt once more.
        "--name", session_name(job.stage),
        "--append-system-prompt-file", str(job.folder / "brief.md"),
        # No hook tells that the API refuses the client, which asks again by itself for minutes; its log does.
        "--debug-file", str(job.folder / CLIENT_LOG),
    ]  # fmt: skip
    if profile.model is not None:
        arguments += ["--model", profile.model]
    if profile.disallowed_tools:
        # The settings' deny list refuses these tools, this option takes them out of the model's sight.
        arguments += ["--disallowedTools", *profile.disallowed_tools]
    return [*arguments, *profile.args]


def session_name(stage: str) -> str:
    """What the client calls a worker's session: in its list of sessions to resume, and in the terminal's title."""
    name = one_line(stage)
    while cells(name) > MAX_NAME:
        name = "…" + name[2:]  # items differ at their ends
    return name
