"""A door before a registry: who brings no token that is good for the request, or no password, is challenged."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from tests.canary import ALICE_PASSWORD, USER
from tests.faults.matrix.proxy import Answer
from tests.faults.matrix.rules import Kind
from tests.peers.token_server import SERVICE, claims

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.matrix.stage import Setting
    from tests.peers.wire_server import Request

_BASIC = "Basic " + base64.b64encode(f"{USER}:{ALICE_PASSWORD}".encode()).decode()
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


class Gate:
    """The door.

    Args:
        setting: What it asks for.
        origins: Where the token server is, under ``tokens``.
    """

    def __init__(self, setting: Setting, origins: Mapping[str, str]) -> None:
        self._bearer = setting.name == "TOKEN"
        self._origins = origins
        self._revoked: set[str] = set()

    def revoke(self, request: Request) -> None:
        """Take what a request brings no more."""
        self._revoked.add(request.header("Authorization") or "")

    def __call__(self, request: Request) -> Answer | None:
        """Return the refusal, or None to let it pass."""
        brought = request.header("Authorization") or ""
        if self._good(brought, request):
            return None
        challenge = 'Basic realm="the faults"'
        if self._bearer:
            scope = _scope(request)
            asked = f',scope="{scope}"' if scope else ""
            challenge = f'Bearer realm="{self._origins["tokens"]}/token",service="{SERVICE}"{asked}'
        body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]})
        headers = (("Content-Type", "application/json"), ("WWW-Authenticate", challenge))
        return Answer(401, headers, body.encode())

    def _good(self, brought: str, request: Request) -> bool:
        if brought in self._revoked:
            return False
        if not self._bearer:
            return brought == _BASIC
        kind, _, token = brought.partition(" ")
        if kind != "Bearer" or token.count(".") != 2:
            return False
        scope = _scope(request)
        if scope is None:
            return True
        name, wanted = scope.rpartition(":")[0], set(scope.rpartition(":")[2].split(","))
        granted = (entry for entry in claims(token)["access"] if f"{entry['type']}:{entry['name']}" == name)
        return any(wanted <= set(entry["actions"]) for entry in granted)


def _scope(request: Request) -> str | None:
    if Kind.PING.covers(request):
        return None
    if Kind.CATALOG.covers(request):
        return "registry:catalog:*"
    name = request.path.removeprefix("/v2/")
    for mark in ("/manifests/", "/blobs/", "/tags/", "/referrers/"):
        name = name.partition(mark)[0]
    upload = "/blobs/uploads/" in request.path
    return f"repository:{name}:{'pull,push' if upload else _ACTIONS.get(request.method, 'pull,push')}"
