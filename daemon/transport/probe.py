"""Probe: what a broker grants the daemon, found out by two guests of its two identities.

The guests have client ids and clean sessions of their own, so a daemon that runs is not disturbed.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from config.model import Broker
from daemon.clock import Clock
from daemon.transport.address import V5, V311, Address, new_client
from daemon.transport.dialect import ANSWER_S, FIRST_ANSWER_S, UNSUPPORTED
from daemon.transport.tcp import Tcp

VERSION_TOPIC: Final = "$SYS/broker/version"
PATIENCE_S: Final = 3.0
"""For each answer of a broker that has already let us in."""
_STEP_S: Final = 0.001
_PROTOCOLS: Final = {"auto": (V5, V311), "5": (V5,), "3.1.1": (V311,)}


@dataclass(slots=True)
class Report:
    """What was seen; what was not reached is as it stands here."""

    error: str = ""
    """Why the subscribing identity has no connection."""
    publisher_error: str = ""
    """The same of the publishing identity."""
    protocol: str = ""
    """'5' or '3.1.1'."""
    connect_ms: float = 0.0
    limits: dict[str, Any] = field(default_factory=dict)
    """Properties of the CONNACK, by their names in the specification."""
    version: str = ""
    """What the broker calls itself; '' when it does not say, or not to us."""
    refused: dict[str, str] = field(default_factory=dict)
    """{filter: why} of subscriptions that the broker refused."""
    unanswered: bool = False
    """True when it answered to no subscription at all."""
    confirmed: int | None = None
    """Reason code of the canary's PUBACK; None when there was none."""
    heard_ms: float | None = None
    """How long the canary took, there and back; None when it never came."""


class _Guest:
    """One clean connection, driven by hand."""

    def __init__(self, broker: Broker, client_id: str, protocol: MQTTProtocolVersion) -> None:
        self.client: Client = new_client(broker, client_id, protocol, clean=True)
        self.code: ReasonCode | None = None
        self.loss = "closed without an answer"
        self.limits: dict[str, Any] = {}
        self.granted: dict[int, list[ReasonCode]] = {}
        self.confirmed: dict[int, int] = {}
        self.got: list[tuple[str, bytes]] = []
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_publish = self._on_publish
        self.client.on_message = self._on_message
        address = Address.of(broker.url)
        options: dict[str, Any] = {"clean_start": True} if protocol == V5 else {}
        self.client.connect(address.host, address.port, **options)
        sock: Any = self.client.socket()
        # As the daemon does it: else a broker with Nagle's algorithm seems to take 40 ms.
        self._tcp = None if address.carrier == "unix" else Tcp(sock.fileno())

    @property
    def there(self) -> bool:
        """True while there is a connection."""
        return self.client.socket() is not None

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        """Ask for {filter: QoS}; the number of the request."""
        return self.client.subscribe(list(filters))[1] or 0

    def move(self, wait_s: float) -> None:
        """Send and read what can be sent and read now."""
        self.client.loop(wait_s)
        if self._tcp is not None and self.there:
            self._tcp.answer()

    def close(self) -> None:
        """Say good-bye; whatever the connection makes of it."""
        if self._tcp is not None:
            self._tcp.close()
        sock: Any = self.client.socket()
        if sock is not None:
            self.client.disconnect()
            self.client.loop(0)
            sock.close()

    def _on_connect(
        self,
        _client: Client,
        _: Any,
        _flags: ConnectFlags,
        code: ReasonCode,
        props: Properties | None,
    ) -> None:
        self.code = code
        if props is not None:
            self.limits = dict(props.json())  # type: ignore[no-untyped-call]

    def _on_disconnect(self, *args: Any) -> None:
        self.loss = f"closed: {args[3].getName()}"

    def _on_subscribe(
        self, _client: Client, _: Any, mid: int, codes: Iterable[ReasonCode], _props: Any
    ) -> None:
        self.granted[mid] = list(codes)

    def _on_publish(self, _client: Client, _: Any, mid: int, code: ReasonCode, _props: Any) -> None:
        self.confirmed[mid] = code.value

    def _on_message(self, _client: Client, _: Any, message: MQTTMessage) -> None:
        self.got.append((message.topic, bytes(message.payload)))


def probe(
    broker: Broker, client_id: str, canary: str, filters: Iterable[str], clock: Clock
) -> Report:
    """Connect with both identities, subscribe, and send a canary from one to the other.

    `client_id`: the daemon's, ours begin with it.  `canary`: the topic it flies on.  `filters`: of
    the sources; they are asked for, and given back at once.  Raises nothing.
    """
    return _Probe(broker, client_id, canary, clock).run(sorted(filters))


