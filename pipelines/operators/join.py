"""join: samples of two series side by side, each of the left one with its partner on the right."""

from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND, Name
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, GroupedBatch, clocks
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import Labels

Result = Literal["difference", "ratio", "left", "right"]


class Join(Params):
    """Which two series, how near in time they must be, and what comes of a pair."""

    left: str = Field(min_length=1, description="Each known sample of this channel gives a row.")
    right: str = Field(min_length=1, description="The channel that partners are looked up in.")
    of: Name = Field(
        "channel", description="Label that tells left from right; device compares two devices."
    )
    channel: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Channel of the new series; default: left-right, such as flow-pressure.",
    )
    tolerance: Duration = Field(
        10 * SECOND, description="Partners are at most this far apart in time."
    )
    strategy: Literal["asof", "nearest", "window"] = Field(
        "asof",
        description="asof: the last one not later than the left sample; nearest: the one nearest "
        "in time, the earlier of two; window: the mean of all within the tolerance on both sides.",
    )
    value: Result = Field("difference", description="What the row's value is: left - right, …")
    unmatched: Literal["keep", "drop"] = Field(
        "keep", description="keep: a left sample without a partner gives a row that is not known."
    )
    wait: Duration = Field(
        0, description="One of the two may come in this much behind the other one."
    )
    buffer: int = Field(
        128, ge=2, le=4096, description="Samples of a pair of series that are held at most."
    )

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.left == self.right:
            raise ValueError(f"left and right are both {self.left!r}")
        if self.channel is not None and self.of != "channel":
            raise ValueError(f"the new series has the channel of both when joined by {self.of}")
        return self

    @property
    def delay_ns(self) -> int:
        """How long a left sample may have to wait for a row that is later than any partner."""
        return self.wait + (0 if self.strategy == "asof" else self.tolerance) + 1


class State(NamedTuple):
    """Per pair the samples that wait or may yet be partners, sorted: a ring of `buffer`."""

    t_ns: I8 = column("i8", "buffer")
    value: F8 = column("f8", "buffer")
    quality: U1 = column("u1", "buffer")
    left: U1 = column("u1", "buffer")
    first: I8 = column("i8")  # position of the oldest one
    next: I8 = column("i8")  # of the first whose turn has not come
    seen: I8 = column("i8")
    right: I8 = column("i8")  # 1 + position of the last right sample before `next`; 0: none
    newest_ns: I8 = column("i8")
    until_ns: I8 = column("i8")  # what is earlier is late
    late: I8 = column("i8", SINGLE)  # samples whose turn was over
    forced: I8 = column("i8", SINGLE)  # samples that had their turn early, for want of room


Rows = rows_of(Join)
ASOF, NEAREST, WINDOW = 0, 1, 2
DIFFERENCE, RATIO, LEFT, DROP = 0, 1, 2, 1
RIGHT_SIDE, LEFT_SIDE = 0, 1


@kernel
def partner(
    strategy: int, reach: int, at: Any, t_ns: I8, value: F8, quality: U1, left: U1
) -> tuple[float, float, int]:
    """(value or NaN, how many or seconds before it, quality) of what belongs to a left sample.

    at: its row and position, then the position of the last right one before it, or less than
    the oldest; that of the oldest, and of one after the newest.
    """
    s, here, found, first, last = at
    width = t_ns.shape[1]
    t, k = t_ns[s, here % width], here
    if strategy == WINDOW:
        n, mean, worst = 0, 0.0, 0
        while k > first and t - t_ns[s, (k - 1) % width] <= reach:
            k -= 1
        while k < last and t_ns[s, k % width] - t <= reach:
            if left[s, k % width] == RIGHT_SIDE:
                n += 1
                mean += (value[s, k % width] - mean) / n
                worst = max(worst, quality[s, k % width])
            k += 1
        return (mean, float(n), worst) if n else (np.nan, 0.0, BAD)
    gap = reach + 1
    if found >= first:
        gap = min(gap, t - t_ns[s, found % width])
    ok, k = gap <= reach, here + 1
    while strategy == NEAREST and k < last and t_ns[s, k % width] - t < gap:
        if left[s, k % width] == RIGHT_SIDE:
            ok, found, gap = True, k, t - t_ns[s, k % width]
            break
        k += 1
    if not ok:
        return np.nan, np.nan, BAD
    return value[s, found % width], gap * 1e-9, quality[s, found % width]


