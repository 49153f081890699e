import math

from tests.naive import Row

CASES = (
    (
        {"stat": "sum", "every": "5s", "max_age": "20s", "wait": 0},
        {"stat": "mean", "every": "3s", "max_age": "9s", "wait": "4s"},
        {"stat": "count", "every": "10s", "max_age": "10s", "forget": "30s"},
    ),
    (
        {"stat": "min", "every": "7s", "max_age": "30s", "wait": "2s"},
        {"stat": "max", "every": "1s", "max_age": "2s", "members_max": 3},
    ),
)


def slots(_):
    return 1


def naive(params, events):
    every = params.every
    samples = {}  # member → [(from which multiple on, t, value, quality)]
    told, newest, open_ = 0, 0, set()

    def row(k):
        at, counted, absent = k * every, [], 0
        for listed in samples.values():
            seen = [x for x in listed if x[0] <= k]
            if not seen:
                continue
            _, t, value, quality = max(reversed(seen), key=lambda x: x[1])
            if at - t <= params.max_age:
                counted.append((value, quality))
            elif at - t <= params.forget:
                absent += 1
        x = [value for value, _ in counted]
        if not x:
            return Row(at, at, math.nan, 2, (0, absent))
        y = {
            "sum": math.fsum(x),
            "mean": math.fsum(x) / len(x),
            "min": min(x),
            "max": max(x),
            "count": len(x),
        }[params.stat]
        return Row(at, at, y, max(1 if absent else 0, *(q for _, q in counted)), (len(x), absent))

    for e in events:
        now = e.t_ns if hasattr(e, "value") else e.clock_ns
        if not hasattr(e, "value") and not samples:
            continue
        newest = max(newest, now)
        fresh = max((x[1] for listed in samples.values() for x in listed), default=None)
        if fresh is not None:
            gone = (fresh + params.max_age) // every + 1
            for k in sorted({*open_, gone}):
                if told < k and k * every < newest - params.wait:
                    yield row(k)
                    told = k
            open_ = {k for k in open_ if k > told}
        if not hasattr(e, "value") or not e.known:
            continue
        if e.member not in samples and len(samples) == params.members_max:
            continue
        k = -(-e.t_ns // every)
        if k > told:
            open_.add(k)
        samples.setdefault(e.member, []).append((max(k, told + 1), e.t_ns, e.value, e.quality))
