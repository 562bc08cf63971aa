"""Where content comes from: files, and standard input."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from ocidist.cli.failure import hinted
from ocidist.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STDIN: Final = "-"
"""The name of standard input."""

_CHUNK: Final = 256 * 1024


async def whole(name: str, limit: int, what: str) -> bytes:
    """Return what is in a file, or comes from standard input.

    Args:
        name: The file; ``-`` for standard input.
        limit: Most bytes to take.
        what: What it is to be, for errors.

    Raises:
        UsageError: It is larger, or cannot be read.
        StorageError: Standard input cannot be read.
    """
    if name != STDIN:
        # Whatever can be read will do: it is kept. Nobody may ever write into a pipe, and its thread is not waited for.
        data = await anyio.to_thread.run_sync(_read, Path(name), limit + 1, abandon_on_cancel=True)
    else:
        pieces, size = [], 0
        async for chunk in stdin():
            pieces.append(chunk)
            size += len(chunk)
            if size > limit:
                break
        data = b"".join(pieces)
    if len(data) > limit:
        raise UsageError(f"{shown(name)} is no {what}: it has more than {limit} bytes")
    return data


async def checked(path: Path) -> Path:
    """Return a path that is a file.

    Raises:
        UsageError: There is none, or it is something else.
    """
    return await anyio.to_thread.run_sync(_checked, path)


async def exists(path: Path) -> bool:
    """Return whether there is something of this name."""
    try:
        return await anyio.Path(path).exists()
    except (OSError, ValueError):
        return False


async def size_of(path: Path) -> int:
    """Return how many bytes a file has.

    Raises:
        OSError: It cannot be looked at.
    """
    return (await anyio.Path(path).stat()).st_size


def shown(name: str) -> str:
    """Return how errors call a source."""
    return "standard input" if name == STDIN else name


def is_typed() -> bool:
    """Return whether standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


async def stdin() -> AsyncIterator[bytes]:
    """Yield what comes from standard input, as it comes.

    Raises:
        StorageError: There is none, or it cannot be read.
    """
    try:
        number = sys.stdin.fileno()
        kind = os.fstat(number).st_mode
        # The others have their bytes at once, and epoll does not want them.
        waits = stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(number)
    except (AttributeError, OSError, ValueError):
        raise StorageError("there is no standard input") from None
    while True:
        if waits:
            # A thread that reads could not be stopped; this can.
            await anyio.wait_readable(number)
        try:
            chunk = await anyio.to_thread.run_sync(os.read, number, _CHUNK)
        except OSError as error:
            raise StorageError(f"cannot read standard input: {error.strerror or error}") from None
        if not chunk:
            return
        yield chunk


def _checked(path: Path) -> Path:
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(kind):
        raise hinted(UsageError(f"{path} is a directory, and a file is needed"), "Pack it first, for example with tar")
    if not stat.S_ISREG(kind):
        raise hinted(
            UsageError(f"{path} is a device, a pipe or a socket, and a file is needed"),
            "Only a file can be sent again where the connection is lost",
        )
    if not os.access(path, os.R_OK):
        raise UsageError(f"cannot read {path}: Permission denied")
    return path


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
