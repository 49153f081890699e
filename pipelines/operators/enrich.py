"""enrich: adds labels out of a table, such as the line and the hall of each device."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from config.model import Name, OneOrMore
from config.params import Params
from config.tables import TableName, text
from pipelines.batch import BAD, I8, UNCERTAIN, GroupedBatch
from pipelines.jit import kernel
from pipelines.operator import SINGLE, Operator, column, rows_of
from pipelines.series import Labels

UNKNOWN = "unknown"
"""Value of an added label where the table has none."""


class Enrich(Params):
    """Which table, which of its rows, and what of that row is added."""

    table: TableName = Field(description="An entry of `tables`.")
    of: Name = Field("device", description="Label whose value is the key of the row.")
    add: OneOrMore = Field((), description="Columns that become labels; an older label gives way.")
    missing: Annotated[Literal["keep", "drop", "mark"], Field()] = Field(
        "keep",
        description=f"Without a row: keep the samples, with the labels '{UNKNOWN}'; drop and count "
        "them, so that the table is a list of what is allowed; or mark them as uncertain.",
    )

    @property
    def columns_needed(self) -> tuple[str, ...]:
        """Columns that the table must have."""
        return self.add


class State(NamedTuple):
    """Nothing but a count."""

    dropped: I8 = column("i8", SINGLE)  # samples of series that are not in the table


Rows = rows_of(Enrich)
KEEP, DROP, MARK = 0, 1, 2
LISTED, UNLISTED = 0, 1


@kernel
def step(batch: GroupedBatch, first: int, state: State, params: Any, out: Any) -> int:
    """Pass samples on under their new labels.

    Equivalent to: a row as it came; of a series that is not in the table nothing (drop), or with
    quality uncertain at best (mark).
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        s, quality = batch.series[i], batch.quality[i]
        missing = params.missing[params.row[s]]
        if batch.slot[i] == UNLISTED:
            if missing == DROP:
                state.dropped[0] += 1
                continue
            if missing == MARK:
                quality = max(quality, UNCERTAIN)
        known = quality != BAD and abs(batch.value[i]) < float("inf")
        out.series[n], out.t_ns[n], out.start_ns[n] = s, batch.t_ns[i], batch.start_ns[i]
        out.value[n] = batch.value[i] if known else float("nan")
        out.quality[n] = quality if known else BAD
        n += 1
    out.count[0] = n
    return batch.series.size


def regroup(params: Enrich, labels: Labels, group_by: tuple[str, ...]) -> tuple[Labels, int] | None:  # noqa: ARG001 - each series stays by itself
    """The same labels and those added; slot 1 for a series that has no row."""
    have = dict(labels)
    table = params.table.table
    row = table.by_key.get(have.get(params.of, "")) if table is not None else None
    found = {name: text((row or {}).get(name)) or UNKNOWN for name in params.add}
    return tuple(sorted((have | found).items())), LISTED if row is not None else UNLISTED


OPERATOR = Operator(
    name="enrich",
    summary="Adds labels out of a table, and tells known devices from others.",
    params=Enrich,
    state=State,
    rows=Rows,
    step=step,
    example="enrich: {table: devices, of: device, add: [line, hall], missing: keep}",
    regroup=regroup,
    alone=True,
)
