"""Primitives: what no Python says, for kernels: memory by address, and memory ahead of its use."""

from collections.abc import Callable
from typing import Any


class Primitive:
    """What no Python says, for kernels: `define` gives its type, and what writes its code.

    `plain` is the same for an interpreted kernel, where there is such a thing.
    """

    def __init__(self, define: Callable[..., Any], plain: Callable[..., Any] | None = None) -> None:
        self.define, self.plain = define, plain
        self._type: Any = None

    @property
    def _numba_type_(self) -> Any:
        if self._type is None:
            from numba.core.registry import cpu_target  # noqa: PLC0415
            from numba.extending import intrinsic  # noqa: PLC0415

            made, known = intrinsic(self.define), cpu_target.typing_context
            known.refresh()
            self._type = known.resolve_value_type(made)
        return self._type

    def __call__(self, *args: Any) -> Any:
        """What it is in an interpreted kernel; nothing, if it is only a hint."""
        return self.plain(*args) if self.plain is not None else None


@Primitive
def loaded(typing: Any, address: Any, like: Any) -> Any:  # noqa: ARG001
    """A named tuple of arrays, of the type of `like`, that `placed` has told of at this address."""

    def read(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        at, like = args
        return builder.load(builder.inttoptr(at, like.type.as_pointer()))

    return like(address, like), read


@Primitive
def fetched(typing: Any, array: Any, place: Any) -> Any:  # noqa: ARG001
    """Let the memory of an array's element, counted along all rows, come near: it is needed soon."""

    def fetch(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir  # noqa: PLC0415
        from numba.core.cgutils import get_or_insert_function  # noqa: PLC0415

        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        called = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        where = builder.bitcast(builder.gep(data, [args[1]]), byte)
        builder.call(called, [where, flag(1), flag(3), flag(1)])
        return args[1]

    return place(array, place), fetch


def _moved(typing: Any, array: Any, to: Any, since: Any, n: Any) -> Any:  # noqa: ARG001
    def move(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir  # noqa: PLC0415
        from numba.core.cgutils import get_or_insert_function  # noqa: PLC0415

        made, byte = context.make_array(signature.args[0])(context, builder, args[0]), ir.IntType(8)
        size, flag, pointer = ir.IntType(64), ir.IntType(1), byte.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, size, flag])
        called = get_or_insert_function(builder.module, kind, "llvm.memmove.p0.p0.i64")  # type: ignore[no-untyped-call]
        ends = [builder.bitcast(builder.gep(made.data, [at]), pointer) for at in args[1:3]]
        builder.call(called, [*ends, builder.mul(args[3], made.itemsize), flag(0)])
        return args[1]

    from numba import types  # noqa: PLC0415

    return types.int64(array, *[types.int64] * 3), move


def _move(array: Any, to: int, since: int, n: int) -> None:
    array[to : to + n] = array[since : since + n].copy()


moved = Primitive(_moved, _move)
"""(array, to, since, n): let n elements that begin at `since` begin at `to`, as they were.

A loop that does it is left after some other number of elements each time, which costs more than
to move them.
"""


def _word(typing: Any, data: Any, place: Any) -> Any:  # noqa: ARG001
    def load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir  # noqa: PLC0415

        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        at = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(64).as_pointer())
        return builder.load(at, align=1)

    from numba import types  # noqa: PLC0415

    return types.uint64(data, types.int64), load


word = Primitive(_word, lambda data, p: int.from_bytes(data[p : p + 8].tobytes(), "little"))
"""(data, p): the 8 bytes of an array of bytes from p on, the first one lowest."""


@Primitive
def called(typing: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:  # noqa: ARG001
    """What the C function at this address gives for up to five numbers, or addresses.

    It is read as 64 bits: of a function that gives fewer only those mean something.
    """

    def call(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        from llvmlite import ir  # noqa: PLC0415

        number = ir.IntType(64)
        kind = ir.FunctionType(number, [number] * 5).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), args[1:])

    from numba import types  # noqa: PLC0415

    return types.int64(*[types.int64] * 6), call


@Primitive
def peeked(typing: Any, address: Any) -> Any:  # noqa: ARG001
    """The C `int` at this address."""

    def peek(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        from llvmlite import ir  # noqa: PLC0415

        number = builder.load(builder.inttoptr(args[0], ir.IntType(32).as_pointer()))
        return builder.sext(number, ir.IntType(64))

    from numba import types  # noqa: PLC0415

    return types.int64(types.int64), peek


def placed(value: tuple[Any, ...]) -> list[int]:
    """Where the arrays of a named tuple, and of such in it, are as compiled code holds it."""
    found: list[int] = []
    for array in value:
        if isinstance(array, tuple):
            found += placed(array)
            continue
        at, _ = array.__array_interface__["data"]
        found += (0, 0, array.size, array.itemsize, at, *array.shape, *array.strides)
    return found
