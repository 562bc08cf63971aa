"""Which token of an answer is used, for how long, and for what."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

import jwt
import pytest

from ocidist import (
    Digest,
    Manifest,
)
from ocidist.http.caches import MemoryTokenCache
from tests.faults.auth import SOME_TAGS, alice_with, anything, bearer, taking
from tests.http.support import NAME, PULL, PUSH, TAGS, challenge, list_tags
from tests.peers import images
from tests.peers.answers import respond

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocidist.http.caches import TokenOwner
    from ocidist.wire.token import Token
    from tests.peers.answers import Route
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import WireServer

OTHER = "acme/other"
OTHER_PULL = f"repository:{OTHER}:pull"
MANIFEST = Manifest.of(images.image("linux/amd64").manifest.data)
MINUTE, DAY = 60.0, 24 * 3600.0


class Lives(MemoryTokenCache):
    """Notes the life of each token that is remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def store(self, owner: TokenOwner, token: Token) -> None:
        """Note it."""
        self.seconds.append(token.lifetime)
        super().store(owner, token)


def hands_out(server: WireServer, fields: Mapping[str, object]) -> Route:
    """Let a registry hand out one token, and take any."""
    server.on("GET", TAGS, taking(anything, challenge(f"{server.origin}/token", PULL), SOME_TAGS))
    return server.on("GET", "/token*", respond(200, {}, json.dumps(fields).encode()))


# --- F050, Q14: which one --------------------------------------------------------------------------------------------

BOTH: list[tuple[dict[str, object], str]] = [
    ({"token": "a"}, "a"),
    ({"access_token": "b"}, "b"),
    ({"token": "a", "access_token": "b"}, "a"),
    ({"access_token": "b", "token": "a"}, "a"),
    ({"token": "a", "access_token": ""}, "a"),
    ({"token": "", "access_token": "b"}, "b"),
    ({"token": None, "access_token": "b"}, "b"),
    ({"token": "a", "access_token": None}, "a"),
]


@pytest.mark.parametrize(("fields", "used"), BOTH, ids=str)
async def test_f050_token_is_preferred_to_access_token(
    wire_server: WireServer, fields: dict[str, object], used: str
) -> None:
    asked = hands_out(wire_server, fields)
    async with alice_with(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server) == ["v1"]
    assert [bearer(request) for request in wire_server.requests if request.path == TAGS] == [None, used, used]
    assert len(asked.requests) == 1


@pytest.mark.parametrize("field", ["token", "access_token"])
async def test_q14_either_may_be_empty_where_the_other_is_not(
    wire_server: WireServer, token_server: TokenServer, field: str
) -> None:
    other = "access_token" if field == "token" else "token"
    token_server.overrides = {field: "", other: "used"}
    wire_server.on("GET", TAGS, taking(anything, challenge(token_server.realm, PULL), SOME_TAGS))
    async with alice_with(wire_server, tokens=token_server, foreign=(wire_server,)) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert [bearer(request) for request in wire_server.requests] == [None, "used"]


# --- F051, Q15: how long ---------------------------------------------------------------------------------------------

EXPIRES: list[tuple[object, float]] = [
    ("absent", MINUTE),
    (None, MINUTE),
    (0, MINUTE),
    (-1, MINUTE),
    (-1e308, MINUTE),
    (1, MINUTE),
    (59.9, MINUTE),
    (60, MINUTE),
    (300, 300.0),
    (300.5, 300.5),
    ("300", 300.0),
    (1e12, DAY),
    (10**30, DAY),
    ("soon", MINUTE),
    ("", MINUTE),
    ("1e12", MINUTE),
    ("-300", MINUTE),
    ("\u0663\u0660\u0660", MINUTE),
    (True, MINUTE),
    ([300], MINUTE),
    ({"seconds": 300}, MINUTE),
]


@pytest.mark.parametrize(("expires", "life"), EXPIRES, ids=ascii)
async def test_f051_whatever_expires_in_says_a_token_lives_a_minute_to_a_day(
    wire_server: WireServer, expires: object, life: float
) -> None:
    lives = Lives()
    asked = hands_out(wire_server, {"token": "t"} | ({} if expires == "absent" else {"expires_in": expires}))
    async with alice_with(wire_server, token_cache=lives) as client:
        for _ in range(3):
            assert await list_tags(client, wire_server) == ["v1"]
    assert lives.seconds == [life]
    assert len(asked.requests) == 1


