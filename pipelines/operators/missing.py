"""missing: a series that has fallen silent, or that never spoke up."""

from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from config.model import SECOND, Name, Text, When
from config.params import Params
from config.units import Duration, duration_ns, duration_text
from pipelines.batch import BAD, GOOD, I8, U1, GroupedBatch
from pipelines.jit import kernel
from pipelines.operator import Operator, column, rows_of
from pipelines.series import NEVER, Labels, make_labels


def _timeout(value: Any) -> int | None:
    if value is None or value == "auto":
        return None
    ns = duration_ns(value)
    if ns == 0:
        raise ValueError("a timeout must be longer than 0s; auto learns it from the series")
    return ns


Timeout = Annotated[
    int | None,
    BeforeValidator(_timeout),
    PlainSerializer(lambda ns: "auto" if ns is None else duration_text(ns), return_type=str),
    WithJsonSchema({"type": "string", "examples": ["auto", "30s"]}),
]


def _every(value: Any) -> Any:
    """{device: [b1, b2], site: north} → [{device: b1, site: north}, {device: b2, ...}]."""
    if not isinstance(value, dict):
        return value
    lists = [v if isinstance(v, list | tuple) else [v] for v in value.values()]
    return [dict(zip(value, chosen, strict=True)) for chosen in product(*lists)]


