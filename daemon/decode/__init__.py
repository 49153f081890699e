"""Payloads to readings: one file per format, found here by scanning the folder."""

import importlib
import pkgutil
from types import MappingProxyType
from typing import Final

from daemon.decode.contract import Decoder

_NOT_FORMATS: Final = {"bulk", "contract", "hops", "reader", "route", "tally", "times"}

DECODERS: Final = MappingProxyType(
    {
        decoder.name: decoder
        for decoder in (
            importlib.import_module(f"{__name__}.{module.name}").DECODER
            for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name)
            if module.name not in _NOT_FORMATS
        )
    }
)
"""Name as written under `decode:` → the decoder. Each other file of this folder declares one."""

__all__ = ["DECODERS", "Decoder"]
