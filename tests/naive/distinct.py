import math
import struct

from tests.naive import Row

CASES = (
    ({"window": "10m", "exact_max": 16}, {"window": "20s", "exact_max": 64, "offset": "7s"}),
    ({"window": "1d", "exact_max": 64}, {"window": "1s"}),
)


def naive(params, events):
    window, number, born, shut = [], None, None, None
    for e in events:
        sample = hasattr(e, "value")
        if (sample and not e.known) or (born is None and not sample):
            continue
        now = ((e.t_ns if sample else e.clock_ns) - params.offset) // params.window
        shut = now if shut is None else max(shut, now)
        if window and shut > number:
            yield row(params, number, window, born)
            window = []
        if sample and now == shut:
            born = e.t_ns if born is None else born
            number = now
            window.append(e)


def row(params, number, window, born):
    values = {e.value for e in window}
    count, error = len(values), 0.0
    if count > params.exact_max:
        count, error = round(estimated([hashed(v) for v in values])), 1.04 / 64
    start = number * params.window + params.offset
    quality = 1 if start < born else max(e.quality for e in window)
    return Row(start + params.window, start, count, quality, (count, len(window), error))


def hashed(value):
    [h] = struct.unpack("<Q", struct.pack("<d", value or 0.0))
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    h = (h ^ h >> 27) * 0x94D049BB133111EB % 2**64
    return (h ^ h >> 31) or 1


def estimated(hashes):
    registers = [0] * 4096
    for h in hashes:
        low = h % 2**52
        registers[h >> 52] = max(registers[h >> 52], 53 - low.bit_length())
    counts = [registers.count(k) for k in range(54)]
    z = 4096 * tau(1 - counts[53] / 4096)
    for k in range(52, 0, -1):
        z = 0.5 * (z + counts[k])
    z += 4096 * sigma(counts[0] / 4096)
    return 4096 * 4096 / (2 * math.log(2) * z)


def sigma(x):
    return math.fsum([x, *(x ** (2**k) * 2 ** (k - 1) for k in range(1, 60))])


def tau(x):
    if x in (0, 1):
        return 0.0
    return (1 - x - math.fsum((1 - x ** (2**-k)) ** 2 * 2**-k for k in range(1, 60))) / 3
