"""Operators that exist for the tests of the configuration alone: declarations without kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from config.model import When
from config.params import Options, Params, Window
from config.units import Duration


class Rolling(Params):
    stat: Literal["mean", "max"] = Field("mean", description="What is computed.")
    window: Window = Field(description="How far back.")


class Range(Params):
    min: float | None = Field(None, description="Lowest possible value.")
    max: float | None = Field(None, description="Highest possible value.")
    n: int = Field(1, ge=1, le=9)
    wait: Duration = Field(0)
    loud: bool = False

    @model_validator(mode="after")
    def _ordered(self):
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min must be less than max, got {self.min:g} and {self.max:g}")
        return self


class Score(Params):
    k: float = Field(5.0, gt=0, description="How far is too far.")


class Votes(Params):
    of: str = Field(description="Label of the members.")


class Last(Params):
    n: int = Field(5, ge=1)
    k: float = Field(5.0, gt=0)


class NoOptions(Options):
    pass


class Csv(Options):
    separator: str = Field(",", max_length=1)


def _keep(params, labels, group_by):
    return tuple(p for p in labels if p[0] in group_by), 0


@dataclass(frozen=True)
class Spec:
    name: str
    params: type[Params]
    sized_by: frozenset[str] = frozenset()
    summary: str = "For tests."
    emits: Literal["sample", "window", "score"] = "sample"
    condition: Callable[[Any], When] | None = None
    regroup: Callable[[Any, Any, Any], Any] | None = None
    per_member: bool = False


STEPS = {
    s.name: s
    for s in (
        Spec("rolling", Rolling),
        Spec("range", Range),
        Spec("aggregate", Rolling, emits="window"),
        Spec("score", Score, emits="score", condition=lambda p: When(above=p.k)),
        Spec("last", Last, sized_by=frozenset({"n"})),
        Spec("votes", Votes, condition=lambda p: When(above=1), regroup=_keep),
        Spec("rank", Votes, condition=lambda p: When(above=1), regroup=_keep, per_member=True),
    )
}
DECODERS = {"json": NoOptions, "number": NoOptions, "csv": Csv}
