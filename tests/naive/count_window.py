import math

from tests.naive import Row
from tests.naive.session import numbers

CASES = (
    (
        {"n": 10, "step": 3, "stats": ["mean", "std"]},
        {"n": 7, "stats": ["sum", "range"]},
    ),
    (
        {"n": 4, "step": 1, "stats": ["std", "count", "first", "last", "min", "max"]},
        {"n": 1} | {"stats": ["std", "var", "first", "last", "min", "max"]},
    ),
)
ATOL = 1e-5  # deviation of a window that holds the wild sample of 1e9 beside values near 1e6


def naive(params, events):
    known = [e for e in events if hasattr(e, "value") and e.known]
    for start in range(0, len(known) - params.n + 1, params.step or params.n):
        window = known[start : start + params.n]
        fields = numbers(params.stats, [e.value for e in window])
        quality = 2 if math.isnan(fields[0]) else max(e.quality for e in window)
        yield Row(window[-1].t_ns, window[0].t_ns, fields[0], quality, fields)
