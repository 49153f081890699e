"""expr: a new series from a formula over the channels of one device."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field

from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, GroupedBatch, clocks
from pipelines.formula import Formula, parse
from pipelines.instants import UNKNOWN, arrived
from pipelines.jit import kernel
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import Labels
from pipelines.stack import evaluated


def _formula(text: str) -> str:
    if not parse(text).variables:
        raise ValueError(f"expected a formula with at least one channel in it, got {text!r}")
    return text


class Expr(Params):
    """The formula, the channel that it makes, and how old its parts may be."""

    EXTRA_ROWS: ClassVar = ("code", "operand", "variables", "depth")

    channel: str = Field(min_length=1, max_length=64, description="Channel of the new series.")
    value: Annotated[str, AfterValidator(_formula)] = Field(
        description="Formula over channels, such as `voltage * current`, `if(flow > 0, power / "
        "flow, 0)` or `'supply-temp' - 'return-temp'`."
    )
    max_age: Duration = Field(
        300_000_000_000,
        gt=0,
        description="A channel is not known while its last sample is older than this.",
    )

    @property
    def formula(self) -> Formula:
        """The program behind `value`."""
        return parse(self.value)

    @classmethod
    def extra_rows(cls, sets: Sequence["Expr"]) -> dict[str, Any]:
        """Programs: code i8 and operand f8 (R, longest); numbers of variables, stack (R,) i8."""
        formulas = [p.formula for p in sets]
        shape = (len(sets), max(len(f.code) for f in formulas))
        code, operand = np.zeros(shape, np.int64), np.zeros(shape)
        for r, formula in enumerate(formulas):
            code[r, : len(formula.code)] = formula.code
            operand[r, : len(formula.operand)] = formula.operand
        return {
            "code": code,
            "operand": operand,
            "variables": np.array([len(f.variables) for f in formulas], np.int64),
            "depth": np.array([f.depth for f in formulas], np.int64),
        }


class State(NamedTuple):
    """Per group the last known sample of each variable, and the instant that is not over yet."""

    value: F8 = column("f8", "variables")
    t_ns: I8 = column("i8", "variables")
    quality: U1 = column("u1", "variables")
    known: U1 = column("u1", "variables")
    now_ns: I8 = column("i8")  # the newest instant; 0 at first
    waits: U1 = column("u1")  # 1: its result is not given out yet
    here: U1 = column("u1", "variables")  # NO_ROW, KNOWN or UNKNOWN at that instant
    late: I8 = column("i8", SINGLE)  # samples from before an instant that had its turn
    parts: F8 = column("f8", "variables")  # room for one evaluation, nothing to remember
    stack: F8 = column("f8", "depth")  # the same


Rows = rows_of(Expr)


@kernel
def flow(
    first: int, last: int, ticking: bool, rows: GroupedBatch, state: State, params: Any, out: Any
) -> None:
    """Rows [first, last) of `step`, or of `tick` with the clock of group g at `rows.t_ns[g]`.

    One flat loop for both: a call that takes arrays costs more than a formula.
    """
    n, width = out.count[0], state.value.shape[1]
    for i in range(first, last):
        s, t = i if ticking else rows.series[i], rows.t_ns[i]
        p, taken = params.row[s], ticking
        variables = min(width, params.variables[p])
        over = state.waits[s] == 1 and t > state.now_ns[s]
        while True:
            if over:
                now, worst = state.now_ns[s], 0
                for k in range(variables):
                    old = now - state.t_ns[s, k] > params.max_age[p]
                    if state.here[s, k] == UNKNOWN or state.known[s, k] == 0 or old:
                        state.parts[s, k] = np.nan
                    else:
                        state.parts[s, k] = state.value[s, k]
                        worst = max(worst, state.quality[s, k])
                y = evaluated(p, s, params.code, params.operand, state.parts, state.stack)
                known = np.isfinite(y)
                out.series[n], out.t_ns[n], out.start_ns[n] = s, now, now
                out.value[n] = y if known else np.nan
                out.quality[n] = worst if known else BAD
                n += 1
                state.waits[s] = 0
            if taken:
                break
            taken, v = True, rows.slot[i]
            over = arrived(state, s, v, variables, t, rows.value[i], rows.quality[i])
    out.count[0] = n


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Evaluate the formula once at each instant: a time at which a channel of the group has a row.

    Equivalent to: the result at t is told once every variable has a row at t, else before the
    first row later than t. It is the formula (see `pipelines.formula`) over the last known value
    of each variable; a variable is NaN when it has a row at t and none that is known, had none
    yet, or one older than `max_age`. Quality is the worst of the variables that are not NaN; a
    result that is not finite is not known; |x| > 1e150 is not known. A row before the newest
    instant, or at one that was told, is late: it is told nowhere, but is the last known value of
    its variable unless that has a later one.
    """
    flow(first, batch.series.size, False, batch, state, params, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Tell the result of an instant that no further channel has a sample at.

    Equivalent to what `step` does before a row at `clock_ns`.
    """
    flow(first, last, True, clocks(clock_ns, out), state, params, out)


def regroup(params: Expr, labels: Labels, group_by: tuple[str, ...]) -> tuple[Labels, int] | None:
    """The device's other labels with the new channel; the number of the variable as the slot."""
    pairs = dict(labels)
    channel = pairs.pop("channel", "")
    variables = params.formula.variables
    if channel not in variables:
        return None
    kept = {name: pairs[name] for name in pairs if not group_by or name in group_by}
    return tuple(sorted((kept | {"channel": params.channel}).items())), variables.index(channel)


OPERATOR = Operator(
    name="expr",
    summary="Computes a new series by a formula over the channels of one device.",
    params=Expr,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example='expr: {channel: power, value: "voltage * current", max_age: 60s}',
    regroup=regroup,
    slowest=True,
    delay_ns=lambda params: 1,  # noqa: ARG005 - an instant may have more rows at its time
)
