"""Content digests: a validated string, and the hashing behind it.

Any digest that follows the grammar can be parsed, compared and sent. Only sha256 and sha512 can be computed and
verified: the algorithm names come from servers, so they never choose a function in ``hashlib``.

Spec: image-spec, "Descriptor", sections "Digests" and "Registered algorithms".
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from ocidist.errors import DigestMismatchError, DigestUnsupportedError, InvalidDigestError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DIGEST_LENGTH: Final = 1024
"""Longest digest accepted, in characters; the grammar itself has no end, and a digest becomes part of a URL."""

Buffer: TypeAlias = bytes | bytearray | memoryview

_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", re.ASCII)
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
# What nearly all are.
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_HEX_LENGTHS = {"sha256": 64, "sha512": 128, "blake3": 64}
_FUNCTIONS = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_VERIFIABLE = tuple(f"{algorithm}:" for algorithm in _FUNCTIONS)
# What a tag may not hold, once the algorithm and its encoded part are joined by "-".
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]", re.ASCII)


class Digest(str):
    """A digest such as ``sha256:6c3c...``: a string that is known to be well formed.

    It compares and hashes like the plain string.

    Args:
        value: The text to check.

    Raises:
        InvalidDigestError: The text does not follow the grammar, or a registered algorithm has the wrong length.

    Spec: image-spec, "Descriptor", section "Digests".
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Check the text; a value that is a digest already is returned as it is."""
        if type(value) is cls:
            return value
        if not isinstance(value, str):
            msg = f"a digest is a string, not {type(value).__name__}"
            raise InvalidDigestError(msg)
        if _SHA256.fullmatch(value) is None:
            _check(value)
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, value: str) -> Self:
        """Return the digest a text spells; the same as calling the class.

        Raises:
            InvalidDigestError: See the class.
        """
        return cls(value)

    @classmethod
    def of(cls, data: Buffer, algorithm: str = "sha256") -> Self:
        """Compute the digest of bytes.

        Args:
            data: The whole content.
            algorithm: ``sha256`` or ``sha512``.

        Raises:
            DigestUnsupportedError: Any other algorithm.
        """
        return str.__new__(cls, f"{algorithm}:{_function(algorithm)(data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """The part before the colon."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The part after the colon."""
        return self.partition(":")[2]

    @property
    def verifiable(self) -> bool:
        """Whether content can be checked against this digest: sha256 and sha512 only."""
        return self.startswith(_VERIFIABLE)

    @property
    def referrers_tag(self) -> str:
        """The tag under which registries without the referrers API keep the referrers of this digest.

        The algorithm is cut to 32 characters and the encoded part to 64; what a tag may not hold becomes ``-``.

        Spec: distribution-spec, "Referrers Tag Schema".
        """
        return _NOT_IN_TAG.sub("-", f"{self.algorithm[:32]}-{self.encoded[:64]}")

    def hasher(self) -> Hasher:
        """Return a fresh hasher for this digest's algorithm.

        Raises:
            DigestUnsupportedError: The digest cannot be verified.
        """
        return Hasher(self.algorithm)

    def verify(self, data: Buffer) -> None:
        """Check that bytes have this digest, computed with this digest's own algorithm.

        Args:
            data: The whole content.

        Raises:
            DigestMismatchError: They have another digest.
            DigestUnsupportedError: The digest cannot be verified.
        """
        algorithm, _, encoded = self.partition(":")
        if _function(algorithm)(data).hexdigest() != encoded:
            raise DigestMismatchError(self, Digest.of(data, algorithm), size=memoryview(data).nbytes)


class Hasher:
    """Computes a digest of content that comes in pieces.

    Args:
        algorithm: ``sha256`` or ``sha512``.

    Raises:
        DigestUnsupportedError: Any other algorithm.
    """

    __slots__ = ("_state", "algorithm", "size")

    def __init__(self, algorithm: str = "sha256") -> None:
        self._state = _function(algorithm)(b"")
        self.algorithm: str = algorithm
        self.size: int = 0

    def __repr__(self) -> str:
        return f"<Hasher {self.algorithm}, {self.size} bytes>"

    def update(self, data: Buffer) -> None:
        """Take the next piece; ``size`` grows by its length in bytes."""
        self._state.update(data)
        self.size += memoryview(data).nbytes

    def digest(self) -> Digest:
        """Return the digest of all pieces so far; more may follow."""
        return Digest(f"{self.algorithm}:{self._state.hexdigest()}")

    def copy(self) -> Hasher:
        """Return an independent hasher that saw the same pieces."""
        twin = Hasher.__new__(Hasher)
        twin._state = self._state.copy()  # noqa: SLF001 -- its own class
        twin.algorithm = self.algorithm
        twin.size = self.size
        return twin

    def __copy__(self) -> Hasher:
        return self.copy()

    def __deepcopy__(self, _memo: object) -> Hasher:
        return self.copy()


def _check(value: str) -> None:
    # The length first: no pattern sees more than this.
    if len(value) > MAX_DIGEST_LENGTH:
        msg = f"a digest has at most {MAX_DIGEST_LENGTH} characters, this one has {len(value)}"
        raise InvalidDigestError(msg)
    if _GRAMMAR.fullmatch(value) is None:
        msg = f"{value!r} is not a digest (expected algorithm:encoded, like sha256:<64 hex digits>)"
        raise InvalidDigestError(msg)
    algorithm, _, encoded = value.partition(":")
    length = _HEX_LENGTHS.get(algorithm)
    if length is not None and (len(encoded) != length or _HEX.fullmatch(encoded) is None):
        msg = f"{value!r} is not a digest: {algorithm} takes exactly {length} lower-case hex digits"
        raise InvalidDigestError(msg)


def _function(algorithm: str) -> Callable[[Buffer], hashlib._Hash]:
    try:
        return _FUNCTIONS[algorithm]
    except KeyError:
        raise DigestUnsupportedError(algorithm) from None
