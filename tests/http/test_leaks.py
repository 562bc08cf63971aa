"""No secret in logs, errors, tracebacks or reprs: canaries go through everything, and none may come out."""

from __future__ import annotations

import base64
import logging
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest

import ocidist
from ocidist import Basic, Client, Digest, EgressPolicy, HostConfig, IdentityToken, OciError, RegistryToken
from tests.canary import COOKIE, PASSWORD, REFRESH, SIGNATURE, STATE, TOKEN, USER
from tests.http.support import NAME, QUICK, client_for
from tests.peers.answers import chain, close, error, raw, respond, respond_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

CANARIES = (PASSWORD, TOKEN, REFRESH, STATE, SIGNATURE, COOKIE, f"{USER}:{PASSWORD}")
BLOB = b"x" * 5000
DIGEST = Digest.of(BLOB)
SOURCE = Path(ocidist.__file__).parent


def forms() -> list[str]:
    """Return every canary as it is, in base64, URL-encoded and in hexadecimal."""
    encoded = [canary.encode() for canary in CANARIES]
    plain = [*CANARIES, *(quote(canary, safe="") for canary in CANARIES), *(raw.hex() for raw in encoded)]
    return [*plain, *(base64.b64encode(raw).decode().rstrip("=") for raw in encoded)]


def found_in(text: str) -> list[str]:
    """Return the canaries in a text."""
    return [form for form in forms() if form in text]


class Logs(logging.Handler):
    """Keeps everything that is logged, with its arguments."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.lines.append(f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text}")


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Collect the log of every library at its most talkative."""
    root, handler = logging.getLogger(), Logs()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


def told(failure: BaseException) -> str:
    """Return everything an error tells: its text, its attributes, its causes, and the variables of ocidist's frames."""
    parts: list[str] = []
    link: BaseException | None = failure
    while link is not None:
        parts += [str(link), repr(link), repr(vars(link))]
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if Path(frame.f_code.co_filename).is_relative_to(SOURCE) or "httpx" in frame.f_code.co_filename:
                parts += [f"{name}={value!r}" for name, value in frame.f_locals.items()]
        link = link.__cause__ or link.__context__
    return "\n".join(parts)


def registry(server: WireServer, cdn: WireServer) -> None:
    """Play a registry whose every answer holds a secret."""
    realm = f'Bearer realm="{server.origin}/token",service="s"'
    uploads = f"/v2/{NAME}/blobs/uploads/"

    def guarded(then: Handler) -> Handler:
        def answer(request: Request, connection: Connection) -> None:
            known = request.header("Authorization") == f"Bearer {TOKEN}"
            (then if known else respond(401, {"WWW-Authenticate": realm}))(request, connection)

        return answer

    cookie = {"Set-Cookie": f"session={COOKIE}"}
    location = {"Location": f"{uploads}1?_state={STATE}", **cookie}
    server.on("GET", "/token*", respond_json(200, {"token": TOKEN, "refresh_token": REFRESH, "expires_in": 300}))
    server.on("POST", "/token*", respond_json(200, {"access_token": TOKEN, "refresh_token": REFRESH}))
    server.on("GET", "/v2/", guarded(respond(200, cookie, b"{}")))
    server.on("HEAD", f"/v2/{NAME}/blobs/*", guarded(error(404, "BLOB_UNKNOWN")))
    server.on("POST", f"{uploads}*", guarded(respond(202, location)))
    server.on("PATCH", f"{uploads}*", guarded(respond(202, location)))
    server.on("PUT", f"{uploads}*", guarded(error(400, "DIGEST_INVALID", f"bad {STATE[:0]}", cookie)))
    server.on("DELETE", f"{uploads}*", guarded(respond(204, cookie)))
    server.on(
        "GET",
        f"/v2/{NAME}/blobs/*",
        guarded(respond(307, {"Location": f"{cdn.origin}/blob?X-Amz-Signature={SIGNATURE}", **cookie})),
    )
    server.on("GET", f"/v2/{NAME}/manifests/*", guarded(error(404, "MANIFEST_UNKNOWN")))
    server.on("GET", f"/v2/{NAME}/tags/list*", guarded(respond(403, cookie, b"<html>no</html>")))
    server.on("GET", f"/v2/{NAME}/referrers/*", guarded(respond(302, {"Location": f"file:///x?{SIGNATURE}"})))


