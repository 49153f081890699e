"""Warm-up: compile every kernel that the daemon will call, before the first message waits for it."""

from collections.abc import Iterator

import numpy as np

from config.model import Limits, Source
from daemon.decode.bulk.feed import Feed, feed_of
from daemon.decode.contract import Wanted
from daemon.messages import Message
from pipelines import warmup
from pipelines.graph import Graph
from pipelines.quota import Quota

Step = warmup.Step


def steps(graph: Graph) -> Iterator[Step]:
    """What there is to compile for this graph and its sources; calls change no state."""
    yield "quota", _quota
    limits = graph.gateway.limits
    sources = graph.gateway.sources.values()
    if any(feed_of(source, Wanted.of(source, limits), limits) for source in sources):
        yield "decode", _decode
    yield from warmup.steps(graph)


def _quota() -> None:
    quota = Quota(Limits())
    quota.device({})
    quota.refused(np.zeros(0, np.int32), np.zeros(0, np.int64), 0)


def _decode() -> None:
    source, limits = Source(topic="warm/up"), Limits()
    feed = Feed(source, Wanted.of(source, limits), limits)
    feed.shapes.add_topic()
    none = np.zeros(1, np.int64)
    message = Message(source.topic, b"", 0, 0, 0)
    feed.read([message], none.astype(np.int32), none, none.astype(np.uint8))
