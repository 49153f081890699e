"""cusum: a small lasting shift of the mean, added up until it cannot be chance."""

from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from config.model import When
from pipelines.baseline import GO_ON, RELEARN, Baseline, spread
from pipelines.batch import BAD, F8, I8, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, joined
from pipelines.operator import Operator, column, rows_of


class Cusum(Baseline):
    """Which shift matters, and how sure it must be (Page 1954; Montgomery)."""

    k: float = Field(
        0.5,
        ge=0,
        description="Slack in standard deviations: half the shift that shall be found fastest.",
    )
    h: float = Field(
        5.0,
        gt=0,
        description="Sum that signals, in standard deviations. With k 0.5, unrelated samples "
        "signal falsely about each 168 samples for 4, 465 for 5, 9500 for 8, 70000 for 10.",
    )


class State(NamedTuple):
    """(S,) what was learned from how many samples, and the sums above and below it."""

    learned: I8 = column("i8")
    mean: F8 = column("f8")
    m2: F8 = column("f8")
    high: F8 = column("f8")
    low: F8 = column("f8")


Rows = rows_of(Cusum)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Learn, then add up by how much samples lie above and below the mean.

    Equivalent to: the first `learn` known samples give mean and standard deviation (n - 1, not
    below min_std and min_std_share * |mean|) where they are not given, and no score. With
    z = (x - mean) / std of each later one: high = max(0, high + z - k), low = max(0, low - z - k)
    from 0 on; the score is the larger of both, that of `low` negative. Fields: x, mean, high,
    low. After |score| > h both are 0 again (restart) and learning begins anew (relearn), or
    nothing happens (go_on). |x| > 1e150 is not known.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, x = batch.series[i], batch.value[i]
        p = params.row[s]
        score, expected, high, low = np.nan, np.nan, np.nan, np.nan
        known = abs(x) <= LARGEST and batch.quality[i] != BAD
        given = np.isfinite(params.mean[p]) and np.isfinite(params.std[p])
        if known and not given and state.learned[s] < params.learn[p]:
            state.learned[s] += 1
            state.mean[s], state.m2[s] = joined(state.mean[s], state.m2[s], state.learned[s], x)
        elif known:
            expected = params.mean[p] if np.isfinite(params.mean[p]) else state.mean[s]
            std = spread(
                params.std[p], expected, state.m2[s], state.learned[s], params.min_std[p],
                params.min_std_share[p],
            )  # fmt: skip
            z = (x - expected) / std
            high = max(0.0, state.high[s] + z - params.k[p])
            low = max(0.0, state.low[s] - z - params.k[p])
            score = high if high >= low else -low
            state.high[s], state.low[s] = high, low
            if abs(score) > params.h[p] and params.on_signal[p] != GO_ON:
                state.high[s], state.low[s] = 0.0, 0.0
                if params.on_signal[p] == RELEARN:
                    state.learned[s], state.mean[s], state.m2[s] = 0, 0.0, 0.0
        out.series[n], out.t_ns[n], out.start_ns[n] = s, batch.t_ns[i], batch.start_ns[i]
        out.value[n] = score
        out.quality[n] = batch.quality[i] if np.isfinite(score) else BAD
        out.fields[n, 0] = x if known else np.nan
        out.fields[n, 1] = expected
        out.fields[n, 2] = high
        out.fields[n, 3] = low
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="cusum",
    summary="Finds a small lasting shift of the mean by adding up what lies beside it.",
    params=Cusum,
    state=State,
    rows=Rows,
    step=step,
    example="cusum: {k: 0.5, h: 8, learn: 200}",
    emits="score",
    fields=lambda params: ("input", "expected", "high", "low"),  # noqa: ARG005 - same for all
    condition=lambda params: When(outside=(-params.h, params.h)),
)
