"""Strict URLs: one reading of a server's URL, so that what was checked is what is dialled.

Libraries disagree about user information, backslashes, short IPv4 forms and blanks. What two readers could read in two
ways is refused here instead of being repaired.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urljoin

import attrs

from ocidist.wire.ranges import parse_int

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
MAX_URL_CHARS: Final = 8 * 1024

_HOST_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
_SCHEME_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+-.")
_MAX_HOST_CHARS: Final = 253
_MAX_LABEL_CHARS: Final = 63
_MAX_PORT: Final = 65535

_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_METADATA_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
# Where clouds tell their machines secrets; all of 169.254.0.0/16 and fe80::/10 is link-local anyway.
_METADATA: Final = frozenset(
    map(
        ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42"),
    )
)
# Among them its agent that hands out the roles of containers.
_AMAZON: Final = IPv6Network("fd00:ec2::/32")
# Ranges whose last 32 bits are an IPv4 address that a gateway, or the kernel, would reach.
_EMBEDS_V4: Final = (
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("::/96"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("::ffff:0:0:0/96"),
)
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")


class BadUrlError(ValueError):
    """The URL cannot be used; the text says why."""


class AddressKind(enum.Enum):
    """Where a host is, as far as its name or address tells."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    FORBIDDEN = "forbidden"


@attrs.frozen
class SplitUrl:
    """An absolute http or https URL.

    Attributes:
        scheme: ``http`` or ``https``.
        host: In lower case, IPv6 addresses without brackets.
        port: Never None: the scheme's own port is filled in.
        rest: Path and query, as written; begins with ``/`` or ``?`` or is empty.
        explicit_port: Whether the port was written.
    """

    scheme: str
    host: str
    port: int
    rest: str
    explicit_port: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port, the latter only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def __str__(self) -> str:
        return self.origin + self.rest


def split(url: str) -> SplitUrl:
    """Read an absolute http or https URL; its fragment is dropped.

    Raises:
        BadUrlError: It is no such URL, carries user information, or could be read in two ways.
    """
    check_characters(url)
    scheme, colon, rest = url.partition("#")[0].partition(":")
    scheme = scheme.lower()
    if not colon or not scheme or not _SCHEME_CHARS.issuperset(scheme):
        raise BadUrlError("it is not an absolute URL")
    if scheme not in DEFAULT_PORTS:
        raise BadUrlError("its scheme is neither http nor https")
    if not rest.startswith("//"):
        raise BadUrlError("it names no host")
    authority, tail = _cut(rest[2:], "/?")
    if "@" in authority:
        raise BadUrlError("it carries user information")
    host, port = _host_and_port(authority)
    return SplitUrl(scheme, host, DEFAULT_PORTS[scheme] if port is None else port, tail, port is not None)


def join(base: SplitUrl, reference: str) -> SplitUrl:
    """Resolve a URL reference that a server gave.

    Raises:
        BadUrlError: The result is no absolute http or https URL, or the reference could be read in two ways.

    Spec: RFC 3986, section 5.
    """
    check_characters(reference)
    target = reference.partition("#")[0]
    if not target:
        raise BadUrlError("it is empty")
    if _has_scheme(target):
        return split(target)
    if target.startswith("//"):
        return split(f"{base.scheme}:{target}")
    path = base.rest.partition("?")[0] or "/"
    if target.startswith("/"):
        rest = target
    elif target.startswith("?"):
        rest = path + target
    else:
        # urljoin may change how a query is written, so it sees the paths only.
        relative, query = _cut(target, "?")
        joined = urljoin(path, relative)
        # It drops the first slash where the reference climbs too high, and what follows would become part of the host.
        rest = (joined if joined.startswith("/") else f"/{joined}") + query
    return attrs.evolve(base, rest=rest)


def check_characters(url: str) -> None:
    """Refuse what no URL holds, and what libraries read differently.

    Raises:
        BadUrlError: The URL is too long, or holds blanks, control characters, backslashes or non-ASCII characters.
    """
    if len(url) > MAX_URL_CHARS:
        raise BadUrlError(f"it is longer than {MAX_URL_CHARS} characters")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise BadUrlError("it holds characters that no URL may hold")


def _cut(text: str, stops: str) -> tuple[str, str]:
    at = min((found for stop in stops if (found := text.find(stop)) >= 0), default=len(text))
    return text[:at], text[at:]


def _has_scheme(target: str) -> bool:
    scheme, colon, _ = target.partition(":")
    # A first path segment with a colon is a scheme to every reader: there is no relative reference like it.
    return bool(colon) and bool(scheme) and _SCHEME_CHARS.issuperset(scheme.lower())