@kernel
def flow(
    first: int, last: int, ticking: bool, rows: GroupedBatch, state: State, params: Any, out: Any
) -> None:
    """Rows [first, last) of `step`, or of `tick` with the clock of pair s at `rows.t_ns[s]`."""
    n, width = out.count[0], state.t_ns.shape[1]
    for i in range(first, last):
        s, t = i if ticking else rows.series[i], rows.t_ns[i]
        p = params.row[s]
        reach, size = params.tolerance[p], params.buffer[p]
        if t < state.until_ns[s] or (ticking and state.seen[s] == 0):
            state.late[0] += 0 if ticking else 1
            continue
        state.newest_ns[s] = max(t, state.newest_ns[s])
        state.until_ns[s] = max(state.until_ns[s], state.newest_ns[s] - params.wait[p])
        over = state.until_ns[s] - (0 if params.strategy[p] == ASOF else reach)
        while state.next[s] < state.seen[s]:
            here = state.next[s]
            j = here % width
            if state.t_ns[s, j] >= over:
                if ticking or state.seen[s] - here < size:
                    break
                state.forced[0] += 1
                state.until_ns[s] = max(state.until_ns[s], state.t_ns[s, j])
            state.next[s] += 1
            if state.left[s, j] == RIGHT_SIDE:
                state.right[s] = here + 1
                continue
            at = (s, here, state.right[s] - 1, state.first[s], state.seen[s])
            right, near, worst = partner(
                params.strategy[p], reach, at, state.t_ns, state.value, state.quality, state.left
            )
            x, worst = state.value[s, j], max(worst, state.quality[s, j])
            if np.isnan(right) and params.unmatched[p] == DROP and np.isfinite(x):
                continue
            y = x - right
            if params.value[p] == RATIO:
                y = x / right if right != 0 else np.nan
            elif params.value[p] > RATIO and worst != BAD:
                y = x if params.value[p] == LEFT else right
            known = np.isfinite(y)
            out.series[n], out.t_ns[n], out.start_ns[n] = s, state.t_ns[s, j], state.t_ns[s, j]
            out.value[n], out.quality[n] = y if known else np.nan, worst if known else BAD
            out.fields[n, 0], out.fields[n, 1], out.fields[n, 2] = x, right, near
            n += 1
        while state.first[s] < state.next[s] and (
            state.t_ns[s, state.first[s] % width] < over - reach
            or (not ticking and state.seen[s] - state.first[s] >= size)
        ):
            state.first[s] += 1
        x, side = (np.nan, 0) if ticking else (rows.value[i], rows.slot[i])
        known = abs(x) <= LARGEST and rows.quality[i] != BAD
        if ticking or t < state.until_ns[s] or (side == RIGHT_SIDE and not known):
            state.late[0] += 1 if not ticking and t < state.until_ns[s] else 0
            continue
        k = state.seen[s]
        while k > state.next[s]:
            j, to = (k - 1) % width, k % width
            if state.t_ns[s, j] < t or (state.t_ns[s, j] == t and state.left[s, j] <= side):
                break
            state.t_ns[s, to], state.value[s, to] = state.t_ns[s, j], state.value[s, j]
            state.quality[s, to], state.left[s, to] = state.quality[s, j], state.left[s, j]
            k -= 1
        state.t_ns[s, k % width], state.value[s, k % width] = t, x if known else np.nan
        state.quality[s, k % width] = rows.quality[i] if known else BAD
        state.left[s, k % width] = side
        state.seen[s] += 1
    out.count[0] = n


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Give each left sample its partner, in order of time.

    Equivalent to: a left sample at t is told once the newest row of the pair is later than t +
    ahead + `wait`, where ahead is 0 for asof and `tolerance` else. Its partner: of the known right
    samples in [t - tolerance, t + ahead] the latest (asof), the nearest (nearest), or their mean;
    of some at one time the last to come in, or of later ones the first. Value: see `value`; NaN
    without a partner and for a left sample that is not known; |x| > 1e150 is not known. Rows
    before newest - `wait` are late. When `buffer` samples are held, the oldest has its turn.
    """
    flow(first, batch.series.size, False, batch, state, params, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Tell the left samples whose partner can come no more.

    Equivalent to what `step` does before a row at `clock_ns`.
    """
    flow(first, last, True, clocks(clock_ns, out), state, params, out)


def regroup(params: Join, labels: Labels, group_by: tuple[str, ...]) -> tuple[Labels, int] | None:
    """The labels that both have, with the new channel; slot 1 for the left series, 0 right."""
    pairs = dict(labels)
    side = pairs.pop(params.of, "")
    if side not in (params.left, params.right):
        return None
    kept = {n: v for n, v in pairs.items() if not group_by or n in group_by or n == "channel"}
    if params.of == "channel":
        kept["channel"] = params.channel or f"{params.left}-{params.right}"
    return tuple(sorted(kept.items())), LEFT_SIDE if side == params.left else RIGHT_SIDE


OPERATOR = Operator(
    name="join",
    summary="Puts samples of two series side by side, by time.",
    params=Join,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="join: {left: supply, right: return, tolerance: 5s, value: difference}",
    fields=lambda params: ("left", "right", ("age_s", "count")[params.strategy == "window"]),
    fanout=lambda params: params.buffer + 1,
    regroup=regroup,
    slowest=True,
    delay_ns=lambda params: params.delay_ns,
)
