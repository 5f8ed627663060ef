"""The dashboard's server, as its browsers see it and as others try it: over plain sockets, and once in Chromium."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from dodo_claude.dashboard.web import READ_ONLY, Limits, Site
from dodo_claude.text.errors import DodoClaudeError
from tests.integration.scenes import configure
from tests.project import BIN, PATIENCE, Project

# An app in few words: says who it is, what it is told, and draws without end when it is told to.
APP = f"""
import os, sys, time
def put(data): os.write(1, b"D" + len(data).to_bytes(4, "big") + data)
os.write(1, b"__GANGLION__\\n")
put(f"app {{os.getpid()}} {{os.environ.get('{READ_ONLY}', '-')}} ".encode())
while head := sys.stdin.buffer.read(5):
    said = sys.stdin.buffer.read(int.from_bytes(head[1:], "big"))
    if said == b"fail": sys.exit("it broke\\x1b]52;c;aGk=\\x07")
    put(b"heard " + said)
    while said == b"flood": put(b"x" * 60_000)
time.sleep(1000)  # as Textual's, which does not mind the end of its input
"""
USUAL = Limits()
COMMAND = [sys.executable, "-I", "-S", "-c", APP]
# A real one.
TEXTUAL = """
import os
from textual.app import App
from textual.widgets import Static

class Tiny(App):
    BINDINGS = [("g", "go", "Go")]

    def compose(self):
        yield Static("worker says <script>document.title = 'pwned'</script>\\x1b]0;pwned\\x07\\x1b]52;c;aGk=\\x07", markup=False)

    def action_go(self):
        self.screen.styles.background = "#00ff00"
        self.query_one(Static).update("gone")

Tiny().run()
"""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


class Guest:
    """Asks a site as no browser would: exactly what it is told to say."""

    def __init__(self, site: Site, said: list[str]) -> None:
        self.site, self.said = site, said
        self.port = int(site.url.split("/")[2].rpartition(":")[2])
        self.name = site.url.split("/")[2]
        self.way_in = site.url.removeprefix(f"http://{self.name}")
        self.token = self.way_in.partition("=")[2]
        self.folder = self.cookie = ""

    async def ask(self, path: str, *headers: str, verb: str = "GET", host: str | None = "") -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{verb} {path} HTTP/1.1", "Connection: close", *headers]
        if host is not None:
            lines.append(f"Host: {host or self.name}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        got = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        await writer.wait_closed()
        head, _, body = got.decode("utf-8", "replace").partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        return Answer(int(first.split()[1]), dict(line.split(": ", 1) for line in rest), body)

    async def enter(self) -> Answer:
        """Exchange the token for the cookie."""
        answer = await self.ask(self.way_in)
        self.folder = answer.headers["Location"]
        self.cookie = "Cookie: " + answer.headers["Set-Cookie"].partition(";")[0]
        return answer

    async def inside(self, path: str, *headers: str, verb: str = "GET", host: str | None = "") -> Answer:
        return await self.ask(path, self.cookie, *headers, verb=verb, host=host)

    @asynccontextmanager
    async def terminal(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        cookie = {"Cookie": self.cookie.removeprefix("Cookie: "), "Origin": f"http://{self.name}"}
        async with (
            aiohttp.ClientSession(headers=cookie) as session,
            session.ws_connect(f"http://{self.name}{self.folder}ws", max_msg_size=0) as window,
        ):
            yield window


@asynccontextmanager
async def program(
    *argv: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """A server in a process of its own, which no failing test leaves behind, and what it prints."""
    server = await asyncio.create_subprocess_exec(
        *argv, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert server.stdout is not None
    try:
        yield server, server.stdout
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()


@asynccontextmanager
async def site(
    command: list[str] = COMMAND, *, limits: Limits = USUAL, **options: object
) -> AsyncIterator[Guest]:
    said: list[str] = []
    environ = {"PATH": os.environ["PATH"], READ_ONLY: "1"}
    made = Site(command, environ=environ, report=said.append, limits=limits, **options)  # type: ignore[arg-type]
    await made.start()
    try:
        yield Guest(made, said)
    finally:
        await made.stop()


async def text(window: aiohttp.ClientWebSocketResponse, wanted: str) -> str:
    """What is drawn, up to `wanted`."""
    drawn = ""
    while wanted not in drawn:
        drawn += (await asyncio.wait_for(window.receive_bytes(), PATIENCE)).decode()
    return drawn


async def pid_of(window: aiohttp.ClientWebSocketResponse) -> int:
    return int((await text(window, "app ")).split()[1])


async def gone(pid: int) -> None:
    await until(lambda: not _alive(pid))


async def until(true: Callable[[], bool]) -> None:
    """There is no event for another process's end."""
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# -- where it listens


