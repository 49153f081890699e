"""Faults of sensors: where a device's values stop telling the truth, and how."""

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from config.params import Options
from config.units import Duration
from device_sim.randomness import F8, I8, stream

SPIKE_HALVINGS = 4
FOREVER_NS = 2**62
CONVERSIONS: Final[Mapping[str, tuple[float, float]]] = {
    "celsius_to_fahrenheit": (1.8, 32.0),
    "celsius_to_kelvin": (1.0, 273.15),
    "bar_to_psi": (14.503773773, 0.0),
    "bar_to_kpa": (100.0, 0.0),
    "metre_to_foot": (3.280839895, 0.0),
}


class Placement(Options):
    """Where and when: at `start`, or once in each `every` at a random time."""

    device: str = Field("*", description="Which devices; * and ? match.")
    channel: str | None = Field(None, description="Default: all channels of the device.")
    start: Duration | None = Field(None, description="Time since the beginning of the run.")
    every: Duration | None = Field(
        None, gt=0, description="Instead of start: one in each stretch of this length."
    )
    probability: float = Field(
        1.0, gt=0, le=1, description="With every: how likely a stretch has its fault."
    )
    duration: Duration = Field(gt=0)

    @model_validator(mode="after")
    def _placed(self) -> "Placement":
        if (self.start is None) == (self.every is None):
            raise ValueError("give one of start, every")
        if self.every is None and "probability" in self.model_fields_set:
            raise ValueError("probability goes with every, a start is certain")
        if self.every is not None and self.duration >= self.every:
            raise ValueError("duration must be shorter than every, or the fault never ends")
        return self

    def size(self) -> float | None:
        """How large the fault is, for the ground truth."""
        return None

    def spans(self, seed: int, key: tuple[str | int, ...], end_ns: int) -> Iterator["Span"]:
        """Yield the intervals in order, until `end_ns`; the last one may be cut there."""
        if self.every is None:
            begin = self.start or 0
            if begin < end_ns:
                yield Span(begin, min(begin + self.duration, end_ns))
            return
        random = stream(seed, *key)
        for period in range(0, end_ns, self.every):
            happens, place = random.random(2)
            begin = period + int(place * (self.every - self.duration))
            if happens < self.probability and begin < end_ns:
                yield Span(begin, min(begin + self.duration, end_ns))


class Shift(Placement):
    """A fault with a size, in the unit of the channel."""

    magnitude: float

    @model_validator(mode="after")
    def _matters(self) -> "Shift":
        if self.magnitude == 0:
            raise ValueError("magnitude 0 changes nothing")
        return self

    def size(self) -> float | None:
        """Give the magnitude."""
        return self.magnitude


class Scale(Placement):
    """A wrong gain."""

    magnitude: float = Field(description="Factor, such as 1.5.")

    @model_validator(mode="after")
    def _matters(self) -> "Scale":
        if self.magnitude == 1:
            raise ValueError("magnitude 1 changes nothing")
        return self

    def size(self) -> float | None:
        """Give the factor."""
        return self.magnitude


class Swap(Placement):
    """Values in another unit than before."""

    units: Literal[
        "celsius_to_fahrenheit", "celsius_to_kelvin", "bar_to_psi", "bar_to_kpa", "metre_to_foot"
    ]


class Fault(Options):
    """One kind of fault with its place: exactly one of these."""

    spike: Shift | None = Field(None, description="Jumps by magnitude and dies away.")
    step: Shift | None = Field(None, description="Is magnitude off for the whole time.")
    drift: Shift | None = Field(None, description="Goes off evenly, to magnitude at the end.")
    stuck: Placement | None = Field(None, description="Repeats the last value before it.")
    dropout: Placement | None = Field(None, description="Has no value; no message without any.")
    noise_burst: Shift | None = Field(None, description="Noise of this standard deviation.")
    scale: Scale | None = Field(None, description="Is multiplied by magnitude.")
    unit_swap: Swap | None = Field(None, description="Is given in another unit.")

    @model_validator(mode="after")
    def _one(self) -> "Fault":
        if len(self.model_fields_set) != 1 or getattr(self, self.kind) is None:
            raise ValueError(f"give exactly one of {', '.join(Fault.model_fields)}")
        return self

    @property
    def kind(self) -> str:
        """Name of the fault."""
        return next(iter(self.model_fields_set))

    @property
    def place(self) -> Placement:
        """Options of the fault."""
        place: Placement = getattr(self, self.kind)
        return place


class Span(NamedTuple):
    """Virtual time [start_ns, end_ns)."""

    start_ns: int
    end_ns: int


class Episode(NamedTuple):
    """One fault of one device, once; virtual times."""

    device: int
    channel: str | None
    kind: str
    start_ns: int
    end_ns: int
    magnitude: float | None


