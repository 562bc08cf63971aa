"""Attackers: servers that write down every byte they get, and what must not be among those bytes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from ocidist import Client, Digest, HostConfig, Manifest, OnExit
from tests.faults.dialling import Network
from tests.http.support import ALICE, NAME, QUICK
from tests.peers import images
from tests.peers.answers import respond, respond_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import pytest

    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

TOKEN = "canary-bearer-1f0d-of-the-registry"
REFRESH = "canary-refresh-2e1c-of-the-registry"
COOKIE = "canary-cookie-3d2b-of-the-registry"
TEAM = "canary-header-4c3a-of-the-client"
SECRETS = (ALICE.password, f"{ALICE.username}:{ALICE.password}", TOKEN, REFRESH, COOKIE, TEAM)
FIELDS = (b"authorization", b"cookie", b"x-team", b"password=", b"refresh_token=")

BLOB = b"a small blob"
DIGEST = Digest.of(BLOB)
IMAGE = images.image("linux/amd64").manifest
MANIFEST = Manifest.of(IMAGE.data)
UPLOADS = f"/v2/{NAME}/blobs/uploads/"
HOME, ELSEWHERE = "8.8.8.8", "1.1.1.1"


def forms(secret: str) -> Iterator[bytes]:
    """Yield a secret as it is, URL-encoded, in hexadecimal, and in base64 at each of the three places in a group."""
    raw = secret.encode()
    yield from (raw, quote(secret, safe="").encode(), raw.hex().encode(), raw.hex().upper().encode())
    for shift in range(3):
        # What stands before and after changes the outermost letters.
        text = base64.b64encode(b"\0" * shift + raw)[(shift * 8 + 5) // 6 :].rstrip(b"=")
        core = text if (shift + len(raw)) % 3 == 0 else text[:-1]
        yield from (core, core.translate(bytes.maketrans(b"+/", b"-_")))


def assert_nothing_secret(server: WireServer) -> None:
    """Look for every secret, in every form, in every byte that a server got."""
    received = bytes(server.received)
    for secret in SECRETS:
        for form in forms(secret):
            assert form not in received, f"{server.origin} was told {secret!r}, as {form!r}"
    for field in FIELDS:
        assert field not in received.lower(), f"{server.origin} was told {field!r}"


def assert_untouched(server: WireServer) -> None:
    """Hold that nobody so much as connected."""
    assert list(server.connections) == []
    assert server.tls_failures == []


# --- every way into the client ---------------------------------------------------------------------------------------


async def _write(repository: Repository) -> None:
    async with repository.blobs.writer(chunk_size=4) as writer:
        await writer.write(BLOB)
        await writer.commit()


async def _status(repository: Repository) -> None:
    async with repository.blobs.writer(chunk_size=4) as writer:
        await writer.write(BLOB[:4])
        await writer.flush()
        state = writer.state
    async with repository.blobs.resume(state, source=BLOB) as writer:
        await writer.commit()


async def _cancel(repository: Repository) -> None:
    async with repository.blobs.writer(chunk_size=4, on_exit=OnExit.CANCEL) as writer:
        await writer.write(BLOB[:4])
        await writer.flush()
        await writer.cancel()


async def _raw(client: Client, host: str) -> None:
    scheme = await client.detect_scheme(host)
    response = await client.get(f"{scheme}://{host}/v2/{NAME}/tags/list", follow_redirects=True)
    response.raise_for_status()


@attrs.frozen
class Path:
    """One way through the client.

    Attributes:
        run: What the user does.
        method: Method of the request that it makes first.
        writes: Whether it changes something at the registry.
    """

    run: Callable[[Client, str], Awaitable[object]]
    method: str
    writes: bool = False

    async def repeat(self, times: int, client: Client, host: str) -> None:
        """Go this way so many times."""
        for _ in range(times):
            await self.run(client, host)


def _of(work: Callable[[Repository], Awaitable[object]]) -> Callable[[Client, str], Awaitable[object]]:
    return lambda client, host: work(client.repository(f"{host}/{NAME}"))


PATHS: dict[str, Path] = {
    "ping": Path(lambda client, host: client.registry(host).ping(), "GET"),
    "catalog": Path(lambda client, host: client.registry(host).repositories().collect(), "GET"),
    "tags": Path(_of(lambda repository: repository.tags.list().collect()), "GET"),
    "referrers": Path(_of(lambda repository: repository.referrers(DIGEST).collect()), "GET"),
    "pull manifest": Path(_of(lambda repository: repository.manifests.get("v1")), "GET"),
    "stat manifest": Path(_of(lambda repository: repository.manifests.stat("v1")), "HEAD"),
    "pull blob": Path(_of(lambda repository: repository.blobs.get(DIGEST)), "GET"),
    "stat blob": Path(_of(lambda repository: repository.blobs.stat(DIGEST)), "HEAD"),
    "push manifest": Path(_of(lambda repository: repository.manifests.push(MANIFEST)), "PUT", writes=True),
    "push blob": Path(_of(lambda repository: repository.blobs.push(BLOB, check_exists=False)), "POST", writes=True),
    "mount": Path(_of(lambda repository: repository.blobs.mount(DIGEST, source="other/app")), "POST", writes=True),
    "upload": Path(_of(_write), "POST", writes=True),
    "upload status": Path(_of(_status), "POST", writes=True),
    "upload cancel": Path(_of(_cancel), "POST", writes=True),
    "delete blob": Path(_of(lambda repository: repository.blobs.delete(DIGEST)), "DELETE", writes=True),
    "delete manifest": Path(
        _of(lambda repository: repository.manifests.delete(DIGEST, update_referrers=False)), "DELETE", writes=True
    ),
    "raw": Path(_raw, "GET"),
}


# --- a registry that means well --------------------------------------------------------------------------------------


class Honest:
    """A registry that answers every request as it should, once it comes with the token or the password.

    Attributes:
        instead: By method: the answer that takes the place of the right one, from the given request on.
        requests: The requests that came with what is wanted.
    """

    def __init__(self, server: WireServer) -> None:
        self.server = server
        self.instead: dict[str, list[Handler | None]] = {}
        self.requests: list[Request] = []
        server.on("*", "/*", self)

    def replace(self, method: str, *answers: Handler | None) -> None:
        """Answer the next requests of a method in turn like this; None is the right answer, and the last one stays."""
        self.instead[method] = list(answers)

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        self.requests.append(request)
        answers = self.instead.get(request.method, [])
        answer = None if not answers else answers.pop(0) if len(answers) > 1 else answers[0]
        (answer or self._right(request))(request, connection)

    def _right(self, request: Request) -> Handler:
        path = request.path
        if request.method == "DELETE":
            return respond(202)
        if "/uploads" in path:
            return self._upload(request)
        if "/blobs/" in path:
            return respond(200, {"Docker-Content-Digest": str(DIGEST)}, BLOB)
        if "/manifests/" in path:
            headers = {"Content-Type": MANIFEST.media_type, "Docker-Content-Digest": str(MANIFEST.digest)}
            return respond(201 if request.method == "PUT" else 200, headers, MANIFEST.data)
        if "/referrers/" in path:
            return respond_json(
                200,
                {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []},
                {"Content-Type": "application/vnd.oci.image.index.v1+json"},
            )
        if path.endswith("/tags/list"):
            return respond_json(200, {"name": NAME, "tags": ["v1"]})
        return respond_json(200, {"repositories": [NAME]})

    def _upload(self, request: Request) -> Handler:
        location = {"Location": f"{UPLOADS}1?_state=x"}
        match request.method:
            case "POST" if "digest" in dict(request.query):
                return respond(201, {"Docker-Content-Digest": str(DIGEST)})
            case "POST":
                return respond(202, location | {"Range": "0-0"})
            case "PATCH":
                first = (request.header("Content-Range") or "0-").partition("-")[0]
                length = int(request.header("Content-Length") or "0")
                return respond(202, location | {"Range": f"0-{int(first) + length - 1}"})
            case "GET":
                return respond(204, location | {"Range": "0-3"})
            case _:
                return respond(201, {"Docker-Content-Digest": str(DIGEST)})


def with_token(registry: Honest, realm: str, *, scope: str | None = f"repository:{NAME}:pull,push,delete") -> Handler:
    """Return an answer that lets in whoever brings the token, and sends everybody else to a token server."""
    named = f'Bearer realm="{realm}",service="registry"' + (f',scope="{scope}"' if scope else "")

    def answer(request: Request, connection: Connection) -> None:
        known = request.header("Authorization") == f"Bearer {TOKEN}"
        then = registry if known else respond(401, {"WWW-Authenticate": named, "Set-Cookie": f"session={COOKIE}"})
        then(request, connection)

    return answer


def grant(token: str = TOKEN, **fields: object) -> Handler:
    """Answer as a token server that gives out a refresh token and sets a cookie, too."""
    body = {"token": token, "refresh_token": REFRESH, "expires_in": 3600} | fields
    return respond_json(200, body, {"Set-Cookie": f"tokens={COOKIE}"})


def alice(*servers: WireServer, known: WireServer | None = None, **options: Any) -> Client:  # noqa: ANN401 -- the client's own
    """Return a client with a password for the first server, and a header that is for its registries only."""
    usual: dict[str, Any] = {
        "hosts": {
            server.host: HostConfig(scheme="https" if server.origin.startswith("https") else "http")
            for server in servers
        },
        "credentials": {(known or servers[0]).host: ALICE},
        "headers": {"X-Team": TEAM},
        "retry": QUICK,
    }
    return Client(**(usual | options))


def public_network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Install a resolver and wires by which ``registry.example`` and ``cdn.example`` are two public hosts."""
    made = Network()
    made.install(monkeypatch)
    made.name("registry.example", [made.lead(HOME)])
    made.name("cdn.example", [made.lead(ELSEWHERE)])
    return made


def attacker(start: StartWireServer, where: str) -> WireServer:
    """Start a server that is not the registry on 127.0.0.1: by another name, address or port. It answers everything."""
    options = {"name": {"name": "localhost"}, "address": {"address": "127.0.0.2"}, "port": {}}[where]
    server = start(**options)
    server.on("*", "*", respond(401, {"WWW-Authenticate": f'Bearer realm="{server.origin}/token",service="evil"'}))
    return server
