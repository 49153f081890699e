"""SourceReader: the messages of one source to columns of samples."""

import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from config.model import Limits, Source
from config.topics import TopicFilter
from daemon.decode import DECODERS
from daemon.decode.contract import (
    Absolute,
    Decode,
    Reading,
    RejectedError,
    Since,
    Wanted,
)
from daemon.decode.times import SCALE, T_MAX_NS, time_ns
from daemon.ledger import Count, Ledger, Reason
from daemon.messages import Message
from pipelines.order import Arrivals
from pipelines.quota import FAR_NS, Device, Quota
from pipelines.series import FULL, Labels, SeriesTable, make_labels, without_channel

log = logging.getLogger(__name__)

SEQ_MAX: Final = 2**63 - 1
EXCERPT_MAX: Final = 120
_NAN: Final = float("nan")


class _Columns(NamedTuple):
    """Samples read so far in this batch."""

    series: list[int]
    t_ns: list[int]
    value: list[float]
    arrival_ns: list[int]
    seq: list[int]


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
        self.name = name
        self._source, self._table, self._limits, self._ledger = source, table, limits, ledger
        self._quota = quota
        self._filter = TopicFilter.parse(source.topic)
        self._decode = _decoder(source, limits)
        self._timed = source.time is not None
        self._unit = source.time.unit if source.time else "ns"
        self._past_ns = source.past_max
        self._devices: dict[str, Device] = {}
        """By topic."""
        self._per_device: dict[Labels, int] = {}
        for labels in table:
            base = without_channel(labels)
            self._per_device[base] = self._per_device.get(base, 0) + 1
        self._unknown = 0
        self._rejected: dict[Reason, int] = {}
        self._example: dict[Reason, Message] = {}
        self._refused: dict[Reason, int] = {}
        self._dropped: dict[Reason, int] = {}

    def read(self, messages: Sequence[Message], *, backlog: bool = False) -> Arrivals:
        """Samples in the order of arrival; NaN where a listed channel holds no number.

        `backlog`: the broker has kept them for us, so how fast they come says nothing of devices.
        """
        out = _Columns([], [], [], [], [])
        decode, bytes_max, timed = self._decode, self._limits.message_bytes_max, self._timed
        each_ns, slack_ns, known = self._quota.each_ns, self._quota.slack_ns, self._devices.get
        full_ns = messages[0].arrival_ns - each_ns if messages else 0
        if backlog:
            full_ns = FAR_NS
        for message in messages:
            device, now_ns = known(message[0]), message[4]
            if device is None:
                device = self._meet(message.topic)
            if device.due_ns <= full_ns:  # for most, and without arithmetic
                device.due_ns = now_ns
            else:
                due_ns = max(device.due_ns + each_ns, now_ns)
                if due_ns - now_ns > slack_ns:
                    self._reject(Reason.RATE_LIMITED, message)
                    continue
                device.due_ns = due_ns
            if len(message[1]) > bytes_max:
                self._reject(Reason.TOO_BIG, message)
                continue
            if message[5] and not timed:  # kept by the broker, nobody knows since when
                self._reject(Reason.RETAINED, message)
                continue
            try:
                readings = decode(message[1])
            except RejectedError as rejected:
                self._reject(rejected.reason, message)
                continue
            if len(readings) == 1:
                refused = self._take(device, readings[0], now_ns, out)
                if refused is not None:
                    self._reject(refused, message)
            else:
                self._take_each(device, readings, message, out)
        if messages:
            self._quota.at(messages[-1].arrival_ns)
        self._count(len(messages), len(out.series))
        return Arrivals(
            np.array(out.series, np.int32),
            np.array(out.t_ns, np.int64),
            np.array(out.value, np.float64),
            np.array(out.arrival_ns, np.int64),
            np.array(out.seq, np.int64),
        )

    # --- inside --------------------------------------------------------------------------

    def _take(
        self, device: Device, reading: Reading | Reason, arrival_ns: int, out: _Columns
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
        rows, seq = device.rows, reading[1]
        if type(seq) is not int or not 0 <= seq <= SEQ_MAX:
            seq = _counter(seq)
        for channel, value in reading[2]:
            row = rows.get(channel)
            if row is None:
                row = self._series(device, channel, arrival_ns)
                if row == FULL:
                    continue
            if type(value) is float or type(value) is int:
                out[2].append(value)
            else:
                out[2].append(_NAN)
                self._unknown += 1
            out[0].append(row)
            out[1].append(t_ns)
            out[3].append(arrival_ns)
            out[4].append(seq)
        return None

    def _take_each(
        self,
        device: Device,
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
            self._refused[refused] = self._refused.get(refused, 0) + 1
            first = first or refused
        if not good:
            self._reject(first or Reason.NO_VALUES, message)

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

    def _meet(self, topic: str) -> Device:
        if max(len(self._devices), len(self._quota)) >= 2 * self._limits.series_max:
            self._devices.clear()
            self._quota.forget(self._limits.series_max)
        labels = {**self._source.labels, **(self._filter.match(topic) or {})}
        device = self._devices[topic] = self._quota.device(labels)
        return device

    def _series(self, device: Device, channel: str, now_ns: int) -> int:
        """Row of a channel that this device has not shown before; FULL, counted, when refused."""
        labels = make_labels({**device.labels, "channel": channel})
        row = self._table.find(labels)
        if row is not None:
            device.rows[channel] = row
            return row
        base = without_channel(labels)
        held = self._per_device.get(base, 0)
        if len(channel.encode()) > self._limits.channel_bytes_max:
            reason = Reason.KEY_TOO_LONG
        elif held >= self._limits.series_per_device_max:
            reason = Reason.DEVICE_FULL
        elif len(self._table) < self._table.rows_max and not self._quota.new_series(now_ns):
            reason = Reason.SERIES_RATE
        else:
            row = self._table.intern(labels)
            if row != FULL:
                device.rows[channel] = row
                self._per_device[base] = held + 1
                return row
            reason = Reason.SERIES_FULL
        self._dropped[reason] = self._dropped.get(reason, 0) + 1
        return FULL

    def _reject(self, reason: Reason, message: Message) -> None:
        self._rejected[reason] = self._rejected.get(reason, 0) + 1
        self._example.setdefault(reason, message)

    def _count(self, messages: int, samples: int) -> None:
        """Tell the ledger about one batch, and the log about what was not used."""
        ledger, name = self._ledger, self.name
        dropped = sum(self._dropped.values())
        for count, n in (
            (Count.MESSAGES_ACCEPTED, messages - sum(self._rejected.values())),
            (Count.SAMPLES_DECODED, samples + dropped),
            (Count.SAMPLES_UNKNOWN, self._unknown),
        ):
            if n:
                ledger.count(count, n, source=name)
        self._unknown = 0
        if self._rejected or self._refused or dropped:
            self._tell()

    def _tell(self) -> None:
        for counts, what in (
            (self._rejected, Count.MESSAGES_REJECTED),
            (self._refused, Count.READINGS_REJECTED),
            (self._dropped, Count.SAMPLES_DROPPED),
        ):
            for reason, n in counts.items():
                self._ledger.count(what, n, reason=reason, source=self.name)
                facts: dict[str, Any] = {"reason": str(reason), "source": self.name, "count": n}
                example = self._example.get(reason)
                if what is Count.MESSAGES_REJECTED and example is not None:
                    facts |= {"topic": example.topic, "payload": example.payload[:EXCERPT_MAX]}
                log.warning(_SENTENCES[what], extra={"facts": facts})
            counts.clear()
        self._example.clear()


_SENTENCES: Final = {
    Count.MESSAGES_REJECTED: "Messages are rejected",
    Count.READINGS_REJECTED: "Readings within messages are rejected",
    Count.SAMPLES_DROPPED: "Samples of new series are dropped",
}


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