async def everything(client: Client, server: WireServer, collected: list[OciError]) -> None:
    """Do everything that succeeds and fails on this registry."""
    repository = client.repository(f"{server.host}/{NAME}")

    async def chunks() -> None:
        async with repository.blobs.writer(chunk_size=1000) as writer:
            await writer.write(BLOB)
            collected.append(OciError(repr(writer.state)))
            await writer.commit()

    async def referrers() -> None:
        await repository.referrers(DIGEST).collect()

    async def tags() -> None:
        await repository.tags.list().collect()

    await client.registry(server.host).ping()
    for work in (
        chunks,
        referrers,
        tags,
        lambda: repository.blobs.push(BLOB),
        lambda: repository.blobs.mount(DIGEST, source="acme/base"),
        lambda: repository.blobs.get(DIGEST),
        lambda: repository.manifests.get("v1"),
        lambda: repository.manifests.push(b"{}", media_type="application/vnd.oci.image.manifest.v1+json"),
    ):
        try:
            result = await work()
        except OciError as failure:
            collected.append(failure)
        else:
            collected.append(OciError(repr(result)))


CDN: dict[str, Handler] = {
    "works": respond(200, (), BLOB),
    "expired": respond(403, (), b"<Error>expired</Error>"),
    "altered": respond(200, (), BLOB[:-1] + b"y"),
    "cut": chain(respond(200, {"Content-Length": "5000"}, BLOB[:100]), close),
    "redirects": respond(302, {"Location": f"http://169.254.169.254/x?s={SIGNATURE}"}),
}


@pytest.mark.parametrize("cdn", CDN)
@pytest.mark.parametrize("credential", [Basic(USER, PASSWORD), IdentityToken(REFRESH), RegistryToken(TOKEN)], ids=repr)
async def test_t45_no_secret_is_logged_or_told_by_an_error(
    wire_server: WireServer,
    start_wire_server: StartWireServer,
    logs: Logs,
    cdn: str,
    credential: ocidist.Credential,
) -> None:
    elsewhere = start_wire_server(name="localhost")
    elsewhere.on("GET", "/blob*", CDN[cdn])
    registry(wire_server, elsewhere)
    collected: list[OciError] = []
    events: list[object] = []
    client = client_for(wire_server, credentials={wire_server.host: credential}, hooks=[events.append])
    async with client:
        await everything(client, wire_server, collected)
        shown = [repr(client), repr(vars(client).get("_session")), repr(credential), repr(client.headers)]
    assert len(collected) >= 8
    assert TOKEN.encode() in wire_server.received
    assert found_in("\n".join(map(told, collected))) == []
    assert found_in("\n".join(logs.lines)) == []
    assert found_in("\n".join(map(repr, events))) == []
    assert found_in("\n".join(shown)) == []


TOKEN_SERVERS: dict[str, Handler] = {
    "refuses": respond(401, (), b'{"details":"no"}'),
    "fails": respond(500),
    "is no JSON": respond(200, (), b"<html>" + TOKEN.encode()),
    "has a wrong token": respond_json(200, {"token": [TOKEN]}),
    "has a token that cannot be sent": respond_json(200, {"token": f"{TOKEN}\r\nX: y"}),
    "redirects": respond(302, {"Location": f"http://localhost/?token={TOKEN}"}),
    "is cut off": chain(respond(200, {"Content-Length": "500"}, TOKEN.encode()), close),
}


