"""YAML text → plain values that know where they were written.

Built from the parser's events, not from PyYAML's constructors: depth is bounded by us, nothing
is expanded, and no value changes its meaning silently.  `true` and `false` are the only booleans;
`on`, `no`, `012`, `1:30` and dates stay text; numbers are those of YAML 1.2.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from config.errors import Problem
from config.substitution import Undefined, substituted

BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 32
_LINE_MAX: Final = 4_096

_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_CONTROL: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE)
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, both from 1, and how many characters are meant."""

    line: int
    column: int
    length: int = 1


@dataclass(slots=True)
class Node:
    """One value: text, number, boolean, None, or a list or mapping of nodes."""

    value: "Scalar | list[Node] | dict[str, Node]"
    place: Place
    key: Place | None = None
    """Where its key stands, when it is an entry of a mapping."""
    written: str | None = None
    """What the file says, when `value` came out of a `${...}` and may be secret."""

    @property
    def best(self) -> Place:
        """Where to point for the entry as a whole: its key, else its value."""
        return self.key or self.place

    def data(self) -> Any:
        """The same without places."""
        if isinstance(self.value, dict):
            return {k: v.data() for k, v in self.value.items()}
        if isinstance(self.value, list):
            return [v.data() for v in self.value]
        return self.value

    def get(self, *path: str | int) -> "Node | None":
        """The node below, along keys and indices; None when there is none."""
        node = self
        for step in path:
            inner = node.value
            if isinstance(inner, dict) and str(step) in inner:
                node = inner[str(step)]
            elif isinstance(inner, list) and isinstance(step, int) and step < len(inner):
                node = inner[step]
            else:
                return None
        return node

    def walk(self) -> "Iterator[Node]":
        """The node itself and all below."""
        yield self
        below: list[Node] = self.value if isinstance(self.value, list) else []
        for node in self.value.values() if isinstance(self.value, dict) else below:
            yield from node.walk()


@dataclass(slots=True)
class Document:
    """One file, as read."""

    file: str
    lines: list[str]
    root: Node
    problems: list[Problem] = field(default_factory=list)

    def problem(
        self,
        where: Node | Place,
        what: str,
        hint: str = "",
        level: Literal["error", "warning"] = "error",
    ) -> Problem:
        """A problem with what stands at `where`; not yet added to `problems`."""
        at = where.place if isinstance(where, Node) else where
        line = self.lines[at.line - 1] if 0 < at.line <= len(self.lines) else ""
        line = line[:_LINE_MAX] if at.column <= _LINE_MAX else ""
        return Problem(self.file, at.line, at.column, what, hint, line, at.length, level)

    def add(self, where: Node | Place, what: str, hint: str = "") -> None:
        """Remember an error."""
        self.problems.append(self.problem(where, what, hint))


def read_document(path: Path, env: Mapping[str, str]) -> Document:
    """Read a file; whatever is wrong with it is in `problems`, and then `root` holds the rest."""
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return _unreadable(str(path), f"cannot read the file: {why}")
    return parse(raw, str(path), env, path.parent)


