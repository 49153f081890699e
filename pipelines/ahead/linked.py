"""Linked: object code brought to life by LLVM's own loader, on machines that `image.py` knows not.

It costs 50 MB of memory, a third of what numba does.
"""

from typing import Any

from pipelines.ahead.image import ImageError, Resolve, undefined


class Linked:
    """An object in memory, ready to run. It stays as long as `memory` does."""

    def __init__(self, data: bytes, resolve: Resolve) -> None:
        """Raises ImageError."""
        import llvmlite.binding as llvm  # noqa: PLC0415 - where it is needed

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        for name in undefined(data):
            llvm.add_symbol(name, resolve(name))
        target = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault")
        self.memory: Any = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
        try:
            self.memory.add_object_file(llvm.ObjectFileRef.from_data(data))
        except RuntimeError as error:
            raise ImageError(str(error)) from None
        self.memory.finalize_object()

    def address(self, symbol: str) -> int:
        """Where a symbol is. Raises ImageError when there is none of that name."""
        found = self.memory.get_global_value_address(symbol)
        if not found:
            raise ImageError(f"no symbol {symbol[:80]}")
        return int(found)
