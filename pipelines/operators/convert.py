"""convert: from what the sensor sends to the quantity it stands for."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params
from pipelines.batch import BAD, Batch
from pipelines.jit import kernel
from pipelines.operator import Operator, rows_of

UNITS: Final[dict[str, dict[str, str | tuple[str, str]]]] = {
    "temperature": {
        "K": "1",
        "C": ("1", "273.15"),
        "F": ("5/9", "459.67"),
        "R": "5/9",
    },
    "pressure": {
        "Pa": "1",
        "hPa": "100",
        "mbar": "100",
        "kPa": "1000",
        "bar": "100000",
        "MPa": "1000000",
        "psi": "8896443230521/1290320000",  # lbf / in², by the definitions of pound and inch
        "atm": "101325",
        "Torr": "101325/760",
    },
    "length": {
        "mm": "0.001",
        "cm": "0.01",
        "m": "1",
        "km": "1000",
        "in": "0.0254",
        "ft": "0.3048",
        "mi": "1609.344",
    },
    "mass": {"g": "0.001", "kg": "1", "t": "1000", "oz": "0.028349523125", "lb": "0.45359237"},
    "speed": {"m/s": "1", "km/h": "5/18", "mph": "0.44704", "ft/s": "0.3048", "kn": "1852/3600"},
    "energy": {"J": "1", "kJ": "1000", "MJ": "1000000", "Wh": "3600", "kWh": "3600000"},
    "power": {"W": "1", "kW": "1000", "MW": "1000000"},
    "volume": {"l": "0.001", "m3": "1", "gal": "0.003785411784"},
    "flow": {"m3/s": "1", "m3/h": "1/3600", "l/s": "0.001", "l/min": "1/60000"},
    "angle": {"deg": "1", "rev": "360"},
    "rotation": {"Hz": "1", "rpm": "1/60"},
    "time": {"ms": "0.001", "s": "1", "min": "60", "h": "3600", "d": "86400"},
}
"""Quantity → unit → factor to the base unit; a temperature: (factor, zero), base = (x + zero) f.

Exact by definition: NIST Special Publication 811 (2008), appendix B; Torr: 101325/760 Pa.
"""

TERMS_MAX: Final = 10
POINTS_MAX: Final = 256


def unit_of(name: str) -> tuple[str, Fraction, Fraction]:
    """Quantity, factor and zero of a unit. Raises ValueError for one that is not in the table."""
    for quantity, units in UNITS.items():
        if name in units:
            entry = units[name]
            factor, zero = (entry, "0") if isinstance(entry, str) else entry
            return quantity, Fraction(factor), Fraction(zero)
    known = " ".join(unit for units in UNITS.values() for unit in units)
    raise ValueError(f"unknown unit {name!r}; known are: {known}")


class Convert(Params):
    """One of four: units, a straight line, a polynomial, or a table."""

    EXTRA_ROWS: ClassVar = ("terms", "points", "x", "y")

    from_: str | None = Field(
        None, alias="from", description="Unit of what comes in, such as F, psi or km/h."
    )
    to: str | None = Field(None, description="Unit of what goes out, of the same quantity.")
    scale: float | None = Field(None, description="value · scale + offset.")
    offset: float | None = Field(None, description="value · scale + offset.")
    polynomial: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        max_length=TERMS_MAX,
        description="[c0, c1, c2, …]: c0 + c1 · value + c2 · value² …",
    )
    table: tuple[tuple[float, float], ...] | None = Field(
        None,
        min_length=2,
        max_length=POINTS_MAX,
        description="[[value, result], …] with rising values; straight lines between them. "
        "Outside of it the result is not known.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        line = self.scale is not None or self.offset is not None
        units = self.from_ is not None or self.to is not None
        ways = line + units + (self.polynomial is not None) + (self.table is not None)
        if ways != 1:
            raise ValueError("give one of: from and to, scale and offset, polynomial, table")
        if units:
            if self.from_ is None or self.to is None:
                raise ValueError("from and to belong together: {from: F, to: C}")
            if unit_of(self.from_)[0] != unit_of(self.to)[0]:
                raise ValueError(
                    f"{self.from_} is a unit of {unit_of(self.from_)[0]}, "
                    f"{self.to} is one of {unit_of(self.to)[0]}"
                )
        if self.table and any(a[0] >= b[0] for a, b in zip(self.table, self.table[1:])):  # noqa: B905 - pairs
            raise ValueError("the values of a table must rise from row to row")
        return self

    def coefficients(self) -> tuple[float, ...]:
        """Of the polynomial that this conversion is, lowest power first; none for a table."""
        if self.from_ is not None and self.to is not None:
            _, factor, zero = unit_of(self.from_)
            _, factor_to, zero_to = unit_of(self.to)
            slope = factor / factor_to
            return (float(zero * slope - zero_to), float(slope))
        if self.table is not None:
            return ()
        if self.polynomial is not None:
            return self.polynomial
        return (self.offset or 0.0, 1.0 if self.scale is None else self.scale)

    @classmethod
    def extra_rows(cls, sets: "Sequence[Convert]") -> dict[str, Any]:
        """`y` (R, n): coefficients, or results of the table at `x`; how many are in use."""
        x = np.zeros((len(sets), POINTS_MAX))
        y = np.zeros((len(sets), POINTS_MAX))
        for r, chosen in enumerate(sets):
            results = [b for _, b in chosen.table] if chosen.table else chosen.coefficients()
            y[r, : len(results)] = results
            x[r, : len(chosen.table or ())] = [a for a, _ in chosen.table or ()]
        return {
            "terms": np.array([len(c.coefficients()) for c in sets], np.int64),
            "points": np.array([len(c.table or ()) for c in sets], np.int64),
            "x": x,
            "y": y,
        }


class State(NamedTuple):
    """Nothing is remembered."""


Rows = rows_of(Convert)


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:  # noqa: ARG001 - same arguments for every operator
    """Convert each value.

    Equivalent to: the polynomial by Horner's rule; or linear interpolation between the two rows
    of the table around the value, NaN outside of the table. What is not finite becomes NaN.
    """
    n = out.count[0]
    for i in range(first, batch.series.size):
        x = batch.value[i]
        p = params.row[batch.series[i]]
        y = np.nan
        if np.isfinite(x) and batch.quality[i] != BAD:
            if params.points[p] == 0:
                y = 0.0
                for c in range(params.terms[p] - 1, -1, -1):
                    y = y * x + params.y[p, c]
            elif params.x[p, 0] <= x <= params.x[p, params.points[p] - 1]:
                low, high = 0, params.points[p] - 1
                while high - low > 1:
                    middle = (low + high) >> 1
                    if params.x[p, middle] <= x:
                        low = middle
                    else:
                        high = middle
                share = (x - params.x[p, low]) / (params.x[p, high] - params.x[p, low])
                # This form gives both ends exactly.
                y = params.y[p, low] * (1 - share) + params.y[p, high] * share
        good = np.isfinite(y)
        out.series[n] = batch.series[i]
        out.t_ns[n] = batch.t_ns[i]
        out.start_ns[n] = batch.start_ns[i]
        out.value[n] = y if good else np.nan
        out.quality[n] = batch.quality[i] if good else BAD
        n += 1
    out.count[0] = n
    return batch.series.size


OPERATOR = Operator(
    name="convert",
    summary="Converts units, or raw readings by a line, a polynomial or a table.",
    params=Convert,
    state=State,
    rows=Rows,
    step=step,
    example="convert: {from: F, to: C}",
)
