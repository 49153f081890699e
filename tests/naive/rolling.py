import math
import statistics
import warnings
from fractions import Fraction
from itertools import pairwise

import numpy as np

from tests.naive import Row

CASES = (
    ({"stat": "mean", "window": "40s"}, {"stat": "std", "window": "60s", "min_samples": 3}),
    ({"stat": "std", "window": 25}, {"stat": "std", "window": "5m", "ddof": 0}),
    # Series 3 counts upwards, so every sample of it stays a candidate for the minimum.
    ({"stat": "max", "window": "50s"}, {"stat": "min", "window": 21}),
    ({"stat": "median", "window": "70s"}, {"stat": "quantile", "q": 0.9, "window": 33}),
    ({"stat": "range", "window": "1m"}, {"stat": "count", "window": "30s"}),
    ({"stat": "slope", "window": "2m"}, {"stat": "slope", "window": 5}),
    ({"stat": "sum", "window": 40}, {"stat": "sum", "window": "3m"}),
    ({"stat": "var", "window": 25}, {"stat": "var", "window": "90s", "ddof": 0}),
    ({"stat": "first", "window": "2m"}, {"stat": "first", "window": 12, "min_samples": 4}),
    (
        {"stat": "mean", "window": "40s", "weight": "step"},
        {"stat": "mean", "window": "90s", "weight": "linear"},
        {"stat": "mean", "window": "2m", "weight": "step", "min_samples": 9},
        {"stat": "mean", "window": "4s", "weight": "linear"},
    ),
)
ATOL = 1e-7  # a window with the wild sample of 1e9 has that much rounding


def slope(points):
    times, values = [(t - points[0][0]) * 1e-9 for t, _ in points], [x for _, x in points]
    if times[-1] == 0:
        return math.nan
    return statistics.linear_regression(times, values).slope


def naive(params, events):
    past = []
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
            continue
        past.append((e.t_ns, e.value))
        since = e.t_ns - params.window.ns
        inside = past[-params.window.n :]
        if not params.window.n:
            inside = [(t, x) for t, x in past if t > since]
        y = math.nan
        if len(inside) >= params.min_samples:
            weighted = params.weight != "none"
            y = over_time(params, past, since) if weighted else stat_of(params, inside)
        yield Row(e.t_ns, e.t_ns, y, 2 if math.isnan(y) else e.quality)


def over_time(params, points, since):
    """Mean of what the value was at each moment from `since` to the last point."""
    area, length = Fraction(0), 0
    for (t0, x0), (t1, x1) in pairwise(points):
        begin = max(t0, since)
        if t1 <= begin or t1 - t0 > params.window.ns:
            continue
        low, high = Fraction(x0), Fraction(x0)
        if params.weight == "linear":
            low += (Fraction(x1) - low) * Fraction(begin - t0, t1 - t0)
            high = Fraction(x1)
        area += (low + high) / 2 * (t1 - begin)
        length += t1 - begin
    return float(area / length) if length else points[-1][1]


def stat_of(params, points):
    x = np.array([x for _, x in points])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(
            {
                "mean": lambda: math.fsum(x) / x.size,
                "sum": lambda: math.fsum(x),
                "min": x.min,
                "max": x.max,
                "range": lambda: x.max() - x.min(),
                "count": lambda: x.size,
                "first": lambda: x[0],
                "std": lambda: (
                    (x - x[0]).std(ddof=params.ddof) if x.size > params.ddof else math.nan
                ),
                "var": lambda: (
                    (x - x[0]).var(ddof=params.ddof) if x.size > params.ddof else math.nan
                ),
                "median": lambda: np.median(x),
                "quantile": lambda: np.quantile(x, params.q),
                "slope": lambda: slope(points),
            }[params.stat]()
        )
