"""forecast: how long until a limit is reached, if things go on like this."""

from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND, When
from config.params import Params, Window
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, slid_line
from pipelines.operator import RING, SINGLE, Operator, column, rows_of

FAR = 10
"""Times within which a limit is told are this many horizons at most."""


class Forecast(Params):
    """Which limit, how far ahead, and when the past is straight enough to be drawn on."""

    above: float | None = Field(None, description="Limit that a rising value must not reach.")
    below: float | None = Field(None, description="Limit that a falling value must not reach.")
    horizon: Duration = Field(
        gt=0, description="Alert when the limit would be reached within this time, such as 4h."
    )
    window: Window = Field(
        description="Past that the line is drawn through: a time such as 1h, or so many samples."
    )
    min_r2: float = Field(
        0.5,
        ge=0,
        le=1,
        description="The line must explain this share of the variance, else the value leads "
        "nowhere.",
    )
    min_samples: int = Field(
        10, ge=2, description="Not known before the window holds this many samples."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("give a limit: above: 90, below: 10, or both")
        if self.above is not None and self.below is not None and self.below >= self.above:
            raise ValueError(f"below {self.below} must be less than above {self.above}")
        if 0 < self.window.n < self.min_samples:
            raise ValueError(
                f"min_samples {self.min_samples} is more than the window's {self.window.n} samples"
            )
        return self


class State(NamedTuple):
    """Per series the samples of its window and the line through them."""

    t_ns: I8 = column("i8", RING)
    x: F8 = column("f8", RING)
    first: I8 = column("i8")
    seen: I8 = column("i8")
    line: F8 = column("f8", 5)  # see numerics.ring_line
    base_ns: I8 = column("i8")  # time zero of `line`
    ring_fixed: U1 = column("u1", SINGLE)
    truncated: I8 = column("i8", SINGLE)


Rows = rows_of(Forecast)


@kernel
def seconds_to(gap: float, slope: float, straight: bool, far: float) -> float:
    """Seconds until a line with `slope` has closed `gap`; `far` when later or never."""
    if gap <= 0:
        return 0.0
    if straight and slope * far > gap:
        return gap / slope
    return far


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Draw a line through the window and say when it reaches the limit.

    Equivalent to: line = polyfit(seconds, values, 1) over the known samples in (t - D, t], or
    the last n; the value is the time in seconds from t until the line reaches `above` or `below`,
    the sooner of both: 0 when at t it is there, else 10 * horizon when it goes another way, takes
    longer than that, or explains less than `min_r2` of the variance (of none: nothing). NaN while
    there are fewer than `min_samples` or all times are equal. Fields: x, the line at t + horizon,
    its slope per second, its share of the variance. |x| > 1e150 is not known.
    """
    n, width = out.count[0], state.x.shape[1]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p, y, slope, ahead, r2 = params.row[s], np.nan, np.nan, np.nan, np.nan
        known = abs(x) <= LARGEST and batch.quality[i] != BAD
        if known:
            oldest, newest = state.first[s], state.seen[s]
            keep = oldest
            if params.window_n[p] > 0:
                keep = max(oldest, newest + 1 - params.window_n[p])
            else:
                while keep < newest and state.t_ns[s, keep % width] <= t - params.window_ns[p]:
                    keep += 1
            # One slot stays free: what leaves is still needed when the new sample is in.
            if newest - keep >= width - 1:
                if state.ring_fixed[0] == 0:
                    out.count[0] = n
                    return i
                state.truncated[0] += newest - keep - width + 2
                keep = newest - width + 2
            state.t_ns[s, newest % width], state.x[s, newest % width] = t, x
            slope = slid_line(
                state.t_ns[s], state.x[s], oldest, keep, newest + 1, state.line[s], state.base_ns, s
            )
            state.first[s], state.seen[s] = keep, newest + 1
            if newest - keep + 1 < params.min_samples[p]:
                slope = np.nan
            if np.isfinite(slope):
                at = (t - state.base_ns[s]) * 1e-9 - state.line[s, 0]
                now, horizon = state.line[s, 1] + slope * at, params.horizon[p] * 1e-9
                ahead, r2 = now + slope * horizon, 0.0
                if state.line[s, 3] > 0:
                    r2 = min(1.0, slope * state.line[s, 4] / state.line[s, 3])
                y, straight = FAR * horizon, r2 >= params.min_r2[p]
                if np.isfinite(params.above[p]):
                    y = seconds_to(params.above[p] - now, slope, straight, y)
                if np.isfinite(params.below[p]):
                    y = min(y, seconds_to(now - params.below[p], -slope, straight, FAR * horizon))
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n] = y
        out.quality[n] = batch.quality[i] if np.isfinite(y) else BAD
        out.fields[n, 0], out.fields[n, 1] = x if known else np.nan, ahead
        out.fields[n, 2], out.fields[n, 3] = slope, r2
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="forecast",
    summary="Seconds until the value reaches a limit, if it goes on as in the recent past.",
    params=Forecast,
    state=State,
    rows=Rows,
    step=step,
    example="forecast: {above: 90, horizon: 4h, window: 1h}",
    emits="score",
    fields=lambda params: ("input", "predicted", "slope", "r2"),  # noqa: ARG005 - same for all
    condition=lambda params: When(below=params.horizon / SECOND),
)
