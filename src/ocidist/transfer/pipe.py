"""A blob of one store as what is pushed into another: read from the start as often as it has to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.errors import BlobUnknownError, OciError
from ocidist.model.mediatype import FOREIGN_LAYER_TYPES
from ocidist.remote.repository import Repository

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest
    from ocidist.storage import protocols


class Pipe:
    """Opens a blob afresh each time it is called.

    A layer that its licence keeps off registries is read from where its descriptor says, if the source is a registry
    that does not have it.

    Args:
        source: Where the blob is.
        blob: The blob.

    Attributes:
        opened: Whether it was ever opened: if not, nothing had to be sent.
        failure: What reading raised the last time, or None.
    """

    def __init__(self, source: protocols.Repository, blob: Descriptor) -> None:
        self._source = source
        self._blob = blob
        self._foreign = blob.media_type in FOREIGN_LAYER_TYPES and bool(blob.urls)
        self.opened: bool = False
        self.failure: Exception | None = None

    def __call__(self) -> AsyncGenerator[bytes, None]:
        """Return a fresh stream of the blob."""
        self.opened = True
        self.failure = None
        return self._pieces()

    def proves(self, digest: Digest, size: int) -> bool:
        """Return whether the streams make sure themselves that they bring this content and no other."""
        whole = size > 0 and (digest, size) == (self._blob.digest, self._blob.size)
        # A remote reader does, see BlobReader.proves().
        return whole and not self._foreign and isinstance(self._source, Repository)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        source = self._source
        begun = False
        try:
            try:
                async with source.blobs.open(self._blob) as reader:
                    async for piece in reader:
                        begun = True
                        yield piece
            except BlobUnknownError:
                if begun or not self._foreign or not isinstance(source, Repository):
                    raise
                async with source.blobs.open_foreign(self._blob) as pieces:
                    async for piece in pieces:
                        yield piece
        except Exception as error:
            self.failure = error
            if isinstance(error, OciError):
                # Or else it would be told as what the destination did meanwhile.
                error.locate(operation="read blob", reference=f"{source.name}@{self._blob.digest}")
            raise
