"""correlate: whether two series of a group still move together as they used to."""

import math
from typing import Any, Final, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND, Name, When
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, GroupedBatch
from pipelines.instants import arrived, worst
from pipelines.jit import kernel
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.operators.peer import group_of
from pipelines.series import Labels

LN2: Final = math.log(2)
HOUR: Final = 3600 * SECOND


class Correlate(Params):
    """Which two series, how fast their past is forgotten, and how much change is too much."""

    of: Name = Field(
        "channel", description="Label that tells the two apart: channel, or such as device."
    )
    left: str = Field(min_length=1, description="Value of that label in one series.")
    right: str = Field(min_length=1, description="Value of that label in the other series.")
    drop: float = Field(
        0.5, gt=0, le=2, description="Change of the correlation beyond which it is unusual."
    )
    halflife: Duration = Field(
        HOUR // 2, gt=0, description="After this time a pair counts half in the correlation."
    )
    baseline: float | None = Field(
        None, ge=-1, le=1, description="Usual correlation; without it, that of the longer past."
    )
    baseline_halflife: Duration = Field(
        24 * HOUR,
        gt=0,
        description="After this time a pair counts half in the longer past. A lasting change is "
        "the new normal after some of these.",
    )
    min_pairs: int = Field(
        20,
        ge=3,
        description="No score while the weights of the pairs amount to fewer of equal weight; "
        "a halflife with n pairs in it amounts to at most 2.9 n.",
    )
    max_age: Duration = Field(
        300 * SECOND,
        gt=0,
        description="No pair while the last sample of one of the two is older than this.",
    )
    min_std_share: float = Field(
        1e-6,
        ge=0,
        lt=1,
        description="A series whose standard deviation is not more than this share of its mean "
        "stands still: it has no correlation with anything.",
    )

    @model_validator(mode="after")
    def _two_and_two(self) -> Self:
        if self.left == self.right:
            raise ValueError(f"left and right are both {self.left!r}: expected two series")
        if self.baseline_halflife <= self.halflife:
            raise ValueError("baseline_halflife is the longer past: expected more than halflife")
        return self


WEIGHT, SQUARES, MEAN_X, MEAN_Y, XX, YY, XY = range(7)


class State(NamedTuple):
    """Per group the last known samples, the instant that is not over yet, and two pasts."""

    value: F8 = column("f8", 2)
    t_ns: I8 = column("i8", 2)
    quality: U1 = column("u1", 2)
    known: U1 = column("u1", 2)
    here: U1 = column("u1", 2)  # see `pipelines.instants`
    now_ns: I8 = column("i8")  # the newest instant; 0 at first
    waits: U1 = column("u1")  # 1: its result is not given out yet
    pair_ns: I8 = column("i8")  # when the last pair was
    short: F8 = column("f8", 7)  # sums of weights and of their squares, means, co-moments
    long: F8 = column("f8", 7)
    late: I8 = column("i8", SINGLE)  # samples from before an instant that had its turn


Rows = rows_of(Correlate)


@kernel
def learn(past: F8, decay: float, x: float, y: float) -> None:
    """Let a pair into one `past` (7,) after its weights have fallen to `decay` (West 1979)."""
    past[WEIGHT] = past[WEIGHT] * decay + 1.0
    past[SQUARES] = past[SQUARES] * decay * decay + 1.0
    dx, dy = x - past[MEAN_X], y - past[MEAN_Y]
    past[MEAN_X] += dx / past[WEIGHT]
    past[MEAN_Y] += dy / past[WEIGHT]
    past[XX] = past[XX] * decay + dx * (x - past[MEAN_X])
    past[YY] = past[YY] * decay + dy * (y - past[MEAN_Y])
    past[XY] = past[XY] * decay + dx * (y - past[MEAN_Y])


@kernel
def pearson(past: F8, min_pairs: int, share: float) -> float:
    """Correlation in one `past` (7,); NaN for too few pairs (Kish 1965) and where one is flat."""
    if past[WEIGHT] * past[WEIGHT] < min_pairs * past[SQUARES] or past[WEIGHT] == 0:
        return math.nan
    std_x, std_y = math.sqrt(past[XX] / past[WEIGHT]), math.sqrt(past[YY] / past[WEIGHT])
    if not (std_x > share * abs(past[MEAN_X]) and std_y > share * abs(past[MEAN_Y])):
        return math.nan
    return float(max(-1.0, min(1.0, past[XY] / past[WEIGHT] / std_x / std_y)))


