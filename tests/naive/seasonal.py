import math
import statistics
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.naive import Row
from tests.naive.budget import Limit

CASES = (
    (
        {"period": "60s", "bins": 12, "periods": 5, "min_samples": 3},
        {"period": "40s", "bins": 4, "periods": 3, "neighbours": 0, "min_samples": 1, "k": 3},
    ),
    (
        {"period": "2m", "bins": 30, "periods": 2, "min_samples": 2, "on_anomaly": "freeze"},
        {"period": "3m", "bins": 9, "on_anomaly": "learn", "min_mad": 0.5, "neighbours": 4},
    ),
    (
        {"period": "1m", "bins": 6, "min_samples": 3, "tz": "Asia/Kathmandu"},
        {"period": "1w", "holidays": ["2025-11-24", "2025-11-25"], "tz": "America/New_York"},
    ),
    (
        {"period": "60s", "bins": 12, "min_samples": 3, "false_alarms": "1/5m"},
        {"period": "2m", "bins": 8, "on_anomaly": "freeze", "false_alarms": "1/30s"},
    ),
)


def shown(params, t_ns):
    """What clocks show, in ns since they showed the begin of 1970; days as those of the week."""
    zone = UTC if params.tz == "UTC" else ZoneInfo(params.tz)
    clock = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=t_ns // 10**9)).astimezone(zone)
    clock = clock.replace(tzinfo=UTC)
    if clock.date() in params.holidays:
        clock += timedelta(days=6 - clock.weekday())
    return int(clock.timestamp()) * 10**9 + t_ns % 10**9


def naive(params, events):
    width = params.period // params.bins
    budget = Limit(params)
    bins = {}  # bin since 1970: newest value that it took in
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (*[math.nan] * 4, *budget.fields()))
            continue
        k = budget.at(e.t_ns)
        own = budget.fields(k)
        past, local = [], shown(params, e.t_ns)
        for back in range(1, params.periods + 1):
            then = (local - back * params.period) // width
            near = range(then - params.neighbours, then + params.neighbours + 1)
            past += [bins[b] for b in near if b in bins]
        if len(past) < params.min_samples:
            yield Row(e.t_ns, e.t_ns, math.nan, 2, (e.value, *[math.nan] * 3, *own))
            bins[local // width] = e.value
            continue
        median = statistics.median(past)
        mad = statistics.median(abs(x - median) for x in past) * 1.4826022185056018
        mad = max(mad, params.min_mad, params.min_mad_share * abs(median))
        low, high = median - k * mad, median + k * mad
        score = (e.value - median) / mad
        yield Row(e.t_ns, e.t_ns, budget.note(score), e.quality, (e.value, median, low, high, *own))
        if abs(score) <= k or params.on_anomaly == "learn":
            bins[local // width] = e.value
        elif params.on_anomaly == "clip":
            bins[local // width] = high if score > 0 else low
