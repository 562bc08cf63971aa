"""Every status a server can think of, against what each operation expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ocidist import Client, Digest, OciError, RetryPolicy, build_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist import Repository

DIGEST = Digest.of(b"content")
OTHER = build_index([])
STATUSES = [*range(200, 209), 226, *range(300, 309), *range(400, 420), 429, 451, *range(500, 506), 511, 599, 999]

# What the specification and registries in use answer with; the bodies are empty, so that some do not do even then.
OPERATIONS: dict[str, tuple[Callable[[Repository], Any], set[int]]] = {
    "ping": (lambda it: it.registry.ping(), {200, 300, *range(301, 310), 403, 404, 405}),
    "read a manifest": (lambda it: it.manifests.get("v1"), set()),
    "find a manifest": (lambda it: it.manifests.exists("v1"), {200, 404, 410}),
    "push a manifest": (lambda it: it.manifests.push(OTHER), {201}),
    "delete a manifest": (lambda it: it.manifests.delete(DIGEST, update_referrers=False), {200, 202, 204}),
    "delete a tag": (lambda it: it.tags.delete("v1"), {200, 202, 204}),
    "list tags": (lambda it: it.tags.list().collect(), set()),
    "list repositories": (lambda it: it.registry.repositories().collect(), set()),
    "find a blob": (lambda it: it.blobs.exists(DIGEST), {200, 206, 404, 410}),
    "read a blob": (lambda it: it.blobs.get(DIGEST), set()),
    "delete a blob": (lambda it: it.blobs.delete(DIGEST), {200, 202, 204}),
    "push a blob": (lambda it: it.blobs.push(b"content", check_exists=False), set()),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_t78_only_the_statuses_of_an_operation_are_its_success(name: str) -> None:
    operation, expected = OPERATIONS[name]
    status = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        await request.aread()
        return httpx.Response(status)

    succeeded = set()
    client = Client(transport=httpx.MockTransport(answer), retry=RetryPolicy(attempts=1))
    async with client:
        for status in STATUSES:
            try:
                await operation(client.repository("https://registry.example/acme/app"))
            except OciError as error:
                assert str(error)  # noqa: PT017 -- any of them, and nothing else
            else:
                succeeded.add(status)
    assert succeeded == expected & set(STATUSES)
