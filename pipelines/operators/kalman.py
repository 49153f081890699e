"""kalman: the likeliest true value behind a noisy one, where it drifts and how noisy it is known."""

from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Params
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import Makes, Operator, column, rows_of

LEVEL, TREND = 0, 1


class Kalman(Params):
    """How the true value moves, and how far the sensor is off."""

    q: float = Field(
        ge=0,
        description="Variance by which the true value (model: trend: its change per second) "
        "drifts in a second; 0: it does not. Larger follows faster.",
    )
    r: float = Field(
        gt=0,
        description="Variance of the sensor's noise, the square of its standard deviation.",
    )
    model: Literal["level", "trend"] = Field(
        "level",
        description="level: the true value drifts to and fro · trend: it rises or falls for a "
        "while, and its change per second drifts.",
    )


class State(NamedTuple):
    """Per series the estimate after its last known sample."""

    last_ns: I8 = column("i8")
    level: F8 = column("f8")
    slope: F8 = column("f8")  # per second
    p_level: F8 = column("f8")  # variance of `level`
    p_both: F8 = column("f8")  # covariance of the two
    p_slope: F8 = column("f8")  # variance of `slope`
    found: U1 = column("u1")  # 0: nothing known yet, 1: the level, 2: the slope too


Rows = rows_of(Kalman)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Give out the estimate of the true value with each known sample.

    Equivalent to: the least squares estimate of the last level, of all levels l (and slopes b)
    with weight 1/r on x - l at each known sample and 1/(q dt) on l - l0 between two of them; for
    trend with the inverse of q [[dt^3/3, dt^2/2], [dt^2/2, dt]] on (l - l0 - b0 dt, b - b0), dt
    in seconds; nothing is assumed of where they began (exact diffuse start), and no slope while
    all samples have one time. Kalman 1960; Durbin & Koopman 2012, chapters 2, 3 and 5.
    |x| > 1e150 is not known; such samples give NaN.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        known = abs(x) <= LARGEST and batch.quality[i] != BAD
        if known:
            p, dt = params.row[s], (t - state.last_ns[s]) / 1e9
            q, r, found = params.q[p], params.r[p], state.found[s]
            trend = params.model[p] == TREND
            state.last_ns[s] = t
            if found == 0:
                state.level[s], state.p_level[s], state.found[s] = x, r, 1
            elif found == 1 and trend and dt > 0:
                # The limit for a slope of boundless variance: a line through both.
                state.slope[s] = (x - state.level[s]) / dt
                state.p_slope[s] = (state.p_level[s] + r) / (dt * dt) + q * dt / 3
                state.level[s], state.p_level[s], state.p_both[s] = x, r, r / dt
                state.found[s] = 2
            else:
                level, slope = state.level[s], state.slope[s]
                p_level, p_both, p_slope = state.p_level[s], state.p_both[s], state.p_slope[s]
                if found == 2:
                    level += slope * dt
                    p_level += dt * (2 * p_both + dt * p_slope) + q * dt * dt * dt / 3
                    p_both += dt * p_slope + q * dt * dt / 2
                    p_slope += q * dt
                else:
                    p_level += q * dt  # a trend of unknown slope is here with dt = 0 only
                gain, rest = p_level / (p_level + r), r / (p_level + r)
                state.level[s] = level + gain * (x - level)
                state.slope[s] = slope + p_both / (p_level + r) * (x - level)
                state.p_slope[s] = p_slope - p_both * p_both / (p_level + r)
                state.p_level[s], state.p_both[s] = rest * p_level, rest * p_both
        out.series[n], out.t_ns[n], out.start_ns[n] = s, t, batch.start_ns[i]
        out.value[n] = state.level[s] if known else np.nan
        out.quality[n] = batch.quality[i] if known else BAD
        n += 1
    out.count[0] = n
    return batch.series.size


def _makes(params: Kalman) -> Makes:
    return Makes.BETWEEN if params.model == "level" else Makes.OTHER


OPERATOR = Operator(
    name="kalman",
    summary="Smooths by how fast the value can change and how noisy its sensor is.",
    params=Kalman,
    state=State,
    rows=Rows,
    step=step,
    makes=_makes,
    example="kalman: {q: 0.01, r: 0.25}",
    source="Kalman 1960; Durbin & Koopman 2012, chapters 2, 3 and 5",
)
