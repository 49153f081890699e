"""resample: values at fixed times, from samples that come when they come."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params
from config.units import Duration, duration_text
from pipelines.batch import BAD, F8, I8, U1, UNCERTAIN, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import Operator, column, rows_of
from pipelines.series import NEVER

LOCF, LINEAR, MEAN = 0, 1, 2

FILL_MAX: Final = 100


class Resample(Params):
    """Which times, and how their values are made from the samples around them."""

    EXTRA_ROWS: ClassVar = ("reach_ns",)

    every: Duration = Field(
        gt=0, description="From one value to the next, at whole multiples since 1970 UTC."
    )
    method: Literal["locf", "linear", "mean"] = Field(
        "locf",
        description="locf: the last sample at or before that time · linear: on the straight line "
        "between the samples around it, so it comes with the later one · mean: of the period that "
        "ends then, each sample counting for as long as it was the last.",
    )
    max_gap: Duration | None = Field(
        None,
        gt=0,
        description="A sample counts for this long when no other follows; linear: longest time "
        "between two samples that a line is drawn over. Default: 3 times every.",
    )

    @model_validator(mode="after")
    def _few(self) -> Self:
        if self.reach_ns > FILL_MAX * self.every:
            raise ValueError(
                f"one sample would make up {self.reach_ns // self.every} values, at most "
                f"{FILL_MAX} are allowed: take a max_gap of "
                f"{duration_text(FILL_MAX * self.every)} or less"
            )
        return self

    @property
    def reach_ns(self) -> int:
        """How long a sample counts."""
        return 3 * self.every if self.max_gap is None else self.max_gap

    @classmethod
    def extra_rows(cls, sets: Sequence["Resample"]) -> dict[str, Any]:
        """Array reach_ns (R,)."""
        return {"reach_ns": np.array([p.reach_ns for p in sets], np.int64)}


class State(NamedTuple):
    """Per series its last known sample, the next time to tell, and the mean in the making."""

    t_ns: I8 = column("i8")
    x: F8 = column("f8")
    quality: U1 = column("u1")
    begun: U1 = column("u1")
    next: I8 = column("i8")  # times before next * every are told, or never will be
    done_ns: I8 = column("i8")  # mean: `area` reaches to here
    area: F8 = column("f8")  # mean: values times nanoseconds
    covered_ns: I8 = column("i8")  # mean: time in this period with a value
    worst: U1 = column("u1")  # mean: quality of the samples in `area`


Rows = rows_of(Resample)


@kernel
def cover(s: int, until_ns: int, reach_ns: int, state: State) -> None:
    """Add the last sample of series `s` to its mean, up to `until_ns` but not beyond its reach."""
    until_ns = min(until_ns, state.t_ns[s] + reach_ns)
    if until_ns > state.done_ns[s]:
        state.area[s] += state.x[s] * (until_ns - state.done_ns[s])
        state.covered_ns[s] += until_ns - state.done_ns[s]
        state.worst[s] = max(state.worst[s], state.quality[s])
        state.done_ns[s] = until_ns


@kernel
def tell(s: int, now_ns: int, state: State, params: Any, out: Batch) -> None:
    """Give out what series `s` has for times before `now_ns` (locf), or up to it (mean)."""
    p, n = params.row[s], out.count[0]
    every, reach_ns = params.every[p], params.reach_ns[p]
    if params.method[p] == LOCF:
        while state.next[s] * every < min(now_ns, state.t_ns[s] + reach_ns + 1):
            at_ns = state.next[s] * every
            out.series[n], out.t_ns[n], out.start_ns[n] = s, at_ns, at_ns
            out.value[n], out.quality[n] = state.x[s], state.quality[s]
            state.next[s] += 1
            n += 1
    else:
        while state.next[s] * every <= now_ns:
            at_ns = state.next[s] * every
            cover(s, at_ns, reach_ns, state)
            if state.covered_ns[s] == 0:
                state.next[s] = now_ns // every + 1
                break
            out.series[n], out.t_ns[n], out.start_ns[n] = s, at_ns, at_ns
            out.value[n] = state.area[s] / state.covered_ns[s]
            whole = state.covered_ns[s] == every
            out.quality[n] = state.worst[s] if whole else UNCERTAIN
            state.area[s], state.covered_ns[s], state.worst[s] = 0.0, 0, 0
            state.next[s] += 1
            n += 1
    out.count[0] = n


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Give out the values of all times g = k every that a known sample settles.

    Equivalent to: locf: at each g from the first known sample on, the last known sample at or
    before g, if no more than `max_gap` older; given out before the first known sample after g.
    linear: at each g in (t0, t] the line between two known samples at t0 and t that follow each
    other within `max_gap`, of the worse quality of both; at g = t, or for the first sample of all
    at g = t0, the sample; given out with the sample at t. mean: at each g the time-weighted mean
    over [g - every, g) of that step function which at each time is the last known sample, not
    older than `max_gap`; of the worst quality in it, UNCERTAIN where it covers only a part, no
    row where nothing. Values not known, and |x| > 1e150, are left out.
    """
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        if not abs(x) <= LARGEST or batch.quality[i] == BAD:
            continue
        p = params.row[s]
        every, quality = params.every[p], batch.quality[i]
        if params.method[p] == LINEAR:
            span = t - state.t_ns[s]
            if state.begun[s] == 0 or span > params.reach_ns[p]:
                state.next[s] = max(state.next[s], -(-t // every))
            n = out.count[0]
            while state.next[s] * every <= t:
                at_ns = state.next[s] * every
                out.series[n], out.t_ns[n], out.start_ns[n] = s, at_ns, at_ns
                out.value[n], out.quality[n] = x, quality
                if at_ns < t:
                    share = (at_ns - state.t_ns[s]) / span
                    out.value[n] = state.x[s] * (1.0 - share) + x * share
                    out.quality[n] = max(state.quality[s], quality)
                state.next[s] += 1
                n += 1
            out.count[0] = n
        elif params.method[p] == LOCF:
            if state.begun[s] == 1:
                tell(s, t, state, params, out)
            state.next[s] = max(state.next[s], -(-t // every))
        else:
            if state.begun[s] == 1:
                tell(s, t, state, params, out)
                cover(s, t, params.reach_ns[p], state)
            state.next[s] = max(state.next[s], t // every + 1)
            state.done_ns[s] = t
        state.begun[s], state.t_ns[s], state.x[s], state.quality[s] = 1, t, x, quality
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Give out the values of times that the clock has passed.

    Equivalent to: the rows that `step` would give out before a sample at `clock_ns`; nothing for
    linear, which needs that sample.
    """
    for s in range(first, last):
        if state.begun[s] == 0 or clock_ns[s] == NEVER:
            continue
        if params.method[params.row[s]] != LINEAR:
            tell(s, clock_ns[s], state, params, out)


OPERATOR = Operator(
    name="resample",
    summary="Values at fixed times, made from samples that come when they come.",
    params=Resample,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="resample: {every: 10s, method: linear}",
    fanout=lambda params: params.reach_ns // params.every + 2,
)