def _once(value: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
    return tuple(pairs for i, pairs in enumerate(value) if pairs not in value[:i])


GAPS_MIN: Final = 10
"""Gaps a series must have shown before `auto` trusts their quantile."""
GAPS_MAX: Final = 1024
"""All counts are halved here: a changed rhythm counts as much as the past after so many gaps."""
BUCKETS: Final = 128
SHIFT: Final = 20
"""The smallest gap told apart is 2^20 ns, 1 ms; four buckets for each doubling from there on
reach 52 days and are at most a quarter wide."""


class Missing(Params):
    """How long a series may be silent, and which series must exist at all."""

    EXTRA_ROWS: ClassVar = ("expected_rows",)

    timeout: Timeout = Field(
        None,
        description="Longest silence that is normal, such as 30s; auto: `factor` times the "
        "99th percentile of the series' own gaps, once 10 were seen.",
    )
    factor: float = Field(
        4.0, ge=1, description="auto: how many times its usual longest gap a series may be silent."
    )
    floor: Duration = Field(SECOND, gt=0, description="auto: no silence shorter than this is told.")
    expected: Annotated[
        tuple[Annotated[dict[Name, Text], Field(min_length=1)], ...],
        BeforeValidator(_every),
        AfterValidator(_once),
        Field(max_length=1_000),
    ] = Field(
        (),
        description="Labels of series that must exist: {device: [b1, b2]}, or a list of "
        "mappings. A series that has these labels, among others, is one of them.",
    )
    expected_within: Duration = Field(
        60 * SECOND,
        gt=0,
        description="auto: how long after the start an expected series may take to appear.",
    )

    @classmethod
    def extra_rows(cls, sets: "Sequence[Missing]") -> dict[str, I8]:
        """How many of the first series rows stand for expected series."""
        return {"expected_rows": np.array([len(p.expected) for p in sets], np.int64)}


class State(NamedTuple):
    """Per series when it last spoke, and how it usually does."""

    known: U1 = column("u1")
    silent: U1 = column("u1")
    last_ns: I8 = column("i8")  # of an expected series that never spoke: when we began to wait
    timeout_ns: I8 = column("i8")  # auto: the one learned, 0 before
    gaps: I8 = column("i8")
    histogram: NDArray[np.uint16] = column("u2", BUCKETS)
    waiting: U1 = column("u1")  # an expected series that never spoke
    found: U1 = column("u1")  # an expected series that another row turned out to be


Rows = rows_of(Missing)


@kernel
def learned_ns(histogram: NDArray[np.uint16], gaps: int, factor: float, floor: int) -> int:
    """Timeout in whole milliseconds from the counts of one series, `gaps` in all, at least 1."""
    bucket, above = BUCKETS - 1, int(histogram[BUCKETS - 1])
    while above * 100 <= gaps:
        bucket -= 1
        above += histogram[bucket]
    edge = (5 + (bucket & 3)) << (SHIFT + (bucket >> 2) - 2)
    timeout = int(min(max(float(floor), factor * edge), 9e18))
    return (timeout + 999_999) // 1_000_000 * 1_000_000


@kernel
def halved(histogram: NDArray[np.uint16]) -> int:
    """Halve the counts of one series; how many gaps that leaves."""
    gaps = 0
    for bucket in range(BUCKETS):
        histogram[bucket] >>= 1
        gaps += histogram[bucket]
    return gaps


@kernel
def bucket_of(gap: int) -> int:
    """Bucket of a gap in ns: the two bits after the leading one divide each octave."""
    octave = 0
    while octave < BUCKETS // 4 - 1 and gap >> (SHIFT + octave + 1) > 0:
        octave += 1
    quarter = min((gap >> (SHIFT + octave - 2)) - 4, 3)
    return max(4 * octave + quarter, 0)


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Say 1 when a series has been silent for too long, 0 at its first sample after that.

    Equivalent to: a silence begins to be told at `last + timeout`, once a row or a clock later
    than that comes before the next known sample. A gap is learned, cut to the timeout in force,
    by every known sample; auto's timeout is `factor` times the upper edge of the bucket that
    holds the gap which at most 1 in 100 exceed, at least `floor`, looked up again at each of the
    first 64 gaps and then at every 32nd. An expected series (`slot` - 1 is its row) is found by
    the first known sample of a series with its labels. Field: silence in seconds.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, t = batch.series[i], batch.t_ns[i]
        p = params.row[s]
        timeout = params.timeout[p] if params.timeout[p] > 0 else state.timeout_ns[s]
        gap = t - state.last_ns[s]
        if state.known[s] == 1 and state.silent[s] == 0 and 0 < timeout < gap:
            state.silent[s] = 1
            due = state.last_ns[s] + timeout
            out.series[n] = s
            out.t_ns[n] = due
            out.start_ns[n] = due
            out.value[n] = 1.0
            out.quality[n] = GOOD
            out.fields[n, 0] = timeout / 1e9
            n += 1
        if not np.isfinite(batch.value[i]) or batch.quality[i] == BAD:
            continue
        e = batch.slot[i] - 1
        if e >= 0 and state.found[e] == 0:
            if state.silent[e] == 1 and e != s:
                q = params.row[e]
                wait = params.timeout[q] if params.timeout[q] > 0 else params.expected_within[q]
                out.series[n] = e
                out.t_ns[n] = max(t, state.last_ns[e] + wait)  # its clock was ours, t is not
                out.start_ns[n] = out.t_ns[n]
                out.value[n] = 0.0
                out.quality[n] = GOOD
                out.fields[n, 0] = (out.t_ns[n] - state.last_ns[e]) / 1e9
                n += 1
                state.silent[e] = 0
            state.found[e] = 1
            state.waiting[e] = 0
        if state.silent[s] == 1:
            state.silent[s] = 0
            out.series[n] = s
            out.t_ns[n] = t
            out.start_ns[n] = t
            out.value[n] = 0.0
            out.quality[n] = GOOD
            out.fields[n, 0] = gap / 1e9
            n += 1
        if state.known[s] == 1 and params.timeout[p] < 0:
            if 0 < timeout < gap:
                gap = timeout
            state.histogram[s, bucket_of(gap)] += 1
            gaps = state.gaps[s] + 1
            if gaps >= GAPS_MIN and (gaps <= 64 or gaps % 32 == 0):
                state.timeout_ns[s] = learned_ns(
                    state.histogram[s], gaps, params.factor[p], params.floor[p]
                )
            if gaps >= GAPS_MAX:
                gaps = halved(state.histogram[s])
            state.gaps[s] = gaps
        state.known[s] = 1
        state.last_ns[s] = t
    out.count[0] = n
    return batch.series.size


@kernel
def tick(clock_ns: I8, first: int, last: int, state: State, params: Any, out: Any) -> None:
    """Say 1 for each series that has been silent for too long at its clock.

    Equivalent to what `step` does before a row at `clock_ns`; and an expected series that was
    not found `timeout` (auto: `expected_within`) after the first clock it was shown is silent.
    """
    n = out.count[0]
    for s in range(first, last):
        clock = clock_ns[s]
        if clock == NEVER or state.silent[s] == 1:
            continue
        p = params.row[s]
        timeout = params.timeout[p]
        if state.known[s] == 1:
            if timeout < 0:
                timeout = state.timeout_ns[s]
        elif s >= params.expected_rows[p] or state.found[s] == 1:
            continue
        else:
            if timeout < 0:
                timeout = params.expected_within[p]
            if state.waiting[s] == 0:
                state.waiting[s] = 1
                state.last_ns[s] = clock
        if timeout <= 0 or clock - state.last_ns[s] <= timeout:
            continue
        state.silent[s] = 1
        due = state.last_ns[s] + timeout
        out.series[n] = s
        out.t_ns[n] = due
        out.start_ns[n] = due
        out.value[n] = 1.0
        out.quality[n] = GOOD
        out.fields[n, 0] = timeout / 1e9
        n += 1
    out.count[0] = n


def expected(params: Missing) -> tuple[Labels, ...]:
    """Labels of the expected series: the row of each is its place here."""
    return tuple(make_labels(pairs) for pairs in params.expected)


def regroup(params: Missing, labels: Labels, _: tuple[str, ...]) -> tuple[Labels, int]:
    """Every series stays by itself; slot: 1 + row of the expected series that it is, 0 none."""
    have = set(labels)
    slots = (i for i, pairs in enumerate(params.expected, 1) if have >= pairs.items())
    return labels, next(slots, 0)


OPERATOR = Operator(
    name="missing",
    summary="Tells when a series falls silent, or when an expected one never appears.",
    params=Missing,
    state=State,
    rows=Rows,
    step=step,
    tick=tick,
    example="missing: {timeout: auto}",
    emits="score",
    fields=lambda params: ("silence_s",),  # noqa: ARG005 - same for all
    fanout=lambda params: 3,  # noqa: ARG005 - silent, found, and back again
    condition=lambda params: When(above=0.5),  # noqa: ARG005 - same for all
    regroup=regroup,
    alone=True,
    expected=expected,
)
