"""Slow twins: one file per operator, written from the docstring of its kernel.

A file `tests/naive/<operator>.py` holds

* `CASES`: a tuple of cases; a case is a tuple of option mappings as a user writes them.  Series
  `s` uses the mapping `s % len(case)`, so at least one case should have two or more.
* `naive(params, events)`: yields the `Row`s that come out of ONE series (or group) for its
  `Sample`s and `Tick`s in order.  `params` is the validated model.  Plain Python, no numba,
  nothing imported from the operator's file.
* optionally `RTOL` and `ATOL` (default 1e-9 and 1e-9, in the unit of the result) and, for an
  operator with `regroup`, `slots(params)`: how many slots it hands out (default 1).
"""

from typing import NamedTuple


class Sample(NamedTuple):
    t_ns: int
    value: float
    quality: int
    member: int = 0
    slot: int = 0

    @property
    def known(self):
        """Finite and not BAD: what may change an operator's state."""
        return self.quality != 2 and abs(self.value) < float("inf")


class Tick(NamedTuple):
    """The time of the series has come to `clock_ns`; nothing before it will follow."""

    clock_ns: int


class Row(NamedTuple):
    t_ns: int
    start_ns: int
    value: float
    quality: int
    fields: tuple = ()
    member: int = 0  # of an operator with `per_member`: the series that this row belongs to
