"""Payloads to readings: one file per format, found here by scanning the folder."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Final, TypeVar

from config.params import Options
from daemon.decode.contract import Decoder

_NOT_FORMATS: Final = {"bulk", "contract", "hops", "reader", "route", "tally", "times"}

T = TypeVar("T")


class _ByFormat(Mapping[str, T]):
    """Something of each decoder, whose file is imported when it is first asked for."""

    def __init__(self, of: Callable[[Decoder], T]) -> None:
        self._of = of

    def __getitem__(self, name: str) -> T:
        if name not in _files():
            raise KeyError(name)
        decoder = importlib.import_module(f"{__name__}.{name}").DECODER
        assert isinstance(decoder, Decoder)
        assert decoder.name == name, f"{name}.py declares a decoder called {decoder.name!r}"
        return self._of(decoder)

    def __iter__(self) -> Iterator[str]:
        return iter(_files())

    def __len__(self) -> int:
        return len(_files())


@cache
def _files() -> tuple[str, ...]:
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name not in _NOT_FORMATS))


DECODERS: Final[Mapping[str, Decoder]] = _ByFormat(lambda decoder: decoder)
"""Name as written under `decode:` → the decoder. Each other file of this folder declares one."""

OPTIONS: Final[Mapping[str, type[Options]]] = _ByFormat(lambda decoder: decoder.options)
"""What may be written with each."""

__all__ = ["DECODERS", "OPTIONS", "Decoder"]
