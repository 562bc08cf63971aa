"""Registries that say at one place how to authenticate and at another something else, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ocidist import (
    BodyNotReplayableError,
    CredentialsRejectedError,
    Descriptor,
    Digest,
    HostConfig,
    Manifest,
    NameUnknownError,
    ProtocolError,
)
from tests.faults.auth import SOME_TAGS, Issuer, alice_with, anything, assert_no_secrets, bearer, located, taking
from tests.http.support import NAME, PULL, PUSH, TAGS, alice_at, authorizations, list_tags, unauthorized
from tests.peers import answers, images
from tests.peers.answers import chain, early, error, respond, respond_json
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = noise(300_000)
DIGEST = Digest.of(BLOB)
UPLOADS = f"/v2/{NAME}/blobs/uploads/"
OPEN = respond(200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
PLACEHOLDER = "repository:user/image:pull"
schemes = pytest.mark.parametrize("scheme", ["http", None], ids=["scheme known", "scheme detected"])


def bare(then: Handler) -> Handler:
    """Answer 401 without a challenge to those who bring no token."""
    return taking(anything, {}, then)


# --- F037: in the middle of a body -----------------------------------------------------------------------------------


async def _once() -> AsyncIterator[bytes]:
    for start in range(0, len(BLOB), 30_000):
        yield BLOB[start : start + 30_000]


REFUSALS = ["before the body", "in the middle", "after the body"]


def refusal(when: str, headers: dict[str, str]) -> Handler:
    """Answer 401 at some point of the request."""
    said = early(401, headers)
    return {
        "before the body": said,
        "in the middle": chain(answers.take(100_000), said),
        "after the body": unauthorized(headers),
    }[when]


class Uploads:
    """Takes one upload from whoever brings a token, and refuses its first PUT."""

    def __init__(self, server: WireServer, when: str) -> None:
        self.issuer = Issuer(server)
        headers = self.issuer.challenge(PUSH)
        server.on("HEAD", f"/v2/{NAME}/blobs/*", error(404, "BLOB_UNKNOWN"))
        self.start = server.on(
            "POST", UPLOADS, unauthorized(headers), respond(202, {"Location": f"{UPLOADS}1?_state=x%2F"})
        )
        self.put = server.on("PUT", f"{UPLOADS}1*", refusal(when, headers), self._finish)
        self.cancel = server.on("DELETE", f"{UPLOADS}1*", respond(204))
        self.stored = b""

    def _finish(self, request: Request, connection: Connection) -> None:
        self.stored = request.read()
        respond(201, {"Location": f"/v2/{NAME}/blobs/{DIGEST}"})(request, connection)


@pytest.mark.parametrize("when", REFUSALS)
async def test_f037_a_body_that_can_be_sent_again_is_sent_with_a_new_token(wire_server: WireServer, when: str) -> None:
    uploads = Uploads(wire_server, when)
    async with alice_with(wire_server) as client:
        found = await client.repository(f"{wire_server.host}/{NAME}").blobs.push(BLOB, check_exists=False)
    assert found.digest == DIGEST
    assert uploads.stored == BLOB
    assert [bearer(request) for request in uploads.put.requests] == ["t1", "t2"]
    assert (len(uploads.start.requests), uploads.cancel.requests) == (2, [])
    assert_no_secrets_but_at_the_token_server(wire_server)


@pytest.mark.parametrize("when", REFUSALS)
async def test_f037_a_body_that_can_be_sent_once_is_an_error_that_ends_the_upload(
    wire_server: WireServer, when: str
) -> None:
    uploads = Uploads(wire_server, when)
    async with alice_with(wire_server) as client:
        with pytest.raises(BodyNotReplayableError, match="its body was sent already") as caught:
            await client.repository(f"{wire_server.host}/{NAME}").blobs.push(
                _once(), Descriptor.of(BLOB), check_exists=False
            )
    assert located(caught.value, wire_server, "finish upload")
    assert len(uploads.put.requests) == 1
    assert len(uploads.cancel.requests) == 1
    assert uploads.stored == b""


@pytest.mark.parametrize("when", REFUSALS)
async def test_f037_a_chunk_is_kept_until_it_was_taken_so_that_a_stream_survives(
    wire_server: WireServer, when: str
) -> None:
    issuer = Issuer(wire_server)
    headers = issuer.challenge(PUSH)
    started = respond(202, {"Location": f"{UPLOADS}1"})
    wire_server.on("POST", UPLOADS, unauthorized(headers), started)
    taken = respond(202, {"Location": f"{UPLOADS}1", "Range": "0-199999"})
    patch = wire_server.on("PATCH", f"{UPLOADS}1", refusal(when, headers), taken)
    wire_server.on("PUT", f"{UPLOADS}1*", respond(201))
    async with alice_with(wire_server) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        assert (await blobs.push(_once(), chunk_size=200_000)).digest == DIGEST
    assert [bearer(request) for request in patch.requests] == ["t1", "t2"]
    assert patch.requests[1].body == BLOB[:200_000]
    assert len(issuer.issued) == 2


@pytest.mark.parametrize("status", [201, 401])
async def test_f037_a_raw_body_that_can_be_sent_once_goes_out_after_asking_what_it_needs(
    wire_server: WireServer, status: int
) -> None:
    issuer = Issuer(wire_server)
    wire_server.on("GET", "/v2/", unauthorized(issuer.challenge(None)))
    route = wire_server.on("PUT", f"/v2/{NAME}/manifests/v1", respond(status, issuer.challenge(PUSH)))
    async with alice_with(wire_server) as client:
        response = await client.put(f"{wire_server.origin}/v2/{NAME}/manifests/v1", content=_once())
    assert response.status_code == status
    assert [bearer(request) for request in route.requests] == ["t1"]
    assert route.requests[0].body == BLOB
    assert issuer.scopes() == [[PUSH]]


def assert_no_secrets_but_at_the_token_server(server: WireServer) -> None:
    """Check that the password came with requests for tokens only."""
    for request in server.requests:
        if request.path != "/token":
            assert bearer(request) is not None or request.header("Authorization") is None


# --- F040, F041: the root and the rest -------------------------------------------------------------------------------


@schemes
async def test_f040_a_repository_may_want_a_token_where_the_root_does_not(
    wire_server: WireServer, scheme: str | None
) -> None:
    issuer = Issuer(wire_server)
    wire_server.on("GET", "/v2/", OPEN)
    route = wire_server.on("GET", TAGS, taking(anything, issuer.challenge(), SOME_TAGS))
    hosts = {wire_server.host: HostConfig(scheme="http" if scheme else None)}
    async with alice_with(wire_server, hosts=hosts) as client:
        info = await client.registry(wire_server.host).ping()
        assert (info.supported, info.authenticated) == (True, False)
        for _ in range(3):
            assert await list_tags(client, wire_server) == ["v1"]
        assert (await client.registry(wire_server.host).ping()).supported
    assert [bearer(request) for request in route.requests] == [None, "t1", "t1", "t1"]
    assert issuer.scopes() == [[PULL]]


@schemes
@pytest.mark.parametrize("kind", ["Bearer", "Bearer, refusing", "Bearer, denying", "Basic"])
@pytest.mark.parametrize("who", ["nobody", "alice"])
async def test_f040_a_repository_may_be_open_where_the_root_is_not(
    wire_server: WireServer, scheme: str | None, kind: str, who: str
) -> None:
    issuer = Issuer(wire_server)
    if who == "nobody" and kind in {"Bearer, refusing", "Bearer, denying"}:
        wire_server.on("GET", "/token*", error(401 if "refusing" in kind else 403, "DENIED"))
    headers = {"WWW-Authenticate": 'Basic realm="r"'} if kind == "Basic" else issuer.challenge(None)
    wire_server.on("GET", "/v2/", unauthorized(headers))
    wire_server.on("GET", TAGS, SOME_TAGS)
    options: dict[str, Any] = {"hosts": {wire_server.host: HostConfig(scheme="http" if scheme else None)}}
    if who == "nobody":
        options["credentials"] = {}
    async with alice_with(wire_server, **options) as client:
        for _ in range(2):
            assert await list_tags(client, wire_server) == ["v1"]
    assert len(issuer.requests) <= 1


@schemes
@pytest.mark.parametrize("status", [404, 405, 403, 302])
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "open"])
async def test_f041_a_missing_root_stops_no_operation(
    wire_server: WireServer, status: int, scheme: str | None, *, guarded: bool
) -> None:
    issuer = Issuer(wire_server)
    wire_server.on("GET", "/v2/", respond(status, {"Location": "/login"} if status == 302 else {}))
    wire_server.on("GET", "/login", respond(404))
    wire_server.on("GET", TAGS, taking(anything, issuer.challenge(), SOME_TAGS) if guarded else SOME_TAGS)
    hosts = {wire_server.host: HostConfig(scheme="http" if scheme else None)}
    async with alice_with(wire_server, hosts=hosts) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert not (await client.registry(wire_server.host).ping()).supported
        assert await list_tags(client, wire_server) == ["v1"]
    assert issuer.scopes() == ([[PULL]] if guarded else [])


@pytest.mark.parametrize("page", [True, False], ids=["web page", "nothing"])
async def test_f041_where_nothing_is_there_the_operation_says_so(wire_server: WireServer, *, page: bool) -> None:
    portal = respond(200, {"Content-Type": "text/html"}, b"<html><title>Log in</title></html>")
    wire_server.on("GET", "/*", portal if page else respond(404))
    async with alice_with(wire_server) as client:
        with pytest.raises(ProtocolError if page else NameUnknownError) as caught:
            await list_tags(client, wire_server)
        assert located(caught.value, wire_server)
        if page:
            with pytest.raises(ProtocolError, match="Log in"):
                await client.registry(wire_server.host).ping()
    assert_no_secrets(wire_server)


# --- Q9: told at the root only ---------------------------------------------------------------------------------------


@schemes
async def test_q09_where_only_the_root_says_how_the_root_is_asked(wire_server: WireServer, scheme: str | None) -> None:
    issuer = Issuer(wire_server)
    root = wire_server.on("GET", "/v2/", unauthorized(issuer.challenge(None)))
    route = wire_server.on("GET", TAGS, bare(SOME_TAGS))
    hosts = {wire_server.host: HostConfig(scheme="http" if scheme else None)}
    async with alice_with(wire_server, hosts=hosts) as client:
        for _ in range(3):
            assert await list_tags(client, wire_server) == ["v1"]
    assert len(root.requests) == 1
    first = [None] if scheme else []
    assert [bearer(request) for request in route.requests] == [*first, "t1", "t1", "t1"]
    assert issuer.scopes() == [[PULL]]


@pytest.mark.parametrize("again", [1, 2], ids=["expired", "refused"])
async def test_q09_a_bare_401_to_a_token_that_worked_is_answered_from_memory(
    wire_server: WireServer, again: int
) -> None:
    issuer = Issuer(wire_server)
    root = wire_server.on("GET", "/v2/", unauthorized(issuer.challenge(None)))
    route = wire_server.on("GET", TAGS, respond(401), SOME_TAGS, *[respond(401)] * again, SOME_TAGS)
    async with alice_with(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        if again == 2:
            with pytest.raises(CredentialsRejectedError, match="fetched just now") as caught:
                await list_tags(client, wire_server)
            assert located(caught.value, wire_server)
        else:
            assert await list_tags(client, wire_server) == ["v1"]
    assert [bearer(request) for request in route.requests] == [None, "t1", "t1", "t2"]
    assert len(root.requests) == 1


async def test_q09_a_challenge_without_an_answer_at_the_root_is_not_waited_for_by_writes(
    wire_server: WireServer,
) -> None:
    issuer = Issuer(wire_server)
    manifest = Manifest.of(images.image("linux/amd64").manifest.data)
    wire_server.on("GET", "/v2/", unauthorized(issuer.challenge(None)))
    put = wire_server.on("PUT", f"/v2/{NAME}/manifests/*", bare(respond(201)))
    async with alice_with(wire_server) as client:
        await client.repository(f"{wire_server.host}/{NAME}").manifests.push(manifest)
    assert [bearer(request) for request in put.requests] == [None, "t1"]
    assert all(request.body == manifest.data for request in put.requests)


# --- Q10: an example for a scope -------------------------------------------------------------------------------------


@schemes
@pytest.mark.parametrize("told", ["at the root", "everywhere"])
async def test_q10_the_scope_in_the_challenge_of_the_root_is_asked_for_by_nobody(
    wire_server: WireServer, scheme: str | None, told: str
) -> None:
    issuer = Issuer(wire_server)
    wire_server.on("GET", "/v2/", taking(anything, issuer.challenge(PLACEHOLDER), OPEN))
    headers = issuer.challenge() if told == "everywhere" else {}
    wire_server.on("GET", TAGS, taking(anything, headers, SOME_TAGS))
    wire_server.on("PUT", f"/v2/{NAME}/manifests/*", taking(anything, headers, respond(201)))
    hosts = {wire_server.host: HostConfig(scheme="http" if scheme else None)}
    manifest = Manifest.of(images.image("linux/amd64").manifest.data)
    async with alice_with(wire_server, hosts=hosts) as client:
        assert (await client.registry(wire_server.host).ping()).authenticated
        assert await list_tags(client, wire_server) == ["v1"]
        await client.repository(f"{wire_server.host}/{NAME}").manifests.push(manifest)
    asked = {scope for scopes in issuer.scopes() for scope in scopes}
    assert PLACEHOLDER not in asked
    assert asked <= {PULL, PUSH}


# --- S08: from repository to repository ------------------------------------------------------------------------------


@schemes
async def test_s08_alternating_between_repositories_costs_one_challenge_and_one_token_each(
    wire_server: WireServer, scheme: str | None
) -> None:
    issuer = Issuer(wire_server)
    names = ["acme/one", "acme/two", "acme/three"]
    granted: dict[str, list[str]] = {}

    def tags(request: Request, connection: Connection) -> None:
        name = request.path.removeprefix("/v2/").removesuffix("/tags/list")
        granted.update(zip(issuer.issued, issuer.scopes(), strict=True))
        wanted = f"repository:{name}:pull"
        answer = respond_json(200, {"name": name, "tags": [name.rpartition("/")[2]]})
        taking(lambda token: wanted in granted[token], issuer.challenge(wanted), answer)(request, connection)

    wire_server.on("GET", "/v2/acme/*", tags)
    hosts = {wire_server.host: HostConfig(scheme="http" if scheme else None)}
    async with alice_with(wire_server, hosts=hosts) as client:
        for _ in range(5):
            for name in names:
                assert await list_tags(client, wire_server, name) == [name.rpartition("/")[2]]
    assert issuer.scopes() == [[f"repository:{name}:pull"] for name in names]
    listed = [
        value
        for value, request in zip(authorizations(wire_server), wire_server.requests, strict=True)
        if request.path.endswith("/tags/list")
    ]
    assert listed.count(None) == 1
    assert len(listed) == 16


async def test_s08_a_token_that_may_do_more_is_used_for_less(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server)
    wire_server.on("PUT", f"/v2/{NAME}/manifests/*", taking(anything, issuer.challenge(PUSH), respond(201)))
    route = wire_server.on("GET", TAGS, taking(anything, issuer.challenge(), SOME_TAGS))
    manifest = Manifest.of(images.image("linux/amd64").manifest.data)
    async with alice_with(wire_server) as client:
        await client.repository(f"{wire_server.host}/{NAME}").manifests.push(manifest)
        assert await list_tags(client, wire_server) == ["v1"]
    assert issuer.scopes() == [[PUSH]]
    assert [bearer(request) for request in route.requests] == ["t1"]


async def test_s08_a_token_that_may_do_less_is_not_tried_for_more(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server)
    put = wire_server.on("PUT", f"/v2/{NAME}/manifests/*", taking(lambda token: token == "t2", {}, respond(201)))
    wire_server.on("GET", TAGS, taking(anything, issuer.challenge(), SOME_TAGS))
    manifest = Manifest.of(images.image("linux/amd64").manifest.data)
    async with alice_with(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        await client.repository(f"{wire_server.host}/{NAME}").manifests.push(manifest)
        assert await list_tags(client, wire_server) == ["v1"]
    assert issuer.scopes() == [[PULL], [PUSH]]
    assert [bearer(request) for request in put.requests] == ["t2"]


async def test_s08_the_scope_of_one_challenge_goes_into_no_other_request(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server)
    extra = f"{PULL} repository:base/image:pull"
    wire_server.on("GET", TAGS, taking(anything, issuer.challenge(extra), SOME_TAGS))
    wire_server.on("GET", "/v2/acme/other/tags/list", taking(anything, issuer.challenge(None), SOME_TAGS))
    async with alice_with(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server, "acme/other") == ["v1"]
    assert issuer.scopes() == [[PULL, "repository:base/image:pull"], ["repository:acme/other:pull"]]


async def test_s08_each_user_has_tokens_of_their_own(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server)
    route = wire_server.on("GET", TAGS, taking(anything, issuer.challenge(), SOME_TAGS))
    async with alice_with(wire_server) as client, alice_at(wire_server, credentials={}) as other:
        for _ in range(2):
            assert await list_tags(client, wire_server) == ["v1"]
            assert await list_tags(other, wire_server) == ["v1"]
    assert [bearer(request) for request in route.requests] == [None, "t1", None, "t2", "t1", "t2"]
    assert [request.header("Authorization") is None for request in issuer.requests] == [False, True]
