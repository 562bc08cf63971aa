"""Redirects, upload locations, next pages and foreign layers: who is asked, and what they are told."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import httpx
import pytest

from ocidist import (
    AuthRealmRefusedError,
    Descriptor,
    Digest,
    DigestMismatchError,
    EgressError,
    EgressPolicy,
    HostConfig,
    LinkRefusedError,
    LocationRefusedError,
    Manifest,
    OciError,
    RedirectRefusedError,
    SizeMismatchError,
    UnexpectedStatusError,
    UsageError,
)
from ocidist.http.foreign import ForeignLayers
from ocidist.model.mediatype import OCI_CONFIG, OCI_MANIFEST
from ocidist.wire.egress import check_foreign, check_link, check_location, check_realm, check_redirect
from tests.faults.auth import all_closed
from tests.faults.egress import (
    BLOB,
    HOME,
    PATHS,
    Honest,
    alice,
    assert_nothing_secret,
    assert_untouched,
    attacker,
    grant,
    public_network,
    with_token,
)
from tests.http.support import NAME, ONCE
from tests.peers.answers import chain, close, respond, respond_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ocidist import Client
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer

# What is decided does not depend on the event loop, and each row has tests on all of them.
pytestmark = pytest.mark.in_turn

WRITES = [name for name, path in PATHS.items() if path.writes]
UPLOADING = ["push blob", "upload", "upload status", "upload cancel", "mount"]
LISTS = ["catalog", "tags", "referrers"]
READS = ["pull manifest", "stat manifest", "pull blob", "stat blob", "raw"]
elsewhere = pytest.mark.parametrize("where", ["name", "address", "port"])


@pytest.fixture
def registry(wire_server: WireServer) -> Honest:
    """A registry that answers whoever brings its token."""
    made = Honest(wire_server)
    wire_server.on("*", "/token*", grant())
    wire_server.on("*", "/v2/*", with_token(made, f"{wire_server.origin}/token"))
    return made


# --- Q39: redirects --------------------------------------------------------------------------------------------------


def cdn(server: WireServer) -> None:
    """Hand out what was asked for, and refuse as S3 does whoever also brings an Authorization."""
    honest = Honest(server)

    def answer(request: Request, connection: Connection) -> None:
        twice = request.header("Authorization") is not None
        (respond(400, {}, b"Only one auth mechanism allowed") if twice else honest)(request, connection)

    server.on("*", "*", answer)


def signed(server: WireServer) -> Handler:
    """Redirect to the same path of another server, with a signature."""

    def answer(request: Request, connection: Connection) -> None:
        target = f"{server.origin}{request.path}?X-Amz-Signature=5ig"
        respond(307, {"Location": target, "Set-Cookie": "session=1"})(request, connection)

    return answer


@pytest.mark.parametrize("path", READS)
@elsewhere
async def test_q39_reads_follow_to_another_origin_and_take_nothing_along(
    registry: Honest, start_wire_server: StartWireServer, path: str, where: str
) -> None:
    options = {"name": {"name": "localhost"}, "address": {"address": "127.0.0.2"}, "port": {}}[where]
    storage, server = start_wire_server(**options), registry.server
    cdn(storage)
    registry.replace(PATHS[path].method, signed(storage))
    async with alice(server) as client:
        await PATHS[path].run(client, server.host)
    assert len(storage.requests) >= 1
    assert_nothing_secret(storage)


@pytest.mark.parametrize("path", [*WRITES, *LISTS])
@pytest.mark.parametrize("status", [301, 303, 307, 308])
async def test_q39_what_is_written_or_listed_is_not_taken_elsewhere(
    registry: Honest, start_wire_server: StartWireServer, path: str, status: int
) -> None:
    evil, server = attacker(start_wire_server, "name"), registry.server
    registry.replace(PATHS[path].method, respond(status, {"Location": f"{evil.origin}/v2/"}), respond(404))
    async with alice(server) as client:
        if path == "referrers":
            # Where the API leads away it counts as missing, and there is no tag either.
            await PATHS[path].run(client, server.host)
        else:
            with pytest.raises(OciError):
                await PATHS[path].run(client, server.host)
    assert_untouched(evil)


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("trusted", [False, True])
async def test_q39_https_never_leads_to_http_on_any_path(
    start_wire_server: StartWireServer, authority: Authority, path: str, *, trusted: bool
) -> None:
    registry, plain = Honest(start_wire_server(tls=authority)), start_wire_server()
    server = registry.server
    registry.replace(PATHS[path].method, signed(plain))
    hosts = {server.host: HostConfig(scheme="https", ca=authority.ca_path)}
    egress = EgressPolicy(trusted_realms=(plain.origin,), allow_private=True) if trusted else None
    async with alice(server, hosts=hosts, egress=egress) as client:
        with pytest.raises((RedirectRefusedError, httpx.TooManyRedirects)):
            await PATHS[path].run(client, server.host)
    assert_untouched(plain)


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.9.8.7", "fd00:ec2::254", "::ffff:127.0.0.1"])
async def test_t03_a_redirect_whose_name_leads_inside_is_not_dialled(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch, path: str, address: str
) -> None:
    network = public_network(monkeypatch)
    network.name("cdn.example", [address])
    registry = Honest(start_wire_server(name="registry.example"))
    victim, server = start_wire_server(name="cdn.example"), registry.server
    registry.replace(PATHS[path].method, signed(victim))
    async with alice(server) as client:
        with pytest.raises((RedirectRefusedError, httpx.TooManyRedirects)):
            await PATHS[path].run(client, server.host)
    assert_untouched(victim)
    assert set(network.dialled) == {HOME}


# --- T07: where an upload goes on ------------------------------------------------------------------------------------


def at_other_place(where: str, place: str) -> dict[str, list[Handler | None]]:
    """Return the answers of a registry that names another place for an upload at one of three moments."""
    headers = {"Location": place, "Range": "0-3"}
    return {
        "start": {"POST": [respond(202, headers)]},
        "second chunk": {"PATCH": [None, respond(202, headers | {"Range": "0-7"})]},
        "status": {"PATCH": [chain(respond(500), close), None], "GET": [respond(204, headers)]},
    }[where]  # type: ignore[return-value]  # a list of handlers is one of handlers or None


MOMENTS = ["start", "second chunk", "status"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("path", ["upload", "upload status", "push blob"])
@elsewhere
async def test_t07_an_upload_that_goes_on_elsewhere_takes_no_secret_along(
    registry: Honest, start_wire_server: StartWireServer, path: str, moment: str, where: str
) -> None:
    evil, server = attacker(start_wire_server, where), registry.server
    for method, answers in at_other_place(moment, f"{evil.origin}/upload?_state=1").items():
        registry.replace(method, *answers)
    async with alice(server, retry=ONCE) as client:
        # What is there wants to be authenticated to, which it is not.
        with pytest.raises(OciError) if moment == "start" else _maybe():
            await PATHS[path].run(client, server.host)
    assert_nothing_secret(evil)
    assert all("/token" not in request.path for request in evil.requests)
    if moment == "start" or path == "upload":
        assert len(evil.requests) >= 1
    await all_closed(evil)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("path", ["upload", "upload status", "upload cancel"])
@pytest.mark.parametrize(
    "place", ["http://169.254.169.254/up", "http://10.0.0.1/up", "http://[fe80::1]/", "file:///up"]
)
async def test_t07_an_upload_never_goes_on_inside(
    registry: Honest, monkeypatch: pytest.MonkeyPatch, path: str, moment: str, place: str
) -> None:
    network, server = public_network(monkeypatch), registry.server
    for method, answers in at_other_place(moment, place).items():
        registry.replace(method, *answers)
    async with alice(server, retry=ONCE) as client:
        with pytest.raises(LocationRefusedError) if moment == "start" else _maybe():
            await PATHS[path].run(client, server.host)
    assert set(network.dialled) == {"127.0.0.1"}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("path", ["upload", "upload status", "push blob", "upload cancel"])
async def test_t07_an_upload_over_https_never_goes_on_over_http(
    start_wire_server: StartWireServer, authority: Authority, path: str, moment: str
) -> None:
    registry, plain = Honest(start_wire_server(tls=authority)), start_wire_server()
    server = registry.server
    for method, answers in at_other_place(moment, f"{plain.origin}/upload").items():
        registry.replace(method, *answers)
    hosts = {server.host: HostConfig(scheme="https", ca=authority.ca_path)}
    async with alice(server, hosts=hosts, retry=ONCE) as client:
        with pytest.raises(LocationRefusedError) if moment == "start" else _maybe():
            await PATHS[path].run(client, server.host)
    assert_untouched(plain)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_t07_each_answer_of_a_session_is_judged(registry: Honest, moment: str) -> None:
    server = registry.server
    for method, answers in at_other_place(moment, "http://169.254.169.254/up").items():
        registry.replace(method, *answers)
    async with alice(server, retry=ONCE) as client:
        with pytest.raises(LocationRefusedError):
            await PATHS["upload"].run(client, server.host)


async def test_t07_where_an_upload_elsewhere_leads_is_judged_at_every_step(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    network = public_network(monkeypatch)
    network.name("cdn.example", ["1.1.1.1"], ["127.0.0.1"])
    registry = Honest(start_wire_server(name="registry.example"))
    storage, server = start_wire_server(name="cdn.example", tls=authority), registry.server
    storage.on("*", "*", chain(respond(307, {"Location": "/further"}), close))
    registry.replace("POST", respond(202, {"Location": f"{storage.origin}/upload"}))
    hosts = {server.host: HostConfig(scheme="http"), storage.host: HostConfig(ca=authority.ca_path)}
    async with alice(server, hosts=hosts, retry=ONCE) as client:
        with pytest.raises(RedirectRefusedError, match="on this machine"):
            await PATHS["upload"].run(client, server.host)
    # The second time its name leads inside.
    assert set(network.dialled) == {HOME, "1.1.1.1"}
    assert len(storage.requests) == 1


def _maybe() -> AbstractContextManager[object]:
    """Return a context in which an ocidist error may be raised: some paths never get to the second moment."""
    return suppress(OciError)


# --- T09: the next page ----------------------------------------------------------------------------------------------

LINKS = {
    "another host": "{evil}/v2/_catalog?last=a",
    "without a scheme": "//{evil_host}/v2/_catalog",
    "user information": "http://alice:x@{host}/v2/_catalog",
    "hiding the host": "http://{host}@{evil_host}/v2/_catalog",
    "another port": "http://127.0.0.1:1/v2/_catalog",
    "inside": "http://169.254.169.254/latest",
    "file": "file:///etc/passwd",
    "https": "https://{host}/v2/_catalog?last=a",
    "backslash": "http://{evil_host}\\@{host}/v2/",
}


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
async def test_t09_the_next_page_is_on_the_same_origin(
    registry: Honest, start_wire_server: StartWireServer, path: str, link: str
) -> None:
    evil, server = attacker(start_wire_server, "name"), registry.server
    target = link.format(evil=evil.origin, evil_host=evil.host, host=server.host)
    page = {
        "repositories": ["a/b"],
        "name": NAME,
        "tags": ["v1"],
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    }
    kind = "application/vnd.oci.image.index.v1+json" if path == "referrers" else "application/json"
    registry.replace("GET", respond_json(200, page, {"Link": f'<{target}>; rel="next"', "Content-Type": kind}))
    async with alice(server) as client:
        with pytest.raises(LinkRefusedError):
            await PATHS[path].run(client, server.host)
    assert_untouched(evil)
    assert len(registry.requests) == 1


# --- T08: foreign layers ---------------------------------------------------------------------------------------------


def foreign(*urls: str, data: bytes = BLOB) -> Descriptor:
    """Describe a layer that is said to be elsewhere."""
    return Descriptor(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Descriptor.of(data).digest, len(data), urls=urls
    )


def naming(url: str) -> Manifest:
    """Return an image whose one layer is foreign."""
    layer = foreign(url)
    config = {"mediaType": OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config,
        "layers": [
            {"mediaType": layer.media_type, "digest": str(layer.digest), "size": layer.size, "urls": list(layer.urls)}
        ],
    }
    return Manifest.of(json.dumps(content).encode())


READ_LAYERS: dict[str, Callable[[Client, str, Descriptor], object]] = {
    "get": lambda client, host, layer: client.repository(f"{host}/{NAME}").blobs.get(layer),
    "stat": lambda client, host, layer: client.repository(f"{host}/{NAME}").blobs.stat(layer),
    "exists": lambda client, host, layer: client.repository(f"{host}/{NAME}").blobs.exists(layer),
    "push": lambda client, host, layer: client.repository(f"{host}/{NAME}").blobs.push(BLOB, descriptor=layer),
}


@pytest.mark.parametrize("how", READ_LAYERS)
async def test_t08_nothing_asks_the_urls_of_a_descriptor_by_itself(
    registry: Honest, start_wire_server: StartWireServer, how: str
) -> None:
    evil, server = attacker(start_wire_server, "name"), registry.server
    manifest = naming(f"{evil.origin}/layer")
    headers = {"Content-Type": manifest.media_type, "Docker-Content-Digest": str(manifest.digest)}

    def answer(request: Request, connection: Connection) -> None:
        found = "/manifests/" in request.path
        (respond(200, headers, manifest.data) if found else respond(404))(request, connection)

    registry.replace("GET", answer)
    registry.replace("HEAD", respond(404))
    async with alice(server) as client:
        pulled = await client.repository(f"{server.host}/{NAME}").manifests.get("v1")
        [layer] = pulled.parse().layers  # type: ignore[union-attr]  # it is an image
        assert layer.urls == (f"{evil.origin}/layer",)
        try:
            await READ_LAYERS[how](client, server.host, layer)  # type: ignore[misc]  # each of them is awaitable
        except OciError:
            assert how in {"get", "stat"}
    assert_untouched(evil)


@elsewhere
async def test_t08_whoever_asks_for_it_gets_the_bytes_and_tells_nobody_who_asks(
    registry: Honest, start_wire_server: StartWireServer, where: str
) -> None:
    options = {"name": {"name": "localhost"}, "address": {"address": "127.0.0.2"}, "port": {}}[where]
    storage, further = start_wire_server(**options), start_wire_server(address="127.0.0.3")
    storage.on("GET", "/layer", respond(302, {"Location": f"{further.origin}/bytes", "Set-Cookie": "a=b"}))
    further.on("GET", "/bytes", respond(200, {}, BLOB))
    async with ForeignLayers(registry.server.origin) as layers:
        assert await layers.get(foreign("http://127.0.0.1:1/nobody", f"{storage.origin}/layer")) == BLOB
        assert await layers.get(foreign(f"{storage.origin}/layer")) == BLOB
    for server in (storage, further):
        assert_nothing_secret(server)
        assert len(server.requests) == 2
    assert_untouched(registry.server)


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
async def test_t08_a_challenge_there_is_a_refusal(start_wire_server: StartWireServer, scheme: str) -> None:
    evil, tokens = start_wire_server(name="localhost"), start_wire_server()
    header = f'{scheme} realm="{tokens.origin}/token",service="s"'
    evil.on("GET", "/layer", respond(401, {"WWW-Authenticate": header}))
    async with ForeignLayers("http://127.0.0.1:5000") as layers:
        with pytest.raises(UnexpectedStatusError) as caught:
            await layers.get(foreign(f"{evil.origin}/layer?sig=5ignature"))
    assert caught.value.status == 401
    assert "5ignature" not in str(caught.value)
    assert len(evil.requests) == 1
    assert_untouched(tokens)


BAD_BYTES = {
    "altered": (BLOB[:-1] + b"x", DigestMismatchError),
    "short": (BLOB[:-1], SizeMismatchError),
    "long": (BLOB + b"x", SizeMismatchError),
    "empty": (b"", SizeMismatchError),
}


@pytest.mark.parametrize("name", BAD_BYTES)
async def test_t08_bytes_that_are_others_are_not_handed_out_whole(
    start_wire_server: StartWireServer, name: str
) -> None:
    data, error = BAD_BYTES[name]
    evil = start_wire_server(name="localhost")
    evil.on("GET", "/layer", respond(200, {}, data))
    got: list[bytes] = []

    async def read(layers: ForeignLayers) -> None:
        async with layers.open(foreign(f"{evil.origin}/layer")) as pieces:
            got.extend([piece async for piece in pieces])

    async with ForeignLayers("http://127.0.0.1:5000") as layers:
        with pytest.raises(error):
            await read(layers)
    assert len(b"".join(got)) < len(BLOB)


INSIDE_URLS = [
    "http://169.254.169.254/",
    "http://10.0.0.1/",
    "file:///etc/passwd",
    "/relative",
    "http://u:p@h.example/",
]


@pytest.mark.parametrize("url", INSIDE_URLS)
async def test_t08_a_url_inside_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    network = public_network(monkeypatch)
    async with ForeignLayers("https://registry.example") as layers:
        with pytest.raises(EgressError):
            await layers.get(foreign(url))
    assert network.dialled == []


@pytest.mark.parametrize("hop", [False, True], ids=["at once", "by a redirect"])
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.1.1"])
async def test_t08_a_name_that_leads_inside_is_not_dialled(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch, address: str, *, hop: bool
) -> None:
    network = public_network(monkeypatch)
    network.name("inside.example", [address])
    victim, storage = start_wire_server(name="inside.example"), start_wire_server(name="cdn.example")
    storage.on("GET", "/layer", respond(307, {"Location": f"{victim.origin}/layer"}))
    async with ForeignLayers("http://registry.example") as layers:
        with pytest.raises(EgressError):
            await layers.get(foreign(f"{storage.origin if hop else victim.origin}/layer"))
    assert_untouched(victim)


async def test_t08_a_chain_of_redirects_ends(start_wire_server: StartWireServer) -> None:
    evil = start_wire_server(name="localhost")

    def further(request: Request, connection: Connection) -> None:
        respond(302, {"Location": f"/{len(evil.requests)}"})(request, connection)

    evil.on("GET", "*", further)
    async with ForeignLayers("http://127.0.0.1:5000", policy=EgressPolicy(max_redirects=3)) as layers:
        with pytest.raises(RedirectRefusedError):
            await layers.get(foreign(f"{evil.origin}/layer"))
        assert len(evil.requests) == 4
        with pytest.raises(UsageError, match="no URL"):
            await layers.get(foreign())


# --- N14: one rule for each URL that a server names ------------------------------------------------------------------

Rule: TypeAlias = "Callable[[str, str], object]"
NOWHERE = [
    "http://169.254.169.254/",
    "https://169.254.169.254/",
    "https://[::ffff:169.254.169.254]/",
    "https://0xa9.254.43518/",
    "https://2852039166/",
    "https://localhost./",
    "https://127.1/",
    "https://[::1]/",
    "https://10.0.0.1/",
    "https://metadata.google.internal/",
    "https://u:p@registry.example/",
    "https://registry.example@evil.example/",
    "file:///etc/passwd",
    "gopher://registry.example/",
    "https://evil.example\\@registry.example/",
    "http://registry.example/",
    "http://evil.example/",
    "",
    "https://",
    "https://evil.example:99999/",
]
RULES: dict[Rule, type[EgressError]] = {
    check_realm: AuthRealmRefusedError,
    check_redirect: RedirectRefusedError,
    check_location: LocationRefusedError,
    check_link: LinkRefusedError,
    check_foreign: EgressError,
}
REGISTRY = "https://registry.example/v2/"
ELSEWHERE = "https://other.example/x?sig=5ignature"
# A registry behind a TLS proxy writes its own links like this; they are read as https.
PLAIN_LINK = (check_link, "http://registry.example/")


@pytest.mark.parametrize(("rule", "target"), [each for each in product(RULES, NOWHERE) if each != PLAIN_LINK])
def test_n14_no_rule_leads_where_nothing_should(rule: Rule, target: str) -> None:
    with pytest.raises(RULES[rule]) as caught:
        rule(REGISTRY, target)
    assert "u:p" not in str(caught.value)


def test_n14_another_public_host_gets_no_credentials() -> None:
    assert not check_realm(REGISTRY, ELSEWHERE).credentials
    assert not check_redirect(REGISTRY, ELSEWHERE).same_origin
    assert not check_location(REGISTRY, ELSEWHERE).same_origin
    assert check_foreign(REGISTRY, ELSEWHERE) == ELSEWHERE
    with pytest.raises(LinkRefusedError):
        check_link(REGISTRY, ELSEWHERE)
    for decision in (check_realm(REGISTRY, ELSEWHERE), check_redirect(REGISTRY, ELSEWHERE)):
        assert decision.url == ELSEWHERE
        assert "5ignature" not in repr(decision)


def test_n14_the_registry_itself_may_be_told_its_own_secrets() -> None:
    assert check_realm(REGISTRY, "/x").credentials
    assert check_redirect(REGISTRY, "/x").same_origin
    assert check_location(REGISTRY, "/x").same_origin
    assert check_link(REGISTRY, "/x") == "https://registry.example/x"
    with pytest.raises(EgressError, match="not an absolute URL"):
        check_foreign(REGISTRY, "/x")


def test_n14_the_policy_is_the_users() -> None:
    trusting = EgressPolicy(trusted_realms=("https://other.example",), allow_private=True)
    assert check_realm(REGISTRY, "https://other.example/token", policy=trusting).credentials
    assert check_foreign(REGISTRY, "https://10.0.0.1/layer", trusting) == "https://10.0.0.1/layer"
    with pytest.raises(AuthRealmRefusedError):
        check_realm(REGISTRY, "https://x.example/", policy=EgressPolicy(allow_anonymous_realm=False))
