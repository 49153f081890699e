"""Symbols: what object code of kernels refers to, found as numba would, without numba.

Its helpers in C are extension modules of its package, which can be loaded from their files.
"""

import builtins
import ctypes
import importlib.machinery
import sysconfig
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from pipelines.ahead.image import ImageError


@cache
def helpers() -> Any:
    """Numba's module that makes functions and environments (`_dynfunc`). Raises ImageError."""
    return _extension("_dynfunc")


@cache
def _addresses() -> dict[str, int]:
    known: dict[str, int] = {"_Py_NoneStruct": id(None)}
    mathematics: dict[str, int] = _extension("_helperlib").c_helpers
    for name, address in (mathematics | helpers().c_helpers).items():
        known[f"numba_{name}"] = address
    for thing in vars(builtins).values():
        if isinstance(thing, type) and issubclass(thing, BaseException):
            known[f"PyExc_{thing.__name__}"] = id(thing)
    return mathematics | known


def resolve(name: str) -> int:
    """The address of a symbol. Raises ImageError when there is no such thing."""
    known = _addresses().get(name)
    if known is not None:
        return known
    try:
        return ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, name))
    except ValueError:
        raise ImageError(f"nobody knows {name[:80]}") from None


def _extension(name: str) -> Any:
    spec = find_spec("numba")
    if spec is None or spec.origin is None:
        raise ImageError("numba is not installed")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    path = str(Path(spec.origin).parent / f"{name}{suffix}")
    loader = importlib.machinery.ExtensionFileLoader(f"{__package__}.{name}", path)
    found = spec_from_file_location(f"{__package__}.{name}", path, loader=loader)
    assert found is not None
    try:
        made = module_from_spec(found)
        loader.exec_module(made)
    except ImportError as error:
        raise ImageError(str(error)) from None
    return made