def test_it_listens_on_one_loopback_address() -> None:
    async def listening() -> None:
        async with site() as guest:
            (sock,) = guest.site._server.sockets
            assert sock.getsockname() == ("127.0.0.1", guest.port)
            with pytest.raises(OSError, match=r"Connect call failed|refused"):
                await asyncio.open_connection("127.0.0.2", guest.port)

    asyncio.run(listening())


def test_also_on_the_other_loopback_and_then_there_alone() -> None:
    async def listening() -> None:
        async with site(host="0:0::1") as guest:
            assert guest.site.url.startswith(f"http://[::1]:{guest.port}/?token=")
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                async with session.get(guest.site.url) as page:
                    assert page.status == 200
                async with session.ws_connect(
                    f"{page.url}ws", headers={"Origin": f"http://[::1]:{guest.port}"}
                ) as it:
                    await pid_of(it)
            with pytest.raises(OSError, match=r"Connect call failed|refused"):
                await asyncio.open_connection("127.0.0.1", guest.port)

    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    asyncio.run(listening())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "", "224.0.0.1", "192.0.2.7"])
def test_other_addresses_are_one_of_this_machines(host: str) -> None:
    with pytest.raises(DodoClaudeError, match=re.escape(f"{host}:")):
        Site(COMMAND, host=host, environ={}, report=print)


def test_a_port_in_use_is_a_fault_in_one_line() -> None:
    async def twice() -> None:
        async with site() as guest:
            with pytest.raises(
                DodoClaudeError, match=rf"^127.0.0.1:{guest.port}: .* \(choose another --port\)$"
            ):
                Site(COMMAND, port=guest.port, environ={}, report=print)

    asyncio.run(twice())


# -- who gets in


def test_the_token_is_exchanged_for_a_cookie_of_a_secret_folder() -> None:
    async def exchange() -> None:
        async with site(title="<b>&") as guest, site() as other:
            assert len(guest.token) >= 43  # 256 bits
            assert guest.token != other.token
            answer = await guest.enter()
            assert answer.status == 303
            assert re.fullmatch(r"/[\w-]{43}/", guest.folder)
            assert set(answer.headers["Set-Cookie"].split("; ")[1:]) == {
                "HttpOnly", f"Path={guest.folder}", "SameSite=Strict",
            }  # fmt: skip
            assert guest.token not in guest.folder + answer.headers["Set-Cookie"] + answer.body
            page = await guest.inside(guest.folder)
            assert page.status == 200
            assert "<title>&lt;b&gt;&amp;</title>" in page.body
            assert guest.token not in page.body
            assert not re.search(
                r"https?://|<style|<script>", page.body
            )  # nothing of elsewhere, nothing inline
            for name in re.findall(r'(?:href|src)="([^"]+)"', page.body):
                assert (await guest.inside(guest.folder + name)).status == 200

    asyncio.run(exchange())


def test_all_answers_say_what_a_browser_may_not() -> None:
    async def headers() -> None:
        async with site() as guest:
            entered = await guest.enter()
            for answer in (
                entered,
                await guest.inside(guest.folder),
                await guest.inside(f"{guest.folder}web.js"),
                await guest.inside("/nothing"),
                await guest.ask("/"),
                await guest.ask("/", "Origin: http://evil.example"),
                await guest.ask("/", verb="OPTIONS"),
            ):
                found = answer.headers
                assert found["Content-Security-Policy"].startswith("default-src 'self'; ")
                assert "unsafe" not in found["Content-Security-Policy"]
                assert found["X-Content-Type-Options"] == "nosniff"
                assert found["Referrer-Policy"] == "no-referrer"
                assert found["X-Frame-Options"] == "DENY"
                assert found["Cache-Control"] == "no-store"
                assert "clipboard-read=()" in found["Permissions-Policy"]
                assert not [name for name in found if name.lower().startswith("access-control")]

    asyncio.run(headers())


