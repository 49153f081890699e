import math

from tests.naive import Row

CASES = (
    ({"timeout": "20s"}, {"timeout": "auto"}),
    ({"timeout": "auto", "factor": 1.5, "floor": "2s"},),
)
SECOND = 1_000_000_000


def upper_edge(gap):
    """Four buckets per doubling, from 2^20 ns on; the last one ends at 2^52."""
    exponent = min(max(math.frexp(gap)[1] - 1, 20), 51) if gap else 20
    quarter = 2 ** (exponent - 2)
    return min(max(gap // quarter + 1, 5), 8) * quarter


def naive(params, events):
    last, silent, edges, timeout = None, False, [], params.timeout
    for e in events:
        now = e.t_ns if hasattr(e, "value") else e.clock_ns
        if last is not None and timeout and not silent and now > last + timeout:
            silent = True
            yield Row(last + timeout, last + timeout, 1.0, 0, (timeout / SECOND,))
        if not hasattr(e, "value") or not e.known:
            continue
        if silent:
            silent = False
            yield Row(now, now, 0.0, 0, ((now - last) / SECOND,))
        if last is not None and params.timeout is None:
            edges.append(upper_edge(min(now - last, timeout or math.inf)))
            n = len(edges)
            if n >= 10 and (n <= 64 or n % 32 == 0):
                p99 = min(x for x in edges if sum(y > x for y in edges) <= 0.01 * n)
                timeout = math.ceil(max(params.floor, params.factor * p99) / 1e6) * 10**6
        last = now
