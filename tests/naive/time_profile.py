import math
import statistics
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.naive import Row

CASES = (
    (
        {"by": "hour_of_day", "stats": ["mean", "sum", "count"]},
        {"by": "hour_of_day", "tz": "Asia/Kathmandu", "stats": ["std", "max", "var"], "last": 2},
    ),
    (
        {"by": "hour_of_week", "tz": "America/New_York", "stats": ["range"]},
        {"by": "day_of_week", "tz": "Pacific/Kiritimati", "stats": ["mean"], "last": 1},
    ),
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def naive(params, events):
    kept, current, born = {}, None, None
    for e in events:
        t = e.t_ns if hasattr(e, "value") else e.clock_ns
        if hasattr(e, "value") and not (e.known and abs(e.value) <= 1e150):
            continue
        if current is not None and t >= current[2]:
            yield row(params, kept.setdefault(current[0], []), current, born)
            current = None
        if not hasattr(e, "value"):
            continue
        born = t if born is None else born
        if current is None:
            current = (*occurrence(params, t), [])
        current[3].append((e.value, e.quality))


def row(params, past, current, born):
    slot, start, end, samples = current
    past.append([x for x, _ in samples])
    some = past[-params.last :] if params.last else past
    x = [v for values in some for v in values]
    about = {
        "mean": lambda: math.fsum(x) / len(x),
        "sum": lambda: math.fsum(x),
        "count": lambda: len(x),
        "min": lambda: min(x),
        "max": lambda: max(x),
        "range": lambda: max(x) - min(x),
        "std": lambda: statistics.stdev(x) if len(x) > 1 else math.nan,
        "var": lambda: statistics.variance(x) if len(x) > 1 else math.nan,
    }
    numbers = [about[name]() for name in params.stats]
    quality = max([q for _, q in samples] + [1 if start < born else 0])
    if math.isnan(numbers[0]):
        quality = 2
    return Row(end, start, numbers[0], quality, (*numbers, slot, len(some)))


def occurrence(params, t_ns):
    """Slot, and begin and end by looking for them minute by minute."""
    zone = ZoneInfo(params.tz)

    def shown(minute):
        local = (EPOCH + timedelta(minutes=minute)).astimezone(zone)
        hour = 0 if params.by == "day_of_week" else local.hour
        return local.date(), hour

    here = shown(t_ns // 60_000_000_000)
    start = end = t_ns // 60_000_000_000
    while shown(start - 1) == here:
        start -= 1
    while shown(end) == here:
        end += 1
    day, hour = here
    slot = {
        "hour_of_day": hour,
        "day_of_week": day.weekday(),
        "hour_of_week": day.weekday() * 24 + hour,
    }[params.by]
    return slot, start * 60_000_000_000, end * 60_000_000_000