def test_who_has_no_business_here_gets_nothing_and_starts_nothing(tmp_path: Path) -> None:
    started = tmp_path / "started"
    upgrade = (
        *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )

    async def refused() -> None:
        async with site(["touch", str(started)]) as guest, site() as other:
            await guest.enter()
            await other.enter()
            here, port = f"http://{guest.name}", guest.port
            window, token = f"{guest.folder}ws", guest.way_in

            # Another site's page, and one whose name was made to lead here; a page of another server here.
            for path in (token, guest.folder, window):
                for origin in (
                    "http://evil.example",
                    f"http://127.0.0.1:{other.port}",
                    f"https://{guest.name}",
                    "null",
                ):
                    assert (await guest.inside(path, f"Origin: {origin}", *upgrade)).status == 403
                for host in (
                    f"evil.example:{port}",
                    "127.0.0.1",
                    f"127.0.0.1:{other.port}",
                    f"127.0.0.1.:{port}",
                    None,
                ):
                    answer = await guest.inside(path, *upgrade, host=host)
                    assert answer.status == (400 if host is None else 403)
                rebound = f"evil.example:{port}"
                assert (await guest.inside(path, f"Origin: http://{rebound}", host=rebound)).status == 403

            # Without the token, or with half of it, or with the cookie of another run.
            for path in ("/", guest.folder, window, "/nothing", "/../etc/passwd", "/?token=", "/?token=%ff%ed%a0%80",
                         token[:-1], f"{guest.folder}?token={guest.token}"):  # fmt: skip
                assert (await guest.ask(path, f"Origin: {here}", *upgrade)).status == 401
                assert (await guest.ask(path, other.cookie, *upgrade)).status == 401

            # With it: only what there is, by its exact name.
            for path in ("/../../etc/passwd", "/static/", "/download/x", "/ws", "/web.js", f"{guest.folder}../",
                         f"{guest.folder}../web.py", f"{guest.folder}..%2fweb.py", f"{guest.folder}%2e%2e/web.py",
                         f"{guest.folder}/web.js", f"{guest.folder}web.py", f"{guest.folder}web.js/",
                         f"{other.folder}web.js", f"{guest.folder}js/textual.js", f"/{guest.folder}"):  # fmt: skip
                assert (await guest.inside(path)).status == 404, path
            assert (await guest.inside(window)).status == 400

            # And nothing that changes.
            for verb in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"):
                for path in (guest.folder, window, token):
                    assert (await guest.inside(path, verb=verb)).status == 405
        assert guest.said == []

    asyncio.run(refused())
    assert not started.exists()


def test_no_secret_is_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    async def logged() -> list[str]:
        async with site() as guest:
            await guest.enter()
            await guest.inside(guest.folder)
            await guest.ask(f"{guest.way_in} x y")  # no request at all
            await guest.ask(guest.way_in, "Content-Length: -1")
            async with guest.terminal() as window:
                await pid_of(window)
            return [guest.token, guest.cookie.partition("=")[2], guest.folder]

    with caplog.at_level(logging.DEBUG):
        secrets = asyncio.run(logged())
    assert not [secret for secret in secrets if secret in caplog.text]


# -- terminals


def test_a_terminal_is_an_app_of_its_own_and_ends_with_its_window() -> None:
    async def talk() -> None:
        async with site() as guest:
            await guest.enter()
            async with guest.terminal() as one, guest.terminal() as two:
                first, second = await pid_of(one), await pid_of(two)
                assert first != second
                for nonsense in ("", "[]", "{", "3", '["stdin"]', '["quit"]', '["ping"]'):
                    await one.send_str(nonsense)
                await one.send_str(json.dumps(["stdin", "é"]))
                assert await one.receive_json() == ["pong"]
                assert await text(one, "é") == "heard é"
                await one.close()
                await gone(first)
                assert _alive(second)
            await gone(second)
            assert guest.said == []

    asyncio.run(talk())


def test_an_app_that_fails_closes_its_window_and_says_why_here_alone() -> None:
    async def fails() -> None:
        async with site() as guest:
            await guest.enter()
            async with guest.terminal() as window:
                await window.send_str(json.dumps(["stdin", "fail"]))
                while not window.closed:
                    await window.receive()
            await until(lambda: bool(guest.said))
            assert guest.said == ["dashboard --web: the app ended: it broke\\x1b]52;c;aGk=\\x07"]
        async with site(["/there/is/none"]) as guest:
            await guest.enter()
            with pytest.raises(aiohttp.WSServerHandshakeError, match="500"):
                async with guest.terminal():
                    pass
            assert "/there/is/none" in guest.said[0]

    asyncio.run(fails())


