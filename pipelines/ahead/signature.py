"""Signatures: what a kernel's machine code depends on in the arguments of a call."""

from typing import Any, Final

import numpy as np

Signature = tuple[Any, ...]
"""Hashable; made of numbers, texts and tuples of them, so that it can be written to a file."""

_C, _F, _ALIGNED, _WRITEABLE = 0x1, 0x2, 0x100, 0x400
_LAYOUT: Final = [0] * 2048
"""By numpy's flags of an array: those that code depends on. What is C-contiguous is just that."""
for _flags in range(2048):
    _order = _C if _flags & _C else _flags & _F
    _LAYOUT[_flags] = _order | _flags & (_ALIGNED | _WRITEABLE)

PLAIN: Final = _C | _ALIGNED | _WRITEABLE
"""The layout of an array that was just made."""
_SCALARS: Final = {int: "int", bool: "bool", float: "float", type(None): "None"}


def signature(args: tuple[Any, ...]) -> Signature:
    """What the types of these arguments are to a compiler.

    An array is (number of its dtype, dimensions, layout); arrays in foreign byte order are not
    looked for. A named tuple is the names of its fields and its values.
    """
    return tuple([_of(arg) for arg in args])


def _of(value: Any) -> Any:
    kind = type(value)
    if kind is np.ndarray:
        return value.dtype.num, value.ndim, _LAYOUT[value.flags.num & 2047]
    if kind in _SCALARS:
        return _SCALARS[kind]
    if issubclass(kind, tuple):
        return (getattr(kind, "_fields", ""), *[_of(each) for each in value])
    if issubclass(kind, np.generic):
        return value.dtype.str
    return f"{kind.__module__}.{kind.__qualname__}"


def is_plain(of: Any) -> bool:
    """Whether such a value can be written to a file and made again: it has only plain parts."""
    if isinstance(of, str):
        return "." not in of
    if isinstance(of[0], int):
        return bool(of[2] | _WRITEABLE == PLAIN)
    return all(is_plain(each) for each in of[1:])
