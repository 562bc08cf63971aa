from __future__ import annotations

import pytest

from ocidist import AuthFile, Basic, InvalidReferenceError
from ocidist.credentials.keys import AuthKey, KeyIndex, key_of, registry_of
from ocidist.credentials.store import StaticCredentials
from ocidist.model.reference import HUB_INDEX

HUB_SPELLINGS = (
    HUB_INDEX,
    "https://index.docker.io/v1",
    "https://index.docker.io/v2/",
    "http://index.docker.io/v1/",
    "index.docker.io/v1/",
    "https://index.docker.io",
    "index.docker.io",
    "docker.io",
    "registry-1.docker.io",
    "https://registry-1.docker.io/v2/",
    "Docker.IO",
)
HOST_SPELLINGS = (
    "registry.acme.io:5000",
    "Registry.Acme.IO:5000",
    "registry.acme.io:5000/",
    "registry.acme.io:5000/v1/",
    "registry.acme.io:5000/v2",
    "https://registry.acme.io:5000",
    "http://registry.acme.io:5000/",
    "HTTPS://registry.acme.io:5000/v1/",
    "https://registry.acme.io:5000/v2/",
    "https://registry.acme.io:5000/anything/else",
)


@pytest.mark.parametrize("key", HUB_SPELLINGS)
@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io", ""])
def test_q5_every_spelling_of_docker_hub_is_found_under_each_of_its_names(key: str, host: str) -> None:
    assert KeyIndex([key]).find(host, "library/alpine") == (key,)


@pytest.mark.parametrize("key", HOST_SPELLINGS)
def test_q5_every_spelling_of_a_registry_is_found(key: str) -> None:
    index = KeyIndex([key])
    assert index.find("registry.acme.io:5000", "any/thing") == (key,)
    assert index.find("registry.acme.io:5000") == (key,)
    assert index.find("registry.acme.io") == ()
    assert index.find("acme.io:5000") == ()


def test_q5_the_longest_namespace_wins_and_names_are_matched_part_by_part() -> None:
    index = KeyIndex(["quay.io", "quay.io/acme", "quay.io/acme/app", "https://quay.io/v1/"])
    assert index.has_namespaces
    everything = ("quay.io/acme/app", "quay.io/acme", "quay.io", "https://quay.io/v1/")
    assert index.find("quay.io", "acme/app") == everything
    assert index.find("quay.io", "acme/app/deep") == everything
    assert index.find("quay.io", "acme/apple") == everything[1:]
    assert index.find("quay.io", "acmecorp/app") == everything[2:]
    assert index.find("quay.io") == everything[2:]


def test_q5_a_namespace_that_looks_like_an_api_is_one_all_the_same() -> None:
    # Podman would not offer its password to the rest of the registry.
    index = KeyIndex([key_of("quay.io", "v2/app")])
    assert index.find("quay.io", "v2/app/deep") == ("quay.io/v2/app",)
    assert index.find("quay.io", "acme/app") == ()
    assert index.find("quay.io") == ()
    assert index.spellings("quay.io", "v2/app") == ("quay.io/v2/app",)


def test_q5_the_plainest_of_several_spellings_counts() -> None:
    keys = ["https://x.io/what", "http://x.io/v1/", "x.io/v2/", "x.io"]
    assert KeyIndex(keys).find("x.io") == ("x.io", "x.io/v2/", "http://x.io/v1/", "https://x.io/what")
    # Docker Desktop keeps tokens of its own beside the login.
    hub = ["https://index.docker.io/v1/access-token", "index.docker.io", "docker.io", HUB_INDEX]
    assert KeyIndex(hub).find("docker.io") == (HUB_INDEX, "docker.io", "index.docker.io", hub[0])


@pytest.mark.parametrize(
    "key", ["", "/", "https://", "https:///v1/", "user@x.io", "a b", "*.acme.io", "x.io:0", "x.io:99999", "ä.io", "\n"]
)
def test_q5_keys_that_name_no_registry_are_let_be(key: str) -> None:
    assert AuthKey.read(key) is None
    assert KeyIndex([key, "x.io"]).find("x.io") == ("x.io",)


def test_q5_addresses_are_keys_too() -> None:
    assert KeyIndex(["[::1]:5000"]).find("[0:0::1]:5000") == ("[::1]:5000",)
    assert KeyIndex(["https://127.0.0.1:5000/v2/"]).find("127.0.0.1:5000") == ("https://127.0.0.1:5000/v2/",)


@pytest.mark.parametrize("host", [HUB_INDEX, "https://index.docker.io/v2", "index.docker.io/v1/", "http://docker.io/"])
def test_a_registry_is_named_by_the_address_of_its_api_too(host: str) -> None:
    """As Docker's own index is called everywhere in Docker."""
    assert KeyIndex([HUB_INDEX]).find(host, "library/alpine") == (HUB_INDEX,)
    assert key_of(host) == HUB_INDEX
    assert AuthFile.parse(b'{"auths": {"docker.io": {"auth": "YTpi"}}}').resolve(host) == Basic("a", "b")
    assert repr(StaticCredentials({host: Basic("a", "b")})) == "StaticCredentials(['docker.io'])"


@pytest.mark.parametrize(
    "host",
    ["https://quay.io/acme", "quay.io/acme", "/v1/", "https:///v1/", "quay.io/v3/", "quay.io/v2/acme", "ftp://a/v2", 5],
)
def test_any_other_path_is_no_part_of_a_registry(host: str) -> None:
    with pytest.raises(InvalidReferenceError):
        registry_of(host)


def test_new_entries_are_written_where_docker_and_podman_look_first() -> None:
    assert key_of("registry-1.docker.io") == HUB_INDEX
    assert key_of("Acme.io:5000") == "acme.io:5000"
    assert key_of("quay.io", "acme/app") == "quay.io/acme/app"
    assert key_of("docker.io", "acme") == "docker.io/acme"
    with pytest.raises(InvalidReferenceError):
        key_of("quay.io", "../x")
    with pytest.raises(InvalidReferenceError):
        key_of("quay.io/acme")
