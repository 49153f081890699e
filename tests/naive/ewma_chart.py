import math

from tests.naive import Row
from tests.naive.baseline import baseline, learns

CASES = (
    ({"learn": 20}, {"weight": 0.4, "limit": 2, "learn": 7, "on_signal": "relearn"}),
    ({"mean": 3, "std": 2, "weight": 1}, {"mean": 1e6, "learn": 30, "weight": 0.02}),
    ({"std": 0.7, "learn": 12, "on_signal": "go_on"}, {"learn": 2, "min_std": 0.5}),
)
ATOL = 1e-6  # standard deviations, see `zscore`


def naive(params, events):
    past, since = [], []  # learned from; judged since the chart began
    w = params.weight
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
        since.append(e.value - mean)
        shares = [w * (1 - w) ** age for age in range(len(since))]
        smooth = math.fsum(a * x for a, x in zip(shares, reversed(since), strict=True))
        own = std * math.sqrt(math.fsum(a * a for a in shares))  # of independent samples
        low, high = mean - params.limit * own, mean + params.limit * own
        yield Row(e.t_ns, e.t_ns, smooth / own, e.quality, (e.value, mean + smooth, low, high))
        if abs(smooth / own) > params.limit and params.on_signal != "go_on":
            since = []
            if params.on_signal == "relearn":
                past = []
