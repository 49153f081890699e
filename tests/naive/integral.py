import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from tests.naive import Row

CASES = (
    ({}, {"method": "step", "unit": "s", "max_gap": "10m"}, {"unit": "min", "max_gap": "3s"}),
    ({"method": "step", "max_gap": "2s"},),
    (
        {"reset": "1m", "unit": "s"},
        {"reset": "3s", "unit": "s", "max_gap": "10s", "method": "step"},
        {"reset": "7m", "offset": "3s", "unit": "s", "max_gap": "5m"},
    ),
    (
        # Local days that begin at 16:10 UTC, amid the traffic.
        {"reset": "1d", "offset": "21h55m", "tz": "Asia/Kathmandu", "unit": "min"},
        {"reset": "1w", "offset": "4d11h10m", "tz": "America/New_York", "method": "step"},
    ),
)
SECONDS = {"s": 1, "min": 60, "h": 3600}
ATOL = 1e-6  # sums that hold the wild sample of 1e9


def naive(params, events):
    in_traffic = datetime(2025, 11, 24, 16, tzinfo=UTC)  # no clocks change then
    ahead = in_traffic.astimezone(ZoneInfo(params.tz)).utcoffset() // timedelta(seconds=1) * 10**9
    size = params.reset or 1 << 62
    zero = params.offset - ahead

    last, born, sums = None, None, defaultdict(list)
    for e in events:
        if not hasattr(e, "value"):
            continue
        none = (math.nan,) if params.reset else ()
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, none)
            continue
        quality, period = e.quality, (e.t_ns - zero) // size
        born = period if born is None else born
        if last and e.t_ns - last.t_ns > params.max_gap:
            quality = max(quality, 1)
            sums[(last.t_ns - zero) // size].append(0)
        elif last:
            for k in range((last.t_ns - zero) // size, period + 1):
                begin = max(last.t_ns, k * size + zero)
                end = min(e.t_ns, (k + 1) * size + zero)
                sums[k].append(area(params, last, e, begin, end))
        last = e
        unit = SECONDS[params.unit]
        before = sums.get(period - 1) if period - 1 > born else None
        fields = (float(sum(before)) / unit if before else math.nan,) if params.reset else ()
        yield Row(e.t_ns, e.t_ns, float(sum(sums[period])) / unit, quality, fields)


def area(params, last, e, begin, end):
    """Exactly what adds up between two moments on the way from `last` to `e`."""
    if params.method == "step" or e.t_ns == last.t_ns:
        return Fraction(last.value) * (end - begin) / 10**9
    rise = (Fraction(e.value) - Fraction(last.value)) / (e.t_ns - last.t_ns)
    both = 2 * Fraction(last.value) + rise * (begin - last.t_ns + end - last.t_ns)
    return both / 2 * (end - begin) / 10**9
