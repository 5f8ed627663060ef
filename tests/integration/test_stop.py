"""A person stops a stage: `dodo-claude stop`, at whatever moment of its life, with a run and without one."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dodo_claude.config.config import Blueprint, load_config
from dodo_claude.config.records import Config
from dodo_claude.control import stopping
from dodo_claude.control.project import project_tmux
from dodo_claude.machine.tmux import Tmux
from dodo_claude.run.run import Run
from dodo_claude.state.stops import Stops
from tests.integration.scenes import (
    alive,
    at_gate,
    configure,
    events,
    gate,
    happened,
    launch,
    open_gate,
    play,
    result,
    results,
    wait_event,
    worker_pid,
    write,
)
from tests.project import BIN, Live, Project

pytestmark = pytest.mark.tmux
BY_YOU = "stopped by you"
NOT_BEGUN = "stopped by you before it began; the next doit orchestrate begins it"


def stop(project: Project, *names: str) -> str:
    return project.run("dodo-claude", "stop", *names, check=0).out


def two(project: Project, **keys: object) -> None:
    """`one`, which is to be stopped, `next`, which needs it, and `other`, which does not."""
    configure(
        project,
        {
            "one": {"targets": ["one.txt"], **keys},
            "other": {"targets": ["other.txt"]},
            "next": {"file_dep": ["one.txt"], "targets": ["next.txt"]},
        },
        defaults={"retries": 3},
    )
    play(
        project,
        {
            "one": [[write("one.txt", "half"), gate("go")], [write("one.txt", "whole")]],
            "other": [[gate("other.go"), write("other.txt")]],
            "next": [[write("next.txt")]],
        },
    )


def check_the_rest_went_on(
    project: Project, live: Live, sums: str = "3 stages: 1 done, 1 stopped, 1 not run"
) -> None:
    open_gate(project, "other.go")
    assert live.wait() == 1, live.text
    assert sums in live.text
    assert [line.split("  ", 2)[2].strip() for line in live.lines if BY_YOU in line] == [BY_YOU], live.text
    assert "not run: needs one" in live.text
    assert project.attempts("next") == 0
    assert project.processes() == []
    assert project.sessions() == []
    assert list((project.root / ".orchestrate/stops").iterdir()) == []


def status(project: Project, name: str) -> dict[str, object]:
    told = json.loads(project.run("dodo-claude", "status", "--json", check=0).out)
    (found,) = [stage for stage in told["stages"] if stage["name"] == name]
    return dict(found)


def test_a_worker_in_mid_work_comes_back_with_the_next_run_only(project: Project) -> None:
    two(project)
    with project.started() as live:
        at_gate(project, "go")
        at_gate(project, "other.go")
        assert stop(project, "one") == "one: stopped; doit orchestrate goes on with it\n"
        assert results(project, "one") == ["aborted"]
        assert not (project.root / "one.txt").exists()
        assert stop(project, "one") == "one: is stopped already: there is nothing to stop\n"
        check_the_rest_went_on(project, live)
    assert result(project, "one", 1)["reason"] == BY_YOU
    assert (status(project, "one")["state"], status(project, "one")["about"]) == ("stopped", BY_YOU)
    assert BY_YOU in project.run("dodo-claude", "log", "one", check=0).out
    report = json.loads(project.run("dodo-claude", "report", "--json", check=0).out)
    (told,) = [stage for stage in report["stages"] if stage["name"] == "one"]
    assert (told["state"], told["reason"]) == ("stopped", BY_YOU)
    session = events(project, "one", "SessionStart")[0].data["session_id"]
    assert project.orchestrate().said("3 stages: 2 done, 1 up to date")
    assert f"--resume {session} " in launch(project, "one", 2)
    assert project.read("one.txt") == "whole"


def test_in_its_check_it_is_not_done_and_the_check_is_ended(project: Project) -> None:
    two(project, check="touch check.at; exec sleep 1000")
    open_gate(project, "go")
    with project.started() as live:
        at_gate(project, "check")
        at_gate(project, "other.go")
        assert stop(project, "one").startswith("one: stopped")
        check_the_rest_went_on(project, live)
    assert results(project, "one") == ["aborted"]
    assert not happened(project, "one", "verified")
    report = json.loads(project.run("dodo-claude", "report", "--json", check=0).out)
    (told,) = [stage for stage in report["stages"] if stage["name"] == "one"]
    assert [check["result"] for check in told["checks"]] == ["not run"]


@pytest.mark.parametrize("check", [None, "touch check.at; exec sleep 1000"])
def test_a_command_is_ended_with_all_that_it_started(project: Project, check: str | None) -> None:
    two(project)
    command = (
        "echo x > one.txt; touch it.at; (setsid sleep 1000 &); sleep 1000"
        if check is None
        else "echo x > one.txt"
    )
    keys = {} if check is None else {"check": check}
    configure(
        project,
        {
            "one": {"command": command, "targets": ["one.txt"], **keys},
            "other": {"targets": ["other.txt"]},
            "next": {"file_dep": ["one.txt"], "targets": ["next.txt"]},
        },
    )
    with project.started() as live:
        at_gate(project, "it" if check is None else "check")
        at_gate(project, "other.go")
        assert stop(project, "one").startswith("one: stopped")
        assert not (project.root / "one.txt").exists()
        check_the_rest_went_on(project, live)
    assert (results(project, "one"), result(project, "one", 1)["reason"]) == (["aborted"], BY_YOU)


def test_all_of_them(project: Project) -> None:
    two(project)
    with project.started() as live:
        at_gate(project, "go")
        at_gate(project, "other.go")
        assert sorted(stop(project, "--all").splitlines()) == [
            f"{name}: stopped; doit orchestrate goes on with it" for name in ("one", "other")
        ]
        assert live.wait() == 1
    assert "3 stages: 2 stopped, 1 not run" in live.text
    assert (results(project, "one"), results(project, "other")) == (["aborted"], ["aborted"])
    assert project.sessions() == []
    assert stop(project, "--all") == "nothing is at work, and no session is left\n"
    open_gate(project, "other.go")
    assert project.orchestrate().said("3 stages: 3 done")


def test_all_of_them_though_they_end_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended by the time that its state is looked at was stopped as well, and is named; also when the run is over."""
    names = ("one", "three", "two")
    configure(
        project, {name: {"command": f"touch {name}.at; exec sleep 1000"} for name in names}, max_workers=3
    )
    give = Stops.give

    def given(stops: Stops, stage: str, sender: str, run: str) -> None:
        give(stops, stage, sender, run)
        project.wait_for(lambda: all(results(project, name) == ["aborted"] for name in names), "their ends")

    with project.started() as live:
        for name in names:
            at_gate(project, name)
        monkeypatch.setattr(Stops, "give", given)
        for name, value in project.environ().items():
            monkeypatch.setenv(name, value)
        lines = stopping.stop(Blueprint(project.root / "orchestrate.toml").config(()), None)
        assert sorted(lines) == [f"{name}: stopped; doit orchestrate goes on with it" for name in names]
        assert live.wait() == 1
    assert "3 stages: 3 stopped" in live.text


