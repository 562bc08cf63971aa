"""Tar archives of a layout, as files: where each blob lies in one, and how one is written. All of it blocks.

Nothing is unpacked. ``tarfile`` reads the headers; what an archive has no reason to hold is refused before anything is
read: links, devices, sparse files, names that lead elsewhere, names that come twice, sizes beyond the archive's end.

Spec: image-spec, "Image Layout"; POSIX, "ustar Interchange Format".
"""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING, Final

from ocidist.errors import ArchiveError, UsageError
from ocidist.model.digest import Digest
from ocidist.storage import layout_disk as disk
from ocidist.storage.layout_files import INDEX, MARKER, MAX_INDEX, MAX_MARKER, check_marker
from ocidist.storage.layout_index import Index

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

BLOCK: Final = tarfile.BLOCKSIZE
MAX_MEMBERS: Final = 1_000_000
"""Entries of an archive that are looked at."""
MAX_HEADER: Final = 1024 * 1024
"""Bytes of a header that are read."""
_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_PLAIN: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})


class ArchiveFile:
    """An archive: an open file, and where in it the blobs are.

    Args:
        path: Where it is, for messages.
        file: Its descriptor.

    Attributes:
        path: See above.
        file: See above.
        index: What the index says, or None before it is known.
        places: Offset and size of each blob.
        end: Offset of the first byte that belongs to no entry.
    """

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file
        self.index: Index | None = None
        self.places: dict[Digest, tuple[int, int]] = {}
        self.end: int = 0

    def load(self) -> Index | None:
        """Return what the index says."""
        return self.index

    def exists(self) -> bool:
        """Return whether the archive is open."""
        return self.index is not None

    @property
    def known_index(self) -> Index:
        """What the index says, of an archive that is open."""
        if self.index is None:
            raise UsageError("this archive is not open")
        return self.index

    def size(self, digest: Digest) -> int | None:
        """Return a blob's size, or None if it is not there."""
        place = self.places.get(digest)
        return None if place is None else place[1]

    def read(self, digest: Digest, limit: int) -> bytes | None:
        """Return a blob's bytes, and no more than one beyond a limit, or None."""
        place = self.places.get(digest)
        return None if place is None else self._read(place, limit)

    def section(self, digest: Digest) -> tuple[int, int, int] | None:
        """Return a new descriptor, an offset and a size for reading a blob, or None."""
        place = self.places.get(digest)
        return None if place is None else (os.dup(self.file), *place)

    def remove(self, digest: Digest) -> bool:  # noqa: ARG002 -- nothing is removed from an archive
        """Return False."""
        return False

    def _read(self, place: tuple[int, int], limit: int) -> bytes:
        offset, size = place
        wanted, found = min(size, limit + 1), bytearray()
        while len(found) < wanted:
            piece = os.pread(self.file, min(MAX_HEADER, wanted - len(found)), offset + len(found))
            if not piece:
                raise self.bad("it ends early")
            found += piece
        return bytes(found)

    def bad(self, reason: str) -> ArchiveError:
        """Return the error to raise."""
        return ArchiveError(f"{self.path} is not an archive that can be read: {reason}")

    def scan(self) -> Generator[None, None, None]:
        """Find out what is where, an entry after the other.

        Raises:
            ArchiveError: It is no archive of a layout, is compressed, or holds what it has no reason to.
            StorageError: The layout in it is damaged.
        """
        begin = os.pread(self.file, 8, 0)
        for magic, name in _COMPRESSED.items():
            if begin.startswith(magic):
                raise self.bad(f"it is compressed with {name}: blobs in it have no place; decompress it first")
        total = os.fstat(self.file).st_size
        special: dict[str, tuple[int, int]] = {}
        seen: set[str] = set()
        yield
        for member in self._members():
            yield
            name = self._name(member)
            if name in seen and not member.isdir():
                raise self.bad(f"{name!r} is in there twice")
            seen.add(name)
            if len(seen) > MAX_MEMBERS:
                raise self.bad(f"it has more than {MAX_MEMBERS} entries")
            if member.isdir():
                continue
            if member.offset_data + member.size > total:
                raise self.bad(f"{name!r} ends after the archive")
            place = member.offset_data, member.size
            if name in {INDEX, MARKER}:
                special[name] = place
            elif (digest := _digest(name)) is not None:
                self.places[digest] = place
        self._understand(special, seen)

    def _understand(self, special: dict[str, tuple[int, int]], seen: set[str]) -> None:
        for name, limit in ((MARKER, MAX_MARKER), (INDEX, MAX_INDEX)):
            if name not in special:
                raise self.bad(f"it holds no {name}{_instead(name, seen)}")
            if special[name][1] > limit:
                raise self.bad(f"its {name} has {special[name][1]} bytes")
        check_marker(self._read(special[MARKER], MAX_MARKER), self.path)
        self.index = Index.parse(self._read(special[INDEX], MAX_INDEX))

    def _members(self) -> Generator[tarfile.TarInfo, None, None]:
        with io.FileIO(self.file, "r", closefd=False) as file:
            try:
                with tarfile.open(fileobj=_Careful(file), mode="r:") as tar:
                    while (member := tar.next()) is not None:
                        # It remembers all it has seen.
                        tar.members.clear()  # type: ignore[attr-defined]  # the documented attribute has no type
                        yield member
            except (tarfile.TarError, ValueError, OverflowError) as error:
                raise self.bad(str(error)) from None

    def _name(self, member: tarfile.TarInfo) -> str:
        if member.issparse() or not (member.isdir() or member.type in _PLAIN):
            raise self.bad(f"{member.name!r} is a link, a device or a sparse file")
        parts = [part for part in member.name.split("/") if part not in {"", "."}]
        if member.name.startswith("/") or ".." in parts or "\0" in member.name:
            raise self.bad(f"{member.name!r} leads elsewhere")
        return "/".join(parts)

    # --- writing -----------------------------------------------------------------------------------------------------

    def header(self, name: str, size: int) -> bytes:
        """Return the header of an entry; its length depends on the name alone."""
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o644
        # GNU's form has room for any size in its first block, so that it can be filled in later.
        return entry.tobuf(tarfile.GNU_FORMAT)

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Write a small entry and return where its content is.

        Raises:
            OSError: It cannot be written.
        """
        header = self.header(name, len(data))
        disk.write_all(self.file, header + data + bytes(-len(data) % BLOCK), self.end)
        place = self.end + len(header), len(data)
        self.end = place[0] + len(data) + -len(data) % BLOCK
        return place

    def finish(self) -> None:
        """Write the index and what ends an archive.

        Raises:
            OSError: It cannot be written.
        """
        if self.index is not None:
            self.add(INDEX, self.index.dump())
        disk.write_all(self.file, bytes(2 * BLOCK), self.end)
        disk.truncate(self.file, self.end + 2 * BLOCK)


class _Careful(io.RawIOBase):
    """A file that does not hand out more at once than a header may have: ``tarfile`` reads what they say they have."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            message = "a header is too large"
            raise tarfile.ReadError(message)
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def member_name(digest: Digest) -> str:
    """Return the name of a blob in an archive."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _digest(name: str) -> Digest | None:
    parts = name.split("/")
    if len(parts) != len(("blobs", "algorithm", "encoded")) or parts[0] != "blobs":
        return None
    try:
        return Digest(f"{parts[1]}:{parts[2]}")
    except UsageError:
        # Other files may be there; they are of no use here.
        return None


def _instead(wanted: str, names: set[str]) -> str:
    """Return what an archive may be that has no file of a layout."""
    if any(name.endswith(f"/{wanted}") for name in names):
        return " at its top: pack what is in the layout's directory, not the directory itself"
    if "manifest.json" in names:
        return ": it is one of Docker's own, as docker save made them before Docker 25"
    return ""
