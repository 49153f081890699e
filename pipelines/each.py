"""Each: one kernel call for the rows of many runners of the same operator.

A call of a kernel costs more than a row does.  Here a kernel finds the state and the parameters
of each runner by address, and takes the rows of one after the other.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np

from pipelines.batch import I8, U1, Batch, new_batch, roomy
from pipelines.jit import Kernel, adapted, kernel
from pipelines.operator import Operator
from pipelines.primitives import loaded
from pipelines.runner import TICK_ROWS, StepRunner

MEMBER, FIRST, ROW, LAST, LESS = range(5)
"""Where a call stands: which member, which of its rows, which of its clocks; before which member it
ends, and how much less the numbers of our runners are than those of members."""
NO_CLOCKS: Final = np.zeros(0, np.int64), np.zeros(0, np.int64)


@kernel
def step(batch: Batch, _first: int, _state: Any, _params: Any, _out: Batch) -> int:
    """Stands for the kernel of an operator."""
    return batch.series.size


@kernel
def tick(_clock_ns: I8, _first: int, _last: int, _state: Any, _params: Any, _out: Batch) -> None:
    """Stands for that of an operator, and is that of one that has none."""


@kernel
def dozes(_rows: int, _state: Any) -> bool:
    """Stands for that of an operator, and is that of one that has none."""
    return False


def _each(
    batch: Batch,
    ends: I8,
    members: I8,
    addresses: I8,
    second: int,
    clock_ns: I8,
    clock_ends: I8,
    asleep: U1,
    at: I8,
    like_state: Any,
    like_params: Any,
    out: Batch,
    out_ends: I8,
) -> bool:
    """Let members[j] take rows [ends[j - 1], ends[j]), then know how far its clocks have come.

    Without clocks no time passes. `out_ends` is to `out` what `ends` is to `batch`. What is
    `asleep`, by runner, is not looked at before it gets a row.  Returns
    whether all is done; if not `at` tells where to go on: a ring is full, or `out`.
    """
    while at[MEMBER] < at[LAST]:
        j = at[MEMBER]
        m, end = members[j] - at[LESS], ends[j]
        if at[FIRST] >= end and asleep[m] == 1:
            out_ends[j] = out.count[0]
            at[MEMBER], at[FIRST] = j + 1, end
            continue
        asleep[m] = 0
        address = addresses[m]
        fanout = loaded(address, address)
        state, params = loaded(address + 8, like_state), loaded(address + 8 + second, like_params)
        if at[FIRST] < end:
            if out.series.size - out.count[0] < (end - at[FIRST]) * fanout:
                return False
            part = Batch(
                batch.series[:end],
                batch.t_ns,
                batch.start_ns,
                batch.value,
                batch.quality,
                batch.fields,
                batch.count,
            )
            at[FIRST] = step(part, at[FIRST], state, params, out)
            if at[FIRST] < end:
                return False
        if clock_ends.size > 0:
            begin = clock_ends[m - 1] if m > 0 else 0
            clocks = clock_ns[begin : clock_ends[m]]
            while at[ROW] < clocks.size:
                last = min(at[ROW] + TICK_ROWS, clocks.size)
                if out.series.size - out.count[0] < (last - at[ROW]) * fanout:
                    return False
                tick(clocks, at[ROW], last, state, params, out)
                at[ROW] = last
            asleep[m] = dozes(clocks.size, state)
        out_ends[j] = out.count[0]
        at[MEMBER], at[FIRST], at[ROW] = j + 1, end, 0
    return True


@cache
def each_of(operator: Operator) -> Kernel:
    """The kernel that runs the steps of many pipelines with this operator."""
    return adapted(
        _each,
        operator.step,
        step=operator.step,
        tick=operator.tick or tick,
        dozes=operator.dozes or dozes,
    )


class Each:
    """Runners of one operator, whose kinds of state and parameters are the same."""

    def __init__(self, operator: Operator, runners: Sequence[StepRunner], members: int) -> None:
        """`members`: of all banks of the source."""
        self.operator, self.runners = operator, runners
        self._found = by_address(runners)
        self._out = new_batch(64, len(runners[0].fields))
        self._ends = np.zeros(members, np.int64)
        self._asleep = np.zeros(len(runners), np.uint8)
        self._at = np.zeros(5, np.int64)
        self._call: Any = None

    def run(
        self,
        batch: Batch,
        ends: I8,
        members: I8,
        part: tuple[int, int, int],
        begin: int,
        clocks: tuple[I8, I8] = NO_CLOCKS,
    ) -> tuple[Batch, I8, int]:
        """What comes of the rows of some members, and of time: rows, where those of each end, how many.

        `ends`: where the rows of each of `members` end, ascending. `part`: first and last of the
        members that are meant, and how much less the numbers of our runners are; the rows of the
        first begin at `begin`. `clocks`: of all rows of all runners, and where those of each
        runner end.  What is returned is read as `batch` and `ends` are, and holds until the next
        call.
        """
        self._out.count[0] = 0
        at = self._at
        first, last, less = part
        at[:] = (first, begin, 0, last, less)
        while not self._run(batch, ends, members, clocks):
            runner = self.runners[int(members[at[MEMBER]]) - less]
            need = max(int(ends[at[MEMBER]] - at[FIRST]), TICK_ROWS) * runner.fanout
            written = int(self._out.count[0])
            if self._out.size - written < need:
                self._out = roomy(self._out, written + need)
            else:
                runner.widened()
        return self._out, self._ends, int(self._out.count[0])

    def _run(self, batch: Batch, ends: I8, members: I8, clocks: tuple[I8, I8]) -> bool:
        addresses, second, *like = self._found
        told = (batch, ends, members, addresses, second, *clocks, self._asleep, self._at)
        args = (*told, *like, self._out, self._ends)
        if self._call is None:
            self._call = each_of(self.operator).bound(*args)
        done: bool = self._call(*args)
        return done


def by_address(runners: Sequence[StepRunner]) -> tuple[I8, int, Any, Any]:
    """How a kernel finds state and parameters of these, which are all of the same types.

    (address of each, how far apart both are there, empty ones of the same types).
    """
    second, state, params = runners[0].like
    addresses = np.array([runner.address for runner in runners], np.int64)
    return addresses, second, _like(state), _like(params)


def _like(value: Any) -> Any:
    return type(value)(*[np.zeros((0,) * array.ndim, array.dtype) for array in value])
