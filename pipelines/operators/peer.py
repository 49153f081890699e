"""peer: how unusual a member of a group is among its peers at the same time."""

from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND, Name, When
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I4, I8, U1, GroupedBatch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.operators.mad import enter, leave, middle_and_spread
from pipelines.series import FULL, Labels


class Peer(Params):
    """Who is compared with whom, and how far from the others is too far."""

    of: Name = Field(description="Label that tells members apart, such as device.")
    k: float = Field(
        6.0, gt=0, description="Scaled median absolute deviations beyond which it is unusual."
    )
    max_age: Duration = Field(
        300 * SECOND,
        gt=0,
        description="A member is compared and counts while its last sample is not older than this.",
    )
    min_members: int = Field(
        5, ge=3, le=1024, description="No score while fewer members than this count."
    )
    members_max: int = Field(
        64, ge=3, le=1024, description="Members of one group that can count at the same time."
    )
    min_mad: float = Field(
        1e-9,
        gt=0,
        description="Floor of the scaled deviation, in the unit of the series; "
        "give how far healthy members may lie apart.",
    )
    min_mad_share: float = Field(
        1e-4, ge=0, lt=1, description="Floor of the scaled deviation as a share of the median."
    )

    @model_validator(mode="after")
    def _enough_room(self) -> Self:
        if self.min_members > self.members_max:
            raise ValueError(f"{self.min_members} members can never count: members_max is less")
        return self


class State(NamedTuple):
    """Per group the last known sample of each member that counts, and those values ascending."""

    row: I4 = column("i4", "members_max")  # of the member's series
    x: F8 = column("f8", "members_max")
    t_ns: I8 = column("i8", "members_max")
    quality: U1 = column("u1", "members_max")
    counts: U1 = column("u1", "members_max")  # 0: too old; the slot may be used again
    waits: U1 = column("u1", "members_max")  # its sample of this instant has no score yet
    ordered: F8 = column("f8", "members_max")
    used: I8 = column("i8")  # slots from here on were never used
    size: I8 = column("i8")  # members that count
    present: I8 = column("i8")  # those of them with a sample of this instant
    waiting: I8 = column("i8")
    now_ns: I8 = column("i8")  # the latest instant of the group
    not_counted: I8 = column("i8", SINGLE)  # samples of members that found no free slot


Rows = rows_of(Peer)


@kernel
def scored(member: int, t: int, x: float, quality: int, centre: Any, k: float, out: Any) -> None:
    """Write the score of `x` against `centre`: median and deviation, NaN when not known."""
    n = out.count[0]
    median, mad = centre
    score = (x - median) / mad
    out.series[n], out.t_ns[n], out.start_ns[n] = member, t, t
    out.value[n] = score
    out.quality[n] = quality if np.isfinite(score) else BAD
    out.fields[n, 0] = x
    out.fields[n, 1] = median
    out.fields[n, 2] = median - k * mad
    out.fields[n, 3] = median + k * mad
    out.count[0] = n + 1


@kernel
def centre_of(g: int, state: State, params: Any) -> tuple[float, float]:
    """Median and floored deviation of the members of group `g` that count; NaN for too few."""
    p = params.row[g]
    if state.size[g] < params.min_members[p]:
        return np.nan, np.nan
    median, mad = middle_and_spread(state.ordered[g], state.size[g])
    return median, max(mad, params.min_mad[p], params.min_mad_share[p] * abs(median))


@kernel
def tell(g: int, state: State, params: Any, out: Any) -> None:
    """Write the scores that group `g` waits with."""
    centre, k = centre_of(g, state, params), params.k[params.row[g]]
    for j in range(state.used[g]):
        if state.waits[g, j] == 1:
            state.waits[g, j] = 0
            x, quality = state.x[g, j], state.quality[g, j]
            scored(state.row[g, j], state.now_ns[g], x, quality, centre, k, out)
    state.waiting[g] = 0


@kernel
def go_on(g: int, t: int, max_age: int, state: State) -> None:
    """Begin a new instant at `t`: nobody has a sample of it, and old members no longer count."""
    state.now_ns[g], state.present[g] = t, 0
    for j in range(state.used[g]):
        if state.counts[g, j] == 1 and t - state.t_ns[g, j] > max_age:
            state.counts[g, j] = 0
            leave(state.ordered[g], state.size[g], state.x[g, j])
            state.size[g] -= 1


