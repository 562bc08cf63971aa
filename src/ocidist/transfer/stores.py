"""The stores of a mirror by their texts: ``host/repository`` and ``oci:DIR``."""

from __future__ import annotations

from os.path import realpath
from typing import TYPE_CHECKING

import anyio.to_thread
import attrs

from ocidist.errors import UsageError
from ocidist.model.digest import Digest
from ocidist.model.places import LAYOUT
from ocidist.model.reference import Reference
from ocidist.storage.layout import Layout
from ocidist.transfer.places import Place

if TYPE_CHECKING:
    from ocidist.client import Client
    from ocidist.model.reference import RegistryName, Tag
    from ocidist.storage import protocols


class Stores:
    """Opens repositories; a layout is opened once, so that all who write to it know of each other.

    Args:
        client: Who asks registries.
    """

    def __init__(self, client: Client | None) -> None:
        self.client: Client | None = client
        self._layouts: dict[str, Layout] = {}
        self._known: dict[str, str] = {}
        self._registries: dict[str, RegistryName] = {}

    async def known_as(self, text: str) -> str:
        """Return the text by which a repository was asked for first: one directory has many paths, a registry two."""
        if not text.startswith(LAYOUT):
            found = Reference.parse(text)
            return Reference(self._spelled(found.registry), found.repository).name
        path = await anyio.to_thread.run_sync(realpath, text.removeprefix(LAYOUT))
        return self._known.setdefault(path, text)

    def spell(self, registry: RegistryName) -> None:
        """Take note of how a registry is spelled, unless it is known by another spelling already."""
        self._spelled(registry)

    def _spelled(self, registry: RegistryName) -> RegistryName:
        scheme = None if self.client is None else self.client.sender.host_config(registry).scheme
        return self._registries.setdefault(attrs.evolve(registry, scheme=scheme).identity, registry)

    def repository(self, text: str) -> protocols.Repository:
        """Return a repository; does no I/O.

        Raises:
            UsageError: The text names none.
        """
        if text.startswith(LAYOUT):
            if text not in self._layouts:
                self._layouts[text] = Layout(text.removeprefix(LAYOUT))
            return self._layouts[text]
        if self.client is None:
            raise UsageError(f"a client is needed to ask for {text}")
        return self.client.repository(Reference.parse(text))

    def place(self, text: str, locator: Tag | Digest | None) -> Place:
        """Return what is meant in a repository, as ``Copier`` takes it.

        Raises:
            UsageError: The text names no repository.
        """
        suffix = "" if locator is None else f"@{locator}" if isinstance(locator, Digest) else f":{locator}"
        repository = self.repository(text)
        if isinstance(repository, Layout):
            return Place(repository, locator, f"{LAYOUT}{repository.path.absolute()}", f"{text}{suffix}")
        return Place(repository, locator, Reference.parse(text).registry.identity, f"{text}{suffix}")
