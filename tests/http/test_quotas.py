"""Allowances for hours: a 429 that no waiting helps against, and what hooks are told of what is left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ocidist import Event, RateLimit, RateLimitedError, RateLimitSeen, RequestRedirected, RequestRetried
from tests.http.support import NAME, QUICK, SOME_TAGS, TAGS, client_for, list_tags
from tests.peers.answers import error, respond, respond_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.conftest import StartWireServer
    from tests.peers.wire_server import WireServer

LEFT = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "0;w=21600", "docker-ratelimit-source": "192.0.2.1"}
HUB = "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading"
IETF = {"RateLimit": '"day";r=0;t=9000', "RateLimit-Policy": '"day";q=50;w=86400'}
FIELDS = {"Limit": "60", "Remaining": "0", "Reset": "600"}
NONE_LEFT = RateLimit(100, 0, 21600, None, "192.0.2.1")


def tags_with(headers: Mapping[str, str]) -> Callable[..., None]:
    return respond_json(200, {"name": NAME, "tags": ["v1"]}, headers)


@pytest.mark.parametrize(
    ("headers", "code", "message", "quota"),
    [
        (LEFT, "toomanyrequests", HUB, NONE_LEFT),
        (LEFT, "TOOMANYREQUESTS", "slow down", NONE_LEFT),
        ({}, "TOOMANYREQUESTS", HUB, None),
        ({}, "TOOMANYREQUESTS", "Data limit exceeded", None),
        (IETF, "X", "", RateLimit(50, 0, 86400, 9000.0)),
        ({f"RateLimit-{name}": value for name, value in FIELDS.items()}, "X", "", RateLimit(60, 0, None, 600.0)),
        ({f"X-RateLimit-{name}": value for name, value in FIELDS.items()}, "X", "", RateLimit(60, 0, None, 600.0)),
    ],
    ids=["Hub", "no words", "only words", "ECR Public", "IETF", "old IETF", "X"],
)
async def test_n06_an_allowance_that_is_used_up_fails_at_once_and_says_what_it_was(
    wire_server: WireServer, headers: dict[str, str], code: str, message: str, quota: RateLimit | None
) -> None:
    route = wire_server.on("GET", TAGS, error(429, code, message, headers))
    async with client_for(wire_server) as client:
        with pytest.raises(RateLimitedError, match="used up") as caught:
            await list_tags(client, wire_server)
    failure = caught.value
    assert (failure.quota, failure.exhausted, failure.attempts, len(route.requests)) == (quota, True, 1, 1)
    if quota is not None:
        assert f"0 of {quota.limit} left" in str(failure)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Retry-After": "0"}, b""),
        ({"Retry-After": "0", **LEFT}, b""),
        ({}, b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "Rate exceeded"}]}'),
        ({}, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'),
        ({}, b"Too Many Requests"),
        ({}, b"Retry later\n"),
        (
            {},
            b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "retry-after: 880.092\xc2\xb5s, allowed: 9/minute"}]}',
        ),
        ({"RateLimit-Limit": "60", "RateLimit-Remaining": "0", "RateLimit-Reset": "1"}, b""),
    ],
    ids=["Retry-After", "both", "ECR", "AWS", "Quay", "GitLab", "GHCR", "a second"],
)
async def test_n06_a_short_burst_that_is_too_much_is_only_tried_again(
    wire_server: WireServer, headers: dict[str, str], body: bytes
) -> None:
    route = wire_server.on("GET", TAGS, respond(429, headers, body), SOME_TAGS)
    async with client_for(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert len(route.requests) == 2


async def test_n06_the_quota_is_in_the_error_also_after_attempts_in_vain(wire_server: WireServer) -> None:
    headers = {"Retry-After": "0", "RateLimit-Limit": "10", "RateLimit-Remaining": "0"}
    wire_server.on("GET", TAGS, error(429, "TOOMANYREQUESTS", "slow down", headers))
    async with client_for(wire_server) as client:
        with pytest.raises(RateLimitedError) as caught:
            await list_tags(client, wire_server)
    assert (caught.value.quota, caught.value.exhausted) == (RateLimit(10, 0), False)
    assert (caught.value.attempts, caught.value.retry_after) == (QUICK.attempts, 0.0)


async def test_a10_docker_hubs_quota_fails_at_once_also_for_writes_and_raw_requests(wire_server: WireServer) -> None:
    spent = error(429, "toomanyrequests", HUB, LEFT)
    post = wire_server.on("POST", f"/v2/{NAME}/blobs/uploads/", spent)
    get = wire_server.on("GET", TAGS, spent)
    async with client_for(wire_server) as client:
        with pytest.raises(RateLimitedError) as caught:
            await client.repository(f"{wire_server.host}/{NAME}").blobs.push(b"data")
        assert (await client.get(f"{wire_server.origin}{TAGS}")).status_code == 429
    assert (caught.value.quota, len(post.requests), len(get.requests)) == (NONE_LEFT, 1, 1)


# --- records ---------------------------------------------------------------------------------------------------------


def seen(events: list[Event]) -> list[RateLimit]:
    return [event.quota for event in events if isinstance(event, RateLimitSeen)]


async def test_n13_what_is_left_is_told_when_it_changes(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("ocidist.http.traffic.monotonic", lambda: now)
    left = iter([99, 99, 98, 97, 96, 0])
    answers = [tags_with({"RateLimit-Limit": "100;w=60", "RateLimit-Remaining": f"{n};w=60"}) for n in left]
    wire_server.on(
        "GET", TAGS, *answers, tags_with({"RateLimit-Limit": "200", "RateLimit-Remaining": "199"}), SOME_TAGS
    )
    events: list[Event] = []
    async with client_for(wire_server, hooks=[events.append]) as client:
        for wait in (0.0, 5.0, 0.0, 5.0, 0.1, 0.1, 0.1, 0.1):
            now += wait
            await list_tags(client, wire_server)
    # Not more than once a second, but at once when nothing is left or the limit is another.
    assert [(quota.limit, quota.remaining) for quota in seen(events)] == [
        (100, 99),
        (100, 98),
        (100, 97),
        (100, 0),
        (200, 199),
    ]
    assert {event.host for event in events} == {wire_server.host}


async def test_n13_hooks_see_quotas_retries_and_redirects(start_wire_server: StartWireServer) -> None:
    registry, cdn = start_wire_server(), start_wire_server(address="127.0.0.2")
    data = b"blob"
    digest = "sha256:fa2c8cc4f28176bbeed4b736df569a34c79cd3723e9ec42f9674b4d46ac6b8b8"
    target = f"{cdn.origin}/store?signature=secret"
    away = respond(307, {"Location": target, "RateLimit-Remaining": "3"})
    registry.on("GET", f"/v2/{NAME}/blobs/{digest}", respond(503), away)
    cdn.on("GET", "/store", respond(200, {"X-RateLimit-Remaining": "5"}, data))
    events: list[Event] = []
    async with client_for(registry, cdn, hooks=[events.append]) as client:
        assert await client.repository(f"{registry.host}/{NAME}").blobs.get(digest) == data
    kinds = (RequestRetried, RequestRedirected, RateLimitSeen)
    told = [event for event in events if isinstance(event, kinds)]
    assert [type(event) for event in told] == [RequestRetried, RequestRedirected]
    assert told[1] == RequestRedirected(registry.host, "pull blob", cdn.host)
    assert "secret" not in json.dumps([repr(event) for event in events])
