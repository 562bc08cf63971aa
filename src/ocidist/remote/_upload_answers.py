"""What the answers of upload sessions say, and whether a blob is there that was just pushed or mounted.

Spec: distribution-spec, "Pushing blobs".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import anyio

from ocidist.errors import DigestMismatchError, NotFoundError, ProtocolError
from ocidist.remote._answers import stated_digest
from ocidist.remote._memory import learn_profile, profile_of
from ocidist.remote._stat import stat
from ocidist.wire import upload
from ocidist.wire.egress import Origin, check_location

if TYPE_CHECKING:
    from ocidist.errors import OciError, ResponseError
    from ocidist.http.sender import Reply
    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel
    from ocidist.wire.upload import Answer
    from ocidist.wire.upload_state import UploadState

LAG_WAITS: Final = (0.2, 0.8)
"""Seconds to wait, one after the other, for a registry whose replicas do not show yet what was just pushed."""


def may_pass(error: ResponseError) -> bool:
    """Return whether a refusal may be a passing failure of the server, its effect unknown."""
    return error.status == 408 or (error.status >= 500 and error.status != 501)


def wait_of(channel: Channel, error: OciError) -> float | None:
    """Return the seconds that a refusal asks to wait, 0 if it does not; None if that is longer than anybody waits."""
    asked: float = getattr(error, "retry_after", None) or 0.0
    return asked if asked <= channel.sender.patience else None


def answer_of(channel: Channel, reply: Reply) -> Answer:
    """Return what an answer of an upload session says, its Location checked and made absolute.

    Raises:
        LocationRefusedError: The session is somewhere this client must not send to.
    """
    location = reply.header("Location")
    if location is not None:
        home = home_of(channel, reply.url)
        location = check_location(reply.url, location, channel.sender.egress, registry=home).url
    return upload.Answer(reply.status, location, reply.header("Range"), reply.header("OCI-Chunk-Min-Length"))


def home_of(channel: Channel, url: str) -> str:
    """Return the registry's own URL, as far as it can be told from a URL that is its own or somebody else's."""
    scheme = channel.sender.host_config(channel.registry).scheme or channel.registry.scheme
    return f"{scheme or Origin.of(url).scheme}://{channel.registry.api_host}"


def is_home(channel: Channel, url: str) -> bool:
    """Return whether a URL is the registry's own."""
    return Origin.of(url) == Origin.of(home_of(channel, url))


def opened(channel: Channel, reply: Reply, *, chunk_size: int, algorithm: str) -> UploadState:
    """Return the state of the session that an answer opened. Raises as ``UploadSession.begin``."""
    profile = profile_of(channel)
    state = upload.started(
        answer_of(channel, reply),
        registry=channel.host,
        repository=channel.repository_name,
        chunk_size=chunk_size,
        at=time.time(),
        algorithm=algorithm,
        profile=profile,
    )
    if state.min_chunk > profile.min_chunk and (profile.max_chunk or state.min_chunk) >= state.min_chunk:
        learn_profile(channel, min_chunk=state.min_chunk)
    return state


def check_stated(reply: Reply, digest: Digest) -> None:
    """Check the digest an answer states, as far as it can be compared.

    Raises:
        DigestMismatchError: It is of another blob.
    """
    stated = stated_digest(reply)
    if stated is not None and stated.algorithm == digest.algorithm and stated != digest:
        raise DigestMismatchError(digest, stated)


async def appeared(channel: Channel, digest: Digest, size: int | None) -> bool:
    """Return whether a blob that was just pushed or mounted is there, giving replicas a moment to show it."""
    for wait in (*LAG_WAITS, None):
        try:
            found = await stat(channel, digest, to_push=True)
        except NotFoundError:
            if wait is None:
                return False
            await anyio.sleep(wait)
        else:
            return size is None or found.size == size
    return False


def missing(channel: Channel, operation: str, digest: Digest) -> OciError:
    """Return the error for a registry that does not have what it said it has."""
    error = ProtocolError("the registry reported success but does not have the blob")
    asked = len(LAG_WAITS) + 1
    return error.locate(operation=operation, reference=channel.name_of(digest), host=channel.host, attempts=asked)
