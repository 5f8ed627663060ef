"""The scripted agent on a pseudo-terminal: its manners are compared with what the real client was seen to do.

A hook that appends each record to one file is the witness; nothing here waits for a fixed time where an event comes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dodo_claude import scripted
from dodo_claude.scripted import (
    Box,
    Keys,
    Rules,
    View,
    clean_paste,
    permit,
    read_arguments,
    render,
    split_rules,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
SAMPLES = Path(__file__).parent / "data" / "hooks"
# How long an event may take on a loaded machine, in seconds.
PATIENCE = 10.0
# One write per record: hooks of two events may run at the same time.
WITNESS = 'x=$(cat); printf "%s\\n" "$x" >>"$EVENTS"'
ENTER, ESC, CTRL_C = "\r", "\x1b", "\x03"
EVENTS = (
    *("SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch"),
    *(
        "PermissionRequest",
        "Notification",
        "Stop",
        "StopFailure",
        "SubagentStop",
        "PreCompact",
        "PostCompact",
    ),
    "SessionEnd",
)


class Terminal:
    """One agent on a pseudo-terminal, with its hook records."""

    def __init__(self, home: Path, scenario: str, *words: str, **settings: Any) -> None:
        self.home = home
        self.cwd = home / "work_dir"
        self.cwd.mkdir(parents=True, exist_ok=True)
        self.record = home / "events.jsonl"
        self.record.touch()
        (home / "scenario.toml").write_text(scenario)
        table: dict[str, Any] = {
            event: [{"hooks": [{"type": "command", "command": WITNESS}]}] for event in EVENTS
        }
        for event, command in settings.pop("answers", {}).items():
            table[event][0]["hooks"].append({"type": "command", "command": command})
        for event, hook in settings.pop("extra", {}).items():
            table[event][0]["hooks"].append({"type": "command", **hook})
        (home / "settings.json").write_text(json.dumps({"hooks": table, **settings}))
        self.session = str(uuid.uuid4())
        given = ["--settings", str(home / "settings.json"), *words]
        if "--resume" not in given:
            given = ["--session-id", self.session, *given]
        self.screen = ""
        master, slave = pty.openpty()
        self.master = master
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", "dodo_claude.scripted", *given],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=self.cwd,
            env=environment(home),
            start_new_session=True,
        )
        os.close(slave)

    def read(self, wait: float = 0.02) -> None:
        if select.select([self.master], [], [], wait)[0]:
            with contextlib.suppress(OSError):  # the other end is closed
                self.screen += os.read(self.master, 65536).decode("utf-8", "replace")

    def until(self, holds: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f"no {what}; screen:\n{self.screen}\nevents: {self.names()}"
            self.read()

    def type(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self.master, data[:2000]) :]
            self.read(0)

    def paste(self, text: str) -> None:
        self.type(f"\x1b[200~{text}\x1b[201~")

    def events(self, name: str = "") -> list[dict[str, Any]]:
        lines = self.record.read_text().split("\n")[:-1]
        records = [json.loads(line) for line in lines if line]
        return [record for record in records if name in ("", record["hook_event_name"])]

    def names(self) -> list[str]:
        return [record["hook_event_name"] for record in self.events()]

    def await_event(self, name: str, count: int = 1) -> dict[str, Any]:
        self.until(lambda: len(self.events(name)) >= count, f"{name} number {count}")
        return self.events(name)[count - 1]

    def await_text(self, text: str) -> None:
        self.until(lambda: text in self.screen, f"{text!r} on the screen")

    def await_done(self, count: int = 1) -> None:
        self.until(lambda: len(re.findall("✻ Worked for", self.screen)) >= count, f"end of turn {count}")

    def await_exit(self) -> int:
        self.until(lambda: self.process.poll() is not None, "exit")
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


def environment(home: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "DODO_CLAUDE_SCENARIO": str(home / "scenario.toml"),
        "DODO_CLAUDE_STAGE": "backend",
        "EVENTS": str(home / "events.jsonl"),
        **more,
    }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts agents and ends them. A scenario without a table is the steps of the stage's only turn."""
    terminals: list[Terminal] = []

    def start(scenario: str, *words: str, **settings: Any) -> Terminal:
        text = scenario if "[stages" in scenario else f"[stages.backend]\nsteps = [{scenario}]"
        terminals.append(Terminal(tmp_path, text, *words, **settings))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def refused(home: Path, *words: str, **env: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "dodo_claude.scripted", *words],
        capture_output=True,
        text=True,
        env=environment(home, **env),
        cwd=home,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()


# --- what the client's records look like ---


