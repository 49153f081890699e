"""swinging_door: as few samples as a curve needs that is never farther off than allowed."""

from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from config.model import SECOND
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import Operator, column, rows_of
from pipelines.series import NEVER


class SwingingDoor(Params):
    """How far the straight lines between the kept samples may be off, and for how long one runs."""

    dev: float = Field(
        gt=0,
        description="Largest distance of a left out sample from the line between the kept ones.",
    )
    max_time: Duration = Field(
        3600 * SECOND,
        gt=0,
        description="A sample that waits is kept at the latest this long after the last kept one.",
    )


class State(NamedTuple):
    """Per series the last kept sample, the one that waits, and the slopes that are still free."""

    kept_ns: I8 = column("i8")
    kept: F8 = column("f8")
    wait_ns: I8 = column("i8")
    wait: F8 = column("f8")
    quality: U1 = column("u1")  # of the sample that waits
    low: F8 = column("f8")  # slopes per nanosecond that pass all samples left out so far
    high: F8 = column("f8")
    begun: U1 = column("u1")
    waits: U1 = column("u1")


Rows = rows_of(SwingingDoor)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Keep the sample before the first one that no straight line within `dev` leads to.

    Equivalent to: the first known sample is kept. From the last kept one (t0, x0), the slope to a
    known sample (t, x) fits if |x0 + slope (u - t0) - v| <= dev for each known sample (u, v)
    between; then that sample waits. If it does not fit, the one that waits is kept, and the slope
    from it to (t, x) fits. Before a sample later than t0 + max_time the one that waits is kept
    too. Of a sample at just t0 nothing comes if |x - x0| <= dev, else it is kept. Kept samples are
    given out with their own time, as soon as it is clear that they are kept. Values not known, and
    |x| > 1e150, are left out.

    This is the strict form of Bristol's swinging door (1990): it ends a line where the new sample
    lies outside of the doors, not only where the doors cross, and so never errs by more than
    `dev`. For the same reason no shortest time between kept samples can be asked for.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        if not abs(x) <= LARGEST or batch.quality[i] == BAD:
            continue
        p = params.row[s]
        dev, span = params.dev[p], t - state.kept_ns[s]
        if state.waits[s] == 1:
            slope = (x - state.kept[s]) / span
            if slope < state.low[s] or slope > state.high[s] or span > params.max_time[p]:
                out.series[n] = s
                out.t_ns[n], out.start_ns[n] = state.wait_ns[s], state.wait_ns[s]
                out.value[n], out.quality[n] = state.wait[s], state.quality[s]
                n += 1
                state.kept_ns[s], state.kept[s] = state.wait_ns[s], state.wait[s]
                state.waits[s] = 0
                span = t - state.kept_ns[s]
        if state.begun[s] == 0 or (span == 0 and abs(x - state.kept[s]) > dev):
            out.series[n], out.t_ns[n], out.start_ns[n] = s, t, t
            out.value[n], out.quality[n] = x, batch.quality[i]
            n += 1
            state.begun[s], state.kept_ns[s], state.kept[s] = 1, t, x
        elif span > 0:
            if state.waits[s] == 0:
                state.low[s], state.high[s] = -np.inf, np.inf
            state.low[s] = max(state.low[s], (x - dev - state.kept[s]) / span)
            state.high[s] = min(state.high[s], (x + dev - state.kept[s]) / span)
            state.waits[s], state.wait_ns[s], state.wait[s] = 1, t, x
            state.quality[s] = batch.quality[i]
    out.count[0] = n
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Keep the samples that have waited for `max_time`.

    Equivalent to: the row that `step` would give out before any sample at `clock_ns`, later than
    the last kept one + max_time.
    """
    n = out.count[0]
    for s in range(first, last):
        if state.waits[s] == 0 or clock_ns[s] == NEVER:
            continue
        if clock_ns[s] - state.kept_ns[s] > params.max_time[params.row[s]]:
            out.series[n] = s
            out.t_ns[n], out.start_ns[n] = state.wait_ns[s], state.wait_ns[s]
            out.value[n], out.quality[n] = state.wait[s], state.quality[s]
            n += 1
            state.kept_ns[s], state.kept[s] = state.wait_ns[s], state.wait[s]
            state.waits[s] = 0
    out.count[0] = n


OPERATOR = Operator(
    name="swinging_door",
    summary="Leaves out samples that lie on a straight line between others, within a limit.",
    params=SwingingDoor,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="swinging_door: {dev: 0.5, max_time: 10m}",
    source="Bristol 1990, in its strict form",
    fanout=lambda params: 2,  # noqa: ARG005 - the sample that waits, and one of the same time
)
