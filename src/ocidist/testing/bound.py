"""Content that knows the registry it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist.testing.content import Content

if TYPE_CHECKING:
    from ocidist.testing.pieces import Built
    from ocidist.testing.registry import LoopbackRegistry

DEFAULT_REPOSITORY: Final = "test/app"


class BoundContent(Content):
    """Content for one registry. Get it from the fixture ``oci_content``.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: LoopbackRegistry) -> None:
        super().__init__()
        self._registry = registry

    def push(self, repository: str = DEFAULT_REPOSITORY) -> Built:
        """Put what is declared so far into a repository of the registry; see ``LoopbackRegistry.add``.

        Args:
            repository: Its name; it need not exist.

        Returns:
            What was put there, by its ids.

        Raises:
            UsageError: The content refers to what it does not have, or in a circle.
            InvalidReferenceError: The name is none.
        """
        return self._registry.add(repository, self)
