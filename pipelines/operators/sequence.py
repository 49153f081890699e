"""sequence: things that happen one after the other, or fail to, within a time."""

from collections.abc import Sequence as Several
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import Name, When
from config.params import Params
from config.units import Duration, duration_text
from pipelines.batch import BAD, I8, U1, GroupedBatch
from pipelines.jit import kernel
from pipelines.matching import (
    CHANGE,
    NUMBERS,
    STEPS_MAX,
    STRICT,
    Part,
    advance,
    allowed,
    begin,
    fire,
    in_numbers,
    note,
    settle,
)
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import NEVER, Labels


class Sequence(Params):
    """What has to happen in which order, and how soon."""

    EXTRA_ROWS: ClassVar = (*NUMBERS, "hold_ns")

    of: Name = Field(
        "channel", description="Label that steps name: channel, device, or alert in a chain."
    )
    steps: tuple[Part, ...] = Field(
        max_length=STEPS_MAX,
        description="In order: {is: door, above: 0.5} happens, {not: badge} does not happen "
        "between the steps around it, or {not: badge, for: 5s} for that long; above and below are "
        "limits, with neither it is above 0.5.",
    )
    within: Duration = Field(
        gt=0, description="From the first event to the last at most, or to the end of a last `not`."
    )
    event: Literal["change", "sample"] = Field(
        "change",
        description="change: a condition that becomes true happens once · sample: it happens with "
        "each sample that fulfils it.",
    )
    contiguity: Literal["relaxed", "strict"] = Field(
        "relaxed",
        description="What may come between two events: relaxed: anything but what a `not` names · "
        "strict: no other event of the steps' channels, nor the end of a condition.",
    )
    after_match: Literal["skip_past_last", "no_skip"] = Field(
        "skip_past_last",
        description="skip_past_last: an event is in one match only, that of the earliest begin · "
        "no_skip: every first event may lead to a match.",
    )
    on_timeout: Literal["drop", "emit"] = Field(
        "drop", description="emit: a row with value 0 for what began and took longer than `within`."
    )
    hold: Duration | None = Field(
        None,
        description="A row with value 0 follows when no match came for so long, which ends an "
        "alert; default: as `within`; 0: none.",
    )
    attempts_max: int = Field(
        32, ge=1, le=256, description="Begun sequences of one group at the same time."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(self.steps) < 2:
            raise ValueError("a sequence has at least 2 steps")
        if all(part.is_ is None for part in self.steps):
            raise ValueError("at least one step is something that happens: {is: door, above: 0.5}")
        happening = [c for c, part in enumerate(self.steps) if part.is_ is not None]
        first, last = happening[0], happening[-1]
        if any(part.for_ is None for part in self.steps[:first]):
            raise ValueError("how long did it not happen before? {not: badge, for: 5s}")
        if self.contiguity == "strict" and any(p.not_ for p in self.steps[first:last]):
            raise ValueError("strict: nothing comes between events, so no `not` belongs there")
        rest = sum(in_numbers(self.steps, self.names)["rest"][1:])
        if rest > self.within:
            raise ValueError(f"takes {duration_text(rest)} at least, more than `within`")
        return self

    @property
    def names(self) -> list[str]:
        """Members that steps name, in order of the alphabet; their place is their slot."""
        return sorted({part.name for part in self.steps})

    @classmethod
    def extra_rows(cls, sets: Several["Sequence"]) -> dict[str, Any]:
        """The steps in numbers, and `hold_ns` (R,)."""
        made = [in_numbers(p.steps, p.names) for p in sets]
        hold = [p.within if p.hold is None else p.hold for p in sets]
        return {name: np.array([m[name] for m in made]) for name in NUMBERS} | {
            "hold_ns": np.array(hold, np.int64)
        }


class State(NamedTuple):
    """Per group what has begun, and what its steps last looked like."""

    start_ns: I8 = column("i8", "attempts_max")
    last_ns: I8 = column("i8", "attempts_max")  # its newest event
    stage: I8 = column("i8", "attempts_max")  # events so far
    spoilt: U1 = column("u1", "attempts_max")  # nothing after `spoilt_ns` can carry it on
    spoilt_ns: I8 = column("i8", "attempts_max")
    worst: U1 = column("u1", "attempts_max")  # quality of its events
    used: I8 = column("i8")
    held: I8 = column("i8")  # bits of the steps whose condition the last sample fulfilled
    begun: U1 = column("u1")
    born_ns: I8 = column("i8")  # the first sample of all
    now_ns: I8 = column("i8")  # what fell due up to here has been told
    due_ns: I8 = column("i8")  # when something falls due next, if anything is under way
    done: U1 = column("u1")
    done_ns: I8 = column("i8")  # the newest match
    stands: U1 = column("u1")  # and the row that ends it is to come
    heard: U1 = column("u1", STEPS_MAX)  # 2: both of these times are known, 1: the newest
    newest_ns: I8 = column("i8", STEPS_MAX)  # a sample fulfilled the step's condition
    older_ns: I8 = column("i8", STEPS_MAX)  # the newest before that time
    forgotten: I8 = column("i8", SINGLE)  # begun, and given up for want of room


Rows = rows_of(Sequence)


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Carry on what has begun with each sample that is an event, and begin anew with it.

    Equivalent to: known samples of the named members of a group, in order; t is the sample's time
    or that of the newest of the group, whichever is later. A step's condition holds for a sample
    with above < x < below; its event is such a sample (`sample`), or one of these that follows one
    of the same name that is not (`change`). A match has one event for each `is`, each later than
    the one before and the first such that is allowed: after an event at u a `not` without `for`
    allows none later than the first sample v > u for which it holds; one with `for` d allows none
    before u + d, and no match if it holds in (u, u + d). `strict` allows none later than the first
    sample after u that is an event of any step or (`change`) ends its condition. A `not` before
    the first event at u must not hold in (u - d, u), and the group be heard since u - d. One after
    the last event ends the match at u + d, or without `for` at first event + within. Matches end
    by first event + within. Row of a match: from its first event to its end, value 1, quality the
    worst of its events, fields the number of its events, its seconds, and how many matches end
    then: one row tells them all, from the earliest begin. skip_past_last: what began by the end of
    a match is dropped. A row of value 0 tells at first event + within what has not failed by then
    (`emit`; field events: how many came), and at match + hold that no match followed.
    """
    for i in range(first, batch.series.size):
        s, x, slot, quality = batch.series[i], batch.value[i], batch.slot[i], batch.quality[i]
        if not np.isfinite(x) or quality == BAD:
            continue
        p, t = params.row[s], batch.t_ns[i]
        if state.begun[s] == 0:
            state.begun[s], state.born_ns[s] = 1, t
        else:
            t = max(t, state.now_ns[s])
        state.now_ns[s] = t
        if state.due_ns[s] <= t and (state.used[s] > 0 or state.stands[s] == 1):
            fire(s, t, state, params, out)
        rose, held, event = 0, 0, params.event[p]
        for c in range(params.length[p]):
            if params.slot[p, c] != slot:
                continue
            was = state.held[s] >> c & 1
            now = 1 if params.low[p, c] < x < params.high[p, c] else 0
            if now != was:
                event = 1
                state.held[s] ^= 1 << c
            held |= now << c
            if params.event[p] != CHANGE or was == 0:
                rose |= now << c
        watched = held & params.watched[p]
        if watched == 0 and rose == 0 and (event == 0 or params.contiguity[p] != STRICT):
            continue
        if watched & params.leading[p] != 0:
            note(s, t, watched & params.leading[p], state)
        under_way = state.used[s] > 0
        if under_way:
            advance(s, t, rose, held, event, quality, state, params, out)
        if rose >> params.happens[p, 0] & 1 and allowed(s, t, state, params):
            begin(s, t, quality, state, params, out)
            under_way = True
        if under_way:
            settle(s, state, params)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Tell what falls due by the clock.

    Equivalent to: what `step` tells before a sample at `clock_ns`.
    """
    for s in range(first, last):
        if clock_ns[s] == NEVER or (state.used[s] == 0 and state.stands[s] == 0):
            continue
        if state.due_ns[s] <= clock_ns[s]:
            fire(s, clock_ns[s], state, params, out)


def regroup(
    params: Sequence, labels: Labels, group_by: tuple[str, ...]
) -> tuple[Labels, int] | None:
    """Labels in `group_by`, without it all but the member's and the channel's; slot: its name."""
    have = dict(labels)
    names = params.names
    if have.get(params.of) not in names:
        return None
    kept = group_by or tuple(name for name in have if name not in (params.of, "channel"))
    group = tuple((name, value) for name, value in labels if name in kept)
    return group, names.index(have[params.of])


OPERATOR = Operator(
    name="sequence",
    summary="Tells when things happen one after the other, or fail to, within a time.",
    params=Sequence,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="sequence: {steps: [{is: door}, {not: badge, for: 5s}, {is: motion}], within: 60s}",
    emits="window",
    fields=lambda params: ("events", "duration", "count"),  # noqa: ARG005 - same for all
    fanout=lambda params: 2 * params.attempts_max + 3,
    condition=lambda params: When(above=0.5),  # noqa: ARG005 - same for all
    regroup=regroup,
)
