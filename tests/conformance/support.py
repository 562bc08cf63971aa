"""What the conformance tests share: plain HTTP, and nothing of the client under test."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from typing import TYPE_CHECKING, Any

import httpx

from ocidist.issuer import TokenRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.peers.images import Image
    from tests.peers.peer import Peer

# Loading the authorities anew for each client would take longer than the tests.
_TLS = ssl.create_default_context()
LINK = re.compile(r'<(?P<target>[^>]+)>; rel="next"')


def sha256(data: bytes) -> str:
    """Return the digest of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def sha512(data: bytes) -> str:
    """Return the digest of bytes by the other algorithm."""
    return f"sha512:{hashlib.sha512(data).hexdigest()}"


class Login(httpx.Auth):
    """Says who asks, as clients do: by password, or by a token for what each challenge names.

    Args:
        peer: The registry.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._answers: dict[tuple[str, str, bytes], str] = {}

    def header(self, challenge: str) -> str:
        """Return the Authorization header that answers a challenge."""
        if challenge.startswith("Basic "):
            login = f"{self._peer.username}:{self._peer.password}"
            return f"Basic {base64.b64encode(login.encode()).decode()}"
        # What the fixture has here is ocidist's own token server, which has an issuer.
        server: Any = self._peer.token_server
        request = TokenRequest.from_challenge(challenge, account="alice")
        return f"Bearer {server.issuer.issue(request).token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Ask once what is needed, without the body: bodies can be sent once."""
        query = request.url.query if b"mount=" in request.url.query else b""
        key = (request.method, request.url.path.rpartition("/")[0], query)
        if key not in self._answers:
            asked = yield httpx.Request(request.method, request.url, headers={"Host": request.headers["Host"]})
            if asked.status_code == 401:
                self._answers[key] = self.header(asked.headers["WWW-Authenticate"])
        if key in self._answers:
            request.headers["Authorization"] = self._answers[key]
        yield request


def login_for(peer: Peer) -> Login | None:
    """Return who asks at a registry; None where everybody may."""
    return None if peer.username is None else Login(peer)


async def authorization(http: httpx.AsyncClient, method: str, target: str) -> str:
    """Return the header field line that a request needs which is sent by hand; empty where everybody may ask."""
    if not isinstance(http.auth, Login):
        return ""
    asked = await http.request(method, target, auth=httpx.Auth())
    assert asked.status_code == 401
    return f"Authorization: {http.auth.header(asked.headers['WWW-Authenticate'])}\r\n"


def client_for(origin: str, login: Login | None = None) -> httpx.AsyncClient:
    """Return a plain client that checks what every answer must have."""
    hooks = {"response": [_check]}
    return httpx.AsyncClient(base_url=origin, event_hooks=hooks, timeout=30, verify=_TLS, auth=login)


async def _check(response: httpx.Response) -> None:
    assert response.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert ("Content-Length" in response.headers) == (response.status_code not in {204, 304})
    if response.is_error and response.request.method != "HEAD":
        await response.aread()
        assert response.headers["Content-Type"] == "application/json"
        assert set(response.json()) == {"errors"}
        assert response.json()["errors"]


def codes(response: httpx.Response) -> list[str]:
    """Return the codes of an error body."""
    return [error["code"] for error in response.json()["errors"]]


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Return status and first code of a refusal."""
    return response.status_code, codes(response)[0]


def next_page(response: httpx.Response) -> str | None:
    """Return the target of the Link header, or None if there is none."""
    if "Link" not in response.headers:
        return None
    found = LINK.fullmatch(response.headers["Link"])
    assert found is not None
    return found["target"]


async def pages(http: httpx.AsyncClient, target: str, key: str) -> list[list[Any]]:
    """Follow a list from link to link and return what is on each page."""
    found = []
    following: str | None = target
    while following is not None:
        response = await http.get(following)
        assert response.status_code == 200
        found.append(response.json()[key])
        following = next_page(response)
    return found


async def push_blob(http: httpx.AsyncClient, name: str, data: bytes) -> str:
    """Push a blob and return its digest."""
    digest = sha256(data)
    response = await http.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, content=data)
    assert response.status_code == 201
    return digest


async def start_upload(http: httpx.AsyncClient, name: str) -> str:
    """Open an upload session and return its location."""
    response = await http.post(f"/v2/{name}/blobs/uploads/")
    assert response.status_code == 202
    location: str = response.headers["Location"]
    return location


async def put_manifest(http: httpx.AsyncClient, name: str, reference: str, image: Image) -> httpx.Response:
    """Push a manifest without what belongs to it."""
    headers = {"Content-Type": image.manifest.media_type}
    return await http.put(f"/v2/{name}/manifests/{reference}", content=image.manifest.data, headers=headers)


async def push_image(http: httpx.AsyncClient, name: str, image: Image, *tags: str) -> None:
    """Push an image with everything that belongs to it, under its digest and each tag."""
    for blob in image.all_blobs:
        await push_blob(http, name, blob.data)
    for each in image.walk():
        assert (await put_manifest(http, name, each.digest, each)).status_code == 201
    for tag in tags:
        assert (await put_manifest(http, name, tag, image)).status_code == 201
