import math
import statistics
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.naive import Row

CASES = (
    (
        {"size": "10s", "stats": ["std", "mean", "sum"]},
        {"size": "1m", "stats": ["first", "var", "range"]},
    ),
    (
        {"size": "30s", "hop": "7s", "offset": "3s", "stats": ["sum", "std"]},
        {"size": "1m", "hop": "1s", "stats": ["min", "max"]},
    ),
    (
        # Local days and weeks that begin at 16:10 UTC, amid the traffic.
        {"size": "1d", "offset": "21h55m", "tz": "Asia/Kathmandu", "stats": ["sum"]},
        {"size": "2d", "hop": "1d", "offset": "6h10m", "tz": "Pacific/Kiritimati"},
        {"size": "1w", "offset": "4d11h10m", "tz": "America/New_York", "stats": ["count"]},
    ),
)
ATOL = 1e-5  # deviation of a window that holds the wild sample of 1e9 beside values near 1e6


def naive(params, events):
    hop = params.hop or params.size
    open_, born, shut = {}, None, None  # start → samples; windows that end by `shut` are closed
    in_traffic = datetime(2025, 11, 24, 16, tzinfo=UTC)  # no clocks change then
    ahead = in_traffic.astimezone(ZoneInfo(params.tz)).utcoffset() // timedelta(seconds=1) * 10**9
    for e in events:
        sample = hasattr(e, "value")
        if (sample and not e.known) or (born is None and not sample):
            continue
        now = (e.t_ns if sample else e.clock_ns) + ahead  # what clocks show
        shut = now if shut is None else max(shut, now)
        for start in sorted(open_):
            if start + params.size <= shut:
                yield row(params, start, open_.pop(start), born, ahead)
        if not sample:
            continue
        born = now if born is None else born
        start = (now - params.offset) // hop * hop + params.offset
        while start + params.size > now:
            if start + params.size > shut:
                open_.setdefault(start, []).append(e)
            start -= hop


def row(params, start, samples, born, ahead):
    x = [e.value for e in samples]
    known = {
        "mean": math.fsum(x) / len(x),
        "sum": math.fsum(x),
        "min": min(x),
        "max": max(x),
        "range": max(x) - min(x),
        "count": len(x),
        "first": x[0],
        "last": x[-1],
        "std": statistics.stdev(x) if len(x) > 1 else math.nan,
        "var": statistics.variance(x) if len(x) > 1 else math.nan,
    }
    fields = tuple(known[name] for name in params.stats)
    quality = 1 if start < born else max(e.quality for e in samples)
    quality = 2 if math.isnan(fields[0]) else quality
    return Row(start + params.size - ahead, start - ahead, fields[0], quality, fields)
