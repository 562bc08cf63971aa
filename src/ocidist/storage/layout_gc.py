"""Removing what a layout does not need any more."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import UsageError
from ocidist.model.digest import Digest
from ocidist.storage import layout_disk as disk
from ocidist.storage.layout_files import BLOBS
from ocidist.storage.layout_known import MAX_MANIFEST
from ocidist.storage.layout_marks import Marks
from ocidist.storage.layout_upload import sweep
from ocidist.storage.layout_work import in_steps, run

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from ocidist.storage.layout_files import Change, Files
    from ocidist.storage.layout_index import Index
    from ocidist.storage.layout_state import State

GRACE_S: Final = 24 * 3600.0
"""Seconds for which a blob may lie there before a manifest has to name it."""
ALGORITHMS: Final = ("sha256", "sha512")
_BATCH: Final = 200


@attrs.frozen
class GcReport:
    """What a collection of garbage came to.

    Attributes:
        removed: Blobs that were removed.
        freed: Their bytes; those of blobs with other names, in other repositories, are still in use.
        kept: Blobs that nothing names, and that are too young to be removed.
        uploads: Unfinished uploads that were removed.
    """

    removed: int
    freed: int
    kept: int
    uploads: int


async def collect(state: State, *, grace: float, upload_age: float) -> GcReport:
    """Remove the blobs of a layout that nothing leads to. See ``Layout.gc``."""
    if grace < 0 or upload_age < 0:
        raise UsageError("an age is not negative")
    files = state.files
    if not await state.read(files.exists):
        return GcReport(0, 0, 0, 0)
    index = await state.read(state.need)
    marks = Marks(files)
    what = f"read {files.path}"
    await in_steps(what, marks.follow(index))
    before = time.time() - grace
    old, kept = await in_steps(what, _unmarked(files, marks, before))
    old = await in_steps(what, _without_referrers(files, marks, old))
    removed = freed = 0
    for start in range(0, len(old), _BATCH):
        batch = _Batch(marks, index, old[start : start + _BATCH], before)
        count, size = await state.change(batch.remove)
        removed, freed = removed + count, freed + size
    uploads = await run(what, sweep, files, upload_age)
    return GcReport(removed, freed, kept, len(uploads))


@attrs.frozen
class _Batch:
    """Blobs to be removed while nobody else changes the layout.

    Attributes:
        marks: What is in use.
        index: What that was found in.
        digests: The blobs.
        before: Time before which they must have been written, in seconds since the epoch.
    """

    marks: Marks
    index: Index
    digests: Sequence[Digest]
    before: float

    def remove(self, change: Change) -> tuple[int, int]:
        """Remove those that are still old and not in use; return their number and their bytes."""
        if change.index is not self.index:
            # Most of it was read before; what is new is little.
            for _ in self.marks.follow(change.index):
                pass
        removed = freed = 0
        for digest in self.digests:
            if digest in self.marks:
                continue
            with suppress(FileNotFoundError), change.files.directory(BLOBS, digest.algorithm) as folder:
                found = disk.look(digest.encoded, folder)
                if found.st_mtime < self.before:
                    disk.unlink(digest.encoded, folder)
                    removed, freed = removed + 1, freed + found.st_size
        return removed, freed


def blobs(files: Files) -> Iterator[tuple[str, str, int]]:
    """Iterate over what is in ``blobs``: algorithm, name, and the open directory it is in."""
    for algorithm in ALGORITHMS:
        with suppress(FileNotFoundError), files.directory(BLOBS, algorithm) as folder, os.scandir(folder) as entries:
            for entry in entries:
                yield algorithm, entry.name, folder


def _unmarked(files: Files, marks: Marks, before: float) -> Generator[None, None, tuple[list[Digest], int]]:
    old: list[Digest] = []
    young = 0
    for algorithm, name, folder in blobs(files):
        yield
        try:
            digest = Digest(f"{algorithm}:{name}")
            found = disk.look(name, folder)
        except (UsageError, OSError):
            continue  # ``fsck`` tells of it
        if digest not in marks:
            if found.st_mtime < before:
                old.append(digest)
            else:
                young += 1
    return old, young


def _without_referrers(files: Files, marks: Marks, old: list[Digest]) -> Generator[None, None, list[Digest]]:
    """Leave out manifests that no index lists and that refer to something in use, with what they name."""
    maybe = [digest for digest in old if _begins_like_json(files, digest)]
    more = True
    while more:
        more = False
        for digest in maybe:
            yield
            data = None if digest in marks else files.read(digest, MAX_MANIFEST)
            if data is not None and len(data) <= MAX_MANIFEST and marks.refers(data):
                yield from marks.follow_from([digest])
                more = True
    return [digest for digest in old if digest not in marks]


def _begins_like_json(files: Files, digest: Digest) -> bool:
    file = None
    try:
        file = files.open(digest)
        return file is not None and os.pread(file, 1, 0) == b"{"
    except OSError:
        return False
    finally:
        if file is not None:
            os.close(file)
