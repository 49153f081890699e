"""What many series take: bounds that a dict or a tuple for each of them would break."""

import gc
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.channels import Channels
from pipelines.names import Names
from pipelines.operator import OPERATORS, new_state, pack, resized
from pipelines.series import Index, SeriesTable, make_labels
from tests.bench.parsing import Path, check
from tests.bench.starting import memory_mb
from tests.bench.traffic import CHANNELS, traffic

TOPICS = 5000
TOPIC_BYTES_AT_MOST = 550
"""Of a topic with two series; 430 are taken, and 1,800 were with objects for each."""


def test_names_of_topics_devices_and_series_take_arrays_not_objects():
    made, few = traffic(TOPICS, devices=TOPICS), traffic(100)
    Path().run(few)  # kernels are loaded
    gc.collect()
    tracemalloc.start()
    try:
        path = Path(TOPICS)
        check(path.run(made), made)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(path.reading.reader._table) == len(CHANNELS) * TOPICS
    assert taken / TOPICS < TOPIC_BYTES_AT_MOST


TEXT = st.text(max_size=4) | st.sampled_from(["", "channel", "\0", "ÿ", "\ud800"])


@given(st.lists(st.dictionaries(TEXT, TEXT, max_size=3), max_size=40))
def test_labels_are_found_again_whatever_they_are(drawn):
    table, known = SeriesTable(1000), {}
    for pairs in drawn:
        labels = make_labels(pairs)
        assert table.find(labels) == known.get(labels)
        assert table.intern(labels) == known.setdefault(labels, len(known))
    assert list(table) == [table.labels(row) for row in range(len(table))] == list(known)
    assert list(Index.of(*table._index.packed())) == list(known)


@given(st.lists(st.binary(max_size=3), max_size=80), st.data())
def test_names_keep_their_numbers_until_some_are_forgotten(drawn, data):
    names, known = Names(), list(dict.fromkeys(drawn))
    assert [names.add(name) for name in drawn] == [known.index(name) for name in drawn]
    assert list(Names.of(*names.packed())) == known
    kept = sorted(data.draw(st.sets(st.sampled_from(range(len(known))))) if known else ())
    names.keep(kept)
    left = [known[number] for number in kept]
    assert list(names) == left
    assert [names.find(name) for name in known] == [
        left.index(name) if name in left else None for name in known
    ]


def test_arrays_that_are_no_names_are_refused():
    letters, ends = Names().packed()
    for bad in ((b"a", ends), (letters, np.array([0, 1], np.uint32).tobytes())):
        with pytest.raises(ValueError, match="names in"):
            Names.of(*bad)
    with pytest.raises(ValueError, match="names in"):
        Names.of(b"ab", np.array([0, 3, 2], np.uint32).tobytes())
    index = Index()
    index.add((("device", "b7"),))
    kinds, ends, values, value_ends = index.packed()
    for bad in (
        values.replace(b"0", b"1"),
        values.replace(b"0", b"x"),
        values.replace(b"b", b"\xff"),
    ):
        with pytest.raises((ValueError, IndexError)):
            Index.of(kinds, ends, bad, value_ends)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdefghi")), max_size=60))
def test_devices_find_their_rows_by_channel(drawn):
    channels, known = Channels(), [{} for _ in range(4)]
    channels.make_room(4)
    for row, (device, channel) in enumerate(drawn):
        if channel not in known[device]:
            channels.add(device, channel, row)
            known[device][channel] = row
        assert [channels.of(each) for each in range(4)] == known
    alike = [places for device, places in enumerate(channels.places) if [*known[device]] == ["a"]]
    assert len({id(places) for places in alike}) <= 1, "kept once for all of them"


def test_devices_are_numbered_and_counted_also_after_some_are_forgotten():
    table = SeriesTable(10)
    for device, channel in ("a1", "b1", "a2", "c1", "b2", "a3"):
        table.intern(make_labels({"device": device, "channel": channel}))
    device = [(("device", name),) for name in "abcd"]
    assert [table.device(row) for row in range(6)] == [0, 1, 0, 2, 1, 0]
    assert [table.held(each) for each in device] == [3, 2, 1, 0]
    table.renumber(np.array([-1, 0, -1, 1, 2, 3], np.int32))
    assert [table.device(row) for row in range(4)] == [0, 1, 0, 2]
    assert [table.held(each) for each in device] == [1, 2, 1, 0]


@pytest.mark.parametrize("ring", [16, 64])
def test_what_grows_keeps_its_bits(ring):
    operator = OPERATORS["rolling"]
    params = pack(operator, [operator.params(stat="mean", window=60)], 3000)
    state = new_state(operator.state, 3000, params)
    state.x[5, 2], state.seen[5], state.sums[2999] = -0.0, 3, 1.5
    grown = resized(state, 5000, ring, params)
    for name, old in state._asdict().items():
        new = getattr(grown, name)
        assert new[tuple(slice(n) for n in old.shape)].tobytes() == old.tobytes(), name
        assert np.count_nonzero(new) == np.count_nonzero(old), name


def test_what_is_zero_takes_no_memory_when_it_grows():
    operator = OPERATORS["rolling"]
    params = pack(operator, [operator.params(stat="mean", window=60)], 1)
    state = new_state(operator.state, 100_000, params)
    before_mb = memory_mb(os.getpid())
    grown = resized(state, 100_000, 64, params)
    assert memory_mb(os.getpid()) - before_mb < 40
    assert sum(column.nbytes for column in grown) > 150e6
