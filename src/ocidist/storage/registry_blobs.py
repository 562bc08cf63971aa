"""The blobs of all repositories of a local store together, as whoever keeps the store looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.errors import BlobUnknownError
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.storage.answers import Loaded, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable


class RegistryBlobs:
    """All blobs of a registry. Get it from ``MemoryRegistry.blobs`` or ``LayoutRegistry.blobs``.

    Args:
        size: Returns a blob's size in whichever repository has it, or None.
        every: Returns the digests of all blobs, some perhaps more than once.
    """

    def __init__(
        self, size: Callable[[Digest], Awaitable[int | None]], every: Callable[[], Awaitable[Iterable[Digest]]]
    ) -> None:
        self._size = size
        self._every = every

    async def stat(self, digest: Digest | str) -> Descriptor:
        """Return a blob's descriptor, whichever repository has it.

        Raises:
            BlobUnknownError: None has.
            InvalidDigestError: It is no digest.
            StorageError: A layout cannot be read.
        """
        wanted = Digest(digest)
        size = await self._size(wanted)
        if size is None:
            raise refusal(BlobUnknownError, 404, f"there is no blob {wanted} in any repository", wanted)
        return Descriptor(OCTET_STREAM, wanted, size)

    async def exists(self, digest: Digest | str) -> bool:
        """Return whether some repository has a blob.

        Raises:
            InvalidDigestError: It is no digest.
            StorageError: A layout cannot be read.
        """
        return await self._size(Digest(digest)) is not None

    def digests(self) -> AsyncIterator[Digest]:
        """Iterate over the digests of all blobs, each once, in their order as text."""

        async def load() -> Iterable[Digest]:
            return sorted(set(await self._every()))

        return Loaded(load)