def test_the_server_s_end_waits_for_an_app_that_is_just_ending() -> None:
    slow = "import signal; signal.signal(signal.SIGTERM, lambda *_: put(b'not yet'))\n" + APP

    async def ends() -> None:
        async with site([*COMMAND[:-1], slow], limits=Limits(grace_seconds=1)) as guest:
            await guest.enter()
            async with guest.terminal() as window:
                pid = await pid_of(window)
            await until(lambda: bool(guest.site._endings))
            assert _alive(pid)
        assert not _alive(pid)

    asyncio.run(ends())


def test_there_are_so_many_terminals_and_no_more() -> None:
    async def many() -> None:
        async with site(limits=Limits(terminals=2)) as guest:
            await guest.enter()
            async with guest.terminal() as one, guest.terminal():
                with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                    async with guest.terminal():
                        pass
                pid = await pid_of(one)
                await one.close()
                await gone(pid)
                await until(lambda: len(guest.site._open) == 1)
                async with guest.terminal() as three:
                    await pid_of(three)

    asyncio.run(many())


async def _silent(guest: Guest) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with half a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", guest.port)
    writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
    return reader, writer


async def _ended(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""


def test_fifty_slow_ones_keep_nobody_out_and_are_sent_away() -> None:
    async def slow() -> None:
        async with site(limits=Limits(idle_seconds=1.5)) as guest:
            await guest.enter()
            slow = [await _silent(guest) for _ in range(50)]
            assert (await guest.inside(guest.folder)).status == 200
            for reader, writer in slow:
                await _ended(reader)
                writer.close()

    asyncio.run(slow())


def test_there_are_so_many_connections_and_no_more() -> None:
    async def many() -> None:
        async with site(limits=Limits(connections=5, idle_seconds=1000)) as guest:
            slow = [await _silent(guest) for _ in range(6)]
            await _ended(slow[5][0])
            assert not any(reader.at_eof() for reader, _ in slow[:5])
            slow[0][1].close()
            await until(lambda: len(guest.site._http.connections) < 5)
            await guest.enter()
            for _, writer in slow:
                writer.close()

    asyncio.run(many())


def test_who_does_not_read_takes_no_memory_and_nobodys_time() -> None:
    async def stuck() -> None:
        async with site(limits=Limits(send_seconds=1.5)) as guest:
            await guest.enter()
            reader, writer = await asyncio.open_connection("127.0.0.1", guest.port, limit=1000)
            flood = b'["stdin", "flood"]'
            writer.write(
                f"GET {guest.folder}ws HTTP/1.1\r\nHost: {guest.name}\r\n{guest.cookie}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
                + bytes([0x81, 0x80 | len(flood), 0, 0, 0, 0]) + flood
            )  # fmt: skip
            drawn = b""
            while not (found := re.search(rb"app (\d+) ", drawn)):
                drawn += await asyncio.wait_for(reader.read(500), PATIENCE)
            before = _resident()
            async with guest.terminal() as other:
                await pid_of(other)
                for turn in range(30):
                    await other.send_str(json.dumps(["stdin", f"{turn};"]))
                    await text(other, f"{turn};")
                await gone(int(found[1]))  # it was cut off, and its app is ended
                await other.send_str(json.dumps(["stdin", "still here"]))
                await text(other, "still here")
            assert _resident() - before < 20_000_000
            writer.transport.abort()

    asyncio.run(stuck())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# -- its end

SERVE = """
import sys
from dodo_claude.dashboard.web import serve
say = lambda line: print(line, flush=True)
sys.exit(serve(eval(sys.argv[1]), host="127.0.0.1", port=0, control=len(sys.argv) > 2, title="t", say=say))
"""


@pytest.mark.parametrize(
    ("number", "code", "control"),
    [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, True), (signal.SIGKILL, -9, False)],
)
def test_a_signal_ends_it_with_all_its_apps(number: int, code: int, control: bool) -> None:
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("needs Linux: there a process can be tied to its parent")

    async def ended() -> None:
        argv = [sys.executable, "-c", SERVE, repr(COMMAND), *(["--control"] if control else [])]
        async with (
            program(*argv) as (server, printed),
            aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
        ):
            url = (await printed.readline()).decode().strip()
            assert (b"can act;" in await printed.readline()) == control
            async with session.get(url) as page:
                folder = str(page.url)
            async with session.ws_connect(f"{folder}ws") as one, session.ws_connect(f"{folder}ws") as two:
                pids = [await pid_of(one)]
                drawn = await text(two, "app ")
                assert drawn.endswith(" - " if control else " 1 ")
                pids.append(int(drawn.split()[1]))
                server.send_signal(number)
                for window in (one, two):
                    while not window.closed:
                        await window.receive()
                assert await asyncio.wait_for(server.wait(), PATIENCE) == code
            for pid in pids:
                await gone(pid)
            assert await printed.read() == b""  # no traceback, no token a second time

    asyncio.run(ended())


