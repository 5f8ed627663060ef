"""The real tmux on a private socket: what it would do with names, paths, keys and a crash, and does not."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.agents.claude.screens import BOX
from dodo_claude.machine import processes, server, tmux
from dodo_claude.machine.server import TmuxError, check_version
from dodo_claude.machine.terminal import Pane
from dodo_claude.machine.tmux import Tmux
from tests.integration.scenes import Terminal, alive, on_pty
from tests.samples.panes import until

pytestmark = pytest.mark.tmux
# Another at each start: what carries it is killed, also by a test that runs beside this one.
MARK = secrets.token_hex(16)
ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"}
# A program that takes all keys as they come and writes them down, until a line that says END.
LISTENER = """\
import os, sys, termios, tty
tty.setraw(0)
os.write(1, b"\\x1b[?2004hready\\r\\n")
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    data = os.read(0, 65536)
    os.write(log, data)
"""


@pytest.fixture
def panes(runtime: Path) -> Iterator[Tmux]:
    made = Tmux(runtime / "tmux.sock", ENV)
    yield made
    raw(made, "kill-server")


def raw(panes: Tmux, *args: str) -> str:
    """tmux by hand, as a person would."""
    done = subprocess.run(
        ["tmux", "-S", str(panes.server.socket), *args],
        capture_output=True,
        text=True,
        check=False,
        env={**ENV, "TERM": "xterm"},
    )
    return done.stdout.strip() if done.returncode == 0 else f"error: {done.stderr.strip()}"


def spawn(panes: Tmux, tmp_path: Path, *argv: str, session: str = "work-1", mark: str = MARK) -> Pane:
    return panes.spawn(session, argv or ("sleep", "1000"), tmp_path, mark, "it")


class Listener:
    def __init__(self, panes: Tmux, tmp_path: Path) -> None:
        (tmp_path / "listener.py").write_text(LISTENER)
        self.log = tmp_path / "keys"
        self.pane = spawn(panes, tmp_path, sys.executable, str(tmp_path / "listener.py"), str(self.log))
        until(lambda: "ready" in panes.capture(self.pane))

    def heard(self, end: bytes = b"\r") -> bytes:
        until(lambda: self.log.exists() and self.log.read_bytes().endswith(end))
        return self.log.read_bytes()


# -- starting and ending


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 127", 127), ("kill -9 $$", -9), ("kill -15 $$", -15)],
)
def test_an_end_at_once_has_its_status(panes: Tmux, tmp_path: Path, script: str, status: int) -> None:
    """Of its screen there is no more to be had than that: Linux drops what a session's leader wrote, and nobody read
    yet, when it exits."""
    for number in range(3):
        pane = spawn(panes, tmp_path, "/bin/sh", "-c", f"echo hello; {script}", session=f"w-{number}")
        until(lambda pane=pane: not alive(pane.pid))
        assert panes.exit_status(pane) == status
        assert "Pane is dead" in panes.capture(pane)
        assert not panes.server.lives(pane.session)


def test_an_ended_process_leaves_its_screen(panes: Tmux, tmp_path: Path) -> None:
    pane = spawn(panes, tmp_path, "/bin/sh", "-c", "echo hello; read line; exit 7")
    until(lambda: "hello" in panes.capture(pane))
    panes.press(pane, "Enter")
    until(lambda: not alive(pane.pid))
    assert panes.exit_status(pane) == 7
    # Its own note about the end pushes the first line off the screen.
    assert "hello" in panes.capture(pane, history=10)


def heights(panes: Tmux) -> list[str]:
    return raw(panes, "list-panes", "-a", "-F", "#{window_index} #{pane_height} #{pane_active}").splitlines()


def test_beside_a_worker_is_a_row_that_its_own_panes_share(panes: Tmux, tmp_path: Path) -> None:
    listener = Listener(panes, tmp_path)
    (tmp_path / "#{pane_id};").mkdir()
    first = panes.split(listener.pane, ["sleep", "1000"], tmp_path / "#{pane_id};")
    second = panes.split(listener.pane, ["sleep", "1000"], tmp_path)
    assert heights(panes) == ["0 41 1", "0 8 0", "0 8 0"]
    assert raw(panes, "display-message", "-p", "-t", first.id, "#{pane_current_path}").endswith("#{pane_id};")
    # A person looks at another pane: what is sent, shown and asked for is still the worker's.
    raw(panes, "select-pane", "-t", second.id)
    panes.paste(listener.pane, ["text"], tmp_path)
    assert listener.heard() == b"\x1b[200~text\x1b[201~\r"
    assert "ready" in panes.capture(listener.pane)
    assert "ready" in panes.capture_session(listener.pane.session)
    os.kill(listener.pane.pid, signal.SIGTERM)
    assert panes.exit_status(listener.pane) == -15
    assert panes.server.lives(listener.pane.session)
    for pane in (first, second):
        os.kill(pane.pid, signal.SIGTERM)
    until(lambda: heights(panes) == ["0 50 1"])  # they go, the dead worker's pane stays
    assert not panes.server.lives(listener.pane.session)
    assert "Pane is dead" in panes.capture(listener.pane)


def test_where_there_is_no_room_beside_it_is_a_window_of_its_own(panes: Tmux, tmp_path: Path) -> None:
    pane = spawn(panes, tmp_path)
    raw(panes, "resize-window", "-t", pane.session, "-x", "80", "-y", "5")
    panes.split(pane, ["sleep", "1000"], tmp_path)
    assert heights(panes) == ["0 5 1", "1 50 1"]  # detached, a new window has the usual size
    assert raw(panes, "display-message", "-p", "-t", pane.session, "#{window_index}") == "0"
    with pytest.raises(TmuxError, match="no such folder"):
        panes.split(pane, ["sleep", "1000"], tmp_path / "nowhere")


def test_the_end_of_a_session_is_the_end_of_what_runs_beside(panes: Tmux, tmp_path: Path) -> None:
    pane = spawn(panes, tmp_path, "env", f"{processes.NONCE}={MARK}", "sleep", "1000")
    own = f"{MARK}-monitor-build"
    script = (
        f"{processes.NONCE}={own} setsid sleep 1000 & trap '' HUP TERM; touch up; while :; do sleep 0.1; done"
    )
    beside = panes.split(pane, ["env", f"{processes.NONCE}={own}", "sh", "-c", script], tmp_path)
    until((tmp_path / "up").exists)
    assert processes.nonce_of(beside.pid) == own
    panes.server.end(pane.session, MARK)
    assert processes._tree(0, MARK) == processes._tree(0, own) == []


def test_a_program_that_is_not_there(panes: Tmux, tmp_path: Path) -> None:
    assert panes.exit_status(spawn(panes, tmp_path, "env", "-i", "/no/such/program")) == 127


def test_respawn_in_the_same_pane(panes: Tmux, tmp_path: Path) -> None:
    pane = spawn(panes, tmp_path, "/bin/sh", "-c", "exit 3")
    assert panes.exit_status(pane) == 3
    again = panes.respawn(pane, ["/bin/sh", "-c", "pwd; exit 4"], tmp_path)
    assert (again.id, again.session) == (pane.id, pane.session)
    assert again.pid != pane.pid
    assert panes.exit_status(again) == 4
    assert str(tmp_path) in panes.capture(again, history=10)


def test_the_pane_is_what_was_asked_for(panes: Tmux, tmp_path: Path) -> None:
    pane = spawn(panes, tmp_path)
    assert panes.server.sessions() == {"work-1": (pane.session, MARK)}
    assert panes.server.lives(pane.session)
    facts = "#{pane_id} #{session_id} #{pane_pid} #{pane_width} #{history_limit}"
    shown = raw(panes, "display-message", "-p", "-t", pane.id, facts)
    assert shown == f"{pane.id} {pane.session} {pane.pid} {tmux.COLUMNS} {server.HISTORY_LINES}"
    # Blank until the pane's process has taken its terminal, which it does in its own time.
    until(lambda: raw(panes, "display-message", "-p", "-t", pane.id, "#{pane_current_path}"))
    assert raw(panes, "display-message", "-p", "-t", pane.id, "#{pane_current_path}") == str(tmp_path)
    assert stat.S_IMODE(os.stat(str(panes.server.socket)).st_mode) & 0o007 == 0


def test_close_and_what_is_gone_already(panes: Tmux, tmp_path: Path) -> None:
    pane = spawn(panes, tmp_path)
    panes.close("work-1", MARK)
    until(lambda: not processes.runs(pane.pid))
    panes.close("work-1", MARK)
    assert panes.capture(pane) == ""
    assert panes.exit_status(pane) is None
    with pytest.raises(TmuxError):
        panes.paste(pane, ["x"], tmp_path)
    assert not list(tmp_path.glob("paste-*"))
    with pytest.raises(TmuxError):
        panes.press(pane, "Enter")


def test_taking_down_shows_what_was_there_and_closes(panes: Tmux, tmp_path: Path) -> None:
    pane = spawn(panes, tmp_path, "/bin/sh", "-c", "seq 500")
    until(lambda: panes.exit_status(pane) == 0)
    spawn(panes, tmp_path, session="work-10")
    calls: list[str] = []
    plain = panes.server.cmd
    panes.server.cmd = lambda name, *args: calls.append(name) or plain(name, *args)  # type: ignore[func-returns-value, method-assign]
    text = panes.take_down(pane, "work-1", MARK, history=1000)
    assert text.startswith("1\n2\n3\n")
    assert "\n500\n" in text
    assert calls == ["capture-pane"]
    assert set(panes.server.sessions()) == {"work-10"}
    assert panes.take_down(pane, "work-1", MARK) == ""  # gone already


@pytest.mark.parametrize("other", ["mark", "pid"])
def test_taking_down_leaves_what_is_anothers(panes: Tmux, tmp_path: Path, other: str) -> None:
    pane = spawn(panes, tmp_path)
    if other == "mark":
        panes.take_down(pane, "work-1", "another")
        assert set(panes.server.sessions()) == {"work-1"}
    else:  # under the pane's id is something else, since the panes died; its session still is ours by name
        panes.take_down(replace(pane, pid=pane.pid + 1), "work-2", MARK)
        assert set(panes.server.sessions()) == {"work-1"}


def test_a_server_without_sessions_goes_and_one_with_them_stays(panes: Tmux, tmp_path: Path) -> None:
    pane = spawn(panes, tmp_path)
    panes.server.stop_if_empty()
    assert panes.server.lives(pane.session)
    panes.close("work-1", MARK)
    panes.server.stop_if_empty()
    assert raw(panes, "list-sessions").startswith("error")
    panes.server.stop_if_empty()
    assert panes.server.lives(spawn(panes, tmp_path).session)


# -- paths and names

FOLDERS = [
    "#(touch PWN)", "x#(touch${IFS}PWN)", "#{pid}", "##", "#", "a#", "#[fg=red]", "##[x]", "#[#(touch PWN)]", "###(touch PWN)", "#S", "ends;", "ends\\;", ";", "back\\", "sp ace",
    "q'\"", "$(touch PWN)", "`touch PWN`", "%H", "-c", "é😀", "tab\t", "new\nline", "~", "*", "#{E:@x}",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("! api", "! api"),
        ("a #(touch run) ##(touch run) #[fg=red]#{pid}#W", "a _(touch run) __(touch run) _[fg=red]_{pid}_W"),
        ("-d; kill-server ;", "-d; kill-server ;"),
        ("{a,b}\t\x1b[2J\nc", "{a,b} c"),
    ],
)
def test_a_windows_name_is_only_a_name(panes: Tmux, tmp_path: Path, name: str, shown: str) -> None:
    one, two = spawn(panes, tmp_path), spawn(panes, tmp_path, session="work-2")
    panes.rename(one, name)
    three = panes.spawn("work-3", ["sleep", "1000"], tmp_path, MARK, name)
    for pane, text in ((one, shown), (two, "it"), (three, shown)):
        assert raw(panes, "-u", "display-message", "-p", "-t", pane.id, "#{window_name}") == text
    raw(panes, "-u", "display-message", "-p", "-t", two.id, "#{E:status-right}")
    assert not (tmp_path / "run").exists()
    panes.rename(Pane("%77", "$9", 1), "gone")  # no error


def test_every_status_line_of_our_server_names_those_who_wait(panes: Tmux, tmp_path: Path) -> None:
    one, two, three = (spawn(panes, tmp_path, session=f"work-{number}") for number in (1, 2, 3))
    ask = ("-u", "display-message", "-p", "-t", one.id, "#{E:status-right}")
    assert "api" not in raw(panes, *ask)
    panes.rename(two, "! api, {v2}")
    panes.rename(three, "? ui")
    panes.rename(one, "docs!")
    said = re.sub(r"#\[\w+\]", "", raw(panes, *ask))
    assert [name.strip() for name in said.split("  ")][:2] == ["! api, {v2}", "? ui"]
    assert "docs" not in said
    panes.rename(two, "api, {v2}")
    assert "api" not in raw(panes, *ask)


def test_a_server_of_the_users_keeps_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played with a server of our own that the default one's place is given to."""
    monkeypatch.setenv("TMUX_TMPDIR", str(tmp_path))
    monkeypatch.delenv("TMUX", raising=False)
    private = Tmux(None, {**ENV, "TMUX_TMPDIR": str(tmp_path)})
    try:
        pane = spawn(private, tmp_path)
        private.rename(pane, "! api")
        options = private.server.cmd("show-options", "-g")
        assert not [line for line in options if "window_name},#[reverse]" in line]
        assert f"history-limit {server.HISTORY_LINES}" not in options
    finally:
        private.server.cmd("kill-server")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folders_name_is_only_a_name(
    panes: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    caller = tmp_path / "caller"
    caller.mkdir()
    monkeypatch.chdir(caller)  # where tmux would run what it takes for a command
    log = tmp_path / "where"
    script = f"pwd > {log}.new; mv {log}.new {log}; exec sleep 1000"
    pane = panes.spawn("work-1", ["/bin/sh", "-c", script], folder, MARK, "it")
    until(log.exists)
    assert log.read_text() == f"{folder}\n"
    # Later messages travel through a file beside the attempt's other files.
    panes.paste(pane, ["hello"], folder)
    os.kill(pane.pid, signal.SIGKILL)
    log.unlink()
    assert panes.exit_status(pane) is not None
    panes.respawn(pane, ["/bin/sh", "-c", script], folder)
    until(log.exists)
    assert log.read_text() == f"{folder}\n"
    assert os.listdir(folder) == []
    assert os.listdir(caller) == []


def test_a_missing_folder_starts_nothing_elsewhere(panes: Tmux, tmp_path: Path) -> None:
    with pytest.raises(TmuxError, match="gone: no such folder to start a worker in"):
        panes.spawn("work-1", ["touch", str(tmp_path / "ran")], tmp_path / "gone", MARK, "it")
    assert panes.server.sessions() == {}
    assert not (tmp_path / "ran").exists()


def test_a_name_that_begins_like_another(panes: Tmux, tmp_path: Path) -> None:
    ten = spawn(panes, tmp_path, session="work-10")
    spawn(panes, tmp_path, session="work-1")
    panes.close("work-1", "another")
    assert len(panes.server.sessions()) == 2
    panes.close("work-1", MARK)
    panes.close("work", MARK)
    assert set(panes.server.sessions()) == {"work-10"}
    again = spawn(panes, tmp_path, session="work-1")
    assert panes.server.lives(ten.session)
    panes.server.end(again.session, MARK)
    assert processes.runs(ten.pid)
    assert set(panes.server.sessions()) == {"work-10"}


def test_two_projects_of_one_name_on_one_server_are_told_apart(panes: Tmux, tmp_path: Path) -> None:
    theirs, ours = (Tmux(panes.server.socket, owner=owner * 12) for owner in "ab")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    first = spawn(theirs, folder)
    with pytest.raises(
        TmuxError, match=f"'work-1': is that of another project of this name, at work in {folder} "
    ):
        spawn(ours, tmp_path)
    assert panes.server.lives(first.session)


def test_a_strangers_session_is_left_alone(panes: Tmux, tmp_path: Path) -> None:
    first = spawn(panes, tmp_path, session="other")
    raw(panes, "new-session", "-d", "-s", "work-1", "sleep 1000")
    pid = raw(panes, "display-message", "-p", "-t", "=work-1:", "#{pane_pid}")
    with pytest.raises(TmuxError, match="'work-1': exists in tmux and was not made by dodo_claude"):
        spawn(panes, tmp_path)
    assert processes.runs(int(pid))
    assert panes.server.sessions()["work-1"][1] == ""
    assert panes.server.lives(first.session)
    assert panes.server.living() == {"other": True}
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: panes.server.living() == {"other": False})


