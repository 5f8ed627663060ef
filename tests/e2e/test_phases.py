"""Phases, compaction and handover with the real client, its model played by the loopback stand-in."""

from __future__ import annotations

import os
import re
import signal
import threading

import pytest

from dodo_claude.machine import processes
from tests.integration.scenes import events, look_in, results, window_size
from tests.project import Project

from .messages_api import MessagesApi, Reply, Request, Script, delay, error, say, side_reply, tool, used

pytestmark = [pytest.mark.client, pytest.mark.tmux]

PLAN, MAKE = "Make a plan.", "Make it real."
BRIEF = "You are the worker for the stage 'one'"
REMINDER = "Your context was compacted. You are the worker for the stage 'one'"


def two_phases(client: Project, keys: str = "", *, stage: str = "") -> None:
    client.write(
        "orchestrate.toml",
        f"""
        [orchestrate]
        name = 'e2e'
        retry_delay = '10ms'
        [stages.one]
        timeout = '60s'
        {stage}
        [[stages.one.phases]]
        prompt = '{PLAN}'
        targets = ['plan.txt']
        [[stages.one.phases]]
        prompt = '{MAKE}'
        targets = ['made.txt']
        check = 'grep -q good made.txt'
        {keys}
        """,
    )


def model(client: Project, **others: Reply) -> Script:
    """Writes what the newest prompt asks for, then says so. `others`: what it answers to prompts with that word."""

    def reply(request: Request) -> Reply:
        text = request.last_user_text
        for word, answer in others.items():
            if word in text:
                return answer
        name, content = ("made.txt", "good\n") if MAKE in text else ("plan.txt", "first\n")
        if request.tool_results:
            return say(f"{name} is written.")
        return tool("Write", file_path=str(client.root / name), content=content)

    return reply


def asks(api: MessagesApi, text: str) -> Request:
    """The first request of a turn whose newest prompt holds `text`."""
    return next(
        request for request in api.requests if request.kind == "turn" and text in request.last_user_text
    )


def kinds(client: Project) -> list[str]:
    return [event.kind for event in events(client, "one")]


def sessions(client: Project) -> set[object]:
    return {event.data["session_id"] for event in events(client, "one", "Stop")}


def test_the_context_is_compacted_towards_its_goal_between_two_phases(
    client: Project, api: MessagesApi
) -> None:
    goal = "Keep:\n1. the plan\n2. the names\n3. why\n4. " + "that which is long, " * 50
    two_phases(client, f'compact = """{goal}"""')
    api.reply = model(client)
    ran = client.orchestrate()
    assert ran.said("1 stage: 1 done")
    assert (client.read("plan.txt"), client.read("made.txt")) == ("first\n", "good\n")
    assert len(sessions(client)) == 1
    (start,) = [event for event in events(client, "one", "SessionStart") if event.data["source"] == "compact"]
    assert start.data["session_id"] in sessions(client)

    (summary,) = [request for request in api.requests if request.kind == "compaction"]
    for line in goal.strip().splitlines():
        assert summary.contains(line.strip())
    order = kinds(client)
    wanted = [
        "phase",
        "cleared",
        "PreCompact",
        "PostCompact",
        "given",
        "UserPromptSubmit",
        "verified",
        "outcome",
    ]
    assert [kind for kind in order[order.index("phase") :] if kind in wanted] == wanted
    second = asks(api, MAKE)
    assert BRIEF in second.system
    assert any(REMINDER in note for note in second.system_notes)
    assert "Done and verified: phase 1 (plan.txt)." in second.last_user_text
    assert not any(PLAN in text for text in second.prompts)  # what came before is a summary now
    assert [request for request in api.requests if request.kind == "turn"].index(second) == 2
    assert client.result("one")["repairs"] == 0
    assert client.processes() == []


