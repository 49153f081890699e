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
from pipelines.operator import Makes, Operator, column, rows_of
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
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x, quality = batch.series[i], batch.t_ns[i], batch.value[i], batch.quality[i]
        if not abs(x) <= LARGEST or quality == BAD:
            continue
        p, t0, x0, quality0 = params.row[s], state.t_ns[s], state.x[s], state.quality[s]
        every, method, end_ns = params.every[p], params.method[p], t0 + params.reach_ns[p]
        fresh, following, last_ns = state.begun[s] == 0, -(-t // every), t
        if method == LOCF:
            last_ns = min(t - 1, end_ns)
        if fresh or (method == LINEAR and t > end_ns):
            state.next[s] = t // every + 1 if method == MEAN else following
            last_ns = t if method == LINEAR else NEVER
        while state.next[s] * every <= last_ns:
            at_ns = state.next[s] * every
            y, worst = x0, quality0
            if method == MEAN:
                gain_ns = max(0, min(at_ns, end_ns) - state.done_ns[s])
                covered_ns = state.covered_ns[s] + gain_ns
                if covered_ns == 0:
                    break
                y = (state.area[s] + x0 * gain_ns) / covered_ns
                worst = max(state.worst[s], quality0) if gain_ns > 0 else state.worst[s]
                worst = worst if covered_ns == every else UNCERTAIN
                state.done_ns[s] += gain_ns
                state.area[s], state.covered_ns[s], state.worst[s] = 0.0, 0, 0
            elif at_ns == t:
                y, worst = x, quality
            elif method == LINEAR:
                share = (at_ns - t0) / (t - t0)
                y, worst = x0 * (1.0 - share) + x * share, max(quality0, quality)
            out.series[n], out.t_ns[n], out.start_ns[n] = s, at_ns, at_ns
            out.value[n], out.quality[n] = y, worst
            state.next[s] += 1
            n += 1
        if method == MEAN:
            gain_ns = max(0, min(t, end_ns) - state.done_ns[s])
            if not fresh and gain_ns > 0:
                state.area[s] += x0 * gain_ns
                state.covered_ns[s] += gain_ns
                state.worst[s] = max(state.worst[s], quality0)
            state.done_ns[s], following = t, t // every + 1
        if method != LINEAR:
            state.next[s] = max(state.next[s], following)
        state.begun[s], state.t_ns[s], state.x[s], state.quality[s] = 1, t, x, quality
    out.count[0] = n
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Give out the values of times that the clock has passed.

    Equivalent to: the rows that `step` would give out before a sample at `clock_ns`; nothing for
    linear, which needs that sample.
    """
    n = out.count[0]
    for s in range(first, last):
        p, now_ns = params.row[s], clock_ns[s]
        every, method = params.every[p], params.method[p]
        if state.begun[s] == 0 or now_ns == NEVER or method == LINEAR:
            continue
        end_ns = state.t_ns[s] + params.reach_ns[p]
        last_ns = min(now_ns - 1, end_ns) if method == LOCF else now_ns
        while state.next[s] * every <= last_ns:
            at_ns = state.next[s] * every
            y, worst = state.x[s], state.quality[s]
            if method == MEAN:
                gain_ns = max(0, min(at_ns, end_ns) - state.done_ns[s])
                covered_ns = state.covered_ns[s] + gain_ns
                if covered_ns == 0:
                    break
                y = (state.area[s] + y * gain_ns) / covered_ns
                worst = max(state.worst[s], worst) if gain_ns > 0 else state.worst[s]
                worst = worst if covered_ns == every else UNCERTAIN
                state.done_ns[s] += gain_ns
                state.area[s], state.covered_ns[s], state.worst[s] = 0.0, 0, 0
            out.series[n], out.t_ns[n], out.start_ns[n] = s, at_ns, at_ns
            out.value[n], out.quality[n] = y, worst
            state.next[s] += 1
            n += 1
    out.count[0] = n


OPERATOR = Operator(
    name="resample",
    summary="Values at fixed times, made from samples that come when they come.",
    params=Resample,
    state=State,
    rows=Rows,
    step=step,
    makes=Makes.BETWEEN,
    tick=tick,
    example="resample: {every: 10s, method: linear}",
    fanout=lambda params: params.reach_ns // params.every + 2,
)
