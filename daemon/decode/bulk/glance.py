"""Glance: the kernel that tells whether any of some messages presses, before they are taken.

A message may wait when it is one flat object of fields that its topic has shown before, and each of
its values is one that has nothing told at once (`pipelines.foresight`).  All else presses.
"""

from typing import Final, NamedTuple

import numpy as np

from daemon.decode.bulk.scan import READ, Known, Terms, object_at
from daemon.decode.bulk.tokens import OPEN, after_space
from daemon.messages import END, NUMBER, PAYLOAD
from pipelines.batch import F8, I4, I8, U1
from pipelines.jit import kernel
from pipelines.order import Arrivals
from pipelines.primitives import loaded

PRESSES: Final = 0
"""In place of a source: what is on this topic must not wait, whatever it is."""


class Sight(NamedTuple):
    """What is to be known of one source."""

    topic: I4  # (T,) the source's number of a topic by that of the transport, -1 without one
    known: Known
    terms: I8  # (7,) `scan.Terms`
    low: F8  # (series,) what is in [low, high] may wait; a series that is not here may, too
    high: F8


class Sights(NamedTuple):
    """Of all sources, for topics as one connection numbers them."""

    source: I4
    """(T,) which source wants what is on a topic, from 1 on; or `PRESSES`."""
    addresses: I8
    """(sources,) where kernels find the `Sight` of each."""
    quiet: U1
    """(sources,) 1 when nothing at all comes of what may wait."""
    like: Sight


def unsighted() -> Sights:
    """Nothing is known of any source."""
    none = np.zeros(0, np.int32)
    known = Known(none, none, none, none, none, none, none, none, np.zeros(0, np.uint8))
    sight = Sight(none, known, np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    return Sights(none, np.zeros(0, np.int64), np.zeros(0, np.uint8), sight)


@kernel
def presses(text: U1, payload: int, end: int, topic: int, sight: Sight, room: Arrivals) -> bool:
    """Whether one message must not wait; `room`: for as many samples as a message has fields."""
    terms = Terms(
        sight.terms[0] > 0,
        sight.terms[1] > 0,
        sight.terms[2] > 0,
        sight.terms[3],
        sight.terms[4],
        sight.terms[5],
        sight.terms[6],
    )
    p = after_space(text, payload)
    if text[p] != OPEN or end - payload > terms.bytes_max:
        return True
    fate, p, n, _t_ns, _seq, _missed = object_at(text, p, topic, -1, sight.known, terms, 0, room)
    if fate != READ or p >= end:
        return True
    for j in range(n):
        s = room.series[j]
        if s < sight.low.size and not sight.low[s] <= room.value[j] <= sight.high[s]:
            return True
    return False


@kernel
def pressing(text: U1, rows: I4, n: int, sights: Sights, room: Arrivals) -> int:
    """The first of `n` messages that presses; n when none does. rows: of PUBLISH packets."""
    for i in range(n):
        t = rows[i, NUMBER]
        if t >= sights.source.size:
            return i
        source = sights.source[t]
        if source == PRESSES:
            return i
        sight = loaded(sights.addresses[source - 1], sights.like)
        if t >= sight.topic.size or sight.topic[t] < 0:
            return i
        if presses(text, rows[i, PAYLOAD], rows[i, END], sight.topic[t], sight, room):
            return i
    return n


@kernel
def all_quiet(rows: I4, n: int, sights: Sights) -> bool:
    """Whether nothing at all comes of any of `n` messages, none of which presses."""
    quiet = True
    for i in range(n):
        quiet = quiet and sights.quiet[sights.source[rows[i, NUMBER]] - 1] == 1
    return quiet
