"""Stack machine: runs the programs of `pipelines.formula` inside kernels."""

import math

import numpy as np

from pipelines.batch import F8, I8
from pipelines.formula import Op
from pipelines.jit import kernel

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
def evaluated(p: int, s: int, code: I8, operand: F8, value: F8, stack: F8) -> float:
    """Result of program `p` on the variables of row `s`; NaN where there is none.

    code, operand: (programs, longest); value: (rows, variables); stack: (rows, depth), whose row
    `s` is room for this evaluation.
    """
    top = -1
    for i in range(code.shape[1]):
        op = code[p, i]
        if op == END:
            break
        if op <= VARIABLE:
            top += 1
            x = operand[p, i]
            stack[s, top] = x if op == CONSTANT else value[s, int(x)]
        elif op < ADD:
            stack[s, top] = of_one(op, stack[s, top])
        elif op < IF:
            top -= 1
            stack[s, top] = of_two(op, stack[s, top], stack[s, top + 1])
        else:
            top -= 2
            if not np.isnan(stack[s, top]):
                stack[s, top] = stack[s, top + 1] if stack[s, top] != 0 else stack[s, top + 2]
    return float(stack[s, 0])
