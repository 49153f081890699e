"""Kernels that the product calls without a look at types, with that look at every call."""

import numpy as np

from pipelines.jit import Kernel

BOUND = Kernel.bound
C_ALIGNED_WRITEABLE = 0x1 | 0x100 | 0x400  # of numpy's NPY_ARRAY flags
TYPES = {}
"""What numba makes of arguments that look alike; found once, as it takes a millisecond."""


def looks(arg):
    """What numba makes a type of, found in a hundredth of the time `numba.typeof` takes."""
    if type(arg) is np.ndarray:
        return arg.dtype, arg.ndim, arg.flags.num & C_ALIGNED_WRITEABLE
    if isinstance(arg, tuple):
        return type(arg), *map(looks, arg)
    return type(arg)


def watched(kernel, *args):
    """What `Kernel.bound` gives, but it asserts that the arguments have the types of `args`."""
    found = BOUND(kernel, *args)
    if found is kernel.plain or Kernel.ahead is not None:  # interpreted, where types do not matter
        return found
    import numba  # noqa: PLC0415 - not before its cache is chosen

    seen = looks(args)
    expected = TYPES[seen] = TYPES.get(seen) or [numba.typeof(arg) for arg in args]

    def called(*given):
        if looks(given) != seen:
            types = [numba.typeof(arg) for arg in given]
            assert types == expected, f"{kernel.__name__} was bound to other types"
        return found(*given)

    return called
