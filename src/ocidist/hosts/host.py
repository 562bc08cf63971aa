"""What is configured for one host, and mirrors: other hosts that answer reads in a registry's place.

Spec: containerd, "Registry Configuration" (hosts.toml); containers-registries.conf(5), "Remapping and mirroring
registries".
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

import attrs

from ocidist.errors import InvalidReferenceError, UsageError
from ocidist.model.profile import RegistryProfile
from ocidist.model.reference import RegistryName, RepositoryName

Scheme = Literal["http", "https"]

File: TypeAlias = "str | Path"

API_ROOT: Final = "/v2"

# No dots alone, no escapes: a path that two readers could take for two places is refused.
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?", re.ASCII)


class MirrorTags(enum.Enum):
    """What a mirror's word on a tag is worth. Content asked for by digest is verified, whoever sends it.

    It is worth as much where nothing proves the answer although a digest is asked for: the size and existence of
    content, and a part of a blob.

    Attributes:
        CHECKED: The registry is asked what the tag names now, and a mirror that says something else is passed over and
            reported. Only while the registry cannot be reached, or where it is blocked, a mirror's word counts.
        TRUSTED: The first mirror that answers decides, as in containerd and podman; the answer may be old.
        NEVER: The mirror is not asked about tags.
    """

    CHECKED = "checked"
    TRUSTED = "trusted"
    NEVER = "never"


def flag(_instance: object, attribute: attrs.Attribute[bool], value: bool) -> None:  # noqa: FBT001 -- a validator
    """Check that a value is one of two: texts like ``"no"`` count as true elsewhere."""
    if not isinstance(value, bool):
        raise UsageError(f"{attribute.name} must be True or False, not a value of type {type(value).__name__}")


def _seconds(_instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise UsageError(f"{attribute.name} must be above 0 seconds, not {value!r}")


def _namespace(value: str | None) -> str | None:
    return str(RepositoryName(value)) if value else value


@attrs.frozen
class Mirror:
    """Another host that is asked first when content is read. Nothing is ever written to it.

    The user named it, so it is treated as a registry of its own: it gets the credentials that are configured for its
    own name and no others, tokens are fetched and kept for it alone, and the egress policy judges the token servers and
    redirects it names as seen from there. Being named, it may itself be at a private address.

    Attributes:
        url: ``https://host[:port][/path]``, or ``host[:port]`` to find out the scheme.
        namespace: Repository path at the mirror that takes the place of the one in the configuration's key: under the
            key ``docker.io``, ``Mirror("https://mirror.lan", namespace="hub")`` keeps ``library/alpine`` as
            ``hub/library/alpine``. None leaves repository names as they are.
        override_path: Whether the URL's path is the whole root of its API, without a ``/v2`` after it. A path that ends
            in ``/v2`` is so anyway.
        tags: What its word on a tag is worth.
        digests: Whether it is asked for manifests by digest.
        blobs: Whether it is asked for blobs.
        ns: Whether to tell it, with a query ``ns=``, which registry is meant. Pull-through mirrors of several
            registries need to know.
        patience: Seconds within which it has to answer before the next host is asked, and for which it may be silent
            while it sends what the answer holds. Waiting for a free slot does not count.
        host: Certificates, header fields and the like of its host. They hold for every connection to that host. An
            entry of its own in the client's ``hosts`` wins, value by value, and it alone makes that host insecure.
        registry: The mirror as a registry name, from ``url``.
        root: Path in place of ``/v2``, from ``url`` and ``override_path``.
        inside: Repository path under which it keeps everything, or the empty text, from ``url``.

    Raises:
        UsageError: The URL holds user information, a query or odd characters, or ``host`` has mirrors itself.
        InvalidReferenceError: The host or the namespace does not follow the grammar.
    """

    url: str
    namespace: str | None = attrs.field(default=None, kw_only=True, converter=_namespace)
    override_path: bool = attrs.field(default=False, kw_only=True, validator=flag)
    tags: MirrorTags = attrs.field(
        default=MirrorTags.CHECKED, kw_only=True, validator=attrs.validators.instance_of(MirrorTags)
    )
    digests: bool = attrs.field(default=True, kw_only=True, validator=flag)
    blobs: bool = attrs.field(default=True, kw_only=True, validator=flag)
    ns: bool = attrs.field(default=True, kw_only=True, validator=flag)
    patience: float = attrs.field(default=10.0, kw_only=True, validator=_seconds)
    host: HostConfig | None = attrs.field(default=None, kw_only=True)
    registry: RegistryName = attrs.field(init=False, repr=False)
    root: str = attrs.field(init=False, repr=False)
    inside: str = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        registry, path = _split(self.url)
        if self.host is not None and (self.host.mirrors or self.host.location is not None or self.host.blocked):
            raise UsageError("a mirror has no mirrors itself")
        whole = self.override_path or path.endswith(API_ROOT)
        root, inside = (path if whole else f"{path}{API_ROOT}"), ""
        if root.startswith(f"{API_ROOT}/"):
            # What follows is how the mirror names repositories, and its tokens are for that name.
            with suppress(InvalidReferenceError):
                root, inside = API_ROOT, str(RepositoryName(root.removeprefix(f"{API_ROOT}/")))
        object.__setattr__(self, "registry", registry)
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "inside", inside)

    def repository_for(self, repository: str, key: str) -> RepositoryName:
        """Return the name under which the mirror has a repository.

        Args:
            repository: Its name at the registry.
            key: The part of that name that the configuration is for; empty if it is for all of them.

        Raises:
            InvalidReferenceError: There is no such name.
        """
        name = repository
        if self.namespace is not None:
            name = "/".join(part for part in (self.namespace, repository[len(key) :].strip("/")) if part)
        return RepositoryName(f"{self.inside}/{name}" if self.inside else name)

    def __str__(self) -> str:
        return str(self.registry) if self.registry.scheme is None else f"{self.registry.scheme}://{self.registry}"


def _split(url: str) -> tuple[RegistryName, str]:
    if not isinstance(url, str):
        raise UsageError(f"the URL of a mirror is a string, not {type(url).__name__}")
    if any(sign in url for sign in "@?#"):
        # Never with the text itself: it may hold a secret.
        raise UsageError("the URL of a mirror holds no user name, password, query or fragment")
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/") if separator else url.partition("/")
    registry = RegistryName.parse(f"{scheme}://{host}" if separator else host)
    if path and not separator:
        raise UsageError("a mirror's URL with a path begins with https:// (or give the path as its namespace)")
    if _PATH.fullmatch(slash + path) is None:
        raise UsageError(
            f"the path of the mirror {registry} cannot be used: letters, digits, '-', '.', '_' and '~' only"
        )
    return registry, (slash + path).rstrip("/")


# --- the configuration of a host --------------------------------------------------------------------------------------

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?", re.ASCII)
# What a request is made of; a field of the same name would be a second one.
_OURS: Final = frozenset({
    *("accept", "accept-encoding", "connection", "content-length", "content-range", "content-type", "expect", "host"),
    *("if-match", "if-none-match", "range", "te", "transfer-encoding", "upgrade", "user-agent"),
})  # fmt: skip


def _scheme(_instance: object, _attribute: attrs.Attribute[Scheme | None], value: Scheme | None) -> None:
    if value not in {None, "http", "https"}:
        msg = f"scheme must be 'http', 'https' or None to detect it, not {value!r}"
        raise UsageError(msg)


def _positive(_instance: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        msg = f"{attribute.name} must be a whole number above 0, not {value!r}"
        raise UsageError(msg)


def _rate(_instance: object, attribute: attrs.Attribute[float | None], value: float | None) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value < math.inf):
        msg = f"{attribute.name} must be a number above 0, not {value!r}"
        raise UsageError(msg)


def _fields(value: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    pairs = tuple(cast("Mapping[str, str]", value).items()) if isinstance(value, Mapping) else tuple(value)
    for name, text in pairs:
        if not isinstance(name, str) or _TOKEN.fullmatch(name) is None or name.lower() in _OURS:
            raise UsageError(f"headers: {name!r} is not a field that can be added")
        if not isinstance(text, str) or _VALUE.fullmatch(text) is None:
            # The value may be a secret.
            raise UsageError(f"headers: the value of {name!r} cannot be sent")
    return pairs


def _file(value: File, name: str) -> File:
    if not isinstance(value, str | Path):
        raise UsageError(f"{name} names files by text or path, not by {type(value).__name__}")
    if not str(value) or "\0" in str(value):
        raise UsageError(f"{name} names a file that cannot be one")
    return value


def _authorities(value: File | Iterable[File] | None) -> File | tuple[File, ...] | None:
    if value is None or isinstance(value, str | Path):
        return None if value is None else _file(value, "ca")
    files = tuple(value) if isinstance(value, Iterable) and not isinstance(value, bytes) else (cast("File", value),)
    return tuple(_file(file, "ca") for file in files) or None


def _certificate(value: File | Sequence[File] | None) -> File | tuple[File, File] | None:
    if value is None or isinstance(value, str | Path):
        return None if value is None else _file(value, "client_cert")
    if not isinstance(value, Sequence) or isinstance(value, bytes) or len(value) != 2:
        raise UsageError("client_cert is a file, or a pair of a certificate and its key")
    return _file(value[0], "client_cert"), _file(value[1], "client_cert")


def _mirrors(value: Iterable[Mirror | str]) -> tuple[Mirror, ...]:
    if isinstance(value, str):
        raise UsageError("mirrors is a collection of mirrors, not one string")
    return tuple(_mirror(item, "mirrors") for item in value)


def _mirror(value: Mirror | str, name: str) -> Mirror:
    if not isinstance(value, Mirror | str):
        raise UsageError(f"{name} is made of mirrors or their URLs, not of {type(value).__name__}")
    return Mirror(value) if isinstance(value, str) else value


def _location(value: Mirror | str | None) -> Mirror | None:
    return None if value is None else _mirror(value, "location")


def _profile(
    _instance: object, _attribute: attrs.Attribute[RegistryProfile | None], value: RegistryProfile | None
) -> None:
    if not isinstance(value, RegistryProfile | None):
        raise UsageError(f"profile is a RegistryProfile, not {type(value).__name__}")


@attrs.frozen
class HostConfig:
    """What is configured for one registry host.

    Attributes:
        scheme: ``"http"`` or ``"https"``; None detects it (https first, http only where ``insecure`` or on loopback).
        insecure: Whether plain http may be tried when https does not answer. A certificate failure never leads to it.
        verify: Whether to check the server's certificate. Leave it on; pass ``ca`` instead.
        ca: PEM file of certificate authorities to trust beside the operating system's, or several of them.
        client_cert: PEM file of a client certificate with its key, or a pair of files.
        concurrency: Most requests under way at once, token requests not counted; None takes the client's default.
        rate: Most requests per second, token requests not counted; None takes the client's default.
        chunk_size: Bytes per chunk of chunked uploads, or None for the default.
        profile: How the registry takes blobs and tags; None takes what is known of its host, and finds out the rest.
        mirrors: Hosts to ask first when content is read, in order; the registry itself is asked last. Strings are taken
            as the URLs of mirrors.
        location: Host to read from in the registry's place, after the mirrors, or its URL; None reads from the
            registry.
        blocked: Whether every use of the registry itself is refused. Mirrors that it has still answer reads.
        headers: Header fields for requests to this host's API; they are not sent to where it redirects, nor to token
            servers, nor over plain http that is only ``insecure``. May hold secrets: they are not shown.

    Raises:
        UsageError: A value is out of range.
    """

    scheme: Scheme | None = attrs.field(default=None, validator=_scheme)
    insecure: bool = attrs.field(default=False, validator=flag)
    verify: bool = attrs.field(default=True, validator=flag)
    ca: File | tuple[File, ...] | None = attrs.field(default=None, converter=_authorities)
    client_cert: File | tuple[File, File] | None = attrs.field(default=None, converter=_certificate)
    concurrency: int | None = attrs.field(default=None, validator=_positive)
    rate: float | None = attrs.field(default=None, validator=_rate)
    chunk_size: int | None = attrs.field(default=None, validator=_positive)
    profile: RegistryProfile | None = attrs.field(default=None, validator=_profile)
    mirrors: tuple[Mirror, ...] = attrs.field(default=(), converter=_mirrors)
    location: Mirror | None = attrs.field(default=None, converter=_location)
    blocked: bool = attrs.field(default=False, validator=flag)
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_fields, repr=False)

    @property
    def custom_tls(self) -> bool:
        """Whether connections to this host need a TLS context of their own."""
        return not self.verify or self.ca is not None or self.client_cert is not None

    @property
    def routed(self) -> bool:
        """Whether reads may go elsewhere than to the registry itself."""
        return bool(self.mirrors) or self.location is not None or self.blocked

    def __or__(self, other: HostConfig) -> HostConfig:
        """Return the configuration with what *other* says on top of it: every value that is not the default."""
        said = {name: getattr(other, name) for name in _NAMES if getattr(other, name) != getattr(NOTHING, name)}
        return attrs.evolve(self, **said)


NOTHING: Final = HostConfig()
"""The configuration that says nothing."""

_NAMES: Final = tuple(field.name for field in attrs.fields(HostConfig))
