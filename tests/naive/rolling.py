import math
import statistics
import warnings

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
        if params.window.n:
            past = past[-params.window.n :]
        else:
            past = [(t, x) for t, x in past if t > e.t_ns - params.window.ns]
        y = stat_of(params, past) if len(past) >= params.min_samples else math.nan
        yield Row(e.t_ns, e.t_ns, y, 2 if math.isnan(y) else e.quality)


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
                "std": lambda: (
                    (x - x[0]).std(ddof=params.ddof) if x.size > params.ddof else math.nan
                ),
                "median": lambda: np.median(x),
                "quantile": lambda: np.quantile(x, params.q),
                "slope": lambda: slope(points),
            }[params.stat]()
        )
