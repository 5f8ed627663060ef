"""The signals that end a run: who minds them before it begins, while it lasts and when it is over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop(number: int, frame: object) -> None:
    """Before the run begins: it does not begin."""
    raise KeyboardInterrupt(number)


class Late:
    """What comes when all is over would only keep it from being put away. Who insists, by a second one, ends it at once."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, number: int, frame: object) -> None:
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number


def signal_in(error: BaseException | None) -> KeyboardInterrupt | None:
    """The signal that an error is made of: in the midst of an import one may come out as the error of a class that was
    being made (Python 3.11: "Error calling __set_name__")."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error


def mind(handler: Callable[[int, Any], object]) -> dict[int, Any]:
    """Have `handler` mind them. What minded them before; nothing outside the main thread, where nobody may say who does."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in SIGNALS}


@contextmanager
def minded(told: Callable[[int], object]) -> Iterator[None]:
    """Signals are told to a thread of their own, woken by a pipe.

    A handler would run in the main thread only: not while that waits in doit's queue and the system gave the signal
    to another thread, or gave it a moment before the wait; and it may interrupt whoever holds a lock that it needs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    minding = threading.Thread(target=_read, args=(reading, told), daemon=True)
    minding.start()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: None)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(writing)
        minding.join()
        os.close(reading)


def _read(reading: int, told: Callable[[int], object]) -> None:
    while number := os.read(reading, 1):
        if number[0] in SIGNALS:
            told(number[0])
