"""ewma_chart: a lasting shift of the mean, seen in a smoothed value that leaves its limits."""

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from pipelines.baseline import GO_ON, MEMORY, RELEARN, Baseline, learned_on, spread
from pipelines.batch import BAD, F8, I8, Batch
from pipelines.budget import condition, limit_now, note, run_length, settled, with_limit
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, joined
from pipelines.operator import Operator, column, rows_of
from pipelines.runlength import ewma_limits


class EwmaChart(Baseline):
    """How much is smoothed, and how far is too far (Roberts 1959; Lucas & Saccucci 1990)."""

    RAW_LIMIT: ClassVar = "limit"

    weight: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Share of the newest sample in the smoothed value: 0.05 to 0.2 for small "
        "shifts, 1 for no smoothing.",
    )
    limit: float = Field(
        3.0,
        gt=0,
        description="Limits in standard deviations of the smoothed value. With weight 0.1, "
        "unrelated samples signal falsely about each 369 samples for 2.7, 26000 for 4.",
    )

    def theory(self) -> F8:
        """(25,) limits by theory."""
        return ewma_limits(self.weight)


class State(NamedTuple):
    """(S,) what was learned from how many samples, and the smoothed distance from the mean."""

    learned: I8 = column("i8")
    peaks: F8 = column("f8", "learned_peaks")
    mean: F8 = column("f8")
    m2: F8 = column("f8")
    smooth: F8 = column("f8")  # in standard deviations
    taken: F8 = column("f8")  # 1 - (1 - weight)^(2 t) after t samples


Rows = rows_of(EwmaChart)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Learn, then smooth the distance from the mean and compare it with its own deviation.

    Equivalent to: the first `learn` known samples give mean and standard deviation (n - 1, not
    below min_std and min_std_share * |mean|) where they are not given, and no score. Of the t-th
    later one z = w (x - mean) / std + (1 - w) z, from 0 on, with w = weight; the score is z over
    its own deviation sqrt(w / (2 - w) (1 - (1 - w)^(2 t))), which is narrower in the beginning.
    Fields: x, smoothed value, and mean -/+ limit times that deviation in the unit of the series.
    After |score| > limit, t and z are 0 again (restart) and learning begins anew (relearn), or
    nothing happens (go_on). |x| > 1e150 is not known.

    With `false_alarms`, limit is that of `pipelines.budget`, a field; the score is over it. A baseline
    that is not given is then learned on from each sample that does not signal, with a memory of
    1/8 of the time of a false alarm; no restart before that time has been watched.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, x = batch.series[i], batch.value[i]
        p = params.row[s]
        score, expected, smoothed, reach = np.nan, np.nan, np.nan, np.nan
        known = abs(x) <= LARGEST and batch.quality[i] != BAD
        limit = params.limit[p]
        if known and params.false_alarms[p] > 0:
            limit = limit_now(
                state.peaks[s], params.theory[p], params.false_alarms[p], batch.t_ns[i]
            )
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
            w = params.weight[p]
            z = state.smooth[s] + w * ((x - expected) / std - state.smooth[s])
            taken = 1.0 - (1.0 - state.taken[s]) * (1.0 - w) * (1.0 - w)
            own = math.sqrt(w / (2.0 - w) * taken)
            score, smoothed, reach = z / own, expected + z * std, limit * own * std
            state.smooth[s], state.taken[s] = z, taken
            signal = abs(score) > limit
            if params.false_alarms[p] > 0:
                signal = signal and settled(state.peaks[s], params.false_alarms[p])
                if not signal and not given:
                    longest = run_length(state.peaks[s], params.false_alarms[p]) // MEMORY
                    state.mean[s], state.m2[s], state.learned[s] = learned_on(
                        state.mean[s], state.m2[s], state.learned[s], x,
                        max(int(longest), params.learn[p]),
                    )  # fmt: skip
                score = note(state.peaks[s], params.theory[p], params.false_alarms[p], score)
            if signal and params.on_signal[p] != GO_ON:
                state.smooth[s], state.taken[s] = 0.0, 0.0
                if params.on_signal[p] == RELEARN:
                    state.learned[s], state.mean[s], state.m2[s] = 0, 0.0, 0.0
        out.series[n], out.t_ns[n], out.start_ns[n] = s, batch.t_ns[i], batch.start_ns[i]
        out.value[n] = score
        out.quality[n] = batch.quality[i] if np.isfinite(score) else BAD
        out.fields[n, 0] = x if known else np.nan
        out.fields[n, 1] = smoothed
        out.fields[n, 2] = expected - reach
        out.fields[n, 3] = expected + reach
        if params.false_alarms[p] > 0:
            out.fields[n, 4] = limit if known else np.nan
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="ewma_chart",
    summary="Finds a lasting shift of the mean in a smoothed value that leaves its limits.",
    params=EwmaChart,
    state=State,
    rows=Rows,
    step=step,
    example="ewma_chart: {weight: 0.1, limit: 4, learn: 200, on_signal: go_on}",
    source="Roberts 1959; Lucas & Saccucci 1990",
    emits="score",
    fields=with_limit("input", "smoothed", "lower", "upper"),
    condition=condition,
)
