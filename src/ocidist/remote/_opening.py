"""Requests that may open an upload session: whoever gives up while the answer is on its way leaves none behind.

Spec: distribution-spec, "Pushing blobs".
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from ocidist._io.body import BytesBody, WatchedBody
from ocidist.errors import OciError
from ocidist.wire.endpoints import CancelUpload

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist.http.sender import Reply
    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel
    from ocidist.wire.endpoints import Endpoint
    from ocidist.wire.upload_state import UploadState

_Opened = TypeVar("_Opened", bound="UploadState | None")

CANCEL_S: Final = 2.0
"""Seconds that ending a session may take; nobody waits longer for a registry that does not answer."""
GRACE_S: Final = 1.0
"""Seconds that a cancellation waits for the answer to a request that may have opened a session."""


async def open_session(
    channel: Channel,
    endpoint: Endpoint,
    take: Callable[[Reply], _Opened],
    *,
    body: WatchedBody | None = None,
    about: Digest | None = None,
) -> _Opened:
    """Send a request that may open a session, and return where it stands; None if it opened none.

    A cancellation ends it at once while it waits for its turn, for a token or for a connection. Once the last byte was
    sent, the registry may have opened a session of which nobody would ever know: then the answer is waited for, for
    ``GRACE_S`` seconds, and the session is ended.

    Args:
        channel: The repository.
        endpoint: What to send.
        take: Makes a state of the answer.
        body: What is sent with it.
        about: The digest the operation is on, for error messages.

    Raises:
        OciError: See ``Sender.exchange``, and what *take* raises.
    """
    sent = body or WatchedBody(BytesBody(b""))
    answered = anyio.Event()
    failure: Exception | None = None
    found: list[_Opened] = []
    hold = anyio.CancelScope()

    async def ask() -> None:
        nonlocal failure
        try:
            with hold:
                async with channel.exchange(endpoint, body=sent, about=about) as reply:
                    found.append(take(reply))
        except Exception as error:  # noqa: BLE001 -- raised again where the caller waits
            failure = error
        finally:
            answered.set()

    sent.on_end = lambda: setattr(hold, "shield", True)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            try:
                await answered.wait()
            except BaseException:
                hold.deadline = anyio.current_time() + GRACE_S
                raise
    except BaseException:
        for state in found:
            if state is not None:
                await end_session(channel, state, within=GRACE_S)
        raise
    if failure is not None:
        raise failure
    return found[0]


async def end_session(channel: Channel, state: UploadState, *, within: float) -> None:
    """End a session, as far as that works within so many seconds, whether or not the caller is cancelled."""
    with anyio.move_on_after(within, shield=True), suppress(OciError):
        async with channel.exchange(CancelUpload(state.repository, state.location)):
            pass
