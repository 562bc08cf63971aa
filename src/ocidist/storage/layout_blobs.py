"""The blobs of a repository on disk."""

from __future__ import annotations

import time
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from ocidist._io.body import as_body
from ocidist.errors import (
    BlobUploadUnknownError,
    IntegrityError,
    SizeMismatchError,
    StorageError,
    UnsupportedError,
    UploadConflictError,
    UsageError,
)
from ocidist.model.digest import Digest, Hasher
from ocidist.model.reference import RepositoryName
from ocidist.model.result import Mounted, OnExit
from ocidist.storage import layout_disk as disk
from ocidist.storage.answers import Loaded, refusal
from ocidist.storage.layout_files import BLOBS, CANNOT_LINK
from ocidist.storage.layout_read import StoredBlobs
from ocidist.storage.layout_stream import LayoutBlobWriter
from ocidist.storage.layout_upload import Upload, fresh_name, name_for
from ocidist.storage.layout_work import in_steps, settle
from ocidist.wire.upload import DEFAULT_CHUNK
from ocidist.wire.upload_state import UploadStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from ocidist._io.body import Source
    from ocidist.model.descriptor import Descriptor
    from ocidist.storage.layout_files import Change
    from ocidist.storage.layout_state import State
    from ocidist.wire.upload_state import UploadState

ALGORITHMS: Final = ("sha256", "sha512")