def test_one_that_waits_for_its_next_attempt(project: Project) -> None:
    two(project)
    project.edit("orchestrate.toml", 'retry_delay = "10ms"', 'retry_delay = "10m"')
    play(
        project,
        {
            "one": [[write("one.txt"), {"exit": 3}], [write("one.txt", "whole")]],
            "other": [[gate("other.go"), write("other.txt")]],
            "next": [[write("next.txt")]],
        },
    )
    with project.started() as live:
        at_gate(project, "other.go")
        wait_event(project, "one", "outcome")
        assert stop(project, "one") == "one: stopped; doit orchestrate goes on with it\n"
        check_the_rest_went_on(project, live)
    assert results(project, "one") == ["failed", "aborted"]
    assert status(project, "one")["about"] == BY_YOU
    project.edit("orchestrate.toml", 'retry_delay = "10m"', 'retry_delay = "10ms"')
    assert project.orchestrate().said("3 stages: 2 done, 1 up to date")
    assert "--resume" in launch(project, "one", 3)


def test_ctrl_c_while_one_waits_for_its_next_attempt_is_a_stop(project: Project) -> None:
    two(project)
    project.edit("orchestrate.toml", 'retry_delay = "10ms"', 'retry_delay = "10m"')
    play(project, {"one": [[{"exit": 3}]], "other": [[gate("other.go")]]})
    with project.started() as live:
        at_gate(project, "other.go")
        wait_event(project, "one", "outcome")
        assert live.kill(signal.SIGINT) == 130
    assert "3 stages: 2 stopped, 1 not run" in live.text
    assert results(project, "one") == ["failed", "aborted"]


