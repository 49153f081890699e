"""distinct: how many different values each window has seen."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, GOOD, I8, U1, UNCERTAIN, Batch
from pipelines.jit import kernel
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import NEVER

REGISTERS: Final = 4096
ZEROS_MAX: Final = 52
"""Bits of a hash after the twelve that choose its register."""

ERROR: Final = 1.04 / math.sqrt(REGISTERS)
"""Standard error of an estimate (Flajolet et al. 2007)."""

# Mixed with signed numbers, unsigned ones would become floats in a kernel.
ONE, TWELVE, TOP = np.uint64(1), np.uint64(12), np.uint64(1 << 63)
S27, S30, S31, S52 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(52)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
NOTHING = np.uint64(0)


class Distinct(Params):
    """Which windows, and up to where to count exactly."""

    EXTRA_ROWS: ClassVar = ("slots",)

    window: Duration = Field(
        gt=0, description="Length of a window; windows begin at whole multiples since 1970 UTC."
    )
    exact_max: Literal[16, 64, 256, 1024, 4096] = Field(
        256,
        description="So many values are counted exactly, more are estimated with a standard error "
        "of 1.6 %. Takes 16 bytes for each, and 4 KiB more for an estimate.",
    )
    offset: Duration = Field(0, description="All windows begin this much later.")

    @classmethod
    def extra_rows(cls, sets: Sequence["Distinct"]) -> dict[str, Any]:
        """Array slots (R,) i8: size of the table of values, half of which stays free."""
        return {"slots": np.array([2 * p.exact_max for p in sets], np.int64)}


class State(NamedTuple):
    """Per series the values of its open window: their hashes, or the registers of a HyperLogLog."""

    hashes: NDArray[np.uint64] = column("u8", "slots")  # 0: free
    registers: U1 = column("u1", REGISTERS)
    found: I8 = column("i8")  # values in `hashes`; -1: counted by `registers`
    samples: I8 = column("i8")
    quality: U1 = column("u1")  # the worst of its samples
    begun: U1 = column("u1")
    born_ns: I8 = column("i8")  # the first sample of all
    open: I8 = column("i8")  # the window, counted since 1970
    shut: I8 = column("i8")  # windows before this one are closed
    late: I8 = column("i8", SINGLE)  # samples whose window had closed


Rows = rows_of(Distinct)


@kernel
def hash_of(bits: Any) -> Any:
    """64 well mixed bits for 64 others, never 0 (finalizer of splitmix64, Steele et al. 2014)."""
    h = (bits ^ (bits >> S30)) * MIX_1
    h = (h ^ (h >> S27)) * MIX_2
    h = h ^ (h >> S31)
    return h if h != NOTHING else ONE


@kernel
def register(registers: U1, h: Any) -> None:
    """Let one series' registers (4096,) know of a hash: top bits choose, the rest has its zeros."""
    rest, zeros = h << TWELVE, 1
    while zeros <= ZEROS_MAX and rest & TOP == NOTHING:
        rest = rest << ONE
        zeros += 1
    at = np.int64(h >> S52)
    registers[at] = max(registers[at], zeros)


@kernel
def estimate(registers: U1) -> float:
    """How many hashes the registers (4096,) of one series know of: Ertl 2017, algorithm 6.

    One formula from the first value to 2^64, without tables or corrections in between.
    """
    total, free, full = 0.0, 0, 0
    for j in range(registers.size):
        rank = registers[j]
        if rank == 0:
            free += 1
        elif rank > ZEROS_MAX:
            full += 1
        else:
            # Unsigned, it would not be below zero.
            total += math.ldexp(1.0, -int(np.int64(rank)))
    if free == registers.size:
        return 0.0
    low = x = free / registers.size
    y, before = 1.0, -1.0
    while low != before:
        x, before = x * x, low
        low += x * y
        y += y
    high, x, y, before = 0.0, 1.0 - full / registers.size, 1.0, -1.0
    if 0 < full < registers.size:
        high = 1.0 - x
        while high != before:
            x, before, y = math.sqrt(x), high, y / 2
            high -= (1.0 - x) * (1.0 - x) * y
        high /= 3.0
    total += registers.size * (low + math.ldexp(high, -ZEROS_MAX))
    return registers.size * registers.size / (2.0 * math.log(2.0) * total)


