"""Writing to an index and registries of version 1."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import attrs
import pytest

from ocidist import (
    BlobExistsError,
    CredentialsRejectedError,
    NameUnknownError,
    NotFoundError,
    ProtocolError,
    RedirectRefusedError,
    ResponseError,
    ServerError,
    UnexpectedStatusError,
    UsageError,
)
from ocidist._io.body import as_body
from ocidist.legacy import v1
from ocidist.legacy.v1._sent import HashedBody
from ocidist.legacy.v1.models import cookies_of
from tests.legacy.support import NAME, USERS, filled, session_with
from tests.legacy.v1_server import V1Server, payload_checksum
from tests.peers.answers import respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ocidist import Source
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import WireServer

IDS = ["a" * 64, "b" * 64]


def image_json(image: str, parent: str | None = None) -> bytes:
    return json.dumps({"id": image, "parent": parent} if parent else {"id": image}).encode()


def archive(**files: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as made:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        made.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), 1, 0o644
            made.addfile(entry, io.BytesIO(content))
    return data.getvalue()


@pytest.mark.parametrize("how", ["bytes", "file", "stream"])
async def test_an_image_is_pushed_and_pulled(start_wire_server: StartWireServer, tmp_path: Path, how: str) -> None:
    """The whole way, as Docker went it: announce, send each image from the base on, set the tag, and tell the index."""
    state = V1Server(standalone=False, users=dict(USERS))
    registry, index = start_wire_server(state), start_wire_server(state)
    state.endpoints = registry.host
    layers = [archive(base=b"x" * 1000), archive(top=b"y" * 3000)]
    texts = [image_json(IDS[0]), image_json(IDS[1], IDS[0])]

    async def stream(layer: bytes) -> AsyncIterator[bytes]:
        yield layer[:100]
        yield layer[100:]

    images = [v1.ImageData(id=image) for image in IDS]
    async with session_with(index) as session:
        data = await session.push_index(NAME, images)
        reading = await session.repository_data(NAME)
        with pytest.raises(CredentialsRejectedError):
            await session.has_image(IDS[0], data)
        for number, (image, text, layer) in enumerate(zip(images, texts, layers, strict=True)):
            assert not await session.has_image(image.id, reading)
            await session.push_image_json(image.id, text, data)
            # Not yet: whoever finds a push that broke off may begin again.
            assert not await session.has_image(image.id, reading)
            path = tmp_path / "layer"
            path.write_bytes(layer)
            sources: dict[str, Source] = {"bytes": layer, "file": path, "stream": stream(layer)}
            sums = await session.push_layer(image.id, sources[how], text, data)
            assert sums == v1.LayerChecksums(sums.payload, len(layer))
            assert sums.payload == payload_checksum(text, layer)
            images[number] = attrs.evolve(image, checksum_payload=sums.payload)
            await session.push_checksum(images[number], data)
        await session.push_tag("v1", IDS[1], data)
        await session.push_index(NAME, images, validate=True, registries=data.endpoints)

        again = await session.repository_data(NAME)
        assert await session.tags(again) == {"v1": IDS[1]}
        assert await session.ancestry(IDS[1], again) == (IDS[1], IDS[0])
        found = await session.image_json(IDS[1], again)
        async with session.layer(found, again) as pieces:
            assert b"".join([piece async for piece in pieces]) == layers[1]
    assert b"Basic" not in registry.received
    assert [request.header("X-Docker-Endpoints") for request in index.requests if request.method == "PUT"] == [
        None,
        registry.host,
    ]


async def test_what_a_registry_refuses_is_told(start_wire_server: StartWireServer) -> None:
    state = filled(b"a layer")
    (there,) = state.images
    server = start_wire_server(state)
    async with session_with(server) as session:
        data = await session.push_index(NAME, [v1.ImageData(id=IDS[0], tag="v1", checksum="x")])
        assert state.listed[NAME] == [{"id": IDS[0], "checksum": "x", "Tag": "v1"}]
        with pytest.raises(BlobExistsError) as caught:
            await session.push_image_json(there, image_json(there), data)
        assert (caught.value.operation, caught.value.status) == ("push image JSON", 409)
        with pytest.raises(ResponseError, match="non existing parent"):
            await session.push_image_json(IDS[1], image_json(IDS[1], IDS[0]), data)
        with pytest.raises(NotFoundError):
            await session.push_layer(IDS[0], b"x", image_json(IDS[0]), data)
        with pytest.raises(NotFoundError) as missing:
            await session.push_tag("v1", IDS[1], data)
        # It is the image that is not there.
        assert not isinstance(missing.value, NameUnknownError)
        await session.push_image_json(IDS[0], image_json(IDS[0]), data)
        await session.push_layer(IDS[0], b"x", image_json(IDS[0]), data)
        with pytest.raises(UnexpectedStatusError, match="Checksum mismatch"):
            await session.push_checksum(v1.ImageData(id=IDS[0], checksum_payload="sha256:" + "0" * 64), data)


async def test_the_cookies_of_a_layer_come_with_its_checksum_and_with_nothing_else(
    start_wire_server: StartWireServer,
) -> None:
    state = V1Server()
    state.cookies = True
    server = start_wire_server(state)
    text = image_json(IDS[0])
    async with session_with(server) as session:
        data = await session.push_index(NAME, [v1.ImageData(id=IDS[0])])
        await session.push_image_json(IDS[0], text, data)
        sums = await session.push_layer(IDS[0], b"x", text, data)
        image = v1.ImageData(id=IDS[0], checksum_payload=sums.payload)
        state.blocked.add("checksum")
        with pytest.raises(ServerError):
            await session.push_checksum(image, data)
        state.blocked.clear()
        await session.push_checksum(image, data)
        await session.push_tag("v1", IDS[0], data)
        assert "sum-of" not in repr(session.__dict__["_registries"])
    assert {request.path.rpartition("/")[2] for request in server.requests if request.header("Cookie")} == {"checksum"}


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["a=1"], "a=1"),
        (['a="1"; Path=/; HttpOnly', "b=2"], 'a="1"; b=2'),
        (["a", "=1", "", ";"], ""),
        (["a=\u00fc"], ""),
        (["a=1\r\nX: 1"], ""),
        (["a=" + "1" * 8192], ""),
    ],
)
def test_only_what_can_be_sent_is_a_cookie(values: list[str], shown: str) -> None:
    assert cookies_of(values) == shown


def test_a_layer_that_was_not_sent_proves_nothing() -> None:
    with pytest.raises(ProtocolError):
        HashedBody(as_body(b"a layer"), b"{}").found  # noqa: B018 -- reading it is the point


async def test_what_cannot_be_pushed_is_said_before_anything_is_sent(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(filled(b"a layer"))
    async with session_with(server) as session:
        data = await session.repository_data(NAME)
        before = len(server.requests)
        with pytest.raises(UsageError):
            await session.push_image_json(IDS[0], image_json(IDS[1]), data)
        with pytest.raises(UsageError):
            await session.push_layer("latest", b"x", b"{}", data)
        with pytest.raises(UsageError):
            await session.push_checksum(v1.ImageData(id=IDS[0]), data)
        with pytest.raises(UsageError):
            await session.push_tag("a b", IDS[0], data)
        with pytest.raises(UsageError):
            await session.push_index("Acme", [])
        with pytest.raises(UsageError):
            v1.ImageData(id="latest")
    assert len(server.requests) == before


async def test_a_wrong_password_pushes_nothing(start_wire_server: StartWireServer) -> None:
    state = V1Server(users={"alice": "other"})
    async with session_with(start_wire_server(state)) as session:
        with pytest.raises(CredentialsRejectedError):
            await session.push_index(NAME, [])
    assert not state.listed


async def test_an_index_that_moved_is_asked_where_it_says_in_the_same_way(wire_server: WireServer) -> None:
    state = V1Server()
    wire_server.on("GET", "/v1/*", state)
    wire_server.on("PUT", "/v1/repositories/acme/app/", respond(302, {"Location": "/v1/repositories/acme/moved/"}))
    wire_server.on("PUT", "/v1/repositories/acme/moved/", state)
    async with session_with(wire_server) as session:
        await session.push_index(NAME, [v1.ImageData(id=IDS[0])])
    assert state.listed["acme/moved"] == [{"id": IDS[0]}]


@pytest.mark.parametrize("location", ["https://index.example/v1/", "/v1/repositories/acme/app/", "", "ftp://x/"])
async def test_an_index_that_leads_astray_is_not_followed(wire_server: WireServer, location: str) -> None:
    wire_server.on("GET", "/v1/*", V1Server())
    wire_server.on("PUT", "/v1/*", respond(302, {"Location": location}))
    async with session_with(wire_server) as session:
        with pytest.raises(RedirectRefusedError):
            await session.push_index(NAME, [])
    assert len(wire_server.requests) < 10


# --- what proves a layer of old --------------------------------------------------------------------------------------


async def test_a_tarsum_is_of_the_entries_whatever_their_order(tmp_path: Path) -> None:
    one = archive(a=b"1", b=b"22")
    other = archive(b=b"22", a=b"1")
    assert one != other
    text = image_json(IDS[0])
    path = tmp_path / "layer"
    path.write_bytes(other)
    found = await v1.tarsum(text, one)
    assert found == await v1.tarsum(text, path)
    assert found != await v1.tarsum(image_json(IDS[1]), one)
    assert found != await v1.tarsum(text, archive(a=b"1", b=b"23"))
    # Written out once by hand, field by field.
    entry = "mode{}uid0gid0size{}mtime{}typeflag{}linknameunamegnamedevmajor0devminor0"
    sums = sorted(
        hashlib.sha256(header.encode() + content).hexdigest()
        for header, content in (
            ("namefolder/" + entry.format(420, 0, 0, 5), b""),
            ("namea" + entry.format(420, 1, 1, 0), b"1"),
            ("nameb" + entry.format(420, 2, 1, 0), b"22"),
        )
    )
    assert found == "tarsum+sha256:" + hashlib.sha256(text + "".join(sums).encode()).hexdigest()
    with pytest.raises(UsageError):
        await v1.tarsum(text, b"no archive" * 100)


@pytest.mark.parametrize(
    ("entry", "content", "expected"),
    [
        (
            {"name": "/testdata0", "mode": 0o755, "type": tarfile.AREGTYPE},
            bytes(1024 * 1024),
            "8bf12d7e67c51ee2e8306cba569398b1b9f419969521a12ffb9d8875e8836738",
        ),
        (
            {"name": "file.txt", "mode": 0},
            b"",
            "626c4a2e9a467d65c33ae81f7f3dedd4de8ccaee72af73223c4bc4718cbc7bbd",
        ),
        (
            {
                "name": "xattrs.txt",
                "mode": 0,
                "uid": 1000,
                "gid": 1000,
                "uname": "slartibartfast",
                "gname": "users",
                "pax_headers": {"SCHILY.xattr.user.NOT": "CALCULATED"},
            },
            b"test",
            "c12bb6f1303a9ddbf4576c52da74973c00d14c109bcfa76b708d5da1154a07fa",
        ),
        (None, b"", hashlib.sha256().hexdigest()),
    ],
    ids=["large", "empty", "attributes", "no entry"],
)
async def test_a_tarsum_is_that_of_docker(entry: dict[str, object] | None, content: bytes, expected: str) -> None:
    """What Docker's own code makes of the same archives, without an image JSON."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as made:
        if entry is not None:
            info = tarfile.TarInfo()
            info.size = len(content)
            for name, value in entry.items():
                setattr(info, name, value)
            made.addfile(info, io.BytesIO(content))
    for layer in (data.getvalue(), gzip.compress(data.getvalue())):
        assert await v1.tarsum(b"", layer) == f"tarsum+sha256:{expected}"


def strange(**changes: object) -> bytes:
    """Return an archive with an entry that has these pax headers."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as made:
        entry = tarfile.TarInfo("a")
        entry.pax_headers = {name: str(value) for name, value in changes.items()}
        made.addfile(entry)
    return data.getvalue()


def deep() -> bytes:
    """Return an archive that gives an entry its long name two thousand times over."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    return (header.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")) * 2000


@pytest.mark.parametrize(
    "layer",
    [
        strange(mtime="inf"),
        strange(mtime="nan"),
        strange(mtime="-inf"),
        deep(),
        gzip.compress(archive(a=b"1"))[:40] + b"x" * 100,
        b"BZh9" + b"x" * 1000,
        archive(a=b"1" * 600)[:1100],
    ],
    ids=["infinite", "no number", "below", "deep", "gzip", "bzip2", "cut"],
)
async def test_what_is_no_archive_has_no_tarsum(layer: bytes) -> None:
    with pytest.raises(UsageError):
        await v1.tarsum(b"{}", layer)
