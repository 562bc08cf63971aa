"""ASGI's lifespan: a store that has to be entered is, for as long as the server runs."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocidist.server.exchange import Receive, Send
    from ocidist.storage.protocols import Namespace


async def live(store: Namespace, receive: Receive, send: Send) -> None:
    """Answer lifespan events until the shutdown. What the store raises at its start stops the server."""
    async with AsyncExitStack() as stack:
        while (kind := (await receive())["type"]) != "lifespan.shutdown":
            if isinstance(store, AbstractAsyncContextManager):
                await stack.enter_async_context(store)
            await send({"type": f"{kind}.complete"})
    await send({"type": "lifespan.shutdown.complete"})
