"""Talking to an ASGI application without a server in between."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocidist.server import RegistryApp


@attrs.define
class Answer:
    """What an application answered.

    Attributes:
        status: HTTP status; 0 if there was no answer.
        headers: Header fields by lower-case name.
        pieces: The body, as it was handed over.
        complete: Whether the body was said to be complete.
    """

    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    pieces: list[bytes] = attrs.field(factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    @property
    def code(self) -> str:
        """The first code of an error body."""
        code: str = json.loads(self.body)["errors"][0]["code"]
        return code


async def call(
    app: RegistryApp,
    method: str,
    target: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: Sequence[bytes] = (b"",),
    gone_after: int | None = None,
    leave_early: bool = False,
    root: str = "",
) -> Answer:
    """Send a request and return the answer.

    Args:
        app: The application.
        method: HTTP method.
        target: Path and query.
        headers: Header fields.
        body: Pieces of the body.
        gone_after: The client closes after so many pieces of its body.
        leave_early: The client closes after the first piece of the answer's body.
        root: Where the application is mounted.
    """
    answer = Answer()
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": root + path,
        "root_path": root,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    incoming = [
        {"type": "http.request", "body": piece, "more_body": number < len(body)} for number, piece in enumerate(body, 1)
    ]
    if gone_after is not None:
        incoming = [*incoming[:gone_after], {"type": "http.disconnect"}]
    left = anyio.Event()

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop(0)
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        answer.pieces.append(message.get("body", b""))
        answer.complete = not message.get("more_body", False)
        if leave_early:
            left.set()
        await anyio.lowlevel.checkpoint()

    await app(scope, receive, send)
    return answer
