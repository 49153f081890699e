"""Distances on the globe, from places to each other and to areas."""

import math
from itertools import pairwise
from typing import Final

from pipelines.batch import F8
from pipelines.jit import kernel

RADIUS: Final = 6_371_008.8
"""Mean radius of the earth in metres (IUGG); distances are off by 0.5 % at most."""

LATITUDE_MAX: Final = 89.0
WIDTH_MAX: Final = 180.0


def unwrapped(polygon: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Corners (latitude, longitude) with longitudes that go on beyond +-180 degrees.

    Each edge goes the shorter way around the globe; a last corner that repeats the first is left
    out.  Raises ValueError for what is no area of the kind that `area_distance` knows.
    """
    corners = polygon[:-1] if len(polygon) > 1 and polygon[0] == polygon[-1] else polygon
    if len(set(corners)) < 3:
        raise ValueError(
            f"a polygon needs 3 different corners [latitude, longitude], got {len(set(corners))}"
        )
    steps = [(b[1] - a[1] + 180) % 360 - 180 for a, b in pairwise((*corners, corners[0]))]
    found = [corners[0]]
    for corner, east in zip(corners[1:], steps, strict=False):
        found.append((corner[0], found[-1][1] + east))
    if max(abs(lat) for lat, _ in found) > LATITUDE_MAX or abs(sum(steps)) > WIDTH_MAX:
        raise ValueError(
            f"a polygon must stay within {LATITUDE_MAX:g} degrees of the equator and not go around "
            "a pole: take a circle there"
        )
    width = max(lon for _, lon in found) - min(lon for _, lon in found)
    if width >= WIDTH_MAX:
        raise ValueError(f"a polygon must be less than 180 degrees wide, got {width:g}")
    return tuple(found)


@kernel
def great_circle(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Metres between two places given in degrees: haversine formula (Sinnott 1984)."""
    up = math.sin(math.radians(other_lat - lat) / 2)
    along = math.sin(math.radians(other_lon - lon) / 2)
    cosines = math.cos(math.radians(lat)) * math.cos(math.radians(other_lat))
    return 2 * RADIUS * math.asin(min(1.0, math.sqrt(up * up + cosines * along * along)))


@kernel
def area_distance(
    lat: float, lon: float, lats: F8, lons: F8, first: int, last: int, radius: float
) -> float:
    """Metres from a place to the border of an area, negative inside.

    The area is a circle around corner `first`, or for a radius of NaN the polygon with the corners
    [first, last), as `unwrapped` gives them.
    """
    if not math.isnan(radius):
        return float(great_circle(lat, lon, lats[first], lons[first]) - radius)
    west = east = lons[first]
    for i in range(first, last):
        west, east = min(west, lons[i]), max(east, lons[i])
    # The whole polygon is turned to where it is nearest, so that no edge goes around the globe.
    middle = (west + east) / 2
    ahead = (middle - lon + 180) % 360 - 180
    narrow, inside, least, near_x, near_y = math.cos(math.radians(lat)), False, math.inf, 0.0, 0.0
    x1, y1 = lons[last - 1] - middle + ahead, lats[last - 1] - lat
    for i in range(first, last):
        x2, y2 = lons[i] - middle + ahead, lats[i] - lat
        dx, dy = x2 - x1, y2 - y1
        if (y1 > 0) != (y2 > 0) and x1 - y1 / dy * dx > 0:
            inside = not inside
        length = dx * narrow * dx * narrow + dy * dy
        share = 0.0
        if length > 0:
            share = -(x1 * narrow * dx * narrow + y1 * dy) / length
            share = min(max(share, 0.0), 1.0)
        x, y = x1 + share * dx, y1 + share * dy
        squared = x * narrow * x * narrow + y * y
        if squared < least:
            least, near_x, near_y = squared, x, y
        x1, y1 = x2, y2
    metres = great_circle(lat, lon, lat + near_y, lon + near_x)
    return float(-metres if inside else metres)