@kernel
def tell(g: int, state: State, params: Any, out: Any) -> None:
    """Learn the pair of group `g` at its newest instant, which is then over, and score it."""
    n, p, now = out.count[0], params.row[g], state.now_ns[g]
    r, usual, quality = np.nan, np.nan, worst(state, g, 2, params.max_age[p])
    if quality != BAD:
        gone = -LN2 * (now - state.pair_ns[g])
        x, y, share = state.value[g, 0], state.value[g, 1], params.min_std_share[p]
        usual = params.baseline[p]
        if np.isnan(usual):
            usual = pearson(state.long[g], params.min_pairs[p], share)
        learn(state.short[g], math.exp(gone / params.halflife[p]), x, y)
        learn(state.long[g], math.exp(gone / params.baseline_halflife[p]), x, y)
        state.pair_ns[g] = now
        r = pearson(state.short[g], params.min_pairs[p], share)
    change = r - usual
    out.series[n], out.t_ns[n], out.start_ns[n] = g, now, now
    out.value[n] = change
    out.quality[n] = quality if np.isfinite(change) else BAD
    out.fields[n, 0] = r
    out.fields[n, 1] = usual
    out.fields[n, 2] = usual - params.drop[p]
    out.fields[n, 3] = usual + params.drop[p]
    out.count[0] = n + 1
    state.waits[g] = 0


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Tell how far the correlation of two series is from the usual, once at each instant.

    Equivalent to: an instant is a time at which one of the two has a row; its result is told
    once both have one, else before the first row later than it. It is r - usual, NaN when one of
    them has a row at that time and none that is known, or no known sample at most `max_age` old;
    else their last known values are a pair. r is the correlation of all pairs up to this one with
    weights 2^(-age / halflife); usual is `baseline`, else the correlation of the pairs before
    this one with `baseline_halflife`. Either is NaN while (sum w)^2 / sum(w^2) < min_pairs, and
    when a standard deviation is not above min_std_share * |mean|. Fields: r, usual, usual -/+
    drop. A row before the newest instant, or at one that was told, is late: told nowhere, but the
    last known value unless there is a later one. |x| > 1e150 is not known.
    """
    for i in range(first, batch.series.size):
        g, t, x, v = batch.series[i], batch.t_ns[i], batch.value[i], batch.slot[i]
        if state.waits[g] == 1 and t > state.now_ns[g]:
            tell(g, state, params, out)
        if arrived(state, g, v, 2, t, x, batch.quality[i]):
            tell(g, state, params, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Tell the result of an instant at which the other series has no sample.

    Equivalent to what `step` does before a row at `clock_ns`.
    """
    for g in range(first, last):
        if state.waits[g] == 1 and clock_ns[g] > state.now_ns[g]:
            tell(g, state, params, out)


def regroup(
    params: Correlate, labels: Labels, group_by: tuple[str, ...]
) -> tuple[Labels, int] | None:
    """The group of a series without `of`; slot 0: left, 1: right."""
    sides = (params.left, params.right)
    side = dict(labels).get(params.of)
    group = group_of(params.of, labels, group_by)
    return (group, sides.index(side)) if group is not None and side in sides else None


OPERATOR = Operator(
    name="correlate",
    summary="Scores how far the correlation of two series is from what it used to be.",
    params=Correlate,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="correlate: {left: flow, right: power, drop: 0.5}",
    source="West 1979 (weighted moments); Kish 1965 (number of pairs that count)",
    emits="score",
    fields=lambda params: ("r", "expected", "lower", "upper"),  # noqa: ARG005 - same for all
    condition=lambda params: When(outside=(-params.drop, params.drop)),
    fanout=lambda params: 2,  # noqa: ARG005 - the instant before, and this one
    regroup=regroup,
    slowest=True,
    delay_ns=lambda params: 1,  # noqa: ARG005 - an instant may have more rows at its time
)
