"""Hierarchies: which group a member belongs to at a time, and what the groups of one come to.

A hierarchy is a table of members: its key column names the member, another one its parent, and
`from` the time since when that holds.  A parent may be a member of another one.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np

from config.tables import Lookup, Table, since_ns, text
from pipelines.batch import BAD, GOOD, I4, I8, UNCERTAIN
from pipelines.jit import kernel
from pipelines.numerics import added

DEPTH_MAX: Final = 16
NOBODY: Final = -1
SUM, MEAN, MIN, MAX, COUNT = range(5)


class Hierarchy(NamedTuple):
    """Members and parents by number; versions of member c are [first[c], first[c + 1])."""

    members: tuple[str, ...]
    parents: tuple[str, ...]
    first: tuple[int, ...]
    since_ns: tuple[int, ...]
    parent: tuple[int, ...]  # number of the parent, NOBODY where it has none

    def member_of_parent(self) -> list[int]:
        """(parents,) number of the parent as a member, NOBODY when it is on top."""
        known = {name: c for c, name in enumerate(self.members)}
        return [known.get(name, NOBODY) for name in self.parents]

    def above(self, member: int, at_ns: int) -> int:
        """Number of the parent of a member at a time."""
        found = NOBODY
        for i in range(self.first[member], self.first[member + 1]):
            if self.since_ns[i] <= at_ns:
                found = self.parent[i]
        return found


def hierarchy(table: Table | None, column: str) -> Hierarchy:
    """The hierarchy in a table; nobody in none. Raises ValueError for circles and deep ones."""
    rows = sorted(table.rows or (), key=since_ns) if table is not None else []
    key = table.key if table is not None else ""
    versions: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        versions.setdefault(text(row[key]), []).append((since_ns(row), text(row.get(column))))
    parents = sorted({parent for listed in versions.values() for _, parent in listed if parent})
    number = {name: p for p, name in enumerate(parents)} | {"": NOBODY}
    flat = [(since, number[parent]) for listed in versions.values() for since, parent in listed]
    first = np.cumsum([0, *map(len, versions.values())]).tolist()
    made = Hierarchy(
        tuple(versions),
        tuple(parents),
        tuple(first),
        tuple(since for since, _ in flat),
        tuple(parent for _, parent in flat),
    )
    _check(made)
    return made


def _check(made: Hierarchy) -> None:
    twice = [key_of(name) for name in made.members]
    if len(set(twice)) < len(twice):
        raise ValueError("two members have names with the same checksum; rename one")
    upward = made.member_of_parent()
    for at_ns in sorted(set(made.since_ns)):
        for c, name in enumerate(made.members):
            way, here = [name], c
            while here != NOBODY and (parent := made.above(here, at_ns)) != NOBODY:
                way.append(made.parents[parent])
                here = upward[parent]
                if len(way) > DEPTH_MAX or way[-1] == name:
                    what = "in a circle" if way[-1] == name else f"deeper than {DEPTH_MAX} levels"
                    raise ValueError(f"groups {what}: {' → '.join(way[:6])}")


def key_of(name: str) -> int:
    """A number that stands for the name of a member, whatever else a table holds."""
    return crc32(name.encode()) & 0x7FFFFFFF


NAMES: Final = (
    "expected_row",
    "member_key",
    "member_leaf",
    "member_first",
    "version_ns",
    "version_parent",
    "parent_member",
)


def arrays(lookups: Sequence[Lookup | None], column: str) -> dict[str, I8]:
    """What the kernel `rolled` reads, of the first one: one hierarchy per step."""
    made = hierarchy(lookups[0].table if lookups[0] is not None else None, column)
    above = set(made.parents)
    found: dict[str, Any] = {
        "expected_row": range(len(made.parents)),
        "member_key": [key_of(name) for name in made.members],
        "member_leaf": [name not in above for name in made.members],
        "member_first": made.first,
        "version_ns": made.since_ns,
        "version_parent": made.parent,
        "parent_member": made.member_of_parent(),
    }
    assert tuple(found) == NAMES
    return {name: np.array(list(numbers), np.int64) for name, numbers in found.items()}


@kernel
def entry(s: int, key: int, index: I4, keys: I4) -> int:
    """Place in row `s` of `index` that holds, or could hold, 1 + the number of member `key`."""
    width = index.shape[1]
    place = (int(key) * 2_654_435_761) % width
    while index[s, place] != 0 and keys[s, index[s, place] - 1] != key:
        place = (place + 1) % width
    return int(place)


@kernel
def result(stat: int, n: int, total: float, low: float, high: float) -> float:
    """The statistic of `n` numbers; NaN where none of them has one."""
    if stat == COUNT:
        return float(n)
    if stat == SUM:
        return total
    if n == 0:
        return np.nan
    return total / n if stat == MEAN else low if stat == MIN else high


@kernel
def rolled(s: int, at_ns: int, state: Any, params: Any, out: Any) -> None:
    """Append a row for every parent: its statistic over the members below it at `at_ns`."""
    p, n, parents = params.row[s], out.count[0], params.parent_member.size
    for q in range(parents):
        state.total[s, q], state.lost[s, q], state.count[s, q], state.absent[s, q] = 0.0, 0.0, 0, 0
        state.low[s, q], state.high[s, q], state.worst[s, q] = np.inf, -np.inf, GOOD
    for c in range(params.member_key.size):
        e = state.places[s, entry(s, params.member_key[c], state.places, state.key)] - 1
        told = e >= 0 and state.t_ns[s, e] > 0
        known = told and at_ns - state.t_ns[s, e] <= params.max_age[p]
        if not told and params.member_leaf[c] == 0 and params.levels[p] > 1:
            continue  # a group that comes out of its own members
        here, level = c, 0
        while here != NOBODY and level < params.levels[p]:
            q = NOBODY
            for i in range(params.member_first[here], params.member_first[here + 1]):
                if params.version_ns[i] <= at_ns:
                    q = params.version_parent[i]
            if q == NOBODY:
                break
            if known:
                x = state.value[s, e]
                state.total[s, q], state.lost[s, q] = added(state.total[s, q], state.lost[s, q], x)
                state.low[s, q] = min(state.low[s, q], x)
                state.high[s, q] = max(state.high[s, q], x)
                state.worst[s, q] = max(state.worst[s, q], state.quality[s, e])
                state.count[s, q] += 1
            else:
                state.absent[s, q] += 1
            here, level = params.parent_member[q], level + 1
    for q in range(parents):
        count, absent = state.count[s, q], state.absent[s, q]
        total = state.total[s, q] + state.lost[s, q]
        y = result(params.stat[p], count, total, state.low[s, q], state.high[s, q])
        known = np.isfinite(y) and (count > 0 or absent == 0)
        worst = max(state.worst[s, q], UNCERTAIN) if absent else state.worst[s, q]
        if params.expected_row[q] >= 0:
            out.series[n] = params.expected_row[q]
            out.t_ns[n], out.start_ns[n] = at_ns, at_ns
            out.value[n], out.quality[n] = y if known else np.nan, worst if known else BAD
            out.fields[n, 0], out.fields[n, 1] = count, absent
            n += 1
    out.count[0] = n
