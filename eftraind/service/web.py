"""The daemon over HTTP, read-only: the live page, its data, /metrics, /healthz and /readyz.

Owns the routes, the headers that keep a browser from running or loading anything else, and the
limits: a few readers at a time, each cut off at a deadline however slowly it reads or writes. It
runs in threads of its own and takes what it shows from functions it is given.
"""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from eftraind.clock import Clock

READERS = 8
QUIET_S = 5.0  # between two bytes
DEADLINE_S = 10.0  # for a whole connection
STALE_S = 10.0  # without a turn of the loop it no longer counts as healthy

TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/uPlot.min.css": ("uPlot.min.css", "text/css; charset=utf-8"),
    "/uPlot.iife.min.js": ("uPlot.iife.min.js", "text/javascript; charset=utf-8"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
)


@dataclass(frozen=True)
class Site:
    """What there is to read; each function is called in a thread of the server's."""

    metrics: Callable[[], bytes]
    live: Callable[[int], bytes]
    """JSON of the rows from this number on"""
    silent_s: Callable[[], float]
    """since the loop's latest sign of life"""
    unready: Callable[[], list[str]]
    """why the daemon is not ready to serve; empty if it is"""


def answer(site: Site, path: str, query: str) -> tuple[str, str, bytes]:
    """Status line, content type and body of one GET."""
    if path == "/metrics":
        return "200 OK", EXPOSITION, site.metrics()
    if path == "/live.json":
        since = parse_qs(query).get("since", ["0"])[-1]
        if not since.isascii() or not since.isdigit() or len(since) > 15:
            return "400 Bad Request", TEXT, b"since is a whole number\n"
        return "200 OK", "application/json", site.live(int(since))
    if path == "/healthz":
        if site.silent_s() > STALE_S:
            return "503 Service Unavailable", TEXT, b"the loop hangs\n"
        return "200 OK", TEXT, b"ok\n"
    if path == "/readyz":
        reasons = site.unready()
        if reasons:
            return "503 Service Unavailable", TEXT, ("\n".join(reasons) + "\n").encode()
        return "200 OK", TEXT, b"ready\n"
    if path in ASSETS:
        name, kind = ASSETS[path]
        return "200 OK", kind, asset(name)
    return "404 Not Found", TEXT, b"there are /, /metrics, /live.json, /healthz and /readyz\n"


def asset(name: str) -> bytes:
    """A file of the page."""
    return (resources.files("eftraind.service") / "page" / name).read_bytes()


class WebServer:
    """Serves until closed. Raises OSError where it cannot listen."""

    def __init__(self, site: Site, host: str, port: int, clock: Clock) -> None:
        self._site = site
        self._server = make_server(
            host, port, self._answer, server_class=_BoundedServer, handler_class=_QuietHandler
        )
        assert isinstance(self._server, _BoundedServer)
        self._server.clock = clock
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="web", daemon=True
        )
        self._thread.start()

    def _answer(self, environ: Any, start_response: Any) -> list[bytes]:
        method = environ.get("REQUEST_METHOD")
        if method in ("GET", "HEAD"):
            path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
            status, kind, body = answer(self._site, path, query)
        else:
            status, kind, body = "405 Method Not Allowed", TEXT, b"this is read-only\n"
        start_response(
            status, [("Content-Type", kind), ("Content-Length", str(len(body))), *HEADERS]
        )
        return [] if method == "HEAD" else [body]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _BoundedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    clock: Clock

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if ":" in args[0][0]:
            self.address_family = socket.AF_INET6
        self._open: dict[socket.socket, float] = {}
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._open) >= READERS:
            self.shutdown_request(request)
            return
        self._open[request] = self.clock.monotonic_s()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.pop(request, None)

    def service_actions(self) -> None:
        """Between requests: one that sends a byte now and then is not quiet, but late."""
        oldest_s = self.clock.monotonic_s() - DEADLINE_S
        for request, began_s in list(self._open.items()):
            if began_s < oldest_s:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it has just ended

    def server_bind(self) -> None:
        # HTTPServer.server_bind looks its own name up in DNS, which may take seconds on a robot.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "", int(self.socket.getsockname()[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away is nobody's problem."""


class _QuietHandler(WSGIRequestHandler):
    timeout = QUIET_S

    def log_message(self, *args: Any) -> None:
        """Scrapes are not worth a line each."""
