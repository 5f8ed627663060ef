"""Limits of the API, budgets, and workers that wait for a person. Numbers are rows of the fault matrix."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.integration.scenes import (
    Step,
    configure,
    events,
    gate,
    happened,
    launch,
    open_gate,
    patch,
    play,
    results,
    write,
)
from tests.project import Project

pytestmark = pytest.mark.tmux

ONE = {"one": {"targets": ["it.txt"]}}


def failures(lines: list[str]) -> list[str]:
    return [line for line in lines if "FAILED" in line]


# -- the API says no


def clock(project: Project, starts: str = "", speed: int = 1) -> None:
    """Let the fleet's wall clock start at that time of a day (UTC), and its clocks run that much faster."""
    patch(
        project,
        f"""
import calendar, os, time
import dodo_claude.run.fleet, dodo_claude.agents.limits, dodo_claude.run.run
from datetime import timedelta
dodo_claude.agents.limits.AFTER_RESET = timedelta(0)
class Clock:
    began, shift = time.monotonic(), 0.0
    def monotonic(self): return self.began + (time.monotonic() - self.began) * {speed}
    def time(self): return time.time() + self.shift
Clock.shift = calendar.timegm(time.strptime("2026-06-01 {starts or "00:00:00"}", "%Y-%m-%d %H:%M:%S")) - time.time()
if not os.path.exists("{project.home}/shift"):
    open("{project.home}/shift", "w").write(str(Clock.shift))
Fleet = dodo_claude.run.fleet.Fleet
dodo_claude.run.fleet.Fleet = lambda *args, **named: Fleet(*args, clock=Clock(), **named)
""",
    )


def test_37_a_limit_pauses_the_fleet_until_its_reset(project: Project) -> None:
    """Row 37: nobody is started and no key is sent until then; no attempt and no repair is used up."""
    clock(project, "15:39:55")
    project.env["TZ"] = "UTC"
    configure(
        project,
        {
            "one": {"targets": ["it.txt"], "retries": 0},
            "signal": {"command": "while [ ! -e paused ]; do sleep 0.02; done"},
            "late": {"targets": ["late.txt"], "after": ["signal"]},
        },
    )
    limit: Step = {
        "fail": "rate_limit",
        "text": "Claude usage limit reached. Your limit resets 3:40pm (UTC).",
    }
    play(project, {"one": [[limit], [write("it.txt")]], "late": [[write("late.txt")]]})
    with project.started("-n", "3") as live:
        live.until("hit a limit (rate_limit); all workers wait until 15:40:00")
        open_gate(project, "paused")
        assert live.wait() == 0, live.text
    (pause,) = events(project, "one", "paused")
    (going_on,) = events(project, "one", "continued")
    (late,) = events(project, "late", "spawned")
    assert re.search(r"waits with all others, [\d.]+ s: a limit", live.text)
    # Nothing followed before 15:40, as the fleet's clock has it; two clocks agree to some milliseconds.
    over = float(str(pause.data["until"])) - float((project.home / "shift").read_text()) - 0.05
    assert pause.at < over <= min(going_on.at, late.at)
    assert not [event for event in events(project, "one") if event.kind in ("enter", "sent", "interrupted")]
    assert (project.attempts("one"), project.attempts("late")) == (1, 1)
    assert "3 stages: 3 done" in live.text


@pytest.mark.parametrize("error", ["server_error", "rate_limit"])
def test_38_an_overload_passes_and_costs_no_attempt(project: Project, error: str) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "retries": 0}})
    fail: Step = {"fail": error, "text": "API Error: 529 Overloaded"}
    play(project, {"one": [[fail], [fail], [fail], [write("it.txt")]]})
    ran = project.orchestrate()
    assert ran.said("1 stage: 1 done")
    assert ran.said(f"the API is overloaded ({error}); all workers wait until")
    assert not ran.said("hit a limit")
    assert project.attempts("one") == 1
    assert len(events(project, "one", "paused")) == 3
    assert len(events(project, "one", "continued")) == 3
    assert not happened(project, "one", "sent")


