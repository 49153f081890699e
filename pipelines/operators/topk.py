"""topk: the members of a group with the largest or smallest numbers in each window."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self
from zlib import crc32

import numpy as np
from pydantic import Field, model_validator

from config.model import SECOND, Name
from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, GOOD, I4, I8, U1, UNCERTAIN, GroupedBatch
from pipelines.jit import kernel
from pipelines.numerics import LARGEST, added
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.operators.peer import group_of
from pipelines.series import NEVER, Labels, series_key


class Topk(Params):
    """Who is ranked by what, over which windows."""

    EXTRA_ROWS: ClassVar = ("cells",)
    SIZED_BY: ClassVar = ("members_max",)

    of: Name = Field(description="Label that tells members apart, such as device.")
    k: int = Field(3, ge=1, le=64, description="So many members are told of each window.")
    order: Literal["largest", "smallest"] = Field(
        "largest", description="Which of them: those with the largest or smallest number."
    )
    by: Literal["mean", "max", "min", "sum", "last", "count"] = Field(
        "mean", description="Number of a member in a window that it is ranked by."
    )
    size: Duration = Field(
        gt=0, description="Length of a window; windows begin at whole multiples since 1970 UTC."
    )
    wait: Duration = Field(
        2 * SECOND,
        description="One member may come in this much behind another; at most `size`. A window is "
        "told so long after its end.",
    )
    members_max: int = Field(
        256, ge=1, le=4096, description="Members of one group that are ranked in one window."
    )

    @model_validator(mode="after")
    def _two_windows(self) -> Self:
        if self.wait > self.size:
            raise ValueError("wait is longer than size: expected at most size")
        return self

    @classmethod
    def extra_rows(cls, sets: Sequence["Topk"]) -> dict[str, Any]:
        """Array cells (R,): members of the two windows that can be open at a time."""
        return {"cells": np.array([2 * p.members_max for p in sets], np.int64)}


class State(NamedTuple):
    """Per group its two open windows: members of window w in one half of the cells, by w % 2."""

    row: I4 = column("i4", "cells")  # of the member's series
    key: I4 = column("i4", "cells")  # decides between equal numbers, see `regroup`
    samples: I8 = column("i8", "cells")
    x: F8 = column("f8", "cells")  # sum, extreme or last value so far
    lost: F8 = column("f8", "cells")  # digits that a sum has no room for
    quality: U1 = column("u1", "cells")  # the worst of its samples
    used: I8 = column("i8", 2)  # cells in use of either half
    last: I8 = column("i8", 2)  # the cell that was used last
    begun: U1 = column("u1")
    born_ns: I8 = column("i8")  # the first sample of all
    shut: I8 = column("i8")  # windows before this one are closed
    ahead: I8 = column("i8")  # no window after this one has a sample
    late: I8 = column("i8", SINGLE)  # samples that came after their window had closed
    not_counted: I8 = column("i8", SINGLE)  # samples of members that found no free cell


Rows = rows_of(Topk)
LARGEST_FIRST = 0
MEAN, MAX, MIN, SUM, LAST, COUNT = range(6)


@kernel
def cell_of(g: int, w: int, member: int, state: State, members_max: int) -> int:
    """Cell of a member in window `w` of group `g`, perhaps the next new one; -1 if there is none."""
    half = state.row.shape[1] // 2
    begin = w % 2 * half
    end = begin + state.used[g, w % 2]
    at = state.last[g, w % 2] + 1  # members mostly come in the same order
    if not (begin <= at < end and state.row[g, at] == member):
        at = begin
        while at < end and state.row[g, at] != member:
            at += 1
    if at - begin >= min(half, members_max):
        return -1
    state.last[g, w % 2] = at
    return int(at)


@kernel
def close(g: int, until: int, state: State, params: Any, out: Any) -> None:
    """Give out the first k members of the windows of group `g` before window `until`."""
    p, n, half = params.row[g], out.count[0], state.row.shape[1] // 2
    sign = 1.0 if params.order[p] == LARGEST_FIRST else -1.0
    for w in range(max(state.shut[g], state.ahead[g] - 1), min(until, state.ahead[g] + 1)):
        begin = w % 2 * half
        end = begin + state.used[g, w % 2]
        for j in range(begin, end):
            if params.by[p] == COUNT:
                state.x[g, j] = state.samples[g, j]
            elif params.by[p] in (SUM, MEAN):
                state.x[g, j] += state.lost[g, j]
                if params.by[p] == MEAN:
                    state.x[g, j] /= state.samples[g, j]
        start_ns = w * params.size[p]
        for rank in range(1, min(params.k[p], end - begin) + 1):
            best = -1
            for j in range(begin, end):
                if state.samples[g, j] > 0:
                    ahead = best < 0
                    if not ahead and state.x[g, j] != state.x[g, best]:
                        ahead = sign * state.x[g, j] > sign * state.x[g, best]
                    elif not ahead and state.key[g, j] != state.key[g, best]:
                        ahead = state.key[g, j] < state.key[g, best]
                    elif not ahead:
                        ahead = state.row[g, j] < state.row[g, best]
                    best = j if ahead else best
            state.samples[g, best] = 0
            out.series[n] = state.row[g, best]
            out.t_ns[n], out.start_ns[n] = start_ns + params.size[p], start_ns
            out.value[n] = state.x[g, best]
            out.quality[n] = max(
                state.quality[g, best], UNCERTAIN if start_ns < state.born_ns[g] else GOOD
            )
            out.fields[n, 0] = state.x[g, best]
            out.fields[n, 1] = rank
            n += 1
        state.used[g, w % 2] = 0
    state.shut[g] = max(state.shut[g], until)
    out.count[0] = n


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Close the windows that end by the time of a known sample, then count it in its own.

    Equivalent to: windows [j size, (j + 1) size) are told once a known sample of the group, or
    its clock, is at or past end + wait: the first k members by the chosen number over their known
    samples in the window, largest (smallest) first, of equals the one with the smaller key, then
    the smaller row. A row each: series the member's, t_ns the end, value the number, fields it
    and the rank from 1 on. Quality is the worst of the member's samples, UNCERTAIN at least if
    the window began before the first known sample of the group. A sample of a closed window is
    `late`, one of a further member than `members_max` of a window `not_counted`; both are left
    out. |x| > 1e150 is not known.
    """
    for i in range(first, batch.series.size):
        g, t, x, quality = batch.series[i], batch.t_ns[i], batch.value[i], batch.quality[i]
        if not abs(x) <= LARGEST or quality == BAD:
            continue
        p = params.row[g]
        by, w, open_ = params.by[p], t // params.size[p], (t - params.wait[p]) // params.size[p]
        if state.begun[g] == 0:
            state.begun[g] = 1
            state.born_ns[g] = t
            state.shut[g], state.ahead[g] = open_, w
        if open_ > state.shut[g]:
            close(g, open_, state, params, out)
        if w < state.shut[g]:
            state.late[0] += 1
            continue
        at = cell_of(g, w, batch.member[i], state, params.members_max[p])
        if at < 0:
            state.not_counted[0] += 1
            continue
        state.ahead[g] = max(state.ahead[g], w)
        end = w % 2 * (state.row.shape[1] // 2) + state.used[g, w % 2]
        if at == end:
            state.used[g, w % 2] += 1
            state.row[g, at], state.key[g, at] = batch.member[i], batch.slot[i]
            state.samples[g, at], state.quality[g, at] = 0, GOOD
            state.x[g, at] = x if by in (MAX, MIN) else 0.0
            state.lost[g, at] = 0.0
        state.samples[g, at] += 1
        state.quality[g, at] = max(state.quality[g, at], quality)
        if by in (MEAN, SUM):
            state.x[g, at], state.lost[g, at] = added(state.x[g, at], state.lost[g, at], x)
        elif by == MAX:
            state.x[g, at] = max(state.x[g, at], x)
        elif by == MIN:
            state.x[g, at] = min(state.x[g, at], x)
        else:
            state.x[g, at] = x
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Close the windows that the clock of their group has passed.

    Equivalent to: the rows that `step` would give for a sample at `clock_ns`, without the sample.
    """
    for g in range(first, last):
        if state.begun[g] == 1 and clock_ns[g] != NEVER:
            p = params.row[g]
            until = (clock_ns[g] - params.wait[p]) // params.size[p]
            if until > state.shut[g]:
                close(g, until, state, params, out)


def regroup(params: Topk, labels: Labels, group_by: tuple[str, ...]) -> tuple[Labels, int] | None:
    """The group of a series; slot: a checksum of its name, which is the same in every run."""
    group = group_of(params.of, labels, group_by)
    return None if group is None else (group, crc32(series_key(labels).encode()) & 0x7FFFFFFF)


OPERATOR = Operator(
    name="topk",
    summary="Ranks the members of a group in each window, and gives out the first k.",
    params=Topk,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="topk: {of: device, k: 3, size: 1m, by: mean}",
    emits="window",
    fields=lambda params: (params.by, "rank"),
    fanout=lambda params: 2 * params.k,
    regroup=regroup,
    per_member=True,
    slowest=True,
    delay_ns=lambda params: params.wait,
)
