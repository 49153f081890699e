import math

from tests.naive import Row
from tests.naive.baseline import baseline, learns

CASES = (
    ({"learn": 20}, {"k": 1, "h": 3, "learn": 7, "on_signal": "relearn"}),
    ({"mean": 3, "std": 2, "h": 20}, {"mean": 1e6, "learn": 30, "k": 0}),
    ({"std": 0.7, "learn": 12, "on_signal": "go_on"}, {"learn": 2, "min_std": 0.5}),
)
ATOL = 1e-6  # standard deviations, see `zscore`


def naive(params, events):
    past, zs = [], []  # learned from; distances since the sums were last 0
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (math.nan,) * 4)
            continue
        if learns(params, past):
            past.append(e.value)
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (e.value, math.nan, math.nan, math.nan))
            continue
        mean, std = baseline(params, past)
        zs.append((e.value - mean) / std)
        high, low = sums(zs, params.k), sums([-z for z in zs], params.k)
        score = high if high >= low else -low
        yield Row(e.t_ns, e.t_ns, score, e.quality, (e.value, mean, high, low))
        if abs(score) > params.h and params.on_signal != "go_on":
            zs = []
            if params.on_signal == "relearn":
                past = []


def sums(zs, k):
    """The largest sum of z - k over a stretch that ends here, or of nothing."""
    best = total = 0.0
    for z in reversed(zs):
        total += z - k
        best = max(best, total)
    return best
