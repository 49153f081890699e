"""Scenarios: fleets of devices, what they measure, and what goes wrong with them."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from config.binding import read
from config.model import NAME, Name, OneOrMore, QoS
from config.params import Options
from config.units import Duration, duration_text
from device_sim.faults import Fault
from device_sim.signals import Part, in_order
from device_sim.transport_faults import TransportFault

BUNDLED = Path(__file__).parent / "scenarios"
RESERVED = ("ts", "seq", "sent_ns")
FaultKind = Literal[
    "spike", "step", "drift", "stuck", "dropout", "noise_burst", "scale", "unit_swap"
]


class Broker(Options):
    """Where to publish."""

    url: str = Field(
        "mqtt://localhost:1883",
        pattern=r"^(mqtt://[^/\s:@]+(:\d{1,5})?/?|unix:/\S+)$",
        description="mqtt://host:port, or unix:/path/of/socket.",
    )
    username: str | None = None
    password: SecretStr | None = None


def _one_part(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Parts = Annotated[tuple[Part, ...], BeforeValidator(_one_part), Field(min_length=1)]


class Fleet(Options):
    """Devices of one kind."""

    count: int = Field(ge=1, le=100_000)
    id: str = Field("d{n}", description="Pattern of device ids; {n} counts from 1, {n:03d} pads.")
    topic: str = Field(description="Pattern of topics; {id}, {n} and the labels are filled in.")
    labels: dict[Name, OneOrMore] = Field(
        default_factory=dict, description="label: list; devices take its values in turn."
    )
    every: Duration = Field(ge=1_000, description="Time between the messages of one device.")
    qos: QoS = 0
    decimals: int = Field(3, ge=0, le=12, description="Digits of values in the payload.")
    channels: dict[Annotated[str, Field(pattern=NAME)], Parts] = Field(min_length=1)

    def labels_of(self, n: int) -> dict[str, str]:
        """Labels of the n-th device, counted from 1."""
        return {name: values[(n - 1) % len(values)] for name, values in self.labels.items()}

    def device_ids(self) -> list[str]:
        """Ids of all devices, in order."""
        return [self.id.format(n=n) for n in range(1, self.count + 1)]

    def topics(self) -> list[str]:
        """Topics of all devices, in order."""
        return [
            self.topic.format(**self.labels_of(n), id=name, n=n)
            for n, name in enumerate(self.device_ids(), 1)
        ]

    @model_validator(mode="after")
    def _sound(self) -> "Fleet":
        for reserved in ("id", "n"):
            if reserved in self.labels:
                raise ValueError(f"a label cannot be called {reserved}, topics use that already")
        for name in RESERVED:
            if name in self.channels:
                raise ValueError(f"a channel cannot be called {name}, each message has that field")
        in_order(self.channels)
        try:
            ids, topics = self.device_ids(), self.topics()
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            known = ", ".join(f"{{{name}}}" for name in ("id", "n", *self.labels))
            raise ValueError(
                f"id {self.id!r} or topic {self.topic!r} cannot be filled in: {error}; "
                f"id knows {{n}}, topic knows {known}"
            ) from None
        if len(set(ids)) < self.count:
            raise ValueError(f"id {self.id!r} gives several devices one id; use {{n}} in it")
        for topic in topics:
            if not topic or any(c in topic for c in "+#\0") or len(topic.encode()) > 65_535:
                raise ValueError(f"cannot publish to topic {topic!r}")
        return self


class Expect(Options):
    """What a good detector does with this scenario."""

    undetected: tuple[FaultKind, ...] = Field(
        (), description="Kinds that need no alert: not missed without one, not false with one."
    )


class Scenario(Options):
    """One simulation; the same seed gives the same messages."""

    description: str = Field("", max_length=1000)
    seed: int = Field(0, ge=0, lt=2**63)
    duration: Duration | None = Field(None, gt=0, description="Default: until stopped.")
    broker: Broker = Broker()
    fleets: dict[Name, Fleet] = Field(min_length=1)
    faults: tuple[Fault, ...] = ()
    transport: tuple[TransportFault, ...] = ()
    expect: Expect = Expect()

    @model_validator(mode="after")
    def _sound(self) -> "Scenario":
        seen: dict[str, str] = {}
        for fleet_name, fleet in self.fleets.items():
            for device in fleet.device_ids():
                if device in seen:
                    raise ValueError(f"fleets {seen[device]} and {fleet_name} both have {device!r}")
                seen[device] = fleet_name
        problems = [*self._misplaced_faults(list(seen)), *self._misplaced_transport(list(seen))]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _misplaced_faults(self, devices: list[str]) -> Iterator[str]:
        for i, fault in enumerate(self.faults):
            place, where = fault.place, f"faults[{i}].{fault.kind}"
            if not any(fnmatchcase(name, place.device) for name in devices):
                yield f"{where}: no device is called {place.device!r}, there is {devices[0]!r}"
                continue
            hit = [
                fleet
                for fleet in self.fleets.values()
                if any(fnmatchcase(name, place.device) for name in fleet.device_ids())
            ]
            channels = [name for fleet in hit for name in fleet.channels]
            if place.channel is not None and place.channel not in channels:
                known = ", ".join(dict.fromkeys(channels))
                yield f"{where}: {place.device} has no channel {place.channel!r}, there are {known}"
            slowest = max(fleet.every for fleet in hit)
            if place.duration < slowest:
                yield (
                    f"{where}: a duration of {duration_text(place.duration)} may fall between two "
                    f"samples, they are {duration_text(slowest)} apart"
                )
            if self.duration is not None and (place.start or 0) >= self.duration:
                yield f"{where}: starts at the end of the run or after it"

    def _misplaced_transport(self, devices: list[str]) -> Iterator[str]:
        for i, fault in enumerate(self.transport):
            pattern = getattr(fault.options, "device", "*")
            where = f"transport[{i}].{fault.kind}"
            if not any(fnmatchcase(name, pattern) for name in devices):
                yield f"{where}: no device is called {pattern!r}, there is {devices[0]!r}"
            if self.duration is not None and fault.options.start >= self.duration:
                yield f"{where}: starts at the end of the run or after it"

    @property
    def series(self) -> int:
        """How many series the fleets have together."""
        return sum(fleet.count * len(fleet.channels) for fleet in self.fleets.values())

    @property
    def rate(self) -> float:
        """Messages per second of virtual time, transport faults apart."""
        return sum(fleet.count * 1e9 / fleet.every for fleet in self.fleets.values())

    def lasting(self, duration_ns: int) -> "Scenario":
        """Make the same scenario with another duration; faults with a start move and stretch."""
        if duration_ns <= 0:
            raise ValueError("a run must last longer than 0s")
        if self.duration is None:
            return self.model_copy(update={"duration": duration_ns})
        factor = duration_ns / self.duration
        shortest = max(fleet.every for fleet in self.fleets.values())

        def moved(options: Any) -> Any:
            if getattr(options, "every", None) is not None:
                return options
            update = {"start": int(options.start * factor)}
            if options.duration is not None:
                update["duration"] = max(shortest, int(options.duration * factor))
            return options.model_copy(update=update)

        return self.model_copy(
            update={
                "duration": duration_ns,
                "faults": tuple(
                    fault.model_copy(update={fault.kind: moved(fault.place)})
                    for fault in self.faults
                ),
                "transport": tuple(
                    fault.model_copy(update={fault.kind: moved(fault.options)})
                    for fault in self.transport
                ),
            }
        )

    def at_rate(self, messages_per_s: float) -> "Scenario":
        """Make the same scenario with this many messages per second of virtual time."""
        if messages_per_s <= 0:
            raise ValueError("a rate must be above 0")
        factor = self.rate / messages_per_s
        fleets = {
            name: fleet.model_copy(update={"every": max(1_000, round(fleet.every * factor))})
            for name, fleet in self.fleets.items()
        }
        return self.model_copy(update={"fleets": fleets})


def find(name: str) -> Path:
    """Path of a scenario: a file, or the name of a bundled one such as `demo`."""
    bundled = BUNDLED / f"{name}.yaml"
    return bundled if not Path(name).exists() and bundled.exists() else Path(name)


def load(name: str) -> Scenario:
    """Read a scenario file or a bundled scenario. Raises config.errors.ConfigError."""
    scenario: Scenario = read(find(name), Scenario)
    return scenario
