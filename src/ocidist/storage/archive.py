"""OCI image layouts in a tar archive, as skopeo's ``oci-archive:`` has them: read where they are, written as they come.

Nothing is unpacked and no blob is written twice: reading goes to its place in the archive, writing appends to a file
that gets its name at the end. Compressed archives are refused: there is no going to a place in those.

Spec: image-spec, "Image Layout".
"""

from __future__ import annotations

import enum
import os
import secrets
import time
from collections import deque
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio
from anyio.lowlevel import checkpoint

from ocidist._io.body import as_body
from ocidist.errors import BlobUnknownError, BlobUploadUnknownError, UnsupportedError, UsageError
from ocidist.model.digest import Digest, Hasher
from ocidist.model.reference import RepositoryName
from ocidist.model.result import Mounted, OnExit
from ocidist.storage import layout_disk as disk
from ocidist.storage.answers import Snapshot, refusal
from ocidist.storage.archive_file import BLOCK, ArchiveFile, member_name
from ocidist.storage.layout import listed_referrers, name_of
from ocidist.storage.layout_files import MARKER
from ocidist.storage.layout_index import LAYOUT_FILE, Index
from ocidist.storage.layout_known import Known
from ocidist.storage.layout_manifests import LayoutManifests, LayoutTags, resolve
from ocidist.storage.layout_read import StoredBlobs
from ocidist.storage.layout_stream import LayoutBlobWriter
from ocidist.storage.layout_work import in_steps, run, settle
from ocidist.wire.upload import DEFAULT_CHUNK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import TypeVar, TypeVarTuple

    from ocidist._io.body import Source
    from ocidist._io.pages import Paginator
    from ocidist.model.descriptor import Descriptor
    from ocidist.storage.contents import Changing
    from ocidist.wire.upload_state import UploadStarted, UploadState

    T = TypeVar("T")
    Args = TypeVarTuple("Args")

_READ: Final = 256 * 1024


class ArchiveMode(enum.Enum):
    """What an archive is opened for."""

    READ = "read"
    """To be read."""
    WRITE = "write"
    """To be made anew; it appears when ``async with`` is left without an error."""


