"""Files that commands write: never over what is there unless told so, never outside of where they were sent."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from ocidist._io.files import AtomicFile
from ocidist.cli.failure import hinted
from ocidist.errors import StorageError
from ocidist.remote.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest
    from ocidist.storage import protocols

MAX_NAME: Final = 1024
"""Characters of the name of a file."""


async def download(repository: protocols.Repository, blob: Descriptor | Digest, path: Path) -> Descriptor:
    """Write a blob to a file, which appears only once it is proven.

    Raises:
        StorageError: It cannot be written.
        OciError: The blob cannot be read, or is not what it should be.
    """
    if isinstance(repository, Repository):
        return await repository.blobs.download(blob, path)
    async with AtomicFile(path) as file, repository.blobs.open(blob) as reader:
        async for chunk in reader:
            await file.write(chunk)
        await file.commit()
        return reader.descriptor


def refuse_existing(path: Path) -> None:
    """Raise if there is a file already; blocks.

    Raises:
        StorageError: There is one, or nothing can be there.
    """
    try:
        is_there = os.path.lexists(path)
    except ValueError as error:
        raise StorageError(f"cannot write {path}: {error}") from None
    if is_there and path.is_dir():
        raise StorageError(f"cannot write {path}: it is a directory")
    if is_there:
        raise hinted(StorageError(f"{path} is there already"), "--force replaces it")


def unfit(names: Iterable[str]) -> str | None:
    """Return what keeps files from being written under these names, all below one directory; None if nothing does.

    They have to be relative, to stay below it, to be shown on any terminal, and to leave room for each other.
    """
    seen: set[PurePosixPath] = set()
    for name in names:
        path = PurePosixPath(name)
        bad = not name or len(name) > MAX_NAME or not name.isprintable() or "\\" in name
        if bad or path.is_absolute() or ".." in path.parts or path == PurePosixPath():
            return f"a file called {name[:200]!r}, and no such file is written anywhere"
        if path in seen:
            return f"two files called {name[:200]!r}"
        seen.add(path)
    for path in seen:
        inside = next((parent for parent in path.parents if parent in seen), None)
        if inside is not None:
            return f"a file called {str(inside)!r}, and others within it"
    return None


def place_for(folder: Path, name: str, *, force: bool) -> Path:
    """Return where a file of a safe name goes; blocks.

    Raises:
        StorageError: There is one already and *force* is off; or its directory is a link.
    """
    path = folder.joinpath(*PurePosixPath(name).parts)
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        if (folder / parent).is_symlink():
            # It may lead anywhere.
            raise StorageError(f"cannot write {path}: {folder / parent} is a link")
    if not force:
        refuse_existing(path)
    elif path.is_dir() and not path.is_symlink():
        raise StorageError(f"cannot write {path}: it is a directory")
    return path


def make_directory(path: Path) -> None:
    """Make a directory, if it is missing; blocks.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {path}: {error.strerror or error}") from None
