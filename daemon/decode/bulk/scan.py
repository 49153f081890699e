"""Scan: the kernel that reads a batch of payloads, each a flat JSON object, into columns."""

from typing import Final, NamedTuple

import numpy as np

from daemon.decode.bulk.moment import moment_ns
from daemon.decode.bulk.tokens import (
    CLOSE,
    COLON,
    COMMA,
    DECIMAL,
    OPEN,
    QUOTE,
    TEXT,
    UNSURE,
    WHOLE,
    WORD,
    after_space,
    value,
)
from daemon.decode.times import T_MAX_NS
from daemon.messages import END, PAYLOAD
from daemon.octets import same
from pipelines.batch import I4, I8, U1
from pipelines.jit import kernel
from pipelines.order import NONE, Arrivals

READ, LEFT, UNMET, REFUSED = range(4)
"""What became of a message: read; left to the plain decoder; left because of a field that its
topic has not shown before, or not as a number; not looked at, for its device sends too much."""

CHANNEL, OTHER, TIME, COUNTER = range(4)
"""What a field of a source stands for."""

FIELDS_MAX: Final = 62
"""Fields of one topic: those that have been seen in a payload are bits of one word."""


class Known(NamedTuple):
    """What has been seen in payloads so far, see `shapes`."""

    first: I4  # (T,) first field of each topic
    fields: I4  # (T,) and how many it has, in the order in which they came
    key: I4  # (F,) key of each field
    row: I4  # (F,) row of the series that it is of, -1 while it has none
    begin: I4  # (K,) where the letters of each key begin
    length: I4  # (K,)
    role: I4  # (K,) what the key stands for
    rank: I4  # (K,) place of its channel among those that the source lists
    letters: U1  # (L,) UTF-8


class Terms(NamedTuple):
    """What a source says of its payloads."""

    listed: bool
    """Whether it lists its channels: one that is there but no number is not known."""
    timed: bool
    iso: bool
    scale: int
    """Nanoseconds of the unit of time."""
    past_ns: int
    keys_max: int
    bytes_max: int


@kernel
def field_at(text: U1, p: int, topic: int, k: int, known: Known) -> int:
    """Which field of the topic has its key, quotes around it, at p; -1 when none has.

    Tries field k first, then those behind it. Every byte is compared.
    """
    if text[p] != QUOTE:
        return -1
    p += 1
    first, count = known.first[topic], known.fields[topic]
    for _ in range(count):
        key = known.key[first + k]
        length = known.length[key]
        if same(text, p, p + length, known.letters, known.begin[key]) and text[p + length] == QUOTE:
            return k
        k = k + 1 if k + 1 < count else 0
    return -1


@kernel
def time_of(text: U1, p: int, kind: int, end: int, whole: int, x: float, terms: Terms) -> int:
    """Event time of a value that reaches from p to end, as by `daemon.decode.times`; -1: none."""
    if terms.iso:
        t_ns = moment_ns(text, p + 1, end - 1) if kind == TEXT else -1
        return t_ns if t_ns < T_MAX_NS else -1
    if kind == WHOLE:
        return whole * terms.scale if 0 <= whole < T_MAX_NS // terms.scale else -1
    if kind == DECIMAL and 0 <= x < T_MAX_NS / terms.scale:
        units = int(x)
        return units * terms.scale + int(np.rint((x - units) * terms.scale))
    return -1


@kernel
def object_at(
    text: U1, p: int, topic: int, t_ns: int, known: Known, terms: Terms, n: int, out: Arrivals
) -> tuple[int, int, int, int, int, int]:
    """(fate, where it ends, end of its samples, event time, counter, samples not known) of an object.

    Puts its samples into `out` from row n on: series and value, and in seq the key, by which those
    that a source lists are put into the order of the list. t_ns: of an object that tells none.
    """
    begun, k, seen, members, missed, counter = n, 0, 0, 0, 0, NONE
    while True:
        p = after_space(text, p + 1)  # behind the brace, or the comma
        k = field_at(text, p, topic, k, known)
        if k < 0:
            return (UNMET if text[p] == QUOTE else LEFT), p, n, t_ns, counter, missed
        at, key = known.first[topic] + k, known.key[known.first[topic] + k]
        p = after_space(text, p + known.length[key] + 2)
        if text[p] != COLON or seen >> k & 1 or members == terms.keys_max:
            break
        p, seen, members = after_space(text, p + 1), seen | 1 << k, members + 1
        kind, end, whole, x = value(text, p)
        if kind == UNSURE:
            break
        role = known.role[key]
        if role == TIME:
            t_ns = time_of(text, p, kind, end, whole, x, terms)
            if t_ns < 0:
                break
        elif role == COUNTER and kind != WORD:
            if kind != WHOLE:
                break
            counter = max(whole, NONE)
        elif role == CHANNEL and (kind >= DECIMAL or terms.listed):
            if known.row[at] < 0:
                return UNMET, p, n, t_ns, counter, missed
            missed += kind < DECIMAL
            j = n
            while j > begun and known.rank[out.seq[j - 1]] > known.rank[key]:
                out.series[j], out.value[j] = out.series[j - 1], out.value[j - 1]
                out.seq[j] = out.seq[j - 1]
                j -= 1
            out.series[j], out.value[j], out.seq[j] = known.row[at], x, key
            n += 1
        p, k = after_space(text, end), (k + 1 if k + 1 < known.fields[topic] else 0)
        if text[p] == CLOSE:
            return READ, p, n, t_ns, counter, missed
        if text[p] != COMMA:
            break
    return LEFT, p, n, t_ns, counter, missed


@kernel
def scan(
    text: U1,
    rows: I4,
    topic: I4,
    arrival_ns: I8,
    known: Known,
    terms: Terms,
    fate: U1,
    upto: I4,
    out: Arrivals,
) -> tuple[int, int]:
    """Read what is one flat object of known fields; (samples not known, messages not read).

    text (L,): bytes in which the payloads are, with `PADDING` NULs somewhere behind them. rows (n, columns):
    see `daemon.messages`. topic, arrival_ns, fate, upto (n,): one for each. Those whose fate is not
    READ are passed over, and so are those for which it is not READ afterwards. The samples of
    payload i are rows [upto[i - 1], upto[i]) of `out`. Equivalent to `SourceReader` with
    `decode: json`, for payloads that are read.
    """
    n, unknown, odd = 0, 0, 0
    for i in range(topic.size):
        if fate[i] == READ:
            start, end = rows[i, PAYLOAD], rows[i, END]
            fate[i], p = LEFT, after_space(text, start)
            t_ns = -1 if terms.timed else arrival_ns[i]
            if text[p] == OPEN and end - start <= terms.bytes_max:
                what, p, last, t_ns, counter, missed = object_at(
                    text, p, topic[i], t_ns, known, terms, n, out
                )
                # Whatever stands behind the payload: its last brace is within, and only space follows.
                whole = p < end and after_space(text, p + 1) >= end
                fate[i] = what if whole or what != READ else LEFT
            if fate[i] == READ:
                recent = t_ns >= 0 and arrival_ns[i] - t_ns <= terms.past_ns
                if last > n and recent:
                    for j in range(n, last):
                        out.t_ns[j], out.arrival_ns[j], out.seq[j] = t_ns, arrival_ns[i], counter
                    n, unknown = last, unknown + missed
                else:
                    fate[i] = LEFT
        odd += fate[i] != READ
        upto[i] = n
    return unknown, odd
