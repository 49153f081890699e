"""Feeds a graph by hand: samples and ticks on a virtual clock, no broker, no decoder."""

import numpy as np

from config.model import Gateway
from pipelines.graph import TICK_NS, Graph
from pipelines.operator import load_all
from pipelines.order import Arrivals
from pipelines.series import make_labels

S = 1_000_000_000
T0 = 1_764_000_000 * S


def gateway(pipelines, sources=None, **more):
    sources = sources or {"boilers": {"topic": "plant/{site}/{device}"}}
    return Gateway.model_validate(
        {"gateway": "gw", "sources": sources, "pipelines": pipelines, **more}
    )


def graph(pipelines, keep=None, **more):
    return Graph(gateway(pipelines, **more), load_all(), keep)


class Feed:
    """Samples of one source; times in seconds since T0, arrival at once unless given."""

    def __init__(self, made, source="boilers"):
        self.graph, self.source = made, source
        self.ticked = T0

    def send(self, rows, cut=None):
        """rows of (second, {labels}, value) or (second, {labels}, value, arrival second)."""
        table, told = self.graph.sources[self.source].table, []
        rows = [(*r, r[0])[:4] for r in rows]
        for first in range(0, len(rows), cut or len(rows) or 1):
            part = rows[first : first + (cut or len(rows))]
            told += self._part(table, part)
        return told

    def until(self, second):
        """Let processing time go on, tick by tick."""
        told = []
        while self.ticked + TICK_NS <= T0 + int(second * S):
            self.ticked += TICK_NS
            told += self.graph.tick(self.ticked)
        return told

    def _part(self, table, rows):
        made = [(table.intern(make_labels(labels)), t, v, a) for t, labels, v, a in rows]
        s, t, v, a = zip(*made, strict=True)
        return self.graph.run(
            {
                self.source: Arrivals(
                    np.array(s, np.int32),
                    np.array([T0 + round(x * S) for x in t], np.int64),
                    np.array([np.nan if x is None else x for x in v], np.float64),
                    np.array([T0 + round(x * S) for x in a], np.int64),
                    np.full(len(s), -1, np.int64),
                )
            }
        )


def b(device, channel="temperature", site="north"):
    return {"device": device, "channel": channel, "site": site}


def short(events):
    """[(pipeline, last word of the type, device or all labels, second)]"""
    return [
        (
            e.pipeline,
            e.type.rsplit(".", 1)[1],
            dict(e.labels).get("device", e.labels),
            (e.time_ns - T0) / S,
        )
        for e in events
    ]
