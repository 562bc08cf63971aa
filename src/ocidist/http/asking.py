"""One endpoint's exchange, as remote objects hold it open: its answer, and errors that say where they happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ocidist.errors import OciError
from ocidist.http.message import forget_frames, scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ocidist.http.mirrors import Ask
    from ocidist.http.reply import HttpReply
    from ocidist.http.sender import Call
    from ocidist.model.reference import RegistryName
    from ocidist.wire.endpoints import Endpoint


class Asking:
    """One endpoint's exchange with a registry, for ``async with``.

    Args:
        ask: Sends the endpoint, to a mirror or to the registry itself.
        registry: The registry.
        endpoint: The endpoint.
        call: The operation.
        reference: Returns what it is about, for errors.
    """

    __slots__ = ("_ask", "_call", "_endpoint", "_reference", "_registry", "_reply")

    def __init__(
        self,
        ask: Ask,
        registry: RegistryName,
        endpoint: Endpoint,
        call: Call,
        reference: Callable[[], str] | None,
    ) -> None:
        self._ask = ask
        self._registry = registry
        self._endpoint = endpoint
        self._call = call
        self._reference = reference
        self._reply: HttpReply | None = None

    async def __aenter__(self) -> HttpReply:
        try:
            self._reply = await self._ask(self._registry, self._endpoint, self._call)
        except OciError as error:
            raise self._told(error) from error.__cause__
        except anyio.get_cancelled_exc_class() as error:
            forget_frames(error)
            raise
        return self._reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._reply is not None:
            await self._reply.aclose()
        if isinstance(error, OciError):
            raise self._told(error) from error.__cause__

    def _told(self, error: OciError) -> OciError:
        reference = None if self._reference is None else self._reference()
        attempts = None if self._reply is None else self._reply.attempts
        operation, host = self._endpoint.operation, str(self._registry)
        return scrubbed(error.locate(operation=operation, reference=reference, host=host, attempts=attempts))
