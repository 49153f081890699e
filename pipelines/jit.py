"""The one decision about compilation: which functions numba compiles, how, and when.

A `Kernel` compiles on its first call, so reading operators for `validate` or `--help` never
loads numba.  A kernel that calls another kernel finds the compiled one through `_numba_type_`.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, Final, NamedTuple

from pipelines.ahead.entry import copied, packed
from pipelines.ahead.image import ImageError
from pipelines.ahead.signature import Signature, signature
from pipelines.ahead.store import Store, machine

log = logging.getLogger(__name__)

NO_CACHE: set[str] = set()
"""Names of kernels that compile at each start because the cache directory is not usable."""

BY_NUMBA: set[str] = set()
"""Names of kernels that are not there ahead of time, so that numba had to be loaded for them."""

OURS: Final = ("pipelines", "daemon")

HOMES: Final = (
    "pipelines",
    "daemon/decode",
    "daemon/transport/frames.py",
    "daemon/transport/gather.py",
    "daemon/bulk.py",
    "daemon/octets.py",
    "daemon/topics.py",
    "daemon/durable/duplicates.py",
    "daemon/messages.py",
)
"""Folders and files beside each other in which kernels stand, and what they call."""

_MODULES: Final[set[str]] = set()
"""Where kernels are."""


@cache
def _count_from_zero() -> None:
    """Let numba take the indexes of kernels as they are.

    Else it looks at each access whether an index counts from the end, which none does: half of
    the time of a light kernel. With NUMBA_BOUNDSCHECK=1 one that did would be out of bounds.
    """
    from numba import types  # noqa: PLC0415
    from numba.np import arrayobj  # noqa: PLC0415

    usual: Any = arrayobj.fix_integer_index

    def index(context: Any, builder: Any, kind: Any, number: Any, size: Any) -> Any:
        described = getattr(context, "fndesc", None)
        if kind.signed and described is not None and described.modname in _MODULES:
            return context.cast(builder, number, kind, types.intp)
        return usual(context, builder, kind, number, size)

    arrayobj.fix_integer_index = index


class Heard(NamedTuple):
    """A call of a kernel, with a copy of its arguments from before it."""

    kernel: "Kernel"
    of: Signature
    args: tuple[Any, ...]


class Kernel:
    """A hot-path function that numba compiles when it is first needed."""

    ahead: ClassVar[Store | None] = None
    """Where kernels are that need no numba."""
    heard: ClassVar[list[Heard] | None] = None
    """Where calls are noted, while somebody wants to know them."""
    OPTIONS: ClassVar[dict[str, Any]] = {}

    def __init__(self, fn: Callable[..., Any]) -> None:
        _MODULES.add(fn.__module__)
        self.plain = fn
        self.__name__ = fn.__name__
        self.__doc__ = fn.__doc__
        self.__module__ = fn.__module__
        self._compiled: Callable[..., Any] | None = None
        self._only: Callable[..., Any] | None = None
        self._known: dict[Signature, Callable[..., Any]] = {}
        self._bound: dict[Signature, Callable[..., Any]] = {}
        """Asking numba again would cost each new step 5 ms."""

    @property
    def name(self) -> str:
        """Of all kernels there are."""
        return f"{self.__module__}.{self.__name__}"

    @property
    def compiled(self) -> Callable[..., Any]:
        """The numba dispatcher. Fast-math stays off: NaN means "not known" here."""
        if self._compiled is None:
            import numba  # noqa: PLC0415 - 0.3 s and 60 MB that `validate` must not pay

            _count_from_zero()

            # Arrays belong to the caller, so nothing counts references: two atomic operations for
            # each array passed to a helper, and the compiler refuses a kernel that allocates.
            options: dict[str, Any] = {"nogil": True, "fastmath": False, "_nrt": False}
            options |= {"error_model": "numpy", **self.OPTIONS}
            try:
                self._compiled = numba.njit(cache=True, **options)(self.plain)
            except RuntimeError:  # numba: "cannot cache function: no locator available"
                NO_CACHE.add(self.name)
                self._compiled = numba.njit(**options)(self.plain)
        return self._compiled

    @property
    def _numba_type_(self) -> Any:
        import numba  # noqa: PLC0415

        return numba.typeof(self.compiled)  # type: ignore[no-untyped-call]

    def __call__(self, *args: Any) -> Any:
        """Run the compiled function."""
        if Kernel.ahead is None:
            return (self._compiled or self.compiled)(*args)
        of = signature(args)
        return (self._known.get(of) or self._found(of, args))(*args)

    def _found(self, of: Signature, args: tuple[Any, ...]) -> Callable[..., Any]:
        """Compiled ahead of time, or else by numba."""
        if Kernel.heard is not None:
            Kernel.heard.append(Heard(self, of, copied(args)))
            return self.compiled
        store = Kernel.ahead
        found = store.get(self.name, of) if store is not None else None
        if found is None and store is not None:
            BY_NUMBA.add(self.name)
            why = store.refused.get(self.name, "")
            facts = {"kernel": self.name, "arguments": repr(of), "refused": why}
            log.info(
                "A kernel is not there ahead of time, numba is loaded for it",
                extra={"facts": facts},
            )
        self._known[of] = found or self.compiled
        return self._known[of]

    def bound(self, *args: Any) -> Callable[..., Any]:
        """What to call with arguments of these very types and layouts, and with no others.

        It does not look at their types again, which costs 4 to 8 µs a call for our named tuples.
        """
        of = signature(args)
        if Kernel.ahead is not None:
            ahead = self._known.get(of) or self._found(of, args)
            if ahead is not self._compiled:
                return ahead
        found = self._bound.get(of)
        if found is None:
            import numba  # noqa: PLC0415

            types = tuple(numba.typeof(arg) for arg in args)  # type: ignore[no-untyped-call]
            found = self._bound[of] = self.compiled.compile(types)  # type: ignore[attr-defined]
        return found

    def only(self, *args: Any) -> Callable[..., Any]:
        """The same for a kernel that never gets others, from whoever: they are looked at once."""
        if self._only is None or Kernel.heard is not None:
            self._only = self.bound(*args)
        return self._only

    def entry(self, args: tuple[Any, ...]) -> bytes:
        """Compile it for calls with such arguments, as the store keeps it. Raises ImageError.

        numba keeps an eye on the sources of other packages, the store on ours alone.
        """
        import numba  # noqa: PLC0415

        if self.__module__.partition(".")[0] not in OURS:
            raise ImageError(f"{self.__module__} is not part of sensorweir")
        types = tuple(numba.typeof(arg) for arg in args)  # type: ignore[no-untyped-call]
        self.compiled.compile(types)  # type: ignore[attr-defined]
        made = self.compiled.overloads[types]  # type: ignore[attr-defined]
        return packed(self.name, made, _object_code(self.compiled, types, made), args)


def _object_code(dispatcher: Any, types: Any, made: Any) -> bytes:
    """What numba compiled. What it loaded it gives away; that is still in its cache."""
    code: bytes | None = made.library._compiled_object  # noqa: SLF001
    if code is None:
        cache = dispatcher._cache  # noqa: SLF001
        kept = cache._cache_file.load(cache._index_key(types, made.codegen))  # noqa: SLF001
        if kept is None:
            raise ImageError("numba has not kept its object code")
        [library, *_] = kept
        _, _, [code, _] = library
    return code


def kernel(fn: Callable[..., Any]) -> Kernel:
    """Mark a function as a kernel: flat loops over arrays, no allocation, no exception."""
    return Kernel(fn)


class Settled(Kernel):
    """A kernel that is always called with arguments of the same types and layouts.

    They are looked at in its first call; each look costs as much as a call of it.
    """

    def __call__(self, *args: Any) -> Any:
        """Run the compiled function."""
        known = self._only
        if known is None or Kernel.heard is not None:
            known = self.only(*args)
        return known(*args)


def settled(fn: Callable[..., Any]) -> Settled:
    """Mark a function as a kernel whose callers all pass arguments of the same types."""
    return Settled(fn)


class Inlined(Kernel):
    """A kernel that becomes part of those that call it, before anything is compiled.

    A call with our named tuples hands over some three hundred numbers, which takes long to compile.
    """

    OPTIONS: ClassVar = {"inline": "always"}

    @property
    def targetoptions(self) -> Any:
        """Where numba looks whether to inline."""
        return self.compiled.targetoptions  # type: ignore[attr-defined]

    @property
    def py_func(self) -> Callable[..., Any]:
        """What it inlines."""
        return self.plain


def inlined(fn: Callable[..., Any]) -> Inlined:
    """Mark a function as a part of kernels, with a loop of its own."""
    return Inlined(fn)


def adapted(template: Callable[..., Any], near: Kernel, **names: Kernel) -> Kernel:
    """A kernel with the code of `template`, in which these names mean these kernels.

    They become part of it. Its compiled form is cached with that of `near`, as if it stood there.
    """
    inside = {name: Inlined(fn.plain) for name, fn in names.items()}
    called = f"{near.plain.__name__}{template.__name__}"
    at = near.plain.__code__
    code = template.__code__.replace(
        co_filename=at.co_filename, co_firstlineno=at.co_firstlineno, co_name=called
    )
    made = FunctionType(code, {**template.__globals__, **inside}, called)
    made.__module__, made.__qualname__ = near.__module__, called
    return Kernel(made)


def ahead_of(folder: Path) -> Store:
    """Kernels of this machine, in the folder of `use_cache`."""
    return Store(folder / f"ahead-{machine()}")


def use_ahead(folder: Path) -> Store:
    """Look for kernels in the folder of `use_cache` first, and load numba for the others."""
    Kernel.ahead = ahead_of(folder)
    return Kernel.ahead


def make_ahead(store: Store, step: str, call: Callable[[], object]) -> None:
    """Compile every kernel that `call` calls, and keep it in the store. Raises OSError."""
    Kernel.ahead, Kernel.heard = store, []
    try:
        call()
        heard = Kernel.heard
    finally:
        Kernel.ahead = Kernel.heard = None
    for kernel_, of, args in {(h.kernel.name, h.of): h for h in heard}.values():
        try:
            data = kernel_.entry(args)
        except ImageError as error:
            store.refused[kernel_.name] = str(error)
        else:
            store.put(kernel_.name, of, data)
    store.note(step)


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
