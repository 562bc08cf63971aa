"""Layouts that several processes write to, that are killed, and whose garbage is collected meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    BlobUploadUnknownError,
    Descriptor,
    Digest,
    DigestMismatchError,
    Layout,
    LayoutRegistry,
    ManifestBlobUnknownError,
    StorageError,
    UploadConflictError,
    UploadState,
)
from ocidist.storage import layout_gc
from ocidist.storage.layout_marks import Marks
from ocidist.storage.layout_work import in_steps
from tests.faults.throttle import Throttle
from tests.peers import images
from tests.storage.stores import push

if TYPE_CHECKING:
    from tests.peers.peer import Peer

ROOT = Path(__file__).parents[2]
NIGHTLY = bool(os.environ.get("NIGHTLY"))
TAGS = 100 if NIGHTLY else 10
KILLS = 500 if NIGHTLY else 3
MIB = 1024 * 1024
IMAGE = images.image()
DAY = 24 * 3600


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """Start another process; see ``worker``."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.storage.worker", *map(str, arguments)]
    output = subprocess.PIPE if arguments[0] == "pull" else None
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output)


def age(layout: Layout, seconds: float = 2 * DAY) -> None:
    """Let all blobs and uploads be older."""
    for path in (*(layout.path / "blobs").rglob("*"), *(layout.path / ".ocidist").iterdir()):
        if path.is_file():
            before = time.time() - seconds
            os.utime(path, (before, before))