def test_one_in_a_pause_and_one_that_has_no_place_yet(project: Project) -> None:
    configure(
        project,
        {name: {"targets": [f"{name}.txt"]} for name in ("one", "two")},
        max_workers=1,
        retry_delay="15m",
    )
    play(project, {"one": [[{"fail": "server_error"}]], "two": [[write("two.txt")]]})
    with project.started() as live:
        wait_event(project, "one", "paused")
        assert stop(project, "two") == "two: has not begun; this run does not begin it\n"
        assert stop(project, "one").startswith("one: stopped")
        assert live.wait() == 1
    assert "2 stages: 2 stopped" in live.text
    assert live.text.count(f"  {BY_YOU}\n") == 2
    assert project.attempts("two") == 0


def test_what_has_not_begun_is_not_begun(project: Project) -> None:
    two(project)
    with project.started() as live:
        at_gate(project, "go")
        at_gate(project, "other.go")
        assert stop(project, "next") == "next: has not begun; this run does not begin it\n"
        assert (status(project, "next")["state"], status(project, "next")["about"]) == ("stopped", NOT_BEGUN)
        assert stop(project, "next") == "next: is stopped already: there is nothing to stop\n"
        open_gate(project, "go")
        live.until(f"next            {BY_YOU}")  # the run came to it, and took it so
        assert (status(project, "next")["state"], status(project, "next")["about"]) == ("stopped", NOT_BEGUN)
        told = project.run("dodo-claude", "report", check=0).out
        assert f"next: stopped: {NOT_BEGUN}" in " ".join(told.split()), told
        open_gate(project, "other.go")
        assert live.wait() == 1
    assert "3 stages: 2 done, 1 stopped" in live.text
    assert project.attempts("next") == 0
    assert project.orchestrate().said("3 stages: 1 done, 2 up to date")


