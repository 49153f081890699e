import math

from tests.naive import Row
from tests.naive.baseline import Past
from tests.naive.budget import Limit

CASES = (
    ({"learn": 20}, {"k": 1, "h": 3, "learn": 7, "on_signal": "relearn"}),
    ({"mean": 3, "std": 2, "h": 20}, {"mean": 1e6, "learn": 30, "k": 0}),
    ({"std": 0.7, "learn": 12, "on_signal": "go_on"}, {"learn": 2, "min_std": 0.5}),
    (
        {"learn": 10, "false_alarms": "1/5m"},
        {"learn": 20, "false_alarms": "1/30s", "mean": 0, "on_signal": "go_on"},
    ),
    ({"learn": 5, "false_alarms": "1/20s", "on_signal": "relearn"},),
)
RTOL = 1e-7  # a baseline that has learned 1e9 and goes on to learn
ATOL = 1e-6  # standard deviations, see `zscore`


def naive(params, events):
    budget, past, zs = Limit(params), Past(params), []  # zs: distances since the sums were 0
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (*[math.nan] * 4, *budget.fields()))
            continue
        h = budget.at(e.t_ns)
        own = budget.fields(h)
        if past.learns():
            past.add(e.value)
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (e.value, *[math.nan] * 3, *own))
            continue
        mean, std = past.baseline()
        zs.append((e.value - mean) / std)
        high, low = sums(zs, params.k), sums([-z for z in zs], params.k)
        score = high if high >= low else -low
        signal = abs(score) > h and (not budget.budget or budget.settled)
        yield Row(e.t_ns, e.t_ns, budget.note(score), e.quality, (e.value, mean, high, low, *own))
        if budget.budget and not signal:
            past.add_on(e.value, budget)
        if signal and params.on_signal != "go_on":
            zs = []
            if params.on_signal == "relearn":
                past = Past(params)


def sums(zs, k):
    """The largest sum of z - k over a stretch that ends here, or of nothing."""
    best = total = 0.0
    for z in reversed(zs):
        total += z - k
        best = max(best, total)
    return best
