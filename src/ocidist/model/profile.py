"""How a registry wants to be written to, where that differs from the specification."""

from __future__ import annotations

import attrs

from ocidist.errors import UsageError


@attrs.frozen
class RegistryProfile:
    """How a registry takes blobs and tags. What is not known of it is found out, and remembered by the client.

    Attributes:
        chunked: Whether it takes a blob in several chunks.
        min_chunk: Fewest bytes of every chunk but the last.
        max_chunk: Most bytes of a chunk, or None for as many as the client wants.
        max_body: Most bytes of a blob that is sent in one request, or None for any number. Larger ones go in chunks.
        exact_range: Whether the Range after a chunk tells what the registry has. Where it is stale, or only about the
            chunk, the client relies on its own counter.
        tags_by_query: Whether it sets the tags that come with a push by digest (``?tag=``); None finds out.

    Raises:
        UsageError: A number is out of range.

    Spec: distribution-spec, "Pushing a blob in chunks" and "Pushing Manifests".
    """

    chunked: bool = True
    min_chunk: int = 0
    max_chunk: int | None = None
    max_body: int | None = None
    exact_range: bool = True
    tags_by_query: bool | None = None

    def __attrs_post_init__(self) -> None:
        for name, least in (("min_chunk", 0), ("max_chunk", 1), ("max_body", 1)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
            if not whole and (value is not None or name == "min_chunk"):
                raise UsageError(f"{name} is a whole number of bytes, not {value!r}")
        if self.max_chunk is not None and self.max_chunk < self.min_chunk:
            raise UsageError(f"a chunk of at least {self.min_chunk} bytes cannot have at most {self.max_chunk}")

    def chunk_size(self, wanted: int) -> int:
        """Return the bytes per chunk: what the caller wants, within what the registry takes."""
        return max(self.min_chunk, wanted if self.max_chunk is None else min(wanted, self.max_chunk))
