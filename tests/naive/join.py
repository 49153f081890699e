import math

from tests.naive import Row

PAIR = {"left": "a", "right": "b"}
CASES = (
    (PAIR | {"tolerance": "3s", "wait": "2s"}, PAIR | {"value": "ratio", "unmatched": "drop"}),
    (
        PAIR | {"strategy": "nearest", "tolerance": "4s", "value": "ratio"},
        PAIR | {"strategy": "nearest", "tolerance": 0, "value": "right", "wait": "1s"},
    ),
    (
        PAIR | {"strategy": "window", "tolerance": "6s", "value": "difference"},
        PAIR | {"strategy": "window", "tolerance": "9s", "value": "left", "unmatched": "drop"},
    ),
)
LEFT = 1


def slots(_):
    return 2


def naive(params, events):
    ahead = 0 if params.strategy == "asof" else params.tolerance
    waiting, rights, newest = [], [], 0

    def row(e):
        near = [r for r in rights if -params.tolerance <= r.t_ns - e.t_ns <= ahead]
        right, third, quality = math.nan, math.nan, 2
        if params.strategy == "window":
            third = len(near)
            if near:
                right = math.fsum(r.value for r in near) / len(near)
                quality = max(r.quality for r in near)
        elif near:
            before = [r for r in near if r.t_ns <= e.t_ns]
            best = max(before, key=lambda r: r.t_ns) if before else None
            for r in (r for r in reversed(before) if best and r.t_ns == best.t_ns):
                best = r
                break
            for r in sorted((r for r in near if r.t_ns > e.t_ns), key=lambda r: r.t_ns)[:1]:
                if best is None or r.t_ns - e.t_ns < e.t_ns - best.t_ns:
                    best = r
            right, third, quality = best.value, (e.t_ns - best.t_ns) / 1e9, best.quality
        left = e.value if e.known else math.nan
        if math.isnan(right) and e.known and params.unmatched == "drop":
            return []
        y = {
            "difference": left - right,
            "ratio": left / right if right else math.nan,
            "left": left if not math.isnan(right) else math.nan,
            "right": right if e.known else math.nan,
        }[params.value]
        known = not math.isnan(y)
        return [
            Row(
                e.t_ns,
                e.t_ns,
                y,
                max(quality, e.quality) if known else 2,
                (left, right, third),
            )
        ]

    for e in events:
        now = e.t_ns if hasattr(e, "value") else e.clock_ns
        newest = max(newest, now)
        over = [w for w in waiting if w.t_ns + ahead + params.wait < newest]
        waiting = [w for w in waiting if w.t_ns + ahead + params.wait >= newest]
        for w in sorted(over, key=lambda w: w.t_ns):
            yield from row(w)
        if not hasattr(e, "value"):
            continue
        if e.slot == LEFT:
            waiting.append(e)
        elif e.known:
            rights.append(e)