# -- the command


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "8000"], "dashboard: --port, --host and --control are for --web (add it)"),
        (["--host", "127.0.0.1"], "dashboard: --port, --host and --control are for --web (add it)"),
        (["--control"], "dashboard: --port, --host and --control are for --web (add it)"),
        (["--web"], "orchestrate.toml: not found here or above (dodo-claude init writes one)"),
    ],
)
def test_what_is_asked_for_wrongly_is_said_in_a_line(project: Project, options: list[str], said: str) -> None:
    assert project.run("dodo-claude", "dashboard", *options, check=2).err == f"{said}\n"


def test_the_dashboard_itself_shows_and_does_nothing_more(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"]}})

    async def look() -> str:
        argv = [str(BIN / "dodo-claude"), "dashboard", "--web"]
        async with (
            program(*argv, cwd=project.root, env=project.environ()) as (server, printed),
            aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
        ):
            url = (await printed.readline()).decode().strip()
            async with session.get(url) as page:
                assert "<title>project · dodo-claude</title>" in await page.text()
            async with session.ws_connect(f"{page.url}ws?width=100&height=30") as window:
                drawn = await text(window, "not run")
                await window.send_str(json.dumps(["stdin", "T"]))
                drawn += await text(window, "only shows")
                await window.send_str(json.dumps(["stdin", "q"]))
                while not window.closed:
                    await window.receive()
            server.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(server.wait(), PATIENCE) == 130
            assert b"Traceback" not in await printed.read()
            return drawn

    assert "one" in asyncio.run(look())
    assert not list((project.root / ".orchestrate").glob("runs/*"))
    assert not project.attempts("one")


# -- a browser

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
GREEN = """() => {
  const canvas = document.querySelector("canvas.xterm-text-layer");
  return canvas?.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data.join() === "0,255,0,255";
}"""


def test_in_a_browser(tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("no Chromium here (apt install chromium)")
    pytest.importorskip("playwright", reason="no playwright here (pip install playwright)")
    from playwright.async_api import async_playwright

    app = tmp_path / "tiny.py"
    app.write_text(TEXTUAL)

    async def browse() -> None:
        async with site([sys.executable, str(app)], title="tiny") as guest, async_playwright() as play:
            browser = await play.chromium.launch_persistent_context(
                str(tmp_path / "profile"),
                executable_path=BROWSER,
                headless=True,
                args=[
                    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
                    *("--disable-background-networking", "--disable-component-update"),
                ],
            )
            try:
                page = await browser.new_page()
                page.set_default_timeout(PATIENCE * 1000)
                faults: list[str] = []
                asked: set[str] = set()
                drawn = bytearray()
                page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
                page.on("pageerror", lambda error: faults.append(str(error)))
                page.on("dialog", lambda dialog: faults.append(dialog.message))
                page.on("request", lambda request: asked.add(request.url))
                page.on(
                    "websocket",
                    lambda socket: socket.on(
                        "framereceived", lambda it: drawn.extend(it if isinstance(it, bytes) else b"")
                    ),
                )

                async def seen(true: str) -> None:  # Playwright's own way needs eval, which the page forbids
                    async with asyncio.timeout(PATIENCE):
                        while not await page.evaluate(true):
                            await asyncio.sleep(0.05)

                await page.goto(guest.site.url)
                await seen("document.activeElement.className == 'xterm-helper-textarea'")
                assert guest.token not in page.url
                assert await page.evaluate("document.cookie") == ""  # no script gets it
                await until(lambda: b"pwned" in drawn)
                assert not await page.evaluate(GREEN)
                await page.keyboard.press("g")
                await seen(GREEN)
                assert b"worker says <script>document.title = 'pwned'</script>" in drawn
                assert b"\x1b]" not in drawn
                assert await page.title() == "tiny"
                assert all(url.startswith(f"http://{guest.name}/") for url in asked), asked
                assert faults == []
                # Its own script may ask nobody else, and make no code of text.
                denied = "(x) => fetch(x).then(() => 'asked', () => 'denied')"
                assert await page.evaluate(denied, "http://localhost:1/") == "denied"
                await until(lambda: any("Content Security Policy" in fault for fault in faults))
                await page.reload()  # with the cookie
                await page.wait_for_selector("body.-first-byte")
            finally:
                await browser.close()
            assert guest.said == []

    asyncio.run(browse())
