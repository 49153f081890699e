"""Store: the folder with kernels that were compiled ahead of time, for this very machine."""

import contextlib
import hashlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from pipelines.ahead.entry import Compiled, unpacked
from pipelines.ahead.image import ImageError
from pipelines.ahead.signature import Signature

_MODEL: Final = (
    "/sys/devices/system/cpu/modalias",
    "/sys/devices/system/cpu/cpu0/regs/identification/midr_el1",
)
"""Files in which the kernel tells the model of the processor, and on x86 all that it can do."""
_LASTING: Final = (b"vendor_id", b"cpu family", b"model", b"flags", b"CPU ", b"Features")


class Store:
    """Kernels by name and signature. What cannot be used is as if it were not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refused: dict[str, str] = {}
        """Why kernels that are there are not used."""

    def get(self, name: str, of: Signature) -> Compiled | None:
        """A kernel that has shown that it works here; None when there is none."""
        path = self._path(name, of)
        try:
            return unpacked(name, of, path.read_bytes())
        except FileNotFoundError:
            return None
        except (ImageError, OSError) as error:
            self.refused[name] = str(error)
            return None

    def put(self, name: str, of: Signature, data: bytes) -> None:
        """Keep an entry. Raises OSError."""
        self._write(self._path(name, of), data)

    def note(self, step: str) -> None:
        """From here on all that a step of the warm-up calls is compiled. Raises OSError."""
        self._write(self.folder / f"{step}.done", b"")

    def has(self, step: str) -> bool:
        """Whether all is compiled that a step of the warm-up calls."""
        return (self.folder / f"{step}.done").exists()

    def _path(self, name: str, of: Signature) -> Path:
        digest = hashlib.blake2b(repr(of).encode(), digest_size=8)
        return self.folder / f"{name}-{digest.hexdigest()}.kernel"

    def _write(self, path: Path, data: bytes) -> None:
        """Whole or not at all, also when others write the same."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            part.write_bytes(data)
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


def machine() -> str:
    """A digest of what compiled kernels depend on besides their sources."""
    digest = hashlib.blake2b(digest_size=8)
    for text in (sys.version, np.__version__, *sorted(_overrides())):
        digest.update(text.encode() + b"\0")
    for package in ("numba", "llvmlite"):
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            digest.update((Path(spec.origin).parent / "_version.py").read_bytes())
    digest.update(_processor())
    return digest.hexdigest()


def _processor() -> bytes:
    """What the kernel tells of the processor; the clock of it, which changes, left out."""
    found = []
    for name in _MODEL:
        with contextlib.suppress(OSError):
            found.append(Path(name).read_bytes())
    if not found:
        with contextlib.suppress(OSError):
            lines = Path("/proc/cpuinfo").read_bytes().splitlines()
            found = [line for line in lines if line.startswith(_LASTING)]
    return b"\n".join(found)


def _overrides() -> list[str]:
    """What tells numba to compile for another processor, or otherwise."""
    return [
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith("NUMBA_") and name != "NUMBA_CACHE_DIR"
    ]
