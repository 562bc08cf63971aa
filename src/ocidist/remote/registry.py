"""A remote registry."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ocidist.credentials.store import Anonymous, Basic, IdentityToken, checked_credential
from ocidist.errors import (
    AuthError,
    ChallengeError,
    CredentialsRejectedError,
    DeniedError,
    NotFoundError,
    OciError,
    RedirectRefusedError,
    ResponseError,
    ScopeDeniedError,
    TokenRedirectRefusedError,
    UnauthorizedError,
    UnsupportedError,
    UsageError,
)
from ocidist.model.reference import RegistryName, RepositoryName, known_repository_name
from ocidist.model.result import LoginResult, RegistryInfo
from ocidist.remote._answers import foreseen, is_page_for_people, restated, unexpected
from ocidist.remote._channel import Channel
from ocidist.remote._lists import ListOf, names
from ocidist.remote._memory import profile_of
from ocidist.remote.repository import Repository
from ocidist.wire.endpoints import Ping
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist._io.pages import Paginator
    from ocidist.credentials.store import Credential
    from ocidist.http.sender import Reply, Sender
    from ocidist.model.profile import RegistryProfile

MAX_PING_BODY: Final = 64 * 1024
_MAX_VERSION: Final = 100
_API_VERSION: Final = "Docker-Distribution-API-Version"
_NO_CATALOG: Final = "this registry does not list its repositories"
_DENIED_CATALOG: Final = "this registry does not list its repositories, or not to these credentials"


class Registry:
    """A registry on the network. Get it from ``Client.registry``; making one does no I/O.

    Args:
        sender: The client.
        name: The registry.
        credential: Identity to use instead of the client's own for this host.

    Raises:
        UsageError: It is no credential.
    """

    def __init__(self, sender: Sender, name: RegistryName, *, credential: Credential | None = None) -> None:
        own = None if credential is None else checked_credential(credential)
        self._channel = Channel(sender, name, credential=own)

    def __repr__(self) -> str:
        return f"<Registry {self.name}>"

    @property
    def name(self) -> RegistryName:
        """The registry's name."""
        return self._channel.registry

    @property
    def profile(self) -> RegistryProfile:
        """How the registry takes blobs and tags, as far as that is configured, known beforehand or found out by now.

        Given to ``HostConfig(profile=...)``, it saves another client from finding out again.
        """
        return profile_of(self._channel)

    def repository(self, name: RepositoryName | str) -> Repository:
        """Return a repository of this registry; it need not exist yet.

        Raises:
            InvalidReferenceError: The name does not follow the grammar, or is too long for this host.
        """
        return Repository(self, self._channel, RepositoryName(name))

    async def ping(self) -> RegistryInfo:
        """Ask whether the registry speaks the API, and with these credentials.

        A few registries do not answer here although their repositories work: that is ``supported=False``, not an error.

        Raises:
            AuthError: The registry refuses the credentials, or wants some.
            ProtocolError: The answer is a web page: a proxy or login form is in between.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Determining Support".
        """
        return await _asked(self._channel, _info)

    async def login(self, credential: Credential) -> LoginResult:
        """Ask whether the registry takes a credential. Nothing is kept: see ``ocidist.credentials.login`` for that.

        Args:
            credential: Who asks.

        Returns:
            Whether the registry asked at all; and what its token server gives in place of a password, or the identity
            token that the credential is.

        Raises:
            UsageError: The credential is nobody.
            CredentialsRejectedError: The registry refuses it, or it was not sent over plain http.
            AuthRealmRefusedError: The registry's token server is not trusted with it.
            UnsupportedError: The registry does not answer where it should say so.
            OciError: Another failure, see the error's class.

        Spec: Docker Engine API v1.44, "Check auth configuration"; docker registry auth, "Requesting a Token".
        """
        if isinstance(credential, Anonymous):
            raise UsageError("to log in, a credential is needed")
        info = await _asked(Channel(self._channel.sender, self.name, credential=credential), _proof)
        if not info.supported:
            made = foreseen(UnsupportedError, 404, "this registry does not say whether it takes credentials")
            raise made.locate(operation="log in", host=str(self.name))
        found = credential if isinstance(credential, IdentityToken) else None
        if isinstance(credential, Basic) and info.authenticated:
            # Not everybody can have one: whoever got in is logged in.
            with suppress(AuthError):
                found = await self._channel.sender.identity_token(self.name, credential)
        return LoginResult(info.authenticated, "" if found is None else found.token)

    def repositories(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[RepositoryName]:
        """List the registry's repositories.

        Many registries do not offer this, Docker Hub among them. Names that do not follow the grammar are skipped and
        reported as an event.

        Args:
            after: Only repositories after this one.
            page_size: Most repositories per request; None for 1000, or what the registry allows.

        Raises:
            UsageError: The page size is not positive.
            UnsupportedError: The registry does not list its repositories.
            DeniedError: It does not list them, or not to these credentials; registries do not say which.
            LimitExceededError: A page is larger than 8 MiB, or there are too many.
            LinkRefusedError: The registry sends the client elsewhere for the next page.
            PaginationLoopError: The pages do not end.
            ProtocolError: A page is not a list of repositories.
            OciError: Another failure, see the error's class.

        Spec: Docker Registry HTTP API V2, "Catalog".
        """
        listed = ListOf[RepositoryName](self._channel, "repositories", known_repository_name, _refusal)
        return names(listed, after=after, page_size=page_size)


async def _asked(channel: Channel, take: Callable[[Reply], Awaitable[RegistryInfo]]) -> RegistryInfo:
    try:
        return await channel.read(Ping(), take)
    except TokenRedirectRefusedError:
        raise
    except RedirectRefusedError:
        return RegistryInfo(None, authenticated=False, supported=False)
    except ResponseError as error:
        if error.status in {403, 404, 405} or 300 <= error.status < 400:
            return RegistryInfo(None, authenticated=False, supported=False)
        raise


async def _proof(reply: Reply) -> RegistryInfo:
    # What is given to nobody proves nothing.
    if reply.withheld is not None:
        raise reply.withheld
    return await _info(reply)


async def _info(reply: Reply) -> RegistryInfo:
    data = await reply.read(MAX_PING_BODY, "answer to ping")
    kind = reply.header("Content-Type")
    if is_page_for_people(kind):
        raise unexpected("a registry's", kind, data)
    version = reply.header(_API_VERSION)
    return RegistryInfo(None if version is None else clean_text(version, _MAX_VERSION), reply.authenticated)


def _refusal(error: OciError) -> OciError:
    if isinstance(error, UnauthorizedError | DeniedError):
        return restated(DeniedError, _DENIED_CATALOG, error)
    if isinstance(error, UnsupportedError | NotFoundError):
        return restated(UnsupportedError, _NO_CATALOG, error)
    if isinstance(error, ScopeDeniedError | CredentialsRejectedError | ChallengeError):
        # Docker Hub gives out a token for the catalog and then refuses it: as with a wrong password, but it is none.
        # Harbor answers 401 and does not say how to authenticate.
        made = foreseen(DeniedError, 401, f"{_DENIED_CATALOG} ({error.message})")
        return made.locate(
            operation=error.operation, reference=error.reference, host=error.host, attempts=error.attempts
        )
    return error
