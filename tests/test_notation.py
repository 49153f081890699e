"""The notation of samples: what is written against what was meant, and where it is wrong."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.notation import SAMPLES_MAX, samples

NAN = math.nan


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("80", [80]),
        ("80x3", [80, 80, 80]),
        ("20+0.5x3 _x2 95", [20, 20.5, 21, 21.5, None, None, 95]),
        ("20-1x5", [20, 19, 18, 17, 16, 15]),
        ("-5-1x2", [-5, -6, -7]),
        ("_", [None]),
        ("nan nanx2", [NAN, NAN, NAN]),
        ("(1 _ 2)x2 (3)", [1, None, 2, 1, None, 2, 3]),
        ("((1 2)x2 3)x2", [1, 2, 1, 2, 3, 1, 2, 1, 2, 3]),
        ("1e3+2x1 .5 5. -1e-3", [1000, 1002, 0.5, 5, -0.001]),
        ("  80\n\t81 ", [80, 81]),
        ("", []),
    ],
)
def test_what_is_written_is_what_was_meant(text, meant):
    assert repr(samples(text)) == repr(tuple(None if x is None else float(x) for x in meant))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("80 95y10", "character 4, '95y10': expected a number, _ or nan"),
        ("80 inf", "character 4, 'inf': expected a number"),
        ("80(1)", "character 1, '80(1)': expected a number"),
        ("80x", "character 1, '80x': expected a number"),
        ("80 20+1", "character 4, '20+1': how many steps? 20+1x10 is 20 and ten steps of +1"),
        ("_+1x2", "character 1, '_+1x2': only a number can rise or fall"),
        ("1 (2 3", "character 3, '(2': a ( without its )"),
        ("1 2)", "character 4, ')': a ) without its ("),
        ("(1 2)y3", "character 5, ')y3': expected ) or )x3"),
        ("80x0", "character 1, '80x0': x0 is nothing"),
        ("80x1000001", "character 1, '80x1000001': more than 1000000 samples"),
        ("1 80x99999999999999999999", "character 3, '80x99999999999999999999': more than"),
        ("(1x1000)x1001", "character 8, ')x1001': more than 1000000 samples"),
        ("((((((((((1))))))))))", "brackets deeper than 8"),
        ("1e999", "character 1, '1e999': too large a number"),
        ("1e308+1e308x5", "too large a number"),
    ],
)
def test_an_error_names_the_place_inside_the_notation(text, message):
    with pytest.raises(ValueError) as caught:
        samples(text)
    assert message in str(caught.value)


def test_the_largest_series_is_taken():
    assert len(samples(f"80x{SAMPLES_MAX}")) == SAMPLES_MAX


numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
counts = st.integers(1, 9)
items = st.one_of(
    st.tuples(numbers, counts).map(lambda a: (f"{a[0]!r}x{a[1]}", [a[0]] * a[1])),
    numbers.map(lambda x: (repr(x), [x])),
    counts.map(lambda n: (f"_x{n}", [None] * n)),
    counts.map(lambda n: (f"nanx{n}", [NAN] * n)),
    st.tuples(numbers, numbers, counts).map(
        lambda a: (f"{a[0]!r}{a[1]:+}x{a[2]}", [a[0] + i * a[1] for i in range(a[2] + 1)])
    ),
)
lists = st.recursive(
    st.lists(items, max_size=4),
    lambda inner: st.lists(
        st.tuples(inner, counts).map(
            lambda a: (
                f"({' '.join(t for t, _ in a[0])})x{a[1]}",
                [x for _, v in a[0] for x in v] * a[1],
            )
        ),
        max_size=3,
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(lists)
def test_any_notation_is_read_as_it_was_made(made):
    text = " ".join(t for t, _ in made)
    assert repr(samples(text)) == repr(tuple(x for _, values in made for x in values))


@settings(deadline=None)
@given(st.text(alphabet="0123456789.+-exn_a() \n", max_size=40))
def test_any_text_is_read_or_refused_with_a_place(text):
    found, problem = (), ""
    try:
        found = samples(text)
    except ValueError as error:
        problem = str(error)
    assert problem == "" or problem.startswith("character ")
    assert len(found) <= SAMPLES_MAX
    assert all(x is None or not math.isinf(x) for x in found)