def test_our_own_earlier_session_makes_way_with_all_that_runs_in_it(panes: Tmux, tmp_path: Path) -> None:
    script = f"trap '' HUP; sleep 1000 & echo $! > {tmp_path}/child; wait"
    launch = ["env", f"{processes.NONCE}={MARK}", "/bin/sh", "-c", script]
    old = panes.spawn("work-1", launch, tmp_path, MARK, "it")
    until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    new = spawn(panes, tmp_path, mark="other")
    assert panes.server.sessions() == {"work-1": (new.session, "other")}
    until(lambda: not processes.runs(old.pid))
    assert not processes.runs(int((tmp_path / "child").read_text()))


# -- pasting

TEXTS = {
    "plain": "hello",
    "lines": "one\ntwo\n\nthree",
    "keys' names": "C-c",
    "ends with ;": "trail;",
    "ends with \\": "back\\",
    "begins with -": "-R x",
    "formats": "#(touch PWN) #{pid} $(x) `y`",
    "emoji": "😀 é 日本",
    "tab": "a\tb",
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_paste_arrives_as_one_and_is_submitted(panes: Tmux, tmp_path: Path, what: str) -> None:
    listener = Listener(panes, tmp_path)
    panes.paste(listener.pane, [TEXTS[what]], tmp_path)
    assert listener.heard() == b"\x1b[200~" + TEXTS[what].encode() + b"\x1b[201~\r"
    assert not list(tmp_path.glob("paste-*"))


@pytest.mark.parametrize(
    "text",
    [
        "a\x1b[201~\rrm -rf x\r",
        "a\x9b201~\rb",
        "a\x03b\x04",
        "a\x1b\x1b[0m[201~\rb",
        "a\r\nb",
        "\x1b]52;c;aGk=\x07x",
        "\x00\x7f",
    ],
    ids=repr,
)
def test_nothing_ends_a_paste_before_its_end(panes: Tmux, tmp_path: Path, text: str) -> None:
    listener = Listener(panes, tmp_path)
    panes.paste(listener.pane, [text, "second"], tmp_path)
    heard = listener.heard()
    *first, second = re.findall(rb"\x1b\[200~(.*?)\x1b\[201~", heard, re.DOTALL)
    assert second == b"second"
    assert len(first) == bool(text.strip("\x00\x7f"))
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", b"".join(first))
    # Outside of the two pastes there is nothing but one Enter.
    assert heard == b"".join(b"\x1b[200~" + each + b"\x1b[201~" for each in (*first, second)) + b"\r"


def test_300_kilobytes_arrive_whole(panes: Tmux, tmp_path: Path) -> None:
    listener = Listener(panes, tmp_path)
    text = "".join(f"{number:06} é\n" for number in range(30_000))
    panes.paste(listener.pane, [text], tmp_path)
    assert listener.heard() == b"\x1b[200~" + text.encode() + b"\x1b[201~\r"


@pytest.mark.parametrize("mode", ["copy-mode", "clock-mode", "choose-tree"])
def test_a_person_who_scrolls_or_chooses_swallows_nothing(panes: Tmux, tmp_path: Path, mode: str) -> None:
    listener = Listener(panes, tmp_path)
    raw(panes, mode, "-t", listener.pane.id)
    panes.paste(listener.pane, ["text"], tmp_path)
    assert listener.heard() == b"\x1b[200~text\x1b[201~\r"
    raw(panes, mode, "-t", listener.pane.id)
    panes.press(listener.pane, "Enter")
    assert listener.heard(b"\r\r").endswith(b"\r\r")


def test_capture_with_history_and_colours(panes: Tmux, tmp_path: Path) -> None:
    script = f"seq 1 500; printf '\\033[31mred\\033[0m %0300d\\n' 1; touch {tmp_path}/up; exec sleep 1000"
    pane = spawn(panes, tmp_path, "/bin/sh", "-c", script)
    until(lambda: (tmp_path / "up").exists() and "red" in panes.capture(pane))
    assert "\n500\n" in panes.capture(pane)
    assert not panes.capture(pane).startswith("1\n2")
    assert panes.capture(pane, history=1000).startswith("1\n2\n3")
    assert "\x1b[31mred" in panes.capture(pane, escapes=True)
    assert "\x1b" not in panes.capture(pane)
    assert f"red {1:0300}" in panes.capture(pane)  # wrapped lines are joined
    assert "\n500\n" in panes.capture_session(pane.session)


def test_of_all_panes_those_that_do_not_show_a_text(panes: Tmux, tmp_path: Path) -> None:
    scripts = {
        "has it": f"printf 'x {BOX} y'",
        "a plain space": "printf '❯ y'",
        "scrolled away": f"printf '{BOX}'; seq 1 200",
        "nothing": "true",
        "scrolling": f"printf '{BOX}'",
    }
    ids = {
        name: spawn(panes, tmp_path, "/bin/sh", "-c", f"{script}; touch '{tmp_path}/{name}'; exec sleep 1000", session=f"w{number}").id
        for number, (name, script) in enumerate(scripts.items())
    }  # fmt: skip
    until(lambda: all((tmp_path / name).exists() for name in scripts))
    raw(panes, "copy-mode", "-t", ids["scrolling"])
    expected = {ids[name] for name in ("a plain space", "scrolled away", "nothing")}
    until(lambda: panes.without(BOX) == expected)


def test_without_a_server_no_pane_lacks_anything(panes: Tmux) -> None:
    assert panes.without(BOX) == set()


# -- the server


def server_pid(panes: Tmux) -> int:
    return int(raw(panes, "display-message", "-p", "#{pid}"))


def test_a_server_that_is_killed_gives_clean_answers_and_a_new_one(panes: Tmux, tmp_path: Path) -> None:
    pane = spawn(panes, tmp_path)
    pid = server_pid(panes)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not processes.runs(pid))
    assert panes.exit_status(pane) is None
    assert panes.capture(pane) == ""
    assert panes.server.sessions() == {}
    for call in (
        lambda: panes.paste(pane, ["x"], tmp_path),
        lambda: panes.respawn(pane, ["true"], tmp_path),
        lambda: panes.server.lives(pane.session),
    ):
        with pytest.raises(TmuxError):
            call()
    panes.close("work-1", MARK)
    panes.server.stop_if_empty()
    # The next one starts over the stale socket, and with our options and environment again.
    again = spawn(panes, tmp_path)
    assert panes.server.lives(again.session)
    assert raw(panes, "show-options", "-gv", "history-limit") == str(server.HISTORY_LINES)


