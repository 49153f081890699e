import math
import statistics

from tests.naive import Row

CASES = (
    ({}, {"unit": "min", "hold": "10s"}),
    ({"window": "45s"}, {"window": "5m", "unit": "h", "hold": "1m"}),
    ({"window": "20s", "hold": "0s"},),
)
ATOL = 1e-3  # per hour; the wild sample of 1e9 moves lines through values near 1e6
SECONDS = {"s": 1, "min": 60, "h": 3600}


def naive(params, events):
    past, moving = [], False
    for e in events:
        now = e.clock_ns if hasattr(e, "clock_ns") else e.t_ns
        is_sample = hasattr(e, "value")
        if is_sample and not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
            continue
        if moving and params.hold and now > past[-1][0] + params.hold:
            held = past[-1][0] + params.hold
            yield Row(held, held, 0.0, 1)
            moving = False
        if not is_sample:
            continue
        moving = bool(past)
        past.append((e.t_ns, e.value))
        earlier = [k for k, (t, _) in enumerate(past) if t < e.t_ns]
        inside = [k for k, (t, _) in enumerate(past) if t > e.t_ns - params.window]
        keep = min([*inside[:1], *earlier[-1:], len(past) - 1])
        y = slope(past[keep:], params.window) * SECONDS[params.unit]
        yield Row(e.t_ns, e.t_ns, y, 2 if math.isnan(y) else e.quality)


def slope(points, window):
    times, values = [(t - points[0][0]) / 1e9 for t, _ in points], [x for _, x in points]
    if times[-1] == 0:
        return math.nan
    if not window:
        return (values[-1] - values[0]) / times[-1]
    return statistics.linear_regression(times, values).slope
