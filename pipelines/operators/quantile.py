"""quantile: values that a share of the samples of each window stays below."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, GOOD, I4, I8, U1, UNCERTAIN, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import RING, SINGLE, Operator, column, rows_of
from pipelines.series import NEVER
from pipelines.sketch import NEGATIVE, POSITIVE, count_in, empty, put_in_order, quantiles

REACH: Final = 10.24
"""Logarithm of what the bins reach over at full accuracy: a factor of 28 000 on each side of 0."""

DDSKETCH = 0


class Quantile(Params):
    """Which quantiles of which windows, and how accurate."""

    EXTRA_ROWS: ClassVar = ("bins", "chosen", "width")
    SIZED_BY: ClassVar = ("sketch", "accuracy")

    window: Duration = Field(
        gt=0, description="Length of a window; windows begin at whole multiples since 1970 UTC."
    )
    q: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.5, 0.95, 0.99),
        min_length=1,
        max_length=16,
        description="Shares of the samples: 0.95 is the value that 95 % stay below; the first is "
        "the value of the window.",
    )
    sketch: Literal["ddsketch", "exact"] = Field(
        "ddsketch",
        description="ddsketch: memory and time of a sample are bounded, each quantile is off by "
        "the share `accuracy` of itself at most · exact: all samples of the window are kept.",
    )
    accuracy: Literal["0.1%", "0.2%", "0.5%", "1%", "2%", "5%", "10%"] = Field(
        "1%", description="For ddsketch: largest error, as a share of the value. 1% takes 4 KiB."
    )
    smallest: float = Field(
        1e-9, gt=0, description="For ddsketch: what is nearer to zero than this counts as 0."
    )
    offset: Duration = Field(0, description="All windows begin this much later.")

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.q)) < len(self.q):
            raise ValueError("q names one quantile twice")
        return self

    @property
    def width(self) -> float:
        """Logarithm of the ratio between the bounds of a bin."""
        return 2 * math.atanh(float(self.accuracy[:-1]) / 100)

    @classmethod
    def extra_rows(cls, sets: Sequence["Quantile"]) -> dict[str, Any]:
        """Arrays bins (R,) i8 and width (R,) f8, and chosen (R, k) f8: the quantiles."""
        bins = [1 if p.sketch == "exact" else math.ceil(REACH / p.width) for p in sets]
        return {
            "bins": np.array(bins, np.int64),
            "chosen": np.array([p.q for p in sets], np.float64),
            "width": np.array([p.width for p in sets], np.float64),
        }


class State(NamedTuple):
    """Per series its open window: the bins of a sketch, see `pipelines.sketch`, or all samples."""

    positive: I4 = column("i4", "bins")
    negative: I4 = column("i4", "bins")
    base: I8 = column("i8", 2)
    least: I8 = column("i8", 2)
    most: I8 = column("i8", 2)
    filled: I8 = column("i8", 2)
    zeros: I8 = column("i8")
    level: I8 = column("i8")
    x: F8 = column("f8", RING)  # exact: the samples, in any order, from slot 0 on
    first: I8 = column("i8")
    seen: I8 = column("i8")
    samples: I8 = column("i8")
    low: F8 = column("f8")
    high: F8 = column("f8")
    quality: U1 = column("u1")  # the worst of its samples
    begun: U1 = column("u1")
    born_ns: I8 = column("i8")  # the first sample of all
    open: I8 = column("i8")  # the window, counted since 1970
    shut: I8 = column("i8")  # windows before this one are closed
    late: I8 = column("i8", SINGLE)  # samples whose window had closed
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(Quantile)


@kernel
def close(s: int, state: State, params: Any, out: Batch) -> None:
    """Give out the open window of series `s`, and empty it."""
    p, n = params.row[s], out.count[0]
    width, k = params.width[p] * (1 << state.level[s]), params.chosen.shape[1]
    exact, count = params.sketch[p] != DDSKETCH, state.seen[s] - state.first[s]
    if exact:
        put_in_order(state.x[s], count)
        for j in range(k):
            at = (count - 1) * params.chosen[p, j]
            low, high = state.x[s, int(at)], state.x[s, min(int(at) + 1, count - 1)]
            out.fields[n, j] = low + (high - low) * (at - int(at))
    else:
        quantiles(state, s, width, params.chosen[p], out.fields[n])
    out.fields[n, k] = state.samples[s]
    out.fields[n, k + 1] = 0.0 if exact else math.tanh(width / 2)
    start_ns = state.open[s] * params.window[p] + params.offset[p]
    out.series[n], out.t_ns[n], out.start_ns[n] = s, start_ns + params.window[p], start_ns
    out.value[n] = out.fields[n, 0]
    out.quality[n] = UNCERTAIN if start_ns < state.born_ns[s] else state.quality[s]
    out.count[0] = n + 1
    empty(state, s)
    state.samples[s] = 0
    state.first[s], state.seen[s] = 0, 0


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Close the window that ends by the time of a known sample, then count it in its own.

    Equivalent to: windows [k window + offset, (k + 1) window + offset) with at least one known
    sample give a row once the series' time is at or past their end; fields the quantiles q of
    their samples, the number of samples, and the error; value the first quantile. exact: numpy's
    quantile (method 'linear'), error 0. ddsketch: the same interpolation between y and z, which
    stand for the samples of rank floor and ceil of (n - 1) q: 0 where |x| < smallest, else
    sign(x) 2 r^k / (1 + r) with r^(k-1) < |x| <= r^k, but never beyond the extremes of the
    window, which stand for themselves. r is (1 + accuracy) / (1 - accuracy), squared until the k
    of each sign lie less than `bins` apart; error is (r - 1) / (r + 1), and |y - x| <= error |x|.
    Quality is the worst of the
    samples', UNCERTAIN if the window began before the first known sample of the series. A sample
    of a closed window is left out and counted. |x| > 1e150 is not known; such count nowhere.
    """
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        if not abs(x) <= LARGEST or batch.quality[i] == BAD:
            continue
        p = params.row[s]
        w = (t - params.offset[p]) // params.window[p]
        if state.begun[s] == 0:
            state.begun[s], state.born_ns[s], state.shut[s] = 1, t, w
        if w < state.shut[s]:
            state.late[0] += 1
            continue
        if state.samples[s] > 0 and w > state.open[s]:
            close(s, state, params, out)
        state.shut[s], state.open[s] = w, w
        if params.sketch[p] != DDSKETCH:
            width = state.x.shape[1]
            if state.seen[s] - state.first[s] >= width:
                if state.ring_fixed[0] == 0:
                    return i
                state.truncated[0] += 1
                state.first[s] += 1
            state.x[s, state.seen[s] % width] = x
            state.seen[s] += 1
        elif abs(x) < params.smallest[p]:
            state.zeros[s] += 1
        else:
            side = NEGATIVE if x < 0 else POSITIVE
            counts = state.negative if side == NEGATIVE else state.positive
            key = math.ceil(math.log(abs(x)) / params.width[p])
            count_in(counts, state, s, side, key, params.bins[p])
        if state.samples[s] == 0:
            state.low[s], state.high[s], state.quality[s] = x, x, GOOD
        state.low[s], state.high[s] = min(state.low[s], x), max(state.high[s], x)
        state.quality[s] = max(state.quality[s], batch.quality[i])
        state.samples[s] += 1
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Close the windows that the clock of their series has passed.

    Equivalent to: the row that `step` would give for a sample at `clock_ns`, without the sample.
    """
    for s in range(first, last):
        if state.begun[s] == 0 or clock_ns[s] == NEVER:
            continue
        p = params.row[s]
        until = (clock_ns[s] - params.offset[p]) // params.window[p]
        if state.samples[s] > 0 and until > state.open[s]:
            close(s, state, params, out)
        state.shut[s] = max(state.shut[s], until)


def fields(params: Quantile) -> tuple[str, ...]:
    """p50, p99.9 and so on; the number of samples; the error as a share of a value."""
    return (*(f"p{100 * q:g}" for q in params.q), "samples", "error")


OPERATOR = Operator(
    name="quantile",
    summary="Quantiles of the samples of each minute, hour or other window, in bounded memory.",
    params=Quantile,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="quantile: {window: 1m, q: [0.5, 0.95, 0.99]}",
    source="DDSketch: Masson, Rim & Lee 2019; UDDSketch: Epicoco et al. 2020",
    emits="window",
    fields=fields,
)
