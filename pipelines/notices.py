"""Notices: what a source tells of samples that came too late and of clocks that run ahead.

They are told of the source, not of a pipeline: `Event.pipeline` is the source's name.
"""

import math
from collections.abc import Iterator
from typing import Final

from pipelines.events import Event, event_id, rfc3339
from pipelines.order import Notices
from pipelines.reorder import Late
from pipelines.series import SeriesTable, without_channel

LATE: Final = "sensorweir.sample.late"
FUTURE: Final = "sensorweir.source.future"


def of_late(gateway: str, source: str, late: Late, table: SeriesTable) -> Iterator[Event]:
    """Each sample that came too late, as it was; `delay_s` from its time to its arrival."""
    batch = late.batch
    columns = (batch.series, batch.t_ns, batch.value, late.arrival_ns, late.seq)
    for row, t_ns, value, arrival_ns, seq in zip(*(c.tolist() for c in columns), strict=True):
        labels = table.labels(row)
        mark = f"seq {seq}" if seq >= 0 else f"value {value!r}"
        yield Event(
            id=event_id(gateway, source, labels, f"{LATE} {mark}", t_ns),
            type=LATE,
            pipeline=source,
            labels=labels,
            time_ns=t_ns,
            data={
                "source": source,
                "labels": dict(labels),
                "value": value if math.isfinite(value) else None,
                **({"seq": seq} if seq >= 0 else {}),
                "arrived": rfc3339(arrival_ns),
                "delay_s": (arrival_ns - t_ns) / 1e9,
            },
        )


def of_clocks(gateway: str, source: str, notices: Notices, table: SeriesTable) -> Iterator[Event]:
    """Each device whose clock began to run ahead of ours, or is well again.

    `ahead_s` is how far the worst of its `samples` set aside so far was ahead of its arrival.
    """
    columns = (c.tolist() for c in notices[:-1])
    for row, ended, arrival_ns, ahead_ns, samples, since_ns in zip(*columns, strict=True):
        labels = without_channel(table.labels(row))
        state = "ended" if ended else "began"
        yield Event(
            id=event_id(gateway, source, labels, f"{FUTURE} {state}", since_ns),
            type=FUTURE,
            pipeline=source,
            labels=labels,
            time_ns=arrival_ns,
            data={
                "source": source,
                "labels": dict(labels),
                "state": state,
                "ahead_s": ahead_ns / 1e9,
                "samples": samples,
                "since": rfc3339(since_ns),
            },
        )
