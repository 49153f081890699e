"""Two readers of one source side by side: with the kernel, and message by message without."""

import json
from unittest.mock import patch

import numpy as np

from config.model import Limits, Source
from daemon.decode import tally
from daemon.decode.bulk.scan import READ
from daemon.decode.reader import MESSAGES_MIN, SourceReader
from daemon.ledger import Ledger
from daemon.messages import Message
from pipelines.quota import Quota
from pipelines.series import SeriesTable
from tests.bulks import bulk

ARRIVAL = 1_800_000_000 * 10**9
TOPIC = "plant/{site}/{device}/#"


class Side:
    """One reader with everything that it may change."""

    def __init__(self, source, limits, rows):
        self.source, self.limits = source, limits
        self.table, self.ledger, self.quota = SeriesTable(rows), Ledger(), Quota(limits)
        self.reader = SourceReader("s", source, self.table, self.quota, limits, self.ledger)

    def read(self, messages, backlog):
        """What came of these messages, in terms that can be compared to the bit."""
        return self.read_raw(bulk(*messages), backlog=backlog)

    def read_raw(self, messages, *, backlog=False):
        """The same of messages by column."""
        with patch.object(tally.log, "warning") as warning:
            found = self.reader.read(messages, backlog=backlog)
        said = [(call.args, call.kwargs) for call in warning.call_args_list]
        columns = [column.tobytes() for column in found]
        kinds = [column.dtype for column in found]
        kept = (self.quota.owed, self.quota.began_ns, self.quota.new_full_ns, self.table.refused)
        return columns, kinds, list(self.table), self.ledger.as_dict(), kept, said


class Pair:
    """Reads everything twice, and asserts that it makes no difference."""

    def __init__(self, limits=None, rows=10_000, **source):
        made = Source(**{"topic": TOPIC, **source})
        limits = limits or Limits(device_messages_per_s_max=1_000_000)
        self.bulk, self.plain = (Side(made, limits, rows) for _ in range(2))
        self.plain.reader._read_many = self.plain.reader._read_few
        self.now_ns = ARRIVAL
        self.messages = self.in_bulk = self.batches = 0
        feed = self.bulk.reader._feed
        if feed is not None:
            inner = feed.read

            def read(*args):
                found = inner(*args)
                self.in_bulk += int(np.count_nonzero(found.fate == READ))
                self.batches += 1
                return found

            feed.read = read

    def read(self, messages, backlog=False):
        """One batch of messages; the samples."""
        found, expected = self.bulk.read(messages, backlog), self.plain.read(messages, backlog)
        if found != expected:
            for name, a, b in zip(
                ("columns", "kinds", "table", "ledger", "quota", "log"),
                found,
                expected,
                strict=True,
            ):
                assert a == b, name
        self.messages += len(messages)
        return [np.frombuffer(c, k) for c, k in zip(*found[:2], strict=True)]

    def send(self, *payloads, topic="plant/north/b7/x", gap_ns=1000, **more):
        """A batch of these payloads on one topic, or on the topics of a list."""
        topics = [topic] * len(payloads) if isinstance(topic, str) else topic
        raw = [p if isinstance(p, bytes) else p.encode() for p in payloads]
        made = []
        for t, payload in zip(topics, raw, strict=True):
            self.now_ns += gap_ns
            made.append(Message(t, payload, 1, 1, self.now_ns, **more))
        return self.read(made)

    def learn(self, *payloads):
        """Have the kernel know the fields of these, and try it with the next batch."""
        for payload in payloads:
            self.awake()
            self.send(*[payload] * MESSAGES_MIN)
        self.awake()

    def awake(self):
        """End a pause: whatever comes next is tried in bulk."""
        self.bulk.reader._feed._pause = 0


def dumps(value):
    """As devices write it."""
    return json.dumps(value, separators=(",", ":"))
