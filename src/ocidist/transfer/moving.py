"""Getting blobs to a destination: skipped where they are there, mounted where that is known to work, else sent."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import anyio

from ocidist._io.body import is_blamed_on_source
from ocidist._io.locks import Locks
from ocidist.errors import OciError
from ocidist.errors._transfer import Side
from ocidist.model.result import Mounted
from ocidist.observe.events import ContentCopied, ContentMounted, ContentSkipped
from ocidist.observe.hooks import emit
from ocidist.remote.repository import Repository
from ocidist.transfer.blame import blaming, copy_error
from ocidist.transfer.known import Known
from ocidist.transfer.looking import has_blob
from ocidist.transfer.pipe import Pipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest
    from ocidist.observe.events import CopyEvent
    from ocidist.observe.hooks import Hook
    from ocidist.transfer.places import Place

_MOST_MOUNTS: Final = 4
"""Repositories that a mount is tried from before a blob is sent."""
_LAGS_S: Final = (0.2, 0.8)
"""Waits for replicas that do not show a mounted blob yet."""


class Outcome(enum.Enum):
    """How a blob got to its destination."""

    COPIED = "copied"
    """It was sent."""
    MOUNTED = "mounted"
    """The destination took it from another of its repositories."""
    SKIPPED = "skipped"
    """It was there."""


class Mover:
    """Gets blobs to destinations, each only once over the network as long as mounts work.

    Args:
        at_once: Blobs that are on their way at any moment.
        hooks: Callables that are given events.

    Attributes:
        known: Which repositories have which blobs.
        manifests: Which repositories have which manifests. A blob may have the bytes of a manifest, and lead nowhere.
        hooks: See above.
    """

    def __init__(self, *, at_once: int, hooks: tuple[Hook, ...]) -> None:
        self.known: Known = Known()
        self.manifests: Known = Known()
        self.hooks: tuple[Hook, ...] = hooks
        self._locks = Locks()
        # For questions, too: what the first answers teach saves the others from being asked.
        self._at_work = anyio.CapacityLimiter(at_once)
        # Whether a registry, asked to mount a blob from the very repository that has it, says so.
        self._tells: dict[str, bool] = {}
        # Whether a registry declined to mount something, or turned out to have what it said that it mounted.
        self._honest: dict[str, bool] = {}

    async def move(self, blob: Descriptor, source: Place, destination: Place, *, force: bool = False) -> Outcome:
        """Let the destination have a blob, and return how it got it.

        Whoever wants the same blob in the same registry at the same time waits, and then mounts it. If sending it
        fails, the next one of those tries.

        Args:
            blob: The blob.
            source: Where it is.
            destination: Where it goes.
            force: Whether to ask the destination itself, whatever is known of it.

        Raises:
            CopyError: One of the stores failed.
        """
        registry, digest = destination.registry, blob.digest
        if source.is_same_repository(destination):
            return self._skipped(blob, source, destination)
        async with self._locks.hold(registry, str(destination.repository.name), digest):
            if not force and self.known.has(destination, digest):
                return self._skipped(blob, source, destination)
            async with self._locks.hold(registry, digest):
                if self.known.home(registry, digest) is None and source.registry != registry:
                    async with self._at_work:
                        return await self._put(blob, source, destination, force=force)
            async with self._at_work:
                return await self._put(blob, source, destination, force=force)

    async def send_again(self, blob: Descriptor, source: Place, destination: Place) -> None:
        """Send a blob that the destination said it has, and then that it does not have.

        Raises:
            CopyError: One of the stores failed.
        """
        self.known.forget(destination, blob.digest)
        async with self._at_work:
            await self._send(blob, source, destination, ())
        self._copied(blob, source, destination)

    async def _put(self, blob: Descriptor, source: Place, destination: Place, *, force: bool) -> Outcome:
        registry, digest = destination.registry, blob.digest
        # Where the answer to a mount can be trusted, asking for a blob and beginning to send it are one request.
        tells = destination.is_remote and not force and self._tells.get(registry, False)
        if not tells:
            with blaming(Side.DESTINATION, digest):
                found = await has_blob(destination, digest)
            if found:
                self.known.add(destination, digest)
                return self._skipped(blob, source, destination)
        homes = self._homes(blob, source, destination)
        own = str(destination.repository.name)
        asked = homes or ((own,) if tells else ())
        sent = await self._send(blob, source, destination, asked)
        if sent and asked:
            self._honest.setdefault(registry, True)
        elif asked and not await self._is_true(destination, digest, proves=asked != (own,)):
            sent = await self._send(blob, source, destination, ())
        if sent or not asked:
            outcome = self._copied(blob, source, destination)
            if isinstance(destination.repository, Repository) and registry not in self._tells:
                await self._learn(registry, destination.repository, digest)
            return outcome
        self.known.add(destination, digest)
        if asked == (own,):
            return self._skipped(blob, source, destination)
        self.tell(ContentMounted, digest, blob.size, source, destination, ", ".join(asked))
        return Outcome.MOUNTED

    def tell(
        self, kind: type[CopyEvent], digest: Digest, size: int, source: Place, destination: Place, *more: str
    ) -> None:
        """Tell what became of a blob or a manifest, if anybody wants to know."""
        if self.hooks:
            at = (destination.registry, source.name_of(digest), destination.name_of(None))
            emit(self.hooks, kind(*at, size, *more))

    def _copied(self, blob: Descriptor, source: Place, destination: Place) -> Outcome:
        self.known.add(destination, blob.digest)
        self.tell(ContentCopied, blob.digest, blob.size, source, destination)
        return Outcome.COPIED

    def _skipped(self, blob: Descriptor, source: Place, destination: Place) -> Outcome:
        self.tell(ContentSkipped, blob.digest, blob.size, source, destination)
        return Outcome.SKIPPED

    def _homes(self, blob: Descriptor, source: Place, destination: Place) -> tuple[str, ...]:
        """Return repositories of the destination's registry that may have the blob."""
        registry, own = destination.registry, str(destination.repository.name)
        if not self._honest.get(registry, True):
            return ()
        home = self.known.home(registry, blob.digest)
        if home is not None:
            return (home,)
        found = [str(source.repository.name)] if source.registry == registry else []
        found += self.known.hints(registry, blob.digest)
        return tuple(name for name in dict.fromkeys(found) if name != own)[:_MOST_MOUNTS]

    async def _send(self, blob: Descriptor, source: Place, destination: Place, mount_from: Sequence[str]) -> bool:
        """Mount a blob, or else send it; return whether it was sent."""
        repository = destination.repository
        pipe = Pipe(source.repository, blob)
        try:
            if isinstance(repository, Repository):
                # A mount that was none shows in _is_true(), or when the manifest is pushed, see send_again().
                await repository.blobs.push(pipe, blob, mount_from=mount_from, check_exists=False, verify_mounts=False)
            else:
                await repository.blobs.push(pipe, blob, mount_from=mount_from)
        except (OciError, OSError) as error:
            reading = pipe.failure is not None or is_blamed_on_source(error)
            raise copy_error(error, Side.SOURCE if reading else Side.DESTINATION, blob.digest) from error
        return pipe.opened

    async def _is_true(self, destination: Place, digest: Digest, *, proves: bool) -> bool:
        """Return whether a blob is there that a registry says it mounted: looked at until one was true."""
        registry = destination.registry
        if not destination.is_remote or self._honest.get(registry, False):
            return True
        async with self._locks.hold(registry):
            if self._honest.get(registry, False):
                return True
            with blaming(Side.DESTINATION, digest):
                found = await has_blob(destination, digest)
                for wait in () if registry in self._honest else _LAGS_S:
                    if not found:
                        await anyio.sleep(wait)
                        found = await has_blob(destination, digest)
            # What says that a repository has a blob may say so of any.
            if proves or not found:
                self._honest[registry] = found
            if not found:
                self._tells[registry] = False
        return found

    async def _learn(self, registry: str, repository: Repository, digest: Digest) -> None:
        """Find out whether a registry mounts a blob from the repository that has it."""
        self._tells[registry] = False
        try:
            found = await repository.blobs.mount(digest, source=repository.name, verify=False)
            if isinstance(found, Mounted):
                self._tells[registry] = True
            else:
                await repository.blobs.cancel_upload(found.state)
        except OciError:
            pass  # it can still be asked in the usual way
