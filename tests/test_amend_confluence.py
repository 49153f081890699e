"""Corrections reach a pipeline that takes the alerts of several, whichever of them is corrected."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graphs import T0, S, b
from tests.test_amend import Played, converges, newest

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


@st.composite
def arrivals(draw):
    """Samples of three devices at whole seconds, often of one time, and some of them late."""
    rng, n = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.integers(5, 60))
    place = np.sort(rng.choice(300, n, replace=False))
    level = np.repeat(rng.choice([50.0, 83.0, 88.0, 95.0], n // 3 + 1), 3)[:n]
    delay = np.where(rng.random(n) < 0.3, rng.random(n) * 60, 0.0)
    return [
        (float(i // 3), b(f"b{i % 3}"), float(x), float(i // 3 + late))
        for i, x, late in zip(place.tolist(), level, delay, strict=True)
    ]


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
