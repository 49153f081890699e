import math
from collections import Counter

import numpy as np

from tests.naive import Row

CASES = (
    (
        {"window": "20s", "q": [0.9, 0], "smallest": 0.05},
        {"window": "90s", "q": [0.25, 1], "offset": "7s", "accuracy": "10%"},
    ),
    (
        {"window": "30s", "q": [0.5, 0.99], "sketch": "exact"},
        {"window": "10m", "q": [0.1, 0.2], "accuracy": "0.2%"},
    ),
)


def naive(params, events):
    window, number, born, shut = [], None, None, None
    for e in events:
        sample = hasattr(e, "value")
        if (sample and not e.known) or (born is None and not sample):
            continue
        now = ((e.t_ns if sample else e.clock_ns) - params.offset) // params.window
        shut = now if shut is None else max(shut, now)
        if window and shut > number:
            yield row(params, number, window, born)
            window = []
        if sample and now == shut:
            born = e.t_ns if born is None else born
            number = now
            window.append(e)


def row(params, number, window, born):
    x = [e.value for e in window]
    error = 0.0
    if params.sketch == "exact":
        quantiles = np.quantile(x, params.q)
    else:
        quantiles, error = sketched(params, x)
    start = number * params.window + params.offset
    quality = 1 if start < born else max(e.quality for e in window)
    fields = (*map(float, quantiles), len(x), error)
    return Row(start + params.window, start, fields[0], quality, fields)


def share(params):
    return float(params.accuracy.rstrip("%")) / 100


def bins_of(params, x):
    """({key: samples} of those above zero, below zero, how many are zero, joined how often)."""
    width = 2 * math.atanh(share(params))
    keys = {
        sign: Counter(
            math.ceil(math.log(abs(v)) / width)
            for v in x
            if v * sign > 0 and abs(v) >= params.smallest
        )
        for sign in (1, -1)
    }
    zeros = len(x) - keys[1].total() - keys[-1].total()
    joined = 0
    while any(k and max(k) - min(k) >= math.ceil(10.24 / width) for k in keys.values()):
        joined += 1
        for sign, counts in keys.items():
            halved = Counter()
            for key, count in counts.items():
                halved[math.ceil(key / 2)] += count
            keys[sign] = halved
    return keys[1], keys[-1], zeros, joined


def sketched(params, x):
    above, below, zeros, joined = bins_of(params, x)
    r = math.exp(2 * math.atanh(share(params)) * 2**joined)
    stand = [-2 * r**k / (1 + r) for k in sorted(below.elements(), reverse=True)]
    stand += [0.0] * zeros + [2 * r**k / (1 + r) for k in sorted(above.elements())]
    stand = [min(max(v, min(x)), max(x)) for v in stand]
    stand[0], stand[-1] = min(x), max(x)
    return np.quantile(stand, params.q), (r - 1) / (r + 1)
