"""OCI image layouts on disk: one as a repository, a directory of them as a registry.

Every repository of a registry is a layout of its own, in a directory of its name, so that other tools can use each; a
blob that several of them have is one file with several names, where the file system has hard links. Several processes
may use a layout at once. A store belongs to one event loop; POSIX systems only.

Spec: image-spec, "Image Layout".
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import attrs

from ocidist.errors import InvalidReferenceError, UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.reference import RepositoryName
from ocidist.storage.answers import paginated
from ocidist.storage.layout_blobs import LayoutBlobs
from ocidist.storage.layout_files import MARKER, folders, part_of
from ocidist.storage.layout_fsck import FsckReport, check
from ocidist.storage.layout_gc import GRACE_S, GcReport, collect
from ocidist.storage.layout_manifests import LayoutManifests, LayoutTags, resolve
from ocidist.storage.layout_remove import remove
from ocidist.storage.layout_state import LOCK_TIMEOUT_S, State
from ocidist.storage.layout_upload import KEEP_S
from ocidist.storage.layout_work import run
from ocidist.storage.registry_blobs import RegistryBlobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocidist._io.pages import Paginator
    from ocidist.storage.contents import Holder

DEFAULT_NAME: Final = "layout"
"""Name of a layout whose directory's name is no repository's."""
_KEPT: Final = 64


class Layout:
    """An OCI image layout: a repository in a directory. It is made when something is stored in it.

    Args:
        path: The directory.
        name: What the repository is called in errors and upload states; None for the directory's own name, or
            ``layout`` where that is no repository's.
        check_references: Whether pushing a manifest fails with ``ManifestBlobUnknownError`` while content it names is
            missing. Its subject may always be missing.
        lock_timeout: Seconds to wait for other processes that change the layout, before ``StorageError``.

    Attributes:
        name: See above.
        path: See above.
        registry: What it shares its blobs with: the ``LayoutRegistry`` that it is a repository of, or None.
        blobs: Its blobs.
        manifests: Its manifests.
        tags: Its tags.

    Raises:
        InvalidReferenceError: The name is no repository's.
        UsageError: The timeout is negative.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        name: RepositoryName | str | None = None,
        check_references: bool = True,
        lock_timeout: float = LOCK_TIMEOUT_S,
    ) -> None:
        if lock_timeout < 0:
            raise UsageError("a timeout is not negative")
        root = Path(path)
        known_as = name_of(root) if name is None else RepositoryName(name)
        state = State(known_as, root, check_references=check_references, lock_timeout=lock_timeout)
        self._set(state, None)

    def _set(self, state: State, registry: LayoutRegistry | None) -> None:
        self._state = state
        self.registry: object | None = registry
        self.name: RepositoryName = state.name
        self.path: Path = state.files.path
        self.blobs: LayoutBlobs = LayoutBlobs(state)
        self.manifests: LayoutManifests = LayoutManifests(state)
        self.tags: LayoutTags = LayoutTags(state)

    def __repr__(self) -> str:
        return f"<Layout {self.path}>"

    def referrers(
        self, subject: Digest | Descriptor | str, *, artifact_type: str | None = None
    ) -> Paginator[Descriptor]:
        """List the manifests whose subject is *subject*, in the order of their digests.

        The subject itself need not exist. A layout that does not exist has no referrers. Each manifest is read once to
        learn its subject, when this is first called.

        Args:
            subject: The manifest they refer to.
            artifact_type: Only those of this type.

        Raises:
            InvalidDigestError: The subject is no digest.
            StorageError: The layout cannot be read; raised when the list is read.

        Spec: distribution-spec, "Listing Referrers".
        """
        return listed_referrers(self._state, subject, artifact_type)

    async def gc(self, *, grace: float = GRACE_S, upload_age: float = KEEP_S) -> GcReport:
        """Remove the blobs that nothing leads to: no entry of ``index.json``, and nothing that those lead to.

        What refers to something in use is in use, whether the index lists it or not. Others may write meanwhile; what
        they push stays. Safe to cancel.

        Args:
            grace: Seconds for which a blob may lie there before a manifest names it.
            upload_age: Seconds without a write after which an unfinished upload is removed.

        Raises:
            StorageError: Something cannot be read or removed.
            UsageError: An age is negative.
        """
        return await collect(self._state, grace=grace, upload_age=upload_age)

    async def fsck(self) -> FsckReport:
        """Look whether everything is as it has to be: hash every blob, and look for all that is named.

        Nothing is changed. What others write meanwhile may be told as missing. A layout that does not exist is clean.
        Safe to cancel.

        Raises:
            StorageError: A directory cannot be read.
        """
        return await check(self._state)

    async def resolve(self, name: str) -> Descriptor:
        """Return what a name in ``index.json`` means, exactly as it is written there; it need not be a tag.

        Args:
            name: Value of the annotation ``org.opencontainers.image.ref.name``.

        Raises:
            TagUnknownError: There is no such name.
            StorageError: What it means is not there, or the layout cannot be read.
        """
        return await self._state.read(resolve, self._state, name)