class _Case:
    """One fault on one device: its spans, and what it must remember between blocks."""

    def __init__(self, fault: Fault, device: int, spans: Iterator[Span]) -> None:
        self.fault = fault
        self.device = device
        self._spans = spans
        self._next = next(spans, None)
        self._open: list[Span] = []
        self.before: dict[str, float] = {}
        self.held: dict[tuple[str, int], float] = {}

    def spans(self, end_ns: int, started: list[Episode]) -> list[Span]:
        """Spans that began before `end_ns` and are not closed; new ones go to `started`."""
        while self._next is not None and self._next.start_ns < end_ns:
            place = self.fault.place
            episode = Episode(
                self.device, place.channel, self.fault.kind, *self._next, place.size()
            )
            started.append(episode)
            self._open.append(self._next)
            self._next = next(self._spans, None)
        return list(self._open)

    def close(self, end_ns: int) -> None:
        """Forget spans that are over at `end_ns`."""
        for span in self._open:
            if span.end_ns <= end_ns:
                for key in [key for key in self.held if key[1] == span.start_ns]:
                    del self.held[key]
        self._open = [span for span in self._open if span.end_ns > end_ns]


class Injector:
    """Applies the faults of a scenario to the blocks of one fleet."""

    def __init__(
        self,
        faults: tuple[Fault, ...],
        devices: list[str],
        channels: list[str],
        *,
        seed: int,
        end_ns: int | None,
    ) -> None:
        end_ns = FOREVER_NS if end_ns is None else end_ns
        self._cases: list[_Case] = []
        self._noise: dict[tuple[int, str], np.random.Generator] = {}
        for i, fault in enumerate(faults):
            place = fault.place
            if place.channel is not None and place.channel not in channels:
                continue
            for device, name in enumerate(devices):
                if fnmatchcase(name, place.device):
                    spans = place.spans(seed, ("fault", i, name), end_ns)
                    if fault.kind == "noise_burst":
                        for hit in [place.channel] if place.channel else channels:
                            noise = stream(seed, "noise_burst", i, name, hit)
                            self._noise[len(self._cases), hit] = noise
                    self._cases.append(_Case(fault, device, spans))

    def apply(self, values: Mapping[str, F8], t_ns: I8, end_ns: int) -> list[Episode]:
        """Change `values` in place where faults are; give the episodes that begin before `end_ns`.

        `values` holds one (devices, ticks) block per channel at virtual times `t_ns`, and NaN
        after this where there is no value.  `end_ns` is where the next block begins.
        """
        started: list[Episode] = []
        for i, case in enumerate(self._cases):
            place, device = case.fault.place, case.device
            spans = case.spans(end_ns, started)
            times = t_ns[device]
            for name in [place.channel] if place.channel else list(values):
                x = values[name][device]
                last = float(x[-1])
                for span in spans:
                    a, b = np.searchsorted(times, span)
                    if a < b:
                        if case.fault.kind == "stuck":
                            key = (name, span.start_ns)
                            if key not in case.held:
                                first = float(x[a])
                                before = float(x[a - 1]) if a else case.before.get(name, first)
                                case.held[key] = before if np.isfinite(before) else first
                            x[a:b] = case.held[key]
                        else:
                            noise = self._noise.get((i, name))
                            x[a:b] = _KINDS[case.fault.kind](x[a:b], times[a:b], span, place, noise)
                case.before[name] = last
            case.close(end_ns)
        return started


_Change = Callable[[F8, I8, Span, Placement, np.random.Generator | None], F8]


def _spike(x: F8, t_ns: I8, span: Span, place: Placement, _: object) -> F8:
    assert isinstance(place, Shift)
    passed = (t_ns - span.start_ns) / place.duration
    return x + place.magnitude * np.exp2(-SPIKE_HALVINGS * passed)


def _step(x: F8, _t: I8, _span: Span, place: Placement, _: object) -> F8:
    assert isinstance(place, Shift)
    return x + place.magnitude


def _drift(x: F8, t_ns: I8, span: Span, place: Placement, _: object) -> F8:
    assert isinstance(place, Shift)
    return x + place.magnitude * ((t_ns - span.start_ns) / place.duration)


def _dropout(x: F8, _t: I8, _span: Span, _place: Placement, _: object) -> F8:
    return np.full_like(x, np.nan)


def _noise_burst(
    x: F8, _t: I8, _span: Span, place: Placement, noise: np.random.Generator | None
) -> F8:
    assert isinstance(place, Shift)
    assert noise is not None
    return x + abs(place.magnitude) * noise.standard_normal(x.size)


def _scale(x: F8, _t: I8, _span: Span, place: Placement, _: object) -> F8:
    assert isinstance(place, Scale)
    return x * place.magnitude


def _unit_swap(x: F8, _t: I8, _span: Span, place: Placement, _: object) -> F8:
    assert isinstance(place, Swap)
    factor, offset = CONVERSIONS[place.units]
    return x * factor + offset


_KINDS: Final[Mapping[str, _Change]] = {
    "spike": _spike,
    "step": _step,
    "drift": _drift,
    "dropout": _dropout,
    "noise_burst": _noise_burst,
    "scale": _scale,
    "unit_swap": _unit_swap,
}
