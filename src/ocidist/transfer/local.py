"""Texts that name something on this machine: ``oci:DIR:name`` and ``oci-archive:FILE:name``."""

from __future__ import annotations

import attrs

from ocidist.model.digest import Digest
from ocidist.model.places import check_path
from ocidist.model.reference import Tag


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
