"""A monitor: the program in a pane beside a worker. It runs a command, shows what that says, and tells the worker
when the lines that match have changed, or are gone.

`Judge` and `message` are pure: output in, what to tell out. The rest waits: for output, for the next run's time, for
the worker's end. What is told goes through the mailbox, so it needs no orchestrator.

Rules this file keeps: one finding is one message, and none twice in a row; what the mailbox refuses is tried again; the
command, and all that it started, ends with the worker.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import termios
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from dodo_claude.config import prompts
from dodo_claude.config.records import Monitor
from dodo_claude.machine import files, processes
from dodo_claude.state.journal import StageLog
from dodo_claude.state.mail import MAX_INLINE, Mailbox, RefusedError
from dodo_claude.text.clean import clean_text, one_line
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor
from dodo_claude.worker import monitors

# What is left of a message for the lines however long the rest of it is.
LEAST_ROOM = 300  # characters
MOST_ROWS = 200
MOST_ROW = 300  # characters of one line
MOST_LINE = 65_536  # characters of a line that does not end
MOST_COMMAND = 200  # characters of the command that a message repeats
# Characters of one run that are judged: the first and the last half of it.
MOST_OUTPUT = 1_000_000
# Output that never falls silent is judged after so many times the silence that is waited for.
LONGEST_TALK = 10
# When a message that was refused is tried again.
RETRY_SECONDS = 5.0
# Only without pidfd_open (macOS): how often the worker is asked whether it lives.
POLL_SECONDS = 1.0


# -- what to tell


@dataclass(frozen=True, slots=True)
class Finding:
    """Lines that matched, with those around them. Two that say the same have the same key, which is never ''."""

    key: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was told of is gone."""


def find(text: str, match: re.Pattern[str], context: int) -> Finding | None:
    """The finding in `text`, whose lines end with a newline alone."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    hits = {index: found for index, line in enumerate(lines) if (found := match.search(line[:MOST_LINE]))}
    if not hits:
        return None
    said = {_said(found, match) for found in hits.values()}
    key = hashlib.sha256("\n".join(sorted(said)).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    rows: list[str] = []
    last = -1
    for index in hits:
        first = max(last + 1, index - context)
        if last >= 0 and first > last + 1:
            rows.append("…")
        last = max(last, min(len(lines) - 1, index + context))
        rows += [_cut(line, MOST_ROW) for line in lines[first : last + 1]]
        if len(rows) > MOST_ROWS:
            break
    return Finding(key, tuple(rows))


def _said(found: re.Match[str], match: re.Pattern[str]) -> str:
    """What tells one matching line from another: what its groups captured, if it has any."""
    return "\0".join(group or "" for group in found.groups()) if match.groups else found.string.strip()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


class Judge:
    """What of a command's output its worker is to be told. `told` is the key of what it knows already."""

    def __init__(
        self, match: str, *, context: int = 3, recovered_match: str | None = None, told: str = ""
    ) -> None:
        self.told = told
        self._match = re.compile(match)
        self._over = re.compile(recovered_match) if recovered_match is not None else None
        self._context = context
        # One that was told before, and has not been seen again yet.
        self._now = Finding(told, ()) if told else None

    def ran(self, text: str) -> None:
        """The whole output of one run."""
        self._now = find(text, self._match, self._context)

    def said(self, text: str) -> None:
        """A part of an output that goes on. What came before counts until a line says that it is over."""
        if self._over is not None:
            lines = text.split("\n")
            ends = [index for index, line in enumerate(lines) if self._over.search(line[:MOST_LINE])]
            if ends:
                self._now, text = None, "\n".join(lines[ends[-1] + 1 :])
        self._now = find(text, self._match, self._context) or self._now

    @property
    def news(self) -> Finding | Recovery | None:
        """What the worker does not know yet."""
        if self._now is None:
            return Recovery() if self.told else None
        return self._now if self._now.key != self.told else None

    def delivered(self) -> None:
        """The worker was told the news."""
        self.told = self._now.key if self._now is not None else ""


def message(monitor: Monitor, stage: str, item: str | None, news: Finding | Recovery) -> str:
    """What the worker is told; short enough to reach it whole, if the template lets it."""
    command = one_line(_cut(monitor.command, MOST_COMMAND))
    if isinstance(news, Recovery):
        plain = f"The command `{command}` does not say so any more."
        return _rendered(monitor.recovered, stage, item, None, plain)
    mark = secrets.token_hex(8)
    while any(mark in row for row in news.rows):
        mark = secrets.token_hex(8)

    def whole(rows: str) -> str:
        lines = prompts.fence("output", monitor.name, rows, mark)
        return _rendered(monitor.message, stage, item, lines, f"The command `{command}` says:\n{lines}")

    return whole(_excerpt(news.rows, max(LEAST_ROOM, MAX_INLINE - len(whole("")) - 1)))


