"""Blobs to files: the path appears only once its bytes are verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist._io.files import AtomicFile
from ocidist.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist._io.body import Progress
    from ocidist.model.descriptor import Descriptor
    from ocidist.remote.reader import BlobReader


async def download(reader: BlobReader, path: Path, progress: Progress | None = None) -> Descriptor:
    """Write a whole blob to a file.

    Args:
        reader: The blob from its first byte, not opened yet.
        path: Where to put it; a file that is there is replaced, and untouched until then.
        progress: Told the bytes that arrived so far and the bytes in all.

    Raises:
        DigestMismatchError: The bytes are not the blob's; nothing appears under the path.
        StorageError: The file cannot be written.
        UsageError: The reader does not begin at the first byte and end at the last.
        OciError: See ``BlobReader.read``.
    """
    # The registry is asked first: a missing blob should not leave a trace on the disk.
    async with reader, AtomicFile(path) as file:
        told, more = 0, True
        while more:
            more = await reader.pour(file.append)
            if progress is not None and reader.tell() > told:
                told = reader.tell()
                progress(told, reader.size)
        if not reader.verified:
            raise UsageError("only a reader of the whole blob can be written to a file")
        await file.commit()
    return reader.descriptor
