"""expr: a new series from a formula over the channels of one device."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field

from config.params import Params
from config.units import Duration
from pipelines.batch import BAD, F8, I8, U1, GroupedBatch
from pipelines.formula import Formula, Op, parse
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import Labels


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
    here: U1 = column("u1", "variables")  # NO_SAMPLE, KNOWN or UNKNOWN at that instant
    late: I8 = column("i8", SINGLE)  # samples from before an instant that had its turn
    parts: F8 = column("f8", "variables")  # room for one evaluation, nothing to remember
    stack: F8 = column("f8", "depth")  # the same


NO_SAMPLE, KNOWN, UNKNOWN = 0, 1, 2


Rows = rows_of(Expr)

# A kernel reads plain numbers; the names say which instruction is meant.
END, CONSTANT, VARIABLE, NEGATE, NOT = (int(op) for op in list(Op)[:5])
ABS, SQRT, LOG, EXP, ROUND, ADD = (int(op) for op in list(Op)[5:11])
SUBTRACT, MULTIPLY, DIVIDE, MODULO, POWER = (int(op) for op in list(Op)[11:16])
LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, EQUAL, UNEQUAL = (int(op) for op in list(Op)[16:22])
AND, OR, MIN, MAX, IF = (int(op) for op in list(Op)[22:])
assert (END, ADD, LESS, IF) == (Op.END, Op.ADD, Op.LESS, Op.IF)

EXP_MAX = 709.0
"""exp of more than this is no finite number."""


@kernel
def of_one(op: int, a: float) -> float:
    """Result of an instruction on one number; NaN where there is none."""
    if op == NEGATE:
        return -a
    if op == NOT:
        return a if np.isnan(a) else (1.0 if a == 0 else 0.0)
    if op == ABS:
        return abs(a)
    if op == SQRT:
        return math.sqrt(a) if a >= 0 else math.nan
    if op == LOG:
        return math.log(a) if a > 0 else math.nan
    if op == EXP:
        return math.exp(a) if a <= EXP_MAX else math.nan
    return float(np.rint(a))


@kernel
def of_two(op: int, a: float, b: float) -> float:
    """Result of an instruction on two numbers; NaN where there is none."""
    if op == AND:
        if a == 0 or b == 0:
            return 0.0
        return a + b if np.isnan(a) or np.isnan(b) else 1.0
    if op == OR:
        if (not np.isnan(a) and a != 0) or (not np.isnan(b) and b != 0):
            return 1.0
        return a + b if np.isnan(a) or np.isnan(b) else 0.0
    if np.isnan(a) or np.isnan(b):
        return math.nan
    if op == ADD:
        return a + b
    if op == SUBTRACT:
        return a - b
    if op == MULTIPLY:
        return a * b
    if op == DIVIDE:
        return a / b if b != 0 else math.nan
    if op == MODULO:
        return a % b if b != 0 else math.nan
    if op == POWER:
        # Left out: roots of negative numbers, and 1 / 0.
        return a**b if a > 0 or (b == np.rint(b) and (a != 0 or b >= 0)) else math.nan
    if op == LESS:
        return 1.0 if a < b else 0.0
    if op == LESS_EQUAL:
        return 1.0 if a <= b else 0.0
    if op == GREATER:
        return 1.0 if a > b else 0.0
    if op == GREATER_EQUAL:
        return 1.0 if a >= b else 0.0
    if op == EQUAL:
        return 1.0 if a == b else 0.0
    if op == UNEQUAL:
        return 1.0 if a != b else 0.0
    return min(a, b) if op == MIN else max(a, b)


@kernel
def evaluated(code: I8, operand: F8, value: F8, stack: F8) -> float:
    """Result of one program (longest,) on the variables `value`; `stack` has room for it."""
    top = -1
    for i in range(code.size):
        op = code[i]
        if op == END:
            break
        if op == CONSTANT:
            top += 1
            stack[top] = operand[i]
        elif op == VARIABLE:
            top += 1
            stack[top] = value[int(operand[i])]
        elif op < ADD:
            stack[top] = of_one(op, stack[top])
        elif op < IF:
            top -= 1
            stack[top] = of_two(op, stack[top], stack[top + 1])
        else:
            top -= 2
            if np.isnan(stack[top]):
                continue
            stack[top] = stack[top + 1] if stack[top] != 0 else stack[top + 2]
    return float(stack[0])


@kernel
def tell(s: int, state: State, params: Any, out: Any) -> None:
    """Append the result of group `s` at its newest instant, which is then over."""
    n, p, now, quality = out.count[0], params.row[s], state.now_ns[s], 0
    for k in range(min(state.value.shape[1], params.variables[p])):
        old = now - state.t_ns[s, k] > params.max_age[p]
        if state.here[s, k] == UNKNOWN or state.known[s, k] == 0 or old:
            state.parts[s, k] = np.nan
        else:
            state.parts[s, k] = state.value[s, k]
            quality = max(quality, state.quality[s, k])
    y = evaluated(params.code[p], params.operand[p], state.parts[s], state.stack[s])
    known = np.isfinite(y)
    out.series[n], out.t_ns[n], out.start_ns[n] = s, now, now
    out.value[n] = y if known else np.nan
    out.quality[n] = quality if known else BAD
    out.count[0] = n + 1
    state.waits[s] = 0


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
    for i in range(first, batch.series.size):
        s, t, x, v = batch.series[i], batch.t_ns[i], batch.value[i], batch.slot[i]
        variables = min(state.value.shape[1], params.variables[params.row[s]])
        if t > state.now_ns[s]:
            if state.waits[s] == 1:
                tell(s, state, params, out)
            state.now_ns[s], state.waits[s] = t, 1
            for k in range(variables):
                state.here[s, k] = NO_SAMPLE
        late = t < state.now_ns[s] or state.waits[s] == 0
        if late:
            state.late[0] += 1
        if abs(x) <= LARGEST and batch.quality[i] != BAD:
            if state.known[s, v] == 0 or t >= state.t_ns[s, v]:
                state.value[s, v] = x
                state.t_ns[s, v] = t
                state.quality[s, v] = batch.quality[i]
                state.known[s, v] = 1
            if not late:
                state.here[s, v] = KNOWN
        elif not late and state.here[s, v] == NO_SAMPLE:
            state.here[s, v] = UNKNOWN
        whole = not late
        for k in range(variables):
            whole = whole and state.here[s, k] != NO_SAMPLE
        if whole:
            tell(s, state, params, out)
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Tell the result of an instant that no further channel has a sample at.

    Equivalent to what `step` does before a row at `clock_ns`.
    """
    for s in range(first, last):
        if state.waits[s] == 1 and clock_ns[s] > state.now_ns[s]:
            tell(s, state, params, out)


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
)
