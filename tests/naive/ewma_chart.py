import math

from tests.naive import Row
from tests.naive.baseline import Past
from tests.naive.budget import Limit

CASES = (
    ({"learn": 20}, {"weight": 0.4, "limit": 2, "learn": 7, "on_signal": "relearn"}),
    ({"mean": 3, "std": 2, "weight": 1}, {"mean": 1e6, "learn": 30, "weight": 0.02}),
    ({"std": 0.7, "learn": 12, "on_signal": "go_on"}, {"learn": 2, "min_std": 0.5}),
    (
        {"learn": 10, "false_alarms": "1/5m"},
        {"learn": 20, "false_alarms": "1/30s", "mean": 0, "on_signal": "go_on"},
    ),
    ({"learn": 5, "false_alarms": "1/20s", "on_signal": "relearn", "weight": 0.3},),
)
RTOL = 1e-7  # a baseline that has learned 1e9 and goes on to learn
ATOL = 1e-6  # standard deviations, see `zscore`


def naive(params, events):
    budget, past, since = Limit(params), Past(params), []  # since: judged since the chart began
    w = params.weight
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (*[math.nan] * 4, *budget.fields()))
            continue
        limit = budget.at(e.t_ns)
        more = budget.fields(limit)
        if past.learns():
            past.add(e.value)
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (e.value, *[math.nan] * 3, *more))
            continue
        mean, std = past.baseline()
        since.append((e.value - mean) / std)
        shares = [w * (1 - w) ** age for age in range(len(since))]
        smooth = math.fsum(a * x for a, x in zip(shares, reversed(since), strict=True))
        own = math.sqrt(math.fsum(a * a for a in shares))  # of independent samples
        score, reach = smooth / own, limit * own * std
        signal = abs(score) > limit and (not budget.budget or budget.settled)
        fields = (e.value, mean + smooth * std, mean - reach, mean + reach, *more)
        yield Row(e.t_ns, e.t_ns, budget.note(score), e.quality, fields)
        if budget.budget and not signal:
            past.add_on(e.value, budget)
        if signal and params.on_signal != "go_on":
            since = []
            if params.on_signal == "relearn":
                past = Past(params)
