"""Referrers: the manifests that name another one as their subject.

The referrers API is asked first; a registry that does not serve it is remembered, and its referrers are read from the
tag that clients maintain instead.

Spec: distribution-spec, "Listing Referrers" and "Unavailable Referrers API".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist._io.pages import Paginator
from ocidist.errors import (
    AuthError,
    ChallengeError,
    MalformedManifestError,
    OciError,
    RateLimitedError,
    RedirectRefusedError,
    ResponseError,
)
from ocidist.model.manifest import ImageIndex, Manifest
from ocidist.model.mediatype import OCI_INDEX, bare
from ocidist.model.result import Page
from ocidist.remote import _referrers_tag
from ocidist.remote._answers import off_loop, says_name_unknown, unexpected
from ocidist.remote._encoding import read_plain
from ocidist.remote._memory import ReferrersApi, learn_referrers_api, referrers_api
from ocidist.wire.endpoints import ListReferrers
from ocidist.wire.paging import MAX_PAGE_BYTES, Listing, Pager

if TYPE_CHECKING:
    from ocidist.http.sender import Reply
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel

# 401 and 403 may be about these credentials, 400 about this digest: for the next request they say nothing.
_FORGOTTEN = frozenset({400, 401, 403})


class NoReferrersApiError(Exception):
    """Raised when the registry's answer is not one of the referrers API; it never leaves this package.

    Attributes:
        lasting: Whether the next request would be answered alike.
    """

    def __init__(self, *, lasting: bool) -> None:
        super().__init__("no referrers API")
        self.lasting = lasting


def list_referrers(channel: Channel, subject: Digest, artifact_type: str | None = None) -> Paginator[Descriptor]:
    """List the manifests whose subject is *subject*.

    Args:
        channel: The repository.
        subject: Digest of the manifest that is referred to; it need not exist.
        artifact_type: Only referrers of this type. Checked here in any case: registries may ignore it.

    Raises:
        NameUnknownError: The repository does not exist.
        PaginationLoopError: The pages do not end.
        ProtocolError: An answer cannot be read.
        OciError: See ``Sender.exchange``. An outage is never taken for "no referrers".
    """
    return Paginator(lambda: _Walk(channel, subject, artifact_type).next_page, what="referrers")


class _Walk:
    def __init__(self, channel: Channel, subject: Digest, artifact_type: str | None) -> None:
        self._channel = channel
        self._subject = subject
        self._artifact_type = artifact_type
        self._pager: Pager | None = None

    async def next_page(self) -> Page[Descriptor] | None:
        """Return the next page, or None after the last one. A page that failed may be asked for again."""
        if self._pager is None:
            return await self._first()
        if self._pager.request is None:
            return None
        return await self._ask(self._pager, self._pager.request.url)

    async def from_api(self) -> Page[Descriptor] | None:
        """Return the first page of the referrers API, or None if the registry does not serve it."""
        pager = Pager(n=None, policy=self._channel.sender.egress)
        if referrers_api(self._channel) is not ReferrersApi.ABSENT:
            try:
                page = await self._ask(pager, None)
            except NoReferrersApiError as error:
                if error.lasting:
                    learn_referrers_api(self._channel, ReferrersApi.ABSENT)
            else:
                learn_referrers_api(self._channel, ReferrersApi.PRESENT)
                self._pager = pager
                return page
        return None

    async def _first(self) -> Page[Descriptor]:
        page = await self.from_api()
        if page is None:
            entries = await _referrers_tag.listed(self._channel, self._subject)
            page = Page(self._matching(entries), more=False)
            self._pager = _exhausted()
        return page

    async def _ask(self, pager: Pager, page: str | None) -> Page[Descriptor]:
        endpoint = ListReferrers(
            self._channel.repository_name, self._subject, artifact_type=self._artifact_type, page=page
        )

        async def take(reply: Reply) -> tuple[dict[str, Descriptor], tuple[str, ...]]:
            kind = reply.header("Content-Type")
            data = await read_plain(reply, MAX_PAGE_BYTES, "page of referrers")
            entries = await off_loop(len(data), lambda: _entries(data, kind, first=page is None))
            fresh = pager.feed(Listing(tuple(entries)), links=reply.header_values("Link"), url=reply.url)
            return entries, fresh

        try:
            entries, fresh = await self._channel.read(endpoint, take, about=self._subject)
        except OciError as error:
            if page is None and _means_absent(error):
                raise NoReferrersApiError(lasting=_is_lasting(error)) from None
            raise
        return Page(self._matching(tuple(entries[digest] for digest in fresh)), more=pager.request is not None)

    def _matching(self, entries: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
        if self._artifact_type is None:
            return entries
        # Whatever OCI-Filters-Applied says: a filter that was applied changes nothing by being applied again.
        return tuple(entry for entry in entries if entry.artifact_type == self._artifact_type)


def _exhausted() -> Pager:
    pager = Pager()
    pager.request = None
    return pager


def _entries(data: bytes, kind: str | None, *, first: bool) -> dict[str, Descriptor]:
    try:
        manifest = Manifest.of(data, kind)
        view = manifest.parse() if manifest.media_type == OCI_INDEX else None
    except MalformedManifestError:
        # Only what calls itself an index is a broken one; anything else was not the referrers API.
        if bare(kind or "") == OCI_INDEX or not first:
            raise
        view = None
    if isinstance(view, ImageIndex):
        return {entry.digest: entry for entry in view.manifests}
    if first:
        raise NoReferrersApiError(lasting=True)
    raise unexpected("a page of referrers", kind, data)


def _means_absent(error: OciError) -> bool:
    """Return whether a failure says that the referrers API is not there, and not that something is broken.

    Registries without it answer 404, 400, 405, 406, 401 without a challenge, or redirect to a web page.
    """
    if isinstance(error, ResponseError):
        told = says_name_unknown(error) or isinstance(error, RateLimitedError)
        return not told and (error.status < 500 or error.status == 501)
    return isinstance(error, ChallengeError) or _is_lasting(error)


def _is_lasting(error: OciError) -> bool:
    if isinstance(error, ResponseError):
        return error.status not in _FORGOTTEN
    # A token server that redirects is in the way of everything, and says nothing about this.
    return isinstance(error, RedirectRefusedError) and not isinstance(error, AuthError)


async def record(channel: Channel, manifest: Manifest, subject: Digest) -> None:
    """Make sure that a pushed manifest is listed among its subject's referrers.

    For registries that did not say they processed the subject: either their referrers API lists it, or the tag has to.

    Raises:
        OciError: See ``_referrers_tag.add``.

    Spec: distribution-spec, "Pushing Manifests with Subject".
    """
    walk = _Walk(channel, subject, None)
    page = await walk.from_api()
    while page is not None:
        if any(entry.digest == manifest.digest for entry in page.items):
            return
        page = await walk.next_page()
    await _referrers_tag.add(channel, subject, manifest.as_referrer())


async def forget(channel: Channel, digest: Digest, subject: Digest) -> None:
    """Take a deleted manifest off the list of its subject's referrers, where the registry does not do so itself.

    Raises:
        OciError: See ``_referrers_tag.discard``.

    Spec: distribution-spec, "Deleting Manifests".
    """
    if await _Walk(channel, subject, None).from_api() is None:
        await _referrers_tag.discard(channel, subject, digest)
