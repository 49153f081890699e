"""Kernels that the product calls without a look at types, with that look."""

from itertools import count

from pipelines.jit import Kernel

BOUND = Kernel.bound


def watched(kernel, *args):
    """What `Kernel.bound` gives; of its calls the first 64 and every 64th are looked at.

    They assert that the arguments have the types of `args`.
    """
    found = BOUND(kernel, *args)
    if found is kernel.plain or Kernel.ahead is not None:  # interpreted, where types do not matter
        return found
    import numba  # noqa: PLC0415 - not before its cache is chosen

    expected = [numba.typeof(arg) for arg in args]
    calls = count()

    def called(*given):
        n = next(calls)
        if n < 64 or n % 64 == 0:
            types = [numba.typeof(arg) for arg in given]
            assert types == expected, f"{kernel.__name__} was bound to other types"
        return found(*given)

    return called