def test_a_worker_makes_no_request_beside_its_work_and_has_no_memory(
    client: Project, api: MessagesApi
) -> None:
    """No title with the whole prompt in it, no folder that the next worker is told of: in no session of it."""
    two_phases(client, "handover = true")
    memory = client.root.parent / "client/home/.claude/projects" / re.sub(r"[^A-Za-z0-9]", "-", str(client.root)) / "memory"  # fmt: skip
    memory.mkdir(parents=True)
    (memory / "MEMORY.md").write_text("REMEMBERED")
    plain = model(client, **{"Answer with a summary for it": say("Blue was chosen.")})
    killed = threading.Event()
    refused: list[bool] = []

    def reply(request: Request) -> Reply:
        text = request.last_user_text
        if "Please go on" in text:
            if request.tool_results:
                return say("Mended.")
            return tool("Write", file_path=str(client.root / "made.txt"), content="good\n")
        if "is not done" in text:
            killed.set()
            os.kill(int(str(events(client, "one", "spawned")[-1].data["pid"])), signal.SIGKILL)
            return delay(5) + say("never heard")
        if MAKE in text and not request.tool_results:
            return tool("Write", file_path=str(memory / "new.md"), content="x")
        if MAKE in text:
            refused.append(request.tool_results[0].is_error)
            return say("Forgot it.")
        return plain(request)

    api.reply = reply
    client.orchestrate()
    assert killed.is_set()
    assert results(client, "one") == ["failed", "succeeded"]
    assert {request.kind for request in api.requests} == {"turn"}
    assert not any(request.contains("REMEMBERED") for request in api.requests)
    assert not any("memory/" in request.system for request in api.requests)
    assert (refused, [path.name for path in memory.iterdir()]) == ([True], ["MEMORY.md"])


def test_a_prompt_of_many_lines_is_an_order_and_no_pasted_data(client: Project, api: MessagesApi) -> None:
    two_phases(client)
    lines = f"{MAKE}\nOne.\nTwo.\nThree.\nFour.\nFive.\n"
    client.edit("orchestrate.toml", f"'{MAKE}'", f'"""{lines}"""')
    order = "of 2 of your work. Done and verified: phase 1 (plan.txt). Read the file "
    plain = model(client)

    def reply(request: Request) -> Reply:
        if order not in request.last_user_text:
            return plain(request)
        if request.tool_results:
            return say("Done.")
        return tool("Write", file_path=str(client.root / "made.txt"), content="good\n")

    api.reply = reply
    client.orchestrate()
    path = client.log("one").dir / "1" / "prompt-phase-2.md"
    assert asks(api, order).last_user_text == f"This is phase 2 {order}{path} and do what it says."
    assert path.read_text().endswith(lines)


def test_a_compaction_that_the_api_refuses_is_gone_without(client: Project, api: MessagesApi) -> None:
    two_phases(client, "compact = 'the plan'")
    plain = model(client)

    def reply(request: Request) -> Reply:
        if request.kind == "compaction":
            return error(400, "no summary today", headers={"x-should-retry": "false"})
        return plain(request) if request.kind == "turn" else side_reply(request)

    api.reply, api.all_kinds = reply, True
    client.orchestrate()
    order = kinds(client)
    assert order.index("PreCompact") < order.index("StopFailure") < order.index("given")
    assert "PostCompact" not in order
    assert any(PLAN in text for text in asks(api, MAKE).prompts)  # all is as it was


def test_a_fresh_session_begins_from_the_summary_of_the_one_before(client: Project, api: MessagesApi) -> None:
    two_phases(client, "handover = true")
    told = "The plan is in plan.txt. Blue was chosen, since red is taken."
    api.reply = model(client, **{"Answer with a summary for it": say(told)})
    client.orchestrate()
    first, second = [event.data["session_id"] for event in events(client, "one", "SessionStart")]
    assert first != second
    assert client.result("one")["session_id"] == second
    summary = client.log("one").dir / "1" / "summary-1.md"
    assert summary.read_text() == f"{told}\n"
    request = asks(api, MAKE)
    assert request.session_id == second
    assert str(summary) in request.last_user_text
    assert not request.contains(PLAN)
    assert not request.contains("Blue was chosen")
    assert BRIEF in request.system
    assert len(events(client, "one", "spawned")) == 1  # in the same client


