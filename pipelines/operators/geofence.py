"""geofence: whether a device is inside an area, and how far from its border."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from config.model import SECOND, Name, When
from config.params import Options, Params
from config.units import Duration, duration_text
from pipelines.batch import BAD, F8, I8, U1, GroupedBatch
from pipelines.geo import area_distance, unwrapped
from pipelines.jit import kernel
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import NEVER, Labels

Point = tuple[
    Annotated[float, Field(ge=-90, le=90)],
    Annotated[float, Field(ge=-180, le=180)],
]

LATITUDE, LONGITUDE = 0, 1
NO_SAMPLE, KNOWN, UNKNOWN = 0, 1, 2
CORNERS_MAX: Final = 256


class Circle(Options):
    """All places within a distance of one."""

    at: Point = Field(description="[latitude, longitude] of the middle, in degrees.")
    radius: float = Field(gt=0, le=10_000_000, description="Metres.")


class Geofence(Params):
    """The areas, and what of them raises an alert."""

    EXTRA_ROWS: ClassVar = ("corner_lat", "corner_lon", "first", "last", "radius")

    circles: tuple[Circle, ...] = Field(
        (), max_length=64, description="Areas such as {at: [52.37, 4.9], radius: 500}."
    )
    polygons: tuple[tuple[Point, ...], ...] = Field(
        (),
        max_length=64,
        description="Areas with corners [latitude, longitude] and straight lines of latitude and "
        "longitude between them.",
    )
    on: Literal["enter", "exit", "dwell"] = Field(
        "enter",
        description="An alert without `when` is active: enter: while inside one of the areas · "
        "exit: while outside all of them · dwell: while inside, after having been so for `dwell`.",
    )
    dwell: Duration | None = Field(None, gt=0, description="How long is too long, for `on: dwell`.")
    hysteresis: float = Field(
        0.0, ge=0, le=1_000_000, description="Metres outside the border at which one has left."
    )
    max_age: Duration = Field(
        60 * SECOND,
        gt=0,
        description="Not known while the last sample of one of the channels is older than this.",
    )
    latitude: Name = Field("lat", description="Channel with the latitude in degrees.")
    longitude: Name = Field("lon", description="Channel with the longitude in degrees.")

    @field_validator("polygons")
    @classmethod
    def _shapes(cls, polygons: tuple[tuple[Point, ...], ...]) -> tuple[tuple[Point, ...], ...]:
        corners = sum(len(unwrapped(polygon)) for polygon in polygons)
        if corners > CORNERS_MAX:
            raise ValueError(f"{corners} corners in all, at most {CORNERS_MAX} are allowed")
        return polygons

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.circles and not self.polygons:
            raise ValueError("give circles or polygons: circles: [{at: [52.37, 4.9], radius: 500}]")
        if (self.on == "dwell") != (self.dwell is not None):
            raise ValueError("`dwell` belongs to `on: dwell`, for example {on: dwell, dwell: 10m}")
        if self.latitude == self.longitude:
            raise ValueError(f"latitude and longitude are one channel: {self.latitude}")
        return self

    @classmethod
    def extra_rows(cls, sets: Sequence["Geofence"]) -> dict[str, Any]:
        """Areas: corners [first, last) (R, k) i8 of corner_lat, corner_lon (R, c), radius (R, k).

        A circle is one corner with a radius; that of a polygon is NaN, of no area at all -1.
        """
        shape = (len(sets), max(len(p.circles) + len(p.polygons) for p in sets))
        first, last = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        radius = np.full(shape, -1.0)
        corners: list[list[Point]] = [[] for _ in sets]
        for r, p in enumerate(sets):
            areas: list[tuple[tuple[Point, ...], float]] = [((c.at,), c.radius) for c in p.circles]
            areas += [(unwrapped(polygon), math.nan) for polygon in p.polygons]
            for k, (points, radius[r, k]) in enumerate(areas):
                first[r, k] = len(corners[r])
                corners[r] += points
                last[r, k] = len(corners[r])
        at = np.zeros((2, len(sets), max(map(len, corners))))
        for r, row in enumerate(corners):
            at[:, r, : len(row)] = np.array(row).T
        found = {"corner_lat": at[LATITUDE].copy(), "corner_lon": at[LONGITUDE].copy()}
        return found | {"first": first, "last": last, "radius": radius}


class State(NamedTuple):
    """Per group the last known latitude and longitude, and the instant that is not over yet."""

    degrees: F8 = column("f8", 2)
    t_ns: I8 = column("i8", 2)
    quality: U1 = column("u1", 2)
    known: U1 = column("u1", 2)
    here: U1 = column("u1", 2)  # NO_SAMPLE, KNOWN or UNKNOWN at the newest instant
    begun: U1 = column("u1")
    now_ns: I8 = column("i8")  # the newest instant
    waits: U1 = column("u1")  # 1: its result is not given out yet
    inside: U1 = column("u1")
    late: I8 = column("i8", SINGLE)  # samples from before an instant that had its turn
    impossible: I8 = column("i8", SINGLE)  # samples that are no latitude or longitude


Rows = rows_of(Geofence)


@kernel
def tell(s: int, state: State, params: Any, out: Any) -> None:
    """Give out the result of the newest instant of group `s`."""
    p, n, now, worst, usable = params.row[s], out.count[0], state.now_ns[s], 0, True
    for v in range(2):
        young = now - state.t_ns[s, v] <= params.max_age[p]
        usable = usable and state.here[s, v] != UNKNOWN and state.known[s, v] == 1 and young
        worst = max(worst, state.quality[s, v])
    out.series[n], out.t_ns[n], out.start_ns[n] = s, now, now
    out.value[n], out.quality[n] = np.nan, BAD
    for j in range(3):
        out.fields[n, j] = np.nan
    if usable:
        lat, lon = state.degrees[s, LATITUDE], state.degrees[s, LONGITUDE]
        metres = math.inf
        for k in range(params.radius.shape[1]):
            radius = params.radius[p, k]
            if radius != -1.0:
                first, last = params.first[p, k], params.last[p, k]
                there = area_distance(
                    lat, lon, params.corner_lat[p], params.corner_lon[p], first, last, radius
                )
                metres = min(metres, there)
        reach = params.hysteresis[p] if state.inside[s] == 1 else 0.0
        state.inside[s] = 1 if metres <= reach else 0
        out.value[n], out.quality[n] = state.inside[s], worst
        out.fields[n, 0], out.fields[n, 1], out.fields[n, 2] = metres, lat, lon
    state.waits[s] = 0
    out.count[0] = n + 1


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Say 1 for each instant at which a device is inside an area, 0 where it is outside all.

    Equivalent to: the result at t is told once both channels have a row at t, else before the
    first row later than t. It is of the last known latitude and longitude; not known when one has
    a row at t and none that is known, had none yet, or one older than `max_age`. Field distance:
    metres from the border of the nearest area, below zero inside. 1 when distance <= 0, or
    <= hysteresis after a 1; else 0. Fields: distance, latitude, longitude. A row before the newest
    instant, or at one that was told, is late: it is told nowhere, but is the last known value of
    its channel unless that has a later one. |latitude| > 90 and longitudes not in [-180, 360] are
    not known and counted.

    circle: the great-circle distance from its middle (haversine formula, radius 6371008.8 m) less
    its radius. polygon: inside by the even-odd rule on latitude and longitude; the distance is
    that to the nearest point of its edges, found in a plane around the device in which a degree of
    longitude is cos(latitude) long.
    """
    for i in range(first, batch.series.size):
        s, t, x, v = batch.series[i], batch.t_ns[i], batch.value[i], batch.slot[i]
        if state.waits[s] == 1 and t > state.now_ns[s]:
            tell(s, state, params, out)
        if t > state.now_ns[s] or state.begun[s] == 0:
            state.begun[s], state.now_ns[s], state.waits[s] = 1, t, 1
            state.here[s, LATITUDE], state.here[s, LONGITUDE] = NO_SAMPLE, NO_SAMPLE
        present = t == state.now_ns[s] and state.waits[s] == 1
        if not present:
            state.late[0] += 1
        known = np.isfinite(x) and batch.quality[i] != BAD
        if known and ((v == LATITUDE and abs(x) > 90) or (v == LONGITUDE and abs(x - 90) > 270)):
            state.impossible[0] += 1
            known = False
        if known:
            if state.known[s, v] == 0 or t >= state.t_ns[s, v]:
                state.degrees[s, v], state.t_ns[s, v] = x, t
                state.quality[s, v], state.known[s, v] = batch.quality[i], 1
            if present:
                state.here[s, v] = KNOWN
        elif present and state.here[s, v] == NO_SAMPLE:
            state.here[s, v] = UNKNOWN
        if present and state.here[s, LATITUDE] > 0 and state.here[s, LONGITUDE] > 0:
            tell(s, state, params, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Tell the result of an instant that the other channel has no sample at.

    Equivalent to what `step` does before a row at `clock_ns`.
    """
    for s in range(first, last):
        if state.waits[s] == 1 and clock_ns[s] != NEVER and clock_ns[s] > state.now_ns[s]:
            tell(s, state, params, out)


def regroup(
    params: Geofence, labels: Labels, group_by: tuple[str, ...]
) -> tuple[Labels, int] | None:
    """The device's labels without the channel; which of the two coordinates it is as the slot."""
    channels = (params.latitude, params.longitude)
    channel = dict(labels).get("channel", "")
    if channel not in channels:
        return None
    kept = [(k, v) for k, v in labels if k != "channel" and (not group_by or k in group_by)]
    return tuple(kept), channels.index(channel)


def condition(params: Geofence) -> When:
    """What `on` asks for."""
    if params.on == "exit":
        return When(below=0.5)
    return When.model_validate({"above": 0.5, "on_delay": duration_text(params.dwell or 0)})


OPERATOR = Operator(
    name="geofence",
    summary="Tells whether a device is inside an area, and how far from its border.",
    params=Geofence,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="geofence: {circles: [{at: [52.37, 4.9], radius: 500}], hysteresis: 20}",
    source="haversine: Sinnott 1984; even-odd rule",
    emits="score",
    fields=lambda params: ("distance", "latitude", "longitude"),  # noqa: ARG005 - same for all
    condition=condition,
    regroup=regroup,
    slowest=True,
    delay_ns=lambda params: 1,  # noqa: ARG005 - an instant may have more rows at its time
)