class LayoutRegistry:
    """A directory of OCI image layouts: a registry on disk.

    The repository ``team/app`` is the layout in the directory ``team/app``. A directory that is a layout itself is
    served, too: as the repository *root_name*.

    Args:
        path: The directory; it is made when something is stored.
        root_name: Name of the layout that the directory is itself, if it is one; None for the directory's own name, or
            ``layout`` where that is no repository's.
        check_references: See ``Layout``.
        lock_timeout: See ``Layout``.

    Attributes:
        path: See above.
        blobs: The blobs of all repositories together.

    Raises:
        InvalidReferenceError: *root_name* is no repository's.
        UsageError: The timeout is negative.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        root_name: RepositoryName | str | None = None,
        check_references: bool = True,
        lock_timeout: float = LOCK_TIMEOUT_S,
    ) -> None:
        if lock_timeout < 0:
            raise UsageError("a timeout is not negative")
        self.path: Path = Path(path)
        self.blobs: RegistryBlobs = RegistryBlobs(self._size, self._digests)
        self._root_name = name_of(self.path) if root_name is None else RepositoryName(root_name)
        self._check_references = check_references
        self._lock_timeout = lock_timeout
        self._states: WeakValueDictionary[RepositoryName, State] = WeakValueDictionary()
        self._recent: OrderedDict[RepositoryName, State] = OrderedDict()

    def __repr__(self) -> str:
        return f"<LayoutRegistry {self.path}>"

    def repository(self, name: RepositoryName | str) -> Layout:
        """Return the repository of this name; it begins to exist when something is stored in it.

        Raises:
            InvalidReferenceError: It is no repository name.
        """
        made = Layout.__new__(Layout)
        made._set(self._state(RepositoryName(name)), self)  # noqa: SLF001 -- the class next door
        return made

    def repositories(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[RepositoryName]:
        """List the repositories in ASCII order. Each page reads all directories.

        Args:
            after: Only repositories after this text.
            page_size: Most names per page.

        Raises:
            UsageError: The page size is not positive.
            StorageError: A directory cannot be read; raised when the list is read.
        """

        def found(last: str | None, limit: int) -> list[RepositoryName]:
            names = sorted(name for name in self._walk() if last is None or name > last)
            return names[:limit]

        async def take(last: str | None, limit: int) -> Sequence[RepositoryName]:
            return await run(f"read {self.path}", found, last, limit)

        return paginated(take, str, after=after, page_size=page_size, what="repositories")

    async def remove(self, name: RepositoryName | str) -> None:
        """Remove a repository with everything in it, unfinished uploads included; other repositories keep their blobs.

        Raises:
            NameUnknownError: There is no such repository.
            InvalidReferenceError: It is no repository name.
            StorageError: Something cannot be removed.
        """
        await remove(self._state(RepositoryName(name)))

    async def gc(self, *, grace: float = GRACE_S, upload_age: float = KEEP_S) -> GcReport:
        """Do what ``Layout.gc`` does with all repositories, one after the other, and return the sums."""
        total = GcReport(0, 0, 0, 0)
        for state in await self._all():
            found = await collect(state, grace=grace, upload_age=upload_age)
            total = GcReport(
                *(one + other for one, other in zip(attrs.astuple(total), attrs.astuple(found), strict=True))
            )
        return total

    async def fsck(self) -> dict[RepositoryName, FsckReport]:
        """Do what ``Layout.fsck`` does with all repositories, one after the other."""
        return {state.name: await check(state) for state in await self._all()}

    async def _all(self) -> list[State]:
        return [self._state(name) async for name in self.repositories()]

    async def _size(self, digest: Digest) -> int | None:
        for state in await self._all():
            size = await state.read(state.files.size, digest)
            if size is not None:
                return size
        return None

    async def _digests(self) -> list[Digest]:
        return [digest for state in await self._all() async for digest in LayoutBlobs(state).digests()]

    def _state(self, name: RepositoryName) -> State:
        found = self._states.get(name)
        if found is None:
            found = self._states[name] = State(
                name,
                self.path,
                folders(name),
                or_root=name == self._root_name,
                check_references=self._check_references,
                lock_timeout=self._lock_timeout,
            )
            found.others, found.all_others = self._state, self._all
        # What was used last is kept with its index; of others there may be any number.
        self._recent[name] = found
        self._recent.move_to_end(name)
        while len(self._recent) > _KEPT:
            self._recent.popitem(last=False)
        return found

    def _walk(self) -> Iterator[RepositoryName]:
        """Iterate over the repositories in no order. Blocks."""
        left: list[tuple[str, Path]] = [("", self.path)]
        while left:
            name, path = left.pop()
            try:
                entries = sorted(path.iterdir())
            except (FileNotFoundError, NotADirectoryError):
                continue  # somebody removed it
            if any(entry.name == MARKER and entry.is_file() and not entry.is_symlink() for entry in entries):
                yield RepositoryName(name) if name else self._root_name
            for entry in entries:
                inner = f"{name}/{part_of(entry.name)}".lstrip("/")
                if _is_repository(inner) and folders(inner)[-1] == entry.name and _is_directory(entry):
                    left.append((inner, entry))


def _is_repository(name: str) -> bool:
    try:
        RepositoryName(name)
    except InvalidReferenceError:
        return False
    return True


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def name_of(path: Path) -> RepositoryName:
    """Return the name of the layout in a directory."""
    try:
        return RepositoryName(path.name)
    except InvalidReferenceError:
        return RepositoryName(DEFAULT_NAME)


def listed_referrers(
    state: Holder, subject: Digest | Descriptor | str, artifact_type: str | None
) -> Paginator[Descriptor]:
    """List the manifests whose subject is *subject*. See ``Layout.referrers``."""
    wanted = subject.digest if isinstance(subject, Descriptor) else Digest(subject)

    def found(last: str | None, limit: int) -> list[Descriptor]:
        index = state.files.load()
        listed = {} if index is None else state.known.referrers(index, wanted)
        fitting = sorted(
            digest
            for digest, each in listed.items()
            if (last is None or digest > last) and artifact_type in {None, each.artifact_type}
        )
        return [listed[digest] for digest in fitting[:limit]]

    async def take(last: str | None, limit: int) -> Sequence[Descriptor]:
        return await state.read(found, last, limit)

    return paginated(take, lambda each: each.digest, after=None, page_size=None, what=f"the referrers of {wanted}")
