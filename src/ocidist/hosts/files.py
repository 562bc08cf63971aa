"""Configuration files as checked values: what is wrong is told with the file and the key."""

from __future__ import annotations

import logging
import os
import stat
import tomllib
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ocidist.errors import HostsFileError, OciError
from ocidist.wire.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MAX_FILE: Final = 1024 * 1024
"""Bytes of a configuration file that are read; larger ones are refused."""

MAX_ENTRIES: Final = 10_000
"""Hosts or files that one directory may hold."""

_log = logging.getLogger("ocidist.hosts")

_T = TypeVar("_T")
_KINDS: Final = {
    str: "a string",
    bool: "true or false",
    list: "an array",
    dict: "a table",
}


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        HostsFileError: It cannot be read, is no regular file, is too large, or is not UTF-8.
    """
    data = b""
    try:
        # Checked first: opening a pipe would wait for whoever writes to it.
        is_file = stat.S_ISREG(path.stat().st_mode)
        if is_file:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not is_file:
        raise HostsFileError(path, "it is not a regular file")
    if len(data) > MAX_FILE:
        raise HostsFileError(path, f"it is larger than {MAX_FILE} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HostsFileError(path, "it is not UTF-8") from None


def read_toml(path: Path) -> Table:
    """Return a TOML file.

    Raises:
        HostsFileError: It cannot be read, or is not TOML.
    """
    text = read_text(path)
    try:
        return Table(path, "", tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        # What is no TOMLDecodeError comes from a value that is too long or too deep for Python.
        told = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        raise HostsFileError(path, f"it is not TOML: {told}") from None


def exists(path: Path) -> bool:
    """Return whether there is something at a path, if only a link that leads nowhere: that is told when it is read.

    Raises:
        HostsFileError: It cannot be found out.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return True


def is_directory(path: Path) -> bool:
    """Return whether a path leads to a directory.

    Raises:
        HostsFileError: It cannot be found out.
    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def listed(path: Path) -> list[Path]:
    """Return what a directory holds, by name.

    Raises:
        HostsFileError: It cannot be read, or holds too much.
    """
    found: list[Path] = []
    try:
        for item in path.iterdir():
            found.append(item)
            if len(found) > MAX_ENTRIES:
                raise HostsFileError(path, f"it holds more than {MAX_ENTRIES} entries")
    except OSError as error:
        raise _unreadable(path, error) from error
    return sorted(found)


def _unreadable(path: Path, error: OSError | ValueError) -> HostsFileError:
    # The others are for names that no file can have: with a NUL, or half a surrogate pair.
    told = error.strerror if isinstance(error, OSError) else "no file can have that name"
    return HostsFileError(path, f"it cannot be read: {told or type(error).__name__}")


class Table:
    """A table of a configuration file.

    Args:
        path: The file.
        key: The table's own key, empty for the file as a whole.
        values: What it holds.
    """

    def __init__(self, path: Path, key: str, values: Mapping[str, Any]) -> None:
        self.path = path
        self.key = key
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> tuple[str, ...]:
        """Return the keys, in the order of the file."""
        return tuple(self._values)

    def expect(self, *known: str) -> None:
        """Tell which keys mean nothing: one that was mistyped might have been meant to forbid something.

        Raises:
            HostsFileError: A key is a known one but for upper and lower case. Other readers take it for that.
        """
        for name in self._values:
            if name in known:
                continue
            if name.lower() in known:
                raise self.wrong(name, f"it is spelled {name.lower()}")
            _log.warning("%s: the key %s is not used", self.path, self._below(name))

    def wrong(self, name: str, reason: str) -> HostsFileError:
        """Return the error for a key of this table."""
        return HostsFileError(self.path, reason, key=self._below(name))

    def _below(self, name: str) -> str:
        # Keys may be URLs, and those may hold secrets.
        name = redact_url(name)
        return f"{self.key}.{name}" if self.key else name

    def get(self, name: str, kind: type[_T]) -> _T | None:
        """Return the value of a key, None where it is missing.

        Raises:
            HostsFileError: It is of another kind.
        """
        value = self._values.get(name)
        if value is None or type(value) is kind:
            return value
        raise self.wrong(name, f"it must be {_KINDS.get(kind, kind.__name__)}, not {_shown(value)}")

    def raw(self, name: str) -> Any:  # noqa: ANN401 -- for the keys that take several kinds
        """Return the value of a key as it is, None where it is missing."""
        return self._values.get(name)

    def flag(self, name: str) -> bool:
        """Return a boolean, False where it is missing."""
        return self.get(name, bool) or False

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an array of strings, empty where it is missing.

        Raises:
            HostsFileError: It is something else.
        """
        values = self.get(name, list) or []
        for value in values:
            if not isinstance(value, str):
                raise self.wrong(name, f"it must hold strings, not {_shown(value)}")
        return tuple(values)

    def table(self, name: str) -> Table | None:
        """Return a table within this one, None where it is missing."""
        values = self.get(name, dict)
        return None if values is None else Table(self.path, self._below(name), values)

    def items(self) -> list[tuple[str, Table]]:
        """Return the tables within this one by their names.

        Raises:
            HostsFileError: It holds something that is no table.
        """
        found = []
        for name in self._values:
            table = self.table(name)
            assert table is not None  # noqa: S101 -- the name is one of its own
            found.append((name, table))
        return found

    def tables(self, name: str) -> list[Table]:
        """Return an array of tables, empty where it is missing.

        Raises:
            HostsFileError: It is something else.
        """
        made = []
        for number, values in enumerate(self.get(name, list) or []):
            key = f"{self._below(name)}[{number}]"
            if not isinstance(values, dict):
                raise HostsFileError(self.path, f"it must be a table, not {_shown(values)}", key=key)
            made.append(Table(self.path, key, values))
        return made

    def made(self, name: str, make: Callable[[], _T]) -> _T:
        """Return what *make* makes of a key's value.

        Raises:
            HostsFileError: *make* refused it.
        """
        try:
            return make()
        except HostsFileError:
            raise
        except OciError as error:
            raise self.wrong(name, error.message) from None


def _shown(value: object) -> str:
    # Never the value itself: it may be a secret in the wrong place.
    return {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "an array"}.get(
        type(value), "a table" if isinstance(value, dict) else type(value).__name__
    )
