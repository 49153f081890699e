"""derivative: how fast the value changes."""

from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, UNCERTAIN, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, slid_line
from pipelines.operator import RING, SINGLE, Operator, column, rows_of
from pipelines.series import NEVER


class Derivative(Params):
    """Over how long, in which unit, and for how long it holds."""

    window: Duration = Field(
        0,
        description="0s: from the last sample to this one; longer: slope of the straight line "
        "that fits best to the samples of that time, never fewer than two.",
    )
    unit: Literal["s", "min", "h"] = Field("s", description="Change per second, minute or hour.")
    hold: Duration = Field(
        300_000_000_000,
        description="So long after a sample without a next one, the change is said to be 0, "
        "once and as uncertain; 0s: never.",
    )


class State(NamedTuple):
    """Per series the samples of its window and the line through them."""

    t_ns: I8 = column("i8", RING)
    x: F8 = column("f8", RING)
    first: I8 = column("i8")
    seen: I8 = column("i8")
    line: F8 = column("f8", 5)  # see numerics.ring_line
    base_ns: I8 = column("i8")  # time zero of `line`
    moving: U1 = column("u1")  # 1: the last change given out was not yet followed by 0
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(Derivative)


@kernel
def per_unit(unit: int) -> float:
    """Seconds of a choice of `unit`."""
    return 3600.0 if unit == 2 else 60.0 if unit == 1 else 1.0


@kernel
def stopped(n: int, s: int, t_ns: int, out: Batch) -> int:
    """Append that series `s` is said not to change from `t_ns` on; the next free row."""
    out.series[n], out.t_ns[n], out.start_ns[n] = s, t_ns, t_ns
    out.value[n], out.quality[n] = 0.0, UNCERTAIN
    return n + 1


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Give out the change with each known sample.

    Equivalent to: over the known samples in (t - window, t], but back to at least the last one
    with an earlier time: window 0s: (x - x0) / (t - t0) from the first of them, else the slope of
    polyfit; NaN for the first sample of all. Before a sample that comes more than `hold` after
    the last known one, 0 at last + hold. |x| > 1e150 is not known; such samples give NaN.
    """
    n, width = out.count[0], state.x.shape[1]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p, y = params.row[s], np.nan
        if abs(x) <= LARGEST and batch.quality[i] != BAD:
            oldest, newest = state.first[s], state.seen[s]
            keep = oldest
            while (
                keep + 1 < newest
                and state.t_ns[s, keep % width] <= t - params.window[p]
                and state.t_ns[s, (keep + 1) % width] < t
            ):
                keep += 1
            # One slot stays free: what leaves is still needed when the new sample is in.
            if newest - keep >= width - 1:
                if state.ring_fixed[0] == 0:
                    out.count[0] = n
                    return i
                state.truncated[0] += newest - keep - width + 2
                keep = newest - width + 2
            if state.moving[s] == 1:
                held_ns = state.t_ns[s, (newest - 1) % width] + params.hold[p]
                if params.hold[p] > 0 and t > held_ns:
                    n = stopped(n, s, held_ns, out)
            state.t_ns[s, newest % width], state.x[s, newest % width] = t, x
            state.first[s], state.seen[s] = keep, newest + 1
            state.moving[s] = 1 if newest > 0 else 0
            if params.window[p] > 0:
                y = slid_line(
                    state.t_ns[s], state.x[s], oldest, keep, newest + 1, state.line[s],
                    state.base_ns, s,
                )  # fmt: skip
            elif t > state.t_ns[s, keep % width]:
                y = (x - state.x[s, keep % width]) / ((t - state.t_ns[s, keep % width]) * 1e-9)
            y *= per_unit(params.unit[p])
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n] = y
        out.quality[n] = batch.quality[i] if np.isfinite(y) else BAD
        n += 1
    out.count[0] = n
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Say that nothing changes where no sample came for longer than `hold`.

    Equivalent to: once after each known sample but the first, when the clock passes its time +
    hold: 0 at that time, UNCERTAIN.
    """
    n, width = out.count[0], state.x.shape[1]
    for s in range(first, last):
        hold = params.hold[params.row[s]]
        if state.moving[s] == 0 or hold == 0 or clock_ns[s] == NEVER:
            continue
        held_ns = state.t_ns[s, (state.seen[s] - 1) % width] + hold
        if clock_ns[s] > held_ns:
            n = stopped(n, s, held_ns, out)
            state.moving[s] = 0
    out.count[0] = n


OPERATOR = Operator(
    name="derivative",
    summary="How fast the value changes, and 0 when no more samples come.",
    params=Derivative,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="derivative: {window: 60s, unit: min}",
    fanout=lambda params: 2,  # noqa: ARG005 - the 0 before a late sample, and the sample
)
