"""Loss: why a connection ended, and what that says of what we have sent."""

import logging
from dataclasses import dataclass
from typing import Final, Self

log = logging.getLogger(__name__)

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

    @classmethod
    def by_fault(cls, error: Exception, connection: str) -> Self:
        """One that a fault of ours, or foreign bytes, have caused; it is logged."""
        log.error(
            "A fault ended the connection",
            exc_info=error,
            extra={"facts": {"connection": connection}},
        )
        return cls(0, f"{type(error).__name__}: {error}")

    def report(self, connection: str) -> None:
        """Say that it will be tried again."""
        sentence = "No connection to the broker, trying again"
        level = logging.WARNING
        if self.code == TAKEN_OVER:
            sentence = "Another client uses our client id, waiting before the next attempt"
            level = logging.ERROR
        facts = {"connection": connection, "reason": self.text}
        log.log(level, sentence, extra={"facts": facts})
