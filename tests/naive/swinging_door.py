from fractions import Fraction

from tests.naive import Row

CASES = (
    ({"dev": 0.6}, {"dev": 0.013, "max_time": "20s"}, {"dev": 0.7}, {"dev": 3}, {"dev": 2.1}),
    ({"dev": 0.3, "max_time": "1s"},),
)


def naive(params, events):
    kept, passed = None, []  # the last kept sample, and those since
    for e in events:
        sample = hasattr(e, "value")
        if sample and not e.known:
            continue
        now = e.t_ns if sample else e.clock_ns
        overdue = kept and now - kept.t_ns > params.max_time
        if passed and (overdue or (sample and not fits(kept, passed, e, params.dev))):
            kept, passed = passed[-1], []
            yield Row(kept.t_ns, kept.t_ns, kept.value, kept.quality)
        if not sample:
            continue
        if kept and e.t_ns > kept.t_ns:
            passed.append(e)
        elif kept is None or abs(e.value - kept.value) > params.dev:
            kept = e
            yield Row(e.t_ns, e.t_ns, e.value, e.quality)


def fits(kept, passed, e, dev):
    """Whether the line from `kept` to `e` is near all that were passed, in exact numbers."""
    slope = (Fraction(e.value) - Fraction(kept.value)) / (e.t_ns - kept.t_ns)
    line = [Fraction(kept.value) + slope * (u.t_ns - kept.t_ns) for u in passed]
    return all(
        abs(y - Fraction(u.value)) <= Fraction(dev) for y, u in zip(line, passed, strict=True)
    )
