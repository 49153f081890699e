"""Image: object code that a compiler left behind, brought to where it can run; needs no compiler.

What numba makes of a kernel is an ELF object for x86-64 in the large code model: whatever it
refers to, it names by its full address.  So bringing it to life is to copy its sections into
memory and to write some hundred addresses into them.  Memory that runs cannot be written.

Everything that is not of this kind is refused: there are other ways to get at the kernel.
"""

import ctypes
import mmap
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

Resolve = Callable[[str], int]
"""Address of what an object refers to. Raises ImageError when there is no such thing."""

_MAGIC: Final = b"\x7fELF\x02\x01\x01"
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_RELOCATABLE, _X86_64 = 1, 62
_PROGBITS, _SYMTAB, _RELA, _NOBITS = 1, 2, 4, 8
_WRITE, _ALLOC = 1, 2
_UNDEFINED, _ABSOLUTE, _COMMON = 0, 0xFFF1, 0xFFF2
_R64, _PC32, _PLT32, _PC64 = 1, 2, 4, 24


class _Section(NamedTuple):
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


_SECTION: Final = "<IIQQQQIIQQ"
_SECTION_BYTES: Final = struct.calcsize(_SECTION)


class _Symbol(NamedTuple):
    name: str
    section: int
    value: int
    size: int


class ImageError(Exception):
    """Object code that cannot be loaded here; the text says why."""


class Image:
    """An object in memory, ready to run. It stays as long as `memory` does."""

    def __init__(self, data: bytes, resolve: Resolve) -> None:
        """Raises ImageError."""
        self._object = _Object(data)
        if self._object.machine != _X86_64:
            raise ImageError(f"object code for machine {self._object.machine}")
        fixed = self._object.lay_out(0, writable=False)
        whole = self._object.lay_out(_aligned(fixed, mmap.PAGESIZE), writable=True)
        into = mmap.mmap(-1, max(whole, 1))
        self.memory = (ctypes.c_char * max(whole, 1)).from_buffer(into)
        self._base = ctypes.addressof(self.memory)
        self._object.copy(into)
        self._object.relocate(into, self._base, resolve)
        if fixed:
            _let_run(self._base, fixed)

    def address(self, symbol: str) -> int:
        """Where a symbol is. Raises ImageError when there is none of that name."""
        found = self._object.places.get(symbol)
        if found is None:
            raise ImageError(f"no symbol {symbol[:80]}")
        return self._base + found


def undefined(data: bytes) -> list[str]:
    """Names of what an object refers to. Raises ImageError."""
    symbols = _Object(data).symbols
    return [symbol.name for symbol in symbols if symbol.name and symbol.section == _UNDEFINED]


class _Object:
    """One ELF object: its sections, where they go, and what has to be written into them."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size or not data.startswith(_MAGIC):
            raise ImageError("no ELF object of 64 bits, little endian")
        _, kind, machine, _, _, _, table, *_, count, _ = _HEADER.unpack_from(data)
        if kind != _RELOCATABLE:
            raise ImageError(f"an ELF file of type {kind}")
        self.machine = machine
        self._data = data
        rows = struct.iter_unpack(_SECTION, data[table : table + count * _SECTION_BYTES])
        self._sections = [_Section(*row) for row in rows]
        [symbols] = [s for s in self._sections if s.type == _SYMTAB]
        names = self._bytes(self._sections[symbols.link])
        self.symbols = [
            _Symbol(names[name : names.index(b"\0", name)].decode(), section, value, size)
            for name, _, _, section, value, size in struct.iter_unpack(
                "<IBBHQQ", self._bytes(symbols)
            )
        ]
        self._at: dict[int, int] = {}
        """Offsets of sections in the image."""
        self.places: dict[str, int] = {}
        """Offsets of what it defines."""

    def _bytes(self, section: _Section) -> bytes:
        return self._data[section.offset : section.offset + section.size]

    def lay_out(self, at: int, *, writable: bool) -> int:
        """Give places to sections from offset `at` on; where the last one ends."""
        for index, section in enumerate(self._sections):
            if section.type not in (_PROGBITS, _NOBITS) or not section.flags & _ALLOC:
                continue
            if bool(section.flags & _WRITE) == writable:
                at = _aligned(at, max(section.align, 16))
                self._at[index] = at
                at += section.size
        for symbol in self.symbols:
            if symbol.section == _COMMON and writable:
                at = _aligned(at, max(symbol.value, 8))
                self.places[symbol.name] = at
                at += symbol.size
        return at

    def copy(self, into: mmap.mmap) -> None:
        """Put the sections where they go."""
        for index, at in self._at.items():
            section = self._sections[index]
            if section.type == _PROGBITS:
                into[at : at + section.size] = self._bytes(section)
        for symbol in self.symbols:
            if symbol.name and symbol.section in self._at:
                self.places[symbol.name] = self._at[symbol.section] + symbol.value

    def relocate(self, into: mmap.mmap, base: int, resolve: Resolve) -> None:
        """Write the addresses."""
        addresses: dict[int, int] = {}
        for section in self._sections:
            if section.type != _RELA or section.info not in self._at:
                continue
            start = self._at[section.info]
            for offset, kind, index, addend in struct.iter_unpack("<QIIq", self._bytes(section)):
                if index not in addresses:
                    addresses[index] = self._address(self.symbols[index], base, resolve)
                _write(into, start + offset, kind, addresses[index] + addend, base)

    def _address(self, symbol: _Symbol, base: int, resolve: Resolve) -> int:
        if symbol.section == _UNDEFINED:
            return resolve(symbol.name)
        if symbol.section == _ABSOLUTE:
            return symbol.value
        if symbol.section == _COMMON:
            return base + self.places[symbol.name]
        if symbol.section not in self._at:
            raise ImageError(f"it refers to section {symbol.section}, which is not loaded")
        return base + self._at[symbol.section] + symbol.value


def _aligned(at: int, to: int) -> int:
    return -(-at // to) * to


def _write(into: mmap.mmap, at: int, kind: int, value: int, base: int) -> None:
    near = value - (base + at)
    if kind == _R64:
        struct.pack_into("<Q", into, at, value)
    elif kind == _PC64:
        struct.pack_into("<q", into, at, near)
    elif kind in (_PC32, _PLT32) and -(2**31) <= near < 2**31:
        struct.pack_into("<i", into, at, near)
    else:
        raise ImageError(f"a relocation of type {kind}, {near} bytes away")


def _let_run(base: int, size: int) -> None:
    """What lies there can be run from now on, and not be written any more."""
    libc = ctypes.CDLL(None, use_errno=True)
    protect = libc.mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if protect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise ImageError(f"memory cannot be made executable: errno {ctypes.get_errno()}")
