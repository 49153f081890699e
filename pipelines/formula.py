"""Formulas that people write, such as `voltage * current`, as a program for a stack machine.

A formula is parsed by Python's own `ast` and translated from a short list of allowed nodes;
nothing is ever evaluated as Python.  Truth has three values: a number other than 0 is true, 0 is
false, and NaN is not known (Kleene): `0 and NaN` is 0, `1 or NaN` is 1, a comparison with NaN is
NaN.  `pipelines.operators.expr` runs the program.
"""

import ast
import enum
import re
import warnings
from difflib import get_close_matches
from typing import Final, NamedTuple, NoReturn

LENGTH_MAX: Final = 1000
DEPTH_MAX: Final = 40
CODE_MAX: Final = 400


class Op(enum.IntEnum):
    """What one instruction does to the stack; operand only where said."""

    END = 0
    CONSTANT = 1  # push the operand
    VARIABLE = 2  # push the variable of that number
    NEGATE = 3
    NOT = 4
    ABS = 5
    SQRT = 6
    LOG = 7
    EXP = 8
    ROUND = 9
    # From here on two numbers become one.
    ADD = 10
    SUBTRACT = 11
    MULTIPLY = 12
    DIVIDE = 13
    MODULO = 14
    POWER = 15
    LESS = 16
    LESS_EQUAL = 17
    GREATER = 18
    GREATER_EQUAL = 19
    EQUAL = 20
    UNEQUAL = 21
    AND = 22
    OR = 23
    MIN = 24
    MAX = 25
    IF = 26  # three become one: condition, when true, when false


class Formula(NamedTuple):
    """A program: instruction i is `code[i]` with `operand[i]`; the last one is END."""

    text: str
    variables: tuple[str, ...]  # in order of first appearance
    code: tuple[int, ...]
    operand: tuple[float, ...]
    depth: int  # numbers on the stack at most


class FormulaError(ValueError):
    """A formula that cannot be used; for whoever shows it to the person who wrote it.

    `position`: characters before the place of the fault.
    """

    def __init__(self, what: str, text: str, position: int) -> None:
        super().__init__(f"{what}, at character {position + 1} of {text!r}")
        self.position = position


_BINARY: Final = {
    ast.Add: Op.ADD,
    ast.Sub: Op.SUBTRACT,
    ast.Mult: Op.MULTIPLY,
    ast.Div: Op.DIVIDE,
    ast.Mod: Op.MODULO,
    ast.Pow: Op.POWER,
}
_COMPARE: Final = {
    ast.Lt: Op.LESS,
    ast.LtE: Op.LESS_EQUAL,
    ast.Gt: Op.GREATER,
    ast.GtE: Op.GREATER_EQUAL,
    ast.Eq: Op.EQUAL,
    ast.NotEq: Op.UNEQUAL,
}
_FUNCTIONS: Final = {
    "abs": (Op.ABS, 1, 1),
    "sqrt": (Op.SQRT, 1, 1),
    "log": (Op.LOG, 1, 1),
    "exp": (Op.EXP, 1, 1),
    "round": (Op.ROUND, 1, 1),
    "min": (Op.MIN, 2, 16),
    "max": (Op.MAX, 2, 16),
    "if": (Op.IF, 3, 3),
}
_IF: Final = "\u0131f"  # `if(` is no Python; an identifier as long that nobody types is