def test_no_secret_in_the_server(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "s3cr3t")
    panes = Tmux(runtime / "tmux.sock", ENV)
    try:
        for _ in range(2):
            pane = spawn(panes, tmp_path)
            assert "s3cr3t" not in raw(panes, "show-environment", "-g")
            assert "s3cr3t" not in raw(panes, "show-environment", "-t", pane.session)
            assert "PATH=" in raw(panes, "show-environment", "-g")
            pid = server_pid(panes)
            assert b"s3cr3t" not in Path(f"/proc/{pid}/environ").read_bytes()
            assert b"s3cr3t" not in Path(f"/proc/{pane.pid}/environ").read_bytes()
            os.kill(pid, signal.SIGKILL)  # and the one that follows it knows none either
            until(lambda pid=pid: not processes.runs(pid))
    finally:
        raw(panes, "kill-server")


def test_a_users_settings_have_no_effect(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    hostile = f"set -g destroy-unattached on\nset -g remain-on-exit off\nrun-shell 'touch {home}/PWN'\nset -g prefix C-x\n"
    (home / ".tmux.conf").write_text(hostile)
    monkeypatch.setenv("HOME", str(home))
    panes = Tmux(runtime / "tmux.sock", {**ENV, "HOME": str(home)})
    try:
        pane = spawn(panes, tmp_path)
        assert panes.server.lives(pane.session)
        assert raw(panes, "show-options", "-gv", "prefix") == "C-b"
        done = spawn(panes, tmp_path, "true", session="w-2")
        assert panes.exit_status(done) == 0
        assert not (home / "PWN").exists()
    finally:
        raw(panes, "kill-server")


# -- somebody looks in


@contextlib.contextmanager
def looks(panes: Tmux, session: str, size: tuple[int, int] = (80, 24)) -> Iterator[Terminal]:
    """A person's tmux, attached to a session."""
    argv = [str(shutil.which("tmux")), "-S", str(panes.server.socket), "attach-session", "-t", f"={session}"]
    with on_pty(argv, Path("/"), {**ENV, "TERM": "xterm-256color"}, size) as terminal:
        until(lambda: terminal.sees() and raw(panes, "list-clients", "-t", f"={session}"))
        yield terminal


def size_of(panes: Tmux, session: str = "work-1") -> str:
    return raw(panes, "display-message", "-p", "-t", f"={session}:^", "#{window_width}x#{window_height}")


def has_size(panes: Tmux, size: str, session: str = "work-1") -> None:
    until(lambda: size_of(panes, session) == size)


def test_a_window_has_its_size_again_when_nobody_looks(panes: Tmux, tmp_path: Path) -> None:
    spawn(panes, tmp_path)
    for _ in range(2):  # who comes again finds all of his terminal again
        assert size_of(panes) == "200x50"
        with looks(panes, "work-1") as terminal:
            has_size(panes, "80x23")
            terminal.press("\x02d")
            terminal.wait()
        has_size(panes, "200x50")
    with looks(panes, "work-1", (230, 70)) as terminal:
        has_size(panes, "230x69")
        terminal.hang_up()
        terminal.process.wait()
    has_size(panes, "200x50")
    with looks(panes, "work-1") as terminal:
        terminal.process.kill()
    has_size(panes, "200x50")


def test_of_two_who_look_one_stays(panes: Tmux, tmp_path: Path) -> None:
    spawn(panes, tmp_path)
    with looks(panes, "work-1", (100, 30)) as stays, looks(panes, "work-1") as leaves:
        has_size(panes, "80x23")
        leaves.press("\x02d")
        leaves.wait()
        has_size(panes, "100x29")
        stays.press("\x02d")
        stays.wait()
    has_size(panes, "200x50")


def test_who_goes_on_to_another_session_leaves_the_first_as_it_was(panes: Tmux, tmp_path: Path) -> None:
    spawn(panes, tmp_path)
    spawn(panes, tmp_path, session="work-2")
    with looks(panes, "work-1") as terminal:
        has_size(panes, "80x23")
        raw(panes, "switch-client", "-t", "=work-2")
        has_size(panes, "80x23", "work-2")
        if not check_version().startswith("tmux 3.2"):  # which says so only with `focus-events`
            has_size(panes, "200x50")
        terminal.press("\x02d")
        terminal.wait()
    has_size(panes, "200x50", "work-2")


def test_a_window_of_a_persons_own_beside_it_and_a_mirror(panes: Tmux, tmp_path: Path) -> None:
    spawn(panes, tmp_path)
    mirror = subprocess.Popen(
        panes.server.following("=work-1"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert mirror.stdin is not None
    with looks(panes, "work-1") as terminal:
        terminal.press("\x02c")
        until(lambda: raw(panes, "list-windows", "-t", "=work-1").count("\n") == 1)
        terminal.press("\x02d")
        terminal.wait()
    has_size(panes, "200x50")
    mirror.stdin.close()
    mirror.wait()


def test_from_inside_another_tmux(panes: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    monkeypatch.setenv("TMUX_PANE", "%0")
    monkeypatch.delenv("TERM", raising=False)
    assert panes.exit_status(spawn(panes, tmp_path, "true")) == 0


def test_ten_at_once(panes: Tmux, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda number: spawn(panes, tmp_path, session=f"w-{number}"), range(10)))
    assert len({pane.id for pane in made}) == 10
    assert len(panes.server.sessions()) == 10


def test_a_socket_with_too_long_a_path(tmp_path: Path) -> None:
    with pytest.raises(
        TmuxError, match=r"too long for a socket's path \(set XDG_RUNTIME_DIR to a short one\)"
    ):
        Tmux(tmp_path / ("x" * 100) / "tmux.sock")


# -- which tmux

VERSIONS = {
    "tmux 3.2": "tmux 3.2",
    "tmux 3.2a": "tmux 3.2a",
    "tmux 3.10": "tmux 3.10",
    "tmux 4.0": "tmux 4.0",
    "tmux next-3.5": "tmux next-3.5",
    "tmux next-2.9": "tmux next-2.9",
    "tmux master": "tmux master",
    "tmux openbsd-7.4": "tmux openbsd-7.4",
    "tmux 2.9": None,
    "tmux 3.1c": None,
    "tmux 1.8": None,
    "": None,
    "something else": None,
}


@pytest.mark.parametrize("answer", VERSIONS, ids=repr)
def test_check_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    fake = tmp_path / "tmux"
    fake.write_text(f"#!/bin/sh\necho '{answer}'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if VERSIONS[answer] is not None:
        assert check_version() == VERSIONS[answer]
        return
    text = f"tmux: 3.2 or newer is needed, found '{answer}' at {fake} (apt install tmux)"
    with pytest.raises(TmuxError, match=re.escape(text)):
        check_version()


def test_another_tmux_than_the_one_on_path(
    panes: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked of tmux is asked of that one: it alone tells what it was asked."""
    real, log = shutil.which("tmux"), tmp_path / "asked"
    other = tmp_path / "tmux-other"
    other.write_text(f'#!/bin/sh\necho "$*" >>{log}\nexec {real} "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("TMUX_BIN", str(other))
    monkeypatch.setenv("TMUX", f"{panes.server.socket},1,0")
    monkeypatch.setenv("TMUX_PANE", "%0")
    assert check_version()
    panes = Tmux(panes.server.socket, ENV)
    spawn(panes, tmp_path)
    assert not tmux.is_watched(os.environ)
    assert "work-1" in panes.server.sessions()
    for asked in ("-V", "start-server", "display-message", "list-sessions"):
        assert asked in log.read_text()
    assert panes.server.following("$0")[0] == str(other)


def test_another_tmux_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Path
) -> None:
    monkeypatch.setenv("TMUX_BIN", "/nonexistent/tmux")
    text = "tmux: TMUX_BIN names '/nonexistent/tmux', which is no program (mend it, or unset it)"
    with pytest.raises(TmuxError, match=re.escape(text)):
        check_version()
    panes = Tmux(runtime / "tmux.sock", ENV)
    with pytest.raises(TmuxError, match=re.escape(text)):
        spawn(panes, tmp_path)
    assert panes.server.sessions() == {}


def test_no_tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        TmuxError, match=r"tmux: not found on PATH; tmux 3\.2 or newer is needed \(apt install"
    ):
        check_version()
    (tmp_path / "tmux").write_text("no program")
    (tmp_path / "tmux").chmod(0o755)
    with pytest.raises(TmuxError, match="can't be run: Exec format error"):
        check_version()
    (tmp_path / "tmux").unlink()
    panes = Tmux(runtime / "tmux.sock", ENV)
    with pytest.raises(TmuxError, match="tmux"):
        spawn(panes, tmp_path)
    assert panes.server.sessions() == {}
