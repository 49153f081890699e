"""SourceReader: the messages of one source to columns of samples."""

from array import array
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from config.model import Limits, Source
from config.topics import TopicFilter
from daemon.bulk import Bulk
from daemon.channels import Channels
from daemon.decode import DECODERS
from daemon.decode.bulk.feed import Feed, Found, feed_of
from daemon.decode.bulk.glance import Sight
from daemon.decode.bulk.scan import READ, REFUSED, UNMET, Known
from daemon.decode.contract import (
    Absolute,
    Decode,
    Reading,
    RejectedError,
    Since,
    Wanted,
)
from daemon.decode.hops import hops_of
from daemon.decode.tally import Tally
from daemon.decode.times import SCALE, T_MAX_NS, time_ns
from daemon.ledger import Ledger, Reason
from daemon.messages import NUMBER, Message
from daemon.topics import ByTopic, Topics, answered_
from pipelines.batch import I4, U1
from pipelines.foresight import Bounds
from pipelines.hops import HOPS_MAX
from pipelines.order import Arrivals, new_arrivals
from pipelines.quota import FAR_NS, Quota
from pipelines.series import FULL, SeriesTable, make_labels, without_channel

SEQ_MAX: Final = 2**63 - 1
MESSAGES_MIN: Final = 3
"""Fewer cost more in bulk."""
_NAN: Final = float("nan")


class _Columns(NamedTuple):
    """Samples read so far in this batch."""

    series: list[int]
    t_ns: list[int]
    value: list[float]
    arrival_ns: list[int]
    seq: list[int]

    def arrays(self) -> Arrivals:
        """The same as arrays."""
        return Arrivals(
            np.array(self.series, np.int32),
            np.array(self.t_ns, np.int64),
            np.array(self.value, np.float64),
            np.array(self.arrival_ns, np.int64),
            np.array(self.seq, np.int64),
        )


