"""Telling: rows of a pipeline's last step and changes of its alert as events and as rows."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from pipelines.alerts import CLEARED, KIND, RAISED
from pipelines.batch import GOOD, Batch, take
from pipelines.core import CAUSES_MAX, Core
from pipelines.events import SAMPLE, WINDOW, Event, event_id, rfc3339, sample_name
from pipelines.history import Rows

Key = tuple[int, int, int]
"""(row, event time, how many of that row and time there were before)."""
Content = tuple[int, float | None, int, tuple[float | None, ...]]
"""(start, value, quality, fields); None is not known."""

QUALITIES: Final = ("good", "uncertain", "bad")


class Teller:
    """Says what a pipeline has found, as plain values."""

    def __init__(self, gateway: str, name: str, upstream: tuple[str, str], core: Core) -> None:
        """`upstream`: ('source' or 'alerts', 'samples', 'windows'; its name)."""
        self.gateway, self.name, self.upstream = gateway, name, upstream
        last = core.stages[-1] if core.stages else None
        self.names: tuple[str, ...] = last.runner.fields if last else ()
        self.kind = WINDOW if last and last.operator.emits == "window" else SAMPLE

    def items(self, core: Core, batch: Batch) -> Iterator[tuple[Key, Content]]:
        """Rows as values that can be compared, each with a key of its own."""
        columns = (batch.series, batch.t_ns, batch.start_ns, batch.value, batch.quality)
        listed = zip(*(c.tolist() for c in columns), batch.fields.tolist(), strict=True)
        for row, end, start, value, quality, fields in listed:
            key = (row, end, core.number(row, end))
            yield key, (start, _known(value), quality, tuple([_known(x) for x in fields]))

    def event(self, core: Core, key: Key, content: Content) -> Event:
        """A row as it is published."""
        row, end, n = key
        start, value, quality, fields = content
        labels = core.table.labels(row)
        window = self.kind == WINDOW
        data: dict[str, object] = {"pipeline": self.name, "labels": dict(labels)}
        if window:
            data |= {"start": rfc3339(start), "end": rfc3339(end)}
        if not self.names or not window:
            data["value"] = value
        data |= dict(zip(self.names, fields, strict=False))  # without steps, none have names
        data["quality"] = QUALITIES[quality]
        return Event(
            id=event_id(self.gateway, self.name, labels, self.kind, end, n),
            type=self.kind,
            pipeline=self.name,
            labels=labels,
            time_ns=end,
            data=data,
            causes=() if window else self.led_to(core, row, end, end),
        )

    def led_to(self, core: Core, row: int, onset_ns: int, when_ns: int) -> tuple[str, ...]:
        """Names of what led to something that this row had from `onset_ns` to `when_ns`.

        A delay that ran out is often noticed with the next row, which is then no cause of it.
        """
        kind, name = self.upstream
        if kind == "alerts":
            known = [e for t_ns, e in core.causes.get(row, ()) if t_ns <= when_ns]
            return tuple(known[-CAUSES_MAX:])
        labels = core.table.labels(row)
        if kind == "source":
            return (sample_name(name, labels, onset_ns),)
        of = WINDOW if kind == "windows" else SAMPLE
        return (event_id(self.gateway, name, labels, of, onset_ns),)


def as_rows(changes: Batch, told: list[Event]) -> Rows:
    """Changes of an alert as pipelines below take them: 1 active, 0 cleared."""
    turned = np.isin(changes.fields[:, KIND], (RAISED, CLEARED))
    kept = take(changes, turned)
    batch = kept._replace(
        value=np.where(kept.fields[:, KIND] == CLEARED, 0.0, 1.0),
        start_ns=kept.t_ns,
        quality=np.full(kept.size, GOOD, np.uint8),
        fields=np.zeros((kept.size, 0), np.float64),
    )
    ids = tuple(e.id for e, kept in zip(told, turned.tolist(), strict=True) if kept)
    return Rows(batch, ids)


def as_batch(items: list[tuple[Key, Content]]) -> Batch:
    """The way back of `Teller.items`."""
    width = len(items[0][1][3]) if items else 0
    fields = np.array([_number(c[3]) for _, c in items], np.float64).reshape(len(items), width)
    return Batch(
        series=np.array([k[0] for k, _ in items], np.int32),
        t_ns=np.array([k[1] for k, _ in items], np.int64),
        start_ns=np.array([c[0] for _, c in items], np.int64),
        value=np.array(_number(tuple(c[1] for _, c in items)), np.float64),
        quality=np.array([c[2] for _, c in items], np.uint8),
        fields=fields,
        count=np.zeros(1, np.int64),
    )


def _known(x: float) -> float | None:
    return x if x == x else None  # noqa: PLR0124 - NaN is what does not equal itself


def _number(values: tuple[float | None, ...]) -> list[float]:
    return [np.nan if x is None else x for x in values]
