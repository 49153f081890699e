"""Finding: what was seen, what it means, and the way out."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    ok = "ok"
    warn = "warn"
    fail = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    """group.what, such as broker.protocol"""
    level: Level
    seen: str
    means: str
    way_out: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {
            "check": self.check,
            "level": str(self.level),
            "seen": self.seen,
            "means": self.means,
            "way_out": self.way_out,
        }


def ok(check: str, seen: str, means: str) -> Finding:
    """All is well."""
    return Finding(check, Level.ok, seen, means)


def warn(check: str, seen: str, means: str, way_out: str) -> Finding:
    """It runs, and somebody should know."""
    return Finding(check, Level.warn, seen, means, way_out)


def fail(check: str, seen: str, means: str, way_out: str) -> Finding:
    """It does not run, or not as it promises."""
    return Finding(check, Level.fail, seen, means, way_out)
