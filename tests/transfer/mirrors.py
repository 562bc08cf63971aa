"""Registries full of images that share layers, and what is in them, to be compared."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from ocidist import Client, MirrorConfig
from ocidist.model.mediatype import INDEX_TYPES
from ocidist.testing import Content

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ocidist.storage.protocols import Repository
    from ocidist.testing import LoopbackRegistry

BASES = ("base0", "base1")
BASE_SIZE = 24 * 1024
OWN_SIZE = 2 * 1024


def images(name: str, tags: Iterable[str], *, base_size: int = BASE_SIZE, own_size: int = OWN_SIZE) -> Content:
    """Return images of one repository: each has the layers that all repositories share, and one of its own."""
    content = Content()
    for number, base in enumerate(BASES):
        content.blob(base, size=base_size + number)
    for tag in tags:
        content.blob(f"{name} {tag}", size=own_size)
        content.image(tag, [*BASES, f"{name} {tag}"], tags=[tag], config={"author": f"{name} {tag}"})
    return content


def fill(
    registry: LoopbackRegistry,
    repositories: int,
    tags: Iterable[str] = ("v1", "v2"),
    *,
    base_size: int = BASE_SIZE,
    own_size: int = OWN_SIZE,
) -> None:
    """Put repositories ``acme/app0`` and so on into a registry."""
    wanted = list(tags)
    for number in range(repositories):
        name = f"acme/app{number}"
        registry.add(name, images(name, wanted, base_size=base_size, own_size=own_size))


def config(source: LoopbackRegistry, destination: LoopbackRegistry, rules: str = "", **top: int) -> MirrorConfig:
    """Return the configuration that mirrors all of one registry to another, or what rules say.

    In the rules ``SRC`` and ``DST`` stand for the registries.
    """
    text = rules or '[[mirror]]\nsource = "SRC/acme/*"\ndestination = "DST"'
    defaults = "\n".join(["[defaults]", *(f"{name} = {value}" for name, value in top.items())])
    return MirrorConfig.from_toml(f"{defaults}\n{text}".replace("SRC", source.host).replace("DST", destination.host))


def client_of(*registries: LoopbackRegistry, **others: Any) -> Client:  # noqa: ANN401 -- as the client has them
    """Return a client for several registries."""
    options = [registry.client_options for registry in registries]
    credentials = {host: value for each in options for host, value in each["credentials"].items()}
    hosts = {host: value for each in options for host, value in each["hosts"].items()}
    return Client(credentials=credentials, hosts=hosts, **others)


async def _walk(repository: Repository, tag: str) -> AsyncIterator[tuple[str, bytes]]:
    level = [await repository.manifests.get(tag)]
    while level:
        following = []
        for manifest in level:
            yield str(manifest.digest), manifest.data
            for part in manifest.references:
                if manifest.media_type in INDEX_TYPES:
                    following.append(await repository.manifests.get(part.digest))
                else:
                    yield str(part.digest), await repository.blobs.get(part)
        level = following


def contents(registry: LoopbackRegistry, *, below: str = "") -> dict[str, dict[str, dict[str, int]]]:
    """Return everything that has a tag: repository, tag, and each digest with the size of what has it, all verified."""

    async def read() -> dict[str, dict[str, dict[str, int]]]:
        found: dict[str, dict[str, dict[str, int]]] = {}
        async for name in registry.store.repositories():
            if name.startswith(below):
                repository = registry.store.repository(name)
                tags = {}
                async for tag in repository.tags.list():
                    tags[str(tag)] = {digest: len(data) async for digest, data in _walk(repository, tag)}
                found[name.removeprefix(below)] = tags
        return found

    made: dict[str, dict[str, dict[str, int]]] = registry.call(read)
    return made


def tags(registry: LoopbackRegistry, repository: str) -> dict[str, str]:
    """Return the tags of a repository with what they name."""

    async def read() -> dict[str, str]:
        found = registry.store.repository(repository)
        return {str(tag): str((await found.manifests.stat(tag)).digest) async for tag in found.tags.list()}

    made: dict[str, str] = registry.call(read)
    return made


@attrs.frozen
class Traffic:
    """What a registry was asked.

    Attributes:
        sent: How often each blob was sent there, by digest.
        mounted: Blobs that were mounted from another repository.
        requests: Requests in all.
        changes: Requests that changed something.
    """

    sent: Counter[str]
    mounted: int
    requests: int
    changes: int


def _from(query: str) -> str:
    return query.partition("from=")[2].partition("&")[0].replace("%2F", "/")


def traffic(registry: LoopbackRegistry) -> Traffic:
    """Return what a registry was asked so far, and begin anew."""
    seen = list(registry.requests)
    registry.requests.clear()
    uploads = [each for each in seen if "/blobs/uploads/" in each.path and each.status == 201]
    sent: Counter[str] = Counter()
    for each in uploads:
        if each.method == "PUT":
            sent[each.query.partition("digest=")[2].partition("&")[0].replace("%3A", ":")] += 1
    return Traffic(
        sent=sent,
        # From itself, to find out whether it is there.
        mounted=sum(each.method == "POST" and f"/v2/{_from(each.query)}/blobs/" not in each.path for each in uploads),
        requests=len(seen),
        changes=sum(each.method not in {"GET", "HEAD"} and 200 <= each.status < 300 for each in seen),
    )
