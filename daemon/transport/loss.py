"""Loss: why a connection ended, and what that says of what we have sent."""

from dataclasses import dataclass
from typing import Final

TAKEN_OVER: Final = 0x8E
UNSPECIFIED: Final = 0x80
SILENT: Final = -1
UNANSWERED: Final = (UNSPECIFIED, SILENT)
_BLAMING: Final = {0x81, 0x82, 0x90, 0x95, 0x99, 0x9A, 0x9B, UNSPECIFIED}
"""Reasons for a DISCONNECT that something we sent may have caused."""


@dataclass(slots=True)
class Loss:
    """Why a connection ended."""

    code: int = UNSPECIFIED
    text: str = "closed by the broker"

    @property
    def blames_us(self) -> bool:
        """True when something we sent may have made the broker hang up."""
        return self.code in _BLAMING