@kernel
def count_in(state: State, s: int, h: Any, slots: int) -> None:
    """Count a hash of series `s`, in its table while that has room."""
    if state.found[s] < 0:
        register(state.registers[s], h)
        return
    at = np.int64(h & np.uint64(slots - 1))
    while state.hashes[s, at] != NOTHING:
        if state.hashes[s, at] == h:
            return
        at = (at + 1) & (slots - 1)
    if 2 * state.found[s] < slots:
        state.hashes[s, at] = h
        state.found[s] += 1
        return
    for j in range(slots):
        if state.hashes[s, j] != NOTHING:
            register(state.registers[s], state.hashes[s, j])
            state.hashes[s, j] = NOTHING
    register(state.registers[s], h)
    state.found[s] = -1


@kernel
def close(s: int, state: State, params: Any, out: Batch) -> None:
    """Give out the open window of series `s`, and empty it."""
    p, n = params.row[s], out.count[0]
    exact = state.found[s] >= 0
    start_ns = state.open[s] * params.window[p] + params.offset[p]
    out.series[n], out.t_ns[n], out.start_ns[n] = s, start_ns + params.window[p], start_ns
    out.value[n] = float(state.found[s]) if exact else np.rint(estimate(state.registers[s]))
    out.quality[n] = UNCERTAIN if start_ns < state.born_ns[s] else state.quality[s]
    out.fields[n, 0], out.fields[n, 1] = out.value[n], state.samples[s]
    out.fields[n, 2] = 0.0 if exact else ERROR
    out.count[0] = n + 1
    if exact:
        for j in range(params.slots[p]):
            state.hashes[s, j] = NOTHING
    else:
        for j in range(REGISTERS):
            state.registers[s, j] = 0
    state.found[s], state.samples[s] = 0, 0


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Close the window that ends by the time of a known sample, then count its value in its own.

    Equivalent to: windows [k window + offset, (k + 1) window + offset) with at least one known
    sample give a row once the series' time is at or past their end; fields the number of different
    values among their samples, the number of samples, and the standard error as a share; value the
    first. 0.0 and -0.0 are one value. Up to `exact_max` values the number is exact and the error
    0. Beyond, it is Ertl's estimate (2017, algorithm 6) rounded, from a HyperLogLog (Flajolet et
    al. 2007) with 4096 registers of the splitmix64 finalizer of the values' bits, and the error
    1.04 / 64. Quality is the worst of the samples', UNCERTAIN if the window began before the first
    known sample of the series. A sample of a closed window is left out and counted.
    """
    bits = batch.value.view(np.uint64)
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        if not np.isfinite(x) or batch.quality[i] == BAD:
            continue
        p = params.row[s]
        w = (t - params.offset[p]) // params.window[p]
        if state.begun[s] == 0:
            state.begun[s], state.born_ns[s], state.shut[s] = 1, t, w
        if w < state.shut[s]:
            state.late[0] += 1
            continue
        if state.samples[s] > 0 and w > state.open[s]:
            close(s, state, params, out)
        state.shut[s], state.open[s] = w, w
        if state.samples[s] == 0:
            state.quality[s] = GOOD
        state.samples[s] += 1
        state.quality[s] = max(state.quality[s], batch.quality[i])
        h = hash_of(bits[i] if x != 0.0 else NOTHING)  # -0.0 has a bit set
        count_in(state, s, h, params.slots[p])
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Batch) -> None:
    """Close the windows that the clock of their series has passed.

    Equivalent to: the row that `step` would give for a sample at `clock_ns`, without the sample.
    """
    for s in range(first, last):
        if state.begun[s] == 0 or clock_ns[s] == NEVER:
            continue
        p = params.row[s]
        until = (clock_ns[s] - params.offset[p]) // params.window[p]
        if state.samples[s] > 0 and until > state.open[s]:
            close(s, state, params, out)
        state.shut[s] = max(state.shut[s], until)


OPERATOR = Operator(
    name="distinct",
    summary="How many different values each minute, hour or other window has seen.",
    params=Distinct,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="distinct: {window: 1h}",
    source="HyperLogLog: Flajolet et al. 2007, estimate of Ertl 2017",
    emits="window",
    fields=lambda params: ("distinct", "samples", "error"),  # noqa: ARG005 - same for all
)
