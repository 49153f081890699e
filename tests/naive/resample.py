import math

from tests.naive import Row

CASES = (
    ({"every": "1s"}, {"every": "5s", "method": "linear"}, {"every": "10s", "method": "mean"}),
    ({"every": "3s", "max_gap": "2s"}, {"every": "500ms", "method": "mean", "max_gap": "7s"}),
    ({"every": "2s", "method": "linear", "max_gap": "1m"},),
)
ATOL = 1e-5  # periods that hold the wild sample of 1e9 beside values near 1e6


def naive(params, events):
    reach = params.max_gap or 3 * params.every
    past, told = [], -math.inf
    for e in events:
        sample = hasattr(e, "value")
        if (sample and not e.known) or not (sample or past):
            continue
        now = e.t_ns if sample else e.clock_ns
        if params.method == "linear":
            if sample:
                past.append(e)
                yield from line(params, past[-2:], reach)
            continue
        for g in grid(params, past, now, reach):
            mean = params.method == "mean"
            if g > told and (g <= now if mean else g < now):
                found = (weighted if mean else held)(params, past, g, reach)
                told = g if found else told
                yield from found
        if sample:
            past.append(e)


def grid(params, past, now, reach):
    if not past:
        return []
    until = min(now, past[-1].t_ns + reach + params.every)
    # The gap before the last sample was told of when that sample came.
    return range(past[-1].t_ns // params.every * params.every, until + 1, params.every)


def held(params, past, g, reach):
    at = [e for e in past if e.t_ns <= g]
    if at and g - at[-1].t_ns <= reach:
        return [Row(g, g, at[-1].value, at[-1].quality)]
    return []


def weighted(params, past, g, reach):
    start, parts = g - params.every, []
    for k, e in enumerate(past):
        end = past[k + 1].t_ns if k + 1 < len(past) else math.inf
        low, high = max(start, e.t_ns), min(g, end, e.t_ns + reach)
        if high > low:
            parts.append((e, high - low))
    if not parts:
        return []
    covered = sum(span for _, span in parts)
    mean = math.fsum(e.value * (span / covered) for e, span in parts)
    worst = max(e.quality for e, _ in parts)
    return [Row(g, g, mean, worst if covered == params.every else 1)]


def line(params, pair, reach):
    b = pair[-1]
    a = pair[0] if len(pair) == 2 and b.t_ns - pair[0].t_ns <= reach else None
    first = a.t_ns // params.every + 1 if a else -(-b.t_ns // params.every)
    for k in range(first, b.t_ns // params.every + 1):
        g = k * params.every
        if g == b.t_ns:
            yield Row(g, g, b.value, b.quality)
        else:
            x = a.value + (b.value - a.value) * ((g - a.t_ns) / (b.t_ns - a.t_ns))
            yield Row(g, g, x, max(a.quality, b.quality))
