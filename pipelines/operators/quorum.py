"""quorum: how many members of a group are in alarm at the same time.

There is no least number of members that must be known: its input are alerts, which tell changes
alone, so one that never alarmed and one that never was heard of look the same. Who is silent, a
second quorum over the alerts of `missing` counts.
"""

import math
from typing import Any, NamedTuple, Self
from zlib import crc32

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND, Name, When
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, GOOD, I4, I8, U1, GroupedBatch
from pipelines.jit import kernel
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import FULL, NEVER, Labels


class Quorum(Params):
    """Who is counted, and how many are enough."""

    of: Name = Field(description="Label that tells members apart, such as device.")
    at_least: int | None = Field(
        None, ge=1, le=4096, description="So many active members raise an alert."
    )
    fraction: float | None = Field(
        None, gt=0, le=1, description="Instead of at_least: this share of `members`."
    )
    members: int | None = Field(
        None, ge=1, le=4096, description="How many members a whole group has, for fraction."
    )
    within: Duration = Field(
        300 * SECOND,
        description="A member counts this long after it became active, even if it has cleared "
        "since; 0: only while it is active.",
    )
    active_max: int = Field(
        256, ge=1, le=4096, description="Series of one group that can count at the same time."
    )

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.at_least is None) == (self.fraction is None):
            raise ValueError("give at_least: 3, or fraction: 0.5 with members: 12")
        if (self.fraction is None) != (self.members is None):
            raise ValueError("fraction and members belong together: what is it a share of?")
        if self.enough > self.active_max:
            raise ValueError(f"{self.enough} members can never count: active_max is less")
        return self

    @property
    def enough(self) -> int:
        """Active members that raise the alert."""
        if self.fraction is None or self.members is None:
            return self.at_least or 1
        # 0.07 * 100 is a little more than 7, and still means 7 members.
        return max(1, math.ceil(self.fraction * self.members - 1e-9))


class State(NamedTuple):
    """Per group the series that count; a slot of one that no longer does is used again."""

    row: I4 = column("i4", "active_max")  # of the series
    name: I4 = column("i4", "active_max")  # of the member it belongs to, see `regroup`
    active: U1 = column("u1", "active_max")
    until_ns: I8 = column("i8", "active_max")  # counts before then even when it has cleared
    used: I8 = column("i8")  # slots from here on were never used
    told: I8 = column("i8")  # how many, as last told
    now_ns: I8 = column("i8")  # what ended up to here has been told
    not_counted: I8 = column("i8", SINGLE)  # activations that found no free slot


Rows = rows_of(Quorum)


@kernel
def another(g: int, used: int, j: int, now: int, name: Any, active: Any, until_ns: Any) -> bool:
    """Whether another series of the member that series j of group `g` belongs to counts."""
    for k in range(used):
        if k != j and name[g, k] == name[g, j] and (active[g, k] == 1 or until_ns[g, k] > now):
            return True
    return False


