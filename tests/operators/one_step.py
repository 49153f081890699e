"""Runs one operator alone: values and times in, rows out."""

import numpy as np

from pipelines.batch import GroupedBatch, samples, take
from pipelines.operator import load_all
from pipelines.runner import StepRunner
from tests.traffic import SECOND, START_NS


def runner(name, *options, rows_max=256):
    """A runner; series s uses the options s % len(options)."""
    operator = load_all()[name]
    sets = [operator.params.model_validate(o) for o in options or ({},)]
    made = StepRunner(operator, sets, rows_max, 1 << 30)
    made.assign(0, [s % len(sets) for s in range(rows_max if len(sets) > 1 else 0)])
    return made


def feed(step, values, times=None, series=0, member=None, slot=0):
    """What comes out for these values of one series; times in seconds, default 0, 1, 2 …"""
    t = np.arange(len(values)) if times is None else np.asarray(times, float)
    return feed_ns(step, values, np.rint(t * SECOND).astype(np.int64), series, member, slot)


def feed_ns(step, values, t_ns=None, series=0, member=None, slot=0):
    """The same with times in nanoseconds; default: a second apart, from START_NS on."""
    x = np.asarray(values, float)
    t_ns = START_NS + SECOND * np.arange(x.size) if t_ns is None else np.asarray(t_ns, np.int64)
    batch = samples(np.full(x.size, series, np.int32), t_ns, x)
    if step.operator.regroup is not None:
        who = np.full(x.size, series if member is None else member, np.int32)
        batch = GroupedBatch(*batch, member=who, slot=np.full(x.size, slot, np.int32))
    return kept(step.run(batch))


def clock(step, seconds, rows=1):
    """What comes out when the time of the first `rows` series has come to `seconds`."""
    return kept(step.tick(np.full(rows, round(seconds * SECOND), np.int64), rows))


def kept(out):
    return take(out, np.arange(out.series.size))


def told(out):
    """[(seconds, value), …] of an output."""
    return [(t / SECOND, v) for t, v in zip(out.t_ns.tolist(), out.value.tolist(), strict=True)]
