from __future__ import annotations

import attrs
import pytest

from ocidist.errors import InvalidReferenceError
from ocidist.model.reference import MAX_HOST_LENGTH, MAX_LABEL_LENGTH, RegistryName


@pytest.mark.parametrize(
    ("text", "host", "port", "scheme", "shown"),
    [
        ("acme.io", "acme.io", None, None, "acme.io"),
        ("ACME.io:5000", "acme.io", 5000, None, "acme.io:5000"),
        ("registry", "registry", None, None, "registry"),
        ("https://acme.io", "acme.io", None, "https", "acme.io"),
        ("http://localhost:5000", "localhost", 5000, "http", "localhost:5000"),
        ("HTTPS://Acme.IO:443", "acme.io", 443, "https", "acme.io:443"),
        ("[::1]", "::1", None, None, "[::1]"),
        ("[0:0:0:0:0:0:0:1]:5000", "::1", 5000, None, "[::1]:5000"),
        ("http://[2001:DB8::1]:80", "2001:db8::1", 80, "http", "[2001:db8::1]:80"),
        ("10.0.0.1:5000", "10.0.0.1", 5000, None, "10.0.0.1:5000"),
        ("https://index.docker.io", "docker.io", None, "https", "docker.io"),
    ],
)
def test_a_registry_is_a_host_with_maybe_port_and_scheme(
    text: str, host: str, port: int | None, scheme: str | None, shown: str
) -> None:
    registry = RegistryName.parse(text)
    assert (registry.host, registry.port, registry.scheme) == (host, port, scheme)
    assert str(registry) == shown
    assert attrs.evolve(RegistryName.parse(shown), scheme=registry.scheme) == registry


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "acme.io/",
        "acme.io/v2/",
        "https://",
        "http://acme.io/",
        "https://acme.io/v2/",
        "ftp://acme.io",
        "://acme.io",
        "https://https://acme.io",
        "https:acme.io",
        "//acme.io",
        "user@acme.io",
        "https://user:pw@acme.io",
        "acme.io?x",
        "acme.io#x",
        "acme.io:",
        "acme.io:0",
        "acme.io:65536",
        "acme.io:99999999",
        "acme.io\n",
        "acme.io\r\nX: y",
        "a b",
        "a_b",
        "acme..io",
        ".acme.io",
        "acme.io.",
        "-a",
        "a-",
        "[::1",
        "::1",
        "[::1]5000",
        "[::1]:",
        "[fe80::1%1]",
        "[::ffff:1.2.3.4]",
        "[v1.a]",
        "bücher.example",
        "\u2177.example",
        "a\u3002b",
        "\u2488.example",
        "\ufeffacme.io",
        "\u212a.example",
    ],
    ids=ascii,
)
def test_t39_anything_more_or_less_than_that_is_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        RegistryName.parse(text)


@pytest.mark.parametrize(
    ("arguments"),
    [
        ("acme.io/x",),
        ("",),
        ("acme.io:5000",),
        ("[::1]",),
        ("::1%eth0",),
        ("a b",),
        ("a\n",),
        ("\u017fa",),
        ("acme.io", 0),
        ("acme.io", 65536),
        ("acme.io", True),
        ("acme.io", "80"),
        ("acme.io", None, "ftp"),
        ("acme.io", None, "HTTP"),
        (None,),
    ],
)
def test_the_constructor_checks_as_the_parser_does(arguments: tuple[object, ...]) -> None:
    with pytest.raises(InvalidReferenceError):
        RegistryName(*arguments)  # type: ignore[arg-type]  # a wrong argument is the point


@pytest.mark.parametrize("size", [MAX_LABEL_LENGTH - 1, MAX_LABEL_LENGTH, MAX_LABEL_LENGTH + 1])
def test_a_part_of_a_host_has_63_characters_at_most(size: int) -> None:
    host = "a" * size + ".example"
    if size <= MAX_LABEL_LENGTH:
        assert RegistryName.parse(host).host == host
    else:
        with pytest.raises(InvalidReferenceError):
            RegistryName.parse(host)


@pytest.mark.parametrize("size", [MAX_HOST_LENGTH - 1, MAX_HOST_LENGTH, MAX_HOST_LENGTH + 1])
def test_a_host_has_253_characters_at_most(size: int) -> None:
    host = ("a" * 49 + ".") * 5 + "b" * (size - 250)
    assert len(host) == size
    if size <= MAX_HOST_LENGTH:
        assert RegistryName.parse(host).host == host
    else:
        with pytest.raises(InvalidReferenceError):
            RegistryName.parse(host)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("http://localhost", True),
        ("registry.localhost", True),
        ("a.b.localhost:80", True),
        ("127.0.0.1", True),
        ("127.255.255.255:5000", True),
        ("[::1]:5000", True),
        ("[0:0:0:0:0:0:0:1]", True),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("127.0.0.1.example", False),
        ("127.example", False),
        ("0.0.0.1", False),
        ("128.0.0.1", False),
        ("10.127.0.1", False),
        ("[::]", False),
        ("[::ffff:7f00:1]", False),
        ("[2001:db8::1]", False),
        ("docker.io", False),
    ],
)
def test_loopback_is_said_by_the_name_itself(text: str, *, loopback: bool) -> None:
    assert RegistryName.parse(text).is_loopback is loopback


@pytest.mark.parametrize(
    "host",
    [
        "0",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7f.1",
        "127.0.0.0x1",
        "127.0.0.256",
        "127.0.0.01",
        "1.2.3.4.5",
        "acme.123",
        "acme.0x",
        "1-2",
        "0-0",
    ],
)
def test_an_ipv4_address_has_one_spelling(host: str) -> None:
    for text in (host, f"{host}:5000"):
        with pytest.raises(InvalidReferenceError, match="is not a host name"):
            RegistryName.parse(text)


def test_q03_a_port_that_was_named_is_kept_even_if_it_is_the_schemes_own() -> None:
    named, unnamed = RegistryName.parse("https://acme.io:443"), RegistryName.parse("https://acme.io")
    assert named != unnamed
    assert (named.port, unnamed.port) == (443, None)


def test_another_registry_than_docker_hub_is_called_by_its_own_name() -> None:
    registry = RegistryName.parse("[::1]:5000")
    assert registry.api_host == registry.credential_key == "[::1]:5000"
    assert not registry.is_docker_hub


def test_a_port_on_docker_hub_stays_with_the_host_that_answers() -> None:
    registry = RegistryName.parse("docker.io:443")
    assert registry.api_host == "registry-1.docker.io:443"
    assert registry.credential_key == "https://index.docker.io/v1/"