@kernel
def ended(
    g: int, used: int, since: int, now: int, name: Any, active: Any, until_ns: Any
) -> int:  # fmt: skip
    """Members of group `g` that stop counting at `now`, the first such moment after `since`."""
    count = 0
    for j in range(used):
        if active[g, j] == 0 and since < until_ns[g, j] <= now:
            last = not another(g, used, j, now, name, active, until_ns)
            for k in range(j if last else 0):  # of two series that end together one counts
                if name[g, k] == name[g, j] and active[g, k] == 0 and until_ns[g, k] > since:
                    last = False
            count += 1 if last else 0
    return count


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Tell how many members are active, each time that number changes.

    Equivalent to: a series counts while its last known value is above 0.5, and before
    `rise + within` where `rise` is when it last became so; a member counts while one of its
    series (same `slot`) does; what is not known changes nobody (for members that are silent, count
    the alerts of `missing`). The number of members is told, if it has changed, after each known
    row at its time, and at each end of a `within` before the time of any row. A row earlier than
    what was told last of its group is taken at that time.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        g, x = batch.series[i], batch.value[i]
        known = np.isfinite(x) and batch.quality[i] != BAD
        t = max(batch.t_ns[i], state.now_ns[g])
        used = state.used[g]
        arrived = False
        while not arrived:
            now = t
            for j in range(used):
                if state.now_ns[g] < state.until_ns[g, j] < now:
                    now = state.until_ns[g, j]
            arrived = now == t
            if arrived and not known:
                break
            count = state.told[g] - ended(
                g, used, state.now_ns[g], now, state.name, state.active, state.until_ns
            )
            if arrived:
                at, free = 0, used
                while at < used and state.row[g, at] != batch.member[i]:
                    if state.active[g, at] == 0 and state.until_ns[g, at] <= now:
                        free = at
                    at += 1
                if at == used and x > 0.5:
                    at = free
                    if at < state.row.shape[1]:
                        used = max(used, at + 1)
                        state.used[g] = used
                        state.row[g, at] = batch.member[i]
                        state.name[g, at] = batch.slot[i]
                        state.active[g, at] = 0
                    else:
                        state.not_counted[0] += 1
                if at < used:
                    before = state.active[g, at] == 1 or state.until_ns[g, at] > now
                    if x > 0.5 and state.active[g, at] == 0:
                        state.until_ns[g, at] = now + params.within[params.row[g]]
                    state.active[g, at] = 1 if x > 0.5 else 0
                    after = state.active[g, at] == 1 or state.until_ns[g, at] > now
                    if before != after and not another(
                        g, used, at, now, state.name, state.active, state.until_ns
                    ):
                        count += 1 if after else -1
            state.now_ns[g] = now
            if count != state.told[g]:
                state.told[g] = count
                out.series[n] = g
                out.t_ns[n] = now
                out.start_ns[n] = now
                out.value[n] = count
                out.quality[n] = GOOD
                n += 1
    out.count[0] = n
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:  # noqa: ARG001 - same arguments for every operator
    """Tell where members have stopped counting.

    Equivalent to what `step` does before a row at `clock_ns`.
    """
    n = out.count[0]
    for g in range(first, last):
        used = state.used[g]
        while clock_ns[g] != NEVER:
            now = clock_ns[g]
            for j in range(used):
                if state.now_ns[g] < state.until_ns[g, j] < now:
                    now = state.until_ns[g, j]
            if now == clock_ns[g]:
                break
            count = state.told[g] - ended(
                g, used, state.now_ns[g], now, state.name, state.active, state.until_ns
            )
            state.now_ns[g] = now
            if count != state.told[g]:
                state.told[g] = count
                out.series[n] = g
                out.t_ns[n] = now
                out.start_ns[n] = now
                out.value[n] = count
                out.quality[n] = GOOD
                n += 1
    out.count[0] = n


def regroup(params: Quorum, labels: Labels, group_by: tuple[str, ...]) -> tuple[Labels, int] | None:
    """Labels in `group_by`, without it all but the member's and the channel's; slot: the member.

    The slot is a checksum of the member's name: two of 100 members share one, and then count as
    one, in one of 400 000 groups.
    """
    have = dict(labels)
    if params.of not in have:
        return None
    kept = group_by or tuple(name for name in have if name not in (params.of, "channel"))
    group = tuple((name, value) for name, value in labels if name in kept)
    return group, crc32(have[params.of].encode()) & 0x7FFFFFFF


def renumber(state: State, _params: Any, moved: I4) -> None:
    """A member that was forgotten keeps its slot as long as one that is silent."""
    used = np.arange(state.row.shape[1]) < state.used[:, None]
    known = used & (state.row != FULL)
    state.row[known] = moved[state.row[known]]


OPERATOR = Operator(
    name="quorum",
    summary="Counts how many members of a group are in alarm at the same time.",
    params=Quorum,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="quorum: {of: device, at_least: 3, within: 5m}",
    emits="score",
    fanout=lambda params: params.active_max + 1,
    condition=lambda params: When(above=params.enough - 0.5),
    regroup=regroup,
    renumber=renumber,
)
