"""Which failures pass, so that the same may be tried once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist.errors import (
    CopyError,
    IntegrityError,
    LimitExceededError,
    MalformedManifestError,
    OciError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    StorageError,
    TransportError,
    UploadError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeVar

    _T = TypeVar("_T")

ROUNDS: Final = 3
"""How often something is tried within one run, beyond the attempts that each request has."""

FEW: Final = 8
"""So few that it says nothing of the stores if all of them fail."""

_PASSING: Final = (
    *(IntegrityError, ProtocolError, RateLimitedError, ServerError),
    *(StorageError, TransportError, UploadError),
)
_LASTING: Final = (LimitExceededError, MalformedManifestError)


def passes(error: BaseException) -> bool:
    """Return whether a failure may be gone the next time: not if something is missing, forbidden or malformed."""
    while isinstance(error, CopyError) and error.__cause__ is not None:
        error = error.__cause__
    return isinstance(error, _PASSING) and not isinstance(error, _LASTING)


async def patiently(work: Callable[[], Awaitable[_T]]) -> _T:
    """Return what *work* returns; call it again if it fails in a way that passes.

    Raises:
        OciError: What the last call raised.
    """
    for _ in range(ROUNDS - 1):
        try:
            return await work()
        except OciError as error:
            if not passes(error):
                raise
    return await work()


async def in_rounds(items: Sequence[_T], work: Callable[[Sequence[_T]], Awaitable[Sequence[_T]]]) -> Sequence[_T]:
    """Work on items, and once more on those that failed in a way that passes.

    A round in which none of many could be done is the last: whatever is wrong, it is not about single ones.

    Args:
        items: What to work on.
        work: Called with items; returns those that are worth another attempt.

    Returns:
        Those that were still worth another attempt when there were no more rounds.
    """
    for _ in range(ROUNDS):
        left = await work(items)
        if not left or (len(left) == len(items) and len(items) > FEW):
            return left
        items = left
    return items
