"""What the egress rules allow is what a connection then does: no URL that two libraries read differently passes."""

from __future__ import annotations

from ipaddress import IPv4Address
from urllib.parse import urlsplit

import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ocidist.errors import EgressError
from ocidist.wire._url import address_of
from ocidist.wire.egress import AddressKind, Origin, check_link, check_location, check_realm, check_redirect, resolve

MANY = settings(max_examples=300)

REGISTRY = "https://registry.acme.io/v2/app/blobs/x"
PIECES = [
    "https",
    "http",
    "file",
    ":",
    "//",
    "/",
    "\\",
    "@",
    "?",
    "#",
    "[",
    "]",
    ".",
    "..",
    "%",
    "%2e",
    " ",
    "\t",
    "\n",
    "\x00",
]
PIECES += [
    "registry.acme.io",
    "evil.example",
    "localhost",
    "127.0.0.1",
    "0x7f.1",
    "::1",
    "::ffff:127.0.0.1",
    "169.254.169.254",
]
PIECES += ["10.0.0.1", "443", "80", "8443", "user", "é", "。", "①", "-", "_", "xn--a"]
TARGETS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@MANY
@given(TARGETS)
@example("https://evil.example\\@registry.acme.io/")
@example("//evil.example:443@registry.acme.io")
def test_an_allowed_url_is_read_alike_by_every_library(target: str) -> None:
    try:
        url = resolve(REGISTRY, target)
    except EgressError:
        return
    ours = Origin.of(url)
    theirs = httpx.URL(url)
    split = urlsplit(url)
    port = 443 if ours.scheme == "https" else 80
    assert ours.scheme == theirs.scheme == split.scheme
    assert ours.host == theirs.raw_host.decode().strip("[]") == split.hostname
    assert ours.port == (theirs.port or port) == (split.port or port)
    assert not theirs.userinfo
    assert split.username is None
    assert resolve(REGISTRY, url) == url


@MANY
@given(TARGETS)
def test_no_purpose_lets_a_public_https_registry_lead_inside_or_to_http(target: str) -> None:
    for check in (check_realm, check_redirect, check_location, check_link):
        try:
            allowed = check(REGISTRY, target)
        except EgressError:
            continue
        url = allowed if isinstance(allowed, str) else allowed.url
        assert url.startswith("https://")
        assert Origin.of(url).kind is AddressKind.PUBLIC
        if check is check_link:
            assert Origin.of(url) == Origin.of(REGISTRY)


@MANY
@given(TARGETS)
def test_credentials_go_to_the_owner_of_the_registry_only(target: str) -> None:
    try:
        decision = check_realm(REGISTRY, target)
    except EgressError:
        return
    host = Origin.of(decision.url).host.removesuffix(".")
    assert decision.credentials == (host == "acme.io" or host.endswith(".acme.io"))


def _part(value: int, form: str) -> str:
    return {"decimal": str(value), "octal": f"0{value:o}", "hex": f"0x{value:x}", "HEX": f"0X{value:X}"}[form]


@MANY
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.lists(st.sampled_from(["decimal", "octal", "hex", "HEX"]), min_size=4, max_size=4),
)
def test_every_way_to_write_an_ipv4_address_is_that_address(number: int, parts: int, forms: list[str]) -> None:
    values = [number >> 24 & 255, number >> 16 & 255, number >> 8 & 255][: parts - 1]
    values.append(number & (1 << 8 * (5 - parts)) - 1)
    text = ".".join(_part(value, form) for value, form in zip(values, forms, strict=False))
    assert address_of(text) == IPv4Address(number)
    assert address_of(text + ".") == IPv4Address(number)
    assert address_of(f"::ffff:{IPv4Address(number)}") == IPv4Address(number)
    assert Origin.of(f"http://{text}/").kind is Origin.of(f"http://{IPv4Address(number)}/").kind