def _rendered(source: str | None, stage: str, item: str | None, lines: str | None, plain: str) -> str:
    if source is None:
        return plain
    try:
        # What can't be rendered, or comes out empty, must not keep the worker from hearing of it.
        return prompts.render_message(source, item=item, stage=stage, lines=lines).strip() or plain
    except DodoClaudeError:
        return plain


def _excerpt(rows: tuple[str, ...], room: int) -> str:
    """The first of `rows`, as many as there is room for."""
    text = "\n".join(rows)
    if len(text) <= room:
        return text
    kept: list[str] = []
    left = room - len(f"\n[… {len(rows)} more lines …]")
    for row in rows:
        if len(row) + 1 > left:
            break
        kept.append(row)
        left -= len(row) + 1
    kept = kept or [_cut(rows[0], left)]
    return "\n".join([*kept, f"[… {len(rows) - len(kept)} more lines …]"])


def readable(text: str) -> str:
    """Output as a terminal would show it: without escapes, and without what a carriage return wrote over."""
    return clean_text("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")))


# -- running it


class _OverError(Exception):
    """The worker has ended, or somebody ends this monitor."""


class _Waiting:
    """All that is waited for, and nothing is asked twice: output, the end of a child, of the worker, a signal."""

    def __init__(self, worker: int, nonce: str) -> None:
        self._worker, self._nonce = worker, nonce
        self._stopped = False
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # that it came is what counts
        self._pidfd: int | None = None
        with contextlib.suppress(AttributeError, OSError):
            self._pidfd = os.pidfd_open(worker)
        self._stopped |= self._is_alone()

    def _stop(self, *_: object) -> None:
        self._stopped = True

    def _is_alone(self) -> bool:
        return not processes.lives(self._worker, self._nonce)

    def wait(self, seconds: float | None, output: int | None = None) -> None:
        """Until something came from `output`, or a child ended, or the seconds are over. Raises `_OverError`."""
        self._heed()
        deadline = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        for fd in (self._wake, self._pidfd, output):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self._pidfd is None:
                left = POLL_SECONDS if left is None else min(left, POLL_SECONDS)
            # A signal from before it left its byte in the pipe.
            ready = {fd for fd, _ in poll.poll(None if left is None else left * 1000)}
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
            if self._pidfd in ready or (self._pidfd is None and self._is_alone()):
                self._stop()
            self._heed()
            if ready or (deadline is not None and time.monotonic() >= deadline):
                return

    def _heed(self) -> None:
        if self._stopped:
            raise _OverError


class _Command:
    """The command under way, in a session of its own."""

    def __init__(self, orders: monitors.Orders) -> None:
        self.ended = False
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", orders.monitor.command],
            cwd=Path(orders.root, orders.monitor.cwd),
            env={**orders.environ, processes.NONCE: orders.nonce},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._output: int | None = self.process.stdout.fileno()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def next(self, waiting: _Waiting, seconds: float | None) -> str:
        """What it says next; '' when nothing came in time. `ended` is true from its last words on."""
        waiting.wait(seconds, self._output)
        # Asked before its output is read: then all that it had to say is in the pipe, and one read gets that, whoever
        # else still holds the pipe.
        self.ended = self.process.poll() is not None
        return self._read()

    def _read(self) -> str:
        if self._output is None:
            return ""
        try:
            data = os.read(self._output, 65_536)
        except BlockingIOError:
            return ""
        if not data:
            self._output = None
        return self._decoder.decode(data, final=not data)

    def close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()


