"""What all stages of a run share: the stop, and all of it from many threads."""

from __future__ import annotations

import os
import threading
from datetime import UTC

import pytest

from dodo_claude.agents.usage import Usage
from dodo_claude.config.config import load_config
from dodo_claude.config.records import Budget
from dodo_claude.run.fleet import Fleet, Limits
from tests.samples.fleets import Rig


def test_the_first_reason_to_stop_stays() -> None:
    rig = Rig()
    assert rig.fleet.stopped is None
    rig.fleet.stop("disk full")
    rig.fleet.stop("something else")
    assert rig.fleet.stopped == "disk full"
    assert rig.heard == 1


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (
            "authentication_failed",
            "Please run /login · API Error: 401",
            "authentication failed: Please run /login · API Error: 401 (run `claude` once by hand and log in, or set "
            "ANTHROPIC_API_KEY; then run again)",
        ),
        (
            "billing_error",
            "Credit balance is too low",
            "billing error: Credit balance is too low (add credit to the account, or use another; then run again)",
        ),
        (
            "model_not_found",
            "",
            "model not found (set model in orchestrate.toml to one that your account has; then run again)",
        ),
        (
            "new_kind",
            "a\nb\x1b[31m\tc" + "x" * 500,
            "new kind: a b c" + "x" * 194 + "… (mend it; then run again)",
        ),
    ],
)
def test_what_every_worker_would_meet_stops_at_once(kind: str, text: str, reason: str) -> None:
    rig = Rig()
    rig.fleet.fatal(kind, text)
    assert rig.fleet.stopped == reason
    assert rig.fleet.over_budget() is None


def test_limits_of_a_configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("p") / "orchestrate.toml"
    stage = "[stages.a]\ncommand = 'true'\n"
    path.write_text(stage)
    assert Limits.of(load_config(path)) == Limits()
    path.write_text(
        "[orchestrate]\nbudget = { turns = 7 }\nretry_delay = '1s'\nmax_wait = '2h'\nworker_memory = '0MB'\n"
        + stage
    )
    assert Limits.of(load_config(path)) == Limits(Budget(turns=7), 1.0, 7200.0, 0)


def test_the_standard_clock_will_do() -> None:
    fleet = Fleet(Limits(), zone=UTC)
    assert fleet.pause("overloaded", "") > 0
    assert 20 < fleet.pause_left() <= 30
    assert fleet.admit(os.getpid()) is None


def test_many_threads_at_once() -> None:
    rig = Rig(Limits(Budget(turns=10**9)))

    def work(name: int) -> None:
        for number in range(200):
            rig.fleet.spent((name, number % 5), Usage(turns=1, messages=number), 0.5)
            rig.fleet.admit(name)
            rig.fleet.ended(name)
            rig.fleet.pause("overloaded", "")
            rig.fleet.failed(f"kind {name} {number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = rig.fleet.totals()
    assert (totals.usage.turns, totals.cost) == (40, 20.0)
    assert totals.usage.messages == 8 * (195 + 196 + 197 + 198 + 199)
    assert rig.fleet.stopped is None
