"""What remote objects need from a client: one method that sends an endpoint and hands back its answer.

``remote`` knows these protocols and not the client, so that no HTTP type reaches its results, errors or events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from ocidist._io.body import Body
    from ocidist.credentials.store import Basic, Credential, IdentityToken
    from ocidist.errors import AuthError, OciError
    from ocidist.hosts.host import HostConfig
    from ocidist.http.standing import Trial
    from ocidist.model.reference import RegistryName
    from ocidist.observe.events import Event
    from ocidist.wire.egress import EgressPolicy
    from ocidist.wire.endpoints import Endpoint
    from ocidist.wire.scope import ScopeSet


@attrs.frozen
class Call:
    """What one operation asks of ``Client.send()``; it travels in ``request.extensions["ocidist"]``.

    Attributes:
        endpoint: The endpoint behind the request, or None for a request the user built.
        scopes: Token scopes the request needs.
        body: The request's body, so that it can be opened again; None if there is none.
        direct: Whether to send without authentication.
        registry: The registry whose credentials may be used.
        credential: Identity to use instead of the client's own for this host.
        final: Whether the registry does long work before it answers (closing an upload).
        trial: The time a mirror has to answer: it is asked once, and another host next. None for all others.
    """

    endpoint: Endpoint | None = None
    scopes: ScopeSet | None = None
    body: Body | None = None
    direct: bool = False
    registry: RegistryName | None = None
    credential: Credential | None = None
    final: bool = False
    trial: Trial | None = None


class Pieces(Protocol):
    """The body of an answer, undecoded, as it arrives."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces."""
        ...

    async def __anext__(self) -> bytes:
        """Return the next piece.

        Raises:
            TruncatedBodyError: The body ended before its Content-Length.
            TransportError: The connection failed.
        """
        ...

    async def pour(self, into: Callable[[bytes | memoryview], object]) -> bool:
        """Hand the next part of the body to *into*, piece by piece, in a worker thread.

        A piece is good only until *into* returns. Each call takes a fraction of a second at most, so that it can be
        cancelled in between; a call that is cancelled ends at once, while *into* may be busy with a last piece.

        Returns:
            Whether there may be more.

        Raises:
            TruncatedBodyError: The body ended before its Content-Length.
            TransportError: The connection failed.
            Exception: What *into* raises.
        """
        ...


class Reply(Protocol):
    """An answer whose status the endpoint expects. Its body is read at most once, within ``async with``."""

    @property
    def status(self) -> int:
        """HTTP status code."""
        ...

    @property
    def url(self) -> str:
        """Absolute URL that answered, after redirects. May hold secrets: never show it unredacted."""
        ...

    @property
    def early(self) -> bool:
        """Whether the answer was there before the whole request was sent: a success is no proof then."""
        ...

    @property
    def authenticated(self) -> bool:
        """Whether credentials, or a token of theirs, came with the request that was answered."""
        ...

    @property
    def withheld(self) -> AuthError | None:
        """Why the request was made as nobody although there are credentials, None if it was not."""
        ...

    @property
    def mirror(self) -> str | None:
        """The mirror that answered in the registry's place, None if it was the registry."""
        ...

    def disproved(self, error: OciError) -> bool:
        """Tell that the body is not what was asked for, and return whether a mirror is to blame.

        If so it is reported, and not asked for the same again: the next exchange goes to another host.
        """
        ...

    def header(self, name: str) -> str | None:
        """Return the first field of this name, or None."""
        ...

    def header_values(self, name: str) -> tuple[str, ...]:
        """Return every field of this name, in order, unsplit."""
        ...

    async def read(self, limit: int, what: str) -> bytes:
        """Read the whole body.

        Raises:
            LimitExceededError: It is longer than *limit* bytes; *what* is its name in the message.
            TruncatedBodyError: It ended before its Content-Length.
            TransportError: The connection failed.
        """
        ...

    def chunks(self) -> Pieces:
        """Return the body as it arrives, undecoded, without a limit."""
        ...


class Sender(Protocol):
    """Sends endpoints to registries: what a ``Client`` is to the remote objects."""

    @property
    def egress(self) -> EgressPolicy:
        """The client's egress policy."""
        ...

    @property
    def patience(self) -> float:
        """Longest time that a registry may ask to wait, in seconds; see ``RetryPolicy.max_retry_after``."""
        ...

    def host_config(self, registry: RegistryName) -> HostConfig:
        """Return what is configured for a host."""
        ...

    async def base_of(self, registry: RegistryName) -> str:
        """Return a registry's base URL, ``scheme://host[:port]``.

        Raises:
            OciError: Its scheme is not configured, and nobody answers who could tell it.
        """
        ...

    async def identify(self, registry: RegistryName, credential: Credential | None = None) -> Credential:
        """Return who asks at a registry, for protocols that say so with every request.

        Args:
            registry: The registry.
            credential: Identity to use instead of the client's own for this host.

        Raises:
            CredentialsRejectedError: Somebody does, and would do it in plain text where nobody said that this may be.
            OciError: The credential cannot be looked up, or see ``base_of``.
        """
        ...

    async def identity_token(self, registry: RegistryName, credential: Basic) -> IdentityToken | None:
        """Return what a registry's token server gives in place of a password, None if it gives nothing.

        Args:
            registry: The registry; it was asked for its challenge before.
            credential: The user name and password. They go to the token server if that may see them.

        Raises:
            AuthError: It refuses them.
            OciError: It cannot be asked.

        Spec: docker registry auth, "Requesting a Token" (``offline_token``).
        """
        ...

    def exchange(
        self,
        registry: RegistryName,
        endpoint: Endpoint,
        *,
        body: Body | None = None,
        credential: Credential | None = None,
        reference: Callable[[], str] | None = None,
    ) -> AbstractAsyncContextManager[Reply]:
        """Send one endpoint and yield its answer; the connection is released on exit.

        Authentication, scheme detection, redirects, retries, limits and the mapping of failures to errors have
        happened when the answer is yielded: its status is one of ``endpoint.success``. A target that is an absolute
        URL of another origin than the registry's is sent without credentials.

        Args:
            registry: The registry the endpoint belongs to.
            endpoint: What to ask.
            body: Request body.
            credential: Identity to use instead of the client's own for this host.
            reference: Returns what the operation is on, for error messages.

        Raises:
            OciError: One of its subclasses, with operation, reference, host and attempts filled in.
        """
        ...

    def emit(self, event: Event) -> None:
        """Hand an event record to the client's hooks."""
        ...
