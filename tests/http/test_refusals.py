"""What a registry says when it refuses reaches the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import AuthError, ChallengeError, CredentialsRejectedError, RateLimitedError, RetryPolicy
from tests.http.support import NAME, alice_at, client_for, list_tags
from tests.peers.answers import error, respond, respond_json

if TYPE_CHECKING:
    from tests.peers.answers import Handler
    from tests.peers.wire_server import WireServer

TARGET = f"/v2/{NAME}/tags/list*"


async def test_a_401_without_a_challenge_keeps_the_words_of_the_registry(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, error(401, "DENIED", "permission_denied: read_package"))
    async with alice_at(wire_server) as client:
        with pytest.raises(ChallengeError, match="permission_denied: read_package") as caught:
            await list_tags(client, wire_server)
    # The words, and not the JSON around them.
    assert "{" not in caught.value.message


@pytest.mark.parametrize(
    ("credentials", "error", "hint"),
    [
        (True, None, "these credentials have no rights"),
        (False, None, "no credentials were given"),
        (True, "invalid_token", "Check the user name"),
    ],
)
async def test_q22_a_fresh_token_that_is_refused_says_nothing_against_a_password_that_was_taken(
    wire_server: WireServer, *, credentials: bool, error: str | None, hint: str
) -> None:
    told = f',error="{error}"' if error else ""
    named = f'Bearer realm="{wire_server.origin}/token",service="s"{told}'
    wire_server.on("GET", "/token*", respond_json(200, {"token": "t"}))
    wire_server.on("GET", TARGET, respond(401, {"WWW-Authenticate": named}))
    async with alice_at(wire_server) if credentials else client_for(wire_server) as client:
        with pytest.raises(CredentialsRejectedError, match=hint):
            await list_tags(client, wire_server)


async def test_a_rate_limit_says_how_long_to_wait(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, error(429, "TOOMANYREQUESTS", "slow down", {"Retry-After": "7200"}))
    async with alice_at(wire_server, retry=RetryPolicy(attempts=3)) as client:
        with pytest.raises(RateLimitedError, match="wait 7200 seconds") as caught:
            await list_tags(client, wire_server)
    assert caught.value.retry_after == 7200
    assert caught.value.attempts == 1


@pytest.mark.parametrize("first", ["http://169.254.169.254/token", "/broken"])
async def test_a_registry_that_names_another_token_server_is_asked_again(wire_server: WireServer, first: str) -> None:
    def named(realm: str) -> Handler:
        return respond(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})

    wire_server.on("GET", "/broken*", respond(200, (), b"no token"))
    wire_server.on("GET", "/token*", respond_json(200, {"token": "t"}))
    tags = respond_json(200, {"name": NAME, "tags": ["v1"]})
    wire_server.on("GET", TARGET, named(first), named(f"{wire_server.origin}/token"), tags)
    async with alice_at(wire_server) as client:
        with pytest.raises(AuthError):
            await list_tags(client, wire_server)
        assert await list_tags(client, wire_server) == ["v1"]