def parse(text: str) -> Formula:
    """Translate a formula.

    Numbers; names of variables, in quotes where a name is no identifier ('supply-temp'); + - * /
    % **; < <= > >= == !=, also chained; and, or, not; abs, sqrt, log (natural), exp, round (half
    to even), min, max, if(condition, then, else).  Raises FormulaError.
    """
    if len(text) > LENGTH_MAX:
        raise FormulaError(f"longer than {LENGTH_MAX} characters", text[:20] + "…", LENGTH_MAX)
    if not text.strip():
        raise FormulaError("expected a formula such as a + b, found nothing", text, 0)
    python = re.sub(r"\bif(?=\s*\()", _IF, text)
    lead = len(python) - len(python.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice about Python is not for our users
            tree = ast.parse(python.strip(), mode="eval")
    except SyntaxError as error:
        message = error.msg.replace(_IF, "if")
        place = lead + _place(error, python.strip())
        raise FormulaError(f"not a formula: {message}", text, place) from None
    except (ValueError, MemoryError, RecursionError):
        raise FormulaError("not a formula", text, 0) from None
    return _Translator(text, python.strip(), lead).formula(tree.body)


def _place(error: SyntaxError, python: str) -> int:
    """Characters before the fault; all of them where Python only says that more is missing."""
    lines = python.split("\n")
    line, offset = error.lineno or 0, error.offset or 0
    if not 1 <= line <= len(lines) or offset < 1:
        return len(python)
    return min(sum(len(text) + 1 for text in lines[: line - 1]) + offset - 1, len(python))


class _Translator:
    """Walks the tree once and appends instructions."""

    def __init__(self, text: str, python: str, lead: int) -> None:
        self.text = text
        self.lines = python.split("\n")
        self.lead = lead
        self.variables: list[str] = []
        self.code: list[tuple[Op, float]] = []
        self.size = self.size_max = 0

    def formula(self, body: ast.expr) -> Formula:
        self.visit(body, 0)
        self.code.append((Op.END, 0.0))
        codes, operands = zip(*self.code, strict=True)
        return Formula(
            self.text, tuple(self.variables), tuple(map(int, codes)), operands, self.size_max
        )

    def visit(self, node: ast.expr, depth: int) -> None:
        if depth > DEPTH_MAX:
            self.fail(f"nested more than {DEPTH_MAX} deep", node)
        if len(self.code) > CODE_MAX:
            self.fail(f"more than {CODE_MAX} operations", node)
        match node:
            case ast.Constant(value=str(name)):
                self.variable(name, node)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                self.constant(number, node)
            case ast.Name(id=name):
                self.variable(name, node)
            case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.UAdd(), operand=operand):
                self.visit(operand, depth + 1)
                if not isinstance(node.op, ast.UAdd):
                    self.put(Op.NEGATE if isinstance(node.op, ast.USub) else Op.NOT)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                self.visit(left, depth + 1)
                self.visit(right, depth + 1)
                self.put(_BINARY[type(op)])
            case ast.BoolOp(op=op, values=values):
                self.fold(Op.AND if isinstance(op, ast.And) else Op.OR, values, depth)
            case ast.Compare():
                self.compare(node, depth)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                self.call("if" if name == _IF else name, args, node, depth)
            case _:
                self.fail(
                    "expected numbers, names, + - * / % **, comparisons, and, or, not and "
                    f"functions; found {type(node).__name__}",
                    node,
                )

    def put(self, op: Op, operand: float = 0.0) -> None:
        self.code.append((op, operand))
        self.size += 1 if op <= Op.VARIABLE else -2 if op == Op.IF else -1 if op >= Op.ADD else 0
        self.size_max = max(self.size_max, self.size)

    def constant(self, number: float, node: ast.Constant) -> None:
        if abs(number) > 1e300:
            self.fail("a number larger than 1e300", node)
        self.put(Op.CONSTANT, float(number))

    def variable(self, name: str, node: ast.expr) -> None:
        if name in _FUNCTIONS:
            self.fail(f"{name} is a function: write {name}(…)", node)
        if name not in self.variables:
            self.variables.append(name)
        self.put(Op.VARIABLE, float(self.variables.index(name)))

    def fold(self, op: Op, values: list[ast.expr], depth: int) -> None:
        self.visit(values[0], depth + 1)
        for value in values[1:]:
            self.visit(value, depth + 1)
            self.put(op)

    def compare(self, node: ast.Compare, depth: int) -> None:
        sides = [node.left, *node.comparators]
        for i, op in enumerate(node.ops):
            if type(op) not in _COMPARE:
                self.fail("expected < <= > >= == or !=", node)
            self.visit(sides[i], depth + 1)
            self.visit(sides[i + 1], depth + 1)
            self.put(_COMPARE[type(op)])
            if i:
                self.put(Op.AND)

    def call(self, name: str, args: list[ast.expr], node: ast.Call, depth: int) -> None:
        if name not in _FUNCTIONS:
            near = get_close_matches(name, _FUNCTIONS, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_FUNCTIONS)}"
            self.fail(f"unknown function {name}; {hint}", node)
        op, least, most = _FUNCTIONS[name]
        if not least <= len(args) <= most:
            count = str(least) if least == most else f"{least} or more"
            self.fail(f"{name} takes {count} numbers, got {len(args)}", node)
        if op in (Op.MIN, Op.MAX):
            self.fold(op, args, depth)
            return
        for arg in args:
            self.visit(arg, depth + 1)
        self.put(op)

    def fail(self, what: str, node: ast.expr) -> NoReturn:
        # ast counts bytes of UTF-8 in a line, people count characters.
        line = self.lines[node.lineno - 1].encode()[: node.col_offset].decode()
        before = sum(len(text) + 1 for text in self.lines[: node.lineno - 1])
        raise FormulaError(what, self.text, self.lead + before + len(line))
