"""Where a client may go, and what it may take along, when a server names a URL.

One choke point for token realms, redirects, upload Locations, next-page links and foreign layers: a rule for each. It
judges the text of a URL; the address a name resolves to is judged again, with ``address_refusal``, when it is dialled.

What holds for all of them: only http and https; no user information; never from https to http; never to a link-local or
cloud metadata address; to a private or loopback address only where the named registry lives there itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Self

import attrs

from ocidist.errors import (
    AuthRealmRefusedError,
    EgressError,
    EndpointRefusedError,
    LinkRefusedError,
    LocationRefusedError,
    RedirectRefusedError,
    UsageError,
)
from ocidist.wire import _url
from ocidist.wire._url import AddressKind, BadUrlError, SplitUrl
from ocidist.wire.domains import same_registrable_domain
from ocidist.wire.redact import clean_text

__all__ = [
    "DEFAULT_POLICY",
    "AddressKind",
    "EgressPolicy",
    "Location",
    "Origin",
    "RealmDecision",
    "Redirect",
    "address_refusal",
    "check_endpoint",
    "check_foreign",
    "check_link",
    "check_location",
    "check_realm",
    "check_redirect",
    "resolve",
    "split_url",
]

UNREADABLE: Final = "an unreadable URL"


@attrs.frozen
class Origin:
    """Scheme, host and port: what decides whether two URLs are the same server.

    Attributes:
        scheme: ``http`` or ``https``.
        host: In lower case; IPv6 addresses without brackets.
        port: Port number; the scheme's own is filled in.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """Read the origin of an absolute http or https URL.

        Raises:
            UsageError: It is no such URL, or carries user information.
        """
        parts = _own(url)
        return cls(parts.scheme, parts.host, parts.port)

    @property
    def kind(self) -> AddressKind:
        """Where the host is, as far as its name or address tells."""
        return _url.kind_of(self.host)

    @property
    def netloc(self) -> str:
        """Host and port as a Host header has them: the port only where it is not the scheme's own."""
        return str(self).partition("://")[2]

    def __str__(self) -> str:
        return _own(self).origin


