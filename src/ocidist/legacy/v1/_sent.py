"""A layer on its way to a registry: hashed together with the JSON of its image, each time it is sent."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from ocidist._io.verify import update
from ocidist.errors import ProtocolError
from ocidist.legacy.v1.models import LayerChecksums
from ocidist.model.digest import Hasher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ocidist._io.body import Body


class HashedBody:
    """A body that knows what it was once it was sent whole.

    Args:
        body: What is sent.
        prefix: What is hashed before it.

    Attributes:
        size: Bytes in all, or None if nobody knows.
        replayable: Whether it can be opened again.
    """

    def __init__(self, body: Body, prefix: bytes) -> None:
        self._body = body
        self._prefix = prefix
        self._found: LayerChecksums | None = None
        self.size = body.size
        self.replayable = body.replayable

    @property
    def found(self) -> LayerChecksums:
        """What proves it.

        Raises:
            ProtocolError: It was not sent to its end: the registry answered before.
        """
        if self._found is None:
            raise ProtocolError("the registry took the layer without waiting for its end")
        return self._found

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return a fresh stream of the bytes."""
        proof = Hasher()
        proof.update(self._prefix)
        async with aclosing(self._body.open()) as pieces:
            async for piece in pieces:
                await update(proof, piece)
                yield piece
        self._found = LayerChecksums(proof.digest(), proof.size - len(self._prefix))
