"""What a control chart compares with: the mean and standard deviation of good times.

Unlike the trailing window of `zscore`, it stays as it is once learned: a slow drift is not
learned away. With a budget of false alarms it goes on to be learned: an error of it that a limit
does not mind is many alarms for a sum over a month.
"""

import math
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from config.params import Params
from pipelines.budget import Budgeted
from pipelines.jit import kernel
from pipelines.numerics import joined

RESTART, RELEARN, GO_ON = 0, 1, 2
MEMORY: Final = 8
"""With a budget, a baseline remembers the budget's time divided by this."""


class Deviation(Params):
    """Standard deviation in good times, and what follows a signal."""

    std: float | None = Field(
        None, gt=0, description="Usual standard deviation; without it, that of learned samples."
    )
    learn: int = Field(
        100,
        ge=2,
        description="So many known samples are learned from, without a score, unless nothing "
        "is left to learn. Few of them make many false alarms.",
    )
    min_std: float = Field(
        1e-9,
        gt=0,
        description="Floor of a learned standard deviation, in the unit of the series; "
        "give the sensor's resolution where its value often stands still.",
    )
    min_std_share: float = Field(
        1e-4, ge=0, lt=1, description="The same floor as a share of the mean."
    )
    on_signal: Literal["restart", "relearn", "go_on"] = Field(
        "restart",
        description="After a sample that signals: restart: begin anew with what was learned · "
        "relearn: learn again first, so that a lasting change signals once · go_on: keep all, "
        "so that it signals until it has gone.",
    )


class Baseline(Deviation, Budgeted):
    """Mean and standard deviation in good times: given, or learned from the first samples."""

    mean: float | None = Field(
        None, description="Where the value belongs; without it, the mean of the learned samples."
    )

    @model_validator(mode="after")
    def _can_relearn(self) -> Self:
        if self.on_signal == "relearn" and self.mean is not None:
            raise ValueError("relearn finds a new mean: leave out `mean`, or use restart")
        return self


@kernel
def spread(given: float, mean: float, m2: float, n: int, least: float, share: float) -> float:
    """Standard deviation that counts: the given one, or of n samples with squared distances m2."""
    if not math.isnan(given):
        return given
    return max(least, share * abs(mean), math.sqrt(m2 / (n - 1)))


@kernel
def learned_on(mean: float, m2: float, n: int, x: float, longest: int) -> tuple[float, float, int]:
    """Mean, squared distances and count of n learned samples after one more of about `longest`."""
    if n >= longest:
        m2, n = m2 * (longest - 1) / n, longest - 1
    mean, m2 = joined(mean, m2, n + 1, x)
    return mean, m2, n + 1