def test_a_fresh_session_can_read_the_summary(client: Project, api: MessagesApi) -> None:
    """It lies in .orchestrate, which no worker may edit; the client lets it read there."""
    two_phases(client, "handover = true")
    summary = client.log("one").dir / "1" / "summary-1.md"
    seen: list[str] = []

    def reply(request: Request) -> Reply:
        text = request.last_user_text
        if "Answer with a summary for it" in text:
            return say("Blue was chosen.")
        if MAKE in text and not request.tool_results:
            return tool("Read", file_path=str(summary))
        if MAKE in text and any("Blue" in result.text for result in request.tool_results):
            seen.append("Blue")
            return tool("Write", file_path=str(client.root / "made.txt"), content="good\n")
        return model(client)(request)

    api.reply = reply
    client.orchestrate()
    assert seen == ["Blue"]


def test_a_worker_killed_in_its_second_phase_goes_on_there(client: Project, api: MessagesApi) -> None:
    two_phases(client)
    plain = model(client)

    def reply(request: Request) -> Reply:
        go_on = "Please go on" in request.last_user_text
        if MAKE in request.last_user_text and not go_on:
            pid = events(client, "one", "spawned")[0].data["pid"]
            os.kill(int(str(pid)), signal.SIGKILL)
            return delay(5) + say("never heard")
        if go_on:
            if request.tool_results:
                return say("Done.")
            return tool("Write", file_path=str(client.root / "made.txt"), content="good\n")
        return plain(request)

    api.reply = reply
    client.orchestrate()
    assert results(client, "one") == ["failed", "succeeded"]
    resumed = asks(api, "Please go on")
    # The client had not written that prompt down: it is told where it stands.
    task = client.log("one").dir / "2" / "task.md"
    assert str(task) in resumed.last_user_text
    assert task.read_text().endswith(MAKE)
    assert len(sessions(client)) == 1
    written = [
        event
        for event in events(client, "one", "PreToolUse")
        if str(event.data["tool_input"]).count("plan.txt")
    ]
    assert len(written) == 1
    begun = events(client, "one", "begun")
    assert [event.data["phase"] for event in begun] == [0, 1]
    assert len(events(client, "one", "phase")) == 1


def test_a_fresh_session_killed_at_once_loses_neither_its_task_nor_the_summary(
    client: Project, api: MessagesApi
) -> None:
    """Its client may have written nothing of it down: then there is no session to resume."""
    two_phases(client, "handover = true")
    plain = model(client, **{"Answer with a summary for it": say("Blue was chosen.")})
    killed = threading.Event()

    def reply(request: Request) -> Reply:
        text = request.last_user_text
        if MAKE in text and not killed.is_set():
            killed.set()
            os.kill(int(str(events(client, "one", "spawned")[-1].data["pid"])), signal.SIGKILL)
            return delay(5) + say("never heard")
        if "Please go on" in text and not request.tool_results:
            return tool("Write", file_path=str(client.root / "made.txt"), content="good\n")
        return plain(request)

    api.reply = reply
    client.orchestrate()
    outcomes = results(client, "one")
    assert outcomes[0] == "failed"
    assert outcomes[-1] == "succeeded"
    assert len(events(client, "one", "phase")) == 1
    last = client.log("one").dir / str(len(outcomes))
    assert (last / "summary-1.md").read_text() == "Blue was chosen.\n"
    told = [path.read_text() for path in (last / "prompt.md", last / "task.md") if path.exists()]
    assert f"told in {last / 'summary-1.md'}" in told[-1]
    assert told[-1].endswith(MAKE)


def test_a_worker_and_its_run_killed_in_the_second_phase(client: Project, api: MessagesApi) -> None:
    two_phases(client)
    plain, reached = model(client), threading.Event()

    def reply(request: Request) -> Reply:
        if MAKE in request.last_user_text and not reached.is_set():
            reached.set()
            return delay(30) + say("never heard")
        if "Please go on" in request.last_user_text and not request.tool_results:
            return tool("Write", file_path=str(client.root / "made.txt"), content="good\n")
        return plain(request)

    api.reply = reply
    with client.started() as live:
        client.wait_for(reached.is_set, "the second phase")
        live.kill()
    worker = int(str(events(client, "one", "spawned")[0].data["pid"]))
    os.kill(worker, signal.SIGKILL)
    client.wait_for(lambda: not processes.runs(worker), "its end")  # else the rerun takes it over, dying
    before = (client.root / "plan.txt").stat().st_mtime_ns
    client.orchestrate()
    assert results(client, "one") == ["aborted", "succeeded"]
    assert (client.root / "plan.txt").stat().st_mtime_ns == before
    assert "--resume" in (client.log("one").dir / "2" / "launch.sh").read_text()
    assert client.orchestrate().said("1 stage: 1 up to date")


