"""Tokens that a registry once took and takes no longer, and token servers that are not trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import ocidist
from tests.peers.answers import respond, respond_json

if TYPE_CHECKING:
    from tests.peers.wire_server import Connection, Request, WireServer

TAGS = {"name": "a/b", "tags": ["v1"]}


class Issuer:
    """Plays a registry and its token server: each token is another one, and only some are taken."""

    def __init__(self, server: WireServer, refusal: int, body: bytes = b"", *, challenges: bool) -> None:
        self.issued = 0
        self.accepted = {"t1"}
        self._server = server
        self._refusal = refusal
        self._body = body
        self._challenges = challenges
        server.on("GET", "/v2/", self._answer)
        server.on("GET", "/v2/a/b/tags/list*", self._answer)
        server.on("GET", "/token*", self._token)

    def _token(self, request: Request, connection: Connection) -> None:
        self.issued += 1
        respond_json(200, {"token": f"t{self.issued}", "expires_in": 3600})(request, connection)

    def _answer(self, request: Request, connection: Connection) -> None:
        sent = (request.header("Authorization") or "").removeprefix("Bearer ")
        if sent in self.accepted:
            respond_json(200, TAGS)(request, connection)
            return
        challenge = f'Bearer realm="{self._server.origin}/token",service="s",scope="repository:a/b:pull"'
        if not sent:
            respond(401, {"WWW-Authenticate": challenge})(request, connection)
            return
        headers = {"WWW-Authenticate": challenge} if self._challenges else {}
        respond(self._refusal, headers, self._body)(request, connection)


EXPIRED = (
    b'{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}'
)
REFUSALS = pytest.mark.parametrize(
    ("status", "body", "challenges"),
    [(401, b"", True), (401, b"", False), (403, EXPIRED, False), (403, b"", True)],
    ids=["401", "401-bare", "403-expired", "403-challenge"],
)


@REFUSALS
async def test_a02_an_expired_cached_token_is_replaced_once(
    wire_server: WireServer, status: int, body: bytes, *, challenges: bool
) -> None:
    issuer = Issuer(wire_server, status, body, challenges=challenges)
    async with ocidist.Client(hosts={wire_server.host: ocidist.HostConfig(scheme="http")}) as client:
        repository = client.repository(f"{wire_server.host}/a/b")
        assert await repository.tags.list().collect() == ["v1"]
        issuer.accepted = {"t2"}
        assert await repository.tags.list().collect() == ["v1"]
        assert issuer.issued == 2


@REFUSALS
async def test_a02_a_second_refusal_is_an_error_and_no_loop(
    wire_server: WireServer, status: int, body: bytes, *, challenges: bool
) -> None:
    issuer = Issuer(wire_server, status, body, challenges=challenges)
    async with ocidist.Client(hosts={wire_server.host: ocidist.HostConfig(scheme="http")}) as client:
        repository = client.repository(f"{wire_server.host}/a/b")
        assert await repository.tags.list().collect() == ["v1"]
        issuer.accepted = set()
        requests = len(wire_server.requests)
        with pytest.raises(ocidist.AuthError):
            await repository.tags.list().collect()
        # Refused, one new token, refused again.
        assert len(wire_server.requests) - requests == 3
        assert issuer.issued == 2


async def test_a_403_that_says_nothing_of_expiry_costs_no_new_token(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server, 403, b'{"errors":[{"code":"DENIED","message":"not for you"}]}', challenges=False)
    async with ocidist.Client(hosts={wire_server.host: ocidist.HostConfig(scheme="http")}) as client:
        repository = client.repository(f"{wire_server.host}/a/b")
        assert await repository.tags.list().collect() == ["v1"]
        issuer.accepted = set()
        with pytest.raises(ocidist.DeniedError, match="not for you"):
            await repository.tags.list().collect()
        assert issuer.issued == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_anonymous_token_names_the_realm_that_was_not_trusted(
    wire_server: WireServer, start_wire_server: type[WireServer], status: int
) -> None:
    foreign = start_wire_server(name="localhost")
    foreign.on("GET", "/token*", respond_json(200, {"token": "anonymous", "expires_in": 3600}))
    challenge = {"WWW-Authenticate": f'Bearer realm="{foreign.origin}/token",service="s"'}
    unauthorized = respond(401, challenge)
    wire_server.on("GET", "/v2/a/b/tags/list*", unauthorized, respond(status, challenge if status == 401 else {}))
    async with ocidist.Client(
        hosts={wire_server.host: ocidist.HostConfig(scheme="http")},
        credentials={wire_server.host: ocidist.Basic("alice", "s3cret")},
    ) as client:
        with pytest.raises(ocidist.AuthRealmRefusedError) as caught:
            await client.repository(f"{wire_server.host}/a/b").tags.list().collect()
    assert wire_server.host in str(caught.value)
    assert foreign.host in str(caught.value)
    assert b"uthorization" not in foreign.received
