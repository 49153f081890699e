"""cusum: a small lasting shift of the mean, added up until it cannot be chance."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from pipelines.baseline import GO_ON, MEMORY, RELEARN, Baseline, learned_on, spread
from pipelines.batch import BAD, F8, I8, Batch
from pipelines.budget import condition, limit_now, note, run_length, settled, with_limit
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, joined
from pipelines.operator import Operator, column, rows_of
from pipelines.runlength import cusum_limits


class Cusum(Baseline):
    """Which shift matters, and how sure it must be (Page 1954; Montgomery)."""

    RAW_LIMIT: ClassVar = "h"

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

    def theory(self) -> F8:
        """(25,) limits by theory."""
        return cusum_limits(self.k)


class State(NamedTuple):
    """(S,) what was learned from how many samples, and the sums above and below it."""

    learned: I8 = column("i8")
    peaks: F8 = column("f8", "learned_peaks")
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

    With `false_alarms`, h is that of `pipelines.budget`, a field; the score is over it. A baseline
    that is not given is then learned on from each sample that does not signal, with a memory of
    1/8 of the time of a false alarm; no restart before that time has been watched.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, x = batch.series[i], batch.value[i]
        p = params.row[s]
        score, expected, high, low = np.nan, np.nan, np.nan, np.nan
        known = abs(x) <= LARGEST and batch.quality[i] != BAD
        h = params.h[p]
        if known and params.false_alarms[p] > 0:
            h = limit_now(state.peaks[s], params.theory[p], params.false_alarms[p], batch.t_ns[i])
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
            signal = abs(score) > h
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
        if params.false_alarms[p] > 0:
            out.fields[n, 4] = h if known else np.nan
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
    source="Page 1954; limits after Siegmund 1985",
    emits="score",
    fields=with_limit("input", "expected", "high", "low"),
    condition=condition,
)
