"""Names: registries, repositories, tags, and references that put them together.

Each is a validated value: nothing that does not follow the grammar can reach a URL, a header or a path, and nothing is
percent-encoded into validity. Parsing is linear and the length is checked first.

Spec: distribution-spec, "Pulling manifests" (names and tags); the grammar and Docker's short forms are those of the
``distribution/reference`` project.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, Self

import attrs

from ocidist.errors import InvalidDigestError, InvalidReferenceError
from ocidist.model.digest import MAX_DIGEST_LENGTH, Digest

DOCKER_HUB: Final = "docker.io"
HUB_INDEX: Final = "https://index.docker.io/v1/"
"""Docker Hub's index: what is left of version 1, and what its credentials have been kept under ever since."""

MAX_HOST_LENGTH: Final = 253
"""Longest host name, in characters: the limit of the domain name system."""

MAX_LABEL_LENGTH: Final = 63
"""Longest part of a host name between dots, in characters."""

MAX_NAME_LENGTH: Final = 255
"""Longest ``host/repository``, in characters; registries and clients share this limit."""

MAX_TAG_LENGTH: Final = 128
"""Longest tag, in characters."""

MAX_REFERENCE_LENGTH: Final = MAX_NAME_LENGTH + 1 + MAX_TAG_LENGTH + 1 + MAX_DIGEST_LENGTH
"""Longer texts are refused before they are looked at."""

Scheme = Literal["http", "https"]

