import math

from tests.naive import Row

CASES = (
    (
        {"left": "a", "right": "b", "halflife": "40s", "baseline_halflife": "10m", "min_pairs": 5},
        {"left": "a", "right": "b", "halflife": "10s", "baseline": 0.3, "min_pairs": 3},
    ),
    (
        {"left": "a", "right": "b", "halflife": "5m", "max_age": "3s", "min_std_share": 1e-9},
        {"left": "a", "right": "b", "halflife": "1m", "baseline_halflife": "2m", "min_pairs": 9},
    ),
)
RTOL = ATOL = 1e-6  # after the wild sample of 1e9


def slots(_):
    return 2


def mean(w, x):
    return math.fsum(a * b for a, b in zip(w, x, strict=True)) / math.fsum(w)


def pearson(params, pairs, now, halflife):
    w = [2 ** (-(now - t) / halflife) for t, _, _ in pairs]
    squares = math.fsum(a * a for a in w)
    if not squares or math.fsum(w) ** 2 / squares < params.min_pairs:
        return math.nan
    columns = [[pair[side] for pair in pairs] for side in (1, 2)]
    means = [mean(w, x) for x in columns]
    apart = [[a - m for a in x] for x, m in zip(columns, means, strict=True)]
    stds = [math.sqrt(mean(w, [a * a for a in x])) for x in apart]
    share = params.min_std_share
    if not all(s > share * abs(m) for s, m in zip(stds, means, strict=True)):
        return math.nan
    r = mean(w, [a * b for a, b in zip(*apart, strict=True)]) / stds[0] / stds[1]
    return max(-1.0, min(1.0, r))


def naive(params, events):
    last, here, pairs = {}, {}, []
    now, waits = 0, False

    def result():
        both = [last.get(v) for v in (0, 1)]
        r = usual = math.nan
        quality = max((e.quality for e in both if e), default=0)
        if all(e and now - e.t_ns <= params.max_age for e in both) and False not in here.values():
            usual = params.baseline
            if usual is None:
                at = pairs[-1][0] if pairs else 0
                usual = pearson(params, pairs, at, params.baseline_halflife)
            pairs.append((now, both[0].value, both[1].value))
            r = pearson(params, pairs, now, params.halflife)
        change = r - usual
        fields = (r, usual, usual - params.drop, usual + params.drop)
        return Row(now, now, change, 2 if math.isnan(change) else quality, fields)

    for e in events:
        if not hasattr(e, "value"):
            if waits and e.clock_ns > now:
                waits = False
                yield result()
            continue
        if e.t_ns > now:
            if waits:
                yield result()
            now, waits, here = e.t_ns, True, {}
        late = e.t_ns < now or not waits
        if e.known and (e.slot not in last or e.t_ns >= last[e.slot].t_ns):
            last[e.slot] = e
        if not late:
            here[e.slot] = e.known or here.get(e.slot, False)
            if len(here) == 2:
                waits = False
                yield result()
