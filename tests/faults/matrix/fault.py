"""One line of the fault matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from tests.faults.matrix.stage import Setting

if TYPE_CHECKING:
    from ocidist import OciError
    from tests.faults.matrix.operations import Operation
    from tests.faults.matrix.rules import Rule

Errors: TypeAlias = "tuple[type[OciError], ...]"
EMBEDDED = "embedded"
DOCKER = "docker-registry"


@attrs.frozen
class Fault:
    """A fault, what is done while it happens, and what is to come of it.

    Attributes:
        row: The row of the matrix, ``F110``.
        variant: Which of the row's faults.
        operation: What is done.
        rules: What goes wrong, and when.
        expect: The errors that may be raised, one of which must be; none if it has to work.
        more: Requests beyond those that the operation takes when nothing goes wrong.
        setting: How the registry is reached.
        only: The registries where the row makes sense; empty for both.
        options: Options of the client, instead of the usual ones.
        sessions: Uploads that may be left open at the registry.
        finding: Why it does not hold today; None if it does.
    """

    row: str
    variant: str
    operation: Operation
    rules: tuple[Rule, ...]
    expect: Errors = ()
    more: int = 0
    setting: Setting = Setting.OPEN
    only: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    sessions: int = 0
    finding: str | None = None

    @property
    def label(self) -> str:
        """What it is called in results."""
        return f"{self.row} {self.variant}, {self.operation.name}"


@attrs.frozen
class Case:
    """A fault before one of the registries.

    Attributes:
        fault: The fault.
        registry: What the registry is called.
        turn: A number that decides which event loop it meets where it does not meet all of them.
    """

    fault: Fault
    registry: str
    turn: int
