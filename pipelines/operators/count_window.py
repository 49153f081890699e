"""count_window: numbers about so many samples."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import Operator, column, rows_of
from pipelines.windows import Stat, chosen, count_in, tell

OVERLAP_MAX: Final = 60


class CountWindow(Params):
    """How many samples, and what is told about them."""

    EXTRA_ROWS: ClassVar = ("overlap", "hop", "chosen")

    n: int = Field(ge=1, description="Samples of a window.")
    step: int | None = Field(
        None,
        ge=1,
        description="Samples from the begin of one window to the next; default: n. A sample costs "
        "time for each window that it is in, at most 60.",
    )
    stats: tuple[Stat, ...] = Field(
        ("mean",),
        min_length=1,
        description="Numbers to give out; the first is the value of the window.",
    )

    @model_validator(mode="after")
    def _windows(self) -> Self:
        if self.hop > self.n:
            raise ValueError(
                f"step {self.hop} is more than n {self.n}: "
                "samples between the windows would count nowhere"
            )
        if self.overlap > OVERLAP_MAX:
            raise ValueError(
                f"each sample would be in {self.overlap} windows, at most {OVERLAP_MAX} are "
                f"allowed: take a step of {-(-self.n // OVERLAP_MAX)} or more, or `rolling`"
            )
        if len(set(self.stats)) < len(self.stats):
            raise ValueError("stats names one number twice")
        return self

    @property
    def hop(self) -> int:
        """Samples from the begin of one window to the next."""
        return self.step or self.n

    @property
    def overlap(self) -> int:
        """Windows that are open at a time, at most."""
        return -(-self.n // self.hop)

    @classmethod
    def extra_rows(cls, sets: Sequence["CountWindow"]) -> dict[str, Any]:
        """Arrays overlap, hop (R,), and chosen (R, k): which number is which column of `fields`."""
        return {
            "overlap": np.array([p.overlap for p in sets], np.int64),
            "hop": np.array([p.hop for p in sets], np.int64),
            "chosen": chosen([p.stats for p in sets]),
        }


class State(NamedTuple):
    """Per series its open windows: window w, the w-th of the series, at slot w % overlap."""

    samples: I8 = column("i8", "overlap")
    total: F8 = column("f8", "overlap")
    lost: F8 = column("f8", "overlap")  # digits that `total` has no room for
    mean: F8 = column("f8", "overlap")
    m2: F8 = column("f8", "overlap")
    low: F8 = column("f8", "overlap")
    high: F8 = column("f8", "overlap")
    begin: F8 = column("f8", "overlap")
    end: F8 = column("f8", "overlap")
    quality: U1 = column("u1", "overlap")  # the worst of its samples
    start_ns: I8 = column("i8", "overlap")
    seen: I8 = column("i8")  # known samples so far


Rows = rows_of(CountWindow)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Count each known sample in its windows, and give out the one that it fills.

    Equivalent to: of the known samples x[0], x[1], ... of a series, window w is
    x[w step : w step + n]; it gives a row with its last sample: from the time of its first sample
    to that of its last, fields the chosen numbers over its samples (std, var with n - 1), value the
    first field, quality the worst of the samples', BAD where value is NaN. |x| > 1e150 is not
    known; such samples count nowhere.
    """
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        if not abs(x) <= LARGEST or batch.quality[i] == BAD:
            continue
        p, at = params.row[s], state.seen[s]
        n, hop, overlap = params.n[p], params.hop[p], params.overlap[p]
        for w in range(max(0, (at - n) // hop + 1), at // hop + 1):
            k = w % overlap
            if state.samples[s, k] == 0:
                state.start_ns[s, k] = t
            count_in(state, s, k, x, batch.quality[i], 1)
            if state.samples[s, k] == n:
                tell(state, s, k, state.start_ns[s, k], t, params.chosen[p], out)
        state.seen[s] = at + 1
    return batch.series.size


OPERATOR = Operator(
    name="count_window",
    summary="Mean, extremes, sum and more of every so many samples.",
    params=CountWindow,
    state=State,
    rows=Rows,
    step=step,
    example="count_window: {n: 100, stats: [mean, std]}",
    emits="window",
    fields=lambda params: params.stats,
)
