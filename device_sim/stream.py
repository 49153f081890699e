"""From a scenario to the stream of messages it means, in virtual time."""

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np

from device_sim import truth
from device_sim.faults import FOREVER_NS, Episode, Injector
from device_sim.items import Item, Note, Outgoing
from device_sim.randomness import F8, I8, stream
from device_sim.scenario import Scenario
from device_sim.signals import Signals
from device_sim.transport_faults import Clocks, Transport

BLOCK_SAMPLES = 65_536
"""Samples computed at once: some ms of work, some MB of memory."""


def messages(
    scenario: Scenario, name: str, start_ns: int, block_ticks: int | None = None
) -> Iterator[Item]:
    """Yield what the scenario sends, in order of virtual time; `start_ns` is event time 0.

    Equal arguments give equal items, whatever `block_ticks`, the number of ticks computed at once.
    """
    fleets = [
        _FleetStream(scenario, key, f"sim/{name}", start_ns, block_ticks).items()
        for key in scenario.fleets
    ]
    merged = fleets[0] if len(fleets) == 1 else heapq.merge(*fleets, key=lambda item: item.due_ns)
    return Transport(scenario.transport, scenario.seed).run(merged)


class _FleetStream:
    """Messages and truth of one fleet."""

    def __init__(
        self, scenario: Scenario, key: str, source: str, start_ns: int, block_ticks: int | None
    ) -> None:
        fleet = self._fleet = scenario.fleets[key]
        self._source = source
        self._start_ns = start_ns
        self._end_ns = FOREVER_NS if scenario.duration is None else scenario.duration
        self._undetected = frozenset(scenario.expect.undetected)
        self._ids = fleet.device_ids()
        self._topics = fleet.topics()
        self._ticks = block_ticks or max(1, BLOCK_SAMPLES // (fleet.count * len(fleet.channels)))
        # Whole milliseconds where there is room for them, so that `ts` is exact.
        unit = 1_000_000 if fleet.every >= 10_000_000 else 1
        phases = stream(scenario.seed, key, "phase").random(fleet.count)
        self._phase_ns = np.sort((phases * (fleet.every // unit)).astype(np.int64)) * unit
        self._signals = Signals(
            fleet.channels,
            seed=scenario.seed,
            fleet=key,
            count=fleet.count,
            every_ns=fleet.every,
        )
        self._injector = Injector(
            scenario.faults,
            self._ids,
            list(fleet.channels),
            seed=scenario.seed,
            end_ns=scenario.duration,
        )
        self._clocks = Clocks(scenario.transport, self._ids, scenario.seed)
        self._seq = [0] * fleet.count

    def items(self) -> Iterator[Item]:
        """Yield messages and truth in order of virtual time."""
        every = self._fleet.every
        first = 0
        while first * every < self._end_ns:
            ticks = np.arange(first, first + self._ticks, dtype=np.int64)
            t_ns = self._phase_ns[:, None] + ticks * every
            block_end_ns = (first + self._ticks) * every
            values = self._signals.block(t_ns)
            episodes = self._injector.apply(values, t_ns, block_end_ns)
            outgoing = self._outgoing(t_ns, values)
            if episodes:
                notes = sorted(map(self._note, episodes), key=lambda note: note.due_ns)
                both: list[Iterator[Item]] = [iter(notes), outgoing]
                yield from heapq.merge(*both, key=lambda item: item.due_ns)
            else:
                yield from outgoing
            first += self._ticks

    def _outgoing(self, t_ns: I8, values: dict[str, F8]) -> Iterator[Outgoing]:
        # By tick, then by device: phases are sorted, so that is the order of time.
        due = t_ns.T.tolist()
        ts = ((self._clocks.stamp(t_ns) + self._start_ns) // 1_000_000).T.tolist()
        names = list(self._fleet.channels)
        rounded = [np.round(values[name], self._fleet.decimals).T.tolist() for name in names]
        devices = range(self._fleet.count)
        qos, end_ns, seq = self._fleet.qos, self._end_ns, self._seq
        for tick, tick_due in enumerate(due):
            columns = [column[tick] for column in rounded]
            for device in devices:
                if tick_due[device] >= end_ns:
                    continue
                fields: dict[str, Any] = {"ts": ts[tick][device], "seq": seq[device], "sent_ns": 0}
                for name, column in zip(names, columns, strict=True):
                    value = column[device]
                    if value == value:  # noqa: PLR0124 - not NaN, at a tenth of the cost of isnan
                        fields[name] = value
                if len(fields) > 3:
                    seq[device] += 1
                    yield Outgoing(
                        tick_due[device], self._ids[device], self._topics[device], qos, fields
                    )

    def _note(self, episode: Episode) -> Note:
        row = episode.device
        stamps = [
            self._start_ns + self._clocks.stamp_one(row, t)
            for t in (episode.start_ns, episode.end_ns)
        ]
        event = truth.fault_event(
            source=self._source,
            device=self._ids[row],
            channel=episode.channel,
            kind=episode.kind,
            start_ns=stamps[0],
            end_ns=stamps[1],
            magnitude=episode.magnitude,
            expected=episode.kind not in self._undetected,
            labels=self._fleet.labels_of(row + 1),
        )
        return Note(episode.start_ns, self._ids[row], event)