class LayoutBlobs(StoredBlobs):
    """The blobs of a repository on disk. Get it from ``Layout.blobs``.

    They are the files in ``blobs``, and so are the manifests: these are blobs here, too.
    """

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._state = state

    async def push(
        self, source: Source, descriptor: Descriptor | None = None, *, mount_from: Sequence[str] = ()
    ) -> Descriptor:
        """Store a blob and return its descriptor; it is on the disk then.

        The source is not read if the repository, or one of *mount_from*, has the blob already. A push that fails or is
        cancelled leaves nothing behind.

        Args:
            source: The bytes, see ``Source``.
            descriptor: What they must be.
            mount_from: Repositories that may have the blob.

        Raises:
            DigestMismatchError: They have another digest than the descriptor.
            SizeMismatchError: They are more or fewer than the descriptor says.
            DigestUnsupportedError: The descriptor's digest cannot be verified.
            InvalidReferenceError: One of *mount_from* is no repository name.
            StorageError: They cannot be written.
            UsageError: The source is none, see ``Source``.
        """
        body = as_body(source)
        if descriptor is not None and await self._has_or_links(descriptor, mount_from):
            return descriptor
        algorithm = "sha256" if descriptor is None else descriptor.digest.algorithm
        async with self.writer(algorithm=algorithm, on_exit=OnExit.CANCEL) as writer, aclosing(body.open()) as pieces:
            await writer.write_from(pieces)
            return await writer.commit(descriptor)

    def writer(
        self, *, chunk_size: int | None = None, algorithm: str = "sha256", on_exit: OnExit = OnExit.KEEP
    ) -> AbstractAsyncContextManager[LayoutBlobWriter]:
        """Begin a blob whose bytes come piece by piece.

        Args:
            chunk_size: What the writer reports as its chunk size, in bytes; it takes writes of any size.
            algorithm: Digest algorithm of the blob, ``sha256`` or ``sha512``.
            on_exit: What leaving without ``commit()`` does.

        Raises:
            DigestUnsupportedError: The algorithm is neither.
            UsageError: The chunk size is not positive.
            StorageError: The layout cannot be written to; raised when it is entered.
        """
        size = DEFAULT_CHUNK if chunk_size is None else chunk_size
        if size <= 0:
            raise UsageError("a chunk holds at least one byte")
        Hasher(algorithm)
        return self._writing(partial(Upload.begin, self._state, fresh_name(), algorithm), on_exit, size, time.time())

    def resume(
        self,
        state: UploadState,
        *,
        source: Source | None = None,  # noqa: ARG002 -- part of the protocol
        on_exit: OnExit = OnExit.KEEP,
    ) -> AbstractAsyncContextManager[LayoutBlobWriter]:
        """Go on with a blob that another writer began, perhaps in a process that is gone; see ``size`` for where.

        What is there is hashed again, unless this process has just done so.

        Args:
            state: The other writer's state.
            source: Ignored: what is there is on the disk.
            on_exit: What leaving without ``commit()`` does.

        Raises:
            BlobUploadUnknownError: The session has ended, or is another repository's.
            UploadConflictError: Somebody else is writing to it.
            StorageError: It cannot be read.
        """
        if state.repository != self._state.name:
            raise refusal(BlobUploadUnknownError, 404, "the upload session is not known")
        begin = partial(Upload.find, self._state, state.location, state.algorithm)
        return self._writing(begin, on_exit, state.chunk_size, state.started_at)

    @asynccontextmanager
    async def writer_for(self, descriptor: Descriptor) -> AsyncIterator[LayoutBlobWriter]:
        """Begin a blob that is known, or go on with it where a process left it that was killed.

        Read ``size`` to learn how much is there already, write the rest, and ``commit(descriptor)``. Leaving without
        that keeps what is there for the next one. Where somebody else is writing the same blob, this begins anew.

        Args:
            descriptor: The blob.

        Raises:
            DigestUnsupportedError: Its digest cannot be verified.
            DigestMismatchError: What was written is not the blob; nothing is kept then.
            StorageError: The layout cannot be written to.
        """
        algorithm = Hasher(descriptor.digest.algorithm).algorithm

        def begin() -> Upload:
            name = name_for(descriptor.digest)
            try:
                return Upload.begin(self._state, name, algorithm)
            except (FileExistsError, BlockingIOError):
                pass
            try:
                return Upload.find(self._state, name, algorithm)
            except (BlobUploadUnknownError, UploadConflictError):
                return Upload.begin(self._state, fresh_name(), algorithm)

        async with self._writing(begin, OnExit.KEEP, DEFAULT_CHUNK, time.time()) as writer:
            try:
                if writer.size > descriptor.size:
                    # What is there cannot be it.
                    await writer.restart()
                yield writer
            except IntegrityError:
                await writer.cancel()
                raise

    async def mount(self, digest: Digest | str, *, source: str | None) -> Mounted | UploadStarted:
        """Link a blob that another repository has: the file gets another name, or is copied where that is not possible.

        Args:
            digest: The blob.
            source: The repository that has it; None to look in all.

        Returns:
            ``UploadStarted``, as registries do, if the blob is not there.

        Raises:
            InvalidDigestError: It is no digest.
            InvalidReferenceError: The source is no repository name.
            DigestUnsupportedError: The blob is not there, and its digest could not be verified if it was sent.
            StorageError: The layout cannot be written to.
        """
        wanted = Digest(digest)
        name = None if source is None else RepositoryName(source)
        for other in await self._places(name):
            if await self._link(other, wanted) is not None:
                return Mounted(wanted, name)
        async with self.writer(algorithm=wanted.algorithm) as writer:
            return UploadStarted(writer.state)

    async def delete(self, digest: Digest | str) -> None:
        """Remove a blob from the repository; other repositories keep it. Manifests that name it stay.

        Raises:
            BlobUnknownError: The repository has no such blob.
            UnsupportedError: It is a manifest: delete it as one.
            StorageError: The layout cannot be written to.
            InvalidDigestError: It is no digest.
        """
        wanted = Digest(digest)

        def change(this: Change) -> None:
            if self._state.known.media_type(this.index, wanted) is not None:
                raise refusal(UnsupportedError, 405, f"{wanted} is a manifest, and is deleted as one")
            if not this.files.remove(wanted):
                raise self._state.no_blob(wanted)

        await self.stat(wanted)
        await self._state.change(change)

    def digests(self) -> AsyncIterator[Digest]:
        """Iterate over the digests of all blobs, manifests included, in their order as text."""
        return Loaded(partial(self._state.read, self._all))

    def _all(self) -> list[Digest]:
        found: list[Digest] = []
        for algorithm in ALGORITHMS:
            try:
                with self._state.files.directory(BLOBS, algorithm) as folder:
                    names = disk.names_in(folder)
            except FileNotFoundError:
                continue
            for name in names:
                try:
                    found.append(Digest(f"{algorithm}:{name}"))
                except UsageError:
                    continue
        return found

    async def _places(self, name: RepositoryName | None) -> list[State]:
        if name is None:
            others = [] if self._state.all_others is None else await self._state.all_others()
            return [self._state, *others]
        if name == self._state.name:
            return [self._state]
        return [] if self._state.others is None else [self._state.others(name)]

    async def _has_or_links(self, descriptor: Descriptor, sources: Sequence[str]) -> bool:
        for name in (self._state.name, *map(RepositoryName, sources)):
            for other in await self._places(name):
                size = await self._link(other, descriptor.digest, descriptor.size)
                if size is not None:
                    if size != descriptor.size:
                        raise SizeMismatchError(descriptor.size, size)
                    return True
        return False

    async def _link(self, other: State, digest: Digest, expected: int | None = None) -> int | None:
        """Make sure that a blob of another repository is here too, and return its size, or None."""
        size = await self._state.read(other.files.size, digest)
        if size is None or (expected is not None and size != expected):
            return size
        await self._state.make()
        here = await self._state.patiently(self._state.files.refresh, digest)
        if here is not None or other is self._state:
            return here
        try:
            there = await self._state.patiently(self._state.files.link, other.files, digest)
        except FileExistsError:
            there = True
        except StorageError as error:
            if error.errno not in CANNOT_LINK:
                raise
            there = await self._copy(other, digest)
        return size if there else None

    async def _copy(self, other: State, digest: Digest) -> bool:
        async with (
            LayoutBlobs(other).open(digest) as reader,
            self.writer(algorithm=digest.algorithm, on_exit=OnExit.CANCEL) as writer,
        ):
            await writer.write_from(reader)
            await writer.commit(digest)
        return True

    @asynccontextmanager
    async def _writing(
        self, begin: Callable[[], Upload], on_exit: OnExit, chunk_size: int, started_at: float
    ) -> AsyncIterator[LayoutBlobWriter]:
        opened: list[Upload] = []
        given_up = False

        def enter() -> None:
            upload = begin()
            opened.append(upload)
            if given_up:
                leave()

        def leave() -> None:
            if opened:
                (opened[0].discard if on_exit is OnExit.CANCEL else opened[0].close)()

        try:
            await self._state.patiently(enter)
            await in_steps(f"read {self._state.files.path}", opened[0].rehash())
            writer = LayoutBlobWriter(self._state, opened[0], chunk_size, started_at)
            try:
                yield writer
            finally:
                writer.close()
        finally:
            given_up = True
            if not opened or opened[0].open:
                await settle(leave)
