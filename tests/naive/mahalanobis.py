import math

from tests.naive import Row

TWO, THREE = {"channels": ["a", "b"]}, {"channels": ["a", "b", "c"]}
CASES = (
    (
        TWO | {"halflife": "2m", "min_samples": 20, "k": 3},
        TWO | {"halflife": "3m", "min_samples": 30, "p": 0.01, "on_anomaly": "freeze"},
    ),
    (THREE | {"halflife": "1h", "min_samples": 20, "on_anomaly": "learn", "shrink": 0.1},),
)
RTOL, ATOL = 1e-5, 1e-5  # of values near 1e6 beside a wild one of 1e9


def slots(params):
    return len(params.channels)


def solved(matrix, right):
    """x of matrix x = right by Gauss and Jordan with pivots."""
    rows = [[*row, y] for row, y in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        best = max(range(i, len(rows)), key=lambda r: abs(rows[r][i]))
        rows[i], rows[best] = rows[best], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for r, row in enumerate(rows):
            if r != i:
                rows[r] = [x - row[i] * y for x, y in zip(row, rows[i], strict=True)]
    return [row[-1] for row in rows]


def naive(params, events):
    d = len(params.channels)
    limit = params.limit
    last, here, past = {}, {}, []  # past: (time, values as learned)
    now, waits = 0, False

    def deviations(x):
        w = [2 ** (-(now - t) / params.halflife) for t, _ in past]
        total, squares = math.fsum(w), math.fsum(a * a for a in w)
        if not squares or total**2 / squares < params.min_samples:
            return None
        mean = [
            math.fsum(a * v[i] for a, (_, v) in zip(w, past, strict=True)) / total for i in range(d)
        ]

        def moment(i, j):
            terms = (
                a * (v[i] - mean[i]) * (v[j] - mean[j]) for a, (_, v) in zip(w, past, strict=True)
            )
            return math.fsum(terms) / (total - squares / total)

        floor = [max(params.min_std, params.min_std_share * abs(m)) for m in mean]
        std = [max(floor[i], math.sqrt(moment(i, i))) for i in range(d)]
        z = [(x[i] - mean[i]) / std[i] for i in range(d)]
        r = [
            [
                1 if i == j else (1 - params.shrink) * moment(i, j) / std[i] / std[j]
                for j in range(d)
            ]
            for i in range(d)
        ]
        return math.sqrt(sum(a * b for a, b in zip(z, solved(r, z), strict=True))), z, mean

    def result():
        both = [last.get(v) for v in range(d)]
        quality = max((e.quality for e in both if e), default=0)
        score, z = math.nan, [math.nan] * d
        if all(e and now - e.t_ns <= params.max_age for e in both) and False not in here.values():
            x = [e.value for e in both]
            found = deviations(x)
            learned = x
            if found:
                score, z, mean = found
                if score > limit and params.on_anomaly == "clip":
                    learned = [m + (v - m) * limit / score for m, v in zip(mean, x, strict=True)]
                elif score > limit and params.on_anomaly == "freeze":
                    learned = None
            if learned:
                past.append((now, learned))
        return Row(now, now, score, 2 if math.isnan(score) else quality, (limit, *z))

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
        if e.known and (e.slot not in last or e.t_ns >= last[e.slot].t_ns):
            last[e.slot] = e
        if e.t_ns == now and waits:
            here[e.slot] = e.known or here.get(e.slot, False)
            if len(here) == d:
                waits = False
                yield result()
