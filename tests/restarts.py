"""A graph that stops between two turns and goes on from its state in a fresh one."""

from pipelines.graph import Graph
from pipelines.state import Capturer, restore


def sections(graph):
    """The state as bytes."""
    return {name: b"".join(pieces) for name, pieces in Capturer(graph).take().sections().items()}


def again(graph):
    """A fresh graph that goes on where this one is; every part of it is kept."""
    fresh = Graph(graph.gateway, graph.operators)
    restored = restore(fresh, sections(graph))
    parts = {f"source {name}" for name in graph.sources}
    parts |= {f"pipeline {name}" for name in graph.pipelines}
    assert (set(restored.kept), restored.anew) == (parts, {})
    return fresh
