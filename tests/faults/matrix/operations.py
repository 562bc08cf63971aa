"""What a user does while something goes wrong, and how it is found out whether that came about.

What an operation did is compared with what the registry has, read past the proxy: an operation that failed must have
left either nothing or the right thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist import Client
    from tests.faults.matrix.stage import Evidence, Stage

    Run: TypeAlias = Callable[[Stage, Client], Awaitable[Evidence]]
    Prove: TypeAlias = Callable[[Stage, Evidence | None], None]


@attrs.frozen
class Operation:
    """Something to do.

    Attributes:
        name: What it is called in results.
        run: Does it.
        prove: Compares with the registry; told None when the operation failed.
        fresh: Whether it gets a repository of its own.
        prepare: Puts what it needs into that.
        of_registry: Whether it is about the registry as a whole.
    """

    name: str
    run: Run
    prove: Prove
    fresh: bool = False
    prepare: Callable[[Stage], None] = lambda _stage: None
    of_registry: bool = False

    def set_up(self, stage: Stage) -> None:
        """Get everything ready."""
        if self.fresh:
            stage.name = stage.standing.fresh()
        self.prepare(stage)
