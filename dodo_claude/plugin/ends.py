"""How doit is done with each task that it came to, and what of that the report says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from doit.exceptions import BaseFail, TaskFailed, UnmetDependency

from dodo_claude.plugin.tasks import StageStopped

if TYPE_CHECKING:
    from dodo_claude.report.gather import Said


class _End(NamedTuple):
    """One task's: doit's status of it, its failure, and the tasks that it needed in vain."""

    status: str
    fail: BaseFail | None
    needs: tuple[str, ...]


class Ends:
    """Those of one run, by name."""

    def __init__(self) -> None:
        self._ends: dict[str, _End] = {}

    def add(self, name: str, status: str, fail: BaseFail | None = None, needs: tuple[str, ...] = ()) -> None:
        self._ends[name] = _End(status, fail, needs)

    def fell(self, name: str, text: str) -> bool:
        """What doit was done with well is so no more. Was it?"""
        end = self._ends.get(name)
        if end is None or end.status not in ("successful", "up-to-date"):
            return False
        self._ends[name] = _End("failure", TaskFailed(text), end.needs)
        return True

    def successful(self) -> set[str]:
        """The tasks that ran well."""
        return {name for name, end in self._ends.items() if end.status == "successful"}

    def said(self) -> dict[str, Said]:
        """In the report's words."""
        from dodo_claude.report import gather, record

        words = {"up-to-date": record.UP_TO_DATE, "ignore": record.IGNORED, "successful": record.DONE}
        said = {}
        for name, (status, fail, needs) in self._ends.items():
            if fail is None:
                said[name] = gather.Said(words[status])
            elif isinstance(fail, UnmetDependency):
                said[name] = gather.Said(record.NOT_RUN, waits_for=needs)
            else:
                state = record.STOPPED if isinstance(fail, StageStopped) else record.FAILED
                said[name] = gather.Said(state, fail.message)
        return said
