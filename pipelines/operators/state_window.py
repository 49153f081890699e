"""state_window: how long, and over how many samples, a condition or a value held without a break."""

from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params
from pipelines.batch import BAD, F8, I8, U1, UNCERTAIN, Batch
from pipelines.jit import kernel
from pipelines.operator import Operator, column, rows_of


class StateWindow(Params):
    """What makes a run: one of three conditions, or a value that stays the same."""

    by: Literal["condition", "value"] = Field(
        "condition",
        description="value: instead of a condition, a run for each value, until it changes: such "
        "as the modes of a machine.",
    )
    above: float | None = Field(None, description="Samples above this belong to a run.")
    below: float | None = Field(None, description="Samples below this belong to a run.")
    equal: float | None = Field(
        None, description="Samples that are just this belong to a run: 1 for a contact that is on."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [v for v in (self.above, self.below, self.equal) if v is not None]
        if self.by == "value":
            if given:
                raise ValueError("`by: value` tells runs of every value: no above, below or equal")
        elif len(given) != 1:
            raise ValueError(
                f"expected one of above, below and equal, got {len(given)}: for example {{above: 5}}, "
                "or {by: value}"
            )
        return self


CONDITION, VALUE = 0, 1


class State(NamedTuple):
    """Per series the run that is under way."""

    samples: I8 = column("i8")  # 0: none is
    start_ns: I8 = column("i8")
    x: F8 = column("f8")  # the value of the run, for `by: value`
    quality: U1 = column("u1")  # the worst of its samples
    begun: U1 = column("u1")


Rows = rows_of(StateWindow)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Give out a window for each run of samples, once a sample ends it.

    Equivalent to: group neighbouring known samples by whether x > above (x < below, x == equal)
    holds, and leave out groups without it; or by their value. Each group that another sample
    follows gives a row: from the time of its first sample to that of the first one after it,
    fields the seconds between and the number of its samples, `by: value` also the value; value
    the seconds, quality the worst of its samples, UNCERTAIN at best for a group that began with
    the first known sample of the series. Values not known, and silence, end no run.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        quality = batch.quality[i]
        if not np.isfinite(x) or quality == BAD:
            continue
        p = params.row[s]
        # Comparisons with NaN are false: limits not given hold for nothing.
        by_value = params.by[p] == VALUE
        holds = by_value or x > params.above[p] or x < params.below[p] or x == params.equal[p]
        if state.samples[s] > 0 and not (holds and (not by_value or x == state.x[s])):
            out.series[n], out.t_ns[n], out.start_ns[n] = s, t, state.start_ns[s]
            out.value[n] = (t - state.start_ns[s]) / 1e9
            out.fields[n, 0], out.fields[n, 1] = out.value[n], state.samples[s]
            if by_value:
                out.fields[n, 2] = state.x[s]
            out.quality[n] = state.quality[s]
            state.samples[s] = 0
            n += 1
        if holds:
            if state.samples[s] == 0:
                state.start_ns[s], state.x[s] = t, x
                state.quality[s] = quality if state.begun[s] == 1 else UNCERTAIN
            state.samples[s] += 1
            state.quality[s] = max(state.quality[s], quality)
        state.begun[s] = 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="state_window",
    summary="How long a value stayed above, below or at a limit, or the same; told when it no longer does.",
    params=StateWindow,
    state=State,
    rows=Rows,
    step=step,
    example="state_window: {above: 0.5}",
    emits="window",
    fields=lambda params: ("duration", "count") + ("state",) * (params.by == "value"),
)
