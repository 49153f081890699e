"""throttle: at most one sample of each period."""

from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.operator import SINGLE, Makes, Operator, column, rows_of
from pipelines.series import NEVER

FIRST, LAST, MAX_ABS = 0, 1, 2


class Throttle(Params):
    """How often a sample may pass, and which one."""

    every: Duration = Field(
        gt=0, description="Length of a period; periods begin at whole multiples since 1970 UTC."
    )
    pick: Literal["first", "last", "max_abs"] = Field(
        "first",
        description="first: at once, with its own time · last, max_abs (the value farthest from "
        "0): once the period is over, with the time of its end.",
    )


class State(NamedTuple):
    """Per series its current period, and the sample that waits for the end of it."""

    period: I8 = column("i8")
    value: F8 = column("f8")
    quality: U1 = column("u1")
    begun: U1 = column("u1")
    held: U1 = column("u1")
    late: I8 = column("i8", SINGLE)  # samples of a period that was over


Rows = rows_of(Throttle)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Pass on one known sample of each period [k every, (k + 1) every).

    Equivalent to: group the known samples by `t // every`; of each group the first as it is, or
    at time `(k + 1) every` the last, or the first of those with the largest |x|, given out before
    the first known sample of a later period. Values not known are left out. A sample of a period
    that a tick has ended is left out and counted in `late`.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        if not np.isfinite(x) or batch.quality[i] == BAD:
            continue
        p = params.row[s]
        period = t // params.every[p]
        fresh = state.begun[s] == 0 or period > state.period[s]
        if fresh and state.held[s] == 1:
            end_ns = (state.period[s] + 1) * params.every[p]
            out.series[n], out.t_ns[n], out.start_ns[n] = s, end_ns, end_ns
            out.value[n], out.quality[n] = state.value[s], state.quality[s]
            n += 1
        if fresh:
            state.begun[s], state.period[s] = 1, period
            state.value[s], state.quality[s] = x, batch.quality[i]
            if params.pick[p] == FIRST:
                out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
                out.value[n], out.quality[n] = x, batch.quality[i]
                n += 1
            else:
                state.held[s] = 1
        elif state.held[s] == 1:
            if params.pick[p] == LAST or abs(x) > abs(state.value[s]):
                state.value[s], state.quality[s] = x, batch.quality[i]
        elif params.pick[p] != FIRST:
            state.late[0] += 1
    out.count[0] = n
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Give out the samples whose period is over.

    Equivalent to: the row that `step` would give out before a sample at `clock_ns`.
    """
    n = out.count[0]
    for s in range(first, last):
        if state.held[s] == 0 or clock_ns[s] == NEVER:
            continue
        end_ns = (state.period[s] + 1) * params.every[params.row[s]]
        if clock_ns[s] >= end_ns:
            out.series[n], out.t_ns[n], out.start_ns[n] = s, end_ns, end_ns
            out.value[n], out.quality[n] = state.value[s], state.quality[s]
            state.held[s] = 0
            n += 1
    out.count[0] = n


OPERATOR = Operator(
    name="throttle",
    summary="Passes on at most one sample of each period.",
    params=Throttle,
    state=State,
    rows=Rows,
    step=step,
    makes=Makes.SAME,
    tick=tick,
    example="throttle: {every: 10s, pick: last}",
)