def keys_of(value: Any) -> Any:
    """A record's keys, at every depth."""
    if isinstance(value, dict):
        return {key: keys_of(part) for key, part in value.items()}
    return [keys_of(part) for part in value[:1]] if isinstance(value, list) else None


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The records of one session that has everything, and of its resumption."""
    home = tmp_path_factory.mktemp("conformance")
    scenario = """
    [stages.backend]
    permission_notice = 0.0
    [[stages.backend.turns]]
    steps = [{ write = "a.txt", text = "t" }, { bash = "false" }, { permission = "Bash", command = "echo one" }]
    [[stages.backend.turns]]
    steps = [{ fail = "rate_limit" }]
    """
    first = Terminal(
        home, scenario, "--permission-mode", "acceptEdits", "--allowedTools", "Bash(false)", "--", "Go"
    )
    first.await_event("Notification")
    first.type(ENTER)
    first.await_done()
    first.type("/compact" + ENTER)
    first.await_event("PostCompact")
    first.until(lambda: "Compacted" in first.screen, "end of compaction")
    first.type("again" + ENTER)
    first.await_event("StopFailure")
    first.process.terminate()
    first.await_exit()
    again = Terminal(home, scenario, "--resume", first.session)
    again.until(lambda: len(again.events("SessionStart")) == 3, "resumed session")
    records = again.events()
    first.close()
    again.close()
    return records


@pytest.mark.parametrize("sample", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_records_have_the_clients_keys(witnessed: list[dict[str, Any]], sample: str) -> None:
    real = json.loads((SAMPLES / f"{sample}.json").read_text())
    name, _, variant = sample.partition(".")
    ours = [record for record in witnessed if record["hook_event_name"] == name]
    if variant and name != "Stop":
        ours = [record for record in ours if variant in record.values()]
    assert ours, f"no {sample} among {[record['hook_event_name'] for record in witnessed]}"
    for record in ours:
        wanted, got = keys_of(real), keys_of(record)
        if name == "PermissionRequest":  # the suggestions differ from call to call
            del wanted["permission_suggestions"], got["permission_suggestions"]
        if name == "PostToolBatch":  # and so do the calls
            wanted, got = (set(keys["tool_calls"][0]) | set(keys) for keys in (wanted, got))
        assert got == wanted


def test_records_agree_with_each_other(witnessed: list[dict[str, Any]]) -> None:
    names = [record["hook_event_name"] for record in witnessed]
    assert names[:3] == ["SessionStart", "UserPromptSubmit", "PreToolUse"]
    assert [n for n in names if "Compact" in n or n == "SubagentStop"] == [
        "PreCompact",
        "SubagentStop",
        "PostCompact",
    ]
    assert len({record["session_id"] for record in witnessed}) == 1
    assert {record["transcript_path"] for record in witnessed if "work-dir" in record["transcript_path"]}
    turns = {
        record["prompt_id"] for record in witnessed if record["hook_event_name"] in ("Stop", "PreToolUse")
    }
    assert len(turns) == 1
    assert [record["reason"] for record in witnessed if record["hook_event_name"] == "SessionEnd"] == [
        "other"
    ]
    assert not [record for record in witnessed if record["hook_event_name"] == "Stop"][1:]


# --- starting and refusing to ---


def test_positional_prompt_is_verbatim(start: Any) -> None:
    prompt = '-x /path #!\ttab\r\n"quoted" $HOME `x`;  '
    agent = start(
        '{ say = "one" }, { say = "two\\nlines" }', "--allowedTools", "Edit(./**)", "Bash", "--", prompt
    )
    assert agent.await_event("Stop")["last_assistant_message"] == "two\nlines"
    assert agent.events("UserPromptSubmit")[0]["prompt"] == prompt
    assert agent.names() == ["SessionStart", "UserPromptSubmit", "Stop"]
    agent.await_done()
    assert "this is NOT Claude" in agent.screen
    assert "● two\r\n  lines" in agent.screen
    assert "❯\xa0\x1b[7m" in agent.screen


def test_the_transcript_is_where_the_client_keeps_it(start: Any) -> None:
    agent = start('{ say = "Hello." }', "--model", "sonnet", "--", "Go")
    record = agent.await_event("Stop")
    assert record["transcript_path"].startswith(str(agent.home / ".claude/projects"))
    assert re.fullmatch(r"[\w-]+-work-dir", Path(record["transcript_path"]).parent.name, re.ASCII)
    lines = [json.loads(line) for line in Path(record["transcript_path"]).read_text().splitlines()]
    message = next(line["message"] for line in lines if line["type"] == "assistant")
    assert message["model"] == "sonnet"
    assert message["usage"]["output_tokens"] > 0
    assert message["id"].startswith("msg_")


def test_a_resumed_session_goes_on_with_the_next_turn(start: Any) -> None:
    scenario = """
    [[stages.backend.turns]]
    steps = [{ say = "Begun." }, { kill = 9 }]
    [[stages.backend.turns]]
    steps = [{ say = "Finished." }]
    """
    first = start(scenario, "--", "Go")
    assert first.await_exit() == -signal.SIGKILL
    again = start(scenario, "--resume", first.session)
    resumed = again.await_event("SessionStart", 2)
    assert (resumed["source"], resumed["session_id"]) == ("resume", first.session)
    assert resumed["context_tokens"] > 0
    again.await_text("● Begun.")
    again.type("go on" + ENTER)
    assert again.await_event("Stop")["last_assistant_message"] == "Finished."


def test_it_refuses_like_the_client(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text("[stages.backend]\nsteps = [{ say = 'x' }]")
    assert refused(tmp_path, "--x", "1") == "error: unknown option '--x'"
    assert refused(tmp_path, "--resume", "abc") == "No conversation found with session ID: abc"
    assert "argument 'no' is invalid" in refused(tmp_path, "--permission-mode", "no")
    assert "argument missing" in refused(tmp_path, "--model")
    folder = tmp_path / ".claude" / "projects" / re.sub("[/_.]", "-", str(tmp_path))
    folder.mkdir(parents=True)
    (folder / "abc.jsonl").touch()
    assert "already in use" in refused(tmp_path, "--session-id", "abc")
    (tmp_path / "bad.json").write_text("{")
    assert refused(tmp_path, "--settings", str(tmp_path / "bad.json")).startswith("Settings Error")


def test_it_says_what_it_cannot_play(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text("[stages.backend]\nsteps = [{ sya = 'x' }, { exit = -1 }]")
    problem = refused(tmp_path)
    assert (
        "scenario.toml: stages.backend.steps[0]: no known step: 'sya'; did you mean 'say'? (and 1 more)"
        in problem
    )
    assert "DODO_CLAUDE_STAGE is not set" in refused(tmp_path, DODO_CLAUDE_STAGE="")
    assert "DODO_CLAUDE_SCENARIO is not set" in refused(tmp_path, DODO_CLAUDE_SCENARIO="")
    (tmp_path / "scenario.toml").write_text("[stages.backend]\nsteps = [{ say = 'x' }]")
    assert "no entry for the stage 'ui'; add [stages.ui] (there: backend)" in refused(
        tmp_path, DODO_CLAUDE_STAGE="ui"
    )
    assert "it needs a terminal" in refused(tmp_path)


def test_arguments() -> None:
    options, prompt = read_arguments(
        ["--allowedTools", "A", "B(x *)", "--strict-mcp-config", "--model=m", "--", "-p"]
    )
    assert options == {"--allowedTools": ["A", "B(x *)"], "--strict-mcp-config": [], "--model": ["m"]}
    assert prompt == "-p"
    # A variadic option swallows a prompt that no `--` sets apart.
    assert read_arguments(["--allowedTools", "A", "prompt"])[1] is None
    assert read_arguments(["prompt", "--model", "m"])[1] == "prompt"


# --- prompts from the keyboard ---


def test_pasted_prompts(start: Any) -> None:
    agent = start('{ say = "ok" }')
    agent.await_event("SessionStart")
    long_line = "x" * 801
    cases = [
        ("one\ttab\r\ntwo\x07\x1b[31m three  \n", "one    tab\ntwo three", ""),
        ("y" * 800, "y" * 800, ""),
        (long_line, long_line, "[Pasted text #1]"),
        ("1\n2\n3\n4", "1\n2\n3\n4", "[Pasted text #2 +3 lines]"),
    ]
    for number, (pasted, text, placeholder) in enumerate(cases, 1):
        agent.paste(pasted)
        agent.type(ENTER)
        prompt = agent.await_event("UserPromptSubmit", number)["prompt"]
        if placeholder:
            agent.await_text(placeholder)
            found = re.fullmatch(
                r'\n\n<pasted_content id="(\w{4})">\n(.*)\n</pasted_content id="\1">\n', prompt, re.DOTALL
            )
            assert found
            prompt = found[2]
        assert prompt == text
        agent.await_event("Stop", number)
        agent.await_done(number)


def test_a_large_paste_arrives_whole(start: Any) -> None:
    agent = start('{ say = "ok" }')
    agent.await_event("SessionStart")
    text = "".join(f"{number} é😀\n" for number in range(10_000))
    agent.paste("draft " + text)
    agent.type(ENTER)
    assert text.rstrip() in agent.await_event("UserPromptSubmit")["prompt"]


def test_typing_and_editing(start: Any) -> None:
    agent = start('{ say = "ok" }')
    agent.await_event("SessionStart")
    agent.type("first\\" + ENTER + "secomd\x7f\x7fnd" + ENTER)
    assert agent.await_event("UserPromptSubmit")["prompt"] == "first\nsecond"
    agent.await_done()
    agent.type("gone\x15" + "also gone" + CTRL_C + ENTER + "/unknown" + ENTER)
    agent.await_text("Unknown command: /unknown")
    agent.type("/path/with/slash" + ENTER)
    assert agent.await_event("UserPromptSubmit", 2)["prompt"] == "/path/with/slash"


def test_prompts_typed_while_busy_are_announced_at_once_and_merged(start: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    scenario = f"""
    [[stages.backend.turns]]
    steps = [{{ bash = "read x < {gate}" }}]
    [[stages.backend.turns]]
    steps = [{{ say = "both" }}]
    """
    agent = start(scenario, "--allowedTools", "Bash", "--", "one")
    agent.await_event("PreToolUse")
    agent.type("two" + ENTER + "three" + ENTER)
    agent.await_event("UserPromptSubmit", 3)
    agent.await_text("Queued")
    assert not agent.events("Stop")
    gate.write_text("go\n")
    assert agent.await_event("Stop", 2)["last_assistant_message"] == "both"
    agent.await_done(2)
    assert len(agent.events("Stop")) == 2
    assert len({record["prompt_id"] for record in agent.events("UserPromptSubmit")}) == 3


def test_text_before_the_start_keeps_but_loses_its_enter(start: Any) -> None:
    agent = start('[stages.backend]\nslow_start = 0.3\nsteps = [{ say = "ok" }]')
    agent.type("early" + ENTER)
    agent.await_text("❯\xa0early")
    agent.type(ENTER)
    assert agent.await_event("UserPromptSubmit")["prompt"] == "early"


def test_the_first_enter_after_a_paste_can_be_lost(start: Any) -> None:
    agent = start('[stages.backend]\nignore_first_enter = true\nsteps = [{ say = "ok" }]')
    agent.await_event("SessionStart")
    agent.paste("text")
    agent.type(ENTER)
    agent.await_text("❯\xa0text")
    agent.type("!" + ENTER)
    assert agent.await_event("UserPromptSubmit")["prompt"] == "text!"


def test_esc_interrupts_without_a_hook(start: Any) -> None:
    agent = start('{ say = "working" }, { hang = true }', "--", "Go")
    agent.await_text("● working")
    agent.await_text("esc to interrupt")
    agent.type(ESC)
    agent.await_text("Interrupted · What should Claude do instead?")
    agent.type("next" + ENTER)
    agent.await_event("UserPromptSubmit", 2)
    assert agent.names() == ["SessionStart", "UserPromptSubmit", "UserPromptSubmit"]


def test_esc_before_anything_came_gives_the_prompt_back(start: Any) -> None:
    agent = start("{ hang = true }", "--", "Go slowly")
    agent.await_text("esc to interrupt")
    agent.type(ESC)
    agent.await_text("❯\xa0Go slowly")
    assert "Interrupted" not in agent.screen


# --- ends ---


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 0)],
    ids=["term", "hup", "int"],
)
def test_signals(start: Any, number: int, code: int) -> None:
    agent = start("{ hang = true }", "--", "Go")
    agent.await_event("UserPromptSubmit")
    agent.process.send_signal(number)
    assert agent.await_exit() == code
    assert agent.events("SessionEnd")[0]["reason"] == "other"


def test_exit_by_keys(start: Any) -> None:
    agent = start('{ say = "x" }')
    agent.await_event("SessionStart")
    agent.type(CTRL_C)
    agent.await_text("Press Ctrl-C again to exit")
    agent.type(CTRL_C)
    assert agent.await_exit() == 0
    again = start('{ say = "x" }')
    again.await_event("SessionStart", 2)
    again.type("/exit" + ENTER)
    assert again.await_exit() == 0
    assert [record["reason"] for record in again.events("SessionEnd")] == ["prompt_input_exit"] * 2
    assert again.screen.endswith("\x1b[?2004l\x1b[?25h")


def test_a_lost_terminal_ends_the_session(start: Any) -> None:
    agent = start("{ hang = true }", "--", "Go")
    agent.await_event("UserPromptSubmit")
    spare, agent.master = agent.master, os.open(os.devnull, os.O_RDONLY)
    os.close(spare)
    agent.process.wait(PATIENCE)
    assert agent.process.returncode == 143
    assert agent.events("SessionEnd")[0]["reason"] == "other"


def test_crashes_have_no_hooks(start: Any) -> None:
    agent = start("{ exit = 3 }", "--", "Go")
    assert agent.await_exit() == 3
    assert agent.names() == ["SessionStart", "UserPromptSubmit"]


def test_sigterm_ignored_and_a_child_that_outlives(start: Any, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    agent = start(
        f"{{ ignore_sigterm = true }}, {{ spawn = 'echo $$ > {note}; exec sleep 60' }}, {{ say = 'x' }}",
        "--",
        "Go",
    )
    agent.await_event("Stop")
    agent.until(lambda: note.exists() and note.read_text(), "child")
    child = int(note.read_text())
    try:
        agent.process.terminate()
        agent.type("still here" + ENTER)
        agent.await_event("UserPromptSubmit", 2)
        agent.process.kill()
        agent.await_exit()
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


# --- hooks' decisions ---


def answer(**decision: Any) -> str:
    return f"cat >/dev/null; printf '%s' '{json.dumps(decision)}'"


def test_a_blocked_stop_goes_on_with_the_next_turn(start: Any, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    scenario = """
    [[stages.backend.turns]]
    steps = [{ say = "first" }]
    [[stages.backend.turns]]
    when = "write it"
    steps = [{ say = "second" }]
    """
    command = f"cat >/dev/null; if mkdir {flag} 2>/dev/null; then echo 'write it' >&2; exit 2; fi"
    agent = start(scenario, "--", "Go", answers={"Stop": command})
    agent.await_event("Stop", 2)
    agent.await_done()
    stops = [
        (record["stop_hook_active"], record["last_assistant_message"]) for record in agent.events("Stop")
    ]
    assert stops == [(False, "first"), (True, "second")]
    assert len(agent.events("UserPromptSubmit")) == 1


def test_blocks_of_stop_are_capped(start: Any) -> None:
    agent = start('{ say = "x" }', "--", "Go", answers={"Stop": answer(decision="block", reason="more")})
    agent.await_done()
    assert len(agent.events("Stop")) == scripted.STOP_BLOCK_CAP + 1


def test_a_blocked_prompt_comes_back(start: Any) -> None:
    agent = start(
        '{ say = "x" }', "--", "Go", answers={"UserPromptSubmit": answer(decision="block", reason="no")}
    )
    agent.await_text("operation blocked by hook")
    agent.await_text("❯\xa0Go")
    assert not agent.events("Stop")


@pytest.mark.parametrize(
    ("reply", "runs"),
    [
        (answer(hookSpecificOutput={"hookEventName": "PreToolUse", "permissionDecision": "deny"}), False),
        (answer(hookSpecificOutput={"hookEventName": "PreToolUse", "permissionDecision": "ask"}), False),
        (answer(decision="block", reason="no"), False),
        ("cat >/dev/null; echo no >&2; exit 2", False),
        ("cat >/dev/null; exit 1", True),
        ("cat >/dev/null; printf '{'", True),
        ("cat >/dev/null; kill -9 $$", True),
    ],
    ids=["deny", "ask", "block", "exit 2", "exit 1", "bad JSON", "killed"],
)
def test_pre_tool_use_decides_and_fails_open(start: Any, reply: str, runs: bool) -> None:
    agent = start(
        '{ bash = "touch ran" }',
        *("--permission-mode", "dontAsk", "--allowedTools", "Bash(touch *)", "--", "Go"),
        answers={"PreToolUse": reply},
    )
    agent.await_event("Stop")
    assert (agent.cwd / "ran").exists() == runs
    assert bool(agent.events("PostToolUse")) == runs
    assert ("permission denied" in agent.screen) != runs


def test_pre_tool_use_can_allow_and_rewrite(start: Any) -> None:
    own = {"permissionDecision": "allow", "updatedInput": {"command": "touch other"}}
    agent = start(
        '{ bash = "touch ran" }', "--permission-mode", "dontAsk", "--", "Go",
        answers={"PreToolUse": answer(hookSpecificOutput=own)},
    )  # fmt: skip
    agent.await_event("Stop")
    assert [path.name for path in agent.cwd.iterdir()] == ["other"]


@pytest.mark.parametrize("behavior", ["allow", "deny"])
def test_permission_request_answers_without_a_dialog(start: Any, behavior: str) -> None:
    own = {"hookEventName": "PermissionRequest", "decision": {"behavior": behavior, "message": "no"}}
    agent = start(
        '{ permission = "Bash", command = "touch ran" }', "--permission-mode", "manual", "--", "Go",
        answers={"PermissionRequest": answer(hookSpecificOutput=own)},
    )  # fmt: skip
    agent.await_event("Stop")
    assert (agent.cwd / "ran").exists() == (behavior == "allow")
    assert "Do you want to" not in agent.screen
    assert not agent.events("Notification")


def test_hooks_can_be_off_and_can_overrun(start: Any) -> None:
    agent = start('{ say = "x" }', "--", "Go", disableAllHooks=True)
    agent.await_done()
    assert agent.names() == []
    silent = start('[stages.backend]\nno_hooks = true\nsteps = [{ say = "x" }]', "--", "Go")
    silent.await_done()
    assert silent.names() == []
    slow = start('{ say = "x" }', "--", "Go", extra={"Stop": {"command": "sleep 60; exit 2", "timeout": 0.2}})
    slow.await_done()
    assert len(slow.events("Stop")) == 1


def test_a_waiting_hook_wakes_an_idle_session(start: Any, tmp_path: Path) -> None:
    gate = tmp_path / "inbox"
    os.mkfifo(gate)
    waiter = {
        "command": f"cat >/dev/null; [ -e {gate} ] || exit 0; cat {gate} >&2; rm {gate}; exit 2",
        "asyncRewake": True,
    }
    agent = start('{ say = "x" }', "--", "Go", extra={"Stop": waiter})
    agent.await_done()
    agent.type("half a draft")
    gate.write_text("read task.md")
    note = agent.await_event("UserPromptSubmit", 2)["prompt"]
    assert note.startswith("<task-notification>")
    assert "read task.md" in note
    assert agent.await_event("Stop", 2)["stop_hook_active"]
    agent.await_done(2)
    agent.type(ENTER)
    assert agent.await_event("UserPromptSubmit", 3)["prompt"] == "half a draft"


def test_hooks_know_the_session(start: Any, tmp_path: Path) -> None:
    note = tmp_path / "env"
    command = f'echo "$CLAUDE_PROJECT_DIR $CLAUDE_CODE_SESSION_ID $CLAUDE_PID $CLAUDECODE $PWD" > {note}'
    agent = start('{ say = "x" }', extra={"SessionStart": {"command": command}})
    agent.until(lambda: note.exists() and note.read_text().endswith("\n"), "note")
    assert note.read_text().split() == [
        str(agent.cwd),
        agent.session,
        str(agent.process.pid),
        "1",
        str(agent.cwd),
    ]


# --- permission dialogs ---

ASKS = '{ permission = "Bash", command = "touch ran" }, { say = "after" }'


def test_enter_approves_and_a_pasted_prompt_is_lost(start: Any) -> None:
    agent = start(ASKS, "--permission-mode", "manual", "--", "Go")
    agent.await_text("Do you want to proceed?")
    assert agent.names()[-2:] == ["PreToolUse", "PermissionRequest"]
    agent.paste("a prompt that comes at the wrong time")
    agent.type(ENTER)
    assert agent.await_event("Stop")["last_assistant_message"] == "after"
    assert (agent.cwd / "ran").exists()
    assert len(agent.events("UserPromptSubmit")) == 1
    assert "wrong time" not in agent.screen


@pytest.mark.parametrize(("key", "runs"), [("1", True), ("3", False), (ESC, False)])
def test_dialog_keys(start: Any, key: str, runs: bool) -> None:
    agent = start(ASKS, "--permission-mode", "acceptEdits", "--", "Go")
    agent.await_text("Do you want to proceed?")
    agent.type(key)
    if runs:
        agent.await_event("Stop")
    else:
        agent.await_text("Did not run 1 call\r\n  ⎿  Interrupted · What should Claude do instead?")
        assert not agent.events("Stop")
    assert (agent.cwd / "ran").exists() == runs


def test_an_open_dialog_is_announced_once(start: Any) -> None:
    scenario = f"[stages.backend]\npermission_notice = 0.05\nidle_notice = 0.05\nsteps = [{ASKS}]"
    agent = start(scenario, "--permission-mode", "manual", "--", "Go")
    assert agent.await_event("Notification")["notification_type"] == "permission_prompt"
    agent.type(ENTER)
    assert agent.await_event("Notification", 2)["notification_type"] == "idle_prompt"


def test_dont_ask_never_opens_a_dialog(start: Any) -> None:
    steps = f'{{ write = "in/a.txt", text = "a" }}, {{ write = "../out.txt", text = "a" }}, {ASKS}'
    agent = start(steps, "--permission-mode", "dontAsk", "--allowedTools", "Edit(./**)", "--", "Go")
    agent.await_event("Stop")
    assert (agent.cwd / "in/a.txt").read_text() == "a"
    assert not (agent.home / "out.txt").exists()
    assert not (agent.cwd / "ran").exists()
    assert not agent.events("PermissionRequest")
    assert len(agent.events("PreToolUse")) == 3
    assert len(agent.events("PostToolUse")) == 1
    agent.await_text("⎿  Not run · permission denied")
    agent.await_text("● Write(in/a.txt)")
    agent.await_text("⎿  Wrote 1 line to in/a.txt")


RULES = [
    # rules, tool, path or command, verdict in dontAsk
    ([], "Write", "a.txt", "deny"),
    (["Edit(./**)"], "Write", "a.txt", "run"),
    (["Edit(./**)"], "Edit", "sub/new/a.txt", "run"),
    (["Edit(**)"], "Write", "sub/a.txt", "run"),
    (["Edit(//CWD/**)"], "Write", "sub/a.txt", "run"),
    (["Edit(/**)"], "Write", "a.txt", "run"),
    (["Edit(./**)"], "Write", "../a.txt", "deny"),
    (["Edit(./**)"], "Write", "/etc/a.txt", "deny"),
    (["Edit(./**)"], "Write", "link/a.txt", "deny"),
    (["Edit(./**)"], "Write", ".git/config", "deny"),
    (["Edit(./**)"], "Write", "sub/.claude/settings.json", "deny"),
    (["Edit(./**)"], "Write", ".mcp.json", "deny"),
    (["Edit(./ui/*.py)"], "Write", "ui/a.py", "run"),
    (["Edit(./ui/*.py)"], "Write", "ui/sub/a.py", "deny"),
    (["Edit(./ui/*.py)"], "Write", "api/a.py", "deny"),
    (["Write(./**)"], "Write", "a.txt", "deny"),
    (["Write"], "Write", "../a.txt", "run"),
    (["Write"], "Edit", "a.txt", "deny"),
    (["Edit"], "Edit", "a.txt", "run"),
    (["Edit"], "Write", "a.txt", "deny"),
    ([], "Bash", "ls sub | wc -l", "run"),
    ([], "Bash", "git diff", "run"),
    ([], "Bash", "git push", "deny"),
    ([], "Bash", "cat /etc/passwd", "deny"),
    ([], "Bash", "cat ../a", "deny"),
    ([], "Bash", "cat $HOME/a", "deny"),
    ([], "Bash", "make", "deny"),
    (["Bash"], "Bash", "make && rm -rf ../x", "run"),
    (["Bash(make)"], "Bash", "make", "run"),
    (["Bash(make)"], "Bash", "make all", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest -q 2>&1 | tail -1", "run"),
    (["Bash(pytest *)"], "Bash", "pytest", "run"),
    (["Bash(pytest *)"], "Bash", "pytestx", "deny"),
    (["Bash(pytest *)"], "Bash", "timeout 5 pytest > /dev/null", "run"),
    (["Bash(pytest *)"], "Bash", "FOO=1 pytest", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest && git push", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest\ntouch x", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest $(touch x)", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest `touch x`", "deny"),
    (["Bash(pytest *)"], "Bash", "(pytest)", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest & touch x", "deny"),
    (["Bash(pytest *)"], "Bash", "pytest 'unclosed", "deny"),
    (["Bash(echo *)"], "Bash", "echo a > f", "deny"),
    (["Bash(echo *)", "Edit(./**)"], "Bash", "echo a >> f", "run"),
    (["Bash(echo *)", "Edit(./**)"], "Bash", "echo a > ../f", "deny"),
    (["Bash(echo *)", "Edit(./**)"], "Bash", "echo a > .git/x", "deny"),
]


@pytest.mark.parametrize(("allow", "tool", "subject", "verdict"), RULES)
def test_rules_in_dont_ask(tmp_path: Path, allow: list[str], tool: str, subject: str, verdict: str) -> None:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "link").symlink_to(tmp_path)
    cwd = str(tmp_path / "cwd")
    rules = Rules(tuple(rule.replace("/CWD", cwd) for rule in allow), (), cwd)
    assert permit(tool, subject, "dontAsk", rules) == verdict


@pytest.mark.parametrize(
    ("deny", "tool", "subject", "verdict"),
    [
        ("Bash(git push *)", "Bash", "git push", "deny"),
        ("Bash(git push *)", "Bash", "A=1 timeout 5 /usr/bin/git  push origin", "deny"),
        ("Bash(git push *)", "Bash", "true && (git push)", "deny"),
        ("Bash(git push *)", "Bash", "git -C . push", "run"),
        ("Bash(git push *)", "Bash", "sh -c 'git status'", "run"),
        ("Bash", "Bash", "ls", "deny"),
        ("Edit(./prot/**)", "Write", "prot/a", "deny"),
        ("Edit(./prot/**)", "Write", "sub/prot/a", "deny"),
        ("Read(**/*.pem)", "Write", "sub/a.pem", "deny"),
        ("Edit(./prot/**)", "Write", "other/a", "run"),
    ],
)
def test_deny_beats_bypass(tmp_path: Path, deny: str, tool: str, subject: str, verdict: str) -> None:
    assert (
        permit(tool, subject, "bypassPermissions", Rules(("Bash", "Edit"), (deny,), str(tmp_path))) == verdict
    )


def test_other_modes_ask(tmp_path: Path) -> None:
    rules = Rules((), (), str(tmp_path))
    assert permit("Write", "a", "manual", rules) == "ask"
    assert permit("Write", "a", "acceptEdits", rules) == "run"
    assert permit("Write", "../a", "acceptEdits", rules) == "ask"
    assert permit("Bash", "mkdir sub", "acceptEdits", rules) == "run"
    assert permit("Bash", "make", "plan", rules) == "ask"
    assert split_rules("Edit(./**),Bash(git diff *) Write") == ["Edit(./**)", "Bash(git diff *)", "Write"]


# --- steps ---


def test_steps_change_files(start: Any) -> None:
    steps = """
      { capture = "path", from_prompt = 'GET (/\\S+)' }, { write = "a.py", text = "get('{path}', {x})\\n" },
      { edit = "a.py", old = "{x}", new = "1" }, { append = "a.py", text = "# end\\n" },
      { edit = "a.py", old = "nowhere", new = "" }, { bash = "false" }, { sleep = 0.01 }, { say = "{path} {stage}" },
    """
    rules = ("--permission-mode", "dontAsk", "--allowedTools", "Edit", "Edit(./**)", "Bash(false)")
    agent = start(steps, *rules, "--", "Make GET /me please")
    assert agent.await_event("Stop")["last_assistant_message"] == "/me backend"
    assert (agent.cwd / "a.py").read_text() == "get('/me', 1)\n# end\n"
    assert [record["tool_name"] for record in agent.events("PostToolUse")] == ["Write", "Edit", "Write"]
    assert agent.events("PostToolUseFailure")[0]["error"] == "Exit code 1"
    assert len(agent.events("PostToolBatch")) == 4


def test_a_capture_that_fails_stops_the_turn(start: Any) -> None:
    agent = start("""{ capture = "path", from_prompt = 'GET (\\S+)' }, { say = "never" }""", "--", "Go")
    assert "nothing that fits" in agent.await_event("Stop")["last_assistant_message"]


def test_background_work_comes_back_as_a_second_stop(start: Any) -> None:
    then = '{ background = { seconds = 0.1, then = [{ say = "ready" }] } }, { say = "waiting" }'
    agent = start(then, "--", "Go")
    agent.await_event("Stop", 2)
    first, second = agent.events("Stop")
    assert [task["status"] for task in first["background_tasks"]] == ["running"]
    assert (second["background_tasks"], second["last_assistant_message"]) == ([], "ready")
    assert agent.events("UserPromptSubmit")[1]["prompt"].startswith("<task-notification>")


@pytest.mark.parametrize(
    "kind", ["server_error", "authentication_failed", "billing_error", "model_not_found"]
)
def test_failures_take_the_place_of_stop(start: Any, kind: str) -> None:
    agent = start(f'{{ say = "x" }}, {{ fail = "{kind}" }}', "--", "Go")
    record = agent.await_event("StopFailure")
    assert record["error"] == kind
    agent.await_text(f"● {record['last_assistant_message']}")
    agent.await_text("\x1b[7mO\x1b[0;2mnce fixed")
    assert not agent.events("Stop")


def test_a_compaction_can_be_blocked_and_clear_changes_the_session(start: Any) -> None:
    agent = start('{ say = "x" }', answers={"PreCompact": answer(decision="block", reason="not now")})
    agent.await_event("SessionStart")
    agent.type("/compact next phase" + ENTER)
    assert agent.await_event("PreCompact")["custom_instructions"] == "next phase"
    agent.await_text("not now")
    agent.type("/clear" + ENTER)
    assert agent.await_event("SessionStart", 2)["source"] == "clear"
    ids = [record["session_id"] for record in agent.events("SessionStart")]
    assert ids[0] == agent.session != ids[1]
    assert not agent.events("PostCompact")


# --- the terminal, as values ---


def test_keys_survive_being_torn() -> None:
    data = f"a\x1b[200~é\n\x1b[201~\r{ESC}[Ab{CTRL_C}".encode()
    wanted = [("text", "a"), ("paste", "é\n"), ("enter", ""), ("text", "b"), ("ctrl-c", "")]
    for size in range(1, len(data) + 1):
        keys = Keys()
        got = [key for start in range(0, len(data), size) for key in keys.feed(data[start : start + size])]
        assert got == wanted
    assert keys.feed(b"\x1b") == []
    assert keys.waits
    assert keys.feed(b"", no_more=True) == [("esc", "")]


def test_a_long_typed_run_counts_as_a_paste() -> None:
    assert Keys().feed(b"x" * 801 + b"\r") == [("paste", "x" * 801), ("enter", "")]
    assert Keys().feed(b"1\n2\n3\r") == [("text", "1\n2\n3"), ("enter", "")]


def test_a_placeholder_is_deleted_at_once() -> None:
    box = Box()
    box.text = "see "
    box.paste("1\n2\n3\n4")
    assert box.shown() == "see [Pasted text #1 +3 lines]"
    box.text = box.text[:-1]
    assert (box.shown(), box.sent()) == ("see ", "see")


def test_clean_paste() -> None:
    assert clean_paste("\n a\tb\x1b[1mc\x7f\x00\r\nd\re \n") == "\n a    bc\nd\ne"
    assert clean_paste("# @x -y ?z 👩‍👩‍👧 `$\"'") == "# @x -y ?z 👩‍👩‍👧 `$\"'"


@pytest.mark.parametrize("width", [4, 10, 40, 120])
def test_no_live_row_is_wider_than_the_window(width: int) -> None:
    dialog = ("Do you want to proceed?", " ❯ 1. Yes")
    for view in (
        View(
            box="a long prompt, 漢字 " * 9,
            busy="✽ Playing… (3s)",
            footer="  esc to interrupt",
            queued=("later",),
        ),
        View(footer="  manual mode on", dialog=dialog),
        View(placeholder="Once fixed, resend your message"),
    ):
        rows = render(view, width, 24)
        assert len(rows) <= 23
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in rows]
        assert max(scripted.columns(row) for row in plain) <= max(width - 1, 5)


def test_render_idle() -> None:
    assert render(View(box="hi", footer="  manual mode on"), 20, 24) == [
        *("", "─" * 19, "❯\xa0hi\x1b[7m \x1b[0m", "─" * 19, "  manual mode on")
    ]


# --- in tmux ---


@pytest.mark.tmux
@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
def test_in_tmux(tmp_path: Path) -> None:
    terminal = Terminal.__new__(Terminal)
    terminal.home, terminal.record, terminal.screen = tmp_path, tmp_path / "events.jsonl", ""
    terminal.record.touch()
    scenario = '[stages.backend]\nsteps = [{ bash = "seq 1 99" }, { write = "a", text = "x" }, { say = "漢字 done" }]'
    (tmp_path / "scenario.toml").write_text(scenario)
    hooks = {event: [{"hooks": [{"type": "command", "command": WITNESS}]}] for event in EVENTS}
    (tmp_path / "settings.json").write_text(json.dumps({"hooks": hooks}))
    base = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]

    def tmux(*words: str) -> str:
        return subprocess.run(
            [*base, *words], check=True, capture_output=True, text=True, env=environment(tmp_path)
        ).stdout

    def capture() -> str:
        return tmux("capture-pane", "-p", "-J", "-S", "-", "-t", "w")

    def ended(turns: int) -> bool:
        return capture().count("✻ Worked") == turns

    terminal.read = lambda: time.sleep(0.02)  # type: ignore[method-assign,assignment,misc]
    agent = [sys.executable, "-m", "dodo_claude.scripted", "--settings", str(tmp_path / "settings.json")]
    agent += ["--allowedTools", "Bash(seq *)", "Edit(./**)", "--permission-mode", "dontAsk"]
    tmux("new-session", "-d", "-s", "w", "-x", "60", "-y", "15", "-c", str(tmp_path), *agent)
    try:
        tmux("set-option", "-t", "w", "remain-on-exit", "on")
        terminal.await_event("SessionStart")
        for number in range(1, 5):
            tmux("set-buffer", "--", f"line one of {number}\nline two")
            tmux("paste-buffer", "-p", "-r", "-t", "w")
            tmux("send-keys", "-t", "w", "Enter")
            terminal.await_event("Stop", number)
            terminal.until(functools.partial(ended, number), "end of the turn")
            tmux("resize-window", "-t", "w", "-x", str(60 - 7 * number), "-y", "15")
        terminal.until(lambda: "mode on" in capture().rstrip().splitlines()[-1], "footer")
        assert [record["prompt"] for record in terminal.events("UserPromptSubmit")][
            3
        ] == "line one of 4\nline two"
        assert tmux("display-message", "-p", "-t", "w", "#{alternate_on}").strip() == "0"
        text = capture()
        assert [
            text.count(part) for part in ("NOT Claude", "❯ line one of", "● Bash(seq 1 99)", "● 漢字 done")
        ] == [1, 4, 4, 4]
        tmux("send-keys", "-t", "w", "/exit", "Enter")
        terminal.await_event("SessionEnd")
        # Not the status: this tmux sometimes reports the end without it.
        terminal.until(
            lambda: tmux("display-message", "-p", "-t", "w", "#{pane_dead}").strip() == "1", "exit"
        )
    finally:
        tmux("kill-server")


def test_it_starts_without_heavy_imports() -> None:
    code = "import sys, dodo_claude.scripted; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    heavy = {"asyncio", "dataclasses", "subprocess", "jinja2", "inspect", "shlex", "logging", "tempfile"}
    assert not heavy & set(result.stdout.split())
