"""Real samples with labelled failures, in any batches and through a real broker: one result."""

import json
import time

import pytest

from daemon.ledger import Count
from tests.nab import LIMITS, PIPELINES, SAMPLES, SOURCES, payloads, scored, table
from tests.wired import Wired


def through_memory(batch):
    made = Wired(PIPELINES, SOURCES, limits=LIMITS | {"batch_messages_max": batch})
    for i, payload in enumerate(payloads()):
        made.send("plant/north/machine/m1/telemetry", payload)
        if i % 1024 == 1023:
            while made.turn():
                pass
    ledger = made.close()
    assert ledger.total(Count.MESSAGES_ACCEPTED) == SAMPLES
    # The file repeats an hour: the clocks of its machines went back once.
    assert (
        ledger.total(Count.SAMPLES_USED)
        + ledger.total(Count.SAMPLES_LATE)
        + ledger.total(Count.SAMPLES_DUPLICATE)
        == SAMPLES
    )
    return [(o.topic, o.payload) for o in made.published("alert")], ledger


@pytest.fixture(scope="module")
def reference():
    return through_memory(1024)[0]


@pytest.mark.parametrize("batch", [1, 7])
def test_batches_of_any_size_give_identical_events(batch, reference):
    began = time.perf_counter()
    found, ledger = through_memory(batch)
    print(f"batches of {batch}: {time.perf_counter() - began:.1f} s", ledger.as_dict())
    for pipeline in PIPELINES:
        mine = [o for o in found if f"/{pipeline}/" in o[0]]
        assert mine == [o for o in reference if f"/{pipeline}/" in o[0]]
        assert mine


def test_the_labelled_failures_are_found(reference):
    events = [json.loads(payload) for _, payload in reference]
    print("\n" + table(events))
    found = scored(events)
    assert len(found["odd_mad"][0]) >= 3
    assert len(found["odd_zscore"][0]) >= 2
    assert found["odd_mad"][1] <= 30
    assert found["odd_zscore"][1] <= 15
