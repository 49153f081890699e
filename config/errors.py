"""What is wrong with a configuration: every problem at once, each with its place."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

EX_CONFIG: Final = 78
"""Exit status for a configuration that cannot be used (EX_CONFIG of sysexits.h)."""

_SHOWN_MAX: Final = 120
_TEXT_MAX: Final = 300
_LISTED_MAX: Final = 500
_SECRET: Final = re.compile(
    r"""(?ix) ( [\w-]* (?: pas+w | pwd | secret | token | credential ) [\w-]* ["']? \s*+ : \s*+ )
        (?! \$\{ (?:file|cred): ) \S .*"""
)
_LOGIN: Final = re.compile(r"(?<=://)[^\s/@]*@")
"""What stands before the host of an address: a name and a password."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct; `line` and `column` count from 1, line 0 means the file as a whole."""

    file: str
    line: int
    column: int
    what: str
    hint: str = ""
    excerpt: str = ""
    length: int = 1
    """How many characters of the line the caret underlines."""
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = [f"{place}: {self.level}: {printable(self.what)}"]
        if self.hint:
            text.append(f"  hint: {printable(self.hint)}")
        if self.line and self.excerpt:
            text += self._marked()
        return "\n".join(text)

    def _marked(self) -> list[str]:
        line, column = _cropped(self.excerpt, self.column - 1)
        length = max(1, min(self.length, len(line) - column))
        margin = f"{self.line:5d} | "
        caret = " " * (len(margin) - 2) + "| " + " " * column + "^" * length
        return [margin + line, caret]

    def as_dict(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "length": self.length,
            "level": self.level,
            "what": printable(self.what),
            "hint": printable(self.hint),
            "excerpt": masked(self.excerpt)[:_TEXT_MAX],
        }

    @property
    def _order(self) -> tuple[str, int, int, str]:
        return (self.file, self.line, self.column, self.what)


def sort_problems(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By file, line and column, each once."""
    return tuple(sorted(set(problems), key=lambda p: p._order))  # noqa: SLF001 - same module


class ConfigError(Exception):
    """A configuration that cannot be used; its text shows all problems, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sort_problems(problems)
        super().__init__(render(self.problems))


def render(problems: Iterable[Problem]) -> str:
    """Problems as text for people; of very many the first ones and how many more."""
    listed = list(problems)
    text = [str(p) for p in listed[:_LISTED_MAX]]
    if len(listed) > _LISTED_MAX:
        text.append(f"... and {len(listed) - _LISTED_MAX} more")
    return "\n".join(text)


def printable(text: str) -> str:
    """Foreign text in one line that moves no cursor, tells no login, and is not endless."""
    line = _LOGIN.sub("***@", text) if "@" in text else text
    if not line.isprintable():
        escaped = [c if c.isprintable() else c.encode("unicode_escape").decode() for c in line]
        line = "".join(escaped)
    return line if len(line) <= _TEXT_MAX else line[:_TEXT_MAX] + "…"


def masked(line: str) -> str:
    """A source line without what stands behind a key such as `password`, or before an @ host."""
    return _SECRET.sub(r"\1***", _LOGIN.sub("***@", line))


def _cropped(excerpt: str, column: int) -> tuple[str, int]:
    """At most `_SHOWN_MAX` characters around `column`, and where that column went."""
    line = "".join(c if c.isprintable() else " " for c in masked(excerpt))
    column = min(len(masked(excerpt[:column])), len(line))
    start = max(0, column - _SHOWN_MAX // 2) if len(line) > _SHOWN_MAX else 0
    shown = line[start : start + _SHOWN_MAX].rstrip()
    before = "…" if start else ""
    after = "…" if start + _SHOWN_MAX < len(line) else ""
    return before + shown + after, min(column - start + len(before), len(shown) + len(before))
