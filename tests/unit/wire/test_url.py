"""Reading a server's URL in one way only, and recognising addresses in every form."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ocidist.errors import (
    AuthRealmRefusedError,
    EgressError,
    LinkRefusedError,
    LocationRefusedError,
    RedirectRefusedError,
    UsageError,
)
from ocidist.wire.egress import (
    AddressKind,
    EgressPolicy,
    Origin,
    check_link,
    check_location,
    check_realm,
    check_redirect,
    resolve,
)

REGISTRY = "https://registry.acme.io/v2/app/manifests/v1"

Check = Callable[[str, str], object]
CHECKS: dict[type[EgressError], Check] = {
    AuthRealmRefusedError: check_realm,
    RedirectRefusedError: check_redirect,
    LocationRefusedError: check_location,
    LinkRefusedError: check_link,
}
EVERY_PURPOSE = pytest.mark.parametrize(("error", "check"), CHECKS.items(), ids=[e.__name__ for e in CHECKS])

# --- origins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://r.example:443/a", "https://r.example/b?c"),
        ("http://r.example:80", "http://r.example"),
        ("https://R.EXAMPLE/", "https://r.example/"),
        ("HTTPS://r.example/", "https://r.example/"),
        ("https://[::1]:443/", "https://[0:0::1]/"),
        ("https://r.example:/", "https://r.example/"),
    ],
)
def test_q03_origins_are_compared_with_default_ports_filled_in(one: str, other: str) -> None:
    assert Origin.of(one) == Origin.of(other)


@pytest.mark.parametrize(
    "other",
    [
        "http://r.example/",
        "https://r.example:8443/",
        "https://a.r.example/",
        "https://r.example./",
        "https://r.example.evil.example/",
        "http://r.example:443/",
    ],
)
def test_another_scheme_host_or_port_is_another_origin(other: str) -> None:
    assert Origin.of("https://r.example/") != Origin.of(other)
    assert not check_redirect("http://r.example:5000/", other).same_origin


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://R.example:443/x?y#z", "https://r.example"),
        ("http://r.example:5000/", "http://r.example:5000"),
        ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_origin_is_written_without_path_and_default_port(url: str, text: str) -> None:
    assert str(Origin.of(url)) == text


@pytest.mark.parametrize("url", ["", "r.example", "/v2/", "ftp://r.example/", "https://u@r.example/", "https:///x"])
def test_an_origin_is_that_of_a_url(url: str) -> None:
    with pytest.raises(UsageError):
        Origin.of(url)


# --- resolving -------------------------------------------------------------------------------------------------------

BASE = "https://r.example/v2/a/blobs/uploads/?mount=x"


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("https://c.example/b?sig=%2f+a%20b&&=#frag", "https://c.example/b?sig=%2f+a%20b&&="),
        ("HTTPS://C.example:443/B", "https://c.example/B"),
        ("//c.example/b", "https://c.example/b"),
        ("/v2/a/blobs/uploads/1?_state=a%2Fb", "https://r.example/v2/a/blobs/uploads/1?_state=a%2Fb"),
        ("1?_state=x", "https://r.example/v2/a/blobs/uploads/1?_state=x"),
        ("../uploads/1", "https://r.example/v2/a/blobs/uploads/1"),
        ("?_state=x", "https://r.example/v2/a/blobs/uploads/?_state=x"),
        ("/x?", "https://r.example/x?"),
        ("https://c.example", "https://c.example"),
        ("https://c.example?x", "https://c.example?x"),
        ("https://[2001:db8::1]:5000/x", "https://[2001:db8::1]:5000/x"),
        ("/x?next=https://evil.example/", "https://r.example/x?next=https://evil.example/"),
        ("/x//y/@z:1", "https://r.example/x//y/@z:1"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
    ],
)
def test_q28_a_reference_is_resolved_and_its_query_kept_byte_for_byte(target: str, url: str) -> None:
    assert resolve(BASE, target) == url


def test_the_fragment_of_the_base_and_of_the_target_go_nowhere() -> None:
    assert resolve("https://r.example/a#b", "c#d") == "https://r.example/c"


AMBIGUOUS = [
    "",
    "#frag",
    "https://user:secret@r.example/",
    "https://user@r.example/",
    "https://@r.example/",
    "//user@evil.example/",
    "https://r.example@evil.example/",
    "https://r.example:pw@evil.example/",
    "file:///etc/passwd",
    "FILE:/etc/passwd",
    "ftp://r.example/",
    "gopher://r.example/",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "data:text/plain,x",
    "https:r.example",
    "https:/r.example",
    "https://",
    "https:///x",
    "//",
    "///x",
    "https://?x",
    "https:\\\\evil.example\\",
    "\\\\evil.example\\x",
    "/\\evil.example",
    "https://evil.example\\@r.example/",
    "https://r.example/a b",
    " https://r.example/",
    "https://r.example/\r\nX-Evil: 1",
    "https://r.example/\x00",
    "https://r.exam\tple/",
    "ht\ntps://evil.example/",
    "https://r.example:0/",
    "https://r.example:65536/",
    "https://r.example:-1/",
    "https://r.example:80a/",
    "https://r.example:8_0/",
    "https://r.example:\u0668\u0660/",
    "https://r.example:80:80/",
    "https://[::1/",
    "https://::1/",
    "https://[::1]x/",
    "https://[fe80::1%25eth0]/",
    "https://[v1.x]/",
    "https://[127.0.0.1]/",
    "https://r%2eexample/",
    "https://r.example%00.evil.example/",
    "https://räksmörgås.example/",
    "https://r\u3002example/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://.example/",
    "https://r..example/",
    "https://r.example../",
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 127 + "example/",
    "https://r.example/" + "a" * 10_000,
    "https://256.1.1.1/",
    "https://1.2.3.4.5/",
    "https://08.1.1.1/",
    "https://1.2.3.0x100/",
    "https://4294967296/",
    "https://r.example.1/",
    "https://a,b/",
    "https://*.example/",
]


@pytest.mark.parametrize("target", AMBIGUOUS)
@EVERY_PURPOSE
def test_f064_what_readers_could_read_differently_is_refused_for_every_purpose(
    error: type[EgressError], check: Check, target: str
) -> None:
    with pytest.raises(error) as caught:
        check(REGISTRY, target)
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)
    assert caught.value.source == "https://registry.acme.io"


def test_an_error_names_origins_only() -> None:
    with pytest.raises(RedirectRefusedError) as caught:
        check_redirect("https://r.example/v2/?_state=canary", "http://c.example/path?X-Amz-Signature=canary")
    assert (caught.value.source, caught.value.target) == ("https://r.example", "http://c.example")
    assert "canary" not in str(caught.value)


def test_our_own_url_must_be_a_url() -> None:
    with pytest.raises(UsageError):
        resolve("r.example", "/x")


# --- addresses -------------------------------------------------------------------------------------------------------

LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.255.255.254",
    "127.0.0.1.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[::ffff:0:7f00:1]",
    "[2002:7f00:1::]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "a.b.localhost.",
    "localhost.localdomain",
    "ip6-localhost",
]
FORBIDDEN = [
    "169.254.169.254",
    "169.254.1.1",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.254.169.254.",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[fe80::1]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fd20:ce::254]",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",  # noqa: S104  a target to refuse, nothing is bound
    "0",
    "0x0",
    "0.1.2.3",
    "[::]",
    "[::ffff:0.0.0.0]",
    "224.0.0.1",
    "255.255.255.255",
    "[ff02::1]",
    "metadata",
    "metadata.google.internal",
    "Metadata.Google.Internal.",
    "instance-data",
    "instance-data.ec2.internal",
]
PRIVATE = [
    "10.0.0.1",
    "10.1",
    "0xa000001",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "240.0.0.1",
    "[::ffff:10.0.0.1]",
    "[64:ff9b:1::a00:1]",
    "[fc00::1]",
    "[fec0::1]",
    "[fd12:3456::1]",
    "[2001:db8::1]",
    "[2002:a00:1::]",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8.",
    "172.32.0.1",
    "[2606:4700::1111]",
    "r.example",
    "10.example",
    "0x7f.example",
    "localhost.example",
]


def kind(host: str) -> AddressKind:
    return Origin.of(f"https://{host}/").kind


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, AddressKind.LOOPBACK) for host in LOOPBACK),
        *((host, AddressKind.FORBIDDEN) for host in FORBIDDEN),
        *((host, AddressKind.PRIVATE) for host in PRIVATE),
        *((host, AddressKind.PUBLIC) for host in PUBLIC),
    ],
)
def test_addresses_are_recognised_in_every_form(host: str, expected: AddressKind) -> None:
    assert kind(host) is expected


@pytest.mark.parametrize("host", [*LOOPBACK, *FORBIDDEN, *PRIVATE])
@EVERY_PURPOSE
def test_an_internal_address_is_refused_for_every_purpose(error: type[EgressError], check: Check, host: str) -> None:
    with pytest.raises(error):
        check(REGISTRY, f"https://{host}/x")


@pytest.mark.parametrize("host", FORBIDDEN)
def test_no_policy_allows_a_metadata_address(host: str) -> None:
    policy = EgressPolicy(allow_private=True, trusted_realms=(f"https://{host}",))
    with pytest.raises(AuthRealmRefusedError):
        check_realm(REGISTRY, f"https://{host}/", policy=policy)
    with pytest.raises(RedirectRefusedError):
        check_redirect(REGISTRY, f"https://{host}/", policy)
    with pytest.raises(RedirectRefusedError):
        check_redirect("http://localhost:5000/", f"http://{host}/", policy)
