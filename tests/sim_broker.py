"""SimBroker: a broker in memory, with one subscriber that it keeps a session for, by a seed.

What is on its way in either direction lies in a pipe, and is lost in part when the connection is
cut: what was sent may have come, or not.  It redelivers in order with DUP set, gives packet ids by
counting or the lowest that is free, may ignore how much the subscriber wants at once, and may
forget the session.  What a broker is promised is checked here: acknowledgements in the order of
delivery, on the connection that delivered, and nothing else.
"""

from collections import deque
from typing import NamedTuple

MIDS = 24
"""Packet ids that there are; 65,535 would never come round in a short life."""
REFUSED = 0x87


class BrokenPromise(AssertionError):
    """What the daemon promised and did not keep."""


class Publication(NamedTuple):
    """What a device published."""

    number: int
    topic: str
    payload: bytes
    qos: int


class Packet(NamedTuple):
    """A publication as it is sent to the subscriber."""

    publication: Publication
    mid: int
    dup: bool


class Session:
    """What the broker keeps for the subscriber while it is away."""

    def __init__(self):
        self.subscribed = False
        self.queue = deque()  # publications that were never sent
        self.in_flight = {}  # mid -> publication, in order of sending
        self.counted = 0


class SimBroker:
    def __init__(self, rng):
        self.rng = rng
        self.lowest_free = rng.random() < 0.5
        self.window = rng.choice((1, 3, 8))
        self.ignores_window = rng.random() < 0.2
        self.refuses = 0.05 if rng.random() < 0.2 else 0.0
        self.session = None
        self.published, self.lost, self.acknowledged = [], set(), set()
        self.up = False  # whether the ingest connection is
        self.to_client, self.from_client = deque(), deque()
        self.resending, self.delivered = deque(), deque()
        self.out_up = False  # whether the egress connection is
        self.out_from_client, self.out_to_client = deque(), deque()
        self.received, self.refused = [], []
        self.retained = {}

    # --- devices ---------------------------------------------------------------------------------

    def publish(self, topic, payload, qos):
        made = Publication(len(self.published), topic, payload, qos)
        self.published.append(made)
        session = self.session
        kept = session is not None and session.subscribed and (qos or self.up)
        if kept:
            session.queue.append(made)
        else:
            self.lost.add(made.number)
        return made

    # --- the connection that subscribes ----------------------------------------------------------

    def connect(self):
        """Whether the session of before lives on."""
        assert not self.up
        self.up = True
        present = self.session is not None
        if not present:
            self.session = Session()
        self.resending = deque(self.session.in_flight.items())
        self.delivered.clear()
        return present

    def subscribe(self):
        self.session.subscribed = True

    def send(self):
        """Put the next message into the pipe; whether there was one."""
        session = self.session
        if not self.up:
            return False
        if self.resending:
            mid, publication = self.resending.popleft()
            self._sent(Packet(publication, mid, True))
            return True
        if not session.queue or not (mid := self._mid()):
            return False
        publication = session.queue.popleft()
        if publication.qos == 0:
            self.to_client.append(Packet(publication, 0, False))
            return True
        session.in_flight[mid] = publication
        self._sent(Packet(publication, mid, False))
        return True

    def _sent(self, packet):
        self.delivered.append(packet.mid)
        self.to_client.append(packet)

    def _mid(self):
        session = self.session
        taken = session.in_flight
        if len(taken) >= (MIDS if self.ignores_window else self.window):
            return 0
        if self.lowest_free:
            return next(mid for mid in range(1, MIDS + 1) if mid not in taken)
        while (mid := session.counted % MIDS + 1) in taken:
            session.counted += 1
        session.counted += 1
        return mid

    def hear(self):
        """Take the next acknowledgement out of the pipe."""
        mid = self.from_client.popleft()
        if not self.delivered or self.delivered[0] != mid:
            raise BrokenPromise(f"acknowledged {mid}, expected {list(self.delivered)[:1]}")
        self.delivered.popleft()
        self.acknowledged.add(self.session.in_flight.pop(mid).number)

    def cut(self):
        """The connection ends; a part of what was sent to us still comes."""
        for _ in range(self.rng.randint(0, len(self.from_client))):
            self.hear()
        self.up = False
        # A message of QoS 0 that was on its way is gone.
        self.lost |= {p.publication.number for p in self.to_client if not p.mid}
        self.to_client.clear()
        self.from_client.clear()

    def forget(self):
        """Lose the session, and with it all connections."""
        self.cut()
        self.cut_out()
        if self.session is not None:
            self.lost |= {p.number for p in self.session.queue}
            self.lost |= {p.number for p in self.session.in_flight.values()}
        self.session = None

    # --- the connection that publishes -----------------------------------------------------------

    def connect_out(self):
        assert not self.out_up
        self.out_up = True

    def hear_out(self):
        """Take the next output out of the pipe, and answer."""
        token, outgoing = self.out_from_client.popleft()
        if self.rng.random() < self.refuses:
            self.refused.append(outgoing)
            self.out_to_client.append((token, REFUSED))
            return
        self.received.append(outgoing)
        if outgoing.retain:
            self.retained[outgoing.topic] = outgoing.payload
        self.out_to_client.append((token, 0))

    def cut_out(self):
        for _ in range(self.rng.randint(0, len(self.out_from_client))):
            self.hear_out()
        self.out_up = False
        self.out_from_client.clear()
        self.out_to_client.clear()
