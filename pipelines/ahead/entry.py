"""Entries: one kernel for one signature as bytes, with a call that shows whether it works here.

digest of all that follows, 16 bytes
length of the header, 4 bytes; the header, JSON
object code; the arrays of the call, one after the other
"""

import ctypes
import hashlib
import math
import platform
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.ahead.image import Image, ImageError
from pipelines.ahead.linked import Linked
from pipelines.ahead.signature import Signature, is_plain, signature
from pipelines.ahead.symbols import helpers, resolve

Compiled = Callable[..., Any]

LOADER: Final[type[Image | Linked]] = Image if platform.machine() == "x86_64" else Linked
_DIGEST: Final = 16
_LENGTH: Final = struct.Struct("<I")


def packed(name: str, made: Any, code: bytes, args: tuple[Any, ...]) -> bytes:
    """The entry of what numba made (its CompileResult, object code) for such arguments.

    Raises ImageError when it cannot be used without numba, or does not do the same then.
    """
    of = signature(args)
    if not is_plain(of):
        raise ImageError("an argument is neither a number nor an array as it was made")
    if made.environment.consts:
        raise ImageError("it refers to Python objects")
    arrays: list[bytes] = []
    header = {
        "name": name,
        "signature": of,
        "environment": made.fndesc.env_name,
        "wrapper": made.fndesc.llvm_cpython_wrapper_name,
        "call": _written(args, arrays),
        "answer": _answer(made.entry_point, copied(args)),
        "object": len(code),
    }
    text = orjson.dumps(header)
    body = b"".join([_LENGTH.pack(len(text)), text, code, *arrays])
    data = hashlib.blake2b(body, digest_size=_DIGEST).digest() + body
    unpacked(name, of, data)
    return data


def unpacked(name: str, of: Signature, data: bytes) -> Compiled:
    """The kernel of an entry, after its call has given what it gave when it was compiled.

    Raises ImageError when it is damaged, of another kernel, or does not work here.
    """
    body = data[_DIGEST:]
    if hashlib.blake2b(body, digest_size=_DIGEST).digest() != data[:_DIGEST]:
        raise ImageError("the file is damaged")
    [size] = _LENGTH.unpack_from(body)
    header = orjson.loads(body[_LENGTH.size : _LENGTH.size + size])
    if header["name"] != name or _tuples(header["signature"]) != of:
        raise ImageError("it is the code of another kernel")
    start = _LENGTH.size + size
    end = start + header["object"]
    image = LOADER(body[start:end], resolve)
    called = _callable(name, image, header["environment"], header["wrapper"])
    args = _read(header["call"], _Bytes(body[end:]))
    if _answer(called, args) != header["answer"]:
        raise ImageError("it does not give what it gave when it was compiled")
    return called


def _callable(name: str, image: Image | Linked, environment: str, wrapper: str) -> Compiled:
    """Numba's own function around the code, which takes Python's arguments apart."""
    made = helpers()
    env = made.Environment({})
    ctypes.c_void_p.from_address(image.address(environment)).value = id(env)
    at = image.address(wrapper)
    called: Compiled = made.make_function(made, name, "", at, env, image.memory)
    return called


def _answer(called: Compiled, args: tuple[Any, ...]) -> str:
    """What a call returns, and a digest of what it leaves in its arguments."""
    returned = repr(called(*args))
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for array in _arrays(args):
        digest.update(array.tobytes())
    return f"{returned} {digest.hexdigest()}"


def _arrays(value: Any) -> Iterator[NDArray[Any]]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _arrays(each)


def copied(value: Any) -> Any:
    """The same value in arrays of its own."""
    if isinstance(value, tuple):
        return getattr(type(value), "_make", tuple)([copied(each) for each in value])
    if isinstance(value, np.ndarray):
        made = value.copy()
        made.flags.writeable = value.flags.writeable
        return made
    return value


def _written(value: Any, data: list[bytes]) -> Any:
    """A value as JSON; the bytes of arrays go to `data`."""
    if isinstance(value, tuple):
        return [_written(each, data) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        data.append(value.tobytes())
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: value.dtype.str, "shape": value.shape, "writeable": value.flags.writeable}
    if isinstance(value, float):
        return {"float": value.hex()}
    return {"value": value}


def _read(value: Any, data: "_Bytes") -> Any:
    """The way back."""
    if isinstance(value, list):
        return tuple([_read(each, data) for each in value])
    if "float" in value:
        return float.fromhex(value["float"])
    if "value" in value:
        return value["value"]
    dtype, shape = np.dtype(value.get("array") or value["scalar"]), value["shape"]
    made = np.frombuffer(data.take(dtype.itemsize * math.prod(shape)), dtype).reshape(shape).copy()
    if "scalar" in value:
        return made[()]
    made.flags.writeable = value["writeable"]
    return made


class _Bytes:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        return self._data[start : self._at]


def _tuples(of: Any) -> Any:
    """A signature as JSON gives it back."""
    return tuple([_tuples(each) for each in of]) if isinstance(of, list) else of