class SourceReader:
    """Turns messages into samples; counts what cannot be one, and raises on nothing."""

    def __init__(
        self,
        name: str,
        source: Source,
        table: SeriesTable,
        quota: Quota,
        limits: Limits,
        ledger: Ledger,
    ) -> None:
        self._source, self._table, self._limits, self._quota = source, table, limits, quota
        self._tally = Tally(name, ledger)
        self._filter = TopicFilter.parse(source.topic)
        self._decode = _decoder(source, limits)
        self._feed = feed_of(source, Wanted.of(source, limits), limits)
        self._timed = source.time is not None
        self._unit = source.time.unit if source.time else "ns"
        self._past_ns, self._bytes_max = source.past_max, limits.message_bytes_max
        self._mine = ByTopic(_unmet)
        """Our numbers of topics by those that they have in bulk; negative before they are met."""
        self._devices = array("i")
        """By our number of the topic: that of its device, which `quota` gives."""
        self._channels = Channels()
        """Rows of these devices."""
        self._renumbered = table.renumbered

    def read(self, messages: Bulk, *, backlog: bool = False) -> Arrivals:
        """Samples in the order of arrival; NaN where a listed channel holds no number.

        `backlog`: the broker has kept them for us, so how fast they come says nothing of devices.
        """
        if not len(messages):
            return new_arrivals(0)
        if self._renumbered != self._table.renumbered:
            self._forget()
            self._renumbered = self._table.renumbered
        arrival_ns = messages.arrival_ns
        full_ns = FAR_NS if backlog else int(arrival_ns[0]) - self._quota.each_ns
        if len(messages) < MESSAGES_MIN:
            found = self._read_few(messages, full_ns)
        else:
            found = self._read_many(messages, full_ns)
        self._quota.at(int(arrival_ns[-1]))
        self._tally.close(len(messages), found.series.size)
        return found

    @property
    def sighted(self) -> bool:
        """Whether `sight` can be had. The time of arrival of what waits is not that of its event."""
        return self._feed is not None and self._timed

    @property
    def version(self) -> int | None:
        """Another whenever what `sight` gives is another; None while that is not to be used."""
        if self._feed is None or self._feed.paused or self._renumbered != self._table.renumbered:
            return None
        return self._feed.shapes.version

    def sight(self, topics: Topics, bounds: Bounds) -> Sight:
        """What is known of payloads on these topics; stays as it is, but for the bounds."""
        assert self._feed is not None, "sighted"
        known = Known._make(column.copy() for column in self._feed.shapes.known)
        return Sight(self._mine.table(topics), known, self._feed.terms, bounds)

    # --- inside --------------------------------------------------------------------------

    def _read_few(self, messages: Bulk, full_ns: int) -> Arrivals:
        out, first = _Columns([], [], [], [], []), 0
        while first < len(messages):
            rest = messages[first:] if first else messages
            topics = self._topics_of(rest).tolist()
            for message, topic in zip(rest, topics, strict=False):
                device = self._devices[topic]
                if self._quota.refuses(device, message.arrival_ns, full_ns):
                    self._tally.reject(Reason.RATE_LIMITED, message)
                else:
                    self._read_one(message, device, out)
                    if self._feed is not None and self._feed.shapes.is_bare(topic):
                        self._feed.shapes.learn(topic, message.payload, self._channels.of(device))
            first += len(topics)
        return out.arrays()

    def _read_many(self, messages: Bulk, full_ns: int) -> Arrivals:
        feed = self._feed if self._feed is not None and self._feed.takes(len(messages)) else None
        parts = []
        first = 0
        while first < len(messages):
            rest = messages[first:] if first else messages
            topics = self._topics_of(rest)
            part = rest if topics.size == len(rest) else rest[: topics.size]
            devices = np.frombuffer(self._devices, np.int32)[topics]
            refused = self._quota.refused(devices, part.arrival_ns, full_ns)
            if feed is None:
                parts.append(self._read_part(part, topics, refused))
            else:
                parts.append(self._read_in_bulk(feed, part, topics, refused))
            first += topics.size
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _read_part(self, messages: Bulk, topics: I4, refused: U1) -> Arrivals:
        out, devices, read = _Columns([], [], [], [], []), self._devices, self._read_one
        for message, topic, too_much in zip(
            messages, topics.tolist(), refused.tolist(), strict=True
        ):
            if too_much:
                self._tally.reject(Reason.RATE_LIMITED, message)
            else:
                read(message, devices[topic], out)
        return out.arrays()

    def _read_in_bulk(self, feed: Feed, messages: Bulk, topics: I4, refused: U1) -> Arrivals:
        """The same by a kernel, and by `_read_one` where the kernel leaves a message to it."""
        found = feed.read(messages, topics, refused)
        self._tally.unknown += found.unknown
        if not found.odd:
            return found.samples
        odd = np.flatnonzero(found.fate)
        out, owner, left, learnt = _Columns([], [], [], [], []), [], 0, set()
        whole = messages.where(found.fate != READ)
        for i, message in zip(odd.tolist(), whole, strict=True):
            fate, topic = found.fate[i], int(topics[i])
            if fate == REFUSED:
                self._tally.reject(Reason.RATE_LIMITED, message)
                continue
            device, before = self._devices[topic], len(out.series)
            self._read_one(message, device, out)
            owner += [i] * (len(out.series) - before)
            if fate == UNMET:
                rows = self._channels.of(device)
                if feed.shapes.learn(topic, message.payload, rows):
                    learnt.add(topic)
            left += topic not in learnt
        feed.tell(len(messages), left)
        return _merged(found, out.arrays(), owner)

    def _read_one(self, message: Message, device: int, out: _Columns) -> None:
        """Append the samples of one message, or count why it has none."""
        if len(message[1]) > self._bytes_max:
            self._tally.reject(Reason.TOO_BIG, message)
            return
        if message[5] and not self._timed:  # kept by the broker, nobody knows since when
            self._tally.reject(Reason.RETAINED, message)
            return
        hops = hops_of(message[1])
        if hops > HOPS_MAX:
            self._tally.reject(Reason.TOO_MANY_HOPS, message)
            return
        try:
            readings = self._decode(message[1])
        except RejectedError as rejected:
            self._tally.reject(rejected.reason, message)
            return
        hops -= self._source.feedback  # there a loop is wanted
        if hops > 0:
            self._quota.hops.note(self._quota.labels(device), hops, message[4])
        if len(readings) == 1:
            refused = self._take(device, readings[0], message[4], out)
            if refused is not None:
                self._tally.reject(refused, message)
        else:
            self._take_each(device, readings, message, out)

    def _take(
        self, device: int, reading: Reading | Reason, arrival_ns: int, out: _Columns
    ) -> Reason | None:
        """Append the samples of one reading; the reason when it cannot be used."""
        if isinstance(reading, Reason):
            return reading
        t_ns = self._time(reading[0], arrival_ns) if self._timed else arrival_ns
        if type(t_ns) is not int:
            assert isinstance(t_ns, Reason)
            return t_ns
        if self._past_ns is not None and arrival_ns - t_ns > self._past_ns:
            return Reason.TOO_OLD
        known, seq = self._channels, reading[1]
        places, first, rows = known.places[device], known.first[device], known.rows
        if type(seq) is not int or not 0 <= seq <= SEQ_MAX:
            seq = _counter(seq)
        for channel, value in reading[2]:
            place = places.get(channel)
            if place is None:
                row = self._series(device, channel, arrival_ns)
                if row == FULL:
                    continue
                places, first = known.places[device], known.first[device]
            else:
                row = rows[first + place]
            if type(value) is float or type(value) is int:
                out[2].append(value)
            else:
                out[2].append(_NAN)
                self._tally.unknown += 1
            out[0].append(row)
            out[1].append(t_ns)
            out[3].append(arrival_ns)
            out[4].append(seq)
        return None

    def _take_each(
        self,
        device: int,
        readings: Sequence[Reading | Reason],
        message: Message,
        out: _Columns,
    ) -> None:
        """Take a batch of readings; one that cannot be used does not harm the others."""
        first: Reason | None = None
        good = False
        for reading in readings:
            refused = self._take(device, reading, message.arrival_ns, out)
            if refused is None:
                good = True
                continue
            self._tally.refuse(refused)
            first = first or refused
        if not good:
            self._tally.reject(first or Reason.NO_VALUES, message)

    def _time(self, value: Any, arrival_ns: int) -> int | Reason:
        if value is None:
            return Reason.NO_TIME
        if type(value) is Absolute or type(value) is Since:
            t_ns = int(value) + (arrival_ns if type(value) is Since else 0)
            return t_ns if 0 <= t_ns < T_MAX_NS else Reason.BAD_TIME
        if type(value) is int and self._unit != "iso":
            t_ns = value * SCALE[self._unit]
            return t_ns if 0 <= t_ns < T_MAX_NS else Reason.BAD_TIME
        slow = time_ns(value, self._unit)
        return Reason.BAD_TIME if slow is None else slow

    def _topics_of(self, messages: Bulk) -> I4:
        """Numbers of the topics of these messages; of fewer, where topics must be forgotten."""
        rows, topics = messages.rows, messages.topics
        mine, found = self._mine.table(topics), np.empty(len(rows), np.int32)
        at = 0
        while (at := answered_(mine, rows, at, found)) < len(rows):
            if self._is_full():
                if at:
                    return found[:at]
                self._forget()
                return self._topics_of(messages)
            mine[rows[at, NUMBER]] = self._meet(topics.read(rows[at, NUMBER]))
        return found

    def _is_full(self) -> bool:
        return max(len(self._devices), len(self._quota)) >= 2 * self._limits.series_max

    def _meet(self, topic: str) -> int:
        """The number of a topic that is new here."""
        labels = {**self._source.labels, **(self._filter.match(topic) or {})}
        self._devices.append(self._quota.device(labels))
        self._channels.make_room(len(self._quota))
        if self._feed is not None:
            self._feed.shapes.add_topic()
        return len(self._devices) - 1

    def _forget(self) -> None:
        """Meet all topics anew."""
        self._mine = ByTopic(_unmet)
        self._devices, self._channels = array("i"), Channels()
        if self._feed is not None:
            self._feed.shapes.clear()
        self._quota.forget(self._limits.series_max)

    def _series(self, device: int, channel: str, now_ns: int) -> int:
        """Row of a channel that this device has not shown before; FULL, counted, when refused."""
        labels = make_labels({**dict(self._quota.labels(device)), "channel": channel})
        row = self._table.find(labels)
        if row is not None:
            self._channels.add(device, channel, row)
            return row
        held = self._table.held(without_channel(labels))
        if len(channel.encode()) > self._limits.channel_bytes_max:
            reason = Reason.KEY_TOO_LONG
        elif held >= self._limits.series_per_device_max:
            reason = Reason.DEVICE_FULL
        elif len(self._table) < self._table.rows_max and not self._quota.new_series(now_ns):
            reason = Reason.SERIES_RATE
        else:
            row = self._table.intern(labels)
            if row != FULL:
                self._channels.add(device, channel, row)
                return row
            reason = Reason.SERIES_FULL
        self._tally.drop(reason)
        return FULL


