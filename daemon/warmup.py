"""Warm-up: compile every kernel that the daemon will call, before the first message waits for it."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from config.model import Limits, Source
from daemon import topics
from daemon.bulk import Bulk
from daemon.decode.bulk.feed import Feed, feed_of
from daemon.decode.contract import Wanted
from daemon.durable import duplicates
from daemon.messages import Message
from daemon.topics import Topics
from pipelines import warmup
from pipelines.graph import Graph
from pipelines.quota import Quota

Step = warmup.Step


def of_daemon(graph: Graph, *, state: bool) -> dict[str, Callable[[], object]]:
    """The steps of a whole daemon: those of the graph, of its connections and of its state."""
    found: dict[str, Callable[[], object]] = {"packets": _packets, **dict(steps(graph))}
    if state:
        found["state"] = lambda: _state(graph)
    return found


def steps(graph: Graph) -> Iterator[Step]:
    """What there is to compile for this graph and its sources; calls change no state."""
    yield "topics", _topics
    limits = graph.gateway.limits
    yield "quota", partial(_quota, limits)
    sources = graph.gateway.sources.values()
    if any(feed_of(source, Wanted.of(source, limits), limits) for source in sources):
        yield "decode", partial(_decode, limits)
    yield from warmup.steps(graph)


def _topics() -> None:
    topics.warm_up()
    duplicates.warm_up()
    bulk = Bulk.of([Message("warm/up", b"", 0, 0, 0)], Topics())
    assert bulk.size_bytes


def _packets() -> None:
    from daemon.transport import frames, gather  # noqa: PLC0415 - a replay needs no paho
    from daemon.transport.lane_check import lane_works  # noqa: PLC0415

    lane_works()
    frames.warm_up()
    gather.warm_up()


def _state(graph: Graph) -> None:
    from pipelines.state import Capturer  # noqa: PLC0415 - only for those with a state

    Capturer(graph).take()


def _quota(limits: Limits) -> None:
    quota = Quota(limits)
    quota.device({})
    quota.refused(np.zeros(0, np.int32), np.zeros(0, np.int64), 0)


def _decode(limits: Limits) -> None:
    source = Source(topic="warm/up")
    feed = Feed(source, Wanted.of(source, limits), limits)
    feed.shapes.add_topic()
    message = Message(source.topic, b"", 0, 0, 0)
    feed.read(Bulk.of([message], Topics()), np.zeros(1, np.int32), np.zeros(1, np.uint8))
