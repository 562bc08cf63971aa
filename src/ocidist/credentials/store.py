"""Credentials and the providers that find them.

Spec: docker token authentication, "Requesting a Token"; docker OAuth2, "Getting a token".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable, signature
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from ocidist.credentials.keys import registry_of
from ocidist.errors import InvalidCredentialError, UsageError

_CONTROL = frozenset(map(chr, (*range(32), 127)))
_SURROGATE = re.compile("[\ud800-\udfff]")


def _sendable(what: str) -> Callable[[object, attrs.Attribute[str], str], None]:
    def check(_instance: object, _attribute: attrs.Attribute[str], value: str) -> None:
        if not isinstance(value, str) or not value or not _CONTROL.isdisjoint(value):
            msg = f"a {what} must be text without control characters, and not empty"
            raise InvalidCredentialError(msg)
        if _SURROGATE.search(value):
            msg = f"a {what} must be text that UTF-8 can encode"
            raise InvalidCredentialError(msg)

    return check


def _bearer(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    _sendable("token")(instance, attribute, value)
    if not value.isascii() or " " in value:
        msg = "a token must be ASCII without blanks"
        raise InvalidCredentialError(msg)


def _user(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    _sendable("user name")(instance, attribute, value)
    if ":" in value:
        # RFC 7617: the first colon ends the user name, so one inside it would move part of it into the password.
        msg = "a user name must not contain ':'"
        raise InvalidCredentialError(msg)


@attrs.frozen
class Credential:
    """Who asks. ``Anonymous``, ``Basic``, ``IdentityToken`` and ``RegistryToken`` are the kinds there are."""


@attrs.frozen
class Anonymous(Credential):
    """Nobody in particular; tokens are still fetched where a registry wants them for public content."""


@attrs.frozen
class Basic(Credential):
    """A user name and a password or access token.

    Attributes:
        username: Must not contain ``:``.
        password: Any text without control characters; masked in ``repr``.

    Raises:
        InvalidCredentialError: One of them cannot be sent.
    """

    username: str = attrs.field(validator=_user)
    password: str = attrs.field(validator=_sendable("password"), repr=lambda _: "'***'")


@attrs.frozen
class IdentityToken(Credential):
    """A refresh token that a token server exchanges for access tokens (Docker's ``<token>`` entries).

    Attributes:
        token: The refresh token; masked in ``repr``.
    """

    token: str = attrs.field(validator=_bearer, repr=lambda _: "'***'")


@attrs.frozen
class RegistryToken(Credential):
    """A bearer token that is sent to the registry as it is.

    Attributes:
        token: The access token; masked in ``repr``.
    """

    token: str = attrs.field(validator=_bearer, repr=lambda _: "'***'")


ANONYMOUS = Anonymous()


@runtime_checkable
class CredentialProvider(Protocol):
    """Finds the credential for a registry host."""

    async def get(self, host: str, *, repository: str | None = None) -> Credential:
        """Return the credential for *host* (``host[:port]``), ``ANONYMOUS`` when there is none.

        Args:
            host: The registry as the user named it.
            repository: The repository the request is about, if it is about one.

        Raises:
            CredentialStoreError: The place where it should be cannot be read.
        """
        ...


Credentials: TypeAlias = (
    CredentialProvider | Mapping[str, Credential] | Callable[[str], Credential | Awaitable[Credential]]
)
"""What ``Client(credentials=...)`` takes: a provider, a mapping from host to credential, or an (async) callable."""


def checked_credential(value: Credential) -> Credential:
    """Return a credential that somebody else's code has given.

    Raises:
        UsageError: It is something else.
    """
    if isinstance(value, Credential):
        return value
    # Never with the value itself: it may be a pair with a password.
    raise UsageError(
        f"a credential is Basic, IdentityToken, RegistryToken or, for nobody, ANONYMOUS; not {type(value).__name__}"
    )


class StaticCredentials:
    """A provider over a fixed mapping from host to credential.

    Args:
        entries: Credentials by ``host[:port]``; Docker Hub under any of its names. The address of a registry's API,
            ``https://host/v1/``, is that registry, as in credential files.

    Raises:
        InvalidReferenceError: A key is not a registry name.
        UsageError: A value is no credential.
    """

    def __init__(self, entries: Mapping[str, Credential]) -> None:
        self._entries = {registry_of(host): checked_credential(found) for host, found in entries.items()}

    async def get(self, host: str, *, repository: str | None = None) -> Credential:  # noqa: ARG002 -- the protocol's
        """Return the entry of *host*, or ``ANONYMOUS``."""
        return self._entries.get(host, ANONYMOUS)

    def __repr__(self) -> str:
        return f"StaticCredentials({sorted(self._entries)})"


class CallableCredentials:
    """A provider that asks a callable, plain or async.

    Args:
        ask: Given ``host[:port]``; returns a credential.
    """

    def __init__(self, ask: Callable[[str], Credential | Awaitable[Credential]]) -> None:
        self._ask = ask

    async def get(self, host: str, *, repository: str | None = None) -> Credential:  # noqa: ARG002 -- the protocol's
        """Ask the callable.

        Raises:
            UsageError: It returned something else than a credential.
        """
        answer = self._ask(host)
        return checked_credential(await answer if isawaitable(answer) else answer)


class ChainCredentials:
    """A provider that asks several, one after the other, and takes the first credential that is not ``ANONYMOUS``.

    Args:
        *providers: Whom to ask: providers, mappings or callables.
    """

    def __init__(self, *providers: Credentials) -> None:
        self._providers = tuple(map(as_provider, providers))

    async def get(self, host: str, *, repository: str | None = None) -> Credential:
        """Return the first credential that anybody has for the host, or ``ANONYMOUS``.

        Raises:
            CredentialStoreError: A place that had to be asked cannot be read.
        """
        for provider in self._providers:
            if (found := await provider.get(host, repository=repository)) != ANONYMOUS:
                return found
        return ANONYMOUS

    def __repr__(self) -> str:
        return f"ChainCredentials({', '.join(map(repr, self._providers))})"


def as_provider(credentials: Credentials) -> CredentialProvider:
    """Turn what a user may pass as ``credentials=`` into a provider.

    Raises:
        InvalidReferenceError: A key of a mapping is not a registry name.
        UsageError: They passed something else, or a value of a mapping is no credential.
    """
    kind = type(credentials).__name__
    if isinstance(credentials, type):
        raise UsageError(f"credentials are a provider, not its class: {credentials.__name__}()")
    if isinstance(credentials, Mapping):
        return StaticCredentials(credentials)
    if isinstance(credentials, CredentialProvider):
        if not _takes_repository(credentials.get):
            raise UsageError(f"{kind} is no provider of credentials: its get() takes no keyword repository")
        return credentials
    if callable(credentials):
        return CallableCredentials(credentials)
    raise UsageError(f"credentials are a provider, a mapping from host to credential, or a callable; not {kind}")


def _takes_repository(get: Callable[..., object]) -> bool:
    try:
        signature(get).bind("host", repository="repository")
    except TypeError:
        return False
    except ValueError:
        # Nothing is known of what is not written in Python.
        pass
    return True
