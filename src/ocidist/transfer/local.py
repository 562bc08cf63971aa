"""Texts that name something on this machine: ``oci:DIR:name`` and ``oci-archive:FILE:name``."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import attrs

from ocidist.errors import NameUnknownError
from ocidist.model.digest import Digest
from ocidist.model.places import ARCHIVE, check_path
from ocidist.model.reference import Tag
from ocidist.storage.answers import refusal

if TYPE_CHECKING:
    from pathlib import Path

_MARKER: Final = "oci-layout"


@attrs.frozen
class Local:
    """Something in a store on this machine.

    Attributes:
        path: The store.
        name: What is named in it, which need not be a tag; None for nothing.
        digest: The digest that is named in it, or None.
    """

    path: str
    name: str | None = None
    digest: Digest | None = None

    @property
    def tag(self) -> Tag | None:
        """The name as a tag.

        Raises:
            InvalidReferenceError: It is none.
        """
        return None if self.name is None else Tag(self.name)


def read_local(text: str, prefix: str) -> Local:
    """Read what stands behind a prefix: ``PATH``, ``PATH:name`` or ``PATH@digest``.

    As skopeo does it, names may hold colons, and paths may not.

    Raises:
        InvalidReferenceError: There is no path.
        InvalidDigestError: The digest is none.
    """
    rest = text.removeprefix(prefix)
    path, at, digest = rest.rpartition("@")
    if at and digest.partition(":")[0] in {"sha256", "sha512"}:
        found = Local(path, digest=Digest(digest))
    else:
        path, _, name = rest.partition(":")
        found = Local(path, name or None)
    check_path(found.path, text)
    return found


async def need_layout(path: Path) -> None:
    """Say it of a directory that is to be read and is no image layout.

    Raises:
        NameUnknownError: There is none; the message says what is there instead.
    """
    reason = await anyio.to_thread.run_sync(_lacking, path)
    if reason is not None:
        raise refusal(NameUnknownError, 404, reason)


def _lacking(path: Path) -> str | None:
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode):
            return f"{path} is a file, and no image layout: an archive of one is {ARCHIVE}{path}"
        if stat.S_ISDIR(found.st_mode) and not os.path.lexists(path / _MARKER):
            return f"{path} is no image layout: it has no file {_MARKER}; if layouts lie below it, name one of them"
    except FileNotFoundError:
        return f"there is no directory {path}"
    except (OSError, ValueError):
        # Whoever reads it tells what is wrong with it.
        return None
    return None
