"""Faults on demand: what goes wrong is what was asked for, as often as it was asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ocidist.errors import UsageError
from ocidist.model.digest import Digest
from ocidist.server import FOREVER, Fault, Faults, Quirks, RegistryApp
from ocidist.server.exchange import CutError
from ocidist.storage.memory import MemoryRegistry
from ocidist.wire.endpoints import GetBlob, GetManifest, PatchUpload, Ping, PostBlob, StatBlob
from tests.peers import images
from tests.peers.embedded import serve
from tests.unit.server.support import call

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = images.noise(300_000)
DIGEST = Digest.of(DATA)
TARGET = f"/v2/a/blobs/{DIGEST}"


async def with_blob(*faults: Fault) -> tuple[RegistryApp, Faults]:
    store = MemoryRegistry()
    await store.repository("a").blobs.push(DATA)
    waiting = Faults(*faults)
    return RegistryApp(store, faults=waiting), waiting


async def test_n12_a_fault_happens_as_often_as_it_was_asked_for() -> None:
    app, faults = await with_blob(Fault(on=GetBlob, skip=1, times=2, status=503, headers=(("Retry-After", "3"),)))
    answers = [await call(app, method, TARGET) for method in ("GET", "HEAD", "GET", "GET", "GET")]
    assert [each.status for each in answers] == [200, 200, 503, 503, 200]
    assert (answers[2].code, answers[2].headers["retry-after"]) == ("UNAVAILABLE", "3")
    assert [type(endpoint) for _, endpoint in faults.met] == [GetBlob, GetBlob]
    assert list(faults) == []


async def test_n12_a_fault_happens_to_what_it_names() -> None:
    app, faults = await with_blob(
        Fault(on=(GetBlob, StatBlob), repository="a", reference=DIGEST, times=FOREVER, status=500, body=b"oops")
    )
    for method in ("GET", "HEAD"):
        assert (await call(app, method, TARGET)).status == 500
    assert (await call(app, "GET", TARGET)).body == b"oops"
    assert (await call(app, "GET", f"/v2/b/blobs/{DIGEST}")).status == 404
    assert (await call(app, "GET", f"/v2/a/blobs/{Digest.of(b'other')}")).status == 404
    assert (await call(app, "GET", "/v2/")).status == 200
    faults.clear()
    assert (await call(app, "GET", TARGET)).status == 200
    assert faults.met == []


async def test_n12_a_byte_may_arrive_wrong() -> None:
    app, _ = await with_blob(Fault(on=GetBlob, corrupt_at=200_000))
    found = (await call(app, "GET", TARGET)).body
    assert [place for place, (had, got) in enumerate(zip(DATA, found, strict=True)) if had != got] == [200_000]
    assert (await call(app, "GET", TARGET)).body == DATA


async def test_n12_answers_may_be_late_and_fall_silent() -> None:
    app, _ = await with_blob(Fault(on=Ping, latency=0.05), Fault(on=GetBlob, pause_after=1000, pause=0.05))
    begun = time.monotonic()
    assert (await call(app, "GET", "/v2/")).status == 200
    assert time.monotonic() - begun >= 0.05
    begun = time.monotonic()
    answer = await call(app, "GET", TARGET)
    assert time.monotonic() - begun >= 0.05
    assert (answer.body, len(answer.pieces[0])) == (DATA, 1000)


async def test_n12_where_the_connection_is_out_of_reach_the_application_fails() -> None:
    app, _ = await with_blob(Fault(on=GetBlob, drop_answer_after=10))
    with pytest.raises(CutError):
        await call(app, "GET", TARGET)


@pytest.mark.in_turn
@pytest.mark.parametrize("cut", [0, 1, 1000, 299_999])
async def test_n12_an_answer_may_be_cut(cut: int) -> None:
    app, _ = await with_blob(Fault(on=GetBlob, drop_answer_after=cut))
    with serve(app) as peer:
        async with httpx.AsyncClient(base_url=peer.origin, verify=False) as http:  # noqa: S501 -- it is http
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await _read(http, cut)
            assert (await http.get(TARGET)).content == DATA


async def _read(http: httpx.AsyncClient, cut: int) -> None:
    async with http.stream("GET", TARGET) as response:
        assert cut > 0
        found = b""
        async for piece in response.aiter_raw():
            found += piece
            assert DATA.startswith(found)
            assert len(found) <= cut
        pytest.fail("the answer ended early and nobody said so")


# httpx leaves the body of a request that failed to the garbage collector, of which trio warns.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
@pytest.mark.in_turn
async def test_n12_a_request_may_be_cut_with_what_had_arrived_kept() -> None:
    app, _ = await with_blob(Fault(on=PatchUpload, drop_request_after=100_000))
    with serve(app) as peer:
        async with httpx.AsyncClient(base_url=peer.origin, verify=False) as http:  # noqa: S501 -- it is http
            location = (await http.post("/v2/b/blobs/uploads/")).headers["Location"]
            with pytest.raises(httpx.TransportError):
                await http.patch(location, content=DATA)
            assert (await http.get(location)).headers["Range"] == "0-99999"
            assert (await http.patch(location, content=DATA[100_000:])).status_code == 202
            assert (await http.put(location, params={"digest": DIGEST})).status_code == 201


@pytest.mark.in_turn
async def test_n12_what_was_carried_out_may_have_no_answer() -> None:
    app, _ = await with_blob(Fault(on=PostBlob, drop_answer_after=0))
    with serve(app) as peer:
        async with httpx.AsyncClient(base_url=peer.origin, verify=False) as http:  # noqa: S501 -- it is http
            with pytest.raises(httpx.TransportError):
                await http.post("/v2/b/blobs/uploads/", params={"digest": DIGEST}, content=DATA)
            assert (await http.head(f"/v2/b/blobs/{DIGEST}")).status_code == 200


@pytest.mark.in_turn
async def test_n12_416_may_lie_about_its_length() -> None:
    store = MemoryRegistry()
    await store.repository("a").blobs.push(DATA)
    with serve(RegistryApp(store, quirks=Quirks(lying_416=True))) as peer:
        async with httpx.AsyncClient(base_url=peer.origin, verify=False) as http:  # noqa: S501 -- it is http
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(TARGET, headers={"Range": f"bytes={len(DATA)}-"})
            async with http.stream("GET", TARGET, headers={"Range": f"bytes={len(DATA)}-"}) as response:
                assert (response.status_code, response.headers["Content-Length"]) == (416, str(len(DATA)))


def test_n12_a_fault_can_be_added_while_the_registry_runs() -> None:
    faults = Faults()
    with serve(RegistryApp(MemoryRegistry(), faults=faults)) as peer, httpx.Client(base_url=peer.origin) as http:
        assert http.get("/v2/").status_code == 200
        faults.add(Fault(on=Ping, status=502))
        assert [http.get("/v2/").status_code for _ in range(2)] == [502, 200]


@pytest.mark.parametrize("wrong", [{"skip": -1}, {"latency": -0.1}, {"status": 100}, {"drop_answer_after": -1}])
def test_n12_faults_have_to_make_sense(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError):
        Fault(**wrong)


def test_n12_faults_of_one_endpoint_leave_others_alone() -> None:
    fault = Fault(on=GetManifest)
    assert not fault.concerns(Ping())
    assert Fault().concerns(Ping())
