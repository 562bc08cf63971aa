"""Serving lists: repositories, tags and referrers.

Spec: distribution-spec, "Listing Tags", "Listing Referrers"; Docker Registry HTTP API V2, "Catalog".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from ocidist.errors import NotFoundError
from ocidist.model.mediatype import OCI_INDEX
from ocidist.server.refusal import JSON

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist._io.pages import Paginator
    from ocidist.model.descriptor import Descriptor
    from ocidist.server.exchange import Exchange
    from ocidist.server.service import Service
    from ocidist.wire.endpoints import ListReferrers, ListRepositories, ListTags

_T = TypeVar("_T", bound=str)


async def repositories(exchange: Exchange, service: Service, endpoint: ListRepositories) -> None:
    """List repositories, at most ``Limits.page`` of them."""
    size = min(service.limits.page, service.limits.page if endpoint.n is None else endpoint.n)
    names, more = await _page(lambda most: service.store.repositories(after=endpoint.last, page_size=most), size)
    headers = _next(exchange, ("last", names[-1]), ("n", str(size))) if more else ()
    await exchange.respond(200, (JSON, *headers), _json({"repositories": names}))


async def tags(exchange: Exchange, service: Service, endpoint: ListTags) -> None:
    """List the tags of a repository, at most ``Limits.page`` of them (end-8a, end-8b)."""
    size = min(service.limits.page, service.limits.page if endpoint.n is None else endpoint.n)
    store = service.store.repository(endpoint.repository).tags
    found, more = await _page(lambda most: store.list(after=endpoint.last, page_size=most), size)
    headers = _next(exchange, ("last", found[-1]), ("n", str(size))) if more else ()
    await exchange.respond(200, (JSON, *headers), _json({"name": endpoint.repository, "tags": found}))


async def referrers(exchange: Exchange, service: Service, endpoint: ListReferrers) -> None:
    """List the manifests that refer to another, in the order of their digests (end-12a, end-12b).

    A repository or subject that does not exist has none: "not found" would say that there is no such API.
    """
    wanted = endpoint.artifact_type
    listed = service.store.repository(endpoint.repository).referrers(endpoint.digest, artifact_type=wanted)
    try:
        found = await listed.collect()
    except NotFoundError:
        found = []
    last = endpoint.last
    rest = sorted((each for each in found if last is None or each.digest > last), key=lambda each: each.digest)
    entries = _fitting(rest, service.limits.referrers_page)
    headers = [("Content-Type", OCI_INDEX)]
    if wanted is not None:
        headers.append(("OCI-Filters-Applied", "artifactType"))
    if len(entries) < len(rest):
        kept = () if wanted is None else (("artifactType", wanted),)
        headers += _next(exchange, *kept, ("last", rest[len(entries) - 1].digest))
    body = b'{"schemaVersion":2,"mediaType":"%b","manifests":[%b]}' % (OCI_INDEX.encode(), b",".join(entries))
    await exchange.respond(200, headers, body)


async def _page(begin: Callable[[int], Paginator[_T]], size: int) -> tuple[list[_T], bool]:
    """Return at most *size* entries, and whether to say that there are more; never that, if none were asked for."""
    found = await begin(size + 1).collect(limit=size + 1)
    return found[:size], 0 < size < len(found)


def _fitting(descriptors: list[Descriptor], limit: int) -> list[bytes]:
    """Return the first descriptors as JSON: as many as the limit in bytes has room for, and at least one."""
    from ocidist.model import converter  # noqa: PLC0415 -- loads cattrs

    found: list[bytes] = []
    room = limit
    for descriptor in descriptors:
        entry = converter.dump(descriptor)
        room -= len(entry) + 1
        if found and room < 0:
            break
        found.append(entry)
    return found


def _next(exchange: Exchange, *query: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (("Link", f'<{exchange.root}{exchange.path}?{urlencode(query)}>; rel="next"'),)


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
