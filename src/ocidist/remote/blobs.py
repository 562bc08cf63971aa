"""The blobs of a remote repository.

Spec: distribution-spec, "Pulling blobs", "Pushing blobs", "Mounting a blob from another repository", "Deleting Blobs".
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocidist._io.body import as_body
from ocidist._io.journal import Journal
from ocidist.errors import NotFoundError, ResponseError, UsageError
from ocidist.http.foreign import ForeignLayers
from ocidist.model.descriptor import Descriptor
from ocidist.model.reference import RepositoryName
from ocidist.model.result import Mounted, OnExit
from ocidist.remote._channel import Channel
from ocidist.remote._journalled import check_journal
from ocidist.remote._memory import profile_of
from ocidist.remote._opening import CANCEL_S, end_session, open_session
from ocidist.remote._pushing import BlobPush
from ocidist.remote._resumed import ResumedWriter
from ocidist.remote._stat import StatBlobToPush, head_is_refused, stat
from ocidist.remote._targets import digest_of
from ocidist.remote._transfer import PUSH, Transfer
from ocidist.remote._upload_answers import appeared, check_stated, missing, opened
from ocidist.remote.download import Download, fetch
from ocidist.remote.reader import BlobReader
from ocidist.remote.writer import BlobWriter
from ocidist.wire.endpoints import DeleteBlob, MountBlob, PutUpload, StatBlob
from ocidist.wire.upload import DEFAULT_CHUNK
from ocidist.wire.upload_state import UploadStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence

    from ocidist._io.body import Progress, Source
    from ocidist.credentials.store import Credential
    from ocidist.http.sender import Reply, Sender
    from ocidist.model.digest import Digest
    from ocidist.model.reference import RegistryName
    from ocidist.wire.upload_state import UploadState

MAX_SMALL_BLOB: Final = 4 * 1024 * 1024
"""Bytes ``Blobs.get`` reads into memory unless told otherwise: configurations and other metadata fit."""


class Blobs:
    """Reads, writes, mounts and deletes the blobs of one repository. Get it from ``Repository.blobs``.

    Args:
        sender: The client.
        registry: The registry.
        repository: The repository.
        credential: Identity to use instead of the client's own for this host.
    """

    def __init__(
        self,
        sender: Sender,
        registry: RegistryName,
        repository: RepositoryName,
        credential: Credential | None = None,
    ) -> None:
        self._channel = Channel(sender, registry, repository, credential)

    def __repr__(self) -> str:
        return f"<Blobs {self._channel.name_of()}>"

    # --- reading -----------------------------------------------------------------------------------------------------

    async def stat(self, digest: Digest | Descriptor | str) -> Descriptor:
        """Return a blob's descriptor, as the registry states it: the size is not proven.

        Raises:
            BlobUnknownError: There is no such blob.
            ProtocolError: The registry does not state a size.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Checking if content exists in the registry".
        """
        return await stat(self._channel, digest_of(digest))

    async def exists(self, digest: Digest | Descriptor | str, *, to_push: bool = False) -> bool:
        """Return whether the blob exists.

        Args:
            digest: The blob.
            to_push: Whether it is about to be pushed if it is missing: then no mirror is asked, and the rights that a
                push needs are asked for at once.

        Raises:
            OciError: Any failure other than "not found".
        """
        name = digest_of(digest)
        kind = StatBlobToPush if to_push else StatBlob
        try:
            async with self._channel.exchange(kind(self._channel.repository_name, name), about=name):
                return True
        except NotFoundError:
            return False
        except ResponseError as error:
            if not head_is_refused(error):
                raise
            try:
                await stat(self._channel, name, to_push=to_push)
            except NotFoundError:
                return False
            return True

    async def get(self, digest: Digest | Descriptor | str, *, max_size: int = MAX_SMALL_BLOB) -> bytes:
        """Return a small blob's verified bytes.

        Args:
            digest: The blob; a descriptor's size is checked too.
            max_size: Most bytes to take.

        Raises:
            BlobUnknownError: There is no such blob.
            LimitExceededError: It has more than *max_size* bytes.
            DigestMismatchError: What came is another blob.
            SizeMismatchError: What came is longer or shorter than the descriptor says.
            DigestUnsupportedError: The digest cannot be verified.
            OciError: Another failure, see the error's class.
        """
        known = digest if isinstance(digest, Descriptor) else None
        return await fetch(self._channel, digest_of(digest), known, max_size)

    def open(self, digest: Digest | Descriptor | str, *, offset: int = 0, length: int | None = None) -> BlobReader:
        """Open a blob as a stream, to be used with ``async with``.

        Only reading the whole blob in sequence proves its digest: see ``BlobReader``. A part of it is never proven.

        Args:
            digest: The blob; a descriptor's size is checked too.
            offset: First byte to read.
            length: Bytes to read from there, or None for all; the end of the blob ends a longer read.

        Raises:
            UsageError: Offset or length is negative.
            DigestUnsupportedError: The digest cannot be verified.
        """
        known = digest if isinstance(digest, Descriptor) else None
        name = digest_of(digest)
        return BlobReader(self._channel, name, known, offset=offset, length=length)

    @asynccontextmanager
    async def open_foreign(self, descriptor: Descriptor) -> AsyncIterator[AsyncIterable[bytes]]:
        """Open content at the ``urls`` of its descriptor, where its licence keeps it off the registry.

        Whoever wrote the manifest chose them: they are asked without credentials, and only where the client's egress
        policy lets a registry send it. The last piece is handed out only once size and digest are right.

        Args:
            descriptor: What to read.

        Raises:
            EgressError: No URL may be asked.
            UsageError: The descriptor names no URL.
            OciError: Nobody answers there, or with something else; see ``ForeignLayers.open``.

        Spec: image-spec, "Descriptor" (``urls``).
        """
        sender = self._channel.sender
        base = await sender.base_of(self._channel.registry)
        async with ForeignLayers(base, policy=sender.egress) as layers, layers.open(descriptor) as pieces:
            yield pieces

    async def download(
        self,
        digest: Digest | Descriptor | str,
        path: Path | str,
        *,
        progress: Progress | None = None,
        resume: bool = True,
        connections: int = 1,
    ) -> Descriptor:
        """Write a blob to a file, which appears only once it is verified and on the disk.

        Until then a file that was there before is untouched, and the bytes are in a private file beside it. A process
        that is killed leaves that behind; so does a download that is cancelled, or cannot get on for another reason
        than wrong bytes or a refusing disk, once it has 8 MiB. The next download of the same blob to the same path
        hashes what is there, and asks the registry only for the rest. Nothing that was found is believed before the
        digest of the whole has proven it: if it is wrong, all is read again, once.

        Two downloads of one blob to one path do not disturb each other: one of them goes on with what is there.
        ``sweep_downloads()`` removes what nobody goes on with.

        Args:
            digest: The blob; a descriptor's size is checked too.
            path: Where to put it. Its directory must exist.
            progress: Told the bytes that are there so far and the bytes in all; begins anew where all is read again.
            resume: Whether to go on with what is there, and to leave something to the next download. Without it
                whatever fails or is cancelled leaves nothing behind.
            connections: How many parts of a large blob to read at once, where the registry sends parts: several may be
                faster where each connection has its own limit. Wrong bytes then cost only the part they are in.

        Raises:
            BlobUnknownError: There is no such blob.
            DigestMismatchError: What came is another blob.
            StorageError: The file cannot be written.
            UsageError: There is not even one connection.
            OciError: Another failure, see the error's class.
        """
        known = digest if isinstance(digest, Descriptor) else None
        download = Download(
            self._channel,
            digest_of(digest),
            known,
            Path(path),
            progress=progress,
            resume=resume,
            connections=connections,
        )
        return await download.run()

    # --- writing -----------------------------------------------------------------------------------------------------

    async def push(
        self,
        source: Source,
        descriptor: Descriptor | None = None,
        *,
        mount_from: Sequence[str] = (),
        check_exists: bool = True,
        chunk_size: int | None = None,
        single_post: bool = False,
        journal: Path | str | None = None,
        verify: bool = False,
        verify_mounts: bool = True,
        progress: Progress | None = None,
    ) -> Descriptor:
        """Store a blob and return its descriptor.

        Bytes and files, and every source whose descriptor is given, go in one streamed request; other sources in
        chunks, of which one is held in memory. Where a registry, or a proxy before it, does not take that, the other
        way is tried, and remembered; see ``RegistryProfile``. The upload session is cancelled on any failure or
        cancellation, unless there is a journal.

        Args:
            source: The bytes, a path, an asynchronous iterable that can be read once, or a callable returning a new one
                each time. Only a source that can be read again survives a lost connection.
            descriptor: What the blob is; checked before the registry has it all, but for files: those are sent without
                being read here, by the kernel alone over plain http, and it is the registry that refuses a wrong one.
                A file that changes meanwhile is noticed. None computes it.
            mount_from: Repositories of this registry that may have the blob; they are tried first, in order.
            check_exists: Whether to ask first if the blob is there, and then send nothing.
            chunk_size: Send in chunks of this many bytes instead.
            single_post: Whether to try to send a source that can be read again in a single request. Registries that
                do not know how take the bytes twice.
            journal: A file that is kept up to date after each chunk, and removed in the end. Whoever pushes the same
                blob with it again, after a crash or a failure, goes on where the registry is; the bytes before that are
                hashed again. It goes in chunks then, and the source has to be one that can be read again. The file is
                for its owner alone: whoever reads it can write to the upload.
            verify: Whether to ask for the blob once the registry says that it has it; replicas that lag are given a
                second.
            verify_mounts: Whether to ask for the blob once the registry says that it mounted it.
            progress: Told the bytes taken from the source so far and the bytes in all; begins anew when the source
                is sent again. Not called where nothing is sent.

        Raises:
            DigestMismatchError: The source is not what the descriptor says, or the registry stored something else.
            SizeMismatchError: The source is longer or shorter than the descriptor says.
            DigestUnsupportedError: The descriptor's digest cannot be verified.
            BodyNotReplayableError: The source can be read only once, and had to be sent again.
            ProtocolError: The registry says that it has the blob, and does not.
            UploadExpiredError: The registry forgot the session, and the source can be read only once.
            UsageError: The source is a string or another kind that is not content, or cannot be read again although
                there is a journal; the journal is something else, or another process uses it.
            StorageError: The journal cannot be written.
            OSError: A file cannot be read.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Pushing blobs".
        """
        if isinstance(mount_from, str):
            raise UsageError("mount_from takes several repository names, not one string")
        body = as_body(source)
        if journal is not None and not body.replayable:
            raise UsageError("a journal is of no use for a source that can be read only once")
        transfer = Transfer(self._channel, PUSH)
        push = BlobPush(self._channel, body, descriptor, chunk_size=self._chunk_size(chunk_size), transfer=transfer)
        push.chunked = chunk_size is not None or journal is not None
        push.single_post = single_post
        push.progress = progress
        async with AsyncExitStack() as stack:
            if journal is not None:
                push.journal = await stack.enter_async_context(Journal(Path(journal)))
                # Before anything else: it is removed also where nothing has to be sent.
                check_journal(push.journal.text)
            await push.prepare()
            stack.enter_context(transfer)
            if push.digest is not None and await self._there(
                push, mount_from, check_exists=check_exists, verify=verify or verify_mounts
            ):
                found = push.described(push.digest)
            else:
                found = await push.run()
                if verify and not await appeared(self._channel, found.digest, found.size):
                    raise missing(self._channel, PutUpload.operation, found.digest)
            transfer.complete = True
            if push.journal is not None:
                await push.journal.remove()
        return found

    async def _there(self, push: BlobPush, mount_from: Sequence[str], *, check_exists: bool, verify: bool) -> bool:
        if check_exists and await push.exists():
            return True
        return bool(mount_from) and await push.mounted(partial(self._mount, verify=verify), mount_from)

    def writer(
        self, *, chunk_size: int | None = None, algorithm: str = "sha256", on_exit: OnExit = OnExit.KEEP
    ) -> BlobWriter:
        """Begin a blob whose bytes come piece by piece; use it with ``async with`` and end it with ``commit()``.

        Args:
            chunk_size: Bytes per chunk, of which one is held in memory. None takes the host's configured size, or
                16 MiB. The registry's minimum raises it, to 64 MiB at most.
            algorithm: Digest algorithm of the blob, ``sha256`` or ``sha512``.
            on_exit: What leaving without ``commit()`` does to the session.

        Raises:
            UsageError: The chunk size is not positive.
            DigestUnsupportedError: Content cannot be verified with the algorithm.

        Spec: distribution-spec, "Pushing a blob in chunks".
        """
        return BlobWriter(self._channel, chunk_size=self._chunk_size(chunk_size), algorithm=algorithm, on_exit=on_exit)

    def resume(self, state: UploadState, *, source: Source | None = None, on_exit: OnExit = OnExit.KEEP) -> BlobWriter:
        """Go on with a blob that another writer began, perhaps in another process.

        Write the bytes from ``writer.size`` on, or let ``commit()`` send them from *source*.

        Args:
            state: Where the other writer stood.
            source: The blob's bytes from the first one on. What the registry has of them is hashed again. If it forgot
                the session, a new one begins at 0. Without a source ``commit()`` needs the expected digest.
            on_exit: What leaving without ``commit()`` does to the session.

        Raises:
            UsageError: The state is of another registry or repository, or the source is not content.

        Spec: distribution-spec, "Pushing a blob in chunks".
        """
        self._check_own(state)
        return ResumedWriter(self._channel, state, None if source is None else as_body(source), on_exit)

    async def cancel_upload(self, state: UploadState) -> None:
        """End an upload that nobody goes on with, so that the registry can throw away what it has of it.

        One request, which gets a few seconds; whether the registry heard it, nobody is told.

        Args:
            state: Where the upload stands: of ``UploadStarted``, or of a writer that was left.

        Raises:
            UsageError: The state is of another registry or repository.

        Spec: distribution-spec, "Cancel a blob upload".
        """
        self._check_own(state)
        await end_session(self._channel, state, within=CANCEL_S)

    async def mount(
        self, digest: Digest | Descriptor | str, *, source: str | None, verify: bool = True
    ) -> Mounted | UploadStarted:
        """Link a blob from another repository of the same registry.

        Args:
            digest: The blob.
            source: The repository that has it. None lets the registry look everywhere, which some refuse.
            verify: Whether to ask for the blob once the registry says that it mounted it.

        Returns:
            ``Mounted``, or ``UploadStarted`` if the registry declined: send the blob with ``resume``, or cancel that.

        Raises:
            InvalidReferenceError: The source is not a repository name.
            DigestMismatchError: The registry says it mounted another blob.
            ProtocolError: It says it mounted the blob, but does not have it.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Mounting a blob from another repository".
        """
        return await self._mount(digest_of(digest), source=source, verify=verify)

    async def _mount(self, name: Digest, *, source: str | None, verify: bool = True) -> Mounted | UploadStarted:
        origin = None if source is None else RepositoryName(source)
        endpoint = MountBlob(self._channel.repository_name, name, origin)
        algorithm = name.algorithm if name.verifiable else "sha256"

        def take(reply: Reply) -> UploadState | None:
            if reply.status == 202:
                return opened(self._channel, reply, chunk_size=self._chunk_size(None), algorithm=algorithm)
            check_stated(reply, name)
            return None

        state = await open_session(self._channel, endpoint, take, about=name)
        if state is not None:
            return UploadStarted(state)
        if verify and not await appeared(self._channel, name, None):
            raise missing(self._channel, endpoint.operation, name)
        return Mounted(name, origin)

    def _check_own(self, state: UploadState) -> None:
        if (state.registry, state.repository) != (self._channel.host, self._channel.repository):
            raise UsageError(f"this upload belongs to {state.registry}/{state.repository}")

    async def delete(self, digest: Digest | Descriptor | str) -> None:
        """Delete a blob from this repository.

        Raises:
            BlobUnknownError: There is no such blob.
            UnsupportedError: The registry does not delete blobs.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Deleting Blobs".
        """
        name = digest_of(digest)
        try:
            async with self._channel.exchange(DeleteBlob(self._channel.repository_name, name), about=name):
                return
        except NotFoundError as error:
            # An earlier attempt whose answer was lost has done it.
            if (error.attempts or 1) == 1:
                raise

    def _chunk_size(self, wanted: int | None) -> int:
        if wanted is None:
            wanted = self._channel.sender.host_config(self._channel.registry).chunk_size or DEFAULT_CHUNK
        if wanted < 1:
            raise UsageError("a chunk has at least one byte")
        return profile_of(self._channel).chunk_size(wanted)
