"""Tables: what is known of devices besides their samples, from a file, inline, or a topic."""

import csv
import io
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, NamedTuple, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SkipValidation,
    WithJsonSchema,
    model_validator,
)

from config.nodes import Document, Node, Place, read_document
from config.params import Options
from config.topics import FilterText, TopicFilter

NAME: Final = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
SINCE: Final = "from"
"""Column with the time from which a row holds, RFC 3339; without it a row always did."""
ROWS_MAX: Final = 200_000
BYTES_MAX: Final = 32 << 20

Cell = str | float | bool | None
Cells = Mapping[str, Cell]


class Table(Options):
    """Rows by key, such as each device with its line and its limit."""

    key: Annotated[str, Field(pattern=NAME)] = Field(
        description="The column that names a row, such as device."
    )
    file: str | None = Field(
        None, description="A .csv file with a header, or a .yaml list of mappings, beside this one."
    )
    rows: tuple[dict[str, Cell], ...] | None = Field(
        None, max_length=ROWS_MAX, description="The rows themselves: [{device: b1, line: 3}, …]"
    )
    topic: FilterText | None = Field(
        None,
        description="Retained messages, one a row: {key} is a level of the topic, the payload a "
        "JSON object with the other columns; an empty one removes the row.",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [n for n in ("file", "rows", "topic") if getattr(self, n) is not None]
        if len(given) != 1 and given != ["file", "rows"]:  # rows that were read from the file
            raise ValueError(
                f"give one of file, rows, topic; found {' and '.join(given) or 'none'}"
            )
        if self.topic is not None and self.key not in TopicFilter.parse(self.topic).labels:
            raise ValueError(f"the topic needs a level {{{self.key}}}, which names the row")
        for i, row in enumerate(self.rows or (), 1):
            wrong = fault(row, self.key)
            if wrong:
                raise ValueError(f"row {i}: {wrong}")
        twice = repeated(self.rows or (), self.key)
        if twice:
            raise ValueError(f"two rows have the {self.key} {twice!r}")
        return self

    @cached_property
    def by_key(self) -> Mapping[str, Cells]:
        """The row of each key; of several the one that holds last."""
        ordered = sorted(self.rows or (), key=since_ns)
        return {text(row[self.key]): row for row in ordered}

    @property
    def columns(self) -> frozenset[str] | None:
        """Names of the columns that some row has; None of a table that messages fill."""
        if self.topic is not None:
            return None
        return frozenset(name for row in self.rows or () for name in row)

    def numbers(self, column: str) -> dict[str, float]:
        """{key: number} of a column, without empty cells. Raises ValueError."""
        found = {}
        for key, row in self.by_key.items():
            cell = row.get(column)
            if cell is None or cell == "":
                continue
            try:
                found[key] = float(cell)
            except ValueError:
                said = f"{self.key} {key} has {cell!r} in column {column}"
                raise ValueError(f"expected numbers: {said}") from None
        return found


class Lookup(NamedTuple):
    """A table as an operator's parameter: its name as written, and what it holds once known."""

    name: str
    table: SkipValidation[Table | None] = None


def _lookup(value: object) -> object:
    return Lookup(value) if isinstance(value, str) else value


TableName = Annotated[
    Lookup,
    BeforeValidator(_lookup),
    PlainSerializer(lambda lookup: lookup.name, return_type=str),
    WithJsonSchema({"type": "string", "pattern": NAME}),
]
"""Name of an entry of `tables`."""


def text(cell: Cell) -> str:
    """A cell as the value of a label."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell)


def since_ns(row: Cells) -> int:
    """From when a row holds, nanoseconds since 1970 UTC; 0 when it always did.

    Raises ValueError for what is no RFC 3339 time.
    """
    cell = row.get(SINCE)
    if cell is None or cell == "":
        return 0
    try:
        when = datetime.fromisoformat(str(cell))
    except ValueError:
        when = datetime.min  # noqa: DTZ901 - has no time zone, and is refused below
    if when.tzinfo is None:
        raise ValueError(f"expected a time such as 2026-03-01T06:00:00Z, got {cell!r}")
    return round(when.timestamp() * 1e6) * 1000


def fault(row: Cells, key: str) -> str:
    """What is wrong with a row; empty when nothing is."""
    if not text(row.get(key)):
        return f"no {key}"
    try:
        since_ns(row)
    except ValueError as error:
        return f"{SINCE}: {error}"
    return ""


def repeated(rows: tuple[Cells, ...] | list[Cells], key: str) -> str:
    """A key that two rows have from the same time on; empty when there is none."""
    seen = set()
    for row in rows:
        if (text(row[key]), since_ns(row)) in seen:
            return text(row[key])
        seen.add((text(row[key]), since_ns(row)))
    return ""


def read_table(table: Table, path: Path) -> tuple[Table, Document]:
    """The same table with the rows of its file; what is wrong with them is in the document."""
    if path.suffix.lower() == ".csv":
        document, listed = _csv(path)
    else:
        document = read_document(path, {})
        listed = _listed(document)
    seen: set[tuple[str, int]] = set()
    for place, row in listed:
        wrong = fault(row, table.key)
        if not wrong and (text(row[table.key]), since_ns(row)) in seen:
            wrong = f"{table.key} {text(row[table.key])!r} is listed twice"
        if wrong:
            document.add(place, wrong)
        else:
            seen.add((text(row[table.key]), since_ns(row)))
    if document.problems:
        return table, document
    return table.model_copy(update={"rows": tuple(row for _, row in listed)}), document


def _csv(path: Path) -> tuple[Document, list[tuple[Place, Cells]]]:
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
        lines = raw.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        document = Document(str(path), [], Node({}, Place(0, 1)))
        document.add(Place(0, 1), f"cannot read the file: {error}")
        return document, []
    document = Document(str(path), lines.splitlines(), Node({}, Place(1, 1)))
    if len(raw) > BYTES_MAX:
        document.add(Place(0, 1), f"larger than {BYTES_MAX} bytes")
        return document, []
    reader, found, header = csv.reader(io.StringIO(lines), strict=True), [], None
    try:
        for cells in reader:
            at = Place(reader.line_num, 1, 1)
            if not any(cells):
                continue
            if header is None:
                header = [name.strip() for name in cells]
            elif len(cells) != len(header):
                document.add(at, f"{len(cells)} cells below a header of {len(header)}")
            else:
                row = {n: c.strip() for n, c in zip(header, cells, strict=True)}
                found.append((at, {n: c or None for n, c in row.items()}))
    except csv.Error as error:
        document.add(Place(reader.line_num, 1), f"not CSV: {error}")
    if header is None:
        document.add(Place(0, 1), "an empty file", "the first line names the columns")
    elif len(set(header)) < len(header):
        document.add(Place(1, 1), "two columns have one name")
    return document, list(found[:ROWS_MAX])


def _listed(document: Document) -> list[tuple[Place, Cells]]:
    found: list[tuple[Place, Cells]] = []
    if document.problems:
        return found
    if not isinstance(document.root.value, list):
        document.add(document.root, "expected a list of rows: - {device: b1, line: 3}")
        return found
    for node in document.root.value:
        row = node.data()
        if isinstance(row, dict) and not any(isinstance(c, dict | list) for c in row.values()):
            found.append((node.place, row))
        else:
            document.add(node, "expected a row such as {device: b1, line: 3}")
    return found
