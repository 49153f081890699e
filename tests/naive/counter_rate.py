import math

from tests.naive import Row

CASES = (
    ({}, {"max": 1000, "unit": "min"}),
    ({"window": "1m"}, {"window": "20s", "max": 50, "unit": "h"}),
)
RTOL = 1e-9
ATOL = 1e-6
SECONDS = {"s": 1, "min": 60, "h": 3600}


def naive(params, events):
    past = []  # (time, counted since the one before)
    last = None
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known or e.value < 0:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
            continue
        more = 0.0
        if last is not None:
            more = e.value - last
            if more < 0:
                overflow = params.max is not None and 0.75 * params.max < last <= params.max
                more = params.max - last + e.value if overflow else e.value
        past.append((e.t_ns, more))
        last = e.value
        earlier = [k for k, (t, _) in enumerate(past) if t < e.t_ns]
        inside = [k for k, (t, _) in enumerate(past) if t > e.t_ns - params.window]
        keep = min([*inside[:1], *earlier[-1:], len(past) - 1])
        span = (e.t_ns - past[keep][0]) / 1e9
        counted = math.fsum(m for _, m in past[keep + 1 :])
        y = counted / span * SECONDS[params.unit] if span else math.nan
        yield Row(e.t_ns, e.t_ns, y, 2 if math.isnan(y) else e.quality)
