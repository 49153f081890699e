"""Signals: what a channel truly measures, as a sum of parts.

A part is a model of options and `begin`, which gives the function that adds the part to a block.
Blocks are `x` (devices, ticks) f8 and the ticks' virtual times `t_ns` of the same shape; `clean`
holds the blocks of the channels before this one. State is carried from block to block such that
the sum does not depend on where time is cut.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from config.params import Options
from config.units import Duration
from device_sim.randomness import F8, I8, Streams

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
TURN = 2 * math.pi

Adder = Callable[[F8, I8, Mapping[str, F8]], None]


class Constant(Options):
    """A level, a little different for each device."""

    value: float
    spread: float = Field(0.0, ge=0, description="Standard deviation from device to device.")

    def begin(self, streams: Streams, every_ns: int) -> Adder:  # noqa: ARG002 - one signature
        """Draw the level of each device once."""
        level = np.full((streams.count, 1), self.value)
        if self.spread:
            level += self.spread * streams.normal(1)

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            x += level

        return add


class Sine(Options):
    """A wave."""

    amplitude: float
    period: Duration = Field(gt=0)
    phase: float | Literal["random"] = Field(
        "random", description="Where in the wave time 0 is, in turns; random: by device."
    )

    def begin(self, streams: Streams, every_ns: int) -> Adder:  # noqa: ARG002 - one signature
        """Draw the phases, unless given."""
        turns = streams.uniform(1) if self.phase == "random" else np.array([[self.phase]])

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            # Whole nanoseconds modulo the period: no digits are lost after months.
            x += self.amplitude * np.sin(TURN * ((t_ns % self.period) / self.period + turns))

        return add


class Diurnal(Options):
    """A wave with the day; virtual time 0 is midnight."""

    amplitude: float
    peak: Duration = Field(15 * HOUR, lt=DAY, description="Time of day of the highest value.")

    def begin(self, streams: Streams, every_ns: int) -> Adder:
        """Be a sine of one day whose top is at `peak`."""
        phase = 0.25 - self.peak / DAY
        return Sine.model_construct(amplitude=self.amplitude, period=DAY, phase=phase).begin(
            streams, every_ns
        )


class Ramp(Options):
    """A straight rise or fall that then stays, or starts again."""

    by: float = Field(description="Change over the whole ramp.")
    over: Duration = Field(gt=0)
    repeat: bool = Field(False, description="Start again at 0: a saw tooth.")

    def begin(self, streams: Streams, every_ns: int) -> Adder:  # noqa: ARG002 - one signature
        """Need no state: a function of time."""

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            within = t_ns % self.over if self.repeat else np.minimum(t_ns, self.over)
            x += self.by * (within / self.over)

        return add


class Ar1(Options):
    """Noise with a memory: an Ornstein-Uhlenbeck process seen at the sampling times."""

    std: float = Field(gt=0, description="Standard deviation in the long run.")
    memory: Duration = Field(gt=0, description="Time after which correlation has fallen to 1/e.")

    def begin(self, streams: Streams, every_ns: int) -> Adder:
        """Start each device in the long-run distribution."""
        rho = math.exp(-every_ns / self.memory)
        push = self.std * math.sqrt(1 - rho * rho)
        level = self.std * streams.normal(1)[:, 0]

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            pushes = push * streams.normal(x.shape[1])
            for tick in range(x.shape[1]):
                level[:] = rho * level + pushes[:, tick]
                x[:, tick] += level

        return add


class RandomWalk(Options):
    """A level that wanders, reflected at its limits where it has some."""

    std: float = Field(gt=0, description="Standard deviation of the change in `per`.")
    per: Duration = Field(HOUR, gt=0)
    within: float | None = Field(None, gt=0, description="Never further than this from 0.")

    def begin(self, streams: Streams, every_ns: int) -> Adder:
        """Start each device at 0."""
        stride = self.std * math.sqrt(every_ns / self.per)
        limit = self.within or math.inf
        level = np.zeros(streams.count)

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            strides = stride * streams.normal(x.shape[1])
            for tick in range(x.shape[1]):
                level[:] += strides[:, tick]
                if self.within is not None:
                    over = np.abs(level) > limit
                    level[over] = np.sign(level[over]) * (2 * limit - np.abs(level[over]))
                    np.clip(level, -limit, limit, out=level)
                x[:, tick] += level

        return add


class Noise(Options):
    """White noise of the sensor."""

    std: float = Field(gt=0)

    def begin(self, streams: Streams, every_ns: int) -> Adder:  # noqa: ARG002 - one signature
        """Need no state beyond the streams'."""

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            x += self.std * streams.normal(x.shape[1])

        return add


class Quantise(Options):
    """The steps of the converter, over the sum of the parts before it."""

    step: float = Field(gt=0)

    def begin(self, streams: Streams, every_ns: int) -> Adder:  # noqa: ARG002 - one signature
        """Need no state."""

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            np.multiply(np.round(x / self.step), self.step, out=x)

        return add


class Vibration(Options):
    """A turning machine: a tone and its harmonics."""

    frequency: float = Field(gt=0, le=1e6, description="Of the shaft, in Hz.")
    amplitudes: tuple[float, ...] = Field(
        min_length=1, max_length=32, description="Of the tone, of twice its frequency, and so on."
    )

    def begin(self, streams: Streams, every_ns: int) -> Adder:  # noqa: ARG002 - one signature
        """Draw a phase for each harmonic of each device."""
        phases = streams.uniform(len(self.amplitudes))
        period_ns = max(1, round(1e9 / self.frequency))

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            turns = (t_ns % period_ns) / period_ns
            for i, amplitude in enumerate(self.amplitudes):
                x += amplitude * np.sin(TURN * ((i + 1) * turns + phases[:, i : i + 1]))

        return add


