"""counter_rate: how fast a counter counts, across its restarts and overflows."""

from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, added, ring_total
from pipelines.operator import RING, SINGLE, Operator, column, rows_of


class CounterRate(Params):
    """Where the counter overflows, over how long its rate is taken, and in which unit."""

    max: float | None = Field(
        None,
        gt=0,
        description="The counter goes on from 0 once it reaches this: 4294967296 for 32 bits. A "
        "fall from its last quarter is such an overflow, any other a restart from 0.",
    )
    window: Duration = Field(
        0,
        description="0s: from the last sample to this one; longer: over the samples of that "
        "time, never fewer than two.",
    )
    unit: Literal["s", "min", "h"] = Field("s", description="Counts per second, minute or hour.")


class State(NamedTuple):
    """Per series the counts between the samples of its window."""

    t_ns: I8 = column("i8", RING)
    more: F8 = column("f8", RING)  # counted since the sample before
    first: I8 = column("i8")
    seen: I8 = column("i8")
    last: F8 = column("f8")  # what the counter said
    total: F8 = column("f8")  # of `more` after position `first`: the sum, and its lost digits
    lost: F8 = column("f8")
    churn: I8 = column("i8")  # samples that left since `total` was last computed afresh
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(CounterRate)


@kernel
def counted(last: float, x: float, limit: float) -> float:
    """Counts from `last` to `x`; `limit` is NaN where the counter is not known to overflow."""
    if x >= last:
        return x - last
    return limit - last + x if last > 0.75 * limit and last <= limit else x


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Give out the rate with each known sample.

    Equivalent to: a sample adds max(x - last, 0) to the count; where x < last it adds x, or max -
    last + x when 0.75 max < last <= max. The rate is what was counted since the first known
    sample in (t - window, t], or, if that is later, since the last one with an earlier time,
    divided by the time since then; NaN for the first sample of all. x < 0 or x > 1e150 is not
    known; such samples give NaN.
    """
    n, width = out.count[0], state.more.shape[1]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p, y = params.row[s], np.nan
        if 0 <= x <= LARGEST and batch.quality[i] != BAD:
            oldest, newest = state.first[s], state.seen[s]
            keep = oldest
            while (
                keep + 1 < newest
                and state.t_ns[s, keep % width] <= t - params.window[p]
                and state.t_ns[s, (keep + 1) % width] < t
            ):
                keep += 1
            if newest - keep >= width:
                if state.ring_fixed[0] == 0:
                    out.count[0] = n
                    return i
                state.truncated[0] += newest - keep - width + 1
                keep = newest - width + 1
            total, lost = state.total[s], state.lost[s]
            for j in range(oldest + 1, keep + 1):
                total, lost = added(total, lost, -state.more[s, j % width])
            state.churn[s] += keep - oldest
            if state.churn[s] > newest - keep:
                state.churn[s] = 0
                total, lost = ring_total(state.more[s], keep + 1, newest)
            more = counted(state.last[s], x, params.max[p]) if newest > 0 else 0.0
            if newest > keep:
                total, lost = added(total, lost, more)
            state.t_ns[s, newest % width], state.more[s, newest % width] = t, more
            state.first[s], state.seen[s], state.last[s] = keep, newest + 1, x
            state.total[s], state.lost[s] = total, lost
            if t > state.t_ns[s, keep % width]:
                y = (total + lost) / ((t - state.t_ns[s, keep % width]) * 1e-9)
                y *= 3600.0 if params.unit[p] == 2 else 60.0 if params.unit[p] == 1 else 1.0
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n] = y
        out.quality[n] = batch.quality[i] if np.isfinite(y) else BAD
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="counter_rate",
    summary="Counts per time of a counter that may restart or overflow.",
    params=CounterRate,
    state=State,
    rows=Rows,
    step=step,
    example="counter_rate: {window: 5m, unit: h}",
)
