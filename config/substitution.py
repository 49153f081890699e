"""`${VAR}`, `${VAR:-default}`, `${file:/path}` and `${cred:name}` inside one text."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_FILE_BYTES_MAX: Final = 65_536
_FOUND: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Undefined(Exception):  # noqa: N818 - says what is wrong with the text, not with us
    """A `${...}` that has no value; `written` is how it stands in the text."""

    def __init__(self, written: str, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.written, self.what, self.hint = written, what, hint


def substituted(text: str, env: Mapping[str, str], folder: Path) -> tuple[str, bool]:
    """The text with its `${...}` filled in, and whether it was nothing but one of them.

    `$${` stands for a literal `${`.  Raises Undefined.
    """

    def fill(match: re.Match[str]) -> str:
        return "${" if match[0] == "$${" else _filled(match, env, folder)

    only = _FOUND.fullmatch(text)
    return _FOUND.sub(fill, text), only is not None and only[0] != "$${"


def _filled(match: re.Match[str], env: Mapping[str, str], folder: Path) -> str:
    written, inner = match[0], match[1]
    if not match[2]:
        raise Undefined("${", "a ${ without its }", "a literal ${ is written $${")
    if inner.startswith("file:"):
        return _content(folder / inner.removeprefix("file:"), written)
    if inner.startswith("cred:"):
        if "CREDENTIALS_DIRECTORY" not in env:
            raise Undefined(written, "no credentials: CREDENTIALS_DIRECTORY is not set")
        return _content(Path(env["CREDENTIALS_DIRECTORY"]) / inner.removeprefix("cred:"), written)
    name, colon, default = inner.partition(":-")
    if not _NAME.fullmatch(name):
        raise Undefined(
            written,
            f"not a variable name: {name!r}",
            "known forms: ${VAR}, ${VAR:-default}, ${file:/path}, ${cred:name}",
        )
    value = env.get(name)
    if value:
        return value
    if colon:
        return default
    if value is None:
        hint = f"set it, or give a default: ${{{name}:-...}}"
        raise Undefined(written, f"the variable {name} is not set", hint)
    return value


def _content(path: Path, written: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
        text = raw.decode()
    except UnicodeDecodeError:
        raise Undefined(written, f"{path} is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Undefined(written, f"cannot read {path}: {why}") from None
    if len(raw) > _FILE_BYTES_MAX:
        raise Undefined(written, f"{path} is larger than {_FILE_BYTES_MAX} bytes")
    return text.removesuffix("\n").removesuffix("\r")
