"""Looking whether everything in a layout is as it has to be. Nothing is changed."""

from __future__ import annotations

import enum
import os
import stat
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import OciError, StorageError, UsageError
from ocidist.model.digest import Digest
from ocidist.model.mediatype import INDEX_TYPES
from ocidist.storage import layout_disk as disk
from ocidist.storage.layout_files import LOCK, WORK
from ocidist.storage.layout_gc import blobs
from ocidist.storage.layout_index import tag_of
from ocidist.storage.layout_marks import packed
from ocidist.storage.layout_work import in_steps
from ocidist.storage.pushed import needed

if TYPE_CHECKING:
    from collections.abc import Generator

    from ocidist.storage.layout_files import Files
    from ocidist.storage.layout_index import Index
    from ocidist.storage.layout_state import State

_READ: Final = 1024 * 1024


class FsckProblemKind(enum.Enum):
    """What can be wrong with a layout."""

    INDEX = "index"
    """``index.json`` or ``oci-layout`` cannot be used."""
    NAME = "name"
    """Something among the blobs has a name that is no digest."""
    KIND = "kind"
    """A blob is no regular file."""
    CONTENT = "content"
    """A blob has another digest than its name says, or cannot be read."""
    MISSING = "missing"
    """Something that has to be there is not."""
    MANIFEST = "manifest"
    """A manifest is not what its media type says, or has another size than the index says."""
    AMBIGUOUS = "ambiguous"
    """A name means several manifests; the first one counts."""


@attrs.frozen
class FsckProblem:
    """Something that is wrong with a layout.

    Attributes:
        kind: What.
        where: A digest, a file's name, or a name in the index.
        reason: More about it, for people.
    """

    kind: FsckProblemKind
    where: str
    reason: str


@attrs.frozen
class FsckReport:
    """What a look at a layout came to.

    Attributes:
        problems: What is wrong.
        blobs: Number of blobs, manifests included.
        size: Their bytes.
        manifests: Number of manifests.
        absent: Manifests of image indexes that are not there, as when somebody copied one platform: no problem.
        unfinished: Files of uploads that are under way, or were left.
    """

    problems: tuple[FsckProblem, ...]
    blobs: int
    size: int
    manifests: int
    absent: tuple[Digest, ...]
    unfinished: int

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


async def check(state: State) -> FsckReport:
    """Look at a layout. See ``Layout.fsck``."""
    return await in_steps(f"read {state.files.path}", _Check(state).run())


class _Check:
    def __init__(self, state: State) -> None:
        self._state = state
        self._files = state.files
        self._problems: list[FsckProblem] = []
        self._there: set[bytes] = set()
        self._bytes = 0
        self._absent: list[Digest] = []
        self._manifests = 0

    def run(self) -> Generator[None, None, FsckReport]:
        try:
            index = self._files.load()
        except StorageError as error:
            index = None
            self._tell(FsckProblemKind.INDEX, "index.json", error.message)
        yield from self._look_at_blobs()
        if index is not None:
            self._look_at_names(index)
            yield from self._look_at_manifests(index)
        return FsckReport(
            tuple(self._problems),
            len(self._there),
            self._bytes,
            self._manifests,
            tuple(self._absent),
            _unfinished(self._files),
        )

    def _tell(self, kind: FsckProblemKind, where: str, reason: str) -> None:
        self._problems.append(FsckProblem(kind, where, reason))

    def _look_at_blobs(self) -> Generator[None, None, None]:
        for algorithm, name, folder in blobs(self._files):
            where = f"{algorithm}:{name}"
            try:
                digest = Digest(where)
            except UsageError:
                self._tell(FsckProblemKind.NAME, where, "it is no digest")
                continue
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                self._tell(FsckProblemKind.KIND, where, "it is no regular file")
                continue
            # What cannot be read is there all the same.
            self._there.add(packed(digest))
            try:
                yield from self._hash(digest, name, folder)
            except OSError as error:
                self._tell(FsckProblemKind.CONTENT, where, error.strerror or str(error))

    def _hash(self, digest: Digest, name: str, folder: int) -> Generator[None, None, None]:
        file = disk.open_regular(name, folder)
        hasher = digest.hasher()
        try:
            while piece := os.pread(file, _READ, hasher.size):
                hasher.update(piece)
                yield
        finally:
            os.close(file)
        yield
        self._bytes += hasher.size
        if hasher.digest() != digest:
            self._tell(FsckProblemKind.CONTENT, digest, f"{hasher.size} bytes hash to {hasher.digest()}")

    def _look_at_names(self, index: Index) -> None:
        meant: dict[str, set[Digest]] = {}
        for entry in index.entries:
            if entry.name is not None:
                meant.setdefault(entry.name, set()).add(entry.digest)
        tags: dict[str, set[Digest]] = {}
        for name, digests in meant.items():
            if (tag := tag_of(name)) is not None and tag not in meant:
                tags.setdefault(tag, set()).update(digests)
        for name, digests in [*meant.items(), *tags.items()]:
            if len(digests) > 1:
                self._tell(FsckProblemKind.AMBIGUOUS, name, f"it means {' and '.join(sorted(digests))}")

    def _look_at_manifests(self, index: Index) -> Generator[None, None, None]:
        for digest, media_type in self._state.known.walk(index):
            yield
            if packed(digest) not in self._there:
                if digest in index.by_digest:
                    self._tell(FsckProblemKind.MISSING, digest, "index.json names it")
                else:
                    self._absent.append(digest)
                continue
            self._manifests += 1
            self._look_at_manifest(index, digest, media_type)

    def _look_at_manifest(self, index: Index, digest: Digest, media_type: str) -> None:
        size = self._files.size(digest)
        entry = index.by_digest.get(digest)
        if entry is not None and entry.size != size:
            self._tell(FsckProblemKind.MANIFEST, digest, f"index.json says {entry.size} bytes, it has {size}")
        try:
            found = self._state.known.get(digest, media_type)
            references = () if found is None or media_type in INDEX_TYPES else tuple(needed(found))
        except OciError as error:
            # The look at the blobs has told of other content.
            if all(problem.where != digest for problem in self._problems):
                self._tell(FsckProblemKind.MANIFEST, digest, error.message)
            return
        for each in references:
            if packed(each) not in self._there:
                self._tell(FsckProblemKind.MISSING, each, f"manifest {digest} names it")


def _unfinished(files: Files) -> int:
    try:
        with files.directory(WORK) as inner:
            return sum(name != LOCK for name in disk.names_in(inner))
    except FileNotFoundError:
        return 0
