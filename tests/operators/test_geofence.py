import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.batch import BAD, GOOD, UNCERTAIN, GroupedBatch, samples
from pipelines.geo import great_circle
from pipelines.operators.geofence import Geofence, condition, regroup
from pipelines.series import make_labels
from tests.graphs import Feed, b, graph, short
from tests.operators.one_step import clock, kept, runner
from tests.traffic import SECOND

KM = 1000.0
RADIUS = 6371008.8
CITIES = {
    "London": (51.5074, -0.1278),
    "New York": (40.7128, -74.0060),
    "Paris": (48.8566, 2.3522),
    "Los Angeles": (34.0522, -118.2437),
    "pole": (90, 0),
    "equator": (0, 77),
}
# Lengths of geodesics on WGS 84.
PUBLISHED_KM = {
    ("London", "Paris"): 344,
    ("London", "New York"): 5585,
    ("New York", "Los Angeles"): 3944,
    ("pole", "equator"): 10_001.97,
}


@pytest.mark.parametrize(("cities", "km"), PUBLISHED_KM.items())
def test_distances_of_cities_are_the_published_ones(cities, km):
    one, other = (CITIES[name] for name in cities)
    assert great_circle(*one, *other) == pytest.approx(km * KM, rel=0.005)
    assert great_circle(*other, *one) == great_circle(*one, *other)


def test_distance_of_two_airports_is_that_of_many_programs():
    """The example of Rosetta Code, which takes a radius of 6372.8 km."""
    metres = great_circle(36.12, -86.67, 33.94, -118.40)
    assert metres / RADIUS == pytest.approx(2887.2599506071106 / 6372.8, rel=1e-12)


def at(step, places, first=0):
    """Rows for (lat, lon) that come together, a second apart."""
    t = np.repeat(first + np.arange(len(places)), 2) * SECOND
    return rows(step, [v for place in places for v in place], t, [0, 1] * len(places))


def rows(step, values, t_ns, slots, quality=None):
    """Rows for samples of one device: slot 0 is the latitude, 1 the longitude."""
    made = samples(np.zeros(len(values), np.int32), np.asarray(t_ns), np.asarray(values, float))
    if quality is not None:
        made = made._replace(quality=np.array(quality, np.uint8))
    slot = np.array(slots, np.int32)
    return kept(step.run(GroupedBatch(*made, member=slot, slot=slot)))


