"""The targets of all stages of a run, which may learn of more stages while it lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator

from dodo_claude.config.records import Config


class Targets(Collection[str]):
    """All stages' targets in the order of paths, those of stages that the run learns of later, too."""

    def __init__(self, current: Callable[[], Config]) -> None:
        self._current = current
        self._config: Config | None = None
        self._names: frozenset[str] = frozenset()
        self._order: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def _now(self) -> tuple[frozenset[str], tuple[str, ...]]:
        with self._lock:
            config = self._current()
            if self._config is not config:
                self._names = frozenset(target for stage in config.stages for target in stage.targets)
                self._order, self._config = tuple(sorted(self._names)), config
            return self._names, self._order

    def __contains__(self, name: object) -> bool:
        return name in self._now()[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now()[1])

    def __len__(self) -> int:
        return len(self._now()[0])