@pytest.mark.parametrize("answer", TOKEN_SERVERS)
@pytest.mark.parametrize("credential", [Basic(USER, PASSWORD), IdentityToken(REFRESH)], ids=repr)
async def test_t45_no_secret_is_told_when_a_token_cannot_be_had(
    wire_server: WireServer, logs: Logs, answer: str, credential: ocidist.Credential
) -> None:
    wire_server.on("*", "/token*", TOKEN_SERVERS[answer])
    challenge = {"WWW-Authenticate": f'Bearer realm="{wire_server.origin}/token",service="s"'}
    wire_server.on("GET", "/v2/*", respond(401, challenge))
    async with client_for(wire_server, credentials={wire_server.host: credential}) as client:
        with pytest.raises(OciError) as caught:
            await client.repository(f"{wire_server.host}/{NAME}").tags.list().collect()
    assert found_in(told(caught.value)) == []
    assert found_in("\n".join(logs.lines)) == []


async def test_t45_no_secret_is_told_when_nobody_answers(logs: Logs) -> None:
    hosts = {"127.0.0.1:1": HostConfig(scheme="http")}
    async with Client(credentials={"127.0.0.1:1": Basic(USER, PASSWORD)}, hosts=hosts, retry=QUICK) as client:
        with pytest.raises(OciError) as caught:
            await client.repository(f"127.0.0.1:1/{NAME}").blobs.push(BLOB)
    assert found_in(told(caught.value)) == []
    assert found_in("\n".join(logs.lines)) == []


BREAKS: dict[str, Handler] = {
    "before the answer": close,
    "in its head": chain(raw(b"HTTP/1.1 200 OK\r\nContent-"), close),
    "in its body": chain(respond(200, {"Content-Length": "500"}, b"{"), close),
}


@pytest.mark.parametrize("breaks", BREAKS)
@pytest.mark.parametrize("credential", [Basic(USER, PASSWORD), RegistryToken(TOKEN)], ids=repr)
async def test_t45_no_secret_is_told_when_a_connection_breaks(
    wire_server: WireServer, logs: Logs, breaks: str, credential: ocidist.Credential
) -> None:
    def answer(request: Request, connection: Connection) -> None:
        known = request.header("Authorization") is not None
        (BREAKS[breaks] if known else respond(401, {"WWW-Authenticate": 'Basic realm="r"'}))(request, connection)

    wire_server.on("*", "*", answer)
    async with client_for(wire_server, credentials={wire_server.host: credential}) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        for work in (
            lambda: repository.tags.list().collect(),
            lambda: repository.blobs.push(BLOB),
            lambda: client.get(f"{wire_server.origin}/v2/{NAME}/tags/list"),
        ):
            with pytest.raises((OciError, httpx.HTTPError)) as caught:
                await work()
            assert found_in(told(caught.value)) == []
    assert b"Authorization" in wire_server.received
    assert found_in("\n".join(logs.lines)) == []


async def test_t45_a_realm_with_a_password_in_it_is_not_shown(wire_server: WireServer, logs: Logs) -> None:
    realm = f"http://{USER}:{PASSWORD}@127.0.0.1/token?key={TOKEN}"
    wire_server.on("GET", "/v2/*", respond(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}))
    egress = EgressPolicy(trusted_realms=("127.0.0.1",))
    async with client_for(wire_server, egress=egress) as client:
        with pytest.raises(ocidist.AuthRealmRefusedError) as caught:
            await client.repository(f"{wire_server.host}/{NAME}").tags.list().collect()
    assert found_in(told(caught.value)) == []
    assert found_in("\n".join(logs.lines)) == []


async def test_t45_raw_requests_are_not_logged_with_their_url(wire_server: WireServer, logs: Logs) -> None:
    wire_server.on("GET", "/v2/*", respond(200, {"Set-Cookie": f"s={COOKIE}", "Location": f"/?s={SIGNATURE}"}))
    async with client_for(wire_server) as client:
        await client.get(f"{wire_server.origin}/v2/?key={SIGNATURE}", headers={"Authorization": f"Bearer {TOKEN}"})
        with suppress(OciError):
            await client.registry(wire_server.host).ping()
    assert found_in("\n".join(logs.lines)) == []