def test_an_order_that_comes_when_the_run_is_over_is_taken_back(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a stage that has not begun: nobody else would take it away, and the next run has no need of it."""
    two(project)
    with project.started() as live:
        at_gate(project, "go")
        at_gate(project, "other.go")
        for name, value in project.environ().items():
            monkeypatch.setenv(name, value)
        config = load_config(project.root / "orchestrate.toml")
        stages, tmux = tuple(config.named("next")), project_tmux(config)
        run = stopping.detached.holder(config.root)
        assert run is not None
        with monkeypatch.context() as patch:  # it ends in this moment
            patch.setattr(stopping.detached, "holder", lambda root: None)
            assert (
                stopping._by_the_run(config, tmux, stages, "you", run, everything=False, by_all=frozenset())
                is None
            )
        open_gate(project, "go")
        open_gate(project, "other.go")
        assert live.wait() == 1
    assert list((project.root / ".orchestrate/stops").glob("*")) == []


def test_what_is_done_stays_done(project: Project) -> None:
    two(project)
    open_gate(project, "go")
    with project.started() as live:
        at_gate(project, "other.go")
        live.until("one             done")
        assert stop(project, "one") == "one: is done: there is nothing to stop\n"
        open_gate(project, "other.go")
        assert live.wait() == 0
    assert (
        stop(
            project,
            "one",
        )
        == "one: is done: there is nothing to stop\n"
    )
    assert project.orchestrate().said("3 stages: 3 up to date")


def test_at_a_dialog(project: Project) -> None:
    configure(project, {"one": {"targets": ["one.txt"]}}, agent={"permission_mode": "manual"})
    play(project, {"one": [[{"permission": "Bash", "command": "touch forbidden"}, write("one.txt")]]})
    with project.started() as live:
        live.until("NEEDS A PERSON")
        assert stop(project, "one").startswith("one: stopped")
        assert live.wait() == 1
    assert "1 stage: 1 stopped" in live.text
    assert not (project.root / "forbidden").exists()
    assert "touch forbidden" in (project.log("one").dir / "1/screen.txt").read_text()


# -- groups, phases, plans, monitors


def test_all_of_a_group(project: Project) -> None:
    configure(
        project,
        {
            "each": {"foreach": ["a", "b"], "targets": ["{{ item }}.txt"]},
            "other": {"targets": ["other.txt"]},
            "all": {
                "command": "cat a.txt b.txt > all.txt",
                "file_dep": ["a.txt", "b.txt"],
                "targets": ["all.txt"],
            },
        },
    )
    play(
        project,
        {
            **{f"each:{name}": [[gate(f"{name}.go"), write(f"{name}.txt")]] for name in "ab"},
            "other": [[gate("other.go"), write("other.txt")]],
        },
    )
    with project.started() as live:
        for name in ("a.go", "b.go", "other.go"):
            at_gate(project, name)
        assert len(stop(project, "each").splitlines()) == 2
        open_gate(project, "other.go")
        assert live.wait() == 1
    assert "4 stages: 1 done, 2 stopped, 1 not run" in live.text
    for name in "ab":
        open_gate(project, f"{name}.go")
    with project.started() as live:
        assert live.wait() == 0
    assert "4 stages: 3 done, 1 up to date" in live.text


def test_between_phases_what_was_verified_holds(project: Project) -> None:
    project.write(
        "orchestrate.toml",
        """
        [orchestrate]
        name = "p"
        worker_memory = "0MB"
        [defaults]
        agent = "scripted"
        [agents.scripted]
        allowed_tools = ["Edit(./**)", "Bash"]
        [stages.one]
        [[stages.one.phases]]
        prompt = "First."
        targets = ["1.txt"]
        [[stages.one.phases]]
        prompt = "Second."
        targets = ["2.txt"]
        """,
    )
    play(project, {"one": [[write("1.txt")], [gate("go"), write("2.txt")], [write("2.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        assert stop(project, "one").startswith("one: stopped")
        assert live.wait() == 1
    assert project.read("1.txt") == "x\n"
    open_gate(project, "go")
    assert project.orchestrate().said("1 stage: 1 done")
    assert [event.data["phase"] for event in events(project, "one", "begun")] == [0, 1]


def test_a_planner(project: Project) -> None:
    project.write(
        "orchestrate.toml",
        """
        [orchestrate]
        name = "p"
        worker_memory = "0MB"
        [defaults]
        agent = "scripted"
        [agents.scripted]
        allowed_tools = ["Edit(./**)", "Bash"]
        [stages.work]
        plan = "plan.toml"
        prompt = "Plan it."
        """,
    )
    play(project, {"work:plan": [[gate("go")]]})
    with project.started() as live:
        at_gate(project, "go")
        assert stop(project, "work:plan").startswith("work:plan: stopped")
        assert live.wait() == 1
    assert f"work:plan       {BY_YOU}" in live.text
    assert results(project, "work:plan") == ["aborted"]
    assert project.processes() == []


def test_its_monitors_end_with_it(project: Project) -> None:
    configure(
        project,
        {"one": {"targets": ["one.txt"]}},
        monitors={"build": {"beside": "one", "command": "echo up; exec sleep 1000", "match": "never"}},
    )
    play(project, {"one": [[gate("go")]]})
    with project.started() as live:
        at_gate(project, "go")
        assert len(project.processes()) > 1
        assert stop(project, "one").startswith("one: stopped")
        assert live.wait() == 1
    assert project.processes() == []
    assert project.sessions() == []


# -- without a run, and one that is killed


def test_one_that_a_killed_run_left_is_ended_and_resumed_by_the_next(project: Project) -> None:
    two(project)
    with project.started() as live:
        at_gate(project, "go")
        live.kill()
    pid = worker_pid(project, "one")
    assert alive(pid)
    assert stop(project, "one") == "one: stopped; doit orchestrate goes on with it\n"
    assert not alive(pid)
    assert (status(project, "one")["state"], status(project, "one")["about"]) == ("stopped", BY_YOU)
    assert not (project.root / "one.txt").exists()
    assert stop(project, "one") == "one: is stopped already: there is nothing to stop\n"
    open_gate(project, "other.go")
    assert project.orchestrate().said("3 stages: 3 done")
    assert "--resume" in launch(project, "one", 2)
    assert project.read("one.txt") == "whole"


def test_a_command_that_a_killed_run_left(project: Project) -> None:
    configure(project, {"one": {"command": "touch it.at; sleep 1000", "targets": ["one.txt"]}})
    with project.started() as live:
        at_gate(project, "it")
        live.kill()
    assert project.processes()
    assert stop(project, "one").startswith("one: stopped")
    assert project.processes() == []
    assert status(project, "one")["about"] == BY_YOU


def test_a_run_that_is_killed_before_it_can_act(project: Project) -> None:
    """The order is written down: whoever is there ends the worker."""
    two(project)
    with project.started() as live:
        at_gate(project, "go")
        live.process.send_signal(signal.SIGSTOP)
        stopping = subprocess.Popen(
            [BIN / "dodo-claude", "stop", "one"],
            cwd=project.root,
            env=project.environ(),
            stdout=subprocess.PIPE,
            text=True,
        )
        order = project.root / ".orchestrate/stops/one"
        project.wait_for(order.exists, "the order")
        live.kill()
        out, _ = stopping.communicate(timeout=30)
    assert out == "one: stopped; doit orchestrate goes on with it\n"
    assert not alive(worker_pid(project, "one"))
    assert result(project, "one", 1)["reason"] == BY_YOU
    open_gate(project, "other.go")
    assert project.orchestrate().said("3 stages: 3 done")
    assert "--resume" in launch(project, "one", 2)


def test_an_order_that_outlived_run_and_command_ends_the_worker_once(project: Project) -> None:
    two(project)
    with project.started() as live:
        at_gate(project, "go")
        live.process.send_signal(signal.SIGSTOP)
        stopping = subprocess.Popen(
            [BIN / "dodo-claude", "stop", "one"], cwd=project.root, env=project.environ()
        )
        order = project.root / ".orchestrate/stops/one"
        project.wait_for(order.exists, "the order")
        stopping.kill()
        stopping.wait()
        live.kill()
    pid = worker_pid(project, "one")
    assert alive(pid)
    open_gate(project, "other.go")
    assert project.orchestrate().said("3 stages: 3 done")
    assert not alive(pid)
    assert result(project, "one", 1)["reason"] == BY_YOU
    assert results(project, "one") == ["aborted", "succeeded"]
    assert list(order.parent.iterdir()) == []


def test_one_that_a_later_run_has_not_come_to(project: Project) -> None:
    """Its worker lives, nobody follows it yet, and only that run may write down what becomes of it."""
    configure(project, {name: {"targets": [f"{name}.txt"]} for name in ("first", "one")}, max_workers=2)
    play(project, {name: [[gate(f"{name}.go"), write(f"{name}.txt")]] for name in ("first", "one")})
    with project.started() as live:
        at_gate(project, "one.go")
        at_gate(project, "first.go")
        live.kill()
    pid = worker_pid(project, "one")
    with project.started("-n", "1") as live:
        lock = project.root / ".orchestrate/run.lock"
        project.wait_for(lambda: f"pid {live.process.pid} " in lock.read_text(), "the rerun")
        plans = f".orchestrate/runs/*-{live.process.pid}/plan.toml"
        project.wait_for(lambda: list(project.root.glob(plans)), "its plan")
        said = stop(project, "one")
        assert said == "one: its worker, whom an earlier run left, is ended; this run does not begin it\n"
        assert not alive(pid)
        open_gate(project, "first.go")
        open_gate(project, "one.go")
        assert live.wait() == 1, live.text
    assert "2 stages: 1 done, 1 stopped" in live.text
    assert project.orchestrate().said("2 stages: 1 done, 1 up to date")


def test_one_that_a_run_finds_that_has_begun_nothing_yet(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is a run's before its plan is written: what is at work then, an earlier one left."""
    configure(project, {"one": {"targets": ["one.txt"]}})
    play(project, {"one": [[gate("go"), write("one.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        live.kill()
    pid = worker_pid(project, "one")
    for name, value in project.environ().items():
        monkeypatch.setenv(name, value)
    run = Run(load_config(project.root / "orchestrate.toml"))
    run.take_lock()
    said = stop(project, "one")
    assert said == "one: its worker, whom an earlier run left, is ended; this run does not begin it\n"
    assert not alive(pid)
    run.close()
    assert stop(project, "one").startswith("one: stopped")


def test_what_the_order_for_all_ended_at_once_is_said_to_be_stopped(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it was asked for by name, and in the moment before its session went."""
    two(project)
    with project.started() as live:
        at_gate(project, "go")
        at_gate(project, "other.go")
        for name, value in project.environ().items():
            monkeypatch.setenv(name, value)
        ask = stopping._stop

        def later(config: Config, tmux: Tmux, *args: Any, **more: Any) -> list[str]:
            project.wait_for(lambda: results(project, "one") == ["aborted"], "its end by the order for all")
            project.wait_for(lambda: results(project, "other") == ["aborted"], "and the other's")
            return ask(config, tmux, *args, **more)

        monkeypatch.setattr(stopping, "_stop", later)
        monkeypatch.setattr(stopping, "_take_down", lambda tmux, sessions, stage: stage.name != "next")
        said = stopping.stop(load_config(project.root / "orchestrate.toml"), None)
        assert sorted(said) == [
            f"{name}: stopped; doit orchestrate goes on with it" for name in ("one", "other")
        ]
        assert live.wait() == 1
    assert project.sessions() == []


def test_a_worker_that_stops_another_is_named(project: Project) -> None:
    two(project)
    play(
        project,
        {
            "one": [[gate("go")]],
            "other": [
                [
                    {"bash": f"while [ ! -e go.at ]; do sleep 0.02; done; {BIN}/dodo-claude stop one"},
                    write("other.txt"),
                ]
            ],
            "next": [[write("next.txt")]],
        },
    )
    assert project.orchestrate(check=1).said("stopped by worker other")


@pytest.mark.parametrize(
    ("call", "sender"),
    [
        ("mcp.Tools().stop('one')", "the orchestrator"),
        ("'; '.join(stopping.stop(project.find_config(), 'one'))", "you"),
    ],
)
def test_the_other_ways_do_the_same(project: Project, call: str, sender: str) -> None:
    two(project)
    with project.started() as live:
        at_gate(project, "go")
        at_gate(project, "other.go")
        code = f"from dodo_claude.commands import mcp; from dodo_claude.control import project, stopping; print({call})"
        said = project.run("python", "-c", code, check=0).out
        assert said == "one: stopped; doit orchestrate goes on with it\n"
        open_gate(project, "other.go")
        assert live.wait() == 1
    assert f"one             stopped by {sender}\n" in live.text
    assert "3 stages: 1 done, 1 stopped, 1 not run" in live.text
    assert results(project, "one") == ["aborted"]


def test_names_that_are_none(project: Project) -> None:
    two(project)
    assert (
        "stage 'onne': not found (did you mean 'one'?)"
        in project.run("dodo-claude", "stop", "onne", check=2).err
    )
    assert stop(project, "one") == "one: is not run now: there is nothing to stop\n"
    assert stop(project, "run") == "run: there is no detached run\n"
    assert not Path(project.root / ".orchestrate/stages").exists()


def test_a_nested_orchestration_by_its_name(project: Project) -> None:
    inner = "\n".join(
        f'[stages.{name}]\nprompt = "Do it."\ntargets = ["{name}.txt"]' for name in ("part", "last")
    )
    agent = '[defaults]\nagent = "scripted"\n[agents.scripted]\nallowed_tools = ["Edit(./**)", "Bash"]'
    project.write("sub/orchestrate.toml", f"{agent}\n{inner}\n")
    configure(project, {"other": {"targets": ["other.txt"]}})
    text = project.read("orchestrate.toml") + '[stages.sub]\norchestrate = "sub/orchestrate.toml"\n'
    project.write("orchestrate.toml", text)
    play(
        project,
        {
            **{f"sub:{name}": [[gate(f"{name}.go"), write(f"{name}.txt")]] for name in ("part", "last")},
            "other": [[gate("other.go"), write("other.txt")]],
        },
    )
    project.write("sub/scenario.toml", project.read("scenario.toml").replace("sub:", ""))
    with project.started() as live:
        at_gate(project, "other.go")
        project.wait_for(lambda: happened(project, "sub:part", "PreToolUse"), "sub:part at work")
        project.wait_for(lambda: happened(project, "sub:last", "PreToolUse"), "sub:last at work")
        assert sorted(stop(project, "sub").splitlines()) == [
            f"sub:{name}: stopped; doit orchestrate goes on with it" for name in ("last", "part")
        ]
        open_gate(project, "other.go")
        assert live.wait() == 1
    assert "3 stages: 1 done, 2 stopped" in live.text