class DutyCycle(Options):
    """A load that is switched on and off."""

    high: float
    low: float = 0.0
    on: Duration = Field(gt=0)
    off: Duration = Field(gt=0)
    jitter: float = Field(0.0, ge=0, lt=1, description="0.2: each stretch is up to 20 % off.")

    def begin(self, streams: Streams, every_ns: int) -> Adder:  # noqa: ARG002 - one signature
        """Start each device somewhere in its cycle."""
        whole = self.on + self.off
        is_on = np.ones(streams.count, dtype=bool)
        until = self.on - (streams.uniform(1)[:, 0] * whole).astype(np.int64)

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            for device in range(x.shape[0]):
                random = streams.of(device)
                end = int(t_ns[device, -1])
                first = bool(is_on[device])
                switches: list[int] = []
                while until[device] <= end:
                    switches.append(int(until[device]))
                    is_on[device] = not is_on[device]
                    stretch = self.on if is_on[device] else self.off
                    factor = 1 + self.jitter * (2 * random.random() - 1)
                    until[device] += max(1, round(stretch * factor))
                passed = np.searchsorted(np.array(switches, dtype=np.int64), t_ns[device], "right")
                x[device] += np.where((passed % 2 == 0) == first, self.high, self.low)

        return add


class Correlated(Options):
    """What another channel of the same device does, some time later."""

    channel: str
    gain: float = 1.0
    lag: Duration = 0
    noise: float = Field(0.0, ge=0, description="Standard deviation of what is added.")

    def begin(self, streams: Streams, every_ns: int) -> Adder:
        """Remember as many ticks of the other channel as the lag is long."""
        lag = round(self.lag / every_ns)
        past = np.empty((streams.count, 0))

        def add(x: F8, t_ns: I8, clean: Mapping[str, F8]) -> None:  # noqa: ARG001
            nonlocal past
            other = clean[self.channel]
            if lag and past.shape[1] == 0:  # before its first value it had its first value
                past = np.repeat(other[:, :1], lag, axis=1)
            seen = np.concatenate((past, other), axis=1)
            x += self.gain * seen[:, : x.shape[1]]
            past = seen[:, seen.shape[1] - lag :].copy()
            if self.noise:
                x += self.noise * streams.normal(x.shape[1])

        return add


def _bare(name: str) -> BeforeValidator:
    """Let `noise: 0.2` stand for `noise: {std: 0.2}`."""
    return BeforeValidator(
        lambda v: {name: v} if isinstance(v, int | float) and not isinstance(v, bool) else v
    )


class Part(Options):
    """One part of a signal: exactly one of these."""

    constant: Annotated[Constant, _bare("value")] | None = None
    sine: Sine | None = None
    diurnal: Diurnal | None = None
    ramp: Ramp | None = None
    ar1: Ar1 | None = None
    random_walk: RandomWalk | None = None
    noise: Annotated[Noise, _bare("std")] | None = None
    quantise: Annotated[Quantise, _bare("step")] | None = None
    vibration: Vibration | None = None
    duty_cycle: DutyCycle | None = None
    correlated: Correlated | None = None

    @model_validator(mode="after")
    def _one(self) -> "Part":
        if len(self.model_fields_set) != 1 or self.options is None:
            raise ValueError(f"give exactly one of {', '.join(Part.model_fields)}")
        return self

    @property
    def options(self) -> Any:
        """The one part that was given."""
        return getattr(self, next(iter(self.model_fields_set)))


class Signals:
    """All channels of a fleet, block after block."""

    def __init__(
        self,
        channels: Mapping[str, tuple[Part, ...]],
        *,
        seed: int,
        fleet: str,
        count: int,
        every_ns: int,
    ) -> None:
        self._adders = {
            name: [
                part.options.begin(Streams(seed, count, fleet, "signal", name, i), every_ns)
                for i, part in enumerate(channels[name])
            ]
            for name in in_order(channels)
        }

    def block(self, t_ns: I8) -> dict[str, F8]:
        """Values of each channel at the virtual times (devices, ticks); call in order of time."""
        clean: dict[str, F8] = {}
        for name, adders in self._adders.items():
            x = np.zeros(t_ns.shape)
            for add in adders:
                add(x, t_ns, clean)
            clean[name] = x
        return clean


def in_order(channels: Mapping[str, tuple[Part, ...]]) -> list[str]:
    """Name channels such that each comes after those it follows. Raises ValueError."""
    ordered: list[str] = []
    waiting = dict.fromkeys(channels)
    for name, parts in channels.items():
        for part in parts:
            if part.correlated and part.correlated.channel not in channels:
                raise ValueError(
                    f"channel {name} follows {part.correlated.channel!r}, "
                    f"which is not a channel here; there are {', '.join(channels)}"
                )
    while waiting:
        ready = [
            name
            for name in waiting
            if all(p.correlated is None or p.correlated.channel in ordered for p in channels[name])
        ]
        if not ready:
            raise ValueError(f"channels follow each other in a circle: {', '.join(waiting)}")
        ordered += ready
        for name in ready:
            del waiting[name]
    return ordered
