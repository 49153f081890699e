"""ewma: a mean in which a sample counts half after each half-life."""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, Batch, handed_on
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import Makes, Operator, column, rows_of

LN2: Final = math.log(2.0)


class Ewma(Params):
    """How fast the past is forgotten."""

    halflife: Duration = Field(
        gt=0, description="After this time a sample counts half as much, however many came since."
    )
    bias_correct: bool = Field(
        True,
        description="true: the weighted mean of all samples so far · false: the first sample "
        "counts as if its value had held for ever before.",
    )


class State(NamedTuple):
    """(S,) the mean, the sum of weights behind it (0: no sample yet), and when."""

    mean: F8 = column("f8")
    weight: F8 = column("f8")
    last_ns: I8 = column("i8")


Rows = rows_of(Ewma)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Give out the mean of its series with each known sample.

    Equivalent to: sum(w x) / sum(w) over the known samples so far, w = 2^(-age / halflife);
    without `bias_correct` m = x at the first, then m = d m + (1 - d) x with d = 2^(-time since
    the last known sample / halflife). |x| > 1e150 is not known; such samples give NaN.
    """
    n, last = out.count[0] - first, batch.series.size
    gap, of, decay = 0, -1, 1.0
    for i in range(first, last):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        y, quality = np.nan, batch.quality[i]
        if abs(x) <= LARGEST and quality != BAD:
            p, weight, y = params.row[s], state.weight[s], x
            if weight == 0:
                weight = 1.0
            else:
                if t - state.last_ns[s] != gap or p != of:  # most series send at one pace
                    gap, of = t - state.last_ns[s], p
                    decay = math.exp(-LN2 * gap / params.halflife[p])
                y = state.mean[s]
                if params.bias_correct[p] == 1:
                    weight = weight * decay + 1.0
                    y += (x - y) / weight
                else:
                    y += (x - y) * (1.0 - decay)
            state.mean[s], state.weight[s], state.last_ns[s] = y, weight, t
        else:
            quality = BAD
        out.value[n + i], out.quality[n + i] = y, quality
    handed_on(batch, first, last, out, n + first)
    out.count[0] = n + last
    return batch.series.size


OPERATOR = Operator(
    name="ewma",
    summary="Smooths by a mean that forgets by time, not by number of samples.",
    params=Ewma,
    state=State,
    rows=Rows,
    step=step,
    makes=Makes.BETWEEN,
    example="ewma: {halflife: 30s}",
    source="Roberts 1959, with weights by time",
)
