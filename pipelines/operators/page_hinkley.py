"""page_hinkley: a change of the mean against its own past, wherever that past lay.

It takes no budget of false alarms as `cusum` does: with little slack its sums walk at random, and
one excursion of theirs lasts longer than what there is to learn from.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import When
from pipelines.baseline import GO_ON, RELEARN, Deviation, spread
from pipelines.batch import BAD, F8, I8, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, joined
from pipelines.operator import Operator, column, rows_of


class PageHinkley(Deviation):
    """Which change matters, and how sure it must be (Page 1954; Gama et al. 2004)."""

    delta: float = Field(
        0.005, ge=0, description="Change of the mean, in standard deviations, that is no change."
    )
    threshold: float = Field(
        50.0,
        gt=0,
        description="Sum that signals, in standard deviations. With the default delta, unrelated "
        "samples signal falsely about each 250 samples for 20, 1600 for 50; with delta 0.25, each "
        "22000 for 50.",
    )
    alpha: float = Field(
        0.9999, gt=0, le=1, description="Share of the sum that stays from sample to sample."
    )
    min_samples: int = Field(
        30, ge=1, description="No score before so many samples since the beginning or restart."
    )

    @model_validator(mode="after")
    def _can_relearn(self) -> Self:
        if self.on_signal == "relearn" and self.std is not None:
            raise ValueError("relearn finds a new deviation: leave out `std`, or use restart")
        return self


class State(NamedTuple):
    """(S,) what was learned from how many samples; samples, mean and sums since the restart."""

    learned: I8 = column("i8")
    mean: F8 = column("f8")
    m2: F8 = column("f8")
    seen: I8 = column("i8")
    middle: F8 = column("f8")  # mean of those `seen`
    up: F8 = column("f8")
    up_min: F8 = column("f8")
    down: F8 = column("f8")
    down_max: F8 = column("f8")


Rows = rows_of(PageHinkley)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Learn the deviation, then add up by how much samples lie beside the mean so far.

    Equivalent to: without `std`, the first `learn` known samples give it (n - 1, not below
    min_std and min_std_share * |mean|), and no score. With d = (x - mean of the samples since the
    start, this one too) / std of each later one: up = alpha * up + d - delta, down = alpha *
    down + d + delta, from 0 on; the score is the larger of up - min(up) and max(down) - down over
    the samples since the start, the latter negative; NaN for the first min_samples - 1 of them.
    Fields: x, that mean. A sample with |score| > threshold is the last before a new start
    (restart) with new learning (relearn), or nothing happens (go_on). |x| > 1e150 is not known.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, x = batch.series[i], batch.value[i]
        p = params.row[s]
        score, expected = np.nan, np.nan
        known = abs(x) <= LARGEST and batch.quality[i] != BAD
        if known and np.isnan(params.std[p]) and state.learned[s] < params.learn[p]:
            state.learned[s] += 1
            state.mean[s], state.m2[s] = joined(state.mean[s], state.m2[s], state.learned[s], x)
        elif known:
            std = spread(
                params.std[p], state.mean[s], state.m2[s], state.learned[s], params.min_std[p],
                params.min_std_share[p],
            )  # fmt: skip
            seen = state.seen[s] + 1
            expected = state.middle[s] + (x - state.middle[s]) / seen
            d = (x - expected) / std
            up = params.alpha[p] * state.up[s] + d - params.delta[p]
            down = params.alpha[p] * state.down[s] + d + params.delta[p]
            up_min = min(state.up_min[s], up) if seen > 1 else up
            down_max = max(state.down_max[s], down) if seen > 1 else down
            if seen >= params.min_samples[p]:
                score = up - up_min
                if down_max - down > score:
                    score = down - down_max
            if abs(score) > params.threshold[p] and params.on_signal[p] != GO_ON:
                seen, up, down = 0, 0.0, 0.0
                if params.on_signal[p] == RELEARN:
                    state.learned[s], state.mean[s], state.m2[s] = 0, 0.0, 0.0
            state.seen[s], state.middle[s] = seen, expected if seen > 0 else 0.0
            state.up[s], state.up_min[s] = up, up_min
            state.down[s], state.down_max[s] = down, down_max
        out.series[n], out.t_ns[n], out.start_ns[n] = s, batch.t_ns[i], batch.start_ns[i]
        out.value[n] = score
        out.quality[n] = batch.quality[i] if np.isfinite(score) else BAD
        out.fields[n, 0] = x if known else np.nan
        out.fields[n, 1] = expected
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="page_hinkley",
    summary="Finds a change of the mean against its own past, by adding up what lies beside it.",
    params=PageHinkley,
    state=State,
    rows=Rows,
    step=step,
    example="page_hinkley: {threshold: 50, delta: 0.25, learn: 200}",
    source="Page 1954; Gama et al. 2004",
    emits="score",
    fields=lambda params: ("input", "expected"),  # noqa: ARG005 - same for all
    condition=lambda params: When(outside=(-params.threshold, params.threshold)),
)
