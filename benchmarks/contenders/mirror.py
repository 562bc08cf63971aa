"""Copying many images that share layers: one plan for all the contenders that are libraries.

Each layer is streamed once; where another image needs it too, it is mounted from the repository that got it first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_Image = TypeVar("_Image")


class Layer(NamedTuple):
    """A blob of an image."""

    digest: str
    size: int


class Copier(Protocol[_Image]):
    """What a contender has to know: how to do each step. Repositories have the same name on either side."""

    async def image(self, name: str) -> _Image:
        """Read an image's manifest."""
        ...

    def layers(self, image: _Image) -> Iterable[Layer]:
        """Return the blobs an image names."""
        ...

    async def copy(self, name: str, layer: Layer) -> None:
        """Stream a blob from one registry to the other, verified."""
        ...

    async def mount(self, name: str, layer: Layer, source: str) -> None:
        """Mount a blob from another repository of the target."""
        ...

    async def finish(self, name: str, image: _Image) -> None:
        """Write the manifest."""
        ...


class _Arrival:
    """Where a layer will be."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = anyio.Event()


async def mirror(copier: Copier[_Image], names: Sequence[str], concurrency: int) -> None:
    """Copy the images, with so many steps under way at once."""
    limiter = anyio.CapacityLimiter(concurrency)
    arrivals: dict[str, _Arrival] = {}

    async def bring(name: str, layer: Layer) -> None:
        arrival = arrivals.get(layer.digest)
        if arrival is None:
            arrival = arrivals[layer.digest] = _Arrival(name)
            async with limiter:
                await copier.copy(name, layer)
            arrival.done.set()
        elif arrival.name != name:
            await arrival.done.wait()
            async with limiter:
                await copier.mount(name, layer, arrival.name)

    async def bring_image(name: str) -> None:
        async with limiter:
            image = await copier.image(name)
        async with anyio.create_task_group() as tasks:
            for layer in copier.layers(image):
                tasks.start_soon(bring, name, layer)
        async with limiter:
            await copier.finish(name, image)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(bring_image, name)
