"""Corrections reach a pipeline that takes the alerts of several, whichever of them is corrected."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs import b
from tests.test_amend import Played, converges

pytestmark = pytest.mark.usefixtures("all_is_told")

HOT = {"from": "boilers", "amend_for": "10m", "alert": {"when": {"above": 90, "on_delay": "2s"}}}
CHAIN = {
    "hot": HOT,
    "warm": {**HOT, "alert": {"when": {"above": 80, "off_delay": "3s"}}},
    "warmer": {**HOT, "alert": {"when": {"above": 85}}},
    "silent": {**HOT, "steps": [{"missing": {"timeout": "7s"}}], "alert": {}},
    "both": {
        "from": {"alerts": ["warm", "silent", "hot"]},
        "steps": [{"quorum": {"of": "alert", "at_least": 2, "within": "5s"}}],
        "alert": {},
    },
    "then": {
        "from": {"alerts": ["hot", "silent"]},
        "steps": [
            {"sequence": {"of": "alert", "steps": [{"is": "silent"}, {"is": "hot"}], "within": "30s"}}
        ],
        "alert": {},
    },
    "site": {
        "from": {"alerts": ["warm", "warmer"]},
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "1s"}}],
        "alert": {},
    },
    "one": {
        "from": {"alerts": "warm"},
        "group_by": ["site"],
        "steps": [{"quorum": {"of": "device", "at_least": 2, "within": "1s"}}],
        "alert": {},
    },
    "each": {
        "from": {"alerts": ["hot", "warmer"]},
        "alert": {"when": {"above": 0.5, "on_delay": "3s"}},
    },
    "worst": {
        "from": {"alerts": ["both", "then"]},
        "steps": [{"quorum": {"of": "alert", "at_least": 2, "within": "20s"}}],
        "alert": {},
    },
}  # fmt: skip


def noisy(seed, n):
    """Samples of three devices at whole seconds, often of one time, and some of them late."""
    rng = np.random.default_rng(seed)
    place = np.sort(rng.choice(300, n, replace=False))
    level = np.repeat(rng.choice([50.0, 83.0, 88.0, 95.0], n // 3 + 1), 3)[:n]
    delay = np.where(rng.random(n) < 0.3, rng.random(n) * 60, 0.0)
    return [
        (float(i // 3), b(f"b{i % 3}"), float(x), float(i // 3 + late))
        for i, x, late in zip(place.tolist(), level, delay, strict=True)
    ]


@st.composite
def arrivals(draw):
    return noisy(draw(st.integers(0, 2**32)), draw(st.integers(5, 60)))


@pytest.mark.parametrize(
    ("seed", "n"),
    [
        (34, 39),  # a late row lets a cause come before what it is no cause of
        (36, 41),  # an alert that ends and begins again at one time, one of both told before
        (59, 24),  # two devices change at one time, the first of them late
    ],
)
def test_what_once_went_wrong(seed, n):
    converges(CHAIN, noisy(seed, n))


@settings(max_examples=25, deadline=None)
@given(rows=arrivals())
def test_corrected_in_the_end_is_what_sorted_data_gives(rows):
    converges(CHAIN, rows)


@settings(max_examples=15, deadline=None)
@given(rows=arrivals())
def test_what_is_settled_while_it_goes_on_was_told_so(rows):
    converges(json.loads(json.dumps(CHAIN).replace("10m", "70s")), rows)


@pytest.mark.nightly
@settings(max_examples=2_000, deadline=None)
@given(rows=arrivals())
def test_corrected_in_the_end_many_times(rows):
    converges(json.loads(json.dumps(CHAIN).replace("10m", "70s")), rows)


@pytest.mark.parametrize("cut", [2, 7])
def test_the_same_corrections_however_the_stream_is_cut(cut):
    rows = [(t, labels, x, np.floor(a / 2) * 2 + 1) for t, labels, x, a in noisy(3, 60)]
    groups = {}
    for row in sorted(rows, key=lambda r: r[3]):
        groups.setdefault(row[3], []).append(row)

    def told(size):
        made = Played(CHAIN, [], 0)
        for second, some in groups.items():
            made.until(second)
            for first in range(0, len(some), size):
                made.told += made.feed.send(some[first : first + size])
        made.until(300)
        return sorted(map(repr, made.told))

    assert told(cut) == told(1)