def _unmet(_topic: str) -> int:
    return -1


def _merged(found: Found, others: Arrivals, owner: Sequence[int]) -> Arrivals:
    """Samples of both in order of arrival; owner: the message that each of the others is from."""
    upto = found.upto
    owners = np.repeat(np.arange(upto.size), np.diff(upto, prepend=0))
    order = np.argsort(np.concatenate((owners, np.array(owner, np.int64))), kind="stable")
    return Arrivals(*[column[order] for column in _joined([found.samples, others])])  # type: ignore[arg-type]  # mypy sees columns of one type


def _joined(parts: Sequence[Arrivals]) -> Arrivals:
    """One behind the other."""
    return Arrivals(*[np.concatenate(columns) for columns in zip(*parts, strict=True)])


def _decoder(source: Source, limits: Limits) -> Decode:
    spec = source.decode
    name, given = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
    decoder = DECODERS[name]
    options = decoder.options.model_validate(given or {})
    decode: Decode = decoder.make(options, Wanted.of(source, limits))
    return decode


def _counter(value: object) -> int:
    """A counter that came as text or with a fraction of zero; -1 when it is none."""
    if type(value) is str and value.isdecimal() and value.isascii() and len(value) <= 18:
        return int(value)
    if type(value) is float and value.is_integer() and 0 <= value < SEQ_MAX:
        return int(value)
    return -1
