"""What a client makes of the names it is given."""

from __future__ import annotations

import pytest

from ocidist import Client, InvalidReferenceError, Reference, UsageError


@pytest.mark.parametrize(
    ("name", "registry", "repository"),
    [
        ("alpine", "docker.io", "library/alpine"),
        ("docker.io/alpine", "docker.io", "library/alpine"),
        ("index.docker.io/acme/app:v1", "docker.io", "acme/app"),
        ("acme/app@sha256:" + "0" * 64, "docker.io", "acme/app"),
        ("localhost/app", "localhost", "app"),
        ("localhost:5000/app", "localhost:5000", "app"),
        ("registry.example/a/b:v1", "registry.example", "a/b"),
        ("http://localhost:5000/a/b", "localhost:5000", "a/b"),
        ("https://registry.example:8443/a/b:v1", "registry.example:8443", "a/b"),
        ("https://myregistry/team/app", "myregistry", "team/app"),
        ("http://[::1]:5000/a", "[::1]:5000", "a"),
        ("https://docker.io/alpine", "docker.io", "library/alpine"),
    ],
)
async def test_a_name_leads_to_the_registry_that_it_names(name: str, registry: str, repository: str) -> None:
    async with Client() as client:
        found = client.repository(name)
    assert str(found.registry.name).removeprefix("https://").removeprefix("http://") == registry
    assert found.name == repository


@pytest.mark.parametrize(
    "name", ["https://registry.example", "https://registry.example/", "ftp://x.y/a", "://a", "", "a/B"]
)
async def test_a_name_without_a_repository_is_refused(name: str) -> None:
    async with Client() as client:
        with pytest.raises(InvalidReferenceError):
            client.repository(name)


@pytest.mark.parametrize("name", [5, None, b"a/b"])
async def test_something_else_than_a_name_is_refused(name: object) -> None:
    async with Client() as client:
        with pytest.raises(UsageError):
            client.repository(name)  # type: ignore[arg-type]  # a wrong argument is the point


async def test_a_reference_leads_to_its_repository() -> None:
    async with Client() as client:
        found = client.repository(Reference.parse("localhost:5000/a/b:v1"))
    assert (str(found.registry.name), found.name) == ("localhost:5000", "a/b")
