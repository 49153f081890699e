import contextlib
import itertools
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.formula import FormulaError, Op, parse
from pipelines.stack import evaluated


def value_of(text, **variables):
    """Result of a formula, by the kernel that the operator uses."""
    formula = parse(text)
    given_values = np.array([[variables[name] for name in formula.variables] or [0.0]], float)
    code, operand = np.array([formula.code], np.int64), np.array([formula.operand])
    return evaluated(0, 0, code, operand, given_values, np.full((1, formula.depth), -7.0))


UNKNOWN = math.nan
TRUTHS = (0.0, 1.0, UNKNOWN)


def kleene(op, a, b):
    """Min and max over what an unknown truth may turn out to be."""
    worlds = itertools.product(*({0, 1} if math.isnan(v) else {v} for v in (a, b)))
    results = {float((x and y) if op == "and" else (x or y)) for x, y in worlds}
    return results.pop() if len(results) == 1 else UNKNOWN


@pytest.mark.parametrize("op", ["and", "or"])
def test_truth_has_three_values(op):
    for a, b in itertools.product(TRUTHS, TRUTHS):
        np.testing.assert_equal(value_of(f"a {op} b", a=a, b=b), kleene(op, a, b))


@pytest.mark.parametrize(("a", "wanted"), [(0.0, 1), (1.0, 0), (-2.0, 0), (UNKNOWN, UNKNOWN)])
def test_not(a, wanted):
    np.testing.assert_equal(value_of("not a", a=a), wanted)


@pytest.mark.parametrize("op", ["<", "<=", ">", ">=", "==", "!="])
def test_comparisons_are_pythons_and_unknown_with_unknown(op):
    for a, b in itertools.product((-1.0, 0.0, 2.0), repeat=2):
        assert value_of(f"a {op} b", a=a, b=b) == eval(f"a {op} b", {"a": a, "b": b})
    assert math.isnan(value_of(f"a {op} b", a=1.0, b=UNKNOWN))


numbers = st.integers(-9, 9).map(str) | st.sampled_from(["a", "b", "c"])


def combined(inner):
    pairs = st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner)
    return (
        pairs.map(lambda p: f"({p[0]} {p[1]} {p[2]})")
        | inner.map(lambda p: f"-({p})")
        | st.tuples(inner, inner).map(lambda p: f"min({p[0]}, {p[1]})")
        | st.tuples(inner, inner, inner).map(lambda p: f"max({p[0]}, {p[1]}, {p[2]})")
        | inner.map(lambda p: f"abs({p})")
    )


@given(st.recursive(numbers, combined, max_leaves=8), *[st.integers(-50, 50)] * 3)
@settings(max_examples=300, deadline=None)
def test_arithmetic_is_pythons_on_fractions(text, a, b, c):
    exact = {"a": Fraction(a), "b": Fraction(b), "c": Fraction(c)}
    assert value_of(text, a=a, b=b, c=c) == eval(text, {"min": min, "max": max} | exact)


@pytest.mark.parametrize(
    "text",
    ["2 + 3 * a", "2 - 3 - a", "-a ** 2", "2 ** 3 ** 0.5", "a % 3 - 7 % -2", "8 / 4 / a",
     "1 < a < 3", "1 < a < 2", "not a == 2", "a and 0 or 1", "+a", "round(a / 4)", "1e3 * a"],
)  # fmt: skip
def test_precedence_is_pythons(text):
    assert value_of(text, a=2.0) == float(eval(text, {"a": 2.0}))


@pytest.mark.parametrize("a", [0.25, 1.0, 7.5, 300.0])
def test_functions_are_pythons(a):
    for name in ("sqrt", "log", "exp"):
        assert value_of(f"{name}(a)", a=a) == pytest.approx(getattr(math, name)(a), rel=1e-15)


@pytest.mark.parametrize(
    "text",
    ["a / 0", "a % 0", "log(0)", "log(-1)", "sqrt(-1)", "(-8) ** (1 / 3)", "0 ** -1", "exp(1000)",
     "a + b", "min(a, b)", "if(b, 1, 1)", "abs(b)", "round(b)"],
)  # fmt: skip
def test_what_has_no_result_is_not_known(text):
    assert math.isnan(value_of(text, a=1.0, b=UNKNOWN))


def test_if_needs_only_the_side_it_takes():
    assert value_of("if(a > 0, b / a, 0)", a=0.0, b=3.0) == 0
    assert value_of("if (a > 0, b / a, 0)", a=2.0, b=3.0) == 1.5


def test_variables_stand_in_order_of_first_appearance():
    formula = parse("b > a and 'supply-temp' - b < iffy")
    assert formula.variables == ("b", "a", "supply-temp", "iffy")
    assert formula.code[-1] == Op.END


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("voltage * sqr(current)", "unknown function sqr; did you mean sqrt?", 10),
        ("ä + foo(a)", "unknown function foo; known: abs", 4),
        ("a +", "not a formula: invalid syntax", 3),
        ("(a", "'(' was never closed", 0),
        ("a + b.c", "found Attribute", 4),
        ("a[0]", "found Subscript", 0),
        ("[x for x in y]", "found ListComp", 0),
        ("lambda: 1", "found Lambda", 0),
        ("a if b else c", "found IfExp", 0),
        ("__import__('os')", "unknown function __import__", 0),
        ("a is b", "expected < <= > >= == or !=", 0),
        ("True", "found Constant", 0),
        ("1j", "found Constant", 0),
        ("a + 1e400", "a number larger than 1e300", 4),
        ("abs(a, b)", "abs takes 1 numbers, got 2", 0),
        ("min(a)", "min takes 2 or more numbers, got 1", 0),
        ("if(a, b)", "if takes 3 numbers, got 2", 0),
        ("abs + 1", "abs is a function", 0),
        ("max(a, key=b)", "found Call", 0),
        ("  ", "found nothing", 0),
        ("(a\n + foo(b))", "unknown function foo", 6),
        ("(a\n + b) c", "not a formula", 9),
        (" a b", "not a formula", 3),
        ("a // b", "found BinOp", 0),
        ("~a", "found UnaryOp", 0),
        ("a\0b", "not a formula", 3),
    ],
)
def test_faults_are_named_with_their_place(text, message, position):
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert caught.value.position == position
    assert f"at character {position + 1} of {text!r}" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["-" * 900 + "a", "(" * 150 + "a" + ")" * 150, "a" * 2000, "a+" * 450 + "a"]
)
def test_nothing_too_large_gets_through(text):
    with pytest.raises(FormulaError) if "(" not in text else warnings.catch_warnings():
        assert parse(text).code[0] == Op.VARIABLE


@given(st.text(max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_formula_or_a_named_fault(text):
    with contextlib.suppress(FormulaError):
        assert parse(text).depth >= 1
        return
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert 0 <= caught.value.position <= len(text)
