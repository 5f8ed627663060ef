"""The dashboard in a browser: who may reach it, what a page may do, and an app for each terminal that is open.

The way in is the token in the address that is printed once. It is exchanged for a cookie of a folder with a random
name: a browser sends cookies to every port of a host, but not to other folders, so no other server of this machine
gets to see it. All else is refused, by a table of what there is. Served are textual-serve's terminal and our page.
"""

from __future__ import annotations

import asyncio
import html
import ipaddress
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hmac import compare_digest
from importlib import resources
from pathlib import Path
from string import Template

from aiohttp import WSCloseCode, WSMsgType, web

from dodo_claude.dashboard.relay import Relay
from dodo_claude.machine import importing
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

# Set for an app that may show and do nothing.
READ_ONLY = "DODO_CLAUDE_READ_ONLY"
COOKIE = "dodo_claude"
_HERE = Path(__file__).parent
_FILES: dict[str, tuple[Path | str, str]] = {
    "web.js": (_HERE / "web.js", "text/javascript"),
    "web.css": (_HERE / "web.css", "text/css"),
    "web.svg": (_HERE / "web.svg", "image/svg+xml"),
    "textual.js": ("static/js/textual.js", "text/javascript"),
    "xterm.css": ("static/css/xterm.css", "text/css"),
    "roboto-mono.ttf": ("static/fonts/RobotoMono-VariableFont_wght.ttf", "font/ttf"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "clipboard-read=(), clipboard-write=(), camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "dodo-claude",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"


@dataclass(frozen=True, slots=True)
class Limits:
    """What browsers may take of this machine."""

    terminals: int = 8  # each is a process
    connections: int = 64
    idle_seconds: float = 10  # for a request to come in, and for the next
    send_seconds: float = 20  # for a browser to take what was drawn
    grace_seconds: float = 3  # for an app to end
    message: int = 1_000_000  # bytes from a browser at once


class Site:
    """Serves `command`, the app, on one address. `report` is given a line on what went wrong."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        title: str = "dodo-claude",
        environ: Mapping[str, str],
        report: Callable[[str], None],
        limits: Limits = Limits(),
    ) -> None:
        self._command, self._environ = tuple(command), dict(environ)
        self._title, self._report, self._limits = title, report, limits
        self._token, self._ticket, self._folder = (secrets.token_urlsafe(32) for _ in range(3))
        self._socket = _listen(host, port)
        host, port = self._socket.getsockname()[:2]  # as browsers write it
        name = f"[{host}]" if ":" in host else host
        # A page of elsewhere whose name was made to lead here (rebinding) would ask for that name.
        self._names = {f"{name}:{port}"} | ({f"localhost:{port}"} if _is_loopback(host) else set())
        self.url = f"http://{name}:{port}/?token={self._token}"
        self._files = {name: (_read(source), kind) for name, (source, kind) in _FILES.items()}
        self._page = Template((_HERE / "web.html").read_text(encoding="utf-8"))
        self._open: set[asyncio.Task[object]] = set()  # a terminal each
        self._endings: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        quiet = logging.getLogger("dodo_claude.dashboard.web")
        quiet.disabled = True  # what aiohttp says of requests, ill-formed ones too, holds the token
        self._http = web.Server(
            self._answer,
            access_log=None,
            logger=quiet,
            keepalive_timeout=self._limits.idle_seconds,
            lingering_time=1,
        )
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=self._socket)

    async def stop(self) -> None:
        """End all terminals with their apps, and all connections."""
        self._server.close()
        for task in self._open:
            task.cancel()
        await self._http.shutdown(1)
        await asyncio.gather(*self._open, *self._endings, return_exceptions=True)
        await self._server.wait_closed()

    def _connection(self) -> asyncio.Protocol:
        if len(self._http.connections) >= self._limits.connections:
            return _Refusal()
        return self._http()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            answer = self._refusal(request) or await self._found(request)
        except (ConnectionError, TimeoutError):
            raise  # the browser went
        except Exception as error:
            self._report(f"dashboard --web: {type(error).__name__}: {one_line(str(error))}")
            answer = _plain(500, "something went wrong; the terminal of dodo-claude says what")
        if not answer.prepared:
            answer.headers.update(_HEADERS)
            answer.headers.setdefault("Content-Security-Policy", _POLICY)
            if answer.status >= 400:
                answer.force_close()
        return answer

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Why a request is not answered; None: it may be."""
        name = request.headers.get("Host", "")
        if name not in self._names:
            return _plain(403, "this is not the address that dodo-claude printed")
        if request.headers.get("Origin", f"http://{name}") != f"http://{name}":
            return _plain(403, "another site's page may not ask here")
        if request.method != "GET":
            return _plain(405, "there is nothing to change here", Allow="GET")
        if request.path == "/" and _same(request.query.get("token", ""), self._token):
            return None
        if not _same(request.cookies.get(COOKIE, ""), self._ticket):
            return _plain(401, "open the address that dodo-claude printed, with its token")
        return None

    async def _found(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/":
            return self._let_in()
        for name, made in (("", self._index), ("ws", self._terminal)):
            if request.path == f"/{self._folder}/{name}":
                return await made(request)
        for name, (content, kind) in self._files.items():
            if request.path == f"/{self._folder}/{name}":
                return web.Response(body=content, content_type=kind)
        return _plain(404, "there is no such thing here")

    def _let_in(self) -> web.Response:
        folder = f"/{self._folder}/"
        answer = web.Response(status=303, headers={"Location": folder})
        answer.set_cookie(COOKIE, self._ticket, path=folder, httponly=True, samesite="Strict")
        return answer

    async def _index(self, request: web.BaseRequest) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        policy = f"{_POLICY}; style-src 'self' 'nonce-{nonce}'; connect-src 'self' ws://{request.host}"
        text = self._page.substitute(
            title=html.escape(self._title), nonce=nonce, socket=f"ws://{request.host}/{self._folder}/ws"
        )
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def _terminal(self, request: web.BaseRequest) -> web.StreamResponse:
        """A terminal in a browser, from its opening to its end."""
        if len(self._open) >= self._limits.terminals:
            return _plain(503, f"{self._limits.terminals} terminals are open already (close one)")
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            return await self._shown(request)
        finally:
            self._open.discard(task)

    async def _shown(self, request: web.BaseRequest) -> web.StreamResponse:
        window = web.WebSocketResponse(
            heartbeat=15, timeout=2, compress=False, max_msg_size=self._limits.message
        )
        if not window.can_prepare(request):
            return _plain(400, "here is a terminal, for a WebSocket")
        app = await Relay.start(self._command, self._environ, _size(request), partial(self._draw, window))
        tasks: list[asyncio.Task[None]] = []
        try:
            window.headers.update(_HEADERS)
            await window.prepare(request)
            tasks = [asyncio.create_task(app.pump()), asyncio.create_task(_hear(window, app))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A task of its own, which nothing cuts short: the app must not be left behind.
            ending = asyncio.create_task(self._end(window, request, app, tasks))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.shield(ending)
        return window

    async def _end(
        self,
        window: web.WebSocketResponse,
        request: web.BaseRequest,
        app: Relay,
        tasks: Sequence[asyncio.Task[None]],
    ) -> None:
        for task in tasks:
            task.cancel()
        for fault in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(fault, Exception) and not isinstance(fault, ConnectionError | TimeoutError):
                self._report(f"dashboard --web: {type(fault).__name__}: {one_line(str(fault))}")
        try:
            await _close(window, request)
        finally:
            await app.end(self._limits.grace_seconds)
        if app.ended:
            self._report(f"dashboard --web: the app ended: {one_line(app.ended)}")

    async def _draw(self, window: web.WebSocketResponse, drawn: bytes) -> None:
        """Waits while the browser is slow, so that the app does, too; not endlessly."""
        async with asyncio.timeout(self._limits.send_seconds):
            await window.send_bytes(drawn)


async def _hear(window: web.WebSocketResponse, app: Relay) -> None:
    async for message in window:
        if message.type == WSMsgType.TEXT:
            with suppress(ValueError):  # no JSON
                said = message.json()
                if isinstance(said, list) and said[:1] == ["ping"]:
                    await window.send_json(["pong", *said[1:2]])
                else:
                    await app.take(said)


async def _close(window: web.WebSocketResponse, request: web.BaseRequest) -> None:
    # A task of its own: where a slow browser had sending cancelled, aiohttp's closing is "cancelled", too.
    closing = asyncio.create_task(window.close(code=WSCloseCode.GOING_AWAY))
    await asyncio.wait([closing], timeout=3)
    closing.cancel()
    (fault,) = await asyncio.gather(closing, return_exceptions=True)
    if isinstance(fault, BaseException) and request.transport is not None:
        request.transport.abort()


class _Refusal(asyncio.Protocol):
    """For one connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _plain(status: int, text: str, **headers: str) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers=headers)


def _same(given: str, secret: str) -> bool:
    """Compared in a time that tells nothing."""
    return compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _size(request: web.BaseRequest) -> tuple[int, int]:
    """Of the terminal, as the browser says."""
    try:
        return int(request.query.get("width", "80")), int(request.query.get("height", "24"))
    except ValueError:
        return 80, 24


def _read(source: Path | str) -> bytes:
    """A file of ours, or one of textual-serve's."""
    return (
        source.read_bytes()
        if isinstance(source, Path)
        else (resources.files("textual_serve") / source).read_bytes()
    )


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _listen(host: str, port: int) -> socket.socket:
    """A socket on that one address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise DodoClaudeError(f"--host {host}: is no IP address (give one of this machine's)") from None
    if address.is_unspecified or address.is_multicast:
        raise DodoClaudeError(f"--host {host}: is not one address (give the one to be reached at)")
    found = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except OSError as error:
        found.close()
        hint = "choose another --port" if port else "give an address of this machine's"
        raise DodoClaudeError(f"{host}{f':{port}' if port else ''}: {error.strerror} ({hint})") from error
    return found


def dashboard(root: Path, *, host: str, port: int, control: bool, say: Callable[[str], None]) -> int:
    """The dashboard of the project in `root`, until a signal: 128 + its number."""
    command = importing.python("dodo_claude", "dashboard")
    return serve(command, host=host, port=port, control=control, title=f"{root.name} · dodo-claude", say=say)


def serve(
    command: Sequence[str],
    *,
    host: str,
    port: int,
    control: bool,
    title: str,
    say: Callable[[str], None],
) -> int:
    """Serve `command` until a signal ends it: 128 + its number. Without `control` the app is told to show only."""
    environ = {name: value for name, value in os.environ.items() if name != READ_ONLY}
    if not control:
        environ[READ_ONLY] = "1"
    site = Site(command, host=host, port=port, title=title, environ=environ, report=say)
    try:
        return 128 + asyncio.run(_until_a_signal(site, host, control, say))
    except KeyboardInterrupt:  # before signals were minded, or after
        return 130


async def _until_a_signal(site: Site, host: str, control: bool, say: Callable[[str], None]) -> int:
    loop = asyncio.get_running_loop()
    came: asyncio.Future[int] = loop.create_future()

    def note(number: int) -> None:
        if not came.done():
            came.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, note, number)
    await site.start()
    try:
        say(site.url)
        if not _is_loopback(host):
            say(f"{host}: this goes unencrypted over the network, with the token: who can listen, can get in")
        say(
            f"{'who has this address can act' if control else 'it only shows (--control: it can act)'}; Ctrl-C ends it"
        )
        return await came
    finally:
        await site.stop()
