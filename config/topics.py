"""Topics: filters that take levels as labels, and templates that put labels into levels.

One `{name}` per level, alone or with literal text around it (`sensor-{id}`), so that matching
and rendering are each other's exact inverse.
"""

import hashlib
import re
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

TOPIC_BYTES_MAX: Final = 512
LEVELS_MAX: Final = 16
VALUE_BYTES_MAX: Final = 64
EMPTY: Final = "~"
"""Stands for an empty label; no other value renders to it, for `~` itself is encoded."""

_NAMED: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._:-]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HASH_CHARS: Final = 22


@dataclass(frozen=True, slots=True)
class Level:
    """One level: literal text, or anything between `prefix` and `suffix`."""

    kind: Literal["literal", "any", "rest"]
    prefix: str
    suffix: str = ""
    name: str | None = None

    def match(self, text: str) -> bool:
        """Whether this level, not `#`, matches the text of one topic level."""
        if self.kind == "literal":
            return text == self.prefix
        fixed = len(self.prefix) + len(self.suffix)
        return len(text) >= fixed and text.startswith(self.prefix) and text.endswith(self.suffix)

    def overlaps(self, other: "Level") -> bool:
        """Whether some text matches both."""
        if self.kind == "literal":
            return other.match(self.prefix)
        if other.kind == "literal":
            return self.match(other.prefix)
        heads, tails = (self.prefix, other.prefix), (self.suffix, other.suffix)
        return (heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])) and (
            tails[0].endswith(tails[1]) or tails[1].endswith(tails[0])
        )


REST: Final = Level("rest", "")


def _checked(text: str) -> Iterator[str]:
    """The levels of a topic that a broker will take. Raises ValueError."""
    if not text:
        raise ValueError("a topic must not be empty")
    if _CONTROL.search(text):
        raise ValueError("a topic must not hold control characters")
    if len(text.encode()) > TOPIC_BYTES_MAX:
        raise ValueError(f"a topic must not be longer than {TOPIC_BYTES_MAX} bytes")
    levels = text.split("/")
    if len(levels) > LEVELS_MAX:
        raise ValueError(f"a topic must not have more than {LEVELS_MAX} levels")
    yield from levels


def _level(text: str, names: list[str]) -> Level:
    """A level without wildcards. Raises ValueError."""
    named = _NAMED.search(text)
    rest = text if named is None else text[: named.start()] + text[named.end() :]
    if _NAMED.search(rest):
        raise ValueError(f"one {{name}} per level, put a / between: {text!r}")
    if "{" in rest or "}" in rest:
        raise ValueError(f"expected {{name}} with a name of letters, digits, _ and -: {text!r}")
    if named is None:
        return Level("literal", text)
    if named[1] in names:
        raise ValueError(f"{{{named[1]}}} stands twice")
    names.append(named[1])
    return Level("any", text[: named.start()], text[named.end() :], named[1])


