"""Saying of a failure which side it came from, and what was being copied."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ocidist.errors import CopyError, OciError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist.errors._transfer import Side
    from ocidist.model.digest import Digest


def copy_error(error: Exception, side: Side, digest: Digest | None, *, hint: str | None = None) -> CopyError:
    """Return the error that says of another one which side it came from; raise it from that one."""
    what = f" {digest}" if digest is not None else ""
    made = CopyError(f"at the {side.value}{what}: {error or type(error).__name__}", side, digest)
    made.operation = "copy"
    if isinstance(error, OciError):
        made.host, made.attempts = error.host, None
    if isinstance(error, ResponseError):
        made.hint = hint
    return made


@contextmanager
def blaming(side: Side, digest: Digest | None = None, *, hint: str | None = None) -> Iterator[None]:
    """Turn what fails within the block into a ``CopyError`` of this side.

    Args:
        side: Which of the two stores is worked with.
        digest: What is being copied.
        hint: What the reader can do about it, should the store refuse it.
    """
    try:
        yield
    except CopyError:
        raise
    except (OciError, OSError) as error:
        raise copy_error(error, side, digest, hint=hint) from error
