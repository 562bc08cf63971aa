"""Copying a manifest with everything it leads to from one store into another.

Blobs go first, then manifests, those that others are made of before these, and tags last: whatever interrupts a copy,
no tag names something that is not complete. Nothing is kept on the disk in between: what is read is sent on.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from ocidist._io.locks import Locks
from ocidist.client import Client
from ocidist.errors import CopyError
from ocidist.model.digest import Digest
from ocidist.model.mediatype import MANIFEST_TYPES, OCI_ARTIFACT, manifest_accept
from ocidist.observe.hooks import checked
from ocidist.remote.repository import Repository
from ocidist.transfer.graph import Survey, Walk
from ocidist.transfer.moving import Mover, Outcome
from ocidist.transfer.one_copy import OneCopy
from ocidist.transfer.options import AT_ONCE, CopyOptions, Referrers
from ocidist.transfer.places import open_place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.manifest import Manifest
    from ocidist.model.platform import Platform
    from ocidist.model.reference import Tag
    from ocidist.observe.hooks import Hook
    from ocidist.transfer.places import Place, Where
    from ocidist.transfer.report import CopyReport

_ACCEPT: Final = manifest_accept(*MANIFEST_TYPES, OCI_ARTIFACT)
MAX_KEPT: Final = 4 * 1024 * 1024
"""Bytes of manifests that a job keeps after it read them, so that planning and copying read each once."""


async def copy(
    source: Where,
    destination: Where,
    *,
    client: Client | None = None,
    platforms: Iterable[Platform | str] | Platform | str | None = (),
    referrers: Referrers | bool | None = None,
    digest_tags: bool = False,
    foreign_layers: bool = False,
    force: bool = False,
    at_once: int = AT_ONCE,
    hooks: Iterable[Hook] = (),
) -> CopyReport:
    """Copy a manifest, and everything it leads to, from one store into another.

    What the destination has is not sent; what another of its repositories has is mounted, where that is known. The
    source's tag is resolved once: if it moves meanwhile, what it named at first is copied. Without a tag or digest of
    its own the destination gets the source's tag, or none if the source was named by digest.

    A copy that is cancelled or fails leaves what was copied so far, and no open upload. The next one goes on there.

    Args:
        source: What to copy: ``host/repository:tag``, ``host/repository@sha256:...``, ``oci:DIR:name``,
            ``oci-archive:FILE:name``, a ``Reference``, a store, or a pair of a store and a tag or digest.
        destination: Where to: the same forms, with a tag or a digest, not both. A directory is made where there is
            none. An archive is made anew, and takes the place of one that is there once everything is in it.
        client: Who asks registries; it is not closed. None makes one for this copy, which gives its events to *hooks*,
            too.
        platforms: See ``CopyOptions``, as for all others up to *at_once*.
        referrers: See there.
        digest_tags: See there.
        foreign_layers: See there.
        force: See there.
        at_once: See there.
        hooks: Callables that are given an event for each blob and manifest, and for the copy itself.

    Raises:
        CopyError: One of the stores failed; its cause says how, and it names the store and what was being copied.
        InvalidReferenceError: A text does not follow the grammar.
        UsageError: A place or an option cannot be used; or it is not clear which of several things in a local store is
            meant.
        StorageError: An archive cannot be opened or made.

    Spec: distribution-spec, "Pulling manifests", "Mounting a blob from another repository", "Pushing Manifests".
    """
    options = CopyOptions(
        platforms=platforms,
        referrers=referrers,
        digest_tags=digest_tags,
        foreign_layers=foreign_layers,
        force=force,
        at_once=at_once,
    )
    hooks = checked(hooks)
    copier = Copier(options=options, hooks=hooks)
    async with AsyncExitStack() as stack:
        if client is None:
            client = await stack.enter_async_context(Client(hooks=hooks))
        read = await stack.enter_async_context(open_place(source, client=client))
        write = await stack.enter_async_context(open_place(destination, client=client, write=True))
        return await copier.copy(read, write)


class Copier:
    """Copies any number of things, and sends each blob once: what one repository of a registry has, others mount.

    It belongs to one event loop; any number of its copies may be under way at once.

    Args:
        options: What is copied, unless a copy has options of its own. ``at_once`` is for all copies together.
        hooks: Callables that are given events.

    Raises:
        UsageError: A hook cannot be called.
    """

    def __init__(self, *, options: CopyOptions = CopyOptions(), hooks: Iterable[Hook] = ()) -> None:  # noqa: B008 -- a frozen value
        self._options = options
        self._mover = Mover(at_once=options.at_once, hooks=checked(hooks))
        self._locks = Locks()
        self._kept: OrderedDict[tuple[str, str, Digest], Manifest] = OrderedDict()
        self._kept_bytes = 0
        self._digest_tags: dict[tuple[str, str], tuple[Tag, ...]] = {}

    def may_have(self, registry: str, digest: Digest, repository: str) -> None:
        """Take note that a repository of a registry may have a blob: a mount from there is tried before it is sent."""
        self._mover.known.hint(registry, digest, repository)

    async def survey(self, source: Place, options: CopyOptions | None = None) -> Survey:
        """Find out what a copy would be made of. Only the source is asked; the tag is resolved for good.

        Raises:
            CopyError: See ``Walk.run``.
        """
        walk = Walk(
            source,
            options or self._options,
            read=lambda name: self._read(source, name),
            digest_tags=lambda: self._tags_like_digests(source),
        )
        return await walk.run()

    async def move(
        self, blob: Descriptor, source: Place, destination: Place, options: CopyOptions | None = None
    ) -> Outcome:
        """Let the destination have a blob, and return how it got it. See ``Mover.move``.

        Raises:
            CopyError: One of the stores failed.
        """
        return await self._mover.move(blob, source, destination, force=(options or self._options).force)

    async def copy(
        self,
        source: Place,
        destination: Place,
        options: CopyOptions | None = None,
        *,
        survey: Survey | None = None,
        absent: bool = False,
    ) -> CopyReport:
        """Copy what a place names, with everything it leads to. See the function ``copy``.

        Args:
            source: What to copy.
            destination: Where to.
            options: What is copied; None for the copier's own.
            survey: What ``survey()`` found, if it was called before.
            absent: Whether the destination is known not to have the tag, so that nobody need ask.

        Raises:
            CopyError: One of the stores failed.
        """
        began = time.monotonic()
        try:
            found = survey or await self.survey(source, options)
            one = OneCopy(self._mover, source, destination, survey=found, options=options or self._options)
            # Of several tags of one image the first one copies it.
            async with self._locks.hold(destination.registry, str(destination.repository.name), found.root.digest):
                return await one.run(began, absent=absent)
        except CopyError as error:
            error.reference = f"{source.text} -> {destination.text}"
            raise

    async def _read(self, source: Place, name: Tag | Digest) -> Manifest:
        base = (source.registry, str(source.repository.name))
        if isinstance(name, Digest) and (kept := self._kept.get((*base, name))) is not None:
            return kept
        if isinstance(name, Digest) and isinstance(source.repository, Repository):
            # Named by digest, nothing can come in another form: what was withdrawn is taken, too.
            found = await source.repository.manifests.get(name, accept=_ACCEPT)
        else:
            found = await source.repository.manifests.get(name)
        key = (*base, found.digest)
        if key not in self._kept:
            self._kept[key] = found
            self._kept_bytes += found.size
        while self._kept_bytes > MAX_KEPT:
            self._kept_bytes -= self._kept.popitem(last=False)[1].size
        return found

    async def _tags_like_digests(self, source: Place) -> tuple[Tag, ...]:
        key = (source.registry, str(source.repository.name))
        async with self._locks.hold(key):
            if key not in self._digest_tags:
                self._digest_tags[key] = tuple(
                    [
                        tag
                        async for tag in source.repository.tags.list()
                        if tag.startswith(("sha256-", "sha512-")) and "." in tag
                    ]
                )
        return self._digest_tags[key]