# However many URLs there are, they name few hosts.
@lru_cache(maxsize=1024)
def _host_and_port(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        text, bracket, tail = authority[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise BadUrlError("its host is malformed")
        return _ipv6(text), _port(tail[1:]) if tail[1:] else None
    name, colon, port = authority.partition(":")
    if ":" in port:
        raise BadUrlError("its host is malformed")
    host = name.lower()
    _check_name(host)
    return host, _port(port) if colon and port else None


def _ipv6(text: str) -> str:
    try:
        # A zone (%eth0) means something else on every machine.
        return str(IPv6Address("" if "%" in text else text))
    except ValueError:
        raise BadUrlError("its host is malformed") from None


def _port(text: str) -> int:
    port = parse_int(text)
    if port is None or not 0 < port <= _MAX_PORT:
        raise BadUrlError("its port is not a port number")
    return port


def _check_name(host: str) -> None:
    if not host or len(host) > _MAX_HOST_CHARS + 1 or not _HOST_CHARS.issuperset(host):
        raise BadUrlError("its host is malformed")
    if not all(0 < len(label) <= _MAX_LABEL_CHARS for label in host.removesuffix(".").split(".")):
        raise BadUrlError("its host is malformed")
    if _ends_in_number(host) and _ipv4(host.removesuffix(".")) is None:
        raise BadUrlError("its host looks like an IP address and is none")


def _ends_in_number(host: str) -> bool:
    last = host.removesuffix(".").rpartition(".")[2]
    return last.isdigit() or (last.startswith("0x") and _number(last) is not None)


def _number(text: str) -> int | None:
    """Read one part of an IPv4 address as the C library does: decimal, octal with 0, hexadecimal with 0x."""
    if text.startswith("0x"):
        digits, base = text[2:] or "0", 16
    elif len(text) > 1 and text.startswith("0"):
        digits, base = text[1:], 8
    else:
        digits, base = text, 10
    if not 0 < len(digits) <= 16 or any(char not in "0123456789abcdef"[:base] for char in digits):
        return None
    return int(digits, base)


def _ipv4(host: str) -> IPv4Address | None:
    numbers = [_number(part) for part in host.split(".")]
    if len(numbers) > 4:
        return None
    value = 0
    for number in numbers[:-1]:
        if number is None or number > 255:
            return None
        value = value << 8 | number
    last, bits = numbers[-1], 8 * (5 - len(numbers))
    if last is None or last >= 1 << bits:
        return None
    return IPv4Address(value << bits | last)


@lru_cache(maxsize=1024)
def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Read a host as an IP address in any form a C library takes; None if it is a name.

    An IPv6 address that stands for an IPv4 address comes back as that.
    """
    bare = host.lower().strip("[]").removesuffix(".")
    if ":" not in bare:
        return _ipv4(bare) if bare and _ends_in_number(bare) else None
    try:
        address = IPv6Address(bare.partition("%")[0])
    except ValueError:
        return None
    return _embedded(address) or address


def _embedded(address: IPv6Address) -> IPv4Address | None:
    number = int(address)
    if address in _SIX_TO_FOUR:
        return IPv4Address(number >> 80 & 0xFFFFFFFF)
    if number > 1 and any(address in network for network in _EMBEDS_V4):
        return IPv4Address(number & 0xFFFFFFFF)
    return None


@lru_cache(maxsize=1024)
def kind_of(host: str) -> AddressKind:
    """Tell where a host is: by its address if it is one, else by the few names that have a fixed meaning.

    A name that means nothing special counts as public: only the address it resolves to can tell.
    """
    address = address_of(host)
    if address is None:
        return _kind_of_name(host.lower().removesuffix("."))
    if address in _METADATA or address in _AMAZON:
        return AddressKind.FORBIDDEN
    if address.is_link_local or address.is_unspecified or address.is_multicast:
        return AddressKind.FORBIDDEN
    if address.is_loopback:
        return AddressKind.LOOPBACK
    if isinstance(address, IPv4Address) and (int(address) >> 24 == 0 or int(address) == 0xFFFFFFFF):
        return AddressKind.FORBIDDEN
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return AddressKind.PUBLIC if address.is_global and not site_local else AddressKind.PRIVATE


def _kind_of_name(name: str) -> AddressKind:
    if ":" in name:
        # Neither a name nor an address.
        return AddressKind.FORBIDDEN
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return AddressKind.LOOPBACK
    if name in _METADATA_NAMES or name.startswith("instance-data."):
        return AddressKind.FORBIDDEN
    return AddressKind.PUBLIC
