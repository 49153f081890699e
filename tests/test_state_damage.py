"""A state that was changed is restored part by part, or refused in words; nothing else is raised."""

import random

import orjson
import pytest

from pipelines.graph import Graph
from pipelines.state import StateError, restore
from tests.restarts import sections
from tests.test_rogue import PIPELINES, SOURCE
from tests.wired import Wired

ODD = [b"null", b"[]", b"{}", b"-1", b"99999999999", b'"x"', b"1e999", b"0", b"true", b""]
SIGNS = b'0123456789[]{}",:nulltrue-e'


@pytest.fixture(scope="module")
def kept():
    """A graph that remembers something of everything, and its state."""
    wired = Wired(PIPELINES, SOURCE)
    for k in range(60):
        body = {"ts": wired.clock.now_ns(), "n": k, "a": 70 + k}
        wired.send(f"plant/north/b{k % 4}", body)
        wired.wait(0.2)
    return wired.engine.graph, sections(wired.engine.graph)


def changed(rng, raw):
    data = bytearray(raw)
    if not data:  # it was cut to nothing before
        return rng.choice(ODD)
    at = rng.randrange(len(data))
    match rng.randrange(4):
        case 0:
            del data[at:]
        case 1:
            data[at] = rng.choice(SIGNS)
        case 2:
            data[at : at + rng.randint(0, 3)] = rng.choice(ODD)
        case 3:
            other = rng.randrange(len(data))
            data[at:at] = data[other : other + rng.randint(1, 40)]
    return bytes(data)


def attempt(kept, seeds):
    graph, good = kept
    ends = {"kept": 0, "refused": 0}
    for seed in seeds:
        rng = random.Random(seed)
        state = dict(good)
        for _ in range(rng.randint(1, 3)):
            name = rng.choice(["state", "state", "arrays"])
            state[name] = changed(rng, state[name])
        try:
            restored = restore(Graph(graph.gateway, graph.operators), state)
            ends["kept"] += len(restored.kept) + len(restored.anew) > 0
        except StateError:
            ends["refused"] += 1
    assert min(ends.values()) > 0


def test_whatever_a_state_holds_it_is_restored_or_refused(kept):
    attempt(kept, range(300))


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_whatever_a_state_holds_it_is_restored_or_refused_at_length(kept):
    attempt(kept, range(300, 20_000))


@pytest.mark.parametrize("lacking", ["plan", "rules", "state"])
def test_a_part_that_lacks_something_is_refused(kept, lacking):
    graph, good = kept
    bad = good | {"state": good["state"].replace(f'"{lacking}":'.encode(), b'"x":')}
    with pytest.raises(StateError, match="cannot be read"):
        restore(Graph(graph.gateway, graph.operators), bad)


@pytest.mark.parametrize("kind", [",8", "O", "<U9", "f8,f8", "<f3", "", 8, None])
def test_an_array_of_what_is_no_number_is_refused(kept, kind):
    graph, good = kept
    state = orjson.loads(good["state"])
    state["arrays"][0][0] = kind
    with pytest.raises(StateError, match="cannot be read"):
        restore(Graph(graph.gateway, graph.operators), good | {"state": orjson.dumps(state)})
