"""Link: one connection to the broker and the thread that keeps it up for ever."""

import logging
import select
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from daemon.clock import SECOND
from daemon.ledger import Count, Gauge
from daemon.transport.address import Address
from daemon.transport.backoff import Backoff
from daemon.transport.dialect import UNSUPPORTED, Dialect
from daemon.transport.lane import LaneClient
from daemon.transport.loss import SILENT, TAKEN_OVER, UNANSWERED, UNSPECIFIED, Loss
from daemon.transport.port import Wiring
from daemon.transport.rest import Rest
from daemon.transport.tcp import Tcp

log = logging.getLogger(__name__)

SEND_BYTES: Final = 256 * 1024
MISC_NS: Final = 250_000_000
"""How often paho is asked whether a ping is due; keep-alives are whole seconds."""
SENDS_PER_ROUND: Final = 16
"""Then something else may have its turn: what is to be read, and a stop."""
_GONE: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL
_PINGREQ: Final = b"\xc0\x00"
_CONNECT_NS: Final = 60 * SECOND
"""Connecting blocks: five seconds for each address, and a resolver may take half a minute."""


class Link(ABC):
    """A thread that connects, serves, and connects again, with a fresh client each time.

    Hooks run in this thread, `work` and `on_sent` also in others while it waits; whatever they raise
    costs this connection and is counted.
    """

    def __init__(self, wiring: Wiring, name: str, dialect: Dialect) -> None:
        self.wiring, self.name, self.dialect = wiring, name, dialect
        self.up = False
        self.epoch = 0
        """Number of the present connection, from 1."""
        self.session_present = False
        self.last_error = ""
        self.limits: dict[str, Any] = {}
        """Properties of the broker's CONNACK, by their names in the specification."""
        self.raw = bytearray()
        """Packets of our own that leave before the client's: in bulk they cost next to nothing."""
        self.lingers = False
        """Set by `read`: messages have come, and more may follow soon."""
        self.hurries = False
        """Whether the broker waits for what we send."""
        self._loss = Loss()
        self._answered = False
        self._at_once = self._raw_partly = False
        self._tcp: Tcp | None = None
        self._served: tuple[Client, Any] | None = None
        """Client and socket, while there is a connection to work on."""
        self._failed: Exception | None = None  # in another thread
        self._up_at = 0
        self._beat_ns = 0
        self._stop = threading.Event()
        self._backoff = Backoff()
        self._waiting = Rest(wiring.clock, self._stop)
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{name}", daemon=True)
        self._in_bulk = False
        wiring.ledger.watch(Gauge.CONNECTED, lambda: self.up, connection=name)
        wiring.ledger.watch(Gauge.PACKETS_IN_BULK, lambda: self._in_bulk, connection=name)

    # --- what the two kinds of connection decide ---------------------------------------------

    @abstractmethod
    def new_client(self, protocol: MQTTProtocolVersion) -> Client:
        """A client with the callbacks of this kind of connection."""

    @abstractmethod
    def connect_options(self, protocol: MQTTProtocolVersion) -> dict[str, Any]:
        """Further arguments of paho's `connect`."""

    @abstractmethod
    def on_up(self, client: Client, *, session_present: bool) -> None:
        """The broker has accepted us."""

    @abstractmethod
    def on_down(self, loss: Loss) -> None:
        """The connection that was up is gone."""

    @abstractmethod
    def work(self, client: Client) -> None:
        """Hand what waits to the connection; called in each round while it is up."""

    @abstractmethod
    def read(self, client: Client) -> None:
        """Read what has come."""

    def wants_read(self) -> bool:
        """True while there is room for what comes; else only pings go out."""
        return True

    def ready_to_leave(self, client: Client) -> bool:  # noqa: ARG002
        """True when nothing more shall be sent before a stop; asked in each round."""
        return True

    @abstractmethod
    def on_sent(self, n: int) -> None:
        """So many bytes of `raw` are on their way."""

    # --- from other threads ------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Have the thread look for work now; it does so by itself after what it does just now."""
        if threading.get_ident() != self._thread.ident:
            self._waiting.ring()

    def work_now(self) -> None:
        """Send what waits here and now, unless its own thread is at work: then have that do it.

        To wake a thread costs more than to send a packet, and takes longer.
        """
        done = False
        if self.up and self._waiting.lock.acquire(blocking=False):
            try:
                if self._served is not None:
                    self._work(*self._served)
                    done = not self.raw
            except Exception as error:  # noqa: BLE001 - it costs the connection, not the caller
                self._failed = error
            finally:
                self._waiting.lock.release()
        if not done:
            self.wake()

    def ask_stop(self) -> None:
        """Let the thread say good-bye and end."""
        self._stop.set()
        self.wake()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    @property
    def beat_ns(self) -> int:
        """When the thread last was at work, on the steady clock; later than now while it connects.

        A thread that has not been started has nothing to do, and beats.
        """
        return self._beat_ns if self._thread.ident else self.wiring.clock.monotonic_ns()

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        clock = self.wiring.clock
        while not self._stop.is_set():
            self._loss = Loss()
            self._answered = self._at_once = False
            self._up_at = 0
            self._one_connection()
            if self._stop.is_set():
                break
            self._report()
            if not self._at_once:
                up_for_s = (clock.monotonic_ns() - self._up_at) / 1e9 if self._up_at else 0.0
                taken = self._loss.code == TAKEN_OVER
                wait_s = self._backoff.next_s(up_for_s=up_for_s, taken_over=taken)
                self._rest(int(wait_s * 1e9))
        self._waiting.close()

    def _rest(self, wait_ns: int) -> None:
        clock = self.wiring.clock
        while wait_ns > 0 and not self._stop.is_set():
            self._beat_ns = clock.monotonic_ns()
            clock.wait(self._stop, min(SECOND, wait_ns))
            wait_ns -= SECOND

    def _one_connection(self) -> None:
        """Connect and serve until the connection ends. Raises nothing."""
        client: Client | None = None
        try:
            client = self._connect()
            with self._waiting.lock:
                self._failed = None
                try:
                    self._serve(client)
                finally:
                    self._served = None
        except OSError as error:
            self._loss = Loss(0, f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001
            # Foreign bytes or a fault of ours: it costs the connection, never the thread.
            self._loss = Loss.by_fault(error, self.name)
        try:
            self._close(client)
        except Exception as error:  # noqa: BLE001 - as above
            self._loss = Loss.by_fault(error, self.name)

    def _connect(self) -> Client:
        broker = self.wiring.broker
        self._beat_ns = self.wiring.clock.monotonic_ns() + _CONNECT_NS
        address = Address.of(broker.url)
        protocol = self.dialect.choose(self.name)
        client = self.new_client(protocol)
        client.on_connect = self.guarded(self._on_connect)
        client.on_disconnect = self.guarded(self._on_disconnect)
        keepalive_s = broker.keepalive // 1_000_000_000
        options = self.connect_options(protocol)
        client.connect(address.host, address.port, keepalive_s, **options)
        sock = client.socket()
        if sock is not None and address.carrier != "unix":
            self._tcp = Tcp(sock.fileno())
            if isinstance(client, LaneClient) and client.lane is not None:
                client.lane.answer = self._tcp.answer
        return client

    def _close(self, client: Client | None) -> None:
        was_up, self.up = self.up, False
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None
        sock = client.socket() if client is not None else None
        if sock is not None:
            sock.close()
        if was_up:
            self.on_down(self._loss)
        if client is not None and not self._answered and self._loss.code in UNANSWERED:
            self.dialect.no_answer(self.name, hung_up=self._loss.code == UNSPECIFIED)

    def _serve(self, client: Client) -> None:
        """Move packets until the connection ends."""
        clock = self.wiring.clock
        self._waiting.begin()
        began = pinged = clock.monotonic_ns()
        patient_until = misc_at = 0
        half_ns = self.wiring.broker.keepalive // 2
        patience_s = self.dialect.patience_s(self.name)
        sock: Any
        while (sock := client.socket()) is not None:
            self._served = client, sock
            if self._failed is not None:
                raise self._failed
            if not self._answered and clock.monotonic_ns() - began > patience_s * 1e9:
                self._loss = Loss(SILENT, f"no CONNACK within {patience_s:g} s")
                return
            if self.up:
                self._work(client, sock)
            if self._stop.is_set() and self._said_goodbye(client):
                return
            reading = self.wants_read()
            mask = select.POLLIN if reading else 0
            if client.want_write() or self.raw:
                mask |= select.POLLOUT
            buffered = reading and hasattr(sock, "pending") and sock.pending() > 0
            hit = self._waiting.until(sock.fileno(), mask, buffered=buffered, patient=reading)
            if hit & _GONE and not reading:
                return
            if reading and hit & (select.POLLIN | _GONE):
                looked_ns = clock.monotonic_ns()
                self.read(client)
                if self._tcp is not None:
                    self._tcp.answer()
                if self.lingers:
                    self._let_come(client, sock, looked_ns)
            if client.socket() is None or self._write(client, sock, hit):
                return
            now = self._beat_ns = clock.monotonic_ns()
            if reading and now >= max(patient_until, misc_at):
                misc_at = now + MISC_NS
                client.loop_misc()
            elif not reading:
                # Behind what we do not read stands the broker's PINGRESP: paho would give up.
                patient_until = now + 2 * half_ns
                if now - pinged > half_ns and not client.want_write() and not self.raw:
                    pinged = now
                    sock.send(_PINGREQ)

    def _let_come(self, client: Client, sock: Any, looked_ns: int) -> None:
        """Send what came of what was read, and let more come for a moment."""
        self.lingers = False
        if client.socket() is not None:
            self._work(client, sock)
        if client.socket() is not None and not self.raw and not client.want_write():
            self._waiting.let_come(looked_ns, hurries=self.hurries)

    def _write(self, client: Client, sock: Any, hit: int) -> bool:
        """Send what may be sent now; True when the connection ended by it."""
        # Neither may start within a packet that the other has sent only a part of.
        if self._raw_partly or (self.raw and not client.want_write()):
            if hit & select.POLLOUT:
                self._write_raw(sock)
        elif client.want_write():
            return client.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS
        return False

    def _work(self, client: Client, sock: Any) -> None:
        """Take what waits, and send it at once as far as the socket takes it."""
        for _ in range(SENDS_PER_ROUND):
            self.work(client)
            if not self.raw or client.want_write():
                return
            with suppress(OSError):  # the end of a connection is found by reading, with its reason
                self._write_raw(sock)
            if self.raw:
                return
        self._waiting.ring()

    def _write_raw(self, sock: Any) -> None:
        try:
            sent = sock.send(bytes(self.raw[:SEND_BYTES]))
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        del self.raw[:sent]
        self._raw_partly = bool(self.raw)
        self.on_sent(sent)

    def _said_goodbye(self, client: Client) -> bool:
        """When nothing is left to send, disconnect; True when done."""
        if self.up and not self.ready_to_leave(client):
            return False
        if self.up and (self.raw or client.want_write()):
            return False
        self._loss = Loss(0, "stopped")
        client.disconnect()
        client.loop_write()
        return True

    # --- callbacks ---------------------------------------------------------------------------

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The callback, with a fault in it counted before it ends the connection."""

        def guard(*args: Any) -> None:
            try:
                callback(*args)
            except Exception:
                self.wiring.ledger.count(Count.CALLBACK_ERRORS, connection=self.name)
                raise

        return guard

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, code: ReasonCode, props: Properties
    ) -> None:
        self._answered = True
        if code.is_failure:
            if code.value == UNSUPPORTED:
                self._at_once = self.dialect.refused(self.name)
            self._loss = Loss(code.value, f"refused: {code.getName()}")
            return
        self._accepted(client, flags, props)

    def _accepted(self, client: Client, flags: ConnectFlags, properties: Properties) -> None:
        self.dialect.accepted(self.name)
        self._in_bulk = isinstance(client, LaneClient)
        self._raw_partly = False
        self.raw.clear()
        self.epoch += 1
        self.session_present = bool(flags.session_present)
        self.limits = dict(properties.json())  # type: ignore[no-untyped-call]
        self.last_error = ""
        self._up_at = self.wiring.clock.monotonic_ns()
        self.wiring.ledger.count(Count.CONNECTIONS, connection=self.name)
        self.up = True
        log.info(
            "Connected to the broker",
            extra={"facts": {"connection": self.name, "protocol": self.dialect.text(self.name)}},
        )
        self.on_up(client, session_present=self.session_present)

    def _on_disconnect(
        self, _client: Client, _: Any, flags: DisconnectFlags, code: ReasonCode, _props: Any
    ) -> None:
        if self._answered and not self.up:
            return
        told = "told by the broker: " if flags.is_disconnect_packet_from_server else ""
        self._loss = Loss(code.value, told + code.getName())

    def _report(self) -> None:
        self.wiring.ledger.count(Count.CONNECTION_FAILURES, connection=self.name)
        self.last_error = self._loss.text
        self._loss.report(self.name)
