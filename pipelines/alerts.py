"""Alerts: one state machine per series, normal → pending → active → normal.

A value that is not known holds everything: it neither raises nor clears, and the delays do not
run out while it lasts.  Silence is not that: the last known value goes on to hold, so delays of
a silent series run out with its clock.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Params
from pipelines.batch import BAD, F8, GOOD, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.operator import Operator, column, rows_of

NORMAL, PENDING, ACTIVE = range(3)
RAISED, CLEARED, UPDATED = range(1, 4)
KIND, WORST = range(2)
OWN_FIELDS: Final = 2
"""Columns of `Batch.fields` before those of the last step: KIND of transition and WORST value."""


class Limits(Params):
    """The condition of one series as the kernel needs it; None is no limit on that side."""

    low: float | None = None
    high: float | None = None
    deadband: float = Field(0.0, ge=0)
    on_delay_ns: int = Field(0, ge=0)
    off_delay_ns: int = Field(0, ge=0)
    latch: bool = False
    update_by: float | None = Field(None, gt=0)
    width: int = Field(1, ge=1, description="Columns of `State.fields`: one more than the row has.")


class State(NamedTuple):
    """(S,) where each series stands."""

    phase: U1 = column("u1")  # NORMAL, PENDING, ACTIVE
    unknown: U1 = column("u1")  # 1 while the newest value is not known
    clearing: U1 = column("u1")  # 1 while active and back within the limits
    since_ns: I8 = column("i8")  # onset of the condition
    normal_ns: I8 = column("i8")  # since when it is gone
    last: F8 = column("f8")  # newest known value
    worst: F8 = column("f8")  # value furthest beyond its limit since the onset
    excess: F8 = column("f8")  # how far that was
    told: F8 = column("f8")  # excess at the last event
    fields: F8 = column("f8", "width")  # (S, width) fields of the newest known row


Rows = rows_of(Limits)


@kernel
def _tell(s: int, t: int, kind: int, state: State, out: Batch) -> None:
    n = out.count[0]
    out.series[n], out.t_ns[n], out.start_ns[n] = s, t, state.since_ns[s]
    out.value[n], out.quality[n] = state.last[s], GOOD
    out.fields[n, KIND], out.fields[n, WORST] = kind, state.worst[s]
    for k in range(OWN_FIELDS, out.fields.shape[1]):
        out.fields[n, k] = state.fields[s, k - OWN_FIELDS]
    out.count[0] = n + 1
    state.told[s] = state.excess[s]


@kernel
def _due(s: int, t: int, state: State, params: Any, out: Batch) -> None:
    """Let the delay of series `s` run out if that is before or at time `t`."""
    p = params.row[s]
    if state.unknown[s] == 1:
        return
    if state.phase[s] == PENDING:
        due = state.since_ns[s] + params.on_delay_ns[p]
        if t >= due:
            state.phase[s] = ACTIVE
            _tell(s, due, RAISED, state, out)
    elif state.phase[s] == ACTIVE and state.clearing[s] == 1 and params.latch[p] == 0:
        due = state.normal_ns[s] + params.off_delay_ns[p]
        if t >= due:
            state.phase[s] = NORMAL
            state.clearing[s] = 0
            _tell(s, due, CLEARED, state, out)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Move the state of each series with its samples; a row of `out` for each change.

    Equivalent to: active from the first time at which the value has been above `high` or below
    `low` for `on_delay`, until it has been within [low + deadband, high - deadband] for
    `off_delay`; samples whose value is not known are left out, and while one is the newest no
    delay runs out.
    """
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        if state.phase[s] == PENDING or state.clearing[s] == 1:
            _due(s, t - 1, state, params, out)  # at its very end the sample itself decides
        if not np.isfinite(x) or batch.quality[i] == BAD:
            state.unknown[s] = 1
            continue
        state.unknown[s] = 0
        low, high, band = params.low[p], params.high[p], params.deadband[p]
        state.last[s] = x
        for k in range(batch.fields.shape[1]):
            state.fields[s, k] = batch.fields[i, k]
        beyond = max(x - high, 0.0) if x > high else max(low - x, 0.0)  # NaN limit: 0
        outside = x > high or x < low
        if state.phase[s] == NORMAL and outside:
            state.phase[s] = PENDING
            state.since_ns[s] = t
            state.worst[s], state.excess[s] = x, beyond
        elif state.phase[s] == PENDING and not outside:
            state.phase[s] = NORMAL
        if state.phase[s] == PENDING:
            if beyond > state.excess[s]:
                state.worst[s], state.excess[s] = x, beyond
            if t - state.since_ns[s] >= params.on_delay_ns[p]:
                state.phase[s] = ACTIVE
                _tell(s, t, RAISED, state, out)
        elif state.phase[s] == ACTIVE:
            if x > high - band or x < low + band:
                state.clearing[s] = 0
                if beyond > state.excess[s]:
                    state.worst[s], state.excess[s] = x, beyond
                    if beyond - state.told[s] >= params.update_by[p]:
                        _tell(s, t, UPDATED, state, out)
            else:
                if state.clearing[s] == 0:
                    state.clearing[s] = 1
                    state.normal_ns[s] = t
                if t - state.normal_ns[s] >= params.off_delay_ns[p] and params.latch[p] == 0:
                    state.phase[s] = NORMAL
                    state.clearing[s] = 0
                    _tell(s, t, CLEARED, state, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Let delays run out for series whose time went on without a sample."""
    for s in range(first, last):
        if state.phase[s] == PENDING or state.clearing[s] == 1:
            _due(s, clock_ns[s], state, params, out)


OPERATOR = Operator(
    name="alert",
    summary="Raises when a value is beyond its limit for long enough, clears when it is back.",
    params=Limits,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    fields=lambda params: ("kind", "worst") + ("",) * (params.width - 1),
    fanout=lambda params: 2,  # noqa: ARG005 - a delay that ran out, then the sample itself
    example="alert: {high: 90, deadband: 5, on_delay_ns: 30000000000}",
)
