import math
import statistics

from tests.naive import Row

CASES = (
    (
        {"above": 40, "horizon": "60s", "window": "90s"},
        {"below": -5, "above": 90, "horizon": "1h", "window": 25, "min_r2": 0},
    ),
    ({"below": 3, "horizon": "10s", "window": "4m", "min_samples": 2, "min_r2": 0.1},),
)
ATOL = 1e-3  # seconds, and the unit of the series: lines that the wild sample of 1e9 went through


def naive(params, events):
    past = []
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (math.nan,) * 4)
            continue
        past.append((e.t_ns, e.value))
        if params.window.n:
            past = past[-params.window.n :]
        else:
            past = [(t, x) for t, x in past if t > e.t_ns - params.window.ns]
        if len(past) < params.min_samples or past[0][0] == e.t_ns:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (e.value, math.nan, math.nan, math.nan))
            continue
        seconds = [(t - e.t_ns) / 1e9 for t, _ in past]
        values = [x for _, x in past]
        slope, now = statistics.linear_regression(seconds, values)
        flat = max(values) == min(values)
        r2 = 0.0 if flat else statistics.correlation(seconds, values) ** 2
        horizon = params.horizon / 1e9
        found = [10 * horizon]
        for limit, sign in ((params.above, 1), (params.below, -1)):
            gap = sign * (limit - now) if limit is not None else math.inf
            if gap <= 0:
                found.append(0.0)
            elif gap < math.inf and r2 >= params.min_r2 and sign * slope > 0:
                found.append(gap / (sign * slope))
        yield Row(
            e.t_ns, e.t_ns, min(found), e.quality, (e.value, now + slope * horizon, slope, r2)
        )