def parse(raw: bytes, file: str, env: Mapping[str, str], folder: Path) -> Document:
    """As `read_document`, for bytes; relative `${file:...}` paths start at `folder`."""
    if len(raw) > BYTES_MAX:
        return _unreadable(file, f"larger than {BYTES_MAX} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        return _broken(file, before, before, f"not UTF-8 text: byte 0x{raw[error.start]:02x}")
    bad = _CONTROL.search(text)
    if bad:
        what = f"a control character does not belong here: U+{ord(bad[0]):04X}"
        return _broken(file, text, text[: bad.start()], what)
    document = Document(file, _BREAK.split(text), Node({}, Place(1, 1)))
    _Builder(document, env, folder).build(text)
    return document


def _unreadable(file: str, what: str) -> Document:
    return Document(file, [], Node({}, Place(0, 1)), [Problem(file, 0, 1, what)])


def _broken(file: str, text: str, before: str, what: str) -> Document:
    document = Document(file, _BREAK.split(text), Node({}, Place(1, 1)))
    above = _BREAK.split(before)
    document.add(Place(len(above), len(above[-1]) + 1), what)
    return document


class _Stop(Exception):  # noqa: N818 - not an error: the document is over for us
    pass


@dataclass(slots=True)
class _Open:
    """A list or mapping that is not complete yet."""

    node: Node
    key: str | None = None
    at: Place | None = None


class _Builder:
    def __init__(self, document: Document, env: Mapping[str, str], folder: Path) -> None:
        self.document = document
        self.env = env
        self.folder = folder
        self.open: list[_Open] = []
        self.documents = 0

    def build(self, text: str) -> None:
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._event(event)
        except _Stop:
            pass
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except yaml.YAMLError as error:
            self.document.add(Place(1, 1), f"not YAML: {error}".splitlines()[0])

    def _event(self, event: Any) -> None:
        at = _place(event)
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.document.add(at, "a second document starts here", "one file, one document")
                raise _Stop
        elif isinstance(event, yaml.AliasEvent):
            self._add(Node(None, at), f"*{event.anchor}")
            self.document.add(at, f"aliases are not supported: *{event.anchor}", "write it out")
        elif isinstance(event, yaml.ScalarEvent):
            self._decorations(event, at)
            if self._key_is_next():
                self._key(event.value, at)
            else:
                self._add(self._scalar(event, at))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._decorations(event, at)
            self._start(Node({} if isinstance(event, yaml.MappingStartEvent) else [], at))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.open.pop()

    def _decorations(self, event: Any, at: Place) -> None:
        if event.anchor is not None:
            self.document.add(at, f"anchors are not supported: &{event.anchor}", "write it out")
        if event.tag is not None:
            self.document.add(
                at, f"tags are not supported: {event.tag}", 'put text in quotes: "..."'
            )

    def _key_is_next(self) -> bool:
        return (
            bool(self.open)
            and isinstance(self.open[-1].node.value, dict)
            and (self.open[-1].key is None)
        )

    def _key(self, key: str, at: Place) -> None:
        mapping = self.open[-1].node.value
        assert isinstance(mapping, dict)
        if key == "<<":
            self.document.add(at, "merge keys (<<) are not supported", "write the entries out")
        elif key in mapping:
            first = mapping[key].best
            where = f"line {first.line}, column {first.column}"
            self.document.add(at, f"{key!r} is written twice", f"the first is at {where}")
        self.open[-1].key, self.open[-1].at = key, at

    def _start(self, node: Node) -> None:
        if len(self.open) >= DEPTH_MAX:
            self.document.add(node, f"nested deeper than {DEPTH_MAX} levels")
            raise _Stop
        if self._key_is_next():
            self.document.add(
                node,
                "a list or mapping cannot be a key",
                'a reference needs quotes: "{name}"',
            )
            self.open[-1].key, self.open[-1].at = "", node.place
        else:
            self._add(node)
        self.open.append(_Open(node))

    def _add(self, node: Node, as_key: str = "") -> None:
        if not self.open:
            self.document.root = node
            return
        top = self.open[-1]
        if isinstance(top.node.value, list):
            top.node.value.append(node)
        elif isinstance(top.node.value, dict):
            if top.key is None:
                top.key, top.at = as_key, node.place
                return
            node.key = top.at
            top.node.value.setdefault(top.key, node)
            top.key = top.at = None

    def _scalar(self, event: Any, at: Place) -> Node:
        plain = not event.style
        text = event.value
        if "${" not in text:
            return Node(self._resolved(text, at) if plain else text, at)
        try:
            value, whole = substituted(text, self.env, self.folder)
        except Undefined as error:
            self.document.add(self._inside(at, error.written), error.what, error.hint)
            return Node(text, at, written=text)
        if value == text.replace("$${", "${"):
            return Node(value, at)
        return Node(self._resolved(value, at) if plain and whole else value, at, written=text)

    def _resolved(self, text: str, at: Place) -> Scalar:
        """The value of a plain scalar; what is no number, boolean or null is text."""
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _INT.fullmatch(text) and len(text) <= 18:
            return int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return number
            self.document.add(at, "a number this large cannot be stored")
        elif _NOT_FINITE.fullmatch(text):
            self.document.add(at, f"{text} is not a number to compare with", "leave the key out")
            return 0.0
        return text

    def _inside(self, at: Place, written: str) -> Place:
        """Where `written` stands in the scalar that begins at `at`."""
        column = self.document.lines[at.line - 1].find(written, at.column - 1)
        return Place(at.line, column + 1, len(written)) if column >= 0 else at

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        what = error.problem or error.context or "not YAML"
        text = self.document.lines[line] if line < len(self.document.lines) else ""
        indent = text[: len(text) - len(text.lstrip())]
        hint = ""
        if "\t" in indent:
            what, hint, column = (
                "a tab in the indentation",
                "indent with spaces",
                indent.index("\t"),
            )
        elif "${" in text and error.context and "flow" in error.context:
            hint = 'inside { } or [ ] put it in quotes: "${...}"'
        elif error.context and error.context_mark and error.context_mark.line != line:
            hint = f"{error.context} that began at line {error.context_mark.line + 1}"
        self.document.add(Place(line + 1, column + 1), f"not YAML: {what}", hint)


def _place(event: Any) -> Place:
    start, end = event.start_mark, event.end_mark
    scalar = isinstance(event, yaml.ScalarEvent | yaml.AliasEvent)
    length = end.column - start.column if scalar and start.line == end.line else 1
    return Place(start.line + 1, start.column + 1, max(1, length))
