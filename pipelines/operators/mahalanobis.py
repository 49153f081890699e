"""mahalanobis: how unusual the channels of one device are together, given how they go together."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND, When
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, GroupedBatch
from pipelines.chi import quantile
from pipelines.instants import arrived, worst
from pipelines.jit import kernel
from pipelines.numerics import FREEZE, LEARN
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.operators.peer import group_of
from pipelines.series import Labels

HUGE: Final = 1e100
"""Deviations beyond this are scaled before they are squared."""


class Mahalanobis(Params):
    """Which channels, what they are compared with, and how far is too far."""

    EXTRA_ROWS: ClassVar = ("dimensions", "cells", "limit")
    SIZED_BY: ClassVar = ("channels",)

    channels: tuple[str, ...] = Field(
        min_length=2, max_length=16, description="Channels of one device; a score costs their cube."
    )
    halflife: Duration = Field(
        86_400 * SECOND, gt=0, description="After this time a sample of the past counts half."
    )
    k: float | None = Field(
        None, gt=0, description="Distance beyond which it is unusual, in standard deviations."
    )
    p: float | None = Field(
        None,
        ge=1e-15,
        le=0.5,
        description="Instead of k: the share of normal noise that lies beyond; 1e-6 when neither "
        "is given. Real noise has more beyond, and so has a short past.",
    )
    min_samples: int = Field(
        100,
        ge=20,
        description="No score while the weights of the past amount to fewer of equal weight; a "
        "halflife with n instants in it amounts to at most 2.9 n.",
    )
    on_anomaly: Literal["learn", "clip", "freeze"] = Field(
        "clip",
        description="What is learned of unusual values: all, the nearest usual ones, or nothing.",
    )
    shrink: float = Field(0.01, ge=1e-9, lt=1, description="Correlations count less by this share.")
    min_std: float = Field(
        1e-9, gt=0, description="Floor of each standard deviation, in the unit of the channel."
    )
    min_std_share: float = Field(
        1e-4, ge=0, lt=1, description="The same floor as a share of the channel's mean."
    )
    max_age: Duration = Field(
        300 * SECOND, gt=0, description="No score while one of the channels is silent for longer."
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if len(set(self.channels)) < len(self.channels):
            raise ValueError("channels names one of them twice")
        if self.k is not None and self.p is not None:
            raise ValueError("k and p both say how far is too far: give one of them")
        return self

    @property
    def limit(self) -> float:
        """Distance beyond which it is unusual."""
        return self.k or quantile(self.p or 1e-6, len(self.channels))

    @classmethod
    def extra_rows(cls, sets: Sequence["Mahalanobis"]) -> dict[str, Any]:
        """Arrays (R,): number of channels, pairs of them with themselves, and `limit`."""
        d = np.array([len(p.channels) for p in sets])
        return {
            "dimensions": d,
            "cells": d * (d + 1) // 2,
            "limit": np.array([p.limit for p in sets]),
        }


class State(NamedTuple):
    """Per group the last known samples, the instant that is not over yet, and the past."""

    value: F8 = column("f8", "dimensions")
    t_ns: I8 = column("i8", "dimensions")
    quality: U1 = column("u1", "dimensions")
    known: U1 = column("u1", "dimensions")
    here: U1 = column("u1", "dimensions")  # see `pipelines.instants`
    now_ns: I8 = column("i8")
    waits: U1 = column("u1")
    weight: F8 = column("f8")
    squares: F8 = column("f8")  # of the weights
    learned_ns: I8 = column("i8")
    mean: F8 = column("f8", "dimensions")
    moment: F8 = column("f8", "cells")  # weighted products of distances, row by row from a = b on
    std: F8 = column("f8", "dimensions")  # room for one evaluation, like the next two
    ahead: F8 = column("f8", "dimensions")
    rest: F8 = column("f8", "cells")
    late: I8 = column("i8", SINGLE)  # samples from before an instant that had its turn


Rows = rows_of(Mahalanobis)


@kernel
def distance(g: int, state: State, params: Any, z: F8) -> float:
    """Distance of the values of group `g` from its past; fills `z` (dimensions,), each alone.

    Cholesky without roots (L D L'), in the order that lets several cells be taken at a time.
    """
    p = params.row[g]
    d, least, share = params.dimensions[p], params.min_std[p], params.min_std_share[p]
    amount = state.weight[g] - state.squares[g] / state.weight[g]  # no bias, as in numpy.cov
    largest, total = 1.0, 0.0
    for a in range(d):
        row, mean = a * (2 * d - a - 1) // 2, state.mean[g, a]
        std = max(least, share * abs(mean), math.sqrt(state.moment[g, row + a] / amount))
        state.std[g, a], z[a] = std, (state.value[g, a] - mean) / std
        largest = max(largest, abs(z[a]) / HUGE)
    for a in range(d):
        row, apart = a * (2 * d - a - 1) // 2, (1 - params.shrink[p]) / amount / state.std[g, a]
        state.ahead[g, a], state.rest[g, row + a] = z[a] / largest, 1.0
        for b in range(a + 1, d):
            state.rest[g, row + b] = state.moment[g, row + b] * apart / state.std[g, b]
    for c in range(d):
        row = c * (2 * d - c - 1) // 2
        pivot, ahead = state.rest[g, row + c], state.ahead[g, c]
        total += ahead * ahead / pivot if pivot > 0 else math.nan
        for a in range(c + 1, d):
            factor, below = state.rest[g, row + a] / pivot, a * (2 * d - a - 1) // 2
            state.ahead[g, a] -= factor * ahead
            for b in range(a, d):
                state.rest[g, below + b] -= factor * state.rest[g, row + b]
    return largest * math.sqrt(total)


@kernel
def learn(g: int, state: State, params: Any, share: float) -> None:
    """Let `share` of the way from the mean to the values of group `g` into its past."""
    p, now = params.row[g], state.now_ns[g]
    d, decay = params.dimensions[p], 2.0 ** ((state.learned_ns[g] - now) / params.halflife[p])
    state.learned_ns[g] = now
    state.weight[g] = state.weight[g] * decay + 1.0
    state.squares[g] = state.squares[g] * decay * decay + 1.0
    for a in range(d):
        state.ahead[g, a] = share * (state.value[g, a] - state.mean[g, a])
        state.mean[g, a] += state.ahead[g, a] / state.weight[g]
    for a in range(d):
        row, more = a * (2 * d - a - 1) // 2, state.ahead[g, a] * (1.0 - 1.0 / state.weight[g])
        for b in range(a, d):
            moment = state.moment[g, row + b] * decay
            state.moment[g, row + b] = moment + more * state.ahead[g, b]


@kernel
def tell(g: int, state: State, params: Any, out: Any) -> None:
    """Score group `g` at its newest instant, which is then over, and learn it."""
    n, p, score = out.count[0], params.row[g], np.nan
    limit = params.limit[p]
    quality = worst(state, g, params.dimensions[p], params.max_age[p])
    for j in range(out.fields.shape[1]):
        out.fields[n, j] = np.nan
    if quality != BAD:
        weight, share = state.weight[g], 1.0
        if weight > 0 and weight * weight >= params.min_samples[p] * state.squares[g]:
            score = distance(g, state, params, out.fields[n, 1:])
            if score > limit and params.on_anomaly[p] != LEARN:
                share = 0.0 if params.on_anomaly[p] == FREEZE else limit / score
        if share > 0:
            learn(g, state, params, share)
    out.series[n], out.t_ns[n], out.start_ns[n] = g, state.now_ns[g], state.now_ns[g]
    out.value[n] = score
    out.quality[n] = quality if np.isfinite(score) else BAD
    out.fields[n, 0] = limit
    out.count[0] = n + 1
    state.waits[g] = 0


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Score all channels of a device together, once at each instant.

    Equivalent to: an instant is a time at which a channel has a row; its result is told once all
    have one, else before the first row later than it. It is the square root of z' R^-1 z, NaN
    when a channel has a row at that time and none that is known, or no known sample at most
    `max_age` old; z are the last known values less the means of the instants before this one
    with weights 2^(-age / halflife), in standard deviations of at least min_std and min_std_share
    * |mean|; R their correlations less the share `shrink`, without bias as in numpy.cov; NaN
    while (sum w)^2 / sum(w^2) < min_samples. Fields: the limit, and z by channel. All values are
    learned; of those beyond the limit limit / score of their way from the means (clip) or nothing
    (freeze). Rows that are late are as in `expr`. |x| > 1e150 is not known.
    """
    for i in range(first, batch.series.size):
        g, t, x, v = batch.series[i], batch.t_ns[i], batch.value[i], batch.slot[i]
        if state.waits[g] == 1 and t > state.now_ns[g]:
            tell(g, state, params, out)
        if arrived(state, g, v, params.dimensions[params.row[g]], t, x, batch.quality[i]):
            tell(g, state, params, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Tell the result of an instant that no further channel has a sample at.

    Equivalent to what `step` does before a row at `clock_ns`.
    """
    for g in range(first, last):
        if state.waits[g] == 1 and clock_ns[g] > state.now_ns[g]:
            tell(g, state, params, out)


def regroup(
    params: Mahalanobis, labels: Labels, group_by: tuple[str, ...]
) -> tuple[Labels, int] | None:
    """The device of a series; slot: the place of its channel in `channels`."""
    channel, group = dict(labels).get("channel"), group_of("channel", labels, group_by)
    if group is None or channel not in params.channels:
        return None
    return group, params.channels.index(channel)


OPERATOR = Operator(
    name="mahalanobis",
    summary="Scores several channels of a device together by their distance from the usual.",
    params=Mahalanobis,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="mahalanobis: {channels: [flow, power, temperature]}",
    source="Mahalanobis 1936; Hotelling 1947",
    emits="score",
    fields=lambda params: ("limit", *(f"z_{name}" for name in params.channels)),
    condition=lambda params: When(above=params.limit),
    fanout=lambda params: 2,  # noqa: ARG005 - the instant before, and this one
    regroup=regroup,
    slowest=True,
    delay_ns=lambda params: 1,  # noqa: ARG005 - an instant may have more rows at its time
)
