"""Shadow: what a replay publishes, on a broker, under a prefix that keeps it apart."""

import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from config.model import Broker, Limits
from daemon.clock import SECOND, Clock
from daemon.inbox import Inbox
from daemon.ledger import Count, Ledger
from daemon.messages import Outgoing
from daemon.outbox import Outbox
from daemon.transport import Wiring, make_transport

WAITING_MAX: Final = 1000
"""Outputs that wait for the broker before the replay waits, too."""
PATIENCE_NS: Final = 15 * SECOND
REST_NS: Final = 5_000_000


class ShadowError(Exception):
    """The broker cannot be reached, or takes nothing any more."""


class Shadow:
    """A connection that only publishes."""

    def __init__(self, broker: Broker, prefix: str, clock: Clock) -> None:
        limits, self._ledger = Limits(), Ledger()
        self._prefix, self._clock, self._url = prefix, clock, broker.url
        self._never = threading.Event()
        self._outbox = Outbox(limits.outbox_messages_max, limits.outbox_bytes_max, self._ledger)
        here = Outgoing(f"{prefix}sensorweir/replay/status", b"online", 1, True, "status")
        self._transport = make_transport(
            Wiring(
                broker=broker,
                client_id=f"sensorweir-replay-{os.getpid()}",
                inbox=Inbox(limits.inbox_messages_max, limits.inbox_bytes_max, self._ledger),
                outbox=self._outbox,
                ledger=self._ledger,
                clock=clock,
                birth=here,
                will=replace(here, payload=b"offline"),
            )
        )
        # The connection for messages waits for this to end, and so is never made.
        self._transport.recall(())

    def start(self) -> None:
        """Connect. Raises ShadowError when that does not succeed within seconds."""
        self._transport.start()
        until_ns = self._clock.monotonic_ns() + PATIENCE_NS
        while not self._transport.status()["out"]["up"]:
            if self._clock.monotonic_ns() > until_ns:
                why = self._transport.status()["out"]["last_error"]
                raise ShadowError(f"no connection to {self._url}: {why}")
            self._clock.wait(self._never, REST_NS)

    def put(self, outputs: Iterable[Outgoing]) -> None:
        """Publish these in order. Raises ShadowError when the broker takes nothing any more."""
        self._outbox.put(replace(out, topic=self._prefix + out.topic) for out in outputs)
        self._wait(WAITING_MAX)

    def close(self) -> int:
        """Wait until all is published; how many were refused. Raises ShadowError as `put`."""
        self._wait(0)
        return int(self._ledger.total(Count.OUTPUTS_DISCARDED))

    def stop(self) -> None:
        """End the connection, whatever still waits."""
        self._transport.stop(0)

    def _wait(self, most: int) -> None:
        left, until_ns = len(self._outbox), self._clock.monotonic_ns() + PATIENCE_NS
        while len(self._outbox) > most:
            if len(self._outbox) < left:
                left, until_ns = len(self._outbox), self._clock.monotonic_ns() + PATIENCE_NS
            if self._clock.monotonic_ns() > until_ns:
                raise ShadowError(f"{self._url} takes nothing any more, {left} outputs wait")
            self._clock.wait(self._never, REST_NS)