@dataclass(frozen=True, slots=True)
class TopicFilter:
    """Which topics a source takes: `plant/{site}/+/{device}/#`."""

    text: str
    levels: tuple[Level, ...]

    @classmethod
    def parse(cls, text: str) -> "TopicFilter":
        """Raises ValueError that says what is wrong."""
        parts = list(_checked(text))
        if parts[0] == "$share":
            raise ValueError("write the topic without $share/<group>/")
        levels: list[Level] = []
        names: list[str] = []
        for i, part in enumerate(parts):
            if part == "#" and i < len(parts) - 1:
                raise ValueError("# may only be the last level")
            if part in ("#", "+"):
                levels.append(REST if part == "#" else Level("any", ""))
            elif "#" in part or "+" in part:
                raise ValueError(f"+ and # must be a level of their own: {part!r}")
            else:
                levels.append(_level(part, names))
        if levels[0].kind == "any" and levels[0].prefix.startswith("$"):
            raise ValueError("no wildcard matches a first level that starts with $")
        return cls(text, tuple(levels))

    @property
    def subscription(self) -> str:
        """The filter as MQTT knows it."""
        mqtt = {"any": "+", "rest": "#"}
        return "/".join(mqtt.get(level.kind, level.prefix) for level in self.levels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(level.name for level in self.levels if level.name is not None)

    def match(self, topic: str) -> dict[str, str] | None:
        """The labels of a topic, None when it does not match."""
        parts = topic.split("/")
        levels = self.levels
        if levels[-1] is REST:
            levels = levels[:-1]
            if len(parts) < len(levels):
                return None
        elif len(parts) != len(levels):
            return None
        if topic.startswith("$") and self.levels[0].kind != "literal":
            return None
        found = {}
        for level, part in zip(levels, parts, strict=False):
            if not level.match(part):
                return None
            if level.name is not None:
                found[level.name] = part[len(level.prefix) : len(part) - len(level.suffix)]
        return found

    def overlaps(self, other: "TopicFilter") -> bool:
        """Whether some topic matches both filters."""
        a, b = self.levels, other.levels
        if any(
            x[0].kind == "literal" and x[0].prefix.startswith("$") and y[0].kind != "literal"
            for x, y in ((a, b), (b, a))
        ):
            return False
        for x, y in zip(a, b, strict=False):
            if x is REST or y is REST:
                return True
            if not x.overlaps(y):
                return False
        longer = max(a, b, key=len)
        shorter = min(len(a), len(b))
        if len(a) == len(b):
            return True
        # `x/#` takes x itself; but that of `/#` would be the empty topic, which there is not.
        nothing = shorter == 1 and longer[0].kind == "literal" and not longer[0].prefix
        return longer[shorter] is REST and not nothing


class TopicIndex:
    """Many filters; those that differ in literal levels alone are found without asking each."""

    def __init__(self, filters: Iterable[TopicFilter]) -> None:
        self._places: dict[
            tuple[int, int, tuple[int, ...]], dict[tuple[str, ...], TopicFilter]
        ] = {}
        """By the fewest levels, the most, and places of the literal ones; then by their texts."""
        self._others: list[TopicFilter] = []
        """Those that are found at the same place as another."""
        for one in filters:
            least = len(one.levels) - (one.levels[-1] is REST)
            most = sys.maxsize if one.levels[-1] is REST else least
            fixed = tuple(i for i, level in enumerate(one.levels) if level.kind == "literal")
            known = self._places.setdefault((least, most, fixed), {})
            if known.setdefault(tuple([one.levels[i].prefix for i in fixed]), one) is not one:
                self._others.append(one)

    def matches(self, topic: str) -> bool:
        """Whether any of them matches a topic."""
        parts, asked = topic.split("/"), list(self._others)
        for (least, most, fixed), known in self._places.items():
            if least <= len(parts) <= most:
                found = known.get(tuple([parts[i] for i in fixed]))
                asked += [found] if found else []
        return any(one.match(topic) is not None for one in asked)


@dataclass(frozen=True, slots=True)
class TopicTemplate:
    """Where something is published: `alerts/{site}/{device}/overheat`."""

    text: str
    levels: tuple[Level, ...]

    @classmethod
    def parse(cls, text: str) -> "TopicTemplate":
        """Raises ValueError that says what is wrong."""
        names: list[str] = []
        if "+" in text or "#" in text:
            raise ValueError("+ and # cannot stand in a topic that is published to")
        levels = tuple(_level(part, names) for part in _checked(text))
        if text.startswith("$"):
            raise ValueError("topics that start with $ belong to the broker")
        return cls(text, levels)

    @property
    def names(self) -> tuple[str, ...]:
        """Labels that are needed, in order."""
        return tuple(level.name for level in self.levels if level.name is not None)

    def render(self, labels: Mapping[str, str]) -> str:
        """The topic; different labels give different topics. Raises KeyError for a missing one."""
        return "/".join(
            level.prefix
            if level.name is None
            else level.prefix + safe(labels[level.name]) + level.suffix
            for level in self.levels
        )

    def as_filter(self, known: Mapping[str, str] | None = None) -> TopicFilter:
        """A filter for every topic that can be rendered when the labels in `known` are fixed."""
        known = known or {}
        levels = (
            Level("literal", level.prefix + safe(known[level.name]) + level.suffix)
            if level.name is not None and level.name in known
            else level
            for level in self.levels
        )
        return TopicFilter(self.text, tuple(levels))


def safe(value: str) -> str:
    """A label value as part of one topic level: only `[A-Za-z0-9._:-]`, `%XX` and `~`.

    Every other byte of its UTF-8 form, `%` included, becomes `%XX`.  What is then longer than 64
    bytes is cut and ends in `~` and 128 bits of BLAKE2b; empty is `~`.
    """
    if not value:
        return EMPTY
    raw = value.encode("utf-8", "surrogatepass")
    text = _UNSAFE.sub(lambda m: b"%%%02X" % m[0][0], raw).decode()
    if len(text) <= VALUE_BYTES_MAX:
        return text
    digest = urlsafe_b64encode(hashlib.blake2b(raw, digest_size=16).digest()).decode()
    return text[: VALUE_BYTES_MAX - 1 - _HASH_CHARS] + "~" + digest[:_HASH_CHARS]


def _filter(text: str) -> str:
    TopicFilter.parse(text)
    return text


def _template(text: str) -> str:
    TopicTemplate.parse(text)
    return text


FilterText = Annotated[str, AfterValidator(_filter)]
"""Text that `TopicFilter.parse` takes."""
TemplateText = Annotated[str, AfterValidator(_template)]
"""Text that `TopicTemplate.parse` takes."""
