"""The one decision about compilation: which functions numba compiles, how, and when.

A `Kernel` compiles on its first call, so reading operators for `validate` or `--help` never
loads numba.  A kernel that calls another kernel finds the compiled one through `_numba_type_`.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

NO_CACHE: set[str] = set()
"""Names of kernels that compile at each start because the cache directory is not usable."""

HOMES: Final = (
    "pipelines",
    "daemon/decode",
    "daemon/transport/frames.py",
    "daemon/bulk.py",
    "daemon/topics.py",
    "daemon/durable/duplicates.py",
    "daemon/messages.py",
)
"""Folders and files beside each other in which kernels stand, and what they call."""


class Kernel:
    """A hot-path function that numba compiles when it is first needed."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.plain = fn
        self.__name__ = fn.__name__
        self.__doc__ = fn.__doc__
        self.__module__ = fn.__module__
        self._compiled: Callable[..., Any] | None = None
        self._only: Callable[..., Any] | None = None

    @property
    def compiled(self) -> Callable[..., Any]:
        """The numba dispatcher. Fast-math stays off: NaN means "not known" here."""
        if self._compiled is None:
            import numba  # noqa: PLC0415 - 0.3 s and 60 MB that `validate` must not pay

            # Arrays belong to the caller, so nothing counts references: two atomic operations for
            # each array passed to a helper, and the compiler refuses a kernel that allocates.
            options: dict[str, Any] = {"nogil": True, "fastmath": False, "_nrt": False}
            options["error_model"] = "numpy"
            try:
                self._compiled = numba.njit(cache=True, **options)(self.plain)
            except RuntimeError:  # numba: "cannot cache function: no locator available"
                NO_CACHE.add(f"{self.__module__}.{self.__name__}")
                self._compiled = numba.njit(**options)(self.plain)
        return self._compiled

    @property
    def _numba_type_(self) -> Any:
        import numba  # noqa: PLC0415

        return numba.typeof(self.compiled)  # type: ignore[no-untyped-call]

    def __call__(self, *args: Any) -> Any:
        """Run the compiled function."""
        return (self._compiled or self.compiled)(*args)

    def bound(self, *args: Any) -> Callable[..., Any]:
        """What to call with arguments of these very types and layouts, and with no others.

        It does not look at their types again, which costs 4 to 8 µs a call for our named tuples.
        """
        import numba  # noqa: PLC0415

        types = tuple(numba.typeof(arg) for arg in args)  # type: ignore[no-untyped-call]
        found: Callable[..., Any] = self.compiled.compile(types)  # type: ignore[attr-defined]
        return found

    def only(self, *args: Any) -> Callable[..., Any]:
        """The same for a kernel that never gets others, from whoever: they are looked at once."""
        if self._only is None:
            self._only = self.bound(*args)
        return self._only


def kernel(fn: Callable[..., Any]) -> Kernel:
    """Mark a function as a kernel: flat loops over arrays, no allocation, no exception."""
    return Kernel(fn)


def use_cache(directory: Path) -> Path:
    """Keep compiled kernels under `directory`; call before the first kernel runs.

    The folder's name holds a hash of every source file, because numba looks only at the file
    of the outermost function and would go on using a stale helper from another file.
    """
    digest = hashlib.blake2b(digest_size=8)
    root = Path(__file__).parent.parent
    homes = [root / home for home in HOMES]
    files = [path for home in homes for path in (home.rglob("*.py") if home.is_dir() else [home])]
    for path in sorted(files):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    chosen = directory / f"kernels-{digest.hexdigest()}"
    os.environ.setdefault("NUMBA_CACHE_DIR", str(chosen))
    if "numba" in sys.modules:  # it has looked there already
        sys.modules["numba"].config.reload_config()
    return chosen
