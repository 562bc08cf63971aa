"""Reading and writing files the way a short script does it: on the event loop, in large pieces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.job import PIECE

if TYPE_CHECKING:
    import hashlib
    from collections.abc import AsyncIterator
    from io import BufferedWriter


def created(path: str) -> BufferedWriter:
    """Open a file to write."""
    return Path(path).open("wb")


async def pieces(  # noqa: RUF029 -- a request body has to be an asynchronous iterator
    path: str, hasher: hashlib._Hash | None = None
) -> AsyncIterator[bytes]:
    """Read a file piece by piece, hashing it if there is something to hash it with."""
    with Path(path).open("rb", buffering=0) as file:  # noqa: ASYNC230 -- the file is in memory
        while piece := file.read(PIECE):
            if hasher is not None:
                hasher.update(piece)
            yield piece
