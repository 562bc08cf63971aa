"""Reading the blobs of a layout, be it a directory or an archive."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from ocidist.errors import LimitExceededError, RangeInvalidError, SizeMismatchError, UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.storage.answers import refusal
from ocidist.storage.layout_stream import LayoutBlobReader, altered
from ocidist.storage.layout_work import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist.storage.contents import Holder

MAX_SMALL_BLOB: Final = 4 * 1024 * 1024
"""Bytes that ``get`` returns at most unless the caller allows more."""


class StoredBlobs:
    """Blobs that can be read."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._holder.name}>"

    async def stat(self, digest: Digest | str) -> Descriptor:
        """Return a blob's descriptor.

        Raises:
            BlobUnknownError: The repository has no such blob.
            StorageError: What has its name is no regular file, or cannot be read.
            InvalidDigestError: It is no digest.
        """
        wanted = Digest(digest)
        size = await self._holder.read(self._holder.files.size, wanted)
        if size is None:
            raise self._holder.no_blob(wanted)
        return Descriptor(OCTET_STREAM, wanted, size)

    async def exists(self, digest: Digest | str) -> bool:
        """Return whether the repository has a blob.

        Raises:
            StorageError: What has its name is no regular file, or cannot be read.
            InvalidDigestError: It is no digest.
        """
        return await self._holder.read(self._holder.files.size, Digest(digest)) is not None

    async def get(self, digest: Digest | Descriptor | str, *, max_size: int = MAX_SMALL_BLOB) -> bytes:
        """Return a small blob's bytes, verified.

        Raises:
            BlobUnknownError: The repository has no such blob.
            LimitExceededError: It is larger than *max_size* bytes.
            SizeMismatchError: It has another size than the descriptor says.
            DigestMismatchError: What is on the disk has another digest.
            DigestUnsupportedError: The digest cannot be verified.
            StorageError: What has its name is no regular file, or cannot be read.
            InvalidDigestError: It is no digest.
        """
        async with self.open(digest) as reader:
            if reader.descriptor.size > max_size:
                raise LimitExceededError("blob", max_size)
            return await reader.read()

    @asynccontextmanager
    async def open(
        self, digest: Digest | Descriptor | str, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[LayoutBlobReader]:
        """Open a blob, or a part of it, as a stream.

        Args:
            digest: The blob.
            offset: First byte to read.
            length: Bytes to read from there, fewer if the blob ends before; None for all.

        Raises:
            BlobUnknownError: The repository has no such blob.
            SizeMismatchError: It has another size than the descriptor says.
            RangeInvalidError: It ends before *offset*.
            DigestUnsupportedError: The digest cannot be verified.
            StorageError: What has its name is no regular file, or cannot be read.
            InvalidDigestError: It is no digest.
            UsageError: The offset or the length is negative.
        """
        if offset < 0 or (length is not None and length < 0):
            raise UsageError("a blob is read from an offset that is not negative, and forward")
        wanted = digest.digest if isinstance(digest, Descriptor) else Digest(digest)
        wanted.hasher()
        opened: list[LayoutBlobReader] = []
        given_up = False

        def begin() -> None:
            section = self._holder.files.section(wanted)
            if section is None:
                raise self._holder.no_blob(wanted)
            file, base, size = section
            found = digest if isinstance(digest, Descriptor) else Descriptor(OCTET_STREAM, wanted, size)
            stop = size if length is None else min(offset + length, size)
            opened.append(LayoutBlobReader(found, file, base, offset, stop))
            if given_up:
                opened[0].close()
            check_place(found, size, offset)

        try:
            await self._holder.read(begin)
            yield opened[0]
        finally:
            given_up = True
            if opened:
                await settle(opened[0].close)


def check_place(found: Descriptor, size: int, offset: int) -> None:
    """Check what a caller thinks of a blob.

    Raises:
        SizeMismatchError: It has another size.
        RangeInvalidError: It ends before the offset.
    """
    if found.size != size:
        raise altered(SizeMismatchError(found.size, size))
    if offset > size:
        raise refusal(RangeInvalidError, 416, f"the blob has {size} bytes, it cannot be read from {offset}")
