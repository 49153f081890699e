"""holt_winters: how far a sample is from what level, trend and time of the season foretell.

From one step to the next these are Winters' additive equations (1960) in error form, in which the
season learns from y - L - B of before (Hyndman & Athanasopoulos, 8.3). Steps are of time, not of
samples: a lost sample shifts no season.
"""

from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.units import Duration, duration_text
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.budget import Budgeted, condition, limit_now, note, with_limit
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, taken_in
from pipelines.operator import Operator, column, rows_of

SLOTS_MAX: Final = 2016
"""A week in steps of five minutes."""

MEMORY: Final = 30
"""The deviation is learned from the errors of a season, but of no fewer than these."""


class HoltWinters(Budgeted):
    """The season, how fast each part of the forecast learns, and how far off is too far."""

    EXTRA_ROWS: ClassVar = (*Budgeted.EXTRA_ROWS, "slots")
    SIZED_BY: ClassVar = (*Budgeted.SIZED_BY, "season", "every")

    season: Duration = Field(gt=0, description="What repeats itself: such as 1d, or 1w.")
    every: Duration = Field(
        gt=0, description="Step of time: the season has a value for each of its steps."
    )
    alpha: float = Field(0.1, ge=0, le=1, description="Share of an error that the level learns.")
    beta: float = Field(
        0.01, ge=0, le=1, description="Share of a change of the level that the trend learns."
    )
    gamma: float = Field(
        0.1, ge=0, le=1, description="Share of an error that the season learns for its step."
    )
    damping: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the trend that is left after each step: 1: a rise goes on as it "
        "was · 0.9: it levels off, so that a forecast over lost samples does not run away.",
    )
    k: float = Field(6.0, gt=0, description="Deviations of the error beyond which it is unusual.")
    min_samples: int = Field(30, ge=1, description="No score before so many errors are known.")
    on_anomaly: Literal["learn", "clip", "freeze"] = Field(
        "clip",
        description="What is learned of an unusual error: learn: all of it · clip: the largest "
        "usual one, so that a lasting change is learned slowly · freeze: nothing.",
    )
    min_std: float = Field(
        1e-9, gt=0, description="Floor of the deviation, in the unit of the series."
    )
    min_std_share: float = Field(
        1e-4, ge=0, lt=1, description="Floor of the deviation as a share of the forecast."
    )

    @model_validator(mode="after")
    def _steps(self) -> Self:
        if self.season % self.every or self.slots < 2:
            raise ValueError(
                f"season {duration_text(self.season)} is not 2 or more whole steps of "
                f"{duration_text(self.every)}"
            )
        if self.slots > SLOTS_MAX:
            least = duration_text(-(-self.season // SLOTS_MAX))
            raise ValueError(
                f"the season has {self.slots} steps, at most {SLOTS_MAX} are allowed: "
                f"take an `every` of {least} or more"
            )
        return self

    @property
    def slots(self) -> int:
        """Steps of a season."""
        return self.season // self.every

    @classmethod
    def extra_rows(cls, sets: list["HoltWinters"]) -> dict[str, Any]:
        """Array slots (R,), and those of a budget."""
        return super().extra_rows(sets) | {"slots": np.array([p.slots for p in sets], np.int64)}


class State(NamedTuple):
    """Per series the parts of its forecast and the spread of its errors."""

    season: F8 = column("f8", "slots")  # in the first season the samples themselves
    filled: U1 = column("u1", "slots")
    at: I8 = column("i8")  # step since 1970 of the last sample; in the first season its last step
    level: F8 = column("f8")
    trend: F8 = column("f8")  # per step
    var: F8 = column("f8")  # mean square of the errors, newer ones counting more
    errors: I8 = column("i8")
    peaks: F8 = column("f8", "learned_peaks")
    phase: U1 = column("u1")  # NOTHING, FIRST_SEASON or RUNNING


NOTHING, FIRST_SEASON, RUNNING = 0, 1, 2

Rows = rows_of(HoltWinters)


@kernel
def set_out(season: F8, filled: U1, slots: int) -> float:
    """Mean of the values of the first season of one series, of which their distances stay."""
    base, total, count = 0.0, 0.0, 0
    for k in range(slots):
        if filled[k] == 1:
            base = season[k] if count == 0 else base
            total += season[k] - base
            count += 1
    mean = base + total / count
    for k in range(slots):
        season[k] -= mean
    return mean


@kernel
def damped(damping: float, steps: int) -> tuple[float, float]:
    """How much of a trend adds up over `steps`, and how much is left then."""
    left = damping**steps
    return float(steps) if damping == 1.0 else damping * (1 - left) / (1 - damping), left


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Score each known sample against its forecast, then learn from the error.

    Equivalent to: with j = t // every, m = season / every and d = damping, samples of the first m
    steps from the first one on are kept by j % m (the last of each), their mean is the level L,
    what they differ by from it the season S, and the trend B is 0. Then, for a sample h steps
    after the one before (the first: after the end of the first season), L' = L + (d + ... + d^h)
    B, B becomes d^h B, the forecast is F = L' + S[j % m], e = x - F, the score
    e / max(std, min_std, min_std_share |F|), NaN before `min_samples` errors. It learns from e
    (or what `on_anomaly` makes of it): L = L' + alpha e, B += alpha beta e / h if h > 0, S += gamma
    e, and var += (e^2 - var) / min(number of errors, max(m, 30)), std = sqrt(var). Where S has no
    value yet it becomes x - L', without a score. Fields: x, F, and F -/+ k times that deviation.
    |x| > 1e150 is not known.
    With `false_alarms`, k is the limit of `pipelines.budget`, a field; the score is over k.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        score, forecast, reach, k = np.nan, np.nan, np.nan, params.k[p]
        known, budget = abs(x) <= LARGEST and batch.quality[i] != BAD, params.false_alarms[p]
        if known:
            if budget > 0:
                k = limit_now(state.peaks[s], params.theory[p], budget, t)
            slots, at = params.slots[p], t // params.every[p]
            j = at % slots
            if state.phase[s] == NOTHING:
                state.phase[s], state.at[s] = FIRST_SEASON, at + slots - 1
            elif state.phase[s] == FIRST_SEASON and at > state.at[s]:
                state.phase[s] = RUNNING
                state.level[s] = set_out(state.season[s], state.filled[s], slots)
            if state.phase[s] == FIRST_SEASON:
                state.season[s, j], state.filled[s, j] = x, 1
            else:
                steps = at - state.at[s]
                adds, left = damped(params.damping[p], steps)
                level = state.level[s] + adds * state.trend[s]
                state.trend[s], state.at[s] = left * state.trend[s], at
                if state.filled[s, j] == 0:
                    state.season[s, j], state.filled[s, j], state.level[s] = x - level, 1, level
                else:
                    forecast = level + state.season[s, j]
                    error, count = x - forecast, state.errors[s]
                    if count >= params.min_samples[p]:
                        floor = max(params.min_std[p], params.min_std_share[p] * abs(forecast))
                        std = max(np.sqrt(state.var[s]), floor)
                        score, reach = error / std, k * std
                        usual = reach if score > 0 else -reach
                        error = taken_in(params.on_anomaly[p], error, score, k, usual)
                        if budget > 0:
                            score = note(state.peaks[s], params.theory[p], budget, score)
                    if np.isfinite(error):
                        memory = min(count + 1, max(slots, MEMORY))
                        state.var[s] += (error * error - state.var[s]) / memory
                        state.errors[s] = count + 1
                    else:
                        error = 0.0
                    state.level[s] = level + params.alpha[p] * error
                    state.season[s, j] += params.gamma[p] * error
                    if steps > 0:
                        state.trend[s] += params.alpha[p] * params.beta[p] * error / steps
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n], out.quality[n] = score, batch.quality[i] if np.isfinite(score) else BAD
        out.fields[n, 0], out.fields[n, 1] = x if known else np.nan, forecast
        out.fields[n, 2], out.fields[n, 3] = forecast - reach, forecast + reach
        if budget > 0:
            out.fields[n, 4] = k if known else np.nan
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="holt_winters",
    summary="Scores each sample by its distance from a forecast of level, trend and season.",
    params=HoltWinters,
    state=State,
    rows=Rows,
    step=step,
    example="holt_winters: {season: 1d, every: 15m, k: 6}",
    source="Winters 1960, in the error form of Hyndman & Athanasopoulos, 8.3",
    emits="score",
    fields=with_limit("input", "expected", "lower", "upper"),
    condition=condition,
)
