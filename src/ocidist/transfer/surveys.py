"""What was found out of images, kept from planning until they are copied, and shared by the tags of one image."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import attrs

from ocidist._io.flight import SingleFlight

if TYPE_CHECKING:
    from ocidist.client import Client
    from ocidist.model.digest import Digest
    from ocidist.transfer.copying import Copier
    from ocidist.transfer.graph import Survey
    from ocidist.transfer.options import CopyOptions
    from ocidist.transfer.places import Place

MAX_KEPT: Final = 8 * 1024 * 1024
"""About how many bytes of surveys are kept; what is older is found out again, mostly from manifests that are kept."""
_MANIFEST: Final = 1024
_BLOB: Final = 512


class Surveys:
    """Makes surveys, and keeps some.

    Args:
        copier: Makes them.
    """

    def __init__(self, copier: Copier) -> None:
        self._copier = copier
        self._kept: OrderedDict[tuple[object, ...], Survey] = OrderedDict()
        self._bytes = 0
        self._flights: SingleFlight[Survey] = SingleFlight()

    async def of_tag(self, source: Place, options: CopyOptions) -> Survey:
        """Return a survey of what a tag names now.

        Raises:
            CopyError: The source cannot be read.
        """
        found = await self._copier.survey(source, options)
        self._keep(_key(source, found.source_digest, options), found)
        return found

    async def of(self, source: Place, digest: Digest, options: CopyOptions) -> Survey:
        """Return a survey of a manifest; the same one to all who ask for it.

        Raises:
            CopyError: The source cannot be read.
        """
        key = _key(source, digest, options)
        if key in self._kept:
            return self._kept[key]

        async def survey() -> Survey:
            found = await self._copier.survey(source, options)
            self._keep(key, found)
            return found

        return await self._flights.do(key, survey)

    def _keep(self, key: tuple[object, ...], survey: Survey) -> None:
        if key not in self._kept:
            self._kept[key] = survey
            self._bytes += _size(survey)
        while self._bytes > MAX_KEPT:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


@attrs.frozen
class Recalled:
    """What is remembered of making a plan.

    Attributes:
        surveys: What images are made of; None if nothing is remembered.
        absent: Destinations that did not have the tag a moment ago.
        seconds: How long it took to make the plan.
        fresh: Whether what the plan says of destinations was true a moment ago.
    """

    surveys: Surveys | None = None
    absent: frozenset[str] = frozenset()
    seconds: float = 0.0
    fresh: bool = attrs.field(default=False, kw_only=True)


class Memory:
    """What was learned while a plan was made: only good for the client that it was made with.

    Args:
        client: That client.
        surveys: What images are made of.
        absent: Destinations that did not have the tag a moment ago.
        seconds: How long it took.
    """

    def __init__(self, client: Client | None, surveys: Surveys, absent: set[str], seconds: float) -> None:
        self._client = client
        self._surveys = surveys
        self._absent = absent
        self._seconds = seconds
        self._fresh = True

    def recall(self, client: Client | None) -> Recalled:
        """Return what a client may use; what is only true for a moment is returned once."""
        if client is not self._client:
            return Recalled()
        if not self.is_first_use():
            return Recalled(self._surveys)
        return Recalled(self._surveys, frozenset(self._absent), self._seconds, fresh=True)

    def is_first_use(self) -> bool:
        """Return whether the plan is done for the first time, and take note that it is."""
        fresh, self._fresh = self._fresh, False
        return fresh


def _key(source: Place, digest: Digest, options: CopyOptions) -> tuple[object, ...]:
    return (source.registry, str(source.repository.name), digest, options)


def _size(survey: Survey) -> int:
    """Return about how many bytes a survey takes."""
    return sum(_MANIFEST + manifest.size for manifest in survey.manifests.values()) + _BLOB * len(survey.blobs)