def star(rng, lat, lon, size):
    """Corners in turn around a middle: a polygon whose edges do not cross."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    reach = rng.uniform(0.3, 1, 9) * size
    return np.column_stack((lat + reach * np.sin(angle), lon + reach * np.cos(angle)))


@pytest.mark.parametrize("seed", range(12))
def test_inside_and_distance_are_those_of_shapely(seed):
    rng = np.random.default_rng(seed)
    lat, lon = rng.uniform(-65, 65), rng.uniform(-170, 170)
    size = 10.0 ** rng.uniform(-4, -1)  # ten metres to ten kilometres
    corners = star(rng, lat, lon, size)
    places = (lat, lon) + rng.uniform(-1.3, 1.3, (300, 2)) * size
    out = at(runner("geofence", {"polygons": [corners.tolist()]}), places)
    # Shapely knows planes only: metres to the north and to the east of the middle.
    metre = np.array([np.radians(1) * RADIUS, np.radians(1) * RADIUS * np.cos(np.radians(lat))])
    area = shapely.Polygon((corners - (lat, lon)) * metre)
    points = shapely.points((places - (lat, lon)) * metre)
    distance = shapely.distance(area.exterior, points)
    assert shapely.is_valid(area)
    clear = distance > size * 100  # a thousandth of the size
    assert clear.sum() > 250
    np.testing.assert_array_equal(out.value[clear], shapely.contains(area, points)[clear])
    sign = np.where(shapely.contains(area, points), -1, 1)
    np.testing.assert_allclose(
        out.fields[clear, 0], (sign * distance)[clear], rtol=0.02, atol=size * 100
    )


@pytest.mark.parametrize("away", [0.01, 0.3, 1.0])
def test_distance_is_that_of_the_nearest_of_many_points_of_the_border(away):
    rng = np.random.default_rng(1)
    corners = star(rng, 52, 5, 0.5)
    share = np.linspace(0, 1, 20_000)[:, None]
    edges = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    lat, lon = np.radians(np.vstack([a + share * (c - a) for a, c in edges])).T
    angle = rng.uniform(0, 2 * np.pi, 40)
    places = (52, 5) + (0.5 + away) * np.column_stack((np.sin(angle), np.cos(angle)))
    out = at(runner("geofence", {"polygons": [corners.tolist()]}), places)
    for place, metres in zip(np.radians(places), np.abs(out.fields[:, 0]), strict=True):
        a, o = place
        half = np.sin((lat - a) / 2) ** 2 + np.cos(lat) * np.cos(a) * np.sin((lon - o) / 2) ** 2
        brute = 2 * RADIUS * np.arcsin(np.sqrt(half)).min()
        assert metres == pytest.approx(brute, rel=0.002 if away < 1 else 0.01, abs=2)


@given(st.integers(0, 99), st.sampled_from([-180.0, -90.0, 45.0, 90.0, 150.0, 180.0]))
def test_the_antimeridian_is_a_meridian_like_the_others(seed, turn):
    rng = np.random.default_rng(seed)
    # Whole and half degrees, so that turning the globe rounds nothing.
    corners = np.round(star(rng, 10, 20, 15) * 2) / 2
    if len(set(map(tuple, corners))) < 3:
        return
    places = np.round(rng.uniform((-10, -10), (30, 50), (20, 2)) * 2) / 2 + 0.25

    def turned(points):
        return [[lat, (lon + turn + 180) % 360 - 180] for lat, lon in points]

    here = at(runner("geofence", {"polygons": [corners.tolist()]}), places)
    there = at(runner("geofence", {"polygons": [turned(corners)]}), turned(places))
    np.testing.assert_array_equal(there.value, here.value)
    np.testing.assert_allclose(there.fields[:, 0], here.fields[:, 0], rtol=1e-9)


def test_a_fence_over_the_antimeridian():
    fence = {"polygons": [[[-1, 179], [1, 179], [1, -179], [-1, -179]]]}
    places = [(0, 179.5), (0, -179.5), (0, 180), (0, -180), (0, 178), (0, -178), (0, 0), (0, 182)]
    out = at(runner("geofence", fence), places)
    assert out.value.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    degree = math.radians(1) * RADIUS
    np.testing.assert_allclose(out.fields[4:6, 0], degree, rtol=1e-6)
    assert out.fields[7, 0] == pytest.approx(degree)


def test_circles_hold_at_the_poles_and_over_the_antimeridian():
    circles = [{"at": [90, 0], "radius": 200 * KM}, {"at": [0, 180], "radius": 200 * KM}]
    places = [(89, 0), (89, 135), (87, 10), (0, -179), (0, 179), (1, 177), (-90, 0)]
    out = at(runner("geofence", {"circles": circles}), places)
    assert out.value.tolist() == [1, 1, 0, 1, 1, 0, 0]
    degree = math.radians(1) * RADIUS
    wanted = [degree, degree, 3 * degree, degree, degree]
    np.testing.assert_allclose(out.fields[:5, 0], np.array(wanted) - 200 * KM, rtol=1e-6)


def test_edges_that_cross_follow_the_even_odd_rule():
    # A pentagram: its middle is crossed twice.
    tips = [
        (10 * math.cos(2 * a * math.tau / 5), 10 * math.sin(2 * a * math.tau / 5)) for a in range(5)
    ]
    out = at(runner("geofence", {"polygons": [tips]}), [(0, 0), (6, 0), (-6, 0)])
    assert out.value.tolist() == [0, 1, 0]


def test_the_border_belongs_to_the_area():
    fence = {"polygons": [[[0, 0], [0, 2], [2, 2], [2, 0]]]}
    places = [(0, 1), (1, 0), (2, 2), (1, 2), (0, 0)]
    out = at(runner("geofence", fence), places)
    assert out.value.tolist() == [1] * 5
    assert np.abs(out.fields[:, 0]).max() == 0


def test_a_repeated_first_corner_changes_nothing():
    corners = [[0, 0], [0, 2], [2, 1]]
    closed = at(runner("geofence", {"polygons": [[*corners, corners[0]]]}), [(1, 1), (3, 3)])
    open_ = at(runner("geofence", {"polygons": [corners]}), [(1, 1), (3, 3)])
    np.testing.assert_array_equal(closed.fields, open_.fields)


def test_one_leaves_further_out_than_one_enters():
    degree = math.radians(1) * RADIUS
    fence = {"circles": [{"at": [0, 0], "radius": 1000}], "hysteresis": 100}
    metres = [1050, 1000, 1050, 1100, 1101, 1050, 999, 1099, 1200]
    out = at(runner("geofence", fence), [(m / degree, 0) for m in np.array(metres) - 1e-6])
    assert out.value.tolist() == [0, 1, 1, 1, 0, 0, 1, 1, 0]


FENCE = {"circles": [{"at": [10, 20], "radius": 5000}], "max_age": "10s"}


def test_one_result_for_each_instant():
    step = runner("geofence", FENCE)
    t = np.array([0, 0, 1, 2, 2, 3, 4, 5]) * SECOND
    out = rows(step, [10, 20, 10, 20, 11, 30, 10, 20], t, [0, 1, 0, 1, 0, 1, 0, 1])
    assert (out.t_ns // SECOND).tolist() == [0, 1, 2, 3, 4]
    assert out.value.tolist() == [1, 1, 0, 0, 0]
    assert out.fields[:, 1:].tolist() == [[10, 20], [10, 20], [11, 20], [11, 30], [10, 30]]
    assert clock(step, 5).size == 0
    assert clock(step, 5.1).value.tolist() == [1]
    assert clock(step, 60).size == 0


def test_what_is_old_or_unknown_is_not_known():
    step = runner("geofence", FENCE)
    seconds = np.array([0, 0, 10, 11, 20, 20, 30, 31, 31])
    values = [10, 20, 10, 10, np.nan, 20, 20, 10, 20]
    out = rows(step, values, seconds * SECOND, [0, 1, 0, 0, 0, 1, 1, 0, 1])
    assert (out.t_ns // SECOND).tolist() == [0, 10, 11, 20, 30, 31]
    assert out.quality.tolist() == [GOOD, GOOD, BAD, BAD, BAD, GOOD]
    assert np.isnan(out.fields[out.quality == BAD]).all()


def test_quality_is_the_worse_of_both():
    t = np.array([0, 0, 1, 1]) * SECOND
    out = rows(runner("geofence", FENCE), [10, 20] * 2, t, [0, 1] * 2, [0, 1, 0, 0])
    assert out.quality.tolist() == [UNCERTAIN, GOOD]


def test_what_is_no_place_is_counted():
    step = runner("geofence", FENCE)
    out = at(step, [(90.1, 0), (0, 361), (0, -181), (1e300, 5), (-90, 360), (10, 20)])
    assert out.quality.tolist() == [BAD] * 4 + [GOOD] * 2
    assert step.counters() == {"late": 0, "impossible": 4}


def test_a_sample_that_comes_late_is_told_nowhere():
    step = runner("geofence", FENCE)
    assert rows(step, [10, 20], [0, 0], [0, 1]).size == 1
    assert rows(step, [11], [0], [0]).size == 0
    assert step.counters()["late"] == 1
    out = rows(step, [20, 20], [SECOND, 2 * SECOND], [1, 1])
    assert out.fields[:, 1].tolist() == [11]


def test_channels_of_one_device_belong_together():
    params = Geofence.model_validate(FENCE)
    labels = make_labels({"channel": "lon", "device": "b1", "site": "north"})
    assert regroup(params, labels, ()) == (make_labels({"device": "b1", "site": "north"}), 1)
    assert regroup(params, labels, ("site",)) == (make_labels({"site": "north"}), 1)
    assert regroup(params, make_labels({"channel": "speed", "device": "b1"}), ()) is None


@pytest.mark.parametrize(
    ("on", "wanted"),
    [
        ({"on": "enter"}, [("active", 20), ("cleared", 50)]),
        ({"on": "exit"}, [("active", 0), ("cleared", 20), ("active", 50)]),
        ({"on": "dwell", "dwell": "15s"}, [("active", 35), ("cleared", 50)]),
        ({"on": "dwell", "dwell": "40s"}, []),
    ],
)
def test_an_alert_without_when_is_about_what_on_says(on, wanted):
    made = graph({"f": {"from": "boilers", "steps": [{"geofence": FENCE | on}], "alert": {}}})
    feed, sent = Feed(made), []
    for second in range(70):
        lat = 10.0 if 20 <= second < 50 else 10.1
        sent += [(second, b("b1", "lat"), lat), (second, b("b1", "lon"), 20.0)]
        sent += [(second, b("b1", "speed"), 3.0)]
    told = feed.send(sent) + feed.until(80)
    assert [(kind, second) for _, kind, _, second in short(told)] == wanted
    assert condition(Geofence.model_validate(FENCE | on))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give circles or polygons"),
        ({"polygons": [[[0, 0], [1, 1]]]}, "3 different corners .*, got 2"),
        ({"polygons": [[[0, 0], [1, 1], [0, 0], [1, 1]]]}, "3 different corners .*, got 2"),
        ({"polygons": [[[80, 0], [80, 120], [80, -120]]]}, "go around a pole: take a circle"),
        ({"polygons": [[[89.5, 0], [80, 10], [80, 20]]]}, "within 89 degrees"),
        ({"polygons": [[[0, 0], [0, 100], [5, 190 - 360], [5, 90]]]}, "less than 180 degrees wide"),
        ({"polygons": [[[0, 0], [0, 200], [1, 1]]]}, "less than or equal to 180"),
        ({"circles": [{"at": [91, 0], "radius": 5}]}, "less than or equal to 90"),
        ({"circles": [{"at": [9, 0], "radius": 0}]}, "greater than 0"),
        (FENCE | {"on": "dwell"}, "`dwell` belongs to `on: dwell`"),
        (FENCE | {"dwell": "5s"}, "`dwell` belongs to `on: dwell`"),
        (FENCE | {"latitude": "lon"}, "one channel: lon"),
        ({"polygons": [[[i / 100, i % 2] for i in range(300)]]}, "300 corners in all, at most 256"),
    ],
)
def test_what_cannot_be_asked_for(options, message):
    with pytest.raises(ValidationError, match=message):
        Geofence.model_validate(options)