def test_38_an_overload_without_end_is_given_up(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "retries": 1}})
    play(project, {"one": [[{"fail": "server_error"}]]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert "the client gave up (overloaded): API Error: Repeated 529 Overloaded" in reason
    assert project.attempts("one") == 2


def test_a_refused_client_that_asks_again_is_told_of_at_once(project: Project) -> None:
    """No hook tells of it: its log does, to the run's line, `status` and `events`."""
    configure(project, ONE)
    play(project, {"one": [[{"unanswered": "401 invalid x-api-key"}, {"hang": True}]]})
    with project.started() as live:
        live.until("attempt 1 of 11")
        status = json.loads(project.run("dodo-claude", "status", "--json").out)
        told = project.run("dodo-claude", "events", "--kind", "unheard").out
        project.run("dodo-claude", "stop", "one", check=0)
        live.wait()
    (line,) = [line for line in live.text.splitlines() if "no answer since" in line]
    asks = "its client asks again by itself, attempt 1 of 11; if that stays so, run `claude` once by hand"
    assert f": 401 invalid x-api-key ({asks}" in line
    (one,) = status["stages"]
    assert (one["state"], one["about"]) == ("running", line.split("one", 1)[1].strip())
    assert "401 invalid x-api-key" in told
    assert not (project.root / ".orchestrate/stages/one/1/client").exists()


FATAL = ["authentication_failed", "billing_error", "model_not_found"]


@pytest.mark.parametrize("error", FATAL)
def test_39_what_no_waiting_mends_stops_the_run_with_one_message(project: Project, error: str) -> None:
    configure(
        project, {name: {"targets": [f"{name}.txt"]} for name in ("one", "two", "three")}, max_workers=1
    )
    play(
        project,
        {
            "one": [[{"fail": error, "text": "the words"}]],
            "two": [[write("two.txt")]],
            "three": [[write("three.txt")]],
        },
    )
    ran = project.orchestrate(check=1)
    assert failures(ran.lines) == [f"one FAILED: the client gave up ({error}): the words"]
    (message,) = [line for line in ran.lines if line.startswith("stopped: ")]
    assert message.startswith(f"stopped: {error.replace('_', ' ')}: ")
    assert message.endswith("; then run again)")
    assert [project.attempts(name) for name in ("one", "two", "three")] == [1, 0, 0]
    assert ran.out.count(message.removeprefix("stopped: ")) == 1


def test_46_three_stages_that_fail_alike_stop_the_starts(project: Project) -> None:
    names = [f"s{number}" for number in range(5)]
    configure(project, {name: {"targets": [f"{name}.txt"], "retries": 0} for name in names}, max_workers=1)
    play(project, {name: [[{"kill": 9}]] for name in names})
    ran = project.orchestrate(check=1)
    assert ran.said("stopped: 3 workers failed alike in 10 min (died): no further starts")
    assert [project.attempts(name) for name in names] == [1, 1, 1, 0, 0]
    assert ran.said("5 stages: 3 failed, 2 stopped")


def test_46_also_when_none_of_them_may_try_again(project: Project) -> None:
    patch(
        project,
        "import dodo_claude.worker.policy as policy\npolicy.FIRST_PROMPT_SECONDS = policy.HOOK_SILENCE_SECONDS = policy.LOOK_SECONDS = 0.5\n",
    )
    names = [f"s{number}" for number in range(5)]
    configure(project, {name: {"targets": [f"{name}.txt"]} for name in names}, max_workers=1)
    play(project, {name: [[write(f"{name}.txt")]] for name in names}, no_hooks=True)
    ran = project.orchestrate(check=1)
    assert ran.said("stopped: 3 workers failed alike in 10 min (no hooks): no further starts")
    assert ran.said("5 stages: 3 failed, 2 stopped")


# -- budgets

BUDGETS = {
    "turns": ({"turns": 3}, r"budget of 3 turns used \(3\)"),
    "tokens": ({"tokens": 2000}, r"budget of 2.000 tokens used \(2.280\)"),
    "minutes": ({"minutes": 1}, r"budget of 1 min used \(\d+\)"),
}


@pytest.mark.parametrize("again", [1, 2])
@pytest.mark.parametrize("what", sorted(BUDGETS))
def test_45_a_used_up_budget_stops_the_run_and_keeps_everything(
    project: Project, what: str, again: int
) -> None:
    budget, reason = BUDGETS[what]
    if what == "minutes":
        clock(project, speed=60)  # a second
    stages = {"one": {"targets": ["it.txt"]}, "two": {"targets": ["two.txt"]}}
    configure(project, stages, max_workers=1, budget=budget)
    # A hook after each answer: that is when its transcript is read.
    talk: list[Step] = []
    for number in range(3):
        talk += [{"say": f"answer {number}"}, write("it.txt", f"half {number}")]
    if what == "minutes":  # the clock is looked at when something is heard, or a minute later
        project.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
        talk += [{"sleep": 0.1}, write("it.txt", "half")] * 40
    play(
        project,
        {"one": [[*talk, gate("go")], [write("it.txt", "whole")]], "two": [[write("two.txt")]]},
        usage={"input_tokens": 700, "output_tokens": 60},
    )
    ran = project.orchestrate(check=1)
    said = [line for line in ran.lines if line.startswith("stopped: ")]
    assert len(said) == 1
    assert re.fullmatch(f"stopped: {reason}", said[0])
    assert ran.said("2 stages: 2 stopped")
    assert project.processes() == []
    assert project.attempts("two") == 0
    assert (project.log("one").dir / "1/partial/it.txt").read_text().startswith("half")
    # What that run used is no part of the next one's: unchanged, too, it goes on where it was.
    configure(project, stages, max_workers=1, budget={what: budget[what] * again})
    project.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "0"
    ran = project.orchestrate("one")
    assert ran.said("1 stage: 1 done")
    assert "--resume" in launch(project, "one", 2)
    assert project.read("it.txt") == "whole"
    assert results(project, "one") == ["aborted", "succeeded"]
    assert "--resume" in launch(project, "one", 2)


# -- a person is needed

ASKS: list[Step] = [
    {"permission": "Bash", "command": "touch asked.txt"},
    write("it.txt"),
    {"say": "Found another way."},
]


def test_40_a_dialog_is_named_and_no_key_is_pressed(project: Project) -> None:
    configure(
        project,
        {"one": {"targets": ["it.txt"], "person_timeout": "1s"}},
        agent={"permission_mode": "manual"},
    )
    play(project, {"one": [ASKS]})
    with project.started() as live:
        live.until("NEEDS A PERSON: Bash touch asked.txt (dodo-claude allow one, deny one, or attach one)")
        assert live.wait() == 1
    (reason,) = failures([" ".join(line.split()[1:]) for line in live.lines])
    assert reason == (
        "one FAILED: a dialog waited 1 s for a person: Bash touch asked.txt; allow it in `allowed_tools`, or refuse "
        'all by on_permission = "deny"'
    )
    assert not (project.root / "asked.txt").exists()
    assert not [
        event
        for event in events(project, "one")
        if event.kind in ("enter", "sent", "continued", "interrupted")
    ]
    screen = (project.log("one").dir / "1/screen.txt").read_text()
    assert "Do you want to proceed?" in screen
    assert project.attempts("one") == 1


def test_40_a_persons_answer_lets_it_go_on(project: Project) -> None:
    configure(project, ONE, agent={"permission_mode": "manual"})
    play(project, {"one": [ASKS]})
    with project.started() as live:
        live.until("NEEDS A PERSON")
        (socket,) = project.runtime.glob("dodo-claude/*/tmux.sock")
        pane = str(events(project, "one", "spawned")[0].data["pane"])
        screen = project.run("dodo-claude", "capture", "one", check=0).out
        assert "Do you want to proceed?" in screen
        subprocess.run(["tmux", "-S", str(socket), "send-keys", "-t", pane, "1"], check=True)
        assert live.wait() == 0, live.text
    assert (project.root / "asked.txt").exists()


def test_40_on_permission_deny_refuses_and_goes_on(project: Project) -> None:
    configure(
        project,
        {"one": {"targets": ["it.txt"], "on_permission": "deny"}},
        agent={"permission_mode": "manual"},
    )
    play(project, {"one": [ASKS]})
    ran = project.orchestrate()
    assert not ran.said("NEEDS A PERSON")
    assert not (project.root / "asked.txt").exists()
    assert project.result("one")["message"] == "Found another way."


# -- silence


def test_33_a_silent_worker_is_nudged_and_then_interrupted(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "idle_timeout": "600ms"}})
    play(project, {"one": [[{"hang": True}], [write("it.txt")]]})
    project.orchestrate()
    kinds = project.kinds("one")
    assert kinds.index("continued") < kinds.index("interrupted") < kinds.index("Stop")
    assert project.attempts("one") == 1


def test_33_it_is_never_endless(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "idle_timeout": "300ms", "retries": 1}})
    play(project, {"one": [[{"hang": True}]]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert "nudged and interrupted in vain" in reason
    assert project.attempts("one") == 2
    assert "--resume" in launch(project, "one", 2)
