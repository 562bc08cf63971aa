"""The tarsum: what Docker before 0.10 proved layers with, whatever order a tar archive is written in.

``tarfile`` reads the archive. What it is of is the image JSON, and of each entry the fields of its header and its
content; nothing of the archive itself.

Spec: Docker, "TarSum checksum specification", version 0.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import anyio.to_thread

from ocidist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX: Final = "tarsum+sha256:"
_PIECE: Final = 256 * 1024
# What tarfile makes of numbers, texts and headers that are none, beside its own errors.
_NO_ARCHIVE: Final = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError)


async def tarsum(image: bytes, layer: bytes | Path) -> str:
    """Return the tarsum of a layer, as ``X-Docker-Checksum`` has it. It is computed in a worker thread.

    Args:
        image: The JSON of the image.
        layer: The layer, or its file; compressed archives are read too.

    Raises:
        UsageError: The layer is no tar archive.
        OSError: The file cannot be read.
    """
    return await anyio.to_thread.run_sync(_tarsum, image, layer, abandon_on_cancel=True)


def _tarsum(image: bytes, layer: bytes | Path) -> str:
    with layer.open("rb") if isinstance(layer, Path) else io.BytesIO(layer) as file:
        try:
            sums = sorted(_sums(file))
        except _NO_ARCHIVE as error:
            raise UsageError(f"the layer is no tar archive: {error}") from None
    return _PREFIX + hashlib.sha256(image + "".join(sums).encode()).hexdigest()


def _sums(file: IO[bytes]) -> Iterator[str]:
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            found = hashlib.sha256(_header(member).encode("utf-8", "surrogateescape"))
            content = archive.extractfile(member) if member.isfile() else None
            while content is not None and (piece := content.read(_PIECE)):
                found.update(piece)
            yield found.hexdigest()


def _header(member: tarfile.TarInfo) -> str:
    name = f"{member.name}/" if member.isdir() and not member.name.endswith("/") else member.name
    fields = {
        "name": name,
        "mode": member.mode,
        "uid": member.uid,
        "gid": member.gid,
        "size": member.size,
        "mtime": int(member.mtime),
        "typeflag": member.type.decode("latin-1"),
        "linkname": member.linkname,
        "uname": member.uname,
        "gname": member.gname,
        "devmajor": member.devmajor,
        "devminor": member.devminor,
    }
    return "".join(f"{key}{value}" for key, value in fields.items())
