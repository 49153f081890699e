"""Health: /metrics, /healthz and /readyz over HTTP, read-only, on loopback by default."""

import logging
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from daemon.clock import Clock
from daemon.transport.port import Transport

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

TURN_AGE_MAX_NS: Final = 10_000_000_000
REQUEST_S: Final = 5.0
REQUESTS_MAX: Final = 16

Verdict = tuple[bool, dict[str, Any]]


class Turning(Protocol):
    """The engine, as far as health looks at it."""

    @property
    def turned_ns(self) -> int:
        """When the last turn ended, on the steady clock."""
        ...


class Watched(Protocol):
    """The daemon, as far as health looks at it."""

    @property
    def clock(self) -> Clock: ...
    @property
    def engine(self) -> Turning: ...
    @property
    def transport(self) -> Transport: ...
    @property
    def warm(self) -> bool:
        """True when all kernels are compiled."""
        ...

    @property
    def recalling(self) -> bool:
        """Whether samples wait for the states of alerts that were active before."""
        ...

    @property
    def degraded(self) -> list[str]:
        """What does not work though the daemon does its work."""
        ...


class Health:
    """What is well and what is not, with reasons."""

    def __init__(self, daemon: Watched) -> None:
        self._daemon = daemon

    def live(self) -> Verdict:
        """True when a restart would help nothing; a broker that is away is no reason for one."""
        daemon, reasons = self._daemon, []
        age_ns = daemon.clock.monotonic_ns() - daemon.engine.turned_ns
        if daemon.warm and age_ns > TURN_AGE_MAX_NS:
            reasons.append(f"the engine has not turned for {age_ns / 1e9:.0f} s")
        if daemon.warm and not daemon.transport.status().get("alive", True):
            reasons.append("a thread of the transport has ended")
        return not reasons, {"status": "failing" if reasons else "ok", "reasons": reasons}

    def ready(self) -> Verdict:
        """True when the whole way is open, from the broker through the pipelines and back."""
        daemon, status = self._daemon, self._daemon.transport.status()
        ok, live = self.live()
        reasons = list(live["reasons"])
        if not daemon.warm:
            reasons.append("kernels are being compiled")
        if not daemon.transport.connected:
            reasons.append("not connected to the broker, or not subscribed yet")
        elif daemon.recalling:
            reasons.append("alerts that were active before are being recalled from the broker")
        refused = status.get("refused") or {}
        reasons += [f"the broker refuses {text}: {why}" for text, why in refused.items()]
        ok = ok and not reasons
        degraded = daemon.degraded
        word = "not ready" if not ok else "degraded" if degraded else "ready"
        body = {"status": word, "reasons": reasons, "degraded": degraded, "transport": status}
        return ok, body


class _Server(ThreadingHTTPServer):
    """Threads that a stuck client cannot keep for ever, nor more than a few."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = REQUESTS_MAX

    def __init__(
        self, address: tuple[str, int], health: Health, registry: "Callable[[], CollectorRegistry]"
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.health, self.registry = health, registry
        self._room = threading.BoundedSemaphore(REQUESTS_MAX)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread, or hang up when too many are busy."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One request; gives its place back whatever happens."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base
        """Log a fault of ours; a client that hangs up in the middle is its own affair."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error("A request could not be answered", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_S
    protocol_version = "HTTP/1.0"
    server_version = "sensorweir"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            from prometheus_client import exposition  # noqa: PLC0415 - a start does without

            body = exposition.generate_latest(self.server.registry())
            self._answer(200, body, exposition.CONTENT_TYPE_LATEST)
        elif path in {"/healthz", "/readyz"}:
            health = self.server.health
            ok, said = health.live() if path == "/healthz" else health.ready()
            self._answer(200 if ok else 503, orjson.dumps(said), "application/json")
        else:
            said = {"error": f"no {path[:100]} here", "see": ["/metrics", "/healthz", "/readyz"]}
            self._answer(404, orjson.dumps(said), "application/json")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, code: int, body: bytes, content_type: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Scrapes are no news."""


class HealthServer:
    """The HTTP server in its thread. Raises OSError when the address cannot be bound."""

    def __init__(
        self, listen: str, health: Health, registry: "Callable[[], CollectorRegistry]"
    ) -> None:
        """`registry` is asked at each scrape for what it shall show."""
        host, _, port = listen.rpartition(":")
        self._server = _Server((host.strip("[]"), int(port)), health, registry)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="http", daemon=True
        )

    @property
    def address(self) -> str:
        """host:port it listens on, with the true port where 0 was asked for."""
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, give the port back."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
