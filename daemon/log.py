"""Log: constant sentences with facts beside them, for people or for machines, never too many.

`log.warning("Sentence", extra={"facts": {"reason": ..., ...}})`.  A warning or error is said at
once the first time, then once in `QUIET_S` per (sentence, reason) with the number left out.
With `"answer": True` beside the facts it answers somebody's command and is always said.
"""

import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import orjson

QUIET_S: Final = 10.0
KEYS_MAX: Final = 512
TEXT_MAX: Final = 200
"""Bytes of one fact: payloads and topics come from strangers."""
_SECRET: Final = ("password", "secret", "token", "credential")
_MARK: Final = "_sensorweir_log"


class RateLimit(logging.Filter):
    """Lets a repeated warning or error through once in `QUIET_S`, by the records' own times."""

    def __init__(self) -> None:
        super().__init__()
        self.suppressed = 0
        """Lines left out so far."""
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True to say it now; the record then carries how often it was left out before."""
        if record.levelno < logging.WARNING or getattr(record, "answer", False):
            return True
        key = (str(record.msg), str(_facts(record).get("reason", "")))
        with self._lock:
            last, left_out = self._said.get(key, (-QUIET_S, 0))
            if 0 <= record.created - last < QUIET_S:
                self._said[key] = (last, left_out + 1)
                self.suppressed += 1
                return False
            if len(self._said) >= KEYS_MAX:
                self._said.clear()
            self._said[key] = (record.created, 0)
        record.left_out = left_out
        return True


class ConsoleFormat(logging.Formatter):
    """`05:07:01.123 warning Sentence  key=value key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback under it for a fault of ours."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z {record.levelname.lower():7} "
        line += clean(record.getMessage())
        facts = _clean_facts(record)
        if facts:
            line += "  " + " ".join(f"{k}={_flat(v)}" for k, v in facts.items())
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormat(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, sentence, where it was said, facts."""
        moment = datetime.fromtimestamp(record.created, UTC)
        body: dict[str, Any] = {
            "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": clean(record.getMessage()),
            "logger": record.name,
            **_clean_facts(record),
        }
        if record.exc_info:
            body["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(body, default=str).decode()


def configure(
    style: Literal["auto", "console", "json"], level: str, stream: TextIO | None = None
) -> RateLimit:
    """Say everything on `stream` (stderr), in place of what an earlier call set up."""
    stream = stream or sys.stderr
    limit = RateLimit()
    handler = logging.StreamHandler(stream)
    console = style == "console" or (style == "auto" and stream.isatty())
    handler.setFormatter(ConsoleFormat() if console else JsonFormat())
    handler.addFilter(limit)
    setattr(handler, _MARK, True)
    root = logging.getLogger()
    for old in [h for h in root.handlers if getattr(h, _MARK, False)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    return limit


def clean(text: str) -> str:
    """Text in printable ASCII, everything else spelled out: no letter turns the line around."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c
        if c.isascii() and c.isprintable()
        else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )


def excerpt(value: str | bytes) -> str:
    """At most `TEXT_MAX` bytes of something foreign, printable."""
    raw = value.encode("utf-8", "backslashreplace") if isinstance(value, str) else value
    text = clean(raw[:TEXT_MAX].decode("utf-8", "backslashreplace"))
    return text if len(raw) <= TEXT_MAX else text + "..."


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts = getattr(record, "facts", None)
    return facts if isinstance(facts, dict) else {}


def _clean_facts(record: logging.LogRecord) -> dict[str, Any]:
    facts = {str(k): _clean_value(str(k), v) for k, v in _facts(record).items()}
    left_out = getattr(record, "left_out", 0)
    return facts | {"suppressed": left_out} if left_out else facts


def _clean_value(name: str, value: Any) -> Any:
    if any(word in name.lower() for word in _SECRET):
        return "***"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(k): _clean_value(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_clean_value("", v) for v in value]
    return excerpt(value if isinstance(value, bytes) else str(value))


def _flat(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return f'"{text}"' if " " in text and isinstance(value, str) else text