def _realm_entries(entries: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    if isinstance(entries, str):
        raise UsageError("trusted_realms is a collection of hosts, not one string")
    return tuple(entries)


def _check_realms(_instance: object, _attribute: object, entries: tuple[str, ...]) -> None:
    for entry in entries:
        try:
            parts = _trusted(entry)
        except BadUrlError as error:
            raise UsageError(f"trusted realm {clean_text(entry, 80)!r}: {error}") from None
        if parts.rest not in {"", "/"}:
            raise UsageError(f"trusted realm {clean_text(entry, 80)!r}: name a host, host:port or origin only")


def _check_redirects(_instance: object, _attribute: object, value: int) -> None:
    if isinstance(value, bool) or value < 0:
        raise UsageError("max_redirects is a number, zero or more")


@attrs.frozen
class EgressPolicy:
    """What the owner of a client allows beyond, or below, the default.

    Attributes:
        max_redirects: Most redirects followed for one request.
        trusted_realms: Token servers that may see credentials although their domain is another than the registry's:
            ``host`` (on the scheme's own port), ``host:port`` or an origin.
        allow_private: Whether servers may send the client to private addresses (never to link-local ones).
        allow_anonymous_realm: Whether a token server that is not trusted with credentials may be asked without them.
        allow_plaintext_credentials: Whether credentials may be sent over plain http to a host that is ``insecure``, and
            that was only found to speak http. Where the scheme is given (``http://host``,
            ``HostConfig(scheme="http")``), and on loopback, they are sent.

    Raises:
        UsageError: A trusted realm is none of the three forms, or the number of redirects is negative.
    """

    max_redirects: int = attrs.field(default=5, validator=_check_redirects)
    trusted_realms: tuple[str, ...] = attrs.field(default=(), converter=_realm_entries, validator=_check_realms)
    allow_private: bool = attrs.field(default=False, kw_only=True)
    allow_anonymous_realm: bool = attrs.field(default=True, kw_only=True)
    allow_plaintext_credentials: bool = attrs.field(default=False, kw_only=True)

    def trusts_realm(self, realm: Origin) -> bool:
        """Tell whether *realm* is one of the trusted token servers."""
        return any(_matches(entry, realm) for entry in self.trusted_realms)


DEFAULT_POLICY: Final = EgressPolicy()
PROXY_HINT: Final = (
    "A registry behind a proxy has to be told its public address: by the proxy, with the header fields Host and "
    "X-Forwarded-Proto, or in its own configuration"
)


@lru_cache(maxsize=256)
def _trusted(entry: str) -> SplitUrl:
    return _url.split(entry if "://" in entry else f"https://{entry}")


def _matches(entry: str, realm: Origin) -> bool:
    parts = _trusted(entry)
    if "://" in entry:
        return (parts.scheme, parts.host, parts.port) == (realm.scheme, realm.host, realm.port)
    port = parts.port if parts.explicit_port else _url.DEFAULT_PORTS[realm.scheme]
    return (parts.host, port) == (realm.host, realm.port)


@attrs.frozen
class RealmDecision:
    """What may be sent to a token server.

    Attributes:
        url: Absolute URL of the token server.
        credentials: Whether it may see stored credentials; otherwise only an anonymous request may go there.
        source: Origin of the registry that named it.
        target: Origin of the token server.
    """

    url: str = attrs.field(repr=False)
    credentials: bool
    source: str
    target: str

    def refusal(self) -> AuthRealmRefusedError:
        """Return the error to raise where credentials are needed and may not be sent."""
        return AuthRealmRefusedError(self.source, self.target, "it is not trusted with this registry's credentials")


@attrs.frozen
class Redirect:
    """A redirect that may be followed.

    Attributes:
        url: Absolute URL to go to.
        same_origin: Whether secrets may go along.
    """

    url: str = attrs.field(repr=False)
    same_origin: bool


@attrs.frozen
class Location:
    """An upload Location that may be used.

    Attributes:
        url: Absolute URL to send to.
        same_origin: Whether secrets may go along.
    """

    url: str = attrs.field(repr=False)
    same_origin: bool


def resolve(base: str | Origin, target: str, *, refuse: type[EgressError] = EgressError) -> str:
    """Make a server's URL reference absolute; query and path stay as written, a fragment is dropped.

    Args:
        base: Absolute URL, or origin, of the request that was answered.
        target: What the answer says.
        refuse: The exception to raise.

    Raises:
        EgressError: The class given in *refuse*: the reference is empty, of another scheme than http or https, carries
            user information, or holds characters that readers disagree about.
        UsageError: *base* is no absolute URL.
    """
    return str(_resolve(base, target, refuse)[1])


def _own(url: str | Origin) -> SplitUrl:
    if isinstance(url, Origin):
        return SplitUrl(url.scheme, url.host, url.port, "", explicit_port=False)
    try:
        return _url.split(url)
    except BadUrlError as error:
        raise UsageError(f"not a URL ocidist can use: {error}") from None


def _resolve(base: str | Origin, target: str, refuse: type[EgressError]) -> tuple[SplitUrl, SplitUrl]:
    source = _own(base)
    try:
        return source, _url.join(source, target)
    except BadUrlError as error:
        raise refuse(source.origin, UNREADABLE, str(error)) from None


def split_url(url: str) -> tuple[Origin, str]:
    """Return the origin of an absolute URL, and the path and query that are asked for there, as written.

    Raises:
        UsageError: It is no such URL, or carries user information.
    """
    parts = _own(url)
    return _origin(parts), parts.rest if parts.rest.startswith("/") else f"/{parts.rest}"


def check_realm(registry: str | Origin, realm: str, *, policy: EgressPolicy = DEFAULT_POLICY) -> RealmDecision:
    """Decide about the token server a registry's challenge names.

    Credentials may go to the registry's own origin, to the same host or registrable domain over https (never between
    IP addresses or ports of localhost), and to trusted realms.

    Args:
        registry: URL or origin of the challenged request, on the registry the user named.
        realm: The challenge's realm; a relative one is resolved.
        policy: What the client's owner allows.

    Raises:
        AuthRealmRefusedError: Nothing may be sent there, or only anonymous requests and the policy forbids those.
    """
    source, target = _resolve(registry, realm, AuthRealmRefusedError)
    here, there = _origin(source), _origin(target)
    _check_way(here, there, here, policy, AuthRealmRefusedError)
    decision = RealmDecision(
        str(target), here == there or policy.trusts_realm(there) or _same_owner(here, there), str(here), str(there)
    )
    if not decision.credentials and not policy.allow_anonymous_realm:
        raise decision.refusal()
    return decision


def check_redirect(
    source: str | Origin, target: str, policy: EgressPolicy = DEFAULT_POLICY, *, registry: str | Origin | None = None
) -> Redirect:
    """Decide about a redirect.

    Args:
        source: URL or origin that answered with the redirect.
        target: The Location header.
        policy: What the client's owner allows.
        registry: URL or origin of the registry the user named, if *source* is already a step away from it.

    Raises:
        RedirectRefusedError: It may not be followed.
    """
    here, there = _resolve(source, target, RedirectRefusedError)
    named = _origin(here if registry is None else _own(registry))
    _check_way(_origin(here), _origin(there), named, policy, RedirectRefusedError)
    return Redirect(str(there), _origin(here) == _origin(there))


def check_location(
    source: str | Origin, target: str, policy: EgressPolicy = DEFAULT_POLICY, *, registry: str | Origin | None = None
) -> Location:
    """Decide about the Location of an upload session; each answer of a session is checked again.

    Another origin may take the bytes, without credentials, if it is https and public, or if it is on the loopback
    interface as the registry is. https never leads to http, as the Location of a registry behind a TLS proxy may: the
    error says what the proxy has to be told.

    Args:
        source: URL or origin of the upload request.
        target: The Location header.
        policy: What the client's owner allows.
        registry: URL or origin of the registry the user named, if *source* is on another host.

    Raises:
        LocationRefusedError: No bytes may be sent there.

    Spec: distribution-spec, "Pushing blobs".
    """
    here, there = _resolve(source, target, LocationRefusedError)
    named = _origin(here if registry is None else _own(registry))
    try:
        _check_session(_origin(here), _origin(there), named, policy)
    except LocationRefusedError as error:
        error.hint = PROXY_HINT
        raise
    return Location(str(there), _origin(here) == _origin(there))


def _check_session(here: Origin, there: Origin, named: Origin, policy: EgressPolicy) -> None:
    _check_way(here, there, named, policy, LocationRefusedError)
    if there.scheme != "https" and there not in {here, named} and there.kind is not AddressKind.LOOPBACK:
        raise LocationRefusedError(str(here), str(there), "uploads go to another host over https only")


def check_link(source: str | Origin, target: str, policy: EgressPolicy = DEFAULT_POLICY) -> str:
    """Decide about the link to the next page of a list; return the absolute URL to ask.

    Only the same origin is allowed. A link with the scheme http to the same host, as registries behind a TLS proxy
    write it, is read as https.

    Raises:
        LinkRefusedError: It may not be followed.
    """
    here, there = _resolve(source, target, LinkRefusedError)
    if here.scheme == "https" and there.scheme == "http" and here.host == there.host:
        # Behind a TLS proxy, a registry writes its own links like this.
        written = there.port if there.explicit_port else here.port
        if written in {here.port, _url.DEFAULT_PORTS["http"]}:
            there = attrs.evolve(here, rest=there.rest)
    if _origin(here) != _origin(there):
        raise LinkRefusedError(here.origin, there.origin, "the pages of a list are on one origin")
    _check_way(_origin(here), _origin(there), _origin(here), policy, LinkRefusedError)
    return str(there)


def check_foreign(registry: str | Origin, target: str, policy: EgressPolicy = DEFAULT_POLICY) -> str:
    """Decide about one of the ``urls`` of a descriptor; return the absolute URL to ask.

    Whoever wrote the manifest chose the URL, so what holds for redirects holds for it, and nothing secret ever goes
    along. It has to name its host: there is nothing it could be relative to.

    Args:
        registry: URL or origin of the registry that the manifest came from.
        target: The URL.
        policy: What the client's owner allows.

    Raises:
        EgressError: It may not be asked.

    Spec: image-spec, "Descriptors", ``urls``.
    """
    here, there = _resolve(registry, target, EgressError)
    if "://" not in target:
        raise EgressError(here.origin, UNREADABLE, "it is not an absolute URL")
    _check_way(_origin(here), _origin(there), _origin(here), policy, EgressError)
    return str(there)


def check_endpoint(index: str | Origin, target: str, policy: EgressPolicy = DEFAULT_POLICY) -> str:
    """Decide about a registry that an index of Registry v1 names; return the URL to ask.

    The token that the index gave out goes there as well. So another host has to be a public one, asked over https, or
    on the loopback interface as the index is.

    Args:
        index: URL or origin of the index.
        target: URL of the registry.
        policy: What the client's owner allows.

    Raises:
        EndpointRefusedError: Nothing may be sent there.

    Spec: Docker, "Registry & Index Spec", ``X-Docker-Endpoints``.
    """
    here, there = _resolve(index, target, EndpointRefusedError)
    _check_way(_origin(here), _origin(there), _origin(here), policy, EndpointRefusedError)
    local = _origin(there).kind is AddressKind.LOOPBACK
    if there.scheme != "https" and there.host != here.host and not local:
        raise EndpointRefusedError(here.origin, there.origin, "tokens go to another host over https only")
    return str(there)


def address_refusal(address: str, *, registry: str | None, policy: EgressPolicy = DEFAULT_POLICY) -> str | None:
    """Say why a connection to *address* is refused when a server named the host; None if it is allowed.

    Args:
        address: The IP address that is about to be dialled.
        registry: The address, or host, the registry the user named was reached at; None if it is not known.
        policy: What the client's owner allows.
    """
    kind = _url.kind_of(address)
    if kind is AddressKind.PUBLIC:
        return None
    if kind is AddressKind.FORBIDDEN:
        return "it is a link-local, metadata or reserved address"
    if registry is not None:
        mine, theirs = _url.address_of(address), _url.address_of(registry)
        if (mine is not None and mine == theirs) or (kind is AddressKind.LOOPBACK and _url.kind_of(registry) is kind):
            return None
    if kind is AddressKind.LOOPBACK:
        return "it is on this machine"
    return None if policy.allow_private else "it is a private address"


def _origin(url: SplitUrl) -> Origin:
    return Origin(url.scheme, url.host, url.port)


def _check_way(here: Origin, there: Origin, named: Origin, policy: EgressPolicy, refuse: type[EgressError]) -> None:
    if here.scheme == "https" and there.scheme == "http":
        raise refuse(str(here), str(there), "https never leads to http")
    # The user chose the named registry, wherever it is.
    if there == named or there.host == named.host:
        return
    # Names that a resolver is still to look at are judged when they are dialled.
    if reason := address_refusal(there.host, registry=named.host, policy=policy):
        raise refuse(str(here), str(there), reason)


def _same_owner(here: Origin, there: Origin) -> bool:
    return there.scheme == "https" and same_registrable_domain(here.host, there.host)
