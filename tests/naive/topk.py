import math

from tests.naive import Row

CASES = (
    (
        {"of": "device", "k": 2, "size": "20s", "wait": 0},
        {"of": "device", "k": 9, "size": "7s", "by": "max", "order": "smallest"},
        {"of": "device", "k": 1, "size": "30s", "by": "sum", "wait": "30s"},
    ),
    (
        {"of": "device", "size": "11s", "by": "last", "members_max": 3},
        {"of": "device", "size": "60s", "by": "count", "wait": "7s"},
        {"of": "device", "k": 2, "size": "1s", "by": "min", "wait": "500ms"},
    ),
)
NUMBER = {
    "mean": lambda x: math.fsum(x) / len(x),
    "sum": math.fsum,
    "max": max,
    "min": min,
    "last": lambda x: x[-1],
    "count": len,
}


def slots(_):
    return 3


def naive(params, events):
    windows, begun, shut = {}, None, None
    sign = -1 if params.order == "largest" else 1

    def closed(until):
        for w in sorted(w for w in windows if w < until):
            ranked = sorted(
                (sign * NUMBER[params.by]([e.value for e in es]), es[0].slot, member, es)
                for member, es in windows.pop(w).items()
            )
            for rank, (number, _, member, es) in enumerate(ranked[: params.k], 1):
                start = w * params.size
                quality = max(1 if start < begun else 0, *(e.quality for e in es), 0)
                value = sign * number
                yield Row(start + params.size, start, value, quality, (value, rank), member)

    for e in events:
        sample = hasattr(e, "value")
        if (sample and not e.known) or (not sample and begun is None):
            continue
        now = e.t_ns if sample else e.clock_ns
        until = (now - params.wait) // params.size
        if begun is None:
            begun, shut = now, until
        yield from closed(until)
        shut = max(shut, until)
        if sample and now // params.size >= shut:
            window = windows.setdefault(now // params.size, {})
            if e.member in window or len(window) < params.members_max:
                window.setdefault(e.member, []).append(e)
