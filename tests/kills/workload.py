"""What the devices send: numbered messages with event times, the same for the same seed.

Event time begins on a fixed day and goes ten seconds a round, whatever the wall clock does.
Nothing that is expected may depend on when a message arrives, so `plan` looks at event time alone.
"""

import json
import math
import random
from collections import deque
from typing import NamedTuple

SECOND = 1_000
START_MS = 1_735_689_600_000
"""2025-01-01T00:00Z: the past for any clock that a test may run under."""
ROUND_MS = 10 * SECOND
SITES = ("north", "south", "east")
LINES, LOOSE, HEATERS, PROBES = 24, 8, 8, 3
LATENESS_MS = 600 * SECOND
"""Of source `loose`. A sample also goes on when it has waited for so long by the wall clock: that
must not come, however slow the machine is."""
LOOSE_MOST_MS = 90 * SECOND
LATE_MOST_ROUNDS = 20
PROBE_ROUNDS = 3
"""Probes send in every third round,"""
PROBE_LIFE = 250
"""so many times; then others take their place, as twins look at all samples of a series again and
again."""
CLOSING_MS = 3_600 * SECOND
"""How far after everything else the last sample of each series lies: it closes every window."""
END_MS = 1_000
"""The very last message comes so much later: once it has led to an event, all has been taken."""


class Sent(NamedTuple):
    """One message; `values`: channel → number, None for one that is sent as not known."""

    source: str
    site: str
    device: str
    t_ms: int
    values: dict
    seq: int

    def topic(self, name):
        return f"{name}/{self.source}/{self.site}/{self.device}"

    @property
    def payload(self):
        return json.dumps({"ts": self.t_ms, "seq": self.seq, **self.values}).encode()


class _Line:
    """A device of source `line`: temperature with hot spells, pressure with spikes and shifts,
    flow in every third message, a counter of bottles that starts anew; silent at times."""

    def __init__(self, rng, index):
        self.rng, self.index = rng, index
        self.site, self.device = SITES[index % len(SITES)], f"l{index}"
        self.target, self.temperature, self.shift = 70.0, 70.0, 0.0
        self.bottles = self.silent = self.sent = 0

    def values(self):
        """What it measures now, None when it says nothing."""
        rng = self.rng
        if rng.random() < (0.03 if self.target < 80 else 0.12):
            self.target = 70.0 if self.target > 80 else 97.0
        self.temperature += 0.4 * (self.target - self.temperature) + rng.gauss(0, 1.5)
        if rng.random() < 0.02:
            self.shift = rng.choice((0.0, 0.0, 0.6, -0.6))
        pressure = 5 + self.shift + rng.gauss(0, 0.3) + (4 if rng.random() < 0.02 else 0)
        self.bottles += rng.randrange(1, 40)
        if rng.random() < 0.01:
            self.bottles = rng.randrange(5)
        if self.silent == 0 and rng.random() < 0.015:
            self.silent = rng.randrange(4, 12)
        if self.silent:
            self.silent -= 1
            # Somebody is there but knows nothing: time goes on, no state changes.
            return {"temperature": None, "bottles": None} if rng.random() < 0.2 else None
        self.sent += 1
        values = {
            "temperature": round(self.temperature, 3),
            "pressure": round(pressure, 3),
            "bottles": self.bottles,
        }
        return values | ({"flow": round(rng.uniform(2, 9), 3)} if self.sent % 3 == 0 else {})


class _Probe:
    """A device of source `probe`: two channels that go together in waves, with steps, pauses of
    the sensor and wild values."""

    def __init__(self, rng, device):
        self.rng, self.device = rng, device
        self.sent, self.shift, self.stuck, self.x = 0, 0.0, 0, 10.0

    def values(self):
        rng = self.rng
        self.sent += 1
        if rng.random() < 0.03:
            self.shift = rng.choice((0.0, 0.0, 4.0, -3.0))
        if rng.random() < 0.03:
            self.stuck = 8
        self.stuck -= 1
        if self.stuck <= 0:
            wave = 4 * math.sin(self.sent * math.tau / 24)
            self.x = 10 + wave + self.shift + rng.gauss(0, 0.3) + (rng.random() < 0.02) * 9
        if rng.random() < 0.02:
            return {"x": None, "y": None}
        return {"x": round(self.x, 3), "y": round(0.8 * self.x + rng.gauss(0, 0.2), 3)}


