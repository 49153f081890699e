"""Tables of a graph at work: those of the configuration, and the ones that messages fill."""

from collections.abc import Callable, Mapping
from typing import Final

from config.tables import ROWS_MAX, Cells, Table, fault, since_ns, text

VERSIONS_MAX: Final = 16
"""Rows of one key with different times that are remembered; then the oldest goes."""

Change = tuple[str, str, Cells | None]
"""(table, key, row); None removes the row."""


class Tables:
    """The contents of every table now, and the changes that wait to be taken."""

    STATE = ("current", "changes")
    REMADE = ()

    def __init__(self, given: Mapping[str, Table], keep: "Tables | None" = None) -> None:
        """`keep`: those before a reload; tables filled by the same topic go on as they are."""
        self.current = dict(given)
        for name, table in given.items():
            before = keep.current.get(name) if keep else None
            same = before is not None and before.topic == table.topic and before.key == table.key
            if table.topic is not None and before is not None and same:
                self.current[name] = before
        self.changes: list[Change] = []
        """Noted, and not taken yet."""

    def change(self, name: str, key: str, row: Cells | None) -> None:
        """Note a change of one row. Raises ValueError for a row that no table can have."""
        wrong = fault(row, self.current[name].key) if row is not None else ""
        if wrong:
            raise ValueError(wrong)
        self.changes.append((name, key, row))

    def settle(self, fits: Callable[[Mapping[str, Table]], bool]) -> tuple[set[str], int, int]:
        """(tables that changed, changes taken, changes refused).

        A change that leaves a table that does not fit, such as a circle of groups, is refused
        alone; the others are taken.
        """
        changes, self.changes = self.changes, []
        names, refused = {name for name, _, _ in changes}, 0
        whole = _changed(self.current, changes)
        if fits(whole):
            self.current = whole
            return names, len(changes), 0
        for change in changes:
            one = _changed(self.current, [change])
            if fits(one):
                self.current = one
            else:
                refused += 1
        return names, len(changes) - refused, refused


def _changed(tables: Mapping[str, Table], changes: list[Change]) -> dict[str, Table]:
    """The tables after some changes, in their order."""
    made = dict(tables)
    for name in {name for name, _, _ in changes}:
        table = tables[name]
        rows: dict[str, list[Cells]] = {}
        for held in table.rows or ():
            rows.setdefault(text(held[table.key]), []).append(held)
        for of, key, row in changes:
            if of != name:
                continue
            if row is None:
                rows.pop(key, None)
            elif key in rows or len(rows) < ROWS_MAX:
                older = [r for r in rows.get(key, []) if since_ns(r) < since_ns(row)]
                rows[key] = [*older[1 - VERSIONS_MAX :], row]
        listed = tuple(dict(held) for versions in rows.values() for held in versions)
        made[name] = Table.model_construct(key=table.key, file=None, topic=table.topic, rows=listed)
    return made
