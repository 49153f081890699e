"""deadband: passes on only values that differ enough from the last one passed on."""

from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.operator import Makes, Operator, column, rows_of
from pipelines.series import NEVER

ABS, PCT, SPAN = 0, 1, 2
SENT, INPUT = 0, 1


class Deadband(Params):
    """How far a value must move, and how long it may stay unsaid."""

    band: float = Field(
        0.0, ge=0, description="Smallest change that is passed on; 0: any change at all."
    )
    mode: Literal["abs", "pct", "span"] = Field(
        "abs",
        description="abs: `band` is in the unit of the series · pct: in percent of the value "
        "compared with · span: in percent of `span`.",
    )
    span: float | None = Field(
        None, gt=0, description="Measuring range of the sensor, from its lowest to highest value."
    )
    ref: Literal["sent", "input"] = Field(
        "sent", description="Compare with the last value sent, or with the last one that came in."
    )
    max_time: Duration = Field(
        1800 * SECOND,
        description="A value that came in and was held back is sent at the latest this long "
        "after the last one sent; 0: never. A silent series is not repeated.",
    )

    @model_validator(mode="after")
    def _span_given(self) -> Self:
        if self.mode == "span" and self.span is None:
            raise ValueError("mode: span needs the sensor's measuring range, such as span: 160")
        return self


class State(NamedTuple):
    """Per series what was sent last, what came in last, and whether that is still unsaid."""

    sent: F8 = column("f8")
    sent_ns: I8 = column("i8")
    input: F8 = column("f8")
    quality: U1 = column("u1")
    held: U1 = column("u1")
    known: U1 = column("u1")


Rows = rows_of(Deadband)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Pass on a value that moved far enough, or that was last said too long ago.

    Equivalent to: the first known value is sent; then each with `|x - ref| >= band` (band 0:
    `x != ref`), and each that comes `max_time` or more after the last one sent. Before a row
    later than `sent + max_time`, the last value held back since is sent, stamped with that time.
    Values not known are passed on as such.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        longest = params.max_time[p]
        if state.held[s] == 1 and longest > 0 and t - state.sent_ns[s] > longest:
            due = state.sent_ns[s] + longest
            out.series[n] = s
            out.t_ns[n] = due
            out.start_ns[n] = due
            out.value[n] = state.input[s]
            out.quality[n] = state.quality[s]
            n += 1
            state.sent[s] = state.input[s]
            state.sent_ns[s] = due
            state.held[s] = 0
        known = np.isfinite(x) and batch.quality[i] != BAD
        if known:
            ref = state.sent[s] if params.ref[p] == SENT else state.input[s]
            band = params.band[p]
            if params.mode[p] == PCT:
                band *= abs(ref) / 100
            elif params.mode[p] == SPAN:
                band *= params.span[p] / 100
            moved = x != ref if band == 0 else abs(x - ref) >= band
            late = longest > 0 and t - state.sent_ns[s] >= longest
            send = state.known[s] == 0 or moved or late
            state.known[s] = 1
            state.input[s] = x
            state.quality[s] = batch.quality[i]
            state.held[s] = 0 if send else 1
            if not send:
                continue
            state.sent[s] = x
            state.sent_ns[s] = t
        out.series[n] = s
        out.t_ns[n] = t
        out.start_ns[n] = batch.start_ns[i]
        out.value[n] = x if known else np.nan
        out.quality[n] = batch.quality[i] if known else BAD
        n += 1
    out.count[0] = n
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Send what was held back for `max_time`.

    Equivalent to what `step` does before a row at `clock_ns`: later than due, not at it, for a
    sample may still come at this very time.
    """
    n = out.count[0]
    for s in range(first, last):
        longest = params.max_time[params.row[s]]
        if state.held[s] == 0 or longest == 0 or clock_ns[s] == NEVER:
            continue
        if clock_ns[s] - state.sent_ns[s] <= longest:
            continue
        due = state.sent_ns[s] + longest
        out.series[n] = s
        out.t_ns[n] = due
        out.start_ns[n] = due
        out.value[n] = state.input[s]
        out.quality[n] = state.quality[s]
        n += 1
        state.sent[s] = state.input[s]
        state.sent_ns[s] = due
        state.held[s] = 0
    out.count[0] = n


OPERATOR = Operator(
    name="deadband",
    summary="Passes on only values that differ enough from the last one passed on.",
    params=Deadband,
    state=State,
    rows=Rows,
    step=step,
    makes=Makes.SAME,
    tick=tick,
    example="deadband: {band: 0.5, max_time: 30m}",
    fanout=lambda params: 2,  # noqa: ARG005 - the value held back, and the sample
)
