"""From the bytes of PUBLISH packets to columns of samples, beside `orjson.loads` alone.

*Whole path*: Lane, Ingest, inbox, Router and SourceReader, as the daemon has them, from a socket that has
everything at once.  *Kernels*: of that only the two that find packets and read JSON.
"""

import copy
import time
from unittest.mock import patch

import orjson

from daemon import topics
from daemon.decode.reader import SourceReader
from daemon.decode.route import Router
from daemon.ledger import Ledger
from daemon.transport import frames
from daemon.transport.dialect import Dialect
from daemon.transport.ingest import Ingest
from daemon.transport.lane import Lane
from pipelines.order import Arrivals
from pipelines.quota import Quota
from pipelines.series import SeriesTable
from tests.bench.measure import rounds
from tests.bench.targets import middle, ratios, row
from tests.bench.traffic import CHANNELS, QUICK, SOURCE, traffic
from tests.graphs import gateway
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


class Path:
    """From a socket to columns, by what the daemon is made of."""

    def __init__(self, devices=DEVICES):
        self.reading = Reading(devices)
        self.wiring = wiring("mqtt://127.0.0.1:1", "bench", inbox_max=20_000)
        self.link = Ingest(self.wiring, Dialect(self.wiring.broker))
        self.link.ask_stop()  # it is never to connect, and then closes what it has open
        self.link.start()
        self.link.join(10)

    def run(self, made):
        """Samples of all these packets."""
        lane, inbox = Lane(Socket(made.data), v5=False), self.wiring.inbox
        most, found, got = self.reading.gateway.limits.batch_messages_max, [], 0
        while got < made.messages:
            lane.read(None, inbox.room, self.link._take)
            while messages := inbox.drain(most):
                got += len(messages)
                found += self.reading.read(messages)
        return found


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
        self.made, self.path = made, Path()
        self()  # topics are learnt, kernels loaded

    def __call__(self):
        began = time.process_time_ns()
        found = self.path.run(self.made)
        spent = time.process_time_ns() - began
        check(found, self.made)
        return spent / self.made.messages


class Kernels:
    """ns per message of finding packets and topics and reading the JSON: the calls of `Whole`, again."""

    def __init__(self, made):
        self.made, self.calls, self.values = made, [], []
        whole = Whole(made)
        reader = whole.path.reading.reader._feed
        with (
            patch.object(frames, "scan_", self._noted(frames.scan_)),
            patch.object(topics, "number_", self._noted(topics.number_)),
            patch.object(reader, "_scan", self._noted(reader._scan)),
        ):
            whole()
        self()

    def _noted(self, kernel):
        def call(*args):
            mine = copy.deepcopy(args)  # what they stand in is used again
            self.values += [arg.value for arg in mine if isinstance(arg, Arrivals)]
            found = kernel(*args)
            self.calls.append((kernel, mine, found))
            return found

        return call

    def __call__(self):
        for value in self.values:
            value[:] = 0
        began = time.process_time_ns()
        found = [kernel(*args) for kernel, args, _ in self.calls]
        spent = time.process_time_ns() - began
        assert found == [expected for _, _, expected in self.calls]
        total = sum(float(value.sum()) for value in self.values)
        assert abs(total - self.made.total) < 1e-9 * self.made.total, (total, self.made.total)
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
        ("kernels", "packets and topics found, JSON read, kernels alone, to `orjson.loads` alone"),
        ("whole path", "socket to columns, the daemon's whole path, to `orjson.loads` alone"),
    ):
        beside = f"{middle(found[case])} ns per message; {loads}"
        made.append(row(what, ratios(found, case, "orjson.loads"), at_most=AT_MOST, beside=beside))
    return made, out