class Workload:
    """An endless stream of messages; `closing` ends it."""

    def __init__(self, seed):
        self.rng = random.Random(f"workload {seed}")
        self.lines = [_Line(self.rng, i) for i in range(LINES)]
        self.loose = {f"f{i}": self.rng.uniform(0, 50) for i in range(LOOSE)}
        self.heaters = {f"h{i}": [70.0, 70.0] for i in range(HEATERS)}
        self.probes, self.generation = [], 0
        self.held = deque()  # late messages of heaters: (round in which they come, message)
        self.round = self.seq = 0

    def messages(self):
        """Round after round, without end."""
        while True:
            yield from self._one_round()
            self.round += 1

    def closing(self):
        """The last message of each device."""
        t_ms = START_MS + self.round * ROUND_MS + CLOSING_MS
        yield from [message for _, message in self.held]
        for line in self.lines:
            last = {"temperature": 60.0, "pressure": 5.0, "bottles": 1_000_000, "flow": 1.0}
            yield self._sent("line", line.site, line.device, t_ms + line.index, last)
        for device in self.loose:
            yield self._sent("loose", "north", device, t_ms, {"level": 1.0})
        for device in self.heaters:
            yield self._sent("heat", "south", device, t_ms, {"heat": 60.0})
        first = self.lines[0]
        yield self._sent("line", first.site, first.device, t_ms + END_MS, {"bottles": 1_000_001})

    # --- inside --------------------------------------------------------------------------

    def _one_round(self):
        base = START_MS + self.round * ROUND_MS
        slot = ROUND_MS // LINES
        for line in self.lines:
            values = line.values()
            t_ms = base + line.index * slot + self.rng.randrange(slot - 10)
            if values is not None:
                message = self._sent("line", line.site, line.device, t_ms, values)
                yield message
                if self.rng.random() < 0.01:
                    yield message  # the device was not sure that it had arrived
        yield from self._loose(base)
        yield from self._heaters(base)
        if self.round % PROBE_ROUNDS == 0:
            yield from self._probes(base)

    def _probes(self, base):
        """Now and then they are new devices."""
        if not self.probes or self.probes[0].sent == PROBE_LIFE:
            self.generation += 1
            self.probes = [_Probe(self.rng, f"p{self.generation}-{i}") for i in range(PROBES)]
        slot = ROUND_MS // PROBES
        for index, probe in enumerate(self.probes):
            t_ms = base + index * slot + self.rng.randrange(slot - 10)
            site = f"s{self.generation}"
            yield self._sent("probe", site, probe.device, t_ms, probe.values())

    def _loose(self, base):
        """Out of order by less than the lateness."""
        for device in self.loose:
            level = self.loose[device] = self.loose[device] + self.rng.gauss(0, 1)
            back = self.rng.randrange(LOOSE_MOST_MS) if self.rng.random() < 0.3 else 0
            t_ms = base + self.rng.randrange(ROUND_MS // 2) - back
            t_ms += self.round % 64 - t_ms % 64  # no two of a device have one time
            yield self._sent("loose", "north", device, t_ms, {"level": round(level, 3)})

    def _heaters(self, base):
        """Some messages come minutes after their time."""
        while self.held and self.held[0][0] <= self.round:
            yield self.held.popleft()[1]
        for device, state in self.heaters.items():
            if self.rng.random() < (0.04 if state[0] < 80 else 0.12):
                state[0] = 70.0 if state[0] > 80 else 97.0
            state[1] += 0.5 * (state[0] - state[1]) + self.rng.gauss(0, 1)
            t_ms = base + self.rng.randrange(ROUND_MS // 2)
            message = self._sent("heat", "south", device, t_ms, {"heat": round(state[1], 3)})
            if self.rng.random() < 0.1:
                due = self.round + self.rng.randrange(1, LATE_MOST_ROUNDS)
                self.held.append((due, message))
                self.held = deque(sorted(self.held, key=lambda item: item[0]))
            else:
                yield message

    def _sent(self, source, site, device, t_ms, values):
        self.seq += 1
        return Sent(source, site, device, t_ms, values, self.seq)
