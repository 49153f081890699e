import math
import statistics
from fractions import Fraction

from tests.naive import Row
from tests.naive.budget import Limit

CASES = (
    ({"before": 12, "after": 9, "k": 4}, {"before": 2, "after": 2, "min_effect": 1, "k": 3}),
    (
        {"before": 40, "after": 5, "min_std": 0.5},
        {"before": 5, "after": 30, "min_std": 1e-3, "min_std_share": 0},
    ),
    (
        {"before": 12, "after": 9, "false_alarms": "1/5m"},
        {"before": 4, "after": 4, "min_effect": 1, "false_alarms": "1/30s"},
    ),
    (
        {"test": "ks", "before": 20, "after": 15, "k": 3},
        {"before": 9, "after": 9, "k": 3},
        {"test": "ks", "before": 4, "after": 6, "k": 2},
    ),
    ({"test": "ks", "before": 40, "after": 40, "false_alarms": "1/5m"},),
)
ATOL = 1e-6  # standard errors, see `zscore`


def mean(values):
    """Of a flat window its very value."""
    return values[0] + statistics.fmean(x - values[0] for x in values)


def variance(values, middle, floor):
    own = math.fsum((x - middle) ** 2 for x in values) / (len(values) - 1)
    return max(own, floor**2) / len(values)


def naive(params, events):
    past, budget = [], Limit(params)
    for e in events:
        if not hasattr(e, "value"):
            continue
        if e.known:
            past.append(e)
        k = budget.at(e.t_ns) if e.known else math.nan
        if not e.known or len(past) < params.before + params.after:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (*[math.nan] * 4, *budget.fields(k)))
            continue
        both = past[-params.before - params.after :]
        x = [p.value for p in both]
        old, new = mean(x[: params.before]), mean(x[params.before :])
        split = best_split
        if params.test == "ks":
            score, cut = ks(x[: params.before], x[params.before :])
            x, split = [int(v <= cut) for v in x], best_split_of_shares
        else:
            floor = max(params.min_std, params.min_std_share * abs(old))
            error = variance(x[: params.before], old, floor)
            error += variance(x[params.before :], new, floor)
            score = (new - old) / math.sqrt(error) if abs(new - old) >= params.min_effect else 0.0
        age, own = math.nan, budget.fields(k)
        if abs(score) > k:
            age = (e.t_ns - both[split(x)].t_ns) / 1e9
        yield Row(e.t_ns, e.t_ns, budget.note(score), e.quality, (new - old, old, new, age, *own))


def ks(old, new):
    """By the definition: the shares not above each value that there is."""

    def apart(c):
        return Fraction(sum(v <= c for v in old), len(old)) - Fraction(
            sum(v <= c for v in new), len(new)
        )

    cut = max(sorted({*old, *new}), key=lambda c: abs(apart(c)))
    scale = math.sqrt(len(old) * len(new) / (len(old) + len(new)))
    return 2 * scale * float(apart(cut)), cut


def best_split_of_shares(x):
    """Where the shares of ones before and from it on explain most, by the variance between them."""
    n = len(x)

    def between(j):
        return Fraction(n * sum(x[:j]) - j * sum(x)) ** 2 / (j * (n - j))

    return max(range(1, n), key=between)


def best_split(x):
    """Where two levels explain most: the smallest sum of squares around two means."""

    def rest(j):
        return sum(math.fsum((v - mean(part)) ** 2 for v in part) for part in (x[:j], x[j:]))

    return min(range(1, len(x)), key=rest)