def test_a_compaction_can_be_had_at_once_in_mid_turn(client: Project, api: MessagesApi) -> None:
    client.write(
        "orchestrate.toml",
        "[orchestrate]\nname = 'e2e'\n[stages.one]\nprompt = 'Make it.'\ntargets = ['a.txt']\ntimeout = '60s'",
    )
    busy = threading.Event()

    def reply(request: Request) -> Reply:
        text = request.last_user_text
        if "Please go on" in text:
            if request.tool_results:
                return say("Done.")
            return tool("Write", file_path=str(client.root / "a.txt"), content="a")
        if request.tool_results:
            busy.set()
            return delay(30) + say("never heard")
        return tool("Read", file_path=str(client.root / "orchestrate.toml"))

    api.reply = reply
    with client.started() as live:
        client.wait_for(busy.is_set, "its second request")
        said = client.run("dodo-claude", "compact", "one", "-g", "the name of a.txt", "--now", check=0)
        assert said.out == "'one' compacts its context now\n"
        assert live.wait() == 0, live.text
    (summary,) = [request for request in api.requests if request.kind == "compaction"]
    assert summary.contains("the name of a.txt")
    order = kinds(client)
    wanted = [
        "compact",
        "interrupted",
        "cleared",
        "PreCompact",
        "PostCompact",
        "continued",
        "UserPromptSubmit",
        "Stop",
    ]
    assert [kind for kind in order[order.index("compact") :] if kind in wanted] == wanted
    went_on = asks(api, "Please go on")
    assert any(REMINDER in note for note in went_on.system_notes)
    assert results(client, "one") == ["succeeded"]
    assert client.result("one")["repairs"] == 0


@pytest.mark.parametrize(("tokens", "compactions"), [(800_000, 1), (600_000, 0)])
def test_a_full_context_is_compacted_before_a_repair(
    client: Project, api: MessagesApi, tokens: int, compactions: int
) -> None:
    client.write(
        "orchestrate.toml",
        "[orchestrate]\nname = 'e2e'\n[stages.one]\nprompt = 'Make it.'\ntargets = ['a.txt']\ntimeout = '60s'\n"
        "compact_at = '70%'",
    )

    def reply(request: Request) -> Reply:
        if "is not done" not in request.last_user_text:
            return say("All done!") + used(tokens, 5)
        if request.tool_results:
            return say("Mended.")
        return tool("Write", file_path=str(client.root / "a.txt"), content="a")

    api.reply = reply
    ran = client.orchestrate()
    assert ran.said("after 1 repair")
    assert len([request for request in api.requests if request.kind == "compaction"]) == compactions
    order = [kind for kind in kinds(client) if kind in ("cleared", "PostCompact", "sent")]
    assert order == ["cleared", "PostCompact"] * compactions + ["sent"]
    mended = asks(api, "is not done")
    assert any(REMINDER in note for note in mended.system_notes) == bool(compactions)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_a_repair_and_a_phase_arrive_after_somebody_looked_in(
    client: Project, api: MessagesApi, size: tuple[int, int]
) -> None:
    """A client that lost the terminal's focus draws no cursor in its box, which is as free as before."""
    two_phases(client)
    plain, looked = model(client), threading.Event()

    def reply(request: Request) -> Reply:
        if not looked.is_set():
            look_in(client, "one", size)
            client.wait_for(lambda: window_size(client, "e2e-one") == "200x50", "its window's size")
            looked.set()
            return say("All done!")  # nothing is: it gets a repair
        if "is not done" in request.last_user_text and not request.tool_results:
            return tool("Write", file_path=str(client.root / "plan.txt"), content="first\n")
        return plain(request)

    api.reply = reply
    ran = client.orchestrate()
    assert "waits:" not in ran.out
    assert client.result("one")["repairs"] == 1
    assert (client.read("plan.txt"), client.read("made.txt")) == ("first\n", "good\n")
    assert "is not done" in asks(api, "is not done").last_user_text
    assert asks(api, MAKE)
