"""The web service among the examples, over real sockets: its clients on one side, a registry on the other."""

from __future__ import annotations

import http.client
import runpy
import socket
import time
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ocidist import Client, Digest, RetryPolicy
from ocidist.model.mediatype import OCI_INDEX
from ocidist.testing import loopback
from tests.docs.pages import DOCS
from tests.peers.tools import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocidist.testing import BoundContent, LoopbackRegistry, LoopbackServer

BLOB = b"0123456789" * 100
ETAG = f'"{Digest.of(BLOB)}"'
LARGE = bytes(24 * 1024 * 1024)
NOWHERE = f"sha256:{'0' * 64}"


@pytest.fixture(scope="session")
def create_app() -> Callable[..., Any]:
    """The example."""
    if find_spec("starlette") is None:
        missing("starlette", "pip install starlette")
    found: Callable[..., Any] = runpy.run_path(str(DOCS / "examples" / "webservice.py"))["create_app"]
    return found


@pytest.fixture
def service(create_app: Callable[..., Any], oci_registry: LoopbackRegistry) -> Iterator[LoopbackServer]:
    """The web service before ``oci_registry``."""
    new_client = partial(Client, **oci_registry.client_options, retry=RetryPolicy(attempts=1))
    with loopback(create_app(oci_registry.host, new_client), lifespan="on") as server:
        yield server


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(server: LoopbackServer, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
    """Send a request without an event loop; ``_`` in the name of a header stands for ``-``."""
    connection = http.client.HTTPConnection(server.host, timeout=10)
    connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    try:
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def until(condition: Callable[[], bool], seconds: float = 3) -> bool:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


@pytest.fixture
def target(oci_content: BoundContent) -> str:
    """Where the service has ``BLOB``."""
    return f"/images/demo/app/blobs/{oci_content.blob('data', BLOB).push('demo/app')['data'].digest}"


def test_a_blob_comes_whole(service: LoopbackServer, target: str) -> None:
    whole = ask(service, "GET", target)
    assert (whole.status, whole.body, whole.headers["etag"]) == (200, BLOB, ETAG)
    head = ask(service, "HEAD", target)
    assert (head.status, head.body) == (200, b"")
    for name in ("content-length", "content-type", "etag", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]
    assert head.headers["content-length"] == "1000"


def test_a_part_of_a_blob_is_asked_for_at_the_registry_too(
    service: LoopbackServer, oci_registry: LoopbackRegistry, target: str
) -> None:
    for wanted, start, stop in [
        ("bytes=10-19", 10, 20),
        ("bytes=0-0", 0, 1),
        ("bytes=990-", 990, 1000),
        ("bytes=-5", 995, 1000),
        ("bytes=500-5000", 500, 1000),
    ]:
        answer = ask(service, "GET", target, Range=wanted)
        assert (answer.status, answer.body) == (206, BLOB[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/1000"
        assert oci_registry.requests[-1].status == 206
    assert ask(service, "GET", target, Range="bytes=-5000").headers["content-range"] == "bytes 0-999/1000"
    beyond = ask(service, "GET", target, Range="bytes=1000-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */1000")
    for nonsense in ("bytes=5-2", "bytes=0-1,5-6", "bytes=-", "lines=0-1", "bytes=x-", f"bytes={'9' * 50}-"):
        answer = ask(service, "GET", target, Range=nonsense)
        assert (answer.status, answer.body) == (200, BLOB)


def test_conditions_are_about_the_digest(service: LoopbackServer, oci_registry: LoopbackRegistry, target: str) -> None:
    for known in (ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"):
        answer = ask(service, "GET", target, If_None_Match=known)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", ETAG)
    assert {each.method for each in oci_registry.requests} == {"HEAD"}
    assert ask(service, "GET", target, If_None_Match='"other"').status == 200
    assert ask(service, "GET", target, Range="bytes=0-0", If_Range=ETAG).status == 206
    assert ask(service, "GET", target, Range="bytes=0-0", If_Range='"other"').status == 200


def test_a_client_that_leaves_ends_the_transfer_at_the_registry(
    service: LoopbackServer, oci_registry: LoopbackRegistry, oci_content: BoundContent
) -> None:
    digest = oci_content.blob("large", LARGE).push("demo/app")["large"].digest
    host, _, port = service.host.partition(":")
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=10) as leaving:
            leaving.sendall(f"GET /images/demo/app/blobs/{digest} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert leaving.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
            assert until(lambda: oci_registry.connections == 1)
        assert until(lambda: service.connections == 0)
        # The connection had to be closed: what was still to come on it was too much to be read to its end.
        assert until(lambda: oci_registry.connections == 0)
    answer = ask(service, "GET", f"/images/demo/app/blobs/{digest}")
    assert (answer.status, len(answer.body)) == (200, len(LARGE))


def test_errors_become_statuses(service: LoopbackServer, target: str) -> None:
    for name, reference, status, error in [
        ("demo/app", NOWHERE, 404, "BlobUnknownError"),
        ("demo/app", "sha256:short", 400, "InvalidDigestError"),
        ("Demo", NOWHERE, 400, "InvalidReferenceError"),
    ]:
        answer = ask(service, "GET", f"/images/{name}/blobs/{reference}")
        assert answer.status == status
        assert f'"error":"{error}"'.encode() in answer.body


def test_a_registry_that_does_not_answer_is_a_bad_gateway(create_app: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    new_client = partial(Client, credentials={}, retry=RetryPolicy(attempts=1))
    with loopback(create_app(address, new_client), lifespan="on") as service:
        assert ask(service, "GET", f"/images/demo/app/blobs/{NOWHERE}").status == 502


@pytest.mark.oci_registry(auth=("service", "s3cret"))
def test_refused_credentials_are_the_services_own_problem(
    create_app: Callable[..., Any], oci_registry: LoopbackRegistry
) -> None:
    with loopback(
        create_app(oci_registry.host, partial(oci_registry.client, credentials={})), lifespan="on"
    ) as service:
        answer = ask(service, "GET", f"/images/demo/app/blobs/{NOWHERE}")
        assert answer.status == 502
        assert b"CredentialsRejectedError" in answer.body


def test_the_registry_works_under_a_path(service: LoopbackServer) -> None:
    assert ask(service, "GET", "/registry/v2/").status == 200
    started = ask(service, "POST", "/registry/v2/demo/app/blobs/uploads/")
    assert started.status == 202
    assert started.headers["location"].startswith("/registry/v2/demo/app/blobs/uploads/")
    sent = ask(service, "PATCH", started.headers["location"], b"hello", Content_Range="0-4")
    assert sent.status == 202
    joint = "&" if "?" in sent.headers["location"] else "?"
    put = ask(service, "PUT", f"{sent.headers['location']}{joint}digest={Digest.of(b'hello')}")
    assert (put.status, put.headers["location"]) == (201, f"/registry/v2/demo/app/blobs/{Digest.of(b'hello')}")
    assert ask(service, "GET", put.headers["location"]).body == b"hello"
    empty = b'{"schemaVersion":2,"manifests":[]}'
    for tag in ("a", "b"):
        pushed = ask(service, "PUT", f"/registry/v2/demo/app/manifests/{tag}", empty, Content_Type=OCI_INDEX)
        assert pushed.headers["location"] == f"/registry/v2/demo/app/manifests/{Digest.of(empty)}"
    page = ask(service, "GET", "/registry/v2/demo/app/tags/list?n=1")
    assert page.headers["link"].startswith("</registry/v2/demo/app/tags/list?")
    following = page.headers["link"].partition("<")[2].partition(">")[0]
    assert ask(service, "GET", following).body == b'{"name":"demo/app","tags":["b"]}'
