import math

from tests.naive import Row

TRIANGLE = [[-1.31, -1.27], [2.03, -0.71], [0.17, 3.07]]
CASES = (
    (
        {"polygons": [TRIANGLE, [[10, 10], [35, 11], [34, 33], [9, 28.5]]], "max_age": "20s"},
        {"circles": [{"at": [0.2, 0.4], "radius": 70_000}], "hysteresis": 90_000},
    ),
    (
        {
            "polygons": [TRIANGLE],
            "circles": [{"at": [22, 24], "radius": 900_000}, {"at": [-80, 170], "radius": 2}],
            "on": "exit",
            "hysteresis": 100_000,
        },
        {"polygons": [[[-1, 170], [3, -165], [1, 171]]], "on": "dwell", "dwell": "5m"},
    ),
)
ATOL = 1e-4  # metres, for devices on the other side of the globe


def slots(_):
    return 2


def naive(params, events):
    last, rows_at, now, waits, inside = {}, {}, -math.inf, False, False

    def result():
        nonlocal waits, inside
        waits = False
        for v in (0, 1):
            unknown = v in rows_at and not any(rows_at[v])
            if unknown or v not in last or now - last[v].t_ns > params.max_age:
                return Row(now, now, math.nan, 2, (math.nan,) * 3)
        lat, lon = last[0].value, last[1].value
        metres = min(
            [great_circle(lat, lon, *c.at) - c.radius for c in params.circles]
            + [from_polygon(lat, lon, polygon) for polygon in params.polygons]
        )
        inside = metres <= (params.hysteresis if inside else 0)
        quality = max(last[0].quality, last[1].quality)
        return Row(now, now, float(inside), quality, (metres, lat, lon))

    for e in events:
        sample = hasattr(e, "value")
        if waits and (e.t_ns if sample else e.clock_ns) > now:
            yield result()
        if not sample:
            continue
        if e.t_ns > now:
            now, waits, rows_at = e.t_ns, True, {}
        known = e.known and (abs(e.value) <= 90 if e.slot == 0 else -180 <= e.value <= 360)
        if known and (e.slot not in last or e.t_ns >= last[e.slot].t_ns):
            last[e.slot] = e
        if e.t_ns == now and waits:
            rows_at.setdefault(e.slot, []).append(known)
            if len(rows_at) == 2:
                yield result()


def great_circle(lat, lon, other_lat, other_lon):
    a, b = math.radians(lat), math.radians(other_lat)
    half = math.sin((b - a) / 2) ** 2
    half += math.cos(a) * math.cos(b) * math.sin(math.radians(other_lon - lon) / 2) ** 2
    return 2 * 6371008.8 * math.asin(min(1, math.sqrt(half)))


def from_polygon(lat, lon, polygon):
    lons = [polygon[0][1]]
    for _, east in polygon[1:]:
        lons.append(lons[-1] + (east - lons[-1] + 180) % 360 - 180)
    middle = (min(lons) + max(lons)) / 2
    shift = (middle - lon + 180) % 360 - 180 - middle
    scale = math.cos(math.radians(lat))
    corners = [
        complex((x + shift) * scale, y - lat) for x, (y, _) in zip(lons, polygon, strict=True)
    ]
    inside, nearest = False, math.inf
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        if (a.imag > 0) != (b.imag > 0):
            inside ^= a.real - a.imag * (b.real - a.real) / (b.imag - a.imag) > 0
        along = ((-a) * (b - a).conjugate()).real / abs(b - a) ** 2
        nearest = min(nearest, a + min(max(along, 0), 1) * (b - a), key=abs)
    metres = great_circle(lat, lon, lat + nearest.imag, lon + nearest.real / scale)
    return -metres if inside else metres
