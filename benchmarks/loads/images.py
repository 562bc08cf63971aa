"""Images that are made up: very many repositories that share half of their blobs, for a server that stores nothing."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Final

BLOB_SIZE: Final = 64 * 1024
SHARED: Final = 2
"""Blobs that all images have, and as many that each has for itself."""
TAGS: Final = ("v1", "v2", "v3")
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_PREFIX: Final = "many/r"


def name_of(number: int) -> str:
    """Return the name of a repository."""
    return f"{_PREFIX}{number:04}"


class Images:
    """What the repositories hold: everything is made when it is asked for, and only digests are kept.

    Args:
        repositories: How many there are.
        size: Bytes of a blob.
    """

    def __init__(self, repositories: int, size: int = BLOB_SIZE) -> None:
        self.repositories = repositories
        self._size = size
        self._seeds: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        for seed in (*self._shared(), *(one for n in range(repositories) for tag in TAGS for one in self._own(n, tag))):
            digest = f"sha256:{hashlib.sha256(self._bytes(seed)).hexdigest()}"
            self._seeds[digest], self._digests[seed] = seed, digest

    def _bytes(self, seed: str) -> bytes:
        return random.Random(seed).randbytes(self._size)  # noqa: S311 -- noise that is the same each time

    @staticmethod
    def _shared() -> list[str]:
        return [f"shared {number}" for number in range(SHARED)]

    @staticmethod
    def _own(number: int, tag: str) -> list[str]:
        return [f"{number} {tag} {which}" for which in range(SHARED)]

    def blob(self, digest: str) -> bytes | None:
        """Return a blob."""
        seed = self._seeds.get(digest)
        return None if seed is None else self._bytes(seed)

    def manifest(self, name: str, tag: str) -> tuple[str, bytes] | None:
        """Return an image's media type and manifest, whose configuration is one of the blobs that all have."""
        number = name.removeprefix(_PREFIX)
        if tag not in TAGS or not number.isdecimal() or int(number) >= self.repositories:
            return None
        config, *layers = (
            {"mediaType": _LAYER, "digest": self._digests[seed], "size": self._size}
            for seed in (*self._shared(), *self._own(int(number), tag))
        )
        image = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}
        return _MANIFEST, json.dumps(image).encode()

    def least(self) -> int:
        """Return the requests that copying all of it takes at the least."""
        images = self.repositories * len(TAGS)
        # To read and to write a manifest; to read a blob, to begin and to end sending it; to mount it elsewhere.
        return 2 * images + 3 * (SHARED * images + SHARED) + SHARED * (self.repositories - 1)
