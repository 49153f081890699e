"""Ordered patterns: their steps as written and in numbers; how attempts at them go on and end.

The kernels are helpers of those of `sequence`, whose state and parameters they take. An attempt begins with
an event of the first stage; its `stage` is the number of its events so far. Attempts of a group
are kept in order of their starts, which all differ.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
from pydantic import Field, model_validator

from config.model import Text
from config.params import Options
from config.units import Duration
from pipelines.batch import GOOD
from pipelines.jit import kernel

DEAD: Final = -1
EMIT: Final = 1
CHANGE: Final = 0
STRICT: Final = 1
SKIP: Final = 0
STEPS_MAX: Final = 16


class Part(Options):
    """One step: something that happens, or that does not."""

    is_: Text | None = Field(
        None, alias="is", description="This channel (or device, see `of`) fulfils the condition."
    )
    not_: Text | None = Field(
        None, alias="not", description="This one does not, between the steps around it."
    )
    above: float | None = Field(None, description="Condition; with neither limit, above 0.5.")
    below: float | None = Field(None, description="Condition; with `above` too, between the two.")
    for_: Duration | None = Field(
        None,
        alias="for",
        gt=0,
        description="Only with `not`: for so long; the next step counts only after that.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.is_ is None) == (self.not_ is None):
            raise ValueError("a step is {is: door, above: 0.5} or {not: badge, for: 5s}")
        if self.for_ is not None and self.not_ is None:
            raise ValueError("`for` belongs to `not`: how long does it not happen?")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(f"nothing is above {self.above:g} and below {self.below:g}")
        return self

    @property
    def name(self) -> str:
        """Whose samples it looks at."""
        return self.is_ or self.not_ or ""

    @property
    def limits(self) -> tuple[float, float]:
        """Values between these fulfil the condition."""
        if self.above is None and self.below is None:
            return 0.5, np.inf
        return (
            -np.inf if self.above is None else self.above,
            np.inf if self.below is None else self.below,
        )


NUMBERS: Final = (
    "length", "slot", "low", "high", "guards", "wait",
    "stages", "happens", "rest", "trailing", "open_end", "watched", "leading",
)  # fmt: skip


def in_numbers(steps: Sequence[Part], names: Sequence[str]) -> dict[str, Any]:
    """What kernels read of the steps, by the `NUMBERS`.

    Of each step: its slot in `names`, limits, the stage that it guards (-1: it is an event) and
    for how long (-1: all the time). Of each stage: its step (`happens`) and how long it waits
    (`rest`, with one more entry for the end). Guards after the last stage are `trailing`.
    Bits of all guards are `watched`, of those before the first stage `leading`.
    """
    size = STEPS_MAX
    happens = [c for c, part in enumerate(steps) if part.is_ is not None]
    slot, guards, wait = [-1] * size, [-1] * size, [-1] * size
    low, high, rest = [np.inf] * size, [-np.inf] * size, [0] * (size + 1)
    for c, part in enumerate(steps):
        slot[c] = names.index(part.name)
        low[c], high[c] = part.limits
        if part.not_ is not None:
            guards[c] = sum(e < c for e in happens)
            wait[c] = -1 if part.for_ is None else part.for_
            rest[guards[c]] = max(rest[guards[c]], wait[c])
    last = [part for part, stage in zip(steps, guards, strict=False) if stage == len(happens)]
    return {
        "length": len(steps),
        "slot": slot,
        "low": low,
        "high": high,
        "guards": guards,
        "wait": wait,
        "stages": len(happens),
        "happens": happens + [-1] * (size - len(happens)),
        "rest": rest,
        "trailing": int(bool(last)),
        "open_end": int(any(part.for_ is None for part in last)),
        "watched": sum(1 << c for c in range(size) if guards[c] >= 0),
        "leading": sum(1 << c for c in range(size) if guards[c] == 0),
    }


@kernel
def falls_due(s: int, j: int, state: Any, params: Any) -> int:
    """When attempt `j` of group `s` ends by itself, unless an event comes before."""
    p = params.row[s]
    late_ns = state.start_ns[s, j] + params.within[p]
    due_ns = late_ns + 1  # an event at the very end of `within` is in time
    if state.stage[s, j] == params.stages[p]:
        waited_ns = state.last_ns[s, j] + params.rest[p, params.stages[p]]
        due_ns = min(due_ns, late_ns if params.open_end[p] == 1 else waited_ns)
    if state.spoilt[s, j] == 1:
        due_ns = min(due_ns, state.spoilt_ns[s, j] + 1)
    return int(due_ns)


@kernel
def settle(s: int, state: Any, params: Any) -> None:
    """Close the gaps that dead attempts leave, and find when something falls due next."""
    p, kept = params.row[s], 0
    due_ns = np.iinfo(np.int64).max
    for j in range(state.used[s]):
        if state.stage[s, j] == DEAD:
            continue
        if kept < j:
            state.start_ns[s, kept], state.last_ns[s, kept] = (
                state.start_ns[s, j],
                state.last_ns[s, j],
            )
            state.stage[s, kept], state.worst[s, kept] = state.stage[s, j], state.worst[s, j]
            state.spoilt[s, kept] = state.spoilt[s, j]
            state.spoilt_ns[s, kept] = state.spoilt_ns[s, j]
        due_ns = min(due_ns, falls_due(s, kept, state, params))
        kept += 1
    if state.stands[s] == 1:
        due_ns = min(due_ns, state.done_ns[s] + params.hold_ns[p] + 1)
    state.used[s] = kept
    state.due_ns[s] = due_ns


@kernel
def tell(
    s: int, t: int, start: int, value: int, events: int, count: int, quality: int, out: Any
) -> None:
    """Write a row: value 1 for a match, else 0."""
    n = out.count[0]
    out.series[n], out.t_ns[n], out.start_ns[n] = s, t, start
    out.value[n], out.quality[n] = value, quality
    out.fields[n, 0], out.fields[n, 1], out.fields[n, 2] = events, (t - start) / 1e9, count
    out.count[0] = n + 1


@kernel
def conclude(
    s: int, t: int, start: int, count: int, quality: int, state: Any, params: Any, out: Any
) -> None:
    """Tell `count` matches that end at `t`, of which the oldest began at `start`."""
    p = params.row[s]
    if params.after_match[p] == SKIP:
        count = 1
        for j in range(state.used[s]):
            state.stage[s, j] = DEAD
    tell(s, t, start, 1, params.stages[p], count, quality, out)
    state.done[s], state.done_ns[s] = 1, t
    state.stands[s] = 1 if params.hold_ns[p] > 0 else 0


@kernel
def fire(s: int, now: int, state: Any, params: Any, out: Any) -> None:
    """Tell what falls due up to `now` without an event, in order of time."""
    p = params.row[s]
    while (state.used[s] > 0 or state.stands[s] == 1) and state.due_ns[s] <= now:
        due_ns, count, start, quality = state.due_ns[s], 0, 0, 0
        state.now_ns[s] = max(state.now_ns[s], due_ns)
        for j in range(state.used[s]):
            if falls_due(s, j, state, params) > due_ns:
                continue
            late = state.start_ns[s, j] + params.within[p] < due_ns
            spoilt = state.spoilt[s, j] == 1
            if late and not spoilt and params.on_timeout[p] == EMIT:
                begun, worst = state.start_ns[s, j], state.worst[s, j]
                tell(s, due_ns - 1, begun, 0, state.stage[s, j], 1, worst, out)
            elif not late and not spoilt:
                if count == 0:
                    start, quality = state.start_ns[s, j], state.worst[s, j]
                count += 1
            state.stage[s, j] = DEAD
        if state.stands[s] == 1 and state.done_ns[s] + params.hold_ns[p] < due_ns:
            state.stands[s] = 0
            tell(s, due_ns - 1, due_ns - 1, 0, 0, 0, GOOD, out)
        if count > 0:
            conclude(s, due_ns, start, count, quality, state, params, out)
        settle(s, state, params)


@kernel
def advance(
    s: int, t: int, rose: int, held: int, event: int, quality: int, state: Any, params: Any,
    out: Any,
) -> None:  # fmt: skip
    """Let an event at `t` carry attempts on, or spoil them.

    rose, held: bits of the steps that it is an event of, and whose condition it fulfils.
    """
    p, count, start, worst = params.row[s], 0, 0, 0
    for j in range(state.used[s]):
        k, since = state.stage[s, j], t - state.last_ns[s, j]
        if since <= 0:  # at the same moment there is no before and after
            continue
        if k < params.stages[p] and since >= params.rest[p, k] and rose >> params.happens[p, k] & 1:
            state.last_ns[s, j], state.stage[s, j], state.spoilt[s, j] = t, k + 1, 0
            state.worst[s, j] = max(state.worst[s, j], quality)
            if k + 1 == params.stages[p] and params.trailing[p] == 0:
                if count == 0:
                    start, worst = state.start_ns[s, j], state.worst[s, j]
                count += 1
                state.stage[s, j] = DEAD
            continue
        fatal, spoilt = False, params.contiguity[p] == STRICT and event == 1
        for c in range(params.length[p]):
            if params.guards[p, c] == k and held >> c & 1:
                wait = params.wait[p, c]
                fatal = fatal or (wait < 0 and k == params.stages[p]) or since < wait
                spoilt = spoilt or wait < 0
        if fatal:
            state.stage[s, j] = DEAD
        elif spoilt and k < params.stages[p] and state.spoilt[s, j] == 0:
            state.spoilt[s, j], state.spoilt_ns[s, j] = 1, t
    if count > 0:
        conclude(s, t, start, count, worst, state, params, out)


@kernel
def note(s: int, t: int, steps: int, state: Any) -> None:
    """Remember that the conditions of `steps` (bits) held at `t`."""
    for c in range(STEPS_MAX):
        if steps >> c & 1 and (state.heard[s, c] == 0 or state.newest_ns[s, c] < t):
            state.older_ns[s, c] = state.newest_ns[s, c]
            state.heard[s, c] = min(state.heard[s, c] + 1, 2)
            state.newest_ns[s, c] = t


@kernel
def allowed(s: int, t: int, state: Any, params: Any) -> bool:
    """Whether an attempt may begin at `t`, as far as what came before it is concerned."""
    p = params.row[s]
    whole = params.stages[p] == 1 and params.trailing[p] == 0
    if (params.after_match[p] == SKIP or whole) and state.done[s] == 1 and t <= state.done_ns[s]:
        return False
    if state.used[s] > 0 and state.start_ns[s, state.used[s] - 1] == t:
        return False
    for c in range(params.length[p]):
        if params.guards[p, c] != 0:
            continue
        if t - state.born_ns[s] < params.wait[p, c]:
            return False
        known, before = state.heard[s, c], state.newest_ns[s, c]
        if known > 0 and before == t:  # what happens at the same moment is not before it
            known, before = known - 1, state.older_ns[s, c]
        if known > 0 and t - before < params.wait[p, c]:
            return False
    return True


@kernel
def begin(s: int, t: int, quality: int, state: Any, params: Any, out: Any) -> None:
    """Begin an attempt with an event at `t`; without room, in place of the least promising one."""
    p, used = params.row[s], state.used[s]
    if params.stages[p] == 1 and params.trailing[p] == 0:
        conclude(s, t, t, 1, quality, state, params, out)
        return
    if used == params.attempts_max[p]:
        state.forgotten[0] += 1
        least = 0
        for j in range(used):
            if state.stage[s, j] < state.stage[s, least]:
                least = j
        state.stage[s, least] = DEAD
        settle(s, state, params)
        used = state.used[s]
    state.start_ns[s, used], state.last_ns[s, used] = t, t
    state.stage[s, used], state.spoilt[s, used], state.worst[s, used] = 1, 0, quality
    state.used[s] = used + 1
