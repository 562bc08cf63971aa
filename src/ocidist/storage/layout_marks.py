"""What of a layout is in use: everything its index leads to. All of it blocks, a manifest at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist.errors import OciError, ProtocolError, UsageError
from ocidist.model import strictjson
from ocidist.model.digest import Digest
from ocidist.model.mediatype import IMAGE_TYPES, INDEX_TYPES, OCI_ARTIFACT, SCHEMA1_TYPES
from ocidist.storage.layout_known import MAX_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from ocidist.storage.layout_files import Files
    from ocidist.storage.layout_index import Index

_MANIFESTS: Final = frozenset({*IMAGE_TYPES, *INDEX_TYPES, *SCHEMA1_TYPES, OCI_ARTIFACT})


class Marks:
    """Digests that are in use. A hundred thousand take ten megabytes: they are kept as bytes, not as text.

    Args:
        files: The layout.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._marked: set[bytes] = set()
        self._read: set[bytes] = set()

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, Digest) and packed(digest) in self._marked

    def follow(self, index: Index) -> Generator[None, None, None]:
        """Mark everything that an index leads to, a manifest after the other."""
        yield from self.follow_from(entry.digest for entry in index.entries)

    def follow_from(self, digests: Iterable[Digest]) -> Generator[None, None, None]:
        """Mark manifests and everything that they lead to: what they name, and what that names."""
        left = list(digests)
        while left:
            digest = left.pop()
            short = packed(digest)
            self._marked.add(short)
            if short in self._read:
                continue
            self._read.add(short)
            for found, is_manifest in named_in(self._manifest(digest)):
                self._marked.add(packed(found))
                if is_manifest:
                    left.append(found)
            yield

    def refers(self, data: bytes) -> bool:
        """Return whether content is a manifest whose subject is marked."""
        if b'"subject"' not in data and b"\\u" not in data:
            return False
        found = _object(data)
        subject = found.get("subject")
        if not isinstance(subject, dict) or not found.keys() & {"config", "manifests", "blobs"}:
            return False
        return any(digest in self for digest, _ in named_in(subject))

    def _manifest(self, digest: Digest) -> object:
        try:
            data = self._files.read(digest, MAX_MANIFEST)
        except OSError:
            data = None
        return {} if data is None else _object(data)


def named_in(value: object) -> Iterator[tuple[Digest, bool]]:
    """Iterate over all digests that JSON names as such, each with whether it is a manifest's.

    Where they stand does not matter: what is not understood keeps too much rather than too little.
    """
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, list):
            left.extend(each)
        elif isinstance(each, dict):
            left.extend(inner for inner in each.values() if isinstance(inner, list | dict))
            for text in (each.get("digest"), each.get("blobSum")):
                if isinstance(text, str) and (digest := _digest(text)) is not None:
                    yield digest, each.get("mediaType") in _MANIFESTS


def packed(digest: Digest) -> bytes:
    """Return a digest as few bytes."""
    return bytes.fromhex(digest.encoded) if digest.verifiable else digest.encode()


def _digest(text: str) -> Digest | None:
    try:
        return Digest(text)
    except UsageError:
        return None


def _object(data: bytes) -> dict[str, object]:
    try:
        found = strictjson.loads(data, what="manifest")
    except (ProtocolError, OciError):
        return {}
    return found if isinstance(found, dict) else {}
