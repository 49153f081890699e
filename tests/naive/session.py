import math
import statistics

from tests.naive import Row

CASES = (
    (
        {"gap": "10s", "stats": ["mean", "std"]},
        {"gap": "5s", "max": "20s", "stats": ["sum", "range"]},
    ),
    ({"gap": "2s", "max": "1s", "stats": ["var", "count", "first", "last", "min", "max"]},),
)
ATOL = 1e-5  # deviation of a session that holds the wild sample of 1e9 beside values near 1e6


def naive(params, events):
    open_ = []
    for e in events:
        sample = hasattr(e, "value")
        if sample and (not e.known or abs(e.value) > 1e150):
            continue
        now = e.t_ns if sample else e.clock_ns
        if open_:
            paused = open_[-1].t_ns + params.gap
            aged = open_[0].t_ns + params.max if params.max else math.inf
            if now > paused or now >= aged:
                yield row(params, open_, min(paused, aged))
                open_ = []
        if sample:
            open_.append(e)


def row(params, samples, end):
    fields = numbers(params.stats, [e.value for e in samples])
    quality = 2 if math.isnan(fields[0]) else max(e.quality for e in samples)
    return Row(end, samples[0].t_ns, fields[0], quality, fields)


def numbers(stats, x):
    known = {
        "mean": math.fsum(x) / len(x),
        "sum": math.fsum(x),
        "min": min(x),
        "max": max(x),
        "range": max(x) - min(x),
        "count": len(x),
        "first": x[0],
        "last": x[-1],
        "std": statistics.stdev(x) if len(x) > 1 else math.nan,
        "var": statistics.variance(x) if len(x) > 1 else math.nan,
    }
    return tuple(known[name] for name in stats)