def test_t52_processes_that_set_tags_at_once_lose_none(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    anyio.run(push, layout, IMAGE, "v0")
    with start("several", 8, "tag", layout.path, TAGS) as process:
        # Who reads meanwhile never sees half of it.
        while process.poll() is None:
            assert "v0" in anyio.run(Layout(layout.path).tags.list().collect)
            time.sleep(0.05)
    assert process.returncode == 0
    expected = {"v0", *(f"p{number}-{tag}" for number in range(8) for tag in range(TAGS))}
    assert set(anyio.run(layout.tags.list().collect)) == expected
    assert anyio.run(layout.fsck).clean


async def test_t52_a_lock_that_is_not_let_go_is_waited_for_no_longer_than_said(tmp_path: Path) -> None:
    layout = Layout(tmp_path, lock_timeout=0.2)
    await push(layout, IMAGE, "v1")
    lock = await anyio.to_thread.run_sync(os.open, tmp_path / ".ocidist" / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with anyio.fail_after(5), pytest.raises(StorageError) as caught:
        await layout.tags.set("v2", "v1")
    assert caught.value.errno == errno.EAGAIN
    # Who waits can be cancelled, and reading needs no lock.
    with anyio.move_on_after(0.05) as scope:
        await Layout(tmp_path).tags.set("v2", "v1")
    assert scope.cancelled_caught
    assert await layout.tags.list().collect() == ["v1"]
    os.close(lock)
    await layout.tags.set("v2", "v1")


def test_t53_a_file_that_may_not_grow_is_told_with_its_number_and_removed(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    anyio.run(push, layout, IMAGE, "v1")
    with start("grow", layout.path, 64 * 1024) as process:
        assert process.wait() == errno.EFBIG
    report = anyio.run(layout.fsck)
    assert (report.clean, report.unfinished, report.blobs) == (True, 0, 5)


def test_t54_what_killed_processes_leave_is_known_by_its_name_and_swept(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    anyio.run(push, layout, IMAGE, "v0")
    chance = random.Random(seed := time.time_ns())  # noqa: S311 -- no secret; the seed is shown with a failure
    for number in range(KILLS):
        with start("fill", layout.path, f"k{number}", 1000) as process:
            time.sleep(chance.uniform(0.4, 0.7))
            process.kill()
    report = anyio.run(layout.fsck)
    assert report.clean, seed
    names = [path.name for path in (layout.path / ".ocidist").iterdir()]
    assert all(name == "lock" or name.startswith(("upload-", "file-")) for name in names), seed
    # An upload as a process leaves it that is killed while it writes one.
    left = layout.path / ".ocidist" / f"upload-{'0' * 32}"
    left.write_bytes(b"left")
    (layout.path / ".ocidist" / f"file-{'0' * 16}.part").write_bytes(b"left")
    anyio.run(Layout(layout.path).tags.set, "young", "v0")
    assert left.exists()
    age(layout, 8 * DAY)
    anyio.run(Layout(layout.path).tags.set, "old", "v0")
    assert [path.name for path in (layout.path / ".ocidist").iterdir()] == ["lock"]
    assert anyio.run(layout.fsck).clean


async def test_t55_gc_keeps_what_is_young_or_in_use(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    index, note = images.index(), images.artifact(images.index(), text=b"about the index")
    about = images.artifact(note, text=b"about the note")
    for each in (index, note, about, images.image(docker=True)):
        await push(layout, each, "v1" if each is index else f"t{len(each.manifest.data)}")
    garbage = [await layout.blobs.push(text) for text in (b"old", b'{"old": 1}', b'{"subject": {}}')]
    # As other tools leave them: only the top in the index, and a referrer that nothing lists.
    unlisted = images.artifact(index, text=b"unlisted")
    for blob in (*unlisted.all_blobs, unlisted.manifest):
        await layout.blobs.push(blob.data)
    await anyio.to_thread.run_sync(age, layout)
    young = await layout.blobs.push(b"young")
    again = await layout.blobs.push(b"old", garbage[0])
    before = (await layout.fsck()).blobs
    done = await layout.gc(grace=DAY)
    assert (done.removed, done.freed, done.kept) == (2, sum(each.size for each in garbage[1:]), 2)
    report = await layout.fsck()
    assert (report.clean, report.blobs) == (True, before - 2)
    for digest in (young.digest, again.digest, *(blob.digest for blob in (*unlisted.all_blobs, unlisted.manifest))):
        assert await layout.blobs.exists(digest)
    assert (await layout.gc(grace=0)).removed == 2
    assert (await layout.gc(grace=0)).removed == 0
    assert (await layout.fsck()).clean


async def test_t55_gc_during_pushes_removes_nothing_that_they_need(tmp_path: Path) -> None:
    layout, other = Layout(tmp_path / "layout"), Layout(tmp_path / "layout")
    await push(layout, IMAGE, "v1")
    await layout.blobs.push(b"garbage")
    await anyio.to_thread.run_sync(age, layout)
    removed = 0

    async def collect() -> None:
        nonlocal removed
        while True:
            removed += (await other.gc(grace=DAY)).removed

    async with anyio.create_task_group() as group:
        group.start_soon(collect)
        for number in range(10):
            # The base layer is old by now, and nothing but the tag that moves away keeps it.
            await push(layout, images.image(f"linux/number{number}"), "v1")
        group.cancel_scope.cancel()
    assert removed >= 1
    assert (await layout.fsck()).clean


async def test_t55_what_came_into_use_after_gc_looked_stays(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    await push(layout, images.image("linux/arm64"), "v1")
    for blob in IMAGE.all_blobs:
        await layout.blobs.push(blob.data)
    touched, garbage = [await layout.blobs.push(text) for text in (b"touched", b"garbage")]
    await anyio.to_thread.run_sync(age, layout)
    state, marks = layout._state, Marks(layout._state.files)
    index = await state.read(state.need)
    await in_steps("look", marks.follow(index))
    # It has looked; now an image is pushed whose blobs were there, and a blob that was there, too.
    found = [Digest(IMAGE.blobs[2].digest), touched.digest, garbage.digest]
    assert not any(digest in marks for digest in found)
    await layout.manifests.push(IMAGE.manifest.data)
    await layout.blobs.push(b"touched", touched)
    batch = layout_gc._Batch(marks, index, found, time.time() - DAY)
    assert await state.change(batch.remove) == (1, garbage.size)
    assert [await layout.blobs.exists(digest) for digest in found] == [True, True, False]


def test_f190_writers_and_gc_of_several_processes_leave_all_that_is_in_use(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    anyio.run(push, layout, IMAGE, "v0")
    anyio.run(layout.blobs.push, b"garbage")
    age(layout)
    removed = 0
    with start("several", 2, "fill", layout.path, TAGS) as process:
        while process.poll() is None:
            removed += anyio.run(lambda: Layout(layout.path).gc(grace=DAY)).removed
    assert process.returncode == 0
    tags = anyio.run(layout.tags.list().collect)
    assert set(tags) == {"v0", *(f"{name}-{number}" for name in ("p0", "p1") for number in range(TAGS))}
    assert removed == 1
    report = anyio.run(layout.fsck)
    assert (report.clean, report.manifests) == (True, 1 + 2 * TAGS)


async def test_f190_a_blob_that_gc_took_is_missed_when_a_manifest_names_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for blob in IMAGE.all_blobs:
        await layout.blobs.push(blob.data)
    assert (await layout.gc(grace=0)).removed == 3
    with pytest.raises(ManifestBlobUnknownError):
        await layout.manifests.push(IMAGE.manifest.data, tags=["v1"])
    assert await layout.tags.list().collect() == []


@pytest.mark.timeout(1800)
def test_f206_a_pull_that_is_killed_goes_on_where_it_was(
    docker_registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    data = images.noise(3 * MIB + 77, "pulled into a layout")
    digest = Digest.of(data)

    async def push_it() -> None:
        async with docker_registry.client() as client:
            await client.repository(f"{docker_registry.host}/{fresh_name}").blobs.push(data)

    anyio.run(push_it)
    chance = random.Random(seed := time.time_ns())  # noqa: S311 -- no secret; the seed is shown with a failure
    registry = LayoutRegistry(tmp_path)
    work = tmp_path / "a" / ".ocidist" / f"blob-sha256-{digest.encoded}"
    blob = tmp_path / "a" / "blobs" / "sha256" / digest.encoded
    reused = kills = rounds = 0
    with Throttle(int(docker_registry.host.rpartition(":")[2]), rate=6 * MIB) as wire:
        while kills < KILLS or not rounds:
            there = work.stat().st_size if work.exists() else 0
            asked = len(wire.starts)
            with start("pull", tmp_path, f"127.0.0.1:{wire.port}", fresh_name, digest, len(data)) as process:
                assert process.stdout is not None
                # It may be killed before it says so.
                assert process.stdout.readline() in (b"", b'{"there": %d}\n' % there)
                if kills < KILLS:
                    # After so many bytes, whatever else the machine has to do.
                    enough = chance.randrange(min(there, len(data) - 2) + 1, len(data))
                    while process.poll() is None and work.exists() and work.stat().st_size < enough:
                        time.sleep(0.002)
                    process.kill()
                killed = process.wait() == -9
                assert killed or process.returncode == 0, seed
                kills += killed
            time.sleep(0.05)
            wire.settle()
            assert wire.starts[asked:] in ([], [there]), seed
            reused += bool(there)
            if blob.exists():
                assert Digest.of(blob.read_bytes()) == digest
                assert not work.exists()
                blob.unlink()
                rounds += 1
            else:
                # Nothing of it is visible before it is complete.
                assert anyio.run(registry.repository("a").blobs.exists, digest) is False
    assert reused
    assert anyio.run(registry.repository("a").fsck).clean


async def test_f206_what_was_left_and_is_not_the_blob_is_forgotten(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    data = images.noise(1000)
    wanted = await Layout(tmp_path / "other").blobs.push(data)
    async with layout.blobs.writer_for(wanted) as writer:
        await writer.write(data[:500])
    async with layout.blobs.writer_for(wanted) as writer:
        assert writer.size == 500
        # While somebody has it, others begin anew.
        async with layout.blobs.writer_for(wanted) as second:
            assert second.size == 0
        await writer.write(data[500:] + b"more")
    # It was longer than it may be.
    async with layout.blobs.writer_for(wanted) as writer:
        assert writer.size == 0
        await writer.write(b"x" * 1000)
    with pytest.raises(DigestMismatchError):
        await _commit(layout, wanted)
    async with layout.blobs.writer_for(wanted) as writer:
        assert writer.size == 0
        await writer.write(data)
        assert await writer.commit(wanted) == wanted


async def _commit(layout: Layout, wanted: Descriptor) -> None:
    async with layout.blobs.writer_for(wanted) as writer:
        assert writer.size == wanted.size
        await writer.commit(wanted)


async def test_an_upload_outlives_its_process_and_is_hashed_again(tmp_path: Path) -> None:
    data = images.noise(700_000)
    async with Layout(tmp_path, name="a").blobs.writer() as writer:
        await writer.write(data[:400_000])
        text = writer.state.to_json()
    state = UploadState.from_json(text)
    # Another store is as good as another process: it knows nothing of what the first one hashed.
    blobs = Layout(tmp_path, name="a").blobs
    async with blobs.resume(state) as writer:
        assert writer.size == 400_000
        with pytest.raises(UploadConflictError):
            async with blobs.resume(state):
                pass
        await writer.write(data[400_000:])
        assert (await writer.commit()).digest == Digest.of(data)
    for wrong in ("../lock", "lock", "upload-" + "0" * 32, f"../blobs/sha256/{Digest.of(data).encoded}"):
        with pytest.raises(BlobUploadUnknownError):
            async with blobs.resume(UploadState("layout", state.repository, wrong, 0, 1)):
                pass
