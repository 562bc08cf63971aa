"""Failures of mirroring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ocidist.errors._base import OciError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocidist.transfer.mirror_report import MirrorReport


class MirrorFileError(UsageError):
    """Raised when a file that says what is mirrored cannot be read, or holds what cannot be used.

    Attributes:
        path: The file.
        key: The key within it (``mirror[3].tags.semver``, counted from 0), or None if it is about the file as a whole.
        reason: What is wrong with it.
        line: The line it stands on, counted from 1, or None where that is not known.
    """

    def __init__(self, path: object, reason: str, *, key: str | None = None, line: int | None = None) -> None:
        where = f"{path}" if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {reason}" if key is None else f"{where}: {key}: {reason}")
        self.path: str = str(path)
        self.key: str | None = key
        self.reason: str = reason
        self.line: int | None = line


class MirrorError(OciError, ExceptionGroup[OciError]):
    """Raised when something could not be mirrored, after everything else was: a group of all that failed.

    Attributes:
        report: What was done, and what failed.
    """

    report: MirrorReport

    def __new__(cls, message: str, failures: Sequence[OciError], report: MirrorReport) -> Self:
        """Make the group."""
        made = super().__new__(cls, message, failures)
        made.report = report
        return made

    def __init__(self, message: str, failures: Sequence[OciError], report: MirrorReport) -> None:
        # Not the root's: a group has its message from the beginning, and it cannot be set.
        ExceptionGroup.__init__(self, message, failures)
        self.operation: str | None = "mirror"
        self.reference: str | None = None
        self.host: str | None = None
        self.attempts: int | None = None
        self.mirrors: tuple[str, ...] = ()
        self.report = report

    def derive(self, excs: Sequence[OciError], /) -> Self:  # type: ignore[override]  # a group of the same kind
        """Return a group of some of the failures, as ``except*`` needs it."""
        return type(self)(self.message, excs, self.report)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, list(self.exceptions), self.report)
