import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.operators.convert import UNITS
from tests.operators.one_step import feed, runner

finite = st.floats(-1e6, 1e6)
PAIRS = [(a, b) for units in UNITS.values() for a in units for b in units if a != b]


@pytest.mark.parametrize(
    ("given_", "unit", "want", "to"),
    [  # fixed points and factors as published in NIST SP 811, appendix B.8
        (0, "C", 32, "F"),
        (100, "C", 212, "F"),
        (-40, "C", -40, "F"),
        (0, "C", 273.15, "K"),
        (32, "F", 491.67, "R"),
        (1, "psi", 6.894757, "kPa"),
        (1, "atm", 1013.25, "hPa"),
        (760, "Torr", 1, "atm"),
        (1, "bar", 100, "kPa"),
        (1, "mi", 1.609344, "km"),
        (1, "lb", 0.45359237, "kg"),
        (1, "lb", 16, "oz"),
        (1, "kn", 1.852, "km/h"),
        (1, "mph", 1.609344, "km/h"),
        (1, "kWh", 3.6, "MJ"),
        (3000, "rpm", 50, "Hz"),
        (1, "gal", 3.785412, "l"),
        (60, "l/min", 3.6, "m3/h"),
    ],
)
def test_published_values(given_, unit, want, to):
    [value] = feed(runner("convert", {"from": unit, "to": to}), [given_]).value
    assert value == pytest.approx(want, rel=1e-7)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_there_and_back_again(a, b):
    x = np.array([-459.67, -40.0, 0.0, 1e-3, 17.3, 1e5])
    there = feed(runner("convert", {"from": a, "to": b}), x).value
    back = feed(runner("convert", {"from": b, "to": a}), there).value
    np.testing.assert_allclose(back, x, rtol=1e-13, atol=1e-12)


@given(st.lists(finite, min_size=1, max_size=30), st.lists(finite, min_size=1, max_size=10))
def test_a_polynomial_is_numpys(x, coefficients):
    out = feed(runner("convert", {"polynomial": coefficients}), x).value
    np.testing.assert_array_equal(out, np.polyval(coefficients[::-1], x))


@given(
    st.lists(finite, min_size=1, max_size=30),
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=40, unique=True).map(sorted),
    st.randoms(use_true_random=False),
)
def test_a_table_is_numpys_inside_and_unknown_outside(x, xs, random):
    ys = [random.uniform(-50, 50) for _ in xs]
    table = [list(point) for point in zip(xs, ys, strict=True)]
    x = [*x, *xs, xs[0] - 1e-9 * max(1, abs(xs[0])), xs[-1] + 1]
    out = feed(runner("convert", {"table": table}), x)
    want = np.interp(x, xs, ys, left=np.nan, right=np.nan)
    np.testing.assert_allclose(out.value, want, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(out.quality == 2, np.isnan(want))


def test_points_of_a_table_are_met_exactly():
    table = [[4, 0.1], [12, 0.7], [20, 1.1]]
    assert feed(runner("convert", {"table": table}), [4, 12, 20]).value.tolist() == [0.1, 0.7, 1.1]


def test_each_series_has_its_own_conversion():
    step = runner("convert", {"table": [[0, 0], [1, 5]]}, {"scale": 3}, {"polynomial": [1, 1, 1]})
    values = [float(feed(step, [1.0], series=s).value[0]) for s in range(3)]
    assert values == [5, 3, 3]


def test_what_overflows_is_not_known():
    out = feed(runner("convert", {"polynomial": [0, 0, 1]}), [1e200, 2])
    np.testing.assert_array_equal(out.value, [np.nan, 4])
    assert out.quality.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "give one of"),
        ({"scale": 2, "polynomial": [1]}, "give one of"),
        ({"from": "C"}, "belong together"),
        ({"from": "C", "to": "kPa"}, "C is a unit of temperature, kPa is one of pressure"),
        ({"from": "celsius", "to": "K"}, "unknown unit 'celsius'; known are: K C F"),
        ({"table": [[1, 0], [1, 2]]}, "must rise"),
        ({"table": [[1, 0]]}, "at least 2"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, says):
    with pytest.raises(ValidationError, match=says):
        runner("convert", options)
