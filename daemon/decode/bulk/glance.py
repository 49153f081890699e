"""Glance: the kernel that tells whether any of some messages presses, before they are taken.

A message may wait when it is one flat object of fields that its topic has shown before, and each of
its values is one that has nothing told at once (`pipelines.foresight`).  All else presses.
"""

from typing import Final, NamedTuple

import numpy as np

from daemon.decode.bulk.scan import READ, Known, Terms, object_at
from daemon.decode.bulk.tokens import OPEN, after_space
from daemon.messages import END, NUMBER, PAYLOAD
from pipelines.batch import I4, I8, U1
from pipelines.foresight import Bounds
from pipelines.jit import kernel
from pipelines.order import Arrivals
from pipelines.primitives import loaded

CALM, LOUD, PRESSING = range(3)
"""Nothing comes of it before a tick; something may, and it may wait; it must not."""
PRESSES: Final = 0
"""In place of a source: what is on this topic must not wait, whatever it is."""


class Sight(NamedTuple):
    """What is to be known of one source."""

    topic: I4  # (T,) the source's number of a topic by that of the transport, -1 without one
    known: Known
    terms: I8  # (7,) `scan.Terms`
    bounds: Bounds  # a series that is not here is calm


class Sights(NamedTuple):
    """Of all sources, for topics as one connection numbers them."""

    source: I4
    """(T,) which source wants what is on a topic, from 1 on; or `PRESSES`."""
    addresses: I8
    """(sources,) where kernels find the `Sight` of each."""
    quiet: U1
    """(sources,) 1 when nothing is told at once of what is calm."""
    like: Sight


def unsighted() -> Sights:
    """Nothing is known of any source."""
    none = np.zeros(0, np.int32)
    known = Known(none, none, none, none, none, none, none, none, np.zeros(0, np.uint8))
    sight = Sight(none, known, np.zeros(0, np.int64), Bounds(*[np.zeros(0)] * 4))
    return Sights(none, np.zeros(0, np.int64), np.zeros(0, np.uint8), sight)


@kernel
def looked_at(text: U1, payload: int, end: int, topic: int, sight: Sight, room: Arrivals) -> int:
    """What one message is; `room`: for as many samples as a message has fields."""
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
        return PRESSING
    fate, p, n, _t_ns, _seq, _missed = object_at(text, p, topic, -1, sight.known, terms, 0, room)
    if fate != READ or p >= end:
        return PRESSING
    of, found = sight.bounds, CALM
    for j in range(n):
        s, x = room.series[j], room.value[j]
        if s < of.low.size:
            if not of.low[s] <= x <= of.high[s]:
                return PRESSING
            if not of.least[s] <= x <= of.most[s]:
                found = LOUD
    return found


@kernel
def glanced(text: U1, rows: I4, n: int, sights: Sights, room: Arrivals) -> int:
    """What the first of `n` messages is that presses, else the loudest. rows: of PUBLISH packets."""
    loudest = CALM
    for i in range(n):
        t = rows[i, NUMBER]
        if t >= sights.source.size:
            return PRESSING
        source = sights.source[t]
        if source == PRESSES:
            return PRESSING
        sight = loaded(sights.addresses[source - 1], sights.like)
        if t >= sight.topic.size or sight.topic[t] < 0:
            return PRESSING
        found: int = looked_at(text, rows[i, PAYLOAD], rows[i, END], sight.topic[t], sight, room)
        if found == PRESSING:
            return found
        if found == LOUD or not sights.quiet[source - 1]:
            loudest = LOUD
    return loudest