class _Probe:
    def __init__(self, broker: Broker, client_id: str, canary: str, clock: Clock) -> None:
        self._broker, self._canary, self._clock = broker, canary, clock
        self._token = uuid.uuid4().hex
        self._client_id = f"{client_id}-doctor-{self._token[:6]}"
        self._guests: list[_Guest] = []
        self._report = Report()

    def run(self, filters: Sequence[str]) -> Report:
        report = self._report
        try:
            ear = self._ear()
            if ear is not None:
                self._subscribe(ear, filters)
                mouth = self._mouth()
                if mouth is not None:
                    self._fly(ear, mouth)
        finally:
            for guest in self._guests:
                guest.close()
        return report

    def _ear(self) -> _Guest | None:
        report, began = self._report, self._clock.monotonic_ns()
        protocols = _PROTOCOLS[self._broker.protocol]
        for protocol in protocols:
            patience_s = FIRST_ANSWER_S if len(protocols) > 1 else ANSWER_S
            guest, report.error = self._enter(self._broker, "in", protocol, patience_s)
            if guest is not None:
                report.protocol = "5" if protocol == V5 else "3.1.1"
                report.limits = guest.limits
                report.connect_ms = (self._clock.monotonic_ns() - began) / 1e6
                return guest
            if not self._guests or self._guests[-1].code not in (None, UNSUPPORTED):
                break  # not there, or there and against us: another version helps nothing
        return None

    def _mouth(self) -> _Guest | None:
        protocol = V5 if self._report.protocol == "5" else V311
        guest, error = self._enter(self._broker.publisher, "out", protocol, ANSWER_S)
        self._report.publisher_error = error
        return guest

    def _enter(
        self, broker: Broker, name: str, protocol: MQTTProtocolVersion, patience_s: float
    ) -> tuple[_Guest | None, str]:
        """Connect; the guest, or why there is none."""
        try:
            guest = _Guest(broker, f"{self._client_id}-{name}", protocol)
        except OSError as error:
            return None, f"{type(error).__name__}: {error}"
        self._guests.append(guest)
        self._until(lambda: guest.code is not None or not guest.there, patience_s)
        if guest.code is None:
            return None, guest.loss if not guest.there else f"no answer within {patience_s:g} s"
        if guest.code.is_failure:
            return None, f"refused: {guest.code.getName()}"
        return guest, ""

    def _subscribe(self, ear: _Guest, filters: Sequence[str]) -> None:
        """First what carries the canary, then the sources' own, which may bring a flood."""
        report = self._report
        first = ear.subscribe([(self._canary, 1), (VERSION_TOPIC, 0)])
        self._until(lambda: first in ear.granted, PATIENCE_S)
        report.unanswered = first not in ear.granted
        self._note(ear, first, [self._canary])
        self._until(lambda: any(topic == VERSION_TOPIC for topic, _ in ear.got), PATIENCE_S / 3)
        said = dict(ear.got).get(VERSION_TOPIC, b"")
        report.version = said.decode("utf-8", "replace")[:100]
        if filters:
            asked = ear.subscribe([(text, 1) for text in filters])
            self._until(lambda: asked in ear.granted, PATIENCE_S)
            self._note(ear, asked, filters)
            ear.client.unsubscribe(list(filters))

    def _note(self, ear: _Guest, mid: int, filters: Sequence[str]) -> None:
        for text, code in zip(filters, ear.granted.get(mid, ()), strict=False):
            if code.value >= 0x80:
                self._report.refused[text] = code.getName()

    def _fly(self, ear: _Guest, mouth: _Guest) -> None:
        report, began = self._report, self._clock.monotonic_ns()
        flown = (self._canary, self._token.encode())
        mid = mouth.client.publish(*flown, qos=1).mid
        self._until(lambda: mid in mouth.confirmed and flown in ear.got, PATIENCE_S)
        report.confirmed = mouth.confirmed.get(mid)
        if flown in ear.got:
            report.heard_ms = (self._clock.monotonic_ns() - began) / 1e6

    def _until(self, true: Callable[[], bool], patience_s: float) -> None:
        """Move packets of all guests until it is true, or time is over, or nobody is left."""
        until_ns = self._clock.monotonic_ns() + int(patience_s * 1e9)
        while not true() and self._clock.monotonic_ns() < until_ns:
            there = [guest for guest in self._guests if guest.there]
            if not there:
                return
            for guest in there:
                guest.move(_STEP_S)
