"""One repository's line to its registry: what its blobs, manifests, tags and referrers share."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from ocidist.errors import TransportError, TransportTimeoutError
from ocidist.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from ocidist._io.body import Body
    from ocidist.credentials.store import Credential
    from ocidist.http.sender import Reply, Sender
    from ocidist.model.reference import RegistryName, RepositoryName, Tag
    from ocidist.wire.endpoints import Endpoint

MAX_BREAKS: Final = 3
"""Times in a row that a small answer may break off before it is an error."""
BREAK_WAIT_S: Final = 0.05

_T = TypeVar("_T")


class Channel:
    """Sends endpoints for one repository, or for a registry as a whole, and says where errors happened.

    Args:
        sender: The client.
        registry: The registry to send to.
        repository: The repository all is about, or None for the registry itself.
        credential: Identity to use instead of the client's own for this host.
    """

    def __init__(
        self,
        sender: Sender,
        registry: RegistryName,
        repository: RepositoryName | None = None,
        credential: Credential | None = None,
    ) -> None:
        self.sender = sender
        self.registry = registry
        self.repository = repository
        self.credential = credential

    @property
    def host(self) -> str:
        """``host[:port]`` of the registry."""
        return str(self.registry)

    @property
    def repository_name(self) -> RepositoryName:
        """The repository; only for channels that are about one."""
        assert self.repository is not None  # noqa: S101 -- the registry's own channel sends endpoints without a repository
        return self.repository

    def name_of(self, item: Tag | Digest | None = None) -> str:
        """Return how errors name a tag, a digest or the repository: ``host/repository@sha256:...``."""
        place = self.host if self.repository is None else f"{self.host}/{self.repository}"
        if item is None:
            return place
        return f"{place}{'@' if isinstance(item, Digest) else ':'}{item}"

    def exchange(
        self, endpoint: Endpoint, *, body: Body | None = None, about: Tag | Digest | None = None
    ) -> AbstractAsyncContextManager[Reply]:
        """Send an endpoint and yield its answer; see ``Sender.exchange``.

        Args:
            endpoint: What to ask.
            body: Request body.
            about: The tag or digest the operation is on, for error messages.

        Raises:
            OciError: One of its subclasses.
        """
        return self.sender.exchange(
            self.registry, endpoint, body=body, credential=self.credential, reference=partial(self.name_of, about)
        )

    async def read(
        self, endpoint: Endpoint, take: Callable[[Reply], Awaitable[_T]], *, about: Digest | None = None
    ) -> _T:
        """Send an endpoint that only reads, and return what *take* makes of its answer.

        An answer that breaks off is asked for again; what failed before there was one has been tried again already.

        Args:
            endpoint: What to ask.
            take: Reads the answer, and must not keep what it read of one that broke off.
            about: See ``exchange``.

        Raises:
            OciError: One of its subclasses.
        """
        breaks = Breaks()
        while True:
            reply: Reply | None = None
            try:
                async with self.exchange(endpoint, about=about) as reply:
                    return await take(reply)
            except TransportError as error:
                if reply is None or not await breaks.another(error):
                    raise


class Breaks:
    """Counts how often an answer that is read as a whole broke off."""

    def __init__(self) -> None:
        self._count = 0

    async def another(self, error: TransportError) -> bool:
        """Return whether to ask again, after a moment; silence is waited for a second time only."""
        self._count += 1
        if self._count > (1 if isinstance(error, TransportTimeoutError) else MAX_BREAKS):
            error.attempts = self._count
            return False
        await anyio.sleep(BREAK_WAIT_S * 2.0**self._count)
        return True
