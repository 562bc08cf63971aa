"""Layouts in tar archives: read where they are, written as they come, refused where they mean harm."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    Archive,
    ArchiveError,
    ArchiveMode,
    BlobUnknownError,
    BlobUploadUnknownError,
    Descriptor,
    Digest,
    DigestMismatchError,
    ManifestBlobUnknownError,
    Mounted,
    StorageError,
    UnsupportedError,
    UploadState,
    UsageError,
)
from ocidist.storage import archive_file
from tests.peers import images
from tests.storage.stores import push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

INDEX, NOTE = images.index(), images.artifact(images.index())
IMAGE = images.image()
MARKER = b'{"imageLayoutVersion":"1.0.0"}'


async def _made(path: Path) -> Path:
    async with Archive(path, ArchiveMode.WRITE) as archive:
        await push(archive, INDEX, "v1", "latest")
        await push(archive, NOTE)
    return path


async def test_an_archive_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = await _made(tmp_path / "app.tar")
    async with Archive(path) as archive:
        assert archive.name == "app"
        assert await archive.tags.list().collect() == ["latest", "v1"]
        for each in INDEX.walk():
            assert (await archive.manifests.get(each.digest)).data == each.manifest.data
        assert (await archive.manifests.get("v1")).media_type == INDEX.manifest.media_type
        for blob in INDEX.all_blobs:
            assert await archive.blobs.get(blob.digest) == blob.data
            async with archive.blobs.open(blob.digest, offset=3, length=5) as reader:
                assert await reader.read() == blob.data[3:8]
        assert [each.digest for each in await archive.referrers(INDEX.digest).collect()] == [NOTE.digest]
        assert (await archive.resolve("latest")).digest == INDEX.digest
        digests = [digest async for digest in archive.blobs.digests()]
        assert len(digests) == len(INDEX.all_blobs) + 2 + 3 + 1
        with pytest.raises(BlobUnknownError):
            await archive.blobs.get(Digest.of(b"missing"))
    left = await anyio.to_thread.run_sync(os.listdir, tmp_path)
    assert left == ["app.tar"]


def _names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


async def test_the_same_content_makes_the_same_archive(tmp_path: Path) -> None:
    one, two = await _made(tmp_path / "one"), await _made(tmp_path / "two")
    assert await anyio.Path(one).read_bytes() == await anyio.Path(two).read_bytes()
    names = await anyio.to_thread.run_sync(_names, one)
    assert names[0] == "oci-layout"
    assert names[-1] == "index.json"


async def test_blobs_of_any_kind_go_straight_to_their_place(tmp_path: Path) -> None:
    data = images.noise(300_001)

    async def stream() -> AsyncIterator[bytes]:
        yield data[:100_000]
        yield data[100_000:]

    long = Descriptor.of(data, algorithm="sha512")
    async with Archive(tmp_path / "x.tar", ArchiveMode.WRITE) as archive:
        assert (await archive.blobs.push(stream)).digest == Digest.of(data)
        assert await archive.blobs.push(stream, long) == long
        assert await archive.blobs.push(stream, long) == long
        with pytest.raises(DigestMismatchError):
            await archive.blobs.push(stream, Descriptor("a/b", Digest.of(b"other"), len(data)))
        async with archive.blobs.writer() as writer:
            await writer.write(data)
        async with archive.blobs.writer() as writer:
            await writer.write(b"")
            empty = await writer.commit()
        # What is there can be read before the archive is complete.
        assert await archive.blobs.get(long) == data
        assert isinstance(await archive.blobs.mount(long.digest, source="a"), Mounted)
    async with Archive(tmp_path / "x.tar") as archive:
        assert await archive.blobs.get(Digest.of(data)) == await archive.blobs.get(long) == data
        assert await archive.blobs.get(empty) == b""
    size = await anyio.to_thread.run_sync(os.path.getsize, tmp_path / "x.tar")
    assert size < 2 * len(data) + 10_000


async def test_blobs_at_once_take_turns(tmp_path: Path) -> None:
    datas = [images.noise(50_000, str(number)) for number in range(8)]
    async with Archive(tmp_path / "x.tar", ArchiveMode.WRITE) as archive, anyio.create_task_group() as group:
        for data in datas:
            group.start_soon(archive.blobs.push, data)
    async with Archive(tmp_path / "x.tar") as archive:
        for data in datas:
            assert await archive.blobs.get(Digest.of(data)) == data


async def _half(archive: Archive) -> None:
    async with archive:
        await archive.blobs.push(b"x")
        await archive.manifests.push(IMAGE.manifest.data)


async def test_an_archive_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "app.tar"
    await anyio.Path(path).write_bytes(b"before")
    archive = Archive(path, ArchiveMode.WRITE)
    with pytest.raises(ManifestBlobUnknownError):
        await _half(archive)
    assert await anyio.Path(path).read_bytes() == b"before"
    assert await anyio.to_thread.run_sync(os.listdir, tmp_path) == ["app.tar"]
    with pytest.raises(UsageError):
        await archive.blobs.push(b"x")
    with pytest.raises(StorageError):
        async with Archive(tmp_path / "nowhere" / "app.tar", ArchiveMode.WRITE):
            pass
    with pytest.raises(StorageError):
        async with Archive(tmp_path / "missing.tar"):
            pass


async def test_nothing_is_deleted_from_an_archive_or_written_to_one_that_is_read(tmp_path: Path) -> None:
    path = await _made(tmp_path / "app.tar")
    async with Archive(path) as archive:
        for act in (
            lambda: archive.blobs.push(b"new"),
            lambda: archive.manifests.push(INDEX.manifest.data, tags=["v2"]),
            lambda: archive.tags.set("v2", "v1"),
            lambda: archive.tags.delete("v1"),
            lambda: archive.manifests.delete(INDEX.digest),
            lambda: archive.blobs.delete(INDEX.all_blobs[0].digest),
        ):
            with pytest.raises(UnsupportedError):
                await act()
        with pytest.raises(BlobUnknownError):
            await archive.blobs.mount(Digest.of(b"missing"), source=None)
        with pytest.raises(BlobUploadUnknownError):
            async with archive.blobs.resume(UploadState("x", archive.name, "x", 0, 1)):
                pass
    async with Archive(path, ArchiveMode.WRITE) as archive:
        await push(archive, IMAGE, "v1", "v2")
        await archive.tags.delete("v2")
        with pytest.raises(UnsupportedError):
            await archive.manifests.delete(IMAGE.digest)
    async with Archive(path) as archive:
        assert await archive.tags.list().collect() == ["v1"]


async def test_a_blob_that_was_altered_in_the_archive_is_not_handed_out(tmp_path: Path) -> None:
    path = await _made(tmp_path / "app.tar")
    blob = INDEX.all_blobs[0].data
    data = await anyio.Path(path).read_bytes()
    await anyio.Path(path).write_bytes(data.replace(blob, blob[:-1] + b"?"))
    async with Archive(path) as archive:
        with pytest.raises(DigestMismatchError):
            await archive.blobs.get(INDEX.all_blobs[0].digest)


# --- archives that somebody else made --------------------------------------------------------------------------------


def _entry(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for key, value in fields.items():
        setattr(entry, key, value)
    return entry, data


LAYOUT = [
    _entry("./oci-layout", MARKER),
    _entry("./index.json", json.dumps({"schemaVersion": 2, "manifests": [IMAGE.manifest.descriptor]}).encode()),
    _entry("./blobs", type=tarfile.DIRTYPE),
    _entry("blobs/sha256/", type=tarfile.DIRTYPE),
    *(_entry(f"blobs/sha256/{each.digest[7:]}", each.data) for each in (*IMAGE.all_blobs, IMAGE.manifest)),
    _entry("manifest.json", b"[]"),
    _entry("blobs/sha256/no-digest", b"of no use"),
]


def _archive(path: Path, *entries: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as tar:
        for entry, data in entries:
            tar.addfile(entry, io.BytesIO(data))
    return path


async def _refused(path: Path, reason: str) -> None:
    with anyio.fail_after(10), pytest.raises(ArchiveError, match=reason):
        async with Archive(path):
            pass


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
async def test_archives_of_all_formats_are_read(tmp_path: Path, kind: int) -> None:
    path = await anyio.to_thread.run_sync(lambda: _archive(tmp_path / "x.tar", *LAYOUT, kind=kind))
    async with Archive(path) as archive:
        assert (await archive.manifests.get(IMAGE.digest)).data == IMAGE.manifest.data
        for blob in IMAGE.all_blobs:
            assert await archive.blobs.get(blob.digest) == blob.data


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (_entry("blobs/sha256/" + "0" * 64, type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
        (_entry("blobs/sha256/" + "0" * 64, type=tarfile.LNKTYPE, linkname="oci-layout"), "link"),
        (_entry("blobs/x", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "device"),
        (_entry("blobs/x", type=tarfile.FIFOTYPE), "device"),
        (_entry("/blobs/x", b"x"), "elsewhere"),
        (_entry("blobs/../../x", b"x"), "elsewhere"),
        (_entry("index.json", b"{}"), "twice"),
        (_entry("./blobs//sha256/" + IMAGE.digest[7:], b"{}"), "twice"),
        (_entry("x", b"", type=tarfile.GNUTYPE_SPARSE), "sparse"),
    ],
)
async def test_t48_an_archive_that_holds_what_it_has_no_reason_to_is_refused(
    tmp_path: Path, entry: tuple[tarfile.TarInfo, bytes], reason: str
) -> None:
    path = await anyio.to_thread.run_sync(lambda: _archive(tmp_path / "x.tar", *LAYOUT, entry))
    await _refused(path, reason)


def _lying(path: Path) -> None:
    entry = tarfile.TarInfo("blobs/sha256/" + "1" * 64)
    entry.size = 2**40
    _archive(path, *LAYOUT)
    data = path.read_bytes().rstrip(b"\0")
    data += bytes(-len(data) % 512)
    path.write_bytes(data + entry.tobuf(tarfile.GNU_FORMAT) + b"short")


def _bomb(path: Path) -> None:
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = tarfile.XHDTYPE, 2**31
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, 2**31 + 4096)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x")), "compressed with gzip"),
    "zstd": (lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600)), "compressed with zstd"),
    "no tar": (lambda path: path.write_bytes(b"no tar" * 1000), "cannot|can be read"),
    "empty": (lambda path: path.write_bytes(b""), "can be read"),
    "size that lies": (_lying, "ends after|unexpected end"),
    "header of two gigabytes": (_bomb, "too large"),
    "no index": (lambda path: _archive(path, LAYOUT[0]), "no index.json"),
    "a directory that was packed": (
        lambda path: _archive(path, _entry("app/oci-layout", b"{}")),
        "at its top: pack what",
    ),
    "docker save": (lambda path: _archive(path, _entry("manifest.json", b"[]")), "one of Docker's own"),
    "no marker": (lambda path: _archive(path, LAYOUT[1]), "no oci-layout"),
    "cut": (lambda path: os.truncate(_archive(path, *LAYOUT), 2000), "unexpected end|ends after|truncated"),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_t48_an_archive_that_is_none_is_refused_and_says_why(tmp_path: Path, kind: str) -> None:
    make, reason = WRONG[kind]
    await anyio.to_thread.run_sync(make, tmp_path / "x.tar")
    await _refused(tmp_path / "x.tar", reason)


async def test_t48_an_archive_of_too_many_entries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_file, "MAX_MEMBERS", 5)
    path = await anyio.to_thread.run_sync(_archive, tmp_path / "x.tar", *LAYOUT)
    await _refused(path, "more than 5 entries")


async def test_t48_an_archive_whose_index_is_evil_is_refused(tmp_path: Path) -> None:
    evil = json.dumps({"schemaVersion": 2, "manifests": [{"digest": "sha256:../x", "mediaType": "a/b", "size": 1}]})
    path = await anyio.to_thread.run_sync(_archive, tmp_path / "x.tar", LAYOUT[0], _entry("index.json", evil.encode()))
    with pytest.raises(StorageError, match="entry 0"):
        async with Archive(path):
            pass
