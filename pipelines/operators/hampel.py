"""hampel: replaces values that lie far from the recent median."""

from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params
from pipelines.batch import BAD, F8, I8, UNCERTAIN, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import SINGLE, Makes, Operator, column, rows_of
from pipelines.operators.mad import enter, leave, middle_and_spread

MEDIAN, NULL = 0, 1


class Hampel(Params):
    """What a value is compared with, how far is too far, and what stands in for it."""

    n: int = Field(
        31, ge=3, le=1001, description="Samples before it that a value is compared with."
    )
    k: float = Field(
        6.0, gt=0, description="Scaled median absolute deviations beyond which it is replaced."
    )
    replace: Literal["median", "null"] = Field(
        "median", description="median: by the median, as uncertain · null: by a value not known."
    )
    min_samples: int = Field(
        10, ge=1, description="Every value passes before there are this many others."
    )
    min_mad: float = Field(
        1e-9,
        gt=0,
        description="Floor of the scaled deviation, in the unit of the series; "
        "give the sensor's resolution where its value often stands still.",
    )
    min_mad_share: float = Field(
        1e-4, ge=0, lt=1, description="Floor of the scaled deviation as a share of the median."
    )

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.min_samples > self.n:
            raise ValueError(f"min_samples {self.min_samples} is more than n {self.n}")
        return self


class State(NamedTuple):
    """Per series its last n values, in order of time and in order of size."""

    x: F8 = column("f8", "n")  # position p at slot p % n, as they came
    ordered: F8 = column("f8", "n")  # the same values, ascending
    seen: I8 = column("i8")
    replaced: I8 = column("i8", SINGLE)


Rows = rows_of(Hampel)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Pass each known sample on, or what stands in for it.

    Equivalent to: `past` is the n known samples before this one, as they came; `mad = 1.4826 *
    median(|past - median(past)|)`, at least min_mad and min_mad_share * |median(past)|; an x with
    |x - median(past)| > k mad becomes median(past), UNCERTAIN at best, or NaN, and is counted in
    `replaced`. While `past` has fewer than `min_samples`, x passes. As x enters the past as it
    came, a lasting change passes once it makes up half of it. |x| > 1e150 is not known.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, x, quality = batch.series[i], batch.value[i], batch.quality[i]
        y = x
        if abs(x) <= LARGEST and quality != BAD:
            p, seen = params.row[s], state.seen[s]
            longest = params.n[p]
            size = min(seen, longest)
            if size >= params.min_samples[p]:
                median, mad = middle_and_spread(state.ordered[s], size)
                mad = max(mad, params.min_mad[p], params.min_mad_share[p] * abs(median))
                if abs(x - median) > params.k[p] * mad:
                    state.replaced[0] += 1
                    y, quality = median, max(quality, UNCERTAIN)
                    if params.replace[p] == NULL:
                        y, quality = np.nan, BAD
            if size == longest:
                leave(state.ordered[s], size, state.x[s, seen % longest])
                size -= 1
            enter(state.ordered[s], size, x)
            state.x[s, seen % longest] = x
            state.seen[s] = seen + 1
        else:
            y, quality = np.nan, BAD
        out.series[n], out.t_ns[n], out.start_ns[n] = s, batch.t_ns[i], batch.start_ns[i]
        out.value[n], out.quality[n] = y, quality
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="hampel",
    summary="Replaces single values that lie far from the recent median.",
    params=Hampel,
    state=State,
    rows=Rows,
    step=step,
    makes=Makes.BETWEEN,
    example="hampel: {n: 31, k: 6}",
    source="Hampel 1974; Pearson 2002",
)
