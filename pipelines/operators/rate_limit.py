"""rate_limit: a value that changes faster than it may."""

from typing import Literal, Self

from pydantic import Field, model_validator

from config.model import When
from config.params import Params
from config.units import Duration
from pipelines.operator import Operator, rows_of
from pipelines.operators.derivative import State, step, tick


class RateLimit(Params):
    """How fast is too fast, and over how long that is looked at."""

    max_up: float | None = Field(None, gt=0, description="Fastest rise per `unit`.")
    max_down: float | None = Field(
        None, gt=0, description="Fastest fall per `unit`, as a positive number."
    )
    unit: Literal["s", "min", "h"] = Field("s", description="Rates per second, minute or hour.")
    window: Duration = Field(
        0,
        description="0s: from the last sample to this one; longer: slope of the straight line "
        "that fits best to the samples of that time, never fewer than two.",
    )
    hold: Duration = Field(
        0,
        description="So long after a sample without a next one, the rate is said to be 0, once "
        "and as uncertain, which ends an alert; 0s: never, for silence is no proof of rest.",
    )

    @model_validator(mode="after")
    def _a_limit(self) -> Self:
        if self.max_up is None and self.max_down is None:
            raise ValueError("give a limit: max_up: 2, max_down: 2, or both")
        return self


def condition(params: RateLimit) -> When:
    """Outside of the limits that are given."""
    if params.max_down is None:
        return When(above=params.max_up)
    if params.max_up is None:
        return When(below=-params.max_down)
    return When(outside=(-params.max_down, params.max_up))


OPERATOR = Operator(
    name="rate_limit",
    summary="Tells how fast the value changes, and alerts when that is too fast.",
    params=RateLimit,
    state=State,
    rows=rows_of(RateLimit),
    step=step,
    tick=tick,
    example="rate_limit: {max_up: 2, max_down: 5, unit: min, window: 30s}",
    emits="score",
    fanout=lambda params: 2,  # noqa: ARG005 - the 0 before a late sample, and the sample
    condition=condition,
)
