"""Runs one operator over traffic: cut in any way, compiled or plain, from any state."""

import contextlib
import importlib
import importlib.util
from typing import NamedTuple

import numpy as np
import pytest
import yaml

from pipelines.batch import Batch, GroupedBatch, take
from pipelines.jit import Kernel
from pipelines.operator import load_all, resized, ring_width
from pipelines.runner import StepRunner
from tests.naive import Sample, Tick
from tests.traffic import traffic

STATE_MAX = 1 << 30


class Case(NamedTuple):
    """An operator with the parameter sets that its series use in turn."""

    operator: object
    sets: tuple
    twin: object

    @property
    def slots(self):
        if self.operator.regroup is None:
            return 0
        return getattr(self.twin, "slots", lambda params: 1)(self.sets[0])

    def traffic(self, seed, **options):
        return traffic(seed, slots=self.slots, **options)

    def runner(self, series=1024, state_bytes_max=STATE_MAX):
        runner = StepRunner(self.operator, self.sets, 1024, state_bytes_max)
        several = len(self.sets) > 1
        runner.assign(0, [s % len(self.sets) for s in range(series if several else 0)])
        return runner


def twin_of(name):
    """The module `tests.naive.<name>`, None where somebody forgot it."""
    if importlib.util.find_spec(f"tests.naive.{name}") is None:
        return None
    return importlib.import_module(f"tests.naive.{name}")


def example_options(operator):
    """The options in the operator's own example."""
    example = yaml.safe_load(operator.example)
    return {} if isinstance(example, str) else (example[operator.name] or {})


def cases():
    """pytest params: the example of every operator, then the cases of its twin."""
    found = []
    for name, operator in load_all().items():
        twin = twin_of(name)
        given = ((example_options(operator),), *getattr(twin, "CASES", ()))
        for i, options in enumerate(given):
            sets = tuple(operator.params.model_validate(o) for o in options)
            found.append(pytest.param(Case(operator, sets, twin), id=f"{name}-{i}"))
    return found


def copied(out):
    return take(out, np.arange(out.series.size))


def joined(outs):
    """One batch of all rows."""
    return Batch(*(np.concatenate([getattr(o, f) for o in outs]) for f in Batch._fields))


def part(batch, first, last):
    """Rows [first, last) as views, plain or grouped."""
    return type(batch)(
        **{
            f: getattr(batch, f) if f == "count" else getattr(batch, f)[first:last]
            for f in batch._fields
        }
    )


def run(case, made, cuts=(), runner=None, between=None, tick_rows=None):
    """Everything that comes out for `made`, its ticks included.

    `cuts`: rows where a new batch begins, besides the ticks.  `between(runner) -> runner` is
    called before each batch: to copy state, to grow it, to restore it.
    """
    runner = runner or case.runner(made.series)
    clocks = {}
    for row, clock in made.ticks:
        clocks.setdefault(row, []).append(clock)
    n = made.batch.series.size
    edges = sorted({0, n, *clocks, *(c for c in cuts if 0 < c < n)})
    outs = [copied(runner.run(part(made.batch, 0, 0)))]
    for first, last in zip(edges, [*edges[1:], n], strict=True):
        for clock in clocks.get(first, ()):
            out = runner.tick(clock, tick_rows or made.series)
            outs.append(copied(out))
        if between is not None:
            runner = between(runner)
        outs.append(copied(runner.run(part(made.batch, first, last))))
    return joined(outs)


def by_series(out):
    """Rows sorted by series, in their own order within it."""
    return take(out, np.argsort(out.series, kind="stable"))


def rows_of(case, made, out, s):
    """Rows that came of series or group `s`, also those that are rows of its members."""
    of = out.series
    if case.operator.per_member:
        group = np.zeros(made.batch.member.max() + 1, np.int32)
        group[made.batch.member] = made.batch.series
        of = group[out.series]
    return take(out, np.flatnonzero(of == s))


def assert_same(got, want):
    """Equal bit for bit, NaN included."""
    for name in ("series", "t_ns", "start_ns", "value", "quality", "fields"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)


def events_of(made, s):
    """The `Sample`s and `Tick`s of one series in order."""
    batch, found = made.batch, []
    ticks = list(made.ticks)
    for i in range(batch.series.size + 1):
        while ticks and ticks[0][0] == i:
            clock = int(ticks.pop(0)[1][s])
            if clock > np.iinfo(np.int64).min:
                found.append(Tick(clock))
        if i < batch.series.size and batch.series[i] == s:
            member = batch.member[i] if isinstance(batch, GroupedBatch) else 0
            slot = batch.slot[i] if isinstance(batch, GroupedBatch) else 0
            found.append(
                Sample(
                    int(batch.t_ns[i]),
                    float(batch.value[i]),
                    int(batch.quality[i]),
                    int(member),
                    int(slot),
                )
            )
    return found


@contextlib.contextmanager
def interpreted():
    """Inside, every kernel and every helper that it calls run as plain Python."""
    compiled = Kernel.__call__, Kernel.bound, Kernel.only
    Kernel.__call__ = lambda self, *args: self.plain(*args)
    Kernel.bound = Kernel.only = lambda self, *_: self.plain
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        Kernel.__call__, Kernel.bound, Kernel.only = compiled


def copy_of(case, runner, series):
    """A fresh runner that goes on from the state of `runner`."""
    fresh = case.runner(series)
    fresh.load(type(runner.state)(*(a.copy() for a in runner.state)))
    return fresh


def widened(runner, times=4):
    """Make the state's rings wider than needed."""
    ring = ring_width(runner.state)
    if ring:
        runner.state = resized(runner.state, runner.capacity, ring * times, runner._params)
    return runner
