import math

from tests.naive import Row

CASES = (
    ({}, {"method": "step", "unit": "s", "max_gap": "10m"}, {"unit": "min", "max_gap": "3s"}),
    ({"method": "step", "max_gap": "2s"},),
)
SECONDS = {"s": 1, "min": 60, "h": 3600}


def naive(params, events):
    last, parts = None, []
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
            continue
        quality = e.quality
        if last and e.t_ns - last.t_ns > params.max_gap:
            quality = max(quality, 1)
        elif last:
            height = last.value if params.method == "step" else (last.value + e.value) / 2
            parts.append(height * (e.t_ns - last.t_ns) / 1e9)
        last = e
        yield Row(e.t_ns, e.t_ns, math.fsum(parts) / SECONDS[params.unit], quality)
