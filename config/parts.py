"""What `load` and `topology` say to each other: named parts with their places."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from config.model import Pipeline, Source, When
from config.nodes import Document, Node
from config.params import Params
from config.tables import Table

Labels = tuple[tuple[str, str], ...]
"""(name, value) pairs sorted by name."""

P = TypeVar("P", Source, Pipeline, Table)


class StepSpec(Protocol):
    """What must be known of an operator to check its use; `pipelines.operator.Operator` is one."""

    @property
    def name(self) -> str: ...
    @property
    def params(self) -> type[Params]: ...
    @property
    def sized_by(self) -> frozenset[str]: ...
    @property
    def summary(self) -> str: ...
    @property
    def emits(self) -> Literal["sample", "window", "score"]: ...
    @property
    def condition(self) -> Callable[[Any], When] | None: ...
    @property
    def regroup(
        self,
    ) -> Callable[[Any, Labels, tuple[str, ...]], tuple[Labels, int] | None] | None: ...
    @property
    def per_member(self) -> bool: ...


@dataclass(slots=True)
class Entry(Generic[P]):
    """One source or pipeline: where it is written and what it became."""

    name: str
    document: Document
    node: Node
    spec: P | None
    """None when too little of it is good; others may still refer to its name."""
    whole: bool = True
    """False when it has problems of its own; what is wrong is then left out of `spec`."""
    steps: list[tuple[StepSpec, Params]] | None = None
    """Operators with their options, None unless all of them are good."""
    used: set[str] = field(default_factory=set)
    """Names of `values` that something refers to."""

    def at(self, *path: str | int) -> Node:
        """The node at a path, or the nearest above it."""
        node = self.node
        for part in path:
            inner = node.get(part)
            if inner is None:
                break
            node = inner
        return node