class Archive:
    """A layout in a tar archive, as a repository. ``async with`` opens it.

    It is read, or made anew and written once: nothing is deleted from an archive. While it is written, what is there
    already can be read. Writers take turns: a task must not begin one while it has another one open.

    Args:
        path: The file.
        mode: Whether to read it or to make it.
        name: What the repository is called in errors; None for the file's own name up to its first dot, or ``layout``
            where that is no repository's.
        check_references: Whether pushing a manifest fails with ``ManifestBlobUnknownError`` while content it names is
            missing.

    Attributes:
        name: See above.
        path: See above.
        blobs: Its blobs.
        manifests: Its manifests.
        tags: Its tags.

    Raises:
        InvalidReferenceError: The name is no repository's.
        ArchiveError: It is no archive of a layout, is compressed, or holds what it has no reason to; raised when it is
            entered.
        StorageError: The file cannot be read or made; likewise.
    """

    def __init__(
        self,
        path: Path | str,
        mode: ArchiveMode = ArchiveMode.READ,
        *,
        name: RepositoryName | str | None = None,
        check_references: bool = True,
    ) -> None:
        self.path: Path = Path(path)
        known_as = name_of(Path(self.path.name.partition(".")[0])) if name is None else RepositoryName(name)
        self._state = _State(self.path, mode, known_as, check_references=check_references)
        self.name: RepositoryName = known_as
        self.blobs: ArchiveBlobs = ArchiveBlobs(self._state)
        self.manifests: LayoutManifests = LayoutManifests(self._state)
        self.tags: LayoutTags = LayoutTags(self._state)

    def __repr__(self) -> str:
        return f"<Archive {self.path}>"

    async def __aenter__(self) -> Self:
        """Open the archive and find out what is where in it, or begin a new one."""
        await self._state.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Let a new archive have its name, unless there was an error, and close the file."""
        await self._state.leave(keep=kind is None)

    def referrers(
        self, subject: Digest | Descriptor | str, *, artifact_type: str | None = None
    ) -> Paginator[Descriptor]:
        """List the manifests whose subject is *subject*; see ``Layout.referrers``."""
        return listed_referrers(self._state, subject, artifact_type)

    async def resolve(self, name: str) -> Descriptor:
        """Return what a name in ``index.json`` means; see ``Layout.resolve``."""
        return await self._state.read(resolve, self._state, name)


class ArchiveBlobs(StoredBlobs):
    """The blobs of an archive. Get it from ``Archive.blobs``."""

    def __init__(self, state: _State) -> None:
        super().__init__(state)
        self._state = state

    async def push(
        self,
        source: Source,
        descriptor: Descriptor | None = None,
        *,
        mount_from: Sequence[str] = (),  # noqa: ARG002 -- part of the protocol
    ) -> Descriptor:
        """Store a blob, straight into the archive, and return its descriptor.

        The source is not read if the archive has the blob already. A push that fails or is cancelled leaves nothing
        behind.

        Args:
            source: The bytes, see ``Source``.
            descriptor: What they must be.
            mount_from: Ignored: an archive is one repository.

        Raises:
            DigestMismatchError: They have another digest than the descriptor.
            SizeMismatchError: They are more or fewer than the descriptor says.
            DigestUnsupportedError: The descriptor's digest cannot be verified.
            UnsupportedError: The archive was opened for reading.
            StorageError: They cannot be written.
            UsageError: The source is none, see ``Source``.
        """
        body = as_body(source)
        if descriptor is not None and await self.exists(descriptor.digest):
            return descriptor
        algorithm = "sha256" if descriptor is None else descriptor.digest.algorithm
        async with self.writer(algorithm=algorithm) as writer, aclosing(body.open()) as pieces:
            await writer.write_from(pieces)
            return await writer.commit(descriptor)

    def writer(
        self,
        *,
        chunk_size: int | None = None,
        algorithm: str = "sha256",
        on_exit: OnExit = OnExit.CANCEL,  # noqa: ARG002 -- part of the protocol
    ) -> AbstractAsyncContextManager[LayoutBlobWriter]:
        """Begin a blob whose bytes come piece by piece; they go to their place in the archive.

        Args:
            chunk_size: What the writer reports as its chunk size, in bytes.
            algorithm: Digest algorithm of the blob, ``sha256`` or ``sha512``.
            on_exit: Ignored: what was not committed is forgotten.

        Raises:
            DigestUnsupportedError: The algorithm is neither.
            UnsupportedError: The archive was opened for reading; raised when it is entered.
            UsageError: The chunk size is not positive.
        """
        size = DEFAULT_CHUNK if chunk_size is None else chunk_size
        if size <= 0:
            raise UsageError("a chunk holds at least one byte")
        Hasher(algorithm)
        return self._writing(size, algorithm)

    @asynccontextmanager
    async def resume(
        self,
        state: UploadState,  # noqa: ARG002 -- part of the protocol
        *,
        source: Source | None = None,  # noqa: ARG002 -- part of the protocol
        on_exit: OnExit = OnExit.CANCEL,  # noqa: ARG002 -- part of the protocol
    ) -> AsyncIterator[LayoutBlobWriter]:
        """Raise ``BlobUploadUnknownError``: nothing of a blob stays in an archive unless all of it does."""
        await checkpoint()
        raise refusal(BlobUploadUnknownError, 404, "an archive keeps no upload sessions")
        yield

    async def mount(self, digest: Digest | str, *, source: str | None) -> Mounted | UploadStarted:
        """Say that a blob is there if it is.

        Raises:
            BlobUnknownError: It is not: an archive is one repository.
            InvalidDigestError: It is no digest.
            InvalidReferenceError: The source is no repository name.
        """
        name = None if source is None else RepositoryName(source)
        return Mounted((await self.stat(digest)).digest, name)

    async def delete(self, digest: Digest | str) -> None:
        """Raise ``BlobUnknownError`` or ``UnsupportedError``: nothing is deleted from an archive."""
        await self.stat(digest)
        raise refusal(UnsupportedError, 405, "nothing is deleted from an archive")

    def digests(self) -> AsyncIterator[Digest]:
        """Iterate over the digests of all blobs there are now, manifests included, in their order as text."""
        return Snapshot(sorted(self._state.files.places))

    @asynccontextmanager
    async def _writing(self, chunk_size: int, algorithm: str) -> AsyncIterator[LayoutBlobWriter]:
        async with self._state.turn:
            self._state.check_writable()
            member = _Member(self._state.files, algorithm)
            writer = LayoutBlobWriter(self._state, member, chunk_size, time.time())
            try:
                yield writer
            finally:
                writer.close()
                if member.open:
                    await settle(member.discard)


class _State:
    """An archive, as its blobs, manifests and tags share it. See ``contents.Holder``."""

    def __init__(self, path: Path, mode: ArchiveMode, name: RepositoryName, *, check_references: bool) -> None:
        self.name = name
        self.check_references = check_references
        self.files: ArchiveFile = ArchiveFile(path, -1)
        self.known: Known = Known(self.files)
        self.turn: anyio.Lock = anyio.Lock()
        self._mode = mode
        self._part = f".ocidist-{secrets.token_hex(8)}.part"
        self._folder = -1

    async def enter(self) -> None:
        what = f"{'read' if self._mode is ArchiveMode.READ else 'write'} {self.files.path}"
        try:
            await run(what, self._open)
            if self._mode is ArchiveMode.READ:
                await in_steps(what, self.files.scan())
        except BaseException:
            await settle(self._close)
            raise

    async def leave(self, *, keep: bool) -> None:
        try:
            if keep and self._mode is ArchiveMode.WRITE:
                async with self.turn:
                    await run(f"write {self.files.path}", self._publish)
        finally:
            await settle(self._close)

    async def read(self, work: Callable[[*Args], T], *args: *Args) -> T:
        self._check_open()
        return await run(f"read {self.files.path}", work, *args)

    async def patiently(self, work: Callable[[*Args], T], *args: *Args) -> T:
        self._check_open()
        return await run(f"write {self.files.path}", work, *args)

    async def change(self, work: Callable[[Changing], T]) -> T:
        self.check_writable()
        async with self.turn:
            return await self.patiently(work, _Change(self.files))

    async def make(self) -> None:
        await checkpoint()

    def need(self) -> Index:
        return self.files.known_index

    def no_blob(self, digest: Digest) -> BlobUnknownError:
        return refusal(BlobUnknownError, 404, f"there is no blob {digest} in {self.name}", digest)

    def check_writable(self) -> None:
        self._check_open()
        if self._mode is ArchiveMode.READ:
            raise refusal(UnsupportedError, 405, "the archive was opened for reading")

    def _check_open(self) -> None:
        if self.files.file < 0:
            raise UsageError("this archive is not open")

    def _open(self) -> None:
        path = self.files.path
        if self._mode is ArchiveMode.READ:
            with disk.directory(path.parent) as folder:
                self.files.file = disk.open_regular(path.name, folder)
            return
        with disk.directory(path.parent) as folder:
            self._folder = os.dup(folder)
        self.files.file = disk.create(self._part, self._folder)
        self.files.index = Index.empty()
        self.files.add(MARKER, LAYOUT_FILE)

    def _publish(self) -> None:
        self.files.finish()
        disk.sync(self.files.file)
        disk.rename(self._part, self._folder, self.files.path.name, self._folder)
        self._part = ""
        disk.sync(self._folder)

    def _close(self) -> None:
        file, self.files.file = self.files.file, -1
        folder, self._folder = self._folder, -1
        if folder >= 0:
            with suppress(OSError):
                if self._part:
                    disk.unlink(self._part, folder)
            os.close(folder)
        if file >= 0:
            os.close(file)


class _Change:
    """A change of an archive that is being written. See ``contents.Changing``."""

    def __init__(self, files: ArchiveFile) -> None:
        self.files = files

    @property
    def index(self) -> Index:
        return self.files.known_index

    def write(self, index: Index) -> None:
        if any(digest not in index.by_digest for digest in self.index.by_digest):
            raise refusal(UnsupportedError, 405, "nothing is deleted from an archive")
        self.files.index = index

    def store(self, digest: Digest, data: bytes) -> None:
        if digest not in self.files.places:
            self.files.places[digest] = self.files.add(member_name(digest), data)


class _Member:
    """A blob that is being written at the end of an archive. See ``layout_stream.Unfinished``."""

    def __init__(self, files: ArchiveFile, algorithm: str) -> None:
        self.name = "archive"
        self.size: int = 0
        self.pieces: deque[bytes | memoryview] = deque()
        self.open: bool = True
        self._files = files
        self._hasher = Hasher(algorithm)
        # The header is written last, when the digest and the size are known.
        self._start = files.end + len(files.header(member_name(self._hasher.digest()), 0))

    def digest(self) -> Digest:
        return self._hasher.digest()

    def drain(self) -> None:
        try:
            while self.pieces:
                disk.write_all(self._files.file, self.pieces[0], self._start + self.size)
                self._hasher.update(self.pieces.popleft())
                self.size = self._hasher.size
        except BaseException:
            self.pieces.clear()
            raise

    def hash_as(self, hasher: Hasher) -> Generator[None, None, Hasher]:
        while hasher.size < self.size:
            wanted = min(_READ, self.size - hasher.size)
            hasher.update(os.pread(self._files.file, wanted, self._start + hasher.size))
            yield
        return hasher

    def clear(self) -> None:
        self.pieces.clear()
        self._hasher, self.size = Hasher(self._hasher.algorithm), 0

    def publish(self, digest: Digest) -> None:
        files = self._files
        if digest not in files.places:
            header = files.header(member_name(digest), self.size)
            if len(header) != self._start - files.end:
                raise UsageError("an archive's blob is written with the algorithm that its digest has")
            padding = -self.size % BLOCK
            disk.write_all(files.file, bytes(padding), self._start + self.size)
            disk.write_all(files.file, header, files.end)
            files.places[digest] = self._start, self.size
            files.end = self._start + self.size + padding
        self.open = False

    def discard(self) -> None:
        if self.open and self._files.file >= 0:
            with suppress(OSError):
                disk.truncate(self._files.file, self._files.end)
        self.open = False
