"""A registry and its token server inside this process, by a clock that a test turns: a day of tokens takes seconds."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import httpx

from ocidist import Digest

if TYPE_CHECKING:
    import pytest

LIFE_S = 60.0


class Clock:
    """The monotonic clock and the wall clock of the client.

    Attributes:
        now: Seconds of the monotonic clock.
        step: Seconds by which the wall clock was set forward (or back).
    """

    def __init__(self) -> None:
        self.now = 50_000.0
        self.step = 0.0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the clocks that tokens go by."""
        monkeypatch.setattr("ocidist.http.auth.monotonic", self.monotonic)
        monkeypatch.setattr("ocidist.http.logins.monotonic", self.monotonic)
        monkeypatch.setattr("ocidist.http.tokens.monotonic", self.monotonic)
        monkeypatch.setattr("ocidist.http.tokens.time.time", self.wall)

    def monotonic(self) -> float:
        """Return the time that only goes forward."""
        return self.now

    def wall(self) -> float:
        """Return the time that somebody may set."""
        return 1_700_000_000.0 + self.now + self.step

    def true(self) -> float:
        """Return what the wall clock of a token server says, which nobody sets."""
        return 1_700_000_000.0 + self.now


class Registries(httpx.AsyncBaseTransport):
    """Any registry, with one token server for all of them at ``tokens.acme.io``.

    Tokens say who they are for, on which registry and what they may do; a registry takes them for as long as they live.

    Attributes:
        issued: Tokens handed out so far, as (user, registry, scopes).
        refused: Requests with a token that was not taken, or that was somebody else's.
        bare: Requests without a token.
    """

    def __init__(self, clock: Clock, life_s: float = LIFE_S) -> None:
        self._clock = clock
        self._life = life_s
        self.issued: list[tuple[str, str, str]] = []
        self.refused: list[str] = []
        self.bare = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer at once."""
        host = request.url.host
        return self._token(request) if host == "tokens.acme.io" else self._answer(request, host)

    def _token(self, request: httpx.Request) -> httpx.Response:
        query = parse_qs(request.url.query.decode())
        kind, _, pair = request.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(pair).decode().partition(":")
        assert (kind, password) == ("Basic", f"password of {user}")
        service, scopes = query["service"][0], " ".join(query.get("scope", []))
        self.issued.append((user, service, scopes))
        end = self._clock.now + self._life
        token = base64.urlsafe_b64encode(json.dumps([user, service, scopes, end]).encode()).decode()
        seconds = self._clock.true()
        body = {"token": token, "expires_in": self._life, "issued_at": _rfc3339(seconds)}
        return httpx.Response(200, json=body)

    def _answer(self, request: httpx.Request, host: str) -> httpx.Response:
        name, _, digest = request.url.path.removeprefix("/v2/").partition("/blobs/")
        challenge = f'Bearer realm="https://tokens.acme.io/token",service="{host}",scope="repository:{name}:pull"'
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if not kind:
            self.bare += 1
            return httpx.Response(401, headers={"WWW-Authenticate": challenge})
        user, service, scopes, end = json.loads(base64.urlsafe_b64decode(token))
        good = service == host and f"repository:{name}:" in scopes and self._clock.now < end
        # Everybody asks for the one blob that is their own.
        if not good or digest != own_blob(user):
            self.refused.append(f"{user}@{service} {scopes} for {host}/{name}")
            return httpx.Response(401, headers={"WWW-Authenticate": challenge})
        return httpx.Response(200, headers={"Content-Length": str(len(user))})


def own_blob(user: str) -> str:
    """Return the digest of the blob that a user asks for."""
    return str(Digest.of(user.encode()))


def _rfc3339(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
