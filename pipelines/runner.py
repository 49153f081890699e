"""StepRunner: one step of a pipeline at work, with the arrays that its operator reads and writes.

Widening rings: a kernel that needs more room returns early (see `Operator`).  The runner then
doubles the ring width of the state and goes on with the same row.  Once a doubling would pass
`state_bytes_max`, the runner sets the state's SINGLE column `ring_fixed` to 1 instead; from then
on the kernel must overwrite the oldest entry of the ring and count it in the SINGLE column
`truncated`.  So a state with RING or GROWING columns declares both:

    ring_fixed: U1 = column("u1", SINGLE)   # 1: overwrite the oldest, there is no more room
    truncated: I8 = column("i8", SINGLE)    # entries overwritten while still inside a window
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from config.params import Params
from pipelines.batch import I4, I8, Batch, GroupedBatch, new_batch, roomy, rows
from pipelines.jit import settled
from pipelines.operator import (
    GROWING,
    RING,
    RING_START,
    SINGLE,
    Operator,
    columns,
    new_state,
    pack,
    resized,
    ring_width,
    shapes,
)
from pipelines.primitives import placed
from pipelines.series import FULL, moved_up

ROWS_START: Final = 64
TICK_ROWS: Final = 1024  # bounds the room made for output that a tick seldom has


@settled
def rows_needed(series: I4) -> int:
    """How many rows a state must have for these."""
    most = series[0]
    for i in range(series.size):
        most = max(most, series[i])
    return int(most) + 1


class StepRunner:
    """Runs one operator over batches; owns its state, its packed parameters and its output.

    What `run` and `tick` return are views that stay valid until the next call of either.
    """

    STATE = ("state", "_capacity")
    REMADE = (
        "operator",
        "rows_max",
        "state_bytes_max",
        "fields",
        "_block",
        "_given",
        "fanout",
        "_packed",
        "_second",
        "_sets",
        "_state",
        "_out",
        "_step",
        "_taken",
        "_tick",
    )

    def __init__(
        self,
        operator: Operator,
        sets: Sequence[Params],
        rows_max: int,
        state_bytes_max: int,
    ) -> None:
        """`sets`: distinct sets of parameter values; every series uses set 0 until `assign`."""
        assert sets, "a step has at least one set of parameters"
        self.operator = operator
        self.rows_max = rows_max
        self.state_bytes_max = state_bytes_max
        self.fields: tuple[str, ...] = operator.fields(sets[0])
        """Names of the columns of `Batch.fields` in what `run` and `tick` return."""
        self._block: I8 | None = None
        self.fanout = max(operator.fanout(p) for p in sets)
        """Rows written at most for one row, or for one series in one tick."""
        self._capacity = min(ROWS_START, rows_max)
        self._params = pack(operator, list(sets), self._capacity)
        self._sets, self._given = len(sets), sets
        self._step: Callable[..., int] | None = None
        self._tick: Callable[..., None] | None = None
        self._taken: type[Any] = Batch
        self._out = new_batch(0, len(self.fields))
        self.state = new_state(operator.state, self._capacity, self._params)
        self._second = 8 * len(placed(self._state))

    @property
    def state(self) -> Any:
        """The operator's arrays as they are: what a checkpoint holds. Replaced as they grow."""
        return self._state

    @state.setter
    def state(self, state: Any) -> None:
        self._state = state
        self._noted()

    @property
    def _params(self) -> Any:
        return self._packed

    @_params.setter
    def _params(self, params: Any) -> None:
        self._packed = params
        self._noted()

    @property
    def form(self) -> tuple[str, ...]:
        """Kinds of all arrays of state and parameters: what a compiled kernel rests on."""
        return tuple(f"{array.dtype.char}{array.ndim}" for array in (*self._state, *self._packed))

    @property
    def like(self) -> tuple[int, Any, Any]:
        """How far apart state and parameters are at `address`; and both, for their types."""
        return self._second, self._state, self._packed

    @property
    def address(self) -> int:
        """Where kernels find [rows written at most for one, state, parameters] as they are now."""
        if self._block is None:
            self._block = np.array(self._told(), np.int64)
        return int(self._block.ctypes.data)

    @property
    def capacity(self) -> int:
        """Series rows that the state has room for at present."""
        return self._capacity

    def remake(self) -> None:
        """Follow from a state that was put in place; every series uses set 0 until `assign`.

        Raises ValueError when it has not the rows and rings that kernels will write to.
        """
        if len(widths := {getattr(self.state, name).shape[1] for name in self._rings()}) > 1:
            raise ValueError(f"rings of different widths: {widths}")
        found = {array.shape[0] for array in self._per_series(self.state)} or {self._capacity}
        if found != {self._capacity} or not 0 < self._capacity <= self.rows_max:
            raise ValueError(f"{self._capacity} of {self.rows_max} rows, arrays of {found}")
        self._params = self._params._replace(row=np.zeros(self._capacity, np.int32))

    def ensure(self, n_rows: int) -> None:
        """Make room for series rows [0, n_rows), at least doubling; needs n_rows <= rows_max.

        Rows are never refused for `state_bytes_max`: the series table has let them in already,
        and the rings of a new row cost memory only as samples fill them.
        """
        if n_rows <= self._capacity:
            return
        assert n_rows <= self.rows_max, f"series row {n_rows - 1} of {self.rows_max}"
        self._capacity = min(max(n_rows, 2 * self._capacity), self.rows_max)
        row = np.zeros(self._capacity, np.int32)
        row[: self._params.row.size] = self._params.row
        self._params = self._params._replace(row=row)
        ring = ring_width(self.state) or RING_START
        self.state = resized(self.state, self._capacity, ring, self._params)

    def assign(self, first: int, sets: Sequence[int]) -> None:
        """Let series rows from `first` on use these parameter sets, from their next samples on."""
        if sets:
            assert 0 <= min(sets) <= max(sets) < self._sets, f"one of {self._sets} parameter sets"
            self.ensure(first + len(sets))
            self._params.row[first : first + len(sets)] = sets

    def run(self, batch: Batch | GroupedBatch) -> Batch:
        """Take every row of `batch` in order; what comes out, in order."""
        n, first = batch.series.size, 0
        if n == 0:
            self._clear(0)
            return rows(self._out, 0, 0)
        self.ensure(rows_needed(batch.series))
        self._clear(n * self.fanout)
        step = self._step
        if step is None or type(batch) is not self._taken:
            args = (batch, first, self.state, self._params, self._out)
            step, self._taken = self.operator.step.bound(*args), type(batch)
            self._step = step
        while first < n:
            first = step(batch, first, self.state, self._params, self._out)
            if first < n:
                self.widened()
        return rows(self._out, 0, int(self._out.count[0]))

    def use(self, sets: Sequence[Params]) -> None:
        """Replace the parameter sets; series keep the index of the one they were assigned."""
        assert sets, "a step has at least one set of parameters"
        if sets is self._given and len(sets) == self._sets:  # sets are only ever added to a list
            return
        old = self._params
        self.fanout = max(self.operator.fanout(p) for p in sets)
        self._params = pack(self.operator, list(sets), self._capacity)._replace(row=old.row)
        if hasattr(old, "expected_row") and old.expected_row.size == self._params.expected_row.size:
            self._params = self._params._replace(expected_row=old.expected_row)
        self._sets, self._given = len(sets), sets
        self._step = self._tick = None
        ring = ring_width(self.state) or RING_START
        if shapes(self.operator.state, self._capacity, self._params, ring) != [
            a.shape for a in self.state
        ]:
            self.state = resized(self.state, self._capacity, ring, self._params)

    def expect(self, rows: Sequence[int]) -> None:
        """Tell the kernels that ask for it (`expected_row`) the rows of the expected series."""
        if rows and hasattr(self._params, "expected_row"):
            self._params = self._params._replace(expected_row=np.array(rows, np.int64))

    def tick(self, clock_ns: I8, n_rows: int, *, append: bool = False) -> Batch:
        """Let series rows [0, n_rows) know that their time has come to `clock_ns[row]`.

        `clock_ns`: (n_rows or more,) event time, NEVER where no sample came so far.
        `append`: return what the last `run` wrote, followed by what this tick writes.
        """
        if not append:
            self._clear(0)
        tick = self.operator.tick
        if tick is not None and n_rows:
            self.ensure(n_rows)
            if self._tick is None:
                args = (clock_ns, 0, 0, self.state, self._params, self._out)
                self._tick = tick.bound(*args)
            for first in range(0, n_rows, TICK_ROWS):
                last = min(first + TICK_ROWS, n_rows)
                self._reserve(int(self._out.count[0]) + (last - first) * self.fanout)
                self._tick(clock_ns, first, last, self.state, self._params, self._out)
        return rows(self._out, 0, int(self._out.count[0]))

    def load(self, state: Any) -> None:
        """Go on from the `state` of a runner of the same operator and parameter sets.

        The arrays are copied. Ring widths come with the state, the limit on them does not.
        """
        saved = int(next((a.shape[0] for a in self._per_series(state)), 0))
        self.ensure(saved)
        ring = ring_width(state) or RING_START
        self.state = resized(state, self._capacity, ring, self._params)
        if ring_width(state):
            self.state.ring_fixed[0] = 0

    def adopt(self, other: "StepRunner", rows_of: I4) -> None:
        """Take over the state that `other`, of the same operator, has for these series rows."""
        if rows_of.size == 0:
            return
        self.ensure(int(rows_of.max()) + 1)
        other.ensure(int(rows_of.max()) + 1)
        ring = max(ring_width(self.state), ring_width(other.state))
        self.widen(ring)
        other.widen(ring)
        mine, theirs = self._per_series(self.state), self._per_series(other.state)
        for into, source in zip(mine, theirs, strict=True):
            into[rows_of] = source[rows_of]

    def renumber(self, moved: I4, members: I4) -> None:
        """Follow rows that got other numbers, and members that did; FULL where one was forgotten.

        Those that use another parameter set than the first go on with it.
        """
        kept = np.flatnonzero(moved[: self._capacity] != FULL)
        used = min(moved.size, self._capacity)
        for array in (*self._per_series(self.state), self._params.row):
            moved_up(array, kept, used)
        if self.operator.renumber is not None:
            self.operator.renumber(self.state, self._params, members)

    def widen(self, ring: int) -> None:
        """Make the rings of the state at least this wide; the place of an entry depends on it."""
        if ring_width(self.state) < ring:
            self.state = resized(self.state, self._capacity, ring, self._params)

    def counters(self) -> dict[str, int]:
        """What the operator counted since its state began: its SINGLE columns of type i8."""
        return {
            name: int(getattr(self.state, name)[0])
            for name, col in columns(self.operator.state).items()
            if col.width == SINGLE and col.dtype == "i8"
        }

    def state_bytes(self) -> int:
        """Bytes of all state arrays; rows that never saw a sample count but cost no memory."""
        return sum(int(a.nbytes) for a in self.state)

    # --- inside --------------------------------------------------------------------------

    def _noted(self) -> None:
        """Whoever goes by `address` must never find arrays there that are gone."""
        if self._block is not None:
            self._block[:] = self._told()

    def _told(self) -> list[int]:
        return [self.fanout, *placed(self._state), *placed(self._packed)]

    def _per_series(self, state: Any) -> list[Any]:
        known = columns(self.operator.state).items()
        return [getattr(state, name) for name, col in known if col.width != SINGLE]

    def _rings(self) -> list[str]:
        known = columns(self.operator.state).items()
        return [name for name, col in known if col.width in (RING, GROWING)]

    def widened(self) -> None:
        """Make room in the rings of a state whose kernel stopped early, or let it forget."""
        names = self._rings()
        assert names, f"{self.operator.name} stopped early, but has no ring to widen"
        assert not self.state.ring_fixed[0], f"{self.operator.name} ignores ring_fixed"
        more = sum(int(getattr(self.state, name).nbytes) for name in names)
        if self.state_bytes() + more > self.state_bytes_max:
            self.state.ring_fixed[0] = 1
            return
        self.state = resized(self.state, self._capacity, 2 * ring_width(self.state), self._params)

    def _clear(self, capacity: int) -> None:
        """An empty output with room for `capacity` rows."""
        self._out.count[0] = 0
        self._reserve(capacity)

    def _reserve(self, capacity: int) -> None:
        """Room for `capacity` rows in all; those written so far stay."""
        self._out = roomy(self._out, capacity)
