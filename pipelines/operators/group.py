"""group: one number for all members of a group, at a steady pace, groups of groups included."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND, Name
from config.params import Params
from config.tables import TableName
from config.units import Duration
from pipelines.batch import BAD, F8, GOOD, I4, I8, U1, UNCERTAIN, GroupedBatch, clocks
from pipelines.hierarchy import NAMES, arrays, entry, hierarchy, key_of, result, rolled
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, added
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import FULL, Labels, moved_up


class Group(Params):
    """Who belongs together, what is told of them, and how often."""

    EXTRA_ROWS: ClassVar = ("cells", "buckets", "index_size", "parents", *NAMES)

    stat: Literal["sum", "mean", "min", "max", "count"] = Field(
        "sum", description="What is told of the members' latest values."
    )
    of: Name = Field("device", description="Label that tells members apart.")
    hierarchy: TableName | None = Field(
        None, description="Table of members and their parents; without it, groups by group_by."
    )
    parent: Name = Field("parent", description="Column of that table with the parent's name.")
    levels: int = Field(
        16, ge=1, le=16, description="How far up a sample counts; 1: in its own parent alone."
    )
    every: Duration = Field(10 * SECOND, gt=0, description="Told at multiples of this.")
    max_age: Duration = Field(
        300 * SECOND, gt=0, description="A member that was silent for longer is not counted."
    )
    forget: Duration = Field(
        86_400 * SECOND, gt=0, description="Nor is it missed after so long, without a hierarchy."
    )
    wait: Duration = Field(SECOND, description="Members may be this far apart in time.")
    members_max: int = Field(256, ge=1, le=65_536, description="Members of one group at most.")
    channel: str | None = Field(
        None, min_length=1, max_length=64, description="Channel of the new series, if any."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_age < self.every or self.wait > 1000 * self.every:
            raise ValueError("max_age is at least every, and wait at most 1000 times every")
        parents(self)  # a hierarchy with a circle is refused
        return self

    @property
    def columns_needed(self) -> tuple[str, ...]:
        """Columns that the hierarchy must have."""
        return (self.parent,) if self.hierarchy is not None else ()

    @property
    def climbs(self) -> bool:
        """A group is above its members."""
        return self.hierarchy is not None and self.levels == 1

    @property
    def buckets(self) -> int:
        """Multiples of `every` that can be open at a time."""
        return self.wait // self.every + 3

    @classmethod
    def extra_rows(cls, sets: "Sequence[Group]") -> dict[str, Any]:
        """Sizes of the state, and the hierarchy; see `pipelines.hierarchy.arrays`."""
        made = arrays([p.hierarchy for p in sets], sets[0].parent)
        parents = max(1, made["parent_member"].size)
        sizes = [(p.members_max * p.buckets, p.buckets, 2 * p.members_max, parents) for p in sets]
        return dict(zip(cls.EXTRA_ROWS, np.array(sizes, np.int64).T, strict=False)) | made


class State(NamedTuple):
    """Per group its members: what counts now, and what will at the multiples that are open."""

    places: I4 = column("i4", "index_size")  # see `entry`
    key: I4 = column("i4", "members_max")
    used: I8 = column("i8")  # members so far
    t_ns: I8 = column("i8", "members_max")
    value: F8 = column("f8", "members_max")
    quality: U1 = column("u1", "members_max")
    open: I8 = column("i8", "cells")  # number of the multiple that a cell belongs to
    open_ns: I8 = column("i8", "cells")
    open_value: F8 = column("f8", "cells")
    open_quality: U1 = column("u1", "cells")
    filled: I8 = column("i8", "buckets")  # multiples with a sample
    last: I8 = column("i8")  # the last of those
    done: I8 = column("i8")  # multiples up to this one are over
    newest_ns: I8 = column("i8")
    fresh_ns: I8 = column("i8")  # newest known sample
    total: F8 = column("f8", "parents")  # from here on: room for one evaluation
    lost: F8 = column("f8", "parents")
    low: F8 = column("f8", "parents")
    high: F8 = column("f8", "parents")
    count: I8 = column("i8", "parents")  # type: ignore[assignment]
    absent: I8 = column("i8", "parents")
    worst: U1 = column("u1", "parents")
    late: I8 = column("i8", SINGLE)  # samples whose multiple was over
    not_counted: I8 = column("i8", SINGLE)  # samples of more members than `members_max`


Rows = rows_of(Group)


@kernel
def tell(s: int, k: int, state: State, params: Any, out: Any) -> None:
    """Append what group `s` comes to at multiple `k` of `every`, or what all its parents do."""
    p = params.row[s]
    size, at_ns = params.buckets[p], k * params.every[p]
    total, lost, low, high, worst, n, absent = 0.0, 0.0, np.inf, -np.inf, GOOD, 0, 0
    for m in range(state.used[s]):
        c = m * size + k % size
        if state.open[s, c] == k and state.open_ns[s, c] >= state.t_ns[s, m]:
            state.t_ns[s, m], state.value[s, m] = state.open_ns[s, c], state.open_value[s, c]
            state.quality[s, m] = state.open_quality[s, c]
        age = at_ns - state.t_ns[s, m]
        if age <= params.max_age[p]:
            total, lost = added(total, lost, state.value[s, m])
            low, high = min(low, state.value[s, m]), max(high, state.value[s, m])
            worst, n = max(worst, state.quality[s, m]), n + 1
        elif age <= params.forget[p] and state.t_ns[s, m] > 0:
            absent += 1
    state.done[s] = k
    if params.parent_member.size:
        rolled(s, at_ns, state, params, out)
        return
    i = out.count[0]
    y = result(params.stat[p], n, total + lost, low, high)
    known = np.isfinite(y) and n > 0
    out.series[i], out.t_ns[i], out.start_ns[i] = s, at_ns, at_ns
    out.value[i] = y if known else np.nan
    out.quality[i] = BAD if not known else max(worst, UNCERTAIN) if absent else worst
    out.fields[i, 0], out.fields[i, 1] = n, absent
    out.count[0] = i + 1


@kernel
def flow(
    first: int, last: int, ticking: bool, rows: GroupedBatch, state: State, params: Any, out: Any
) -> None:
    """Rows [first, last) of `step`, or of `tick` with the clock of group s at `rows.t_ns[s]`."""
    for i in range(first, last):
        s, t = i if ticking else rows.series[i], rows.t_ns[i]
        p = params.row[s]
        every, size = params.every[p], params.buckets[p]
        if ticking and state.used[s] == 0:
            continue
        state.newest_ns[s] = max(t, state.newest_ns[s])
        until = state.newest_ns[s] - params.wait[p]
        if state.done[s] < state.last[s] and (state.done[s] + 1) * every < until:
            for k in range(max(state.done[s] + 1, state.last[s] - size + 1), state.last[s] + 1):
                if state.filled[s, k % size] == k and k * every < until:
                    tell(s, k, state, params, out)
        gone = (state.fresh_ns[s] + params.max_age[p]) // every + 1
        if state.fresh_ns[s] > 0 and state.done[s] < gone and gone * every < until:
            tell(s, gone, state, params, out)
        if ticking or not (abs(rows.value[i]) <= LARGEST and rows.quality[i] != BAD):
            continue
        key = rows.slot[i] if params.parent_member.size else rows.member[i]
        place = entry(s, key, state.places, state.key)
        m = state.places[s, place] - 1
        if m < 0:
            m = state.used[s]
            if m == params.members_max[p]:
                state.not_counted[0] += 1
                continue
            state.places[s, place], state.key[s, m], state.used[s] = m + 1, key, m + 1
        state.fresh_ns[s] = max(t, state.fresh_ns[s])
        k = -(-t // every)
        c = m * size + k % size
        if k <= state.done[s]:
            state.late[0] += 1
            if t >= state.t_ns[s, m]:
                state.t_ns[s, m], state.value[s, m] = t, rows.value[i]
                state.quality[s, m] = rows.quality[i]
        elif state.open[s, c] != k or t >= state.open_ns[s, c]:
            state.open[s, c], state.open_ns[s, c] = k, t
            state.open_value[s, c], state.open_quality[s, c] = rows.value[i], rows.quality[i]
            state.filled[s, k % size] = k
            state.last[s] = max(k, state.last[s])


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Tell what the members come to, at each multiple of `every` that somebody's sample led to.

    Equivalent to: a known sample belongs to the first multiple of `every` that is not earlier. A
    multiple T with a sample is told before the first row later than T + `wait`: the statistic of
    the last value of each member at T, of those not older than `max_age`; a member older than that
    (and than `forget`: no more) makes it uncertain, and without any it is not known. That is also
    told at the first multiple that is more than `max_age` after the newest sample. A sample whose
    multiple was told is late, and counts from the next one on; |x| > 1e150 is not known.
    """
    flow(first, batch.series.size, False, batch, state, params, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Tell the multiples that are over.

    Equivalent to what `step` does before a row at `clock_ns`.
    """
    flow(first, last, True, clocks(clock_ns, out), state, params, out)


def regroup(params: Group, labels: Labels, group_by: tuple[str, ...]) -> tuple[Labels, int] | None:
    """Labels of the group, or of the whole hierarchy; slot: the member's name as a number."""
    have = dict(labels)
    if params.of not in have:
        return None
    own = {"channel": params.channel} if params.channel else {}
    if params.hierarchy is not None:
        table, name = params.hierarchy.table, have[params.of]
        if table is None:  # not looked up yet: what comes out looks like this
            return tuple(sorted((own | {params.of: name}).items())), 0
        return ((), key_of(name)) if name in table.by_key else None
    kept = group_by or tuple(name for name in have if name not in (params.of, "channel"))
    group = {name: have[name] for name in have if name in kept} | own
    return tuple(sorted(group.items())), key_of(have[params.of])


def parents(params: Group) -> tuple[Labels, ...]:
    """Labels of every group of the hierarchy."""
    own = {"channel": params.channel} if params.channel else {}
    made = hierarchy(params.hierarchy.table if params.hierarchy else None, params.parent)
    return tuple(tuple(sorted((own | {params.of: name}).items())) for name in made.parents)


def renumber(state: State, params: Any, moved: I4) -> None:
    """Members that were forgotten leave their places; those of a hierarchy are known by name."""
    if params.parent_member.size:
        return
    for s in np.flatnonzero(state.used).tolist():
        size = int(params.buckets[params.row[s]])
        key = moved[state.key[s, : state.used[s]]]
        left = np.flatnonzero(key != FULL)
        state.key[s, : left.size] = key[left]
        for column_ in (state.t_ns[s], state.value[s], state.quality[s]):
            moved_up(column_, left, key.size)
        for cells in (state.open, state.open_ns, state.open_value, state.open_quality):
            moved_up(cells[s, : key.size * size].reshape(-1, size), left, key.size)
        state.used[s], state.places[s] = left.size, 0
        for m in range(left.size):
            place = entry.plain(s, state.key[s, m], state.places, state.key)
            state.places[s, place] = m + 1


OPERATOR = Operator(
    name="group",
    summary="Adds up the members of groups, and of groups of groups, at a steady pace.",
    params=Group,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="group: {of: device, stat: sum, every: 10s}",
    fields=lambda params: ("members", "absent"),  # noqa: ARG005 - the same for all
    fanout=lambda params: (params.buckets + 1) * max(1, len(parents(params))),
    regroup=regroup,
    renumber=renumber,
    slowest=True,
    delay_ns=lambda params: params.wait + 1,
    expected=parents,
)
