"""A registry that keeps what it was asked for: a store in front of another registry.

Whatever the store does not have is asked for upstream, passed on while it comes, proven, and kept. What a tag names is
asked again after a while. When upstream does not answer, what is there is served.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, NoReturn, Self, TypeVar

import anyio
import anyio.abc

from ocidist._io.flight import SingleFlight
from ocidist._io.pages import Paginator
from ocidist.errors import (
    BlobUnknownError,
    LimitExceededError,
    ManifestUnknownRevisionError,
    NameUnknownError,
    NotFoundError,
    NotModifiedError,
    OciError,
    ResponseError,
    ServerError,
    StorageError,
    TagUnknownError,
    UnsupportedError,
    UsageError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.reference import RepositoryName, Tag
from ocidist.model.result import OnExit
from ocidist.server.fetching import Fetch, Tail
from ocidist.server.refusal import said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from ocidist._io.body import Source
    from ocidist.model.manifest import Manifest
    from ocidist.model.result import Mounted, Page, PushResult
    from ocidist.storage.protocols import BlobReader, BlobWriter, Namespace, Repository
    from ocidist.wire.upload_state import UploadStarted, UploadState

MAX_FETCHES: Final = 16
"""Blobs that are brought from upstream at once; others wait. Each takes up to ``fetching.WINDOW`` bytes of memory."""

MAX_KNOWN: Final = 10_000
"""Tags of which is remembered what they name, and blobs of which is remembered how large they are."""

PAUSE_S: Final = 5
"""Seconds for which upstream is not asked again for what tags name, after it did not answer."""

MAX_SMALL_BLOB: Final = 4 * 1024 * 1024

_T = TypeVar("_T")
_Key = TypeVar("_Key")
_logger = logging.getLogger("ocidist.server")


class PullThrough:
    """Repositories of another registry, kept in a store: a store for ``RegistryApp`` that is only read.

    Enter it with ``async with`` for as long as it serves; ``RegistryApp`` does so where it is given lifespan events.
    Blobs come on tasks of their own, one for each blob whoever asks for it; no client sees upstream's address, messages
    or credentials. What is not there is asked for each time.

    Args:
        store: Where content is kept. It has to take manifests whose content it does not have
            (``MemoryRegistry(check_references=False)``).
        upstream: Where it comes from: ``client.registry("docker.io")`` for example.
        ttl: Seconds for which a tag is believed to name what it named.
        clock: Seconds from any moment on.

    Raises:
        UsageError: The time is negative.
    """

    def __init__(
        self, store: Namespace, upstream: Namespace, *, ttl: float = 60, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if ttl < 0:
            raise UsageError("a time is not negative")
        self.store: Namespace = store
        self.upstream: Namespace = upstream
        self._ttl = ttl
        self._clock = clock
        self._silent_until: float = 0.0
        self._named: OrderedDict[tuple[str, str], tuple[Descriptor, float]] = OrderedDict()
        self._described: OrderedDict[tuple[str, Digest], Descriptor] = OrderedDict()
        self._fetches: dict[tuple[str, Digest], Fetch] = {}
        self._manifests: SingleFlight[Manifest] = SingleFlight()
        self._tags: SingleFlight[Descriptor] = SingleFlight()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._room = anyio.Semaphore(MAX_FETCHES)

    async def __aenter__(self) -> Self:
        """Begin to serve."""
        if self._tasks is not None:
            raise UsageError("it serves already")
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what is under way."""
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel_scope.cancel()
            # What the block raised goes on as it is, and not in a group.
            await tasks.__aexit__(None, None, None)

    def repository(self, name: RepositoryName | str) -> _Repository:
        """Return a repository; it need not exist."""
        return _Repository(self, RepositoryName(name))

    def repositories(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[RepositoryName]:
        """List upstream's repositories; those that are kept, where it does not list them."""
        return _listed(
            lambda: self.upstream.repositories(after=after, page_size=page_size),
            lambda: self.store.repositories(after=after, page_size=page_size),
            what="repositories",
        )

    # --- manifests ---------------------------------------------------------------------------------------------------

    async def manifest(self, name: RepositoryName, digest: Digest) -> Manifest:
        """Return a manifest, from the store or through it."""
        try:
            return await self.store.repository(name).manifests.get(digest)
        except NotFoundError:
            return await self._manifests.do((name, digest), lambda: self._fetched(name, digest))

    async def named(self, name: RepositoryName, tag: Tag) -> Descriptor:
        """Return what a tag names: as upstream says, or as it said last."""
        known = self._named.get((name, tag))
        if known is not None and self._clock() < known[1]:
            return known[0]
        return await self._tags.do((name, tag), lambda: self._asked(name, tag))

    async def _fetched(self, name: RepositoryName, digest: Digest, *tags: Tag) -> Manifest:
        try:
            found = await self.upstream.repository(name).manifests.get(digest)
        except NotFoundError:
            raise said(ManifestUnknownRevisionError, 404, "there is no such manifest", digest) from None
        except OciError as error:
            raise _failed(error) from error
        try:
            await self.store.repository(name).manifests.push(found, tags=tags)
        except (StorageError, ResponseError) as error:
            _logger.warning("%s@%s is not kept: %s", name, digest, error)
        return found

    async def _asked(self, name: RepositoryName, tag: Tag) -> Descriptor:
        here = self.store.repository(name)
        if self._clock() < self._silent_until and await here.manifests.exists(tag):
            return await here.manifests.stat(tag)
        try:
            found = await self.upstream.repository(name).manifests.stat(tag)
        except NotFoundError:
            await self._forget(name, tag)
            raise said(TagUnknownError, 404, "there is no such tag", tag) from None
        except OciError as error:
            self._silent_until = self._clock() + PAUSE_S
            if not await here.manifests.exists(tag):
                raise _failed(error) from error
            _logger.warning("%s:%s is served as it was: %s", name, tag, error)
            return await here.manifests.stat(tag)
        await self._keep_tag(name, tag, found.digest)
        _remember(self._named, (name, tag), (found, self._clock() + self._ttl))
        return found

    async def _keep_tag(self, name: RepositoryName, tag: Tag, digest: Digest) -> None:
        here = self.store.repository(name)
        if not await here.manifests.exists(digest):
            await self._manifests.do((name, digest), lambda: self._fetched(name, digest, tag))
        try:
            if not await here.manifests.exists(tag) or (await here.manifests.stat(tag)).digest != digest:
                await here.tags.set(tag, digest)
        except (StorageError, ResponseError) as error:
            _logger.warning("%s:%s is not kept: %s", name, tag, error)

    async def _forget(self, name: RepositoryName, tag: Tag) -> None:
        self._named.pop((name, tag), None)
        try:
            await self.store.repository(name).tags.delete(tag)
        except OciError:
            return  # it was never kept, or cannot be given up just now

    # --- blobs -------------------------------------------------------------------------------------------------------

    async def blob(self, name: RepositoryName, digest: Digest) -> Descriptor:
        """Return a blob's descriptor."""
        under_way = self._fetches.get((name, digest))
        if under_way is not None:
            return under_way.descriptor
        try:
            return await self.store.repository(name).blobs.stat(digest)
        except NotFoundError:
            pass
        try:
            found = await self.upstream.repository(name).blobs.stat(digest)
        except NotFoundError:
            raise said(BlobUnknownError, 404, "there is no such blob", digest) from None
        except OciError as error:
            raise _failed(error) from error
        _remember(self._described, (name, digest), found)
        return found

    @asynccontextmanager
    async def stream(
        self, name: RepositoryName, digest: Digest, offset: int, length: int | None
    ) -> AsyncIterator[BlobReader]:
        """Open a blob: from the store, on its way, or directly where only a part is wanted."""
        here, there = self.store.repository(name).blobs, self.upstream.repository(name).blobs
        async with AsyncExitStack() as stack:
            if (name, digest) not in self._fetches and await here.exists(digest):
                yield await stack.enter_async_context(here.open(digest, offset=offset, length=length))
            elif offset or length is not None:
                try:
                    reader = await stack.enter_async_context(there.open(digest, offset=offset, length=length))
                except OciError as error:
                    raise _failed(error) from error
                yield reader
            else:
                # The handler has just asked for the size.
                descriptor = self._described.get((name, digest)) or await self.blob(name, digest)
                yield Tail(self._fetch(name, descriptor), stack)

    def _fetch(self, name: RepositoryName, descriptor: Descriptor) -> Fetch:
        key = (name, descriptor.digest)
        if key not in self._fetches:
            if self._tasks is None:
                raise UsageError("a pull-through store is entered with 'async with' before it serves")
            upstream, store = self.upstream.repository(name).blobs, self.store.repository(name).blobs
            self._fetches[key] = Fetch(descriptor, upstream, store)
            self._tasks.start_soon(self._bring, key)
        return self._fetches[key]

    async def _bring(self, key: tuple[str, Digest]) -> None:
        fetch = self._fetches[key]
        try:
            async with self._room:
                await fetch.run()
        finally:
            del self._fetches[key]
        if isinstance(fetch.error, StorageError):
            _logger.warning("%s@%s was not kept: %s", *key, fetch.error)


class _Repository:
    """A repository of a pull-through store."""

    def __init__(self, cache: PullThrough, name: RepositoryName) -> None:
        self._cache = cache
        self.name: RepositoryName = name
        self.blobs: _Blobs = _Blobs(cache, name)
        self.manifests: _Manifests = _Manifests(cache, name)
        self.tags: _Tags = _Tags(cache, name)

    def referrers(
        self, subject: Digest | Descriptor | str, *, artifact_type: str | None = None
    ) -> Paginator[Descriptor]:
        """List upstream's referrers; those that are kept, where it does not say."""
        there, here = _both(self._cache, self.name)
        return _listed(
            lambda: there.referrers(subject, artifact_type=artifact_type),
            lambda: here.referrers(subject, artifact_type=artifact_type),
            what=f"the referrers of {subject}",
        )


class _Blobs:
    def __init__(self, cache: PullThrough, name: RepositoryName) -> None:
        self._cache = cache
        self._name = name

    async def stat(self, digest: Digest | str) -> Descriptor:
        return await self._cache.blob(self._name, Digest(digest))

    async def exists(self, digest: Digest | str) -> bool:
        try:
            await self.stat(digest)
        except NotFoundError:
            return False
        return True

    async def get(self, digest: Digest | Descriptor | str, *, max_size: int = MAX_SMALL_BLOB) -> bytes:
        async with self.open(digest) as reader:
            if reader.descriptor.size > max_size:
                raise LimitExceededError("blob", max_size)
            return await reader.read()

    def open(
        self, digest: Digest | Descriptor | str, *, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[BlobReader]:
        wanted = digest.digest if isinstance(digest, Descriptor) else Digest(digest)
        return self._cache.stream(self._name, wanted, offset, length)

    async def push(
        self, source: Source, descriptor: Descriptor | None = None, *, mount_from: Sequence[str] = ()
    ) -> Descriptor:
        _refuse(source, descriptor, mount_from)

    def writer(
        self, *, chunk_size: int | None = None, algorithm: str = "sha256", on_exit: OnExit = OnExit.KEEP
    ) -> AbstractAsyncContextManager[BlobWriter]:
        _refuse(chunk_size, algorithm, on_exit)

    def resume(
        self, state: UploadState, *, source: Source | None = None, on_exit: OnExit = OnExit.KEEP
    ) -> AbstractAsyncContextManager[BlobWriter]:
        _refuse(state, source, on_exit)

    async def mount(self, digest: Digest | str, *, source: str | None) -> Mounted | UploadStarted:
        _refuse(digest, source)

    async def delete(self, digest: Digest | str) -> None:
        _refuse(digest)


class _Manifests:
    def __init__(self, cache: PullThrough, name: RepositoryName) -> None:
        self._cache = cache
        self._name = name

    async def stat(self, reference: Tag | Digest | str) -> Descriptor:
        if ":" in reference:
            return (await self._cache.manifest(self._name, Digest(reference))).descriptor
        return await self._cache.named(self._name, Tag(reference))

    async def exists(self, reference: Tag | Digest | str) -> bool:
        try:
            await self.stat(reference)
        except NotFoundError:
            return False
        return True

    async def get(self, reference: Tag | Digest | str, *, if_none_match: Digest | None = None) -> Manifest:
        digest = Digest(reference) if ":" in reference else (await self.stat(reference)).digest
        if digest == if_none_match:
            raise said(NotModifiedError, 304, "the manifest is still the same")
        return await self._cache.manifest(self._name, digest)

    async def push(
        self, manifest: Manifest | bytes, *, tags: Sequence[Tag | str] = (), media_type: str | None = None
    ) -> PushResult:
        _refuse(manifest, tags, media_type)

    async def delete(self, digest: Digest | str) -> None:
        _refuse(digest)


class _Tags:
    def __init__(self, cache: PullThrough, name: RepositoryName) -> None:
        self._cache = cache
        self._name = name

    async def stat(self, tag: Tag | str) -> Descriptor:
        return await self._cache.named(self._name, Tag(tag))

    def list(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[Tag]:
        there, here = _both(self._cache, self._name)
        return _listed(
            lambda: there.tags.list(after=after, page_size=page_size),
            lambda: here.tags.list(after=after, page_size=page_size),
            what=f"the tags of {self._name}",
        )

    async def lookup(self, digest: Digest | Descriptor | str) -> tuple[Tag, ...]:
        return await self._cache.store.repository(self._name).tags.lookup(digest)

    async def set(self, tag: Tag | str, target: Descriptor | Digest | str) -> Descriptor:
        _refuse(tag, target)

    async def delete(self, tag: Tag | str) -> None:
        _refuse(tag)


def _both(cache: PullThrough, name: RepositoryName) -> tuple[Repository, Repository]:
    return cache.upstream.repository(name), cache.store.repository(name)


def _listed(upstream: Callable[[], Paginator[_T]], kept: Callable[[], Paginator[_T]], *, what: str) -> Paginator[_T]:
    def begin() -> Callable[[], Awaitable[Page[_T] | None]]:
        pages: AsyncIterator[Page[_T]] | None = None

        async def following() -> Page[_T] | None:
            nonlocal pages
            if pages is not None:
                try:
                    return await anext(pages, None)
                except OciError as error:
                    raise _failed(error) from error
            pages = upstream().pages()
            try:
                return await anext(pages, None)
            except NotFoundError:
                raise said(NameUnknownError, 404, "there is no such repository") from None
            except OciError as error:
                _logger.warning("%s are listed as far as they are kept: %s", what, error)
                pages = kept().pages()
                try:
                    return await anext(pages, None)
                except NotFoundError:
                    # Nothing is kept of it, which does not say that there is nothing.
                    raise _failed(error) from error

        return following

    return Paginator(begin, what=what)


def _remember(known: OrderedDict[_Key, _T], key: _Key, value: _T) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MAX_KNOWN:
        known.popitem(last=False)


def _failed(error: OciError) -> ResponseError:
    _logger.warning("upstream cannot be used: %s", error)
    return said(ServerError, 502, "the registry behind this one cannot be used just now")


def _refuse(*_: object) -> NoReturn:
    raise said(UnsupportedError, 405, "this registry keeps what another one has, and can only be read")