def at(offset: float) -> str:
    """Write the time so many seconds from now as token servers do."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + offset))


ISSUED: dict[str, tuple[object, float]] = {
    "absent": (None, 0),
    "now": (at, 0),
    "a little ago": (lambda offset: at(offset - 60), 60),
    "an hour ahead": (lambda offset: at(offset + 3600), 0),
    "an hour behind": (lambda offset: at(offset - 3600), 0),
    "a year behind": (lambda offset: at(offset - 365 * DAY), 0),
    "garbage": ("yesterday", 0),
    "empty": ("", 0),
    "number": (1_700_000_000, 0),
    "year 10000": ("99999-01-01T00:00:00Z", 0),
    "year 0": ("0000-00-00T00:00:00Z", 0),
}


@pytest.mark.parametrize("name", ISSUED)
async def test_q15_a_skewed_time_of_issue_changes_nothing(wire_server: WireServer, name: str) -> None:
    issued, age = ISSUED[name]
    lives = Lives()
    fields = {"token": "t", "expires_in": 300, "issued_at": issued(0) if callable(issued) else issued}
    asked = hands_out(wire_server, fields)
    async with alice_with(wire_server, token_cache=lives) as client:
        for _ in range(2):
            assert await list_tags(client, wire_server) == ["v1"]
    [life] = lives.seconds
    # The time of issue is written in whole seconds.
    assert 300 - age - 30 <= life <= 300 - age + 1
    assert len(asked.requests) == 1


# --- Q16: what kind --------------------------------------------------------------------------------------------------

KEY = "a secret key of the tests that is long enough"


def signed(issued: float, expires: float) -> str:
    """Make a JWT with times that may be anybody's."""
    return jwt.encode({"iat": int(issued), "exp": int(expires)}, KEY, "HS256")


def unsigned(text: str) -> str:
    """Make something that has three parts."""
    return ".".join(
        [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":"none"}', text.encode())] + [""]
    )


KINDS: dict[str, tuple[str, float]] = {
    "opaque": ("djE6YWxpY2U6MTYwMDAwMDAwMA==", 300),
    "ghcr": ("djE6cGF0Og==", 300),
    "one dot": ("a.b", 300),
    "three parts": ("a.b.c", 300),
    "three parts, empty": ("..", 300),
    "no claims": (unsigned("{}"), 300),
    "claims of the wrong type": (unsigned('{"iat": "x", "exp": []}'), 300),
    "claims that are a list": (unsigned("[]"), 300),
    "claims that are no numbers": (unsigned('{"iat": NaN, "exp": Infinity}'), 300),
    "claims that are huge": (unsigned('{"iat": 0, "exp": 1' + "0" * 400 + "}"), 300),
    "backwards": (signed(2000, 1000), 300),
    "shorter": (signed(time.time(), time.time() + 120), 120),
    "longer": (signed(time.time(), time.time() + 3600), 300),
    "long ago": (signed(1_000_000, 1_000_120), 120),
    "far ahead": (signed(4_000_000_000, 4_000_000_120), 120),
}


@pytest.mark.parametrize("name", KINDS)
async def test_q16_opaque_tokens_are_remembered_and_a_jwt_shortens_its_life_by_its_own_span(
    wire_server: WireServer, name: str
) -> None:
    token, life = KINDS[name]
    lives = Lives()
    asked = hands_out(wire_server, {"token": token, "expires_in": 300})
    async with alice_with(wire_server, token_cache=lives) as client:
        for _ in range(5):
            assert await list_tags(client, wire_server) == ["v1"]
    assert lives.seconds == [life]
    assert len(asked.requests) == 1
    assert [bearer(request) for request in wire_server.requests if request.path == TAGS] == [None] + [token] * 5


# --- Q19: two repositories -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "with a token for the target"])
async def test_q19_a_mount_asks_for_pull_at_the_source_and_for_push_first(
    wire_server: WireServer, token_server: TokenServer, *, cold: bool
) -> None:
    digest = Digest.of(b"blob")
    headers = challenge(token_server.realm, PUSH)
    wire_server.on("PUT", f"/v2/{NAME}/manifests/*", taking(anything, headers, respond(201)))
    wire_server.on("HEAD", f"/v2/{NAME}/blobs/*", taking(anything, headers, respond(200, {"Content-Length": "4"})))
    mount = wire_server.on("POST", f"/v2/{NAME}/blobs/uploads/*", taking(anything, headers, respond(201)))
    async with alice_with(wire_server, tokens=token_server, foreign=(wire_server,)) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        if not cold:
            await repository.manifests.push(MANIFEST)
        await repository.blobs.mount(digest, source=OTHER)
    call = token_server.calls[0 if cold else 1]
    # Some token servers look at the first scope only.
    assert call.params["scope"] == [PUSH, OTHER_PULL]
    assert len(token_server.calls) == (1 if cold else 2)
    assert len(mount.requests) == (2 if cold else 1)