_SCHEMES: dict[str, Scheme] = {"http": "http", "https": "https"}
_HUB_HOSTS = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_HUB_API_HOST = "registry-1.docker.io"
_HTTP_PORT, _HTTPS_PORT = 80, 443
_MAX_PORT = 65535
# Never with the text itself: it may end up in a log.
_NO_USER = "names hold no user name and password: give them to the client, as credentials"
_SHOWN = 80
_SOME_HOST = "x.invalid"

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_IPV6 = re.compile(r"[0-9a-f:]{2,39}", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_LETTER = re.compile(r"[a-z]", re.ASCII)
_API_ADDRESS = re.compile(r"((?:https?://)?[^/]+)/+(?:v[12]/*)?", re.ASCII | re.IGNORECASE)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[./]|__?|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_TAG_CHARACTERS = f"{string.ascii_letters}{string.digits}_.-".encode()
# An empty text between two lines, or one that begins with what no tag begins with.
_NO_TAG_BEGINS = ("\n\n", "\n.", "\n-")
_ID_LENGTH = 64
_HEX_ID = re.compile(rf"[0-9a-f]{{{_ID_LENGTH}}}", re.ASCII)


def _show(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}... ({len(text)} characters)"


def _text(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    msg = f"a {what} is a string, not {type(value).__name__}"
    raise InvalidReferenceError(msg)


# --- registries ------------------------------------------------------------------------------------------------------


def _host(value: str) -> str:
    host = _text(value, "host").lower()
    if len(host) <= MAX_HOST_LENGTH and value.isascii():
        if ":" in host:
            return _ipv6(host)
        if _is_name(host) or _IPV4.fullmatch(host):
            return DOCKER_HUB if host in _HUB_HOSTS else host
    msg = f"{_show(value)} is not a host name"
    raise InvalidReferenceError(msg)


def _is_name(host: str) -> bool:
    labels = host.split(".")
    if not all(len(label) <= MAX_LABEL_LENGTH and _LABEL.fullmatch(label) for label in labels):
        return False
    # What ends in a number is an address in one of its many spellings ("127.1", "0x7f.1", "2130706433"), never a name.
    return _NUMBER.fullmatch(labels[-1]) is None and _LETTER.search(host) is not None


def _ipv6(host: str) -> str:
    from ipaddress import IPv6Address  # noqa: PLC0415 -- rarely needed, and slow to import

    try:
        if _IPV6.fullmatch(host):
            return str(IPv6Address(host))
    except ValueError:
        pass
    msg = f"{_show(host)} is not an IPv6 address"
    raise InvalidReferenceError(msg)


def _port(value: int | None) -> int | None:
    if value is None or (type(value) is int and 1 <= value <= _MAX_PORT):
        return value
    msg = f"{value!r} is not a port (1 to {_MAX_PORT})"
    raise InvalidReferenceError(msg)


def _scheme(value: Scheme | None) -> Scheme | None:
    if value in {None, "http", "https"}:
        return value
    msg = f"{value!r} is not a scheme (http or https)"
    raise InvalidReferenceError(msg)


@attrs.frozen(cache_hash=True)
class RegistryName:
    """A registry: host, port, and the scheme if the caller named one.

    Every spelling of Docker Hub becomes the host ``docker.io``.

    Attributes:
        host: Host name or address in lower case; an IPv6 address without brackets, in its shortest form.
        port: Port, or None for the scheme's default.
        scheme: ``http`` or ``https`` if it was named, else None: to be found out.

    Raises:
        InvalidReferenceError: A part does not follow the grammar.
    """

    host: str = attrs.field(converter=_host)
    port: int | None = attrs.field(default=None, converter=_port)
    scheme: Scheme | None = attrs.field(default=None, converter=_scheme)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``[scheme://]host[:port]``; the empty text is Docker Hub.

        Raises:
            InvalidReferenceError: The text is anything else: a path, user information, an unknown scheme.
        """
        if len(_text(text, "registry")) > MAX_REFERENCE_LENGTH:
            msg = f"{_show(text)} is too long for a registry"
            raise InvalidReferenceError(msg)
        if "@" in text:
            raise InvalidReferenceError(_NO_USER)
        prefix, separator, rest = text.partition("://")
        if not separator:
            host, port = _split_port(text or DOCKER_HUB)
            return cls(host, port)
        scheme = _SCHEMES.get(prefix.lower())
        if scheme is None:
            msg = f"{_show(prefix)} is not a scheme (http or https)"
            raise InvalidReferenceError(msg)
        host, port = _split_port(rest)
        return cls(host, port, scheme)

    def __str__(self) -> str:
        return _authority(self.host, self.port)

    @property
    def is_docker_hub(self) -> bool:
        """Whether this is Docker Hub, by any of its names."""
        return self.host == DOCKER_HUB

    @property
    def api_host(self) -> str:
        """``host[:port]`` that answers API requests: for Docker Hub not the name that users know."""
        return _authority(_HUB_API_HOST if self.is_docker_hub else self.host, self.port)

    @property
    def identity(self) -> str:
        """What tells registries apart: host and port, without the port of https.

        That is the one which is meant where there is none, unless ``http`` was named.
        """
        port = self.port or (_HTTP_PORT if self.scheme == "http" else _HTTPS_PORT)
        return _authority(self.host, None if port == _HTTPS_PORT else port)

    @property
    def credential_key(self) -> str:
        """The key under which credential files keep this registry."""
        return HUB_INDEX if self.is_docker_hub else str(self)

    @property
    def is_loopback(self) -> bool:
        """Whether the name itself says loopback: ``localhost``, a name under it, 127.0.0.0/8 or ``::1``."""
        if self.host in {"localhost", "::1"} or self.host.endswith(".localhost"):
            return True
        return self.host.startswith("127.") and _IPV4.fullmatch(self.host) is not None


def _authority(host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _split_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or not (rest == "" or rest.startswith(":")):
            msg = f"{_show(text)} is not an IPv6 address in brackets with an optional port"
            raise InvalidReferenceError(msg)
        separator, port = rest[:1], rest[1:]
    else:
        host, separator, port = text.partition(":")
    if not separator:
        return host, None
    if _PORT.fullmatch(port) is None:
        msg = f"{_show(text)} does not end in a port"
        raise InvalidReferenceError(msg)
    return host, int(port)


# --- repositories and tags -------------------------------------------------------------------------------------------


class RepositoryName(str):
    """A repository's name within its registry: ``library/alpine``. A string that is known to be well formed.

    Raises:
        InvalidReferenceError: The text does not follow the grammar, or is longer than ``MAX_NAME_LENGTH``.

    Spec: distribution-spec, "Pulling manifests".
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Check the text; a value that is a name already is returned as it is."""
        if type(value) is cls:
            return value
        if len(_text(value, "repository name")) > MAX_NAME_LENGTH:
            msg = f"a repository name has at most {MAX_NAME_LENGTH} characters, {_show(value)} is longer"
            raise InvalidReferenceError(msg)
        if _REPOSITORY.fullmatch(value) is None:
            msg = f"{_show(value)} is not a repository name{_why(value)}"
            raise InvalidReferenceError(msg)
        return super().__new__(cls, value)


class Tag(str):
    """A tag: ``v1.2``. A string that is known to be well formed.

    Raises:
        InvalidReferenceError: The text does not follow the grammar, or is longer than ``MAX_TAG_LENGTH``.

    Spec: distribution-spec, "Pulling manifests".
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Check the text; a value that is a tag already is returned as it is."""
        if type(value) is cls:
            return value
        if _TAG.fullmatch(_text(value, "tag")) is None:
            msg = f"{_show(value)} is not a tag (letters, digits, '_', '.', '-'; at most {MAX_TAG_LENGTH})"
            raise InvalidReferenceError(msg)
        return super().__new__(cls, value)


def are_tags(texts: Sequence[str]) -> bool:
    """Return whether every text is a tag: for long lists, where looking at each takes long."""
    if not texts:
        return True
    lines = "\n".join(("", *texts, ""))
    # One line for each text, and nothing but what tags are made of: the same as the pattern, without a step for each.
    if not lines.isascii() or lines.encode().translate(None, _TAG_CHARACTERS) != b"\n" * (len(texts) + 1):
        return False
    return max(map(len, texts)) <= MAX_TAG_LENGTH and not any(begin in lines for begin in _NO_TAG_BEGINS)


def known_tag(text: str) -> Tag:
    """Return as a tag what is known to be one."""
    return str.__new__(Tag, text)


def known_repository_name(text: str) -> RepositoryName:
    """Return as a repository name what is known to be one."""
    return str.__new__(RepositoryName, text)


def repository_name(text: str) -> RepositoryName:
    """Return the repository name a text spells.

    Raises:
        InvalidReferenceError: See ``RepositoryName``.
    """
    return RepositoryName(text)


def _why(name: str) -> str:
    if name != name.lower():
        return ": it must be lower case"
    if "" in name.split("/"):
        return ": it has an empty part"
    return " (lower-case letters and digits, separated by '.', '_', '__', '-' or '/')"


# --- references ------------------------------------------------------------------------------------------------------


@attrs.frozen
class Reference:
    """Names a repository and, optionally, content in it by tag, by digest, or by both.

    On Docker Hub a repository without a namespace belongs to ``library``.

    Attributes:
        registry: The registry.
        repository: The repository's name within it.
        tag: A tag, or None.
        digest: A digest, or None; with both, the digest decides what is meant.

    Raises:
        InvalidReferenceError: A part is invalid, or ``name`` is longer than ``MAX_NAME_LENGTH``.
        InvalidDigestError: The digest is invalid.
    """

    registry: RegistryName
    repository: RepositoryName = attrs.field(converter=RepositoryName)
    tag: Tag | None = attrs.field(default=None, converter=attrs.converters.optional(Tag))
    digest: Digest | None = attrs.field(default=None, converter=attrs.converters.optional(Digest))

    def __attrs_post_init__(self) -> None:
        if self.registry.is_docker_hub and "/" not in self.repository:
            object.__setattr__(self, "repository", RepositoryName(f"library/{self.repository}"))
        if len(str(self.registry)) + 1 + len(self.repository) > MAX_NAME_LENGTH:
            msg = f"{_show(self.name)} is longer than {MAX_NAME_LENGTH} characters, the limit for host and repository"
            raise InvalidReferenceError(msg)

    @classmethod
    def parse(cls, text: str, *, default_registry: str = DOCKER_HUB, default_tag: str | None = None) -> Self:
        """Read ``[host[:port]/]repository[:tag][@digest]``, filling in what Docker lets one leave out.

        The first part is a host only if it holds a dot, a colon or an upper-case letter, or is ``localhost``.

        Args:
            text: The reference.
            default_registry: The registry if the text names none.
            default_tag: The tag if the text has neither tag nor digest; None leaves it out.

        Raises:
            InvalidReferenceError: The text does not follow the grammar: a scheme, a name that is a digest without its
                algorithm, upper-case repository names, a bad digest, anything too long.
        """
        _refuse(text)
        rest, at, encoded = text.partition("@")
        digest = _digest(encoded, text) if at else None
        host, path = _split_host(rest)
        path, colon, tag = path.partition(":")
        if not colon:
            tag = default_tag if digest is None else None  # type: ignore[assignment]  # a converter takes the text
        registry = _registry(default_registry if host is None else host)
        return cls(registry, path, tag, digest)

    @property
    def name(self) -> str:
        """``host/repository``; a host that reads like a repository's part is written in upper case."""
        host = str(self.registry)
        return f"{host if _reads_as_host(host) else host.upper()}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The shortest form that means the same to Docker: ``alpine``, ``acme/app:v1``."""
        return f"{self._familiar_name()}{self._suffix()}"

    @property
    def locator(self) -> Tag | Digest:
        """What to ask the registry for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or Tag("latest")

    def with_tag(self, tag: str) -> Self:
        """Return the same repository with this tag and no digest."""
        return attrs.evolve(self, tag=tag, digest=None)

    def with_digest(self, digest: str) -> Self:
        """Return the same repository and tag, with this digest."""
        return attrs.evolve(self, digest=digest)

    def __str__(self) -> str:
        return f"{self.name}{self._suffix()}"

    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def _familiar_name(self) -> str:
        if not self.registry.is_docker_hub or self.registry.port is not None:
            return self.name
        namespace, _, rest = self.repository.partition("/")
        if namespace == "library" and "/" not in rest and _HEX_ID.fullmatch(rest) is None:
            return rest
        return self.name if _reads_as_host(namespace) else self.repository


def located(text: str) -> Reference:
    """Read a reference that may have ``http://`` or ``https://`` before it, to fix the scheme of its registry.

    With a scheme before it the first part is the host, whatever it looks like.

    Raises:
        InvalidReferenceError: See ``Reference.parse`` and ``RegistryName.parse``.
    """
    scheme, separator, rest = _text(text, "reference").partition("://")
    if not separator:
        return Reference.parse(text)
    host, _, path = rest.partition("/")
    registry = RegistryName.parse(f"{scheme}://{host}")
    try:
        found = Reference.parse(f"{_SOME_HOST}/{path}")
    except InvalidReferenceError as error:
        raise InvalidReferenceError(error.message.replace(f"{_SOME_HOST}/", f"{host}/")) from None
    return attrs.evolve(found, registry=registry)


def without_api(text: str) -> str:
    """Return the registry in the address of an API, ``https://host/v1/``, as Docker names registries; else the text.

    Raises:
        InvalidReferenceError: It is no text.
    """
    found = _API_ADDRESS.fullmatch(_text(text, "registry"))
    return text if found is None else found[1]


# However many references there are, they name few registries.
@lru_cache(maxsize=256)
def _registry(text: str) -> RegistryName:
    return RegistryName.parse(text)


def _refuse(text: str) -> None:
    if len(_text(text, "reference")) > MAX_REFERENCE_LENGTH:
        msg = f"{_show(text)} is too long for a reference"
    elif "@" in text and "/" in text.partition("@")[2]:
        msg = _NO_USER
    elif "://" in text:
        msg = f"{_show(text)} is a URL, not a reference: leave the scheme out"
    elif len(text) == _ID_LENGTH and _HEX_ID.fullmatch(text):
        msg = f"{_show(text)} could be an image id: write the repository, or sha256: before it"
    else:
        return
    raise InvalidReferenceError(msg)


def _digest(encoded: str, text: str) -> Digest:
    try:
        return Digest(encoded)
    except InvalidDigestError as error:
        msg = f"{_show(text)} has a bad digest: {error.message}"
        raise InvalidReferenceError(msg) from error


def _split_host(rest: str) -> tuple[str | None, str]:
    first, slash, path = rest.partition("/")
    if slash and _reads_as_host(first):
        return first, path
    return None, rest


def _reads_as_host(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost" or part != part.lower()