@kernel
def place_of(g: int, member: int, state: State) -> int:
    """Slot of a member of group `g`, else a free one, else the width of the state."""
    used = int(state.used[g])
    free = used
    for j in range(used):
        if state.counts[g, j] == 0:
            free = j
        elif state.row[g, j] == member:
            return j
    return free


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Score each member's sample against the last samples of all members at that time.

    Equivalent to: an instant is a time at which a member has a known sample. Its result is told
    once all members that count have a sample of it, else with the first row of a later time: per
    member with a sample (the last one) of that instant `(x - m) / d`, where m is the median of
    the last values of the members that count and d = max(1.4826 * median(|values - m|), min_mad,
    min_mad_share * |m|); NaN when fewer than `min_members` count. A member counts while its
    last sample is at most `max_age` older than the instant and it has one of the `members_max`
    slots. A row from before the latest instant is scored at once with its own time, as is one of
    a member without a slot; NaN when it is older than `max_age`. Fields: x, m, m -/+ k * d. Rows
    are the members'. |x| > 1e150 is not known.
    """
    for i in range(first, batch.series.size):
        g, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        member, quality, max_age = batch.member[i], batch.quality[i], params.max_age[params.row[g]]
        k = params.k[params.row[g]]
        if state.waiting[g] > 0 and t > state.now_ns[g]:
            tell(g, state, params, out)
        if not abs(x) <= LARGEST or quality == BAD:
            scored(member, t, np.nan, BAD, (np.nan, np.nan), k, out)
            continue
        if state.used[g] == 0 or t > state.now_ns[g]:
            go_on(g, t, max_age, state)
        if state.now_ns[g] - t > max_age:
            scored(member, t, x, BAD, (np.nan, np.nan), k, out)
            continue
        at = place_of(g, member, state)
        if at == state.row.shape[1]:
            state.not_counted[0] += 1
            scored(member, t, x, quality, centre_of(g, state, params), k, out)
            continue
        late = t < state.now_ns[g]
        state.used[g] = max(state.used[g], at + 1)
        if state.counts[g, at] == 1:
            leave(state.ordered[g], state.size[g], state.x[g, at])
            state.size[g] -= 1
        if not late and (state.counts[g, at] == 0 or state.t_ns[g, at] < t):
            state.present[g] += 1
        enter(state.ordered[g], state.size[g], x)
        state.size[g] += 1
        state.row[g, at], state.counts[g, at], state.quality[g, at] = member, 1, quality
        state.x[g, at], state.t_ns[g, at] = x, t
        if late:
            scored(member, t, x, quality, centre_of(g, state, params), k, out)
            continue
        state.waiting[g] += 1 - state.waits[g, at]
        state.waits[g, at] = 1
        if state.present[g] == state.size[g]:
            tell(g, state, params, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Tell the scores of an instant that has passed.

    Equivalent to what `step` does before a row at `clock_ns`.
    """
    for g in range(first, last):
        if state.waiting[g] > 0 and clock_ns[g] > state.now_ns[g]:
            tell(g, state, params, out)


def group_of(of: str, labels: Labels, group_by: tuple[str, ...]) -> Labels | None:
    """Labels in `group_by`, without it all but the member's; channels are never mixed."""
    names = [name for name, _ in labels]
    if of not in names:
        return None
    kept = {*(group_by or names), "channel"} - {of}
    return tuple((name, value) for name, value in labels if name in kept)


def regroup(params: Peer, labels: Labels, group_by: tuple[str, ...]) -> tuple[Labels, int] | None:
    """The group of a series; a member is known by its row, so that its slot says nothing."""
    group = group_of(params.of, labels, group_by)
    return None if group is None else (group, 0)


def renumber(state: State, _params: Any, moved: I4) -> None:
    """A member that was forgotten counts as long as one that is silent, but is told of no more."""
    used = np.arange(state.row.shape[1]) < state.used[:, None]
    known = used & (state.row != FULL)
    state.row[known] = moved[state.row[known]]
    state.waits[used & (state.row == FULL)] = 0


OPERATOR = Operator(
    name="peer",
    summary="Scores each member of a group by its distance from the others at the same time.",
    params=Peer,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="peer: {of: device, k: 6, min_mad: 0.5}",
    emits="score",
    fields=lambda params: ("input", "expected", "lower", "upper"),  # noqa: ARG005 - same for all
    fanout=lambda params: params.members_max + 1,
    condition=lambda params: When(outside=(-params.k, params.k)),
    regroup=regroup,
    renumber=renumber,
    per_member=True,
    slowest=True,
)
