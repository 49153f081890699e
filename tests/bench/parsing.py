"""From the bytes of PUBLISH packets to columns of samples, beside `orjson.loads` alone.

*Kernels*: what is compiled, with topics known by number.  *Whole path*: Lane, Intake, inbox, Router
and SourceReader, as the daemon has them, from a socket that has everything at once.
"""

import time

import numpy as np
import orjson

from daemon.decode.bulk.scan import scan as read_json
from daemon.decode.reader import SourceReader
from daemon.decode.route import Router
from daemon.ledger import Ledger
from daemon.messages import Message
from daemon.transport.frames import COLUMNS, PAYLOAD, TOPIC, TOPIC_END, scan
from daemon.transport.intake import Intake
from daemon.transport.lane import READ_BYTES, ROWS_MAX, Lane
from pipelines.order import new_arrivals
from pipelines.quota import Quota
from pipelines.series import SeriesTable
from tests.bench.measure import rounds
from tests.bench.targets import middle, ratios, row
from tests.bench.traffic import CHANNELS, QUICK, SOURCE, traffic
from tests.graphs import T0, gateway
from tests.wires import wiring

AT_MOST = 0.6
MESSAGES = 40_000
DEVICES = 1000


class Socket:
    """Has all bytes there at once, as a socket behind a backlog."""

    def __init__(self, data):
        self.data, self.at = memoryview(data), 0

    def recv_into(self, into, room):
        n = min(room, len(self.data) - self.at)
        if not n:
            raise BlockingIOError
        into[:n] = self.data[self.at : self.at + n]
        self.at += n
        return n


class Reading:
    """From messages to columns: what parsing and receiving both end in."""

    def __init__(self, devices=DEVICES):
        series = 2 * len(CHANNELS) * devices
        self.gateway = gateway({}, SOURCE, limits={"series_max": series, **QUICK})
        ledger, limits = Ledger(), self.gateway.limits
        self.router = Router(self.gateway.sources, ledger)
        self.reader = SourceReader(
            "plant",
            self.gateway.sources["plant"],
            SeriesTable(series),
            Quota(limits),
            limits,
            ledger,
        )

    def read(self, messages):
        """Samples of these messages."""
        return [self.reader.read(part) for _, part in self.router.split(messages)]


class Loads:
    """ns per message of `orjson.loads` alone, the results thrown away."""

    def __init__(self, made):
        self.made = made

    def __call__(self):
        began = time.process_time_ns()
        for payload in self.made.payloads:
            orjson.loads(payload)
        return (time.process_time_ns() - began) / self.made.messages


class Whole:
    """ns per message of the daemon's whole path."""

    def __init__(self, made):
        self.made, self.path = made, Reading()
        self.wiring = wiring("mqtt://127.0.0.1:1", "bench", inbox_max=20_000)
        self.intake = Intake(self.wiring)
        self()  # topics are learnt, kernels loaded

    def __call__(self):
        lane, inbox = Lane(Socket(self.made.data), v5=False), self.wiring.inbox
        most, found, got = self.path.gateway.limits.batch_messages_max, [], 0

        def put(data, rows):
            self.intake.put(data, rows, 1, 1, known=True)

        began = time.process_time_ns()
        while got < self.made.messages:
            lane.read(None, inbox.room, put)
            while messages := inbox.drain(most):
                got += len(messages)
                found += self.path.read(messages)
        spent = time.process_time_ns() - began
        check(found, self.made)
        return spent / self.made.messages


class Kernels:
    """ns per message of finding the packets, and of reading JSON whose topics are known by number."""

    def __init__(self, made):
        self.made, self.path = made, Reading()
        self.data = np.frombuffer(made.data, np.uint8)
        self.rows = np.zeros((ROWS_MAX, COLUMNS), np.int32)
        self.pieces = []
        for at, n in self._framed():
            rows = self.rows[:n]
            topics = [made.data[at + a : at + b] for a, b in rows[:, TOPIC : TOPIC_END + 1]]
            payloads = [made.data[at + a : at + b] for a, b in rows[:, PAYLOAD : PAYLOAD + 2]]
            self._learn(topics, payloads)
            text = np.frombuffer(b"\0".join([*payloads, b""]), np.uint8)
            self.pieces.append((text, np.array([int(t[10:15]) for t in topics], np.int32)))
        self()

    def _framed(self):
        """(offset, packets) of the pieces that a socket would give."""
        at, end = 0, 0
        while at < len(self.data):
            end = min(len(self.data), max(end, at + READ_BYTES))
            found = scan(self.data, at, end, ROWS_MAX, self.rows, v5=False)
            yield at, found.rows
            at = found.at

    def _learn(self, topics, payloads):
        made = [
            Message(topic.decode(), payload, 0, 0, T0 + i)
            for i, (topic, payload) in enumerate(zip(topics, payloads, strict=True))
        ]
        self.path.read(made)

    def __call__(self):
        feed = self.path.reader._feed
        known, terms, found = feed.shapes.known, feed._terms, []
        began = time.process_time_ns()
        for (text, topics), (_, n) in zip(self.pieces, self._framed(), strict=True):
            fate, upto = np.zeros(n, np.uint8), np.empty(n, np.int32)
            arrival_ns = np.full(n, T0)
            out = new_arrivals(n * len(CHANNELS))
            read_json(text, topics, arrival_ns, known, terms, fate, upto, out)
            found.append(type(out)(*[column[: upto[-1]] for column in out]))
        spent = time.process_time_ns() - began
        check(found, self.made)
        return spent / self.made.messages


def check(found, made, times=1):
    """The columns hold what was sent."""
    n = sum(part.series.size for part in found)
    total = sum(float(part.value.sum()) for part in found)
    assert n == times * len(CHANNELS) * made.messages, f"{n} samples of {made.messages} messages"
    assert abs(total - times * made.total) < 1e-9 * times * made.total, (total, made.total)


def measured(messages, n):
    """({case: ns per message of each round}, rounds left out)."""
    made = traffic(messages, devices=DEVICES)
    cases = {"orjson.loads": Loads(made), "kernels": Kernels(made), "whole path": Whole(made)}
    return rounds(cases, n)


def rows(quick, say):
    """(Rows, rounds left out)."""
    say("packets to columns")
    found, out = measured(MESSAGES, 3 if quick else 9)
    loads = f"`orjson.loads` {middle(found['orjson.loads'])} ns"
    made = []
    for case, what in (
        ("kernels", "packets found and JSON read, kernels alone, to `orjson.loads` alone"),
        ("whole path", "socket to columns, the daemon's whole path, to `orjson.loads` alone"),
    ):
        beside = f"{middle(found[case])} ns per message; {loads}"
        made.append(row(what, ratios(found, case, "orjson.loads"), at_most=AT_MOST, beside=beside))
    return made, out
