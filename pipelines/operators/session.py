"""session: numbers about samples that follow each other closely, until they pause."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, Batch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import Operator, column, rows_of
from pipelines.series import NEVER
from pipelines.windows import Stat, chosen, count_in, tell


class Session(Params):
    """When a session is over, and what is told about it."""

    EXTRA_ROWS: ClassVar = ("chosen",)

    gap: Duration = Field(gt=0, description="A session is over when no sample came for longer.")
    max: Duration | None = Field(
        None, gt=0, description="A session is over at this age, samples or not; default: never."
    )
    stats: tuple[Stat, ...] = Field(
        ("count",),
        min_length=1,
        description="Numbers to give out; the first is the value of the session.",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.stats)) < len(self.stats):
            raise ValueError("stats names one number twice")
        return self

    @classmethod
    def extra_rows(cls, sets: Sequence["Session"]) -> dict[str, Any]:
        """Array chosen (R, k): which number stands in which column of `fields`."""
        return {"chosen": chosen([p.stats for p in sets])}


class State(NamedTuple):
    """Per series the session that is under way; no samples: none is."""

    samples: I8 = column("i8", 1)
    total: F8 = column("f8", 1)
    lost: F8 = column("f8", 1)  # digits that `total` has no room for
    mean: F8 = column("f8", 1)
    m2: F8 = column("f8", 1)
    low: F8 = column("f8", 1)
    high: F8 = column("f8", 1)
    begin: F8 = column("f8", 1)
    end: F8 = column("f8", 1)
    quality: U1 = column("u1", 1)  # the worst of its samples
    start_ns: I8 = column("i8")
    last_ns: I8 = column("i8")


Rows = rows_of(Session)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Count each known sample in its session, after giving out the one that it comes too late for.

    Equivalent to: a known sample begins a session when it is the first of its series, comes more
    than `gap` after the one before, or `max` or more after the first of the session. A session
    gives a row once the time of its series is past its last sample + gap, or at its first sample
    + max: from its first sample to the earlier of those two times, fields the chosen numbers over
    its samples (std, var with n - 1), value the first field, quality the worst of the samples', BAD
    where value is NaN. |x| > 1e150 is not known; such samples count nowhere. Samples come in order
    of time, so none ever joins two sessions that were told apart.
    """
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        if not abs(x) <= LARGEST or batch.quality[i] == BAD:
            continue
        if state.samples[s, 0] > 0:
            p = params.row[s]
            end_ns = state.last_ns[s] + params.gap[p]
            over = t > end_ns
            if params.max[p] > 0:
                oldest_ns = state.start_ns[s] + params.max[p]
                over, end_ns = over or t >= oldest_ns, min(end_ns, oldest_ns)
            if over:
                tell(state, s, 0, state.start_ns[s], end_ns, params.chosen[p], out)
        if state.samples[s, 0] == 0:
            state.start_ns[s] = t
        state.last_ns[s] = t
        count_in(state, s, 0, x, batch.quality[i], 1)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Give out the sessions that are over by the clock.

    Equivalent to: the row that `step` would give out before a sample at `clock_ns`.
    """
    for s in range(first, last):
        if state.samples[s, 0] == 0 or clock_ns[s] == NEVER:
            continue
        p = params.row[s]
        end_ns = state.last_ns[s] + params.gap[p]
        over = clock_ns[s] > end_ns
        if params.max[p] > 0:
            oldest_ns = state.start_ns[s] + params.max[p]
            over, end_ns = over or clock_ns[s] >= oldest_ns, min(end_ns, oldest_ns)
        if over:
            tell(state, s, 0, state.start_ns[s], end_ns, params.chosen[p], out)


OPERATOR = Operator(
    name="session",
    summary="Numbers about each burst of samples, told when no more follow.",
    params=Session,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="session: {gap: 30s, max: 1h, stats: [count, mean, max]}",
    emits="window",
    fields=lambda params: params.stats,
)