class _Program:
    def __init__(self, orders: monitors.Orders, lock: int, told: str) -> None:
        self.orders = orders
        self.monitor = orders.monitor
        self._lock = lock
        self._waiting = _Waiting(orders.worker, orders.worker_nonce)
        self._redact = Redactor(orders.environ)
        self._mailbox = Mailbox(StageLog(Path(orders.state), orders.stage, self._redact))
        self._judge = Judge(
            self.monitor.match,
            context=self.monitor.context,
            recovered_match=self.monitor.recovered_match,
            told=told,
        )
        self._command: _Command | None = None
        self._line = ""  # that has not ended yet
        self._head, self._tail, self._cut = "", "", False  # what is to be judged
        self._note()

    def run(self) -> None:
        """Until the worker ends."""
        try:
            if self.monitor.every is None:
                self._stream()
            else:
                self._again_and_again(self.monitor.every)
        except _OverError:
            pass
        finally:
            pid = self._command.process.pid if self._command is not None else 0
            processes.end_tree(pid, self.orders.nonce, monitors.GRACE_SECONDS / 2)

    def _again_and_again(self, every: float) -> None:
        while True:
            command = self._start()
            while command is not None and not command.ended:
                self._take(command.next(self._waiting, None))
            self._finish(command)
            self._judge.ran(self._output())
            self._tell()
            self._sleep(every)

    def _stream(self) -> None:
        command = self._start()
        quiet = self.monitor.debounce
        since = last = time.monotonic()  # of what was not judged: its first words, and its last
        while command is not None:
            seconds = RETRY_SECONDS if self._judge.news else None
            if self._due:
                seconds = max(0.0, min(last + quiet, since + LONGEST_TALK * quiet) - time.monotonic())
            text = command.next(self._waiting, seconds)
            now = time.monotonic()
            if text:
                last, since = now, since if self._due else now
                self._take(text)
            if command.ended:
                break
            if self._due and (now >= last + quiet or now >= since + LONGEST_TALK * quiet):
                self._judge.said(self._output())
            if not self._due:
                self._tell()
        self._finish(command)
        self._judge.said(self._output())
        while True:  # its last words stay to be looked at
            self._tell()
            self._waiting.wait(RETRY_SECONDS if self._judge.news else None)

    # -- the command

    def _start(self) -> _Command | None:
        self._show(f"\x1b[2m── {time.strftime('%H:%M:%S')} $ {one_line(self.monitor.command)}\x1b[0m\n")
        try:
            self._command = _Command(self.orders)
        except OSError as error:
            self._take(f"can't be started: {error.filename or ''}: {error.strerror}\n")
        return self._command

    def _finish(self, command: _Command | None) -> None:
        """It has ended: so does what it left behind, and how it ended is its last line."""
        self._command = None
        if command is None:
            return
        processes.end_tree(0, self.orders.nonce)
        command.close()
        if command.process.returncode:
            self._take(("\n" if self._line else "") + f"exit status {command.process.returncode}\n")

    def _take(self, text: str) -> None:
        """Show what came, and keep it to be judged: whole lines, since an escape may be cut in two."""
        self._line += text
        cut = self._line.rfind("\n") + 1
        if len(self._line) - cut > MOST_LINE:
            cut = len(self._line)
        self._keep(self._line[:cut])
        self._line = self._line[cut:]

    def _keep(self, text: str) -> None:
        text = readable(text)
        self._show(text)
        room = MOST_OUTPUT // 2 - len(self._head)
        self._head += text[: max(0, room)]
        rest = self._tail + text[max(0, room) :]
        self._cut |= len(rest) > MOST_OUTPUT // 2
        self._tail = rest[-(MOST_OUTPUT // 2) :]

    @property
    def _due(self) -> bool:
        """Is there something that was not judged?"""
        return bool(self._head or self._line)

    def _output(self) -> str:
        """What is to be judged now, secrets taken out of it; it is not judged again."""
        if self._line:
            self._keep(f"{self._line}\n")
            self._line = ""
        text = f"{self._head}\n[…]\n{self._tail}" if self._cut else self._head + self._tail
        self._head, self._tail, self._cut = "", "", False
        return self._redact.text(text)

    # -- telling and waiting

    def _tell(self) -> None:
        news = self._judge.news
        if news is None:
            return
        text = message(self.monitor, self.orders.stage, self.orders.item, news)
        try:
            self._mailbox.post(text, f"monitor {self.monitor.name}")
        except RefusedError:
            return  # nobody to tell now
        except OSError as error:  # a full disk
            self._show(f"\x1b[2m── can't be told: {error.strerror}\x1b[0m\n")
            return
        self._judge.delivered()
        self._note()
        what = "its end" if isinstance(news, Recovery) else "it"
        self._show(f"\x1b[2m── '{self.orders.stage}' was told of {what}\x1b[0m\n")

    def _note(self) -> None:
        note = monitors.Note(os.getpid(), self._judge.told)
        with contextlib.suppress(OSError):
            monitors.write_note(self._lock, note)

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._waiting.wait(left)

    def _show(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        with contextlib.suppress(OSError):  # the pane is gone: so will we be
            while data:
                data = data[os.write(1, data) :]


def _quiet_keyboard() -> None:
    """What a person types here goes nowhere, and Ctrl-S would stop us."""
    with contextlib.suppress(termios.error, OSError):
        mode = termios.tcgetattr(0)
        mode[0] &= ~termios.IXON
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, mode)


def main(path: Path) -> int:
    """The monitor whose orders are in `path`."""
    warnings.simplefilter("ignore")  # of the user's pattern: `dodo-claude check` said what is to be said
    try:
        orders = monitors.Orders.read(path)
    except FileNotFoundError:
        return 0  # another one has them, or the worker's end was faster
    place = Path(orders.place)
    lock = monitors.take(place) if files.is_file(place) else None
    if lock is None:
        return 0
    _quiet_keyboard()
    _Program(orders, lock, monitors.read_note(place).told).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
