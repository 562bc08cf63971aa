"""Referrers on registries without the referrers API: an index under a tag that clients keep up to date themselves.

Each change reads the index, pushes it with one entry more or less, and reads it again until the change is there. Tasks
of this event loop take turns per subject; other writers are noticed by ``If-Match`` where the registry honours it, and
by the second reading elsewhere.

Spec: distribution-spec, "Referrers Tag Schema" and "Pushing Manifests with Subject".
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist.errors import (
    LimitExceededError,
    NameUnknownError,
    NotFoundError,
    OciError,
    PreconditionFailedError,
    ProtocolError,
    ResponseError,
    TransportError,
    UnsupportedError,
)
from ocidist.model.builder import build_index
from ocidist.model.manifest import ImageIndex
from ocidist.model.mediatype import OCI_INDEX
from ocidist.model.reference import Tag, known_tag
from ocidist.remote._lists import ListOf, names
from ocidist.remote._memory import ReferrersApi, referrers_api, turn
from ocidist.remote._pull import MAX_MANIFEST, fetch
from ocidist.remote._push import put
from ocidist.remote._untag import delete_tag

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel
    from ocidist.remote._pull import Fetched

MAX_ROUNDS: Final = 10
"""How often a change that another client overwrote is made again."""

MAX_PAUSE: Final = 0.2
"""Seconds waited at most, at random, before a change is made again."""


@attrs.frozen
class _State:
    """What the tag names.

    Attributes:
        index: The index, or None if the tag does not exist.
        etag: Entity tag of that answer, or None.
    """

    index: ImageIndex | None
    etag: str | None = None

    @property
    def entries(self) -> tuple[Descriptor, ...]:
        return () if self.index is None else self.index.manifests


def tag_of(subject: Digest) -> Tag:
    """Return the tag that lists the referrers of a digest."""
    return Tag(subject.referrers_tag)


async def listed(channel: Channel, subject: Digest) -> tuple[Descriptor, ...]:
    """Return the entries of a subject's index; none where the tag is missing or names something that is no index.

    Raises:
        NameUnknownError: The repository does not exist.
        LimitExceededError: What the tag names is larger than a manifest may be.
        ProtocolError: What the tag names cannot be read.
        OciError: See ``Sender.exchange``.
    """
    try:
        found = await _found(channel, tag_of(subject))
    except NameUnknownError:
        raise
    except NotFoundError:
        return ()
    if found is None or found.manifest.media_type != OCI_INDEX:
        return ()
    view = found.manifest.parse()
    return view.manifests if isinstance(view, ImageIndex) else ()


async def add(channel: Channel, subject: Digest, entry: Descriptor) -> None:
    """List a manifest among the referrers of its subject; does nothing if it is listed already.

    Raises:
        ProtocolError: The tag names something that is no index (it is left as it is), or the change is undone each
            time it is made.
        LimitExceededError: The index would become larger than a manifest may be.
        OciError: See ``Sender.exchange``.
    """

    def change(entries: tuple[Descriptor, ...]) -> tuple[Descriptor, ...] | None:
        if any(known.digest == entry.digest for known in entries):
            return None
        return (*entries, entry)

    await _update(channel, subject, change)


async def discard(channel: Channel, subject: Digest, digest: Digest) -> None:
    """Take a manifest off the list of its subject's referrers; an index left empty is removed.

    Raises:
        ProtocolError: See ``add``.
        OciError: See ``Sender.exchange``.
    """

    def change(entries: tuple[Descriptor, ...]) -> tuple[Descriptor, ...] | None:
        kept = tuple(known for known in entries if known.digest != digest)
        return None if len(kept) == len(entries) else kept

    await _update(channel, subject, change)


async def _update(
    channel: Channel,
    subject: Digest,
    change: Callable[[tuple[Descriptor, ...]], tuple[Descriptor, ...] | None],
) -> None:
    tag = tag_of(subject)
    async with turn(channel.name_of(tag)):
        for number in range(MAX_ROUNDS):
            if number > 1:
                await anyio.sleep(random.uniform(0, MAX_PAUSE))  # noqa: S311 -- spreads clients, protects nothing
            state = await _read(channel, tag)
            wanted = change(state.entries)
            if wanted is None:
                return
            await _write(channel, tag, state, wanted)
    raise ProtocolError(f"the referrers index {tag} did not keep a change in {MAX_ROUNDS} attempts").locate(
        operation="update referrers index", reference=channel.name_of(tag), host=channel.host, attempts=MAX_ROUNDS
    )


async def _read(channel: Channel, tag: Tag) -> _State:
    try:
        found = await _found(channel, tag)
    except NotFoundError:
        found = None
    if found is None:
        return _State(None)
    # Parsed in full before anything is written: an entry that cannot be read must not get lost.
    view = found.manifest.parse() if found.manifest.media_type == OCI_INDEX else None
    if not isinstance(view, ImageIndex):
        raise ProtocolError(f"the tag {tag} is not an index of referrers but {found.manifest.media_type}").locate(
            operation="update referrers index", reference=channel.name_of(tag), host=channel.host, attempts=1
        )
    return _State(view, found.etag)


async def _found(channel: Channel, tag: Tag) -> Fetched | None:
    """Return what a tag names; None if it does not exist, although the registry only says that it may not be seen.

    Artifactory says so of every tag that does not exist. Its list of tags tells. Where the referrers API may not be
    seen either, nothing may.
    """
    try:
        return await fetch(channel, tag)
    except ResponseError as error:
        absent = referrers_api(channel) is ReferrersApi.ABSENT
        if error.status != 403 or not absent or await _is_listed(channel, tag):
            raise
        return None


async def _is_listed(channel: Channel, tag: Tag) -> bool:
    """Return whether a tag is among those of its repository; True also if that cannot be told."""
    try:
        async for found in names(ListOf[Tag](channel, "tags", known_tag), after=None, page_size=None):
            if found == tag:
                return True
    except NotFoundError:
        return False
    except OciError:
        return True
    return False


async def _write(channel: Channel, tag: Tag, state: _State, entries: tuple[Descriptor, ...]) -> None:
    if not entries:
        try:
            await delete_tag(channel, tag)
        except NotFoundError:
            return
        except UnsupportedError:
            pass  # an empty index says the same
        else:
            return
    manifest = build_index(
        sorted({entry.digest: entry for entry in reversed(entries)}.values(), key=lambda entry: entry.digest),
        annotations=None if state.index is None else state.index.annotations,
    )
    if manifest.size > MAX_MANIFEST:
        raise LimitExceededError("referrers index", MAX_MANIFEST)
    # A weak tag never matches: comparing for If-Match is always strong (RFC 9110, section 13.1.1).
    current = None if state.etag is None or state.etag.startswith("W/") else state.etag
    try:
        await put(channel, tag, manifest, if_match=current)
    except (PreconditionFailedError, TransportError):
        # Someone was faster, or the answer is lost: the next reading tells.
        return
