"""Who minds the signals that end a run."""

from __future__ import annotations

import signal
import threading

from dodo_claude.plugin import signals


def test_afterwards_signals_mean_what_they_meant() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    threads = threading.active_count()
    with signals.minded(lambda number: None):
        assert threading.active_count() == threads + 1
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1


def test_away_from_the_main_thread_it_minds_none() -> None:
    found = []

    def look() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with signals.minded(lambda number: None):
            found.append(signal.getsignal(signal.SIGTERM) == before)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [True]
