"""Stages and attempts as reports tell of them."""

from __future__ import annotations

from dodo_claude.report import record
from dodo_claude.report.record import (
    AttemptReport,
    CheckReport,
    FileReport,
    GroupReport,
    Left,
    RunReport,
    StageReport,
    Totals,
)
from tests.schemas import shape

ATTEMPT = AttemptReport(
    2, "failed", "check `make` ended with exit status 2", 100.0, 40.0, 2, 7, 1, 1200, 0.25, "s-1",
    ".orchestrate/stages/api/2",
)  # fmt: skip


FILE = FileReport("api.py", "set aside", 20, 2, 1, 3, ".orchestrate/stages/api/2/partial/api.py")


STAGE = StageReport(
    "api", None, "claude", record.FAILED, "check `make` ended with exit status 2", (), 40.0, 1, 1200, 0.25,
    (ATTEMPT,), (FILE,), (CheckReport("check", "make", "failed", "no rule"),), "I tried.",
)  # fmt: skip


ITEM = StageReport(
    "map:a", "map", None, record.NOT_RUN, "", ("api",), 0.0, 0, 0, None, (), (),
    (CheckReport("command", "true", "not run", ""),), "", ("api",),
)  # fmt: skip


RUN = RunReport(
    1, "p", "20260101-000000-7", "ended", "", 100.0, 150.0, 50.0,
    Totals({"failed": 1, "not run": 1}, {"failed": 1, "not run": 1}, 1, 1, 40.0, 1200, 0.25, 0, 0, 0),
    (Left("api", "failed: it"), Left("map:a", "not run: needs api")),
    (GroupReport("map", {"not run": 1}, 0.0, 0, None, ("map:a",)),), (STAGE, ITEM),
)  # fmt: skip


SHAPE = shape("report")
