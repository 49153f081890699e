"""One result for each instant: what operators over several channels of a group have in common.

An instant is a time at which a channel has a row. It is over once every channel has one, else with
the first row later than it. The state of such an operator has the columns `value`, `t_ns`,
`quality`, `known` and `here`, each (S, channels), `now_ns` and `waits` (S,), and `late` SINGLE.
"""

from typing import Any

from pipelines.batch import BAD
from pipelines.jit import kernel
from pipelines.numerics import LARGEST

NO_ROW, KNOWN, UNKNOWN = 0, 1, 2
"""What a channel has at the newest instant: `here`."""


@kernel
def arrived(
    state: Any, g: int, channel: int, channels: int, t: int, x: float, quality: int
) -> bool:
    """Take in a row of group `g`; whether its instant is over now, and its result is to be told.

    The caller has told the instant before if `t` is later. A row from before the newest instant,
    or of one that is over, is counted in `late`; it is the last known value of its channel all the
    same, unless there is a later one.
    """
    if t > state.now_ns[g]:
        state.now_ns[g], state.waits[g] = t, 1
        for c in range(channels):
            state.here[g, c] = NO_ROW
    on_time = t == state.now_ns[g] and state.waits[g] == 1
    state.late[0] += not on_time
    if abs(x) <= LARGEST and quality != BAD:
        if state.known[g, channel] == 0 or t >= state.t_ns[g, channel]:
            state.value[g, channel], state.t_ns[g, channel] = x, t
            state.quality[g, channel], state.known[g, channel] = quality, 1
        if on_time:
            state.here[g, channel] = KNOWN
    elif on_time and state.here[g, channel] == NO_ROW:
        state.here[g, channel] = UNKNOWN
    for c in range(channels):
        on_time = on_time and state.here[g, c] != NO_ROW
    return bool(on_time)


@kernel
def worst(state: Any, g: int, channels: int, max_age: int) -> int:
    """Worst quality of the values of group `g` at its newest instant; BAD when one is not known.

    A value is not known when its channel has rows at the instant and none is known, had no known
    one yet, or one older than `max_age`.
    """
    quality = 0
    for c in range(channels):
        old = state.now_ns[g] - state.t_ns[g, c] > max_age
        if old or state.known[g, c] == 0 or state.here[g, c] == UNKNOWN:
            return BAD
        quality = max(quality, state.quality[g, c])
    return int(quality)
