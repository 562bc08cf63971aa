"""What the embedded registry takes at most."""

from __future__ import annotations

from typing import Final

import attrs

from ocidist.errors import UsageError

MIB: Final = 1024 * 1024


@attrs.frozen(kw_only=True)
class Limits:
    """Limits of an embedded registry.

    Attributes:
        max_manifest: Bytes of a manifest. The specification wants room for 4 MiB.
        max_blob: Bytes of a blob, or None for no limit but the store's own.
        max_uploads: Uploads under way at once, sessions that rest included; one more is answered with 429.
        max_pending: Bytes of all unfinished uploads in sessions together, or None for no limit but the store's own;
            more is answered with 507.
        upload_ttl: Seconds after which a session that nobody used is over. Its bytes are given up when the next one is
            opened.
        min_chunk: Bytes that clients are asked to send per chunk (``OCI-Chunk-Min-Length``); 0 asks nothing. Smaller
            chunks are taken all the same.
        page: Entries of a list page. ``n`` may ask for fewer.
        referrers_page: Bytes of a page of referrers; at least one referrer is on it.
        idle: Seconds a client may be silent in the middle of a request body, or take for a piece of an answer's body
            before its connection is cut.
        max_target: Characters of path and query; more are refused with 414.
        max_head: Bytes of all header fields; more are refused with 431. Servers have limits of their own besides.

    Raises:
        UsageError: A number is negative, or zero where that makes no sense.
    """

    max_manifest: int = 4 * MIB
    max_blob: int | None = None
    max_uploads: int = 1000
    max_pending: int | None = None
    upload_ttl: float = 3600
    min_chunk: int = 0
    page: int = 1000
    # Clients read manifests of at most 4 MiB, and this is one; the rest is room for the envelope.
    referrers_page: int = 4 * MIB - 4096
    idle: float = 60
    # Pushing a manifest with 64 tags is what takes most.
    max_target: int = 16 * 1024
    max_head: int = 64 * 1024

    def __attrs_post_init__(self) -> None:
        """Check the numbers."""
        for name in (
            "max_manifest", "max_uploads", "upload_ttl", "page", "referrers_page", "idle", "max_target", "max_head"
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive")
        if self.min_chunk < 0 or (self.max_blob or 0) < 0 or (self.max_pending or 0) < 0:
            raise UsageError("min_chunk, max_blob and max_pending cannot be negative")
