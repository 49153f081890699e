"""Alerts: one state machine per series, normal → pending → active → normal, with nested levels.

A value that is not known holds everything: it neither raises nor clears, and the delays do not
run out while it lasts.  Silence is not that: the last known value goes on to hold, so delays of
a silent series run out with its clock.

An alert has one or more levels, each with its own limit, deadband and delay (the exclusive limit
states of OPC UA Part 9).  It rises to a level whose limit was passed for the level's delay, and
leaves it when the value is back by the level's deadband: to the highest level whose limit is
still passed (as Kapacitor does), else to the lowest one it came through that still holds by its
deadband, else it ends.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from pydantic import Field

from config.params import Params
from pipelines.batch import BAD, F8, GOOD, I8, U1, Batch
from pipelines.jit import inlined, kernel
from pipelines.operator import Operator, column, rows_of
from pipelines.resting import at_rest

NORMAL, PENDING, ACTIVE = range(3)
RAISED, CLEARED, WORSENED, LEVELLED, FLAPPING, STEADY = range(1, 7)
KIND, WORST, LEVEL = range(3)
OWN_FIELDS: Final = 3
"""Columns of `Batch.fields` before those of the last step: KIND of transition, WORST value, and
LEVEL (an index into `Limits.levels`) from now on, or at the end the last one."""

LEVELS_MAX: Final = 8
FINITE: Final = np.finfo(np.float64).max

# What is remembered of a series to tell whether it flaps, and when that begins and ends; figures
# of Kapacitor, which has them from Nagios.
CHANGES: Final = 20  # between 21 states
OLDEST_WEIGHT: Final = 0.8
WEIGHT_STEP: Final = 0.02
FLAP_ENDS: Final = 0.25
FLAP_BEGINS: Final = 0.5
FLAP_LEAST: Final = (1 << 10) - 1  # bits of the fewest changes that reach that


class Level(Params):
    """One limit, or one on each side; None is no limit there."""

    low: float | None = None
    high: float | None = None
    deadband: float = Field(0.0, ge=0)
    on_delay_ns: int = Field(0, ge=0)
    name: str | None = None
    severity: str | None = None

    def implies(self, other: "Level") -> bool:
        """Whether every value beyond this level is beyond the other one."""
        high = self.high is None or (other.high is not None and self.high >= other.high)
        low = self.low is None or (other.low is not None and self.low <= other.low)
        return high and low and (self.low, self.high) != (None, None)


class Limits(Params):
    """The condition of one series as the kernel needs it."""

    levels: tuple[Level, ...] = Field((Level(),), min_length=1, max_length=LEVELS_MAX)
    off_delay_ns: int = Field(0, ge=0)
    latch: bool = False
    flapping: bool = Field(False, description="Whether changes are held back while it flaps.")
    update_by: float | None = Field(None, gt=0)
    slots: int = Field(1, ge=1, description="Number of levels.")
    width: int = Field(1, ge=1, description="Columns of `State.fields`: one more than the row has.")

    EXTRA_ROWS: ClassVar = (
        "low", "high", "deadband", "on_delay_ns", "rank", "implied", "floor", "ceiling",
    )  # fmt: skip

    @classmethod
    def extra_rows(cls, sets: "Sequence[Limits]") -> dict[str, Any]:
        """(R, slots) of each level; `rank`: its place among all, `implied`: bits of lower ones.

        floor, ceiling (R,): a value from one to the other is finite and passes no limit.
        """
        shape = (len(sets), max(s.slots for s in sets))
        low, high, deadband = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
        delay, rank, implied = (np.zeros(shape, np.int64) for _ in range(3))
        for r, chosen in enumerate(sets):
            levels = chosen.levels
            below = [[b for b in levels if b is not a and a.implies(b)] for a in levels]
            order = sorted(range(len(levels)), key=lambda k: len(below[k]))
            for place, k in enumerate(order):
                a = levels[k]
                low[r, k] = np.nan if a.low is None else a.low
                high[r, k] = np.nan if a.high is None else a.high
                deadband[r, k], delay[r, k], rank[r, k] = a.deadband, a.on_delay_ns, place
                implied[r, k] = sum(1 << j for j in order[:place] if a.implies(levels[j]))
        floor = np.where(np.isnan(low), -FINITE, low).max(axis=1)
        ceiling = np.where(np.isnan(high), FINITE, high).min(axis=1)
        made = (low, high, deadband, delay, rank, implied, floor, ceiling)
        return dict(zip(cls.EXTRA_ROWS, made, strict=True))


class State(NamedTuple):
    """(S,) where each series stands."""

    phase: U1 = column("u1")  # NORMAL, PENDING, ACTIVE
    level: U1 = column("u1")  # 1 + index of the level while active, else 0
    unknown: U1 = column("u1")  # 1 while the newest value is not known
    clearing: U1 = column("u1")  # 1 while active and back within all limits
    waiting: U1 = column("u1")  # 1 while a delay runs
    due_ns: I8 = column("i8")  # when the first of them runs out
    since_ns: I8 = column("i8")  # onset of the condition
    normal_ns: I8 = column("i8")  # since when it is gone
    over: I8 = column("i8")  # bits of the levels whose limit the newest known value passes
    onset_ns: I8 = column("i8", "slots")  # (S, slots) since when, for those
    last: F8 = column("f8")  # newest known value, while not at rest
    worst: F8 = column("f8")  # value furthest beyond a limit since the onset
    excess: F8 = column("f8")  # how far that was
    told: F8 = column("f8")  # excess at the last event
    changes: I8 = column("i8")  # bits: did the level change with one of the newest samples
    shown: U1 = column("u1")  # level after the newest known sample
    flapping: U1 = column("u1")  # 1 while changes are held back
    fields: F8 = column("f8", "width")  # (S, width) fields of the newest known row, unless at rest


Rows = rows_of(Limits)


@inlined
def _tell(s: int, t: int, kind: int, state: State, out: Batch) -> None:
    if state.flapping[s] == 1:
        return
    n = out.count[0]
    out.series[n], out.t_ns[n], out.start_ns[n] = s, t, state.since_ns[s]
    out.value[n], out.quality[n] = state.last[s], GOOD
    out.fields[n, KIND], out.fields[n, WORST] = kind, state.worst[s]
    out.fields[n, LEVEL] = max(state.level[s], 1) - 1
    for k in range(OWN_FIELDS, out.fields.shape[1]):
        out.fields[n, k] = state.fields[s, k - OWN_FIELDS]
    out.count[0] = n + 1
    state.told[s] = state.excess[s]


@inlined
def _plan(s: int, state: State, params: Any) -> None:
    """Note when the state of series `s` changes next if no sample comes."""
    p, waiting, due = params.row[s], 0, 0
    if state.clearing[s] == 1:
        if params.latch[p] == 0:
            waiting, due = 1, state.normal_ns[s] + params.off_delay_ns[p]
    elif state.over[s] != 0:
        level = int(state.level[s])
        for k in range(params.slots[p]):
            above = level == 0 or params.rank[p, k] > params.rank[p, level - 1]
            if (state.over[s] >> k) & 1 and above:
                end = state.onset_ns[s, k] + params.on_delay_ns[p, k]
                if waiting == 0 or end < due:
                    waiting, due = 1, end
    state.waiting[s], state.due_ns[s] = waiting, due


@inlined
def _due(s: int, t: int, state: State, params: Any, out: Batch) -> None:
    """Let the delays of series `s` run out that end before or at time `t`."""
    p = params.row[s]
    while state.waiting[s] == 1 and state.due_ns[s] <= t and state.unknown[s] == 0:
        due = state.due_ns[s]
        if state.clearing[s] == 1:
            state.phase[s], state.clearing[s] = NORMAL, 0
            _tell(s, due, CLEARED, state, out)
            state.level[s] = 0
        else:
            level, best = int(state.level[s]), -1
            for k in range(params.slots[p]):
                held = (state.over[s] >> k) & 1
                if held and due - state.onset_ns[s, k] >= params.on_delay_ns[p, k]:
                    best = k if best < 0 or params.rank[p, k] > params.rank[p, best] else best
            if level == 0 or params.rank[p, best] > params.rank[p, level - 1]:
                state.phase[s], state.level[s] = ACTIVE, best + 1
                _tell(s, due, RAISED if level == 0 else LEVELLED, state, out)
        _plan(s, state, params)


@inlined
def _lower(s: int, x: float, held: int, state: State, params: Any) -> int:
    """Level of an active series that left its own by the deadband, -1 when it is back within all.

    `held`: the highest level whose limit is passed for its delay, -1 for none.
    """
    p, now = params.row[s], int(state.level[s]) - 1
    best = least = -1
    for k in range(params.slots[p]):
        if (state.over[s] >> k) & 1:
            if k == held or params.rank[p, k] < params.rank[p, now]:
                best = k if best < 0 or params.rank[p, k] > params.rank[p, best] else best
            least = k if least < 0 or params.rank[p, k] < params.rank[p, least] else least
    if least >= 0:
        return best if best >= 0 else least
    for k in range(params.slots[p]):
        band = params.deadband[p, k]
        within = x > params.high[p, k] - band or x < params.low[p, k] + band
        if (params.implied[p, now] >> k) & 1 and within:
            least = k if least < 0 or params.rank[p, k] < params.rank[p, least] else least
    return least


@inlined
def _outside(s: int, t: int, x: float, beyond: float, held: int, state: State, out: Batch) -> None:
    """A value beyond some limit, of a series whose alert is not active."""
    if state.phase[s] == NORMAL:
        state.phase[s] = PENDING
        if state.flapping[s] == 0:
            state.since_ns[s], state.excess[s] = t, -1.0
    if beyond > state.excess[s]:
        state.worst[s], state.excess[s] = x, beyond
    if held >= 0:
        state.phase[s], state.level[s] = ACTIVE, held + 1
        _tell(s, t, RAISED, state, out)


@inlined
def _back(s: int, t: int, state: State, params: Any, out: Batch) -> None:
    """A value back within all limits, of a series whose alert is active."""
    p = params.row[s]
    if state.clearing[s] == 0:
        state.clearing[s], state.normal_ns[s] = 1, t
    if params.latch[p] == 0:
        state.waiting[s] = 1
        state.due_ns[s] = state.normal_ns[s] + params.off_delay_ns[p]
        if t >= state.due_ns[s]:
            state.phase[s], state.clearing[s], state.waiting[s] = NORMAL, 0, 0
            _tell(s, t, CLEARED, state, out)
            state.level[s] = 0


@kernel
def _flap_score(changes: int) -> float:
    """How much of the time the level changes, newer changes weighing more: 0 to 0.99."""
    score = 0.0
    for age in range(CHANGES):
        if (changes >> age) & 1:
            score += OLDEST_WEIGHT + WEIGHT_STEP * (CHANGES - 1 - age)
    return score / CHANGES


@inlined
def _unsteady(s: int, t: int, state: State, out: Batch) -> None:
    """Hold changes back from now on, if there are many."""
    if _flap_score(state.changes[s]) > FLAP_BEGINS:
        _tell(s, t, FLAPPING, state, out)
        state.flapping[s] = 1


@inlined
def _steady(s: int, t: int, state: State, out: Batch) -> None:
    """Hold changes back no longer, once there are few: say where the series stands now."""
    if _flap_score(state.changes[s]) >= FLAP_ENDS:
        return
    state.flapping[s] = 0
    _tell(s, t, STEADY if state.phase[s] == ACTIVE else CLEARED, state, out)
    if state.phase[s] == PENDING:
        state.since_ns[s] = t
        for k in range(state.onset_ns.shape[1]):
            if (state.over[s] >> k) & 1 and state.onset_ns[s, k] < state.since_ns[s]:
                state.since_ns[s] = state.onset_ns[s, k]


@inlined
def _watch(s: int, t: int, state: State, out: Batch) -> None:
    """Note whether the level of series `s` has changed, and whether it does so too often."""
    changes = (state.changes[s] << 1) & ((1 << CHANGES) - 1)
    state.changes[s] = changes | (1 if state.level[s] != state.shown[s] else 0)
    state.shown[s] = state.level[s]
    if state.flapping[s] == 1:
        _steady(s, t, state, out)
    elif state.phase[s] == ACTIVE and state.changes[s] >= FLAP_LEAST:
        _unsteady(s, t, state, out)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Move the state of each series with its samples; a row of `out` for each change.

    Equivalent to, with one level: active from the first time at which the value has been beyond
    a limit for `on_delay`, until it has been within [low + deadband, high - deadband] for
    `off_delay`; unknown samples are left out, and while one is the newest no delay runs out.
    """
    i = first - 1
    while True:
        i = at_rest(i + 1, batch, state, params)
        if i == batch.series.size:
            break
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        p = params.row[s]
        if state.waiting[s] == 1:
            _due(s, t - 1, state, params, out)  # at its very end the sample itself decides
        if not np.isfinite(x) or batch.quality[i] == BAD:
            state.unknown[s] = 1
            continue
        state.unknown[s] = 0
        state.last[s] = x
        for k in range(batch.fields.shape[1]):
            state.fields[s, k] = batch.fields[i, k]
        over, held, beyond, waiting, due = 0, -1, 0.0, 0, 0
        for k in range(params.slots[p]):
            low, high = params.low[p, k], params.high[p, k]
            if x > high or x < low:  # never with NaN, which is no limit
                if (state.over[s] >> k) & 1 == 0:
                    state.onset_ns[s, k] = t
                over |= 1 << k
                beyond = max(beyond, x - high if x > high else low - x)
                end = state.onset_ns[s, k] + params.on_delay_ns[p, k]
                if t >= end:
                    held = k if held < 0 or params.rank[p, k] > params.rank[p, held] else held
                elif waiting == 0 or end < due:
                    waiting, due = 1, end
        state.over[s], state.waiting[s], state.due_ns[s] = over, waiting, due
        if state.phase[s] == ACTIVE:
            now = int(state.level[s]) - 1
            band, level = params.deadband[p, now], now
            if x > params.high[p, now] - band or x < params.low[p, now] + band:
                if held >= 0 and params.rank[p, held] > params.rank[p, now]:
                    level = held
            elif over == 0 and params.implied[p, now] == 0:
                level = -1
            else:
                level = _lower(s, x, held, state, params)
            if level >= 0:
                state.clearing[s] = 0
                worse = beyond > state.excess[s]
                state.worst[s] = x if worse else state.worst[s]
                state.excess[s] = max(beyond, state.excess[s])
                if level != now:
                    state.level[s] = level + 1
                    _tell(s, t, LEVELLED, state, out)
                elif worse and beyond - state.told[s] >= params.update_by[p]:
                    _tell(s, t, WORSENED, state, out)
            else:
                _back(s, t, state, params, out)
        elif over == 0:
            state.phase[s] = NORMAL
        else:
            _outside(s, t, x, beyond, held, state, out)
        if params.flapping[p] == 1:
            _watch(s, t, state, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Let delays run out for series whose time went on without a sample."""
    for s in range(first, last):
        if state.waiting[s] == 1:
            _due(s, clock_ns[s], state, params, out)


@kernel
def dozes(rows: int, state: State) -> bool:
    """Whether none of so many series has a delay that runs."""
    return not state.waiting[:rows].any()


OPERATOR = Operator(
    name="alert",
    summary="Raises when a value is beyond its limit for long enough, clears when it is back.",
    params=Limits,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    dozes=dozes,
    fields=lambda params: ("kind", "worst", "level") + ("",) * (params.width - 1),
    fanout=lambda params: params.slots + 3,  # delays that ran out, the sample, flapping
    example="alert: {levels: [{high: 90, deadband: 5, on_delay_ns: 30000000000}]}",
)
