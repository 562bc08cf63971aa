"""``ocidist cp``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist._io.fanout import each
from ocidist._io.load import load_module
from ocidist.cli import naming
from ocidist.cli.connecting import connected
from ocidist.cli.failure import PartialFailureError, described, message_of, status_of
from ocidist.cli.options import DEFAULTS, Common, Flag, Format, Texts
from ocidist.cli.output import Value, document, encoded
from ocidist.errors import OciError, UsageError
from ocidist.observe.counting import counted, in_bytes

if TYPE_CHECKING:
    from ocidist.cli.connecting import Session
    from ocidist.model.reference import Tag
    from ocidist.storage import protocols
    from ocidist.transfer.copying import Copier
    from ocidist.transfer.places import Place
    from ocidist.transfer.report import CopyReport

TAGS_AT_ONCE: Final = 4
"""Tags that ``--all-tags`` copies at once."""


async def cp(
    source: str,
    destination: str,
    /,
    *,
    platform: Texts = (),
    referrers: Flag = False,
    digest_tags: Flag = False,
    all_tags: Flag = False,
    force: Flag = False,
    foreign_layers: Flag = False,
    common: Common = DEFAULTS,
) -> None:
    """Copy an image or an artifact, with everything it leads to, and print its digest.

    What the destination has is not sent again, and what another of its repositories has is mounted.

    Args:
        source: What to copy: ghcr.io/acme/app:v1, oci:DIR:v1, oci-archive:FILE:v1; without a tag, latest is meant.
        destination: Where to: the same forms; without a tag it gets the source's.
        platform: Copy the images for this platform only (linux/arm64); repeatable.
        referrers: Copy what refers to it, too: signatures, attestations, bills of materials.
        digest_tags: Copy what tags like sha256-....sig name, too: cosign's signatures.
        all_tags: Copy every tag of the repository.
        force: Look for all of its content at the destination, even if the manifest is there.
        foreign_layers: Copy layers that their licence keeps off most registries, too.
        common: Options of every verb.
    """
    if naming.names_registry(source) or naming.names_registry(destination):
        raise UsageError("cp copies between repositories: ocidist mirror copies registries")
    async with connected(common, source, destination) as session:
        await load_module("ocidist.transfer.copying")
        from ocidist.transfer.copying import Copier  # noqa: PLC0415 -- see ocidist.cli.commands
        from ocidist.transfer.options import CopyOptions  # noqa: PLC0415 -- see above
        from ocidist.transfer.places import open_place  # noqa: PLC0415 -- see above

        options = CopyOptions(
            platforms=platform,
            referrers=referrers,
            digest_tags=digest_tags,
            foreign_layers=foreign_layers,
            force=force,
        )
        copier = Copier(options=options, hooks=(session.view.hook,))
        await session.need(source)
        async with open_place(destination, client=session.client, write=True) as target:
            if all_tags:
                await _all_tags(session, copier, source, target)
                return
            async with open_place(source, client=session.client) as place:
                report = await copier.copy(place, target)
        # An archive is there only now.
        session.voice.say(_told(report))
        if (referrers or digest_tags) and report.digest != report.source_digest:
            session.voice.say(f"this is a part of {report.source_digest}: what refers to the whole of it is not copied")
        await session.output.result(str(report.digest), report.to_json())


def _told(report: CopyReport) -> str:
    copied = f"{counted(report.manifests_copied, 'manifest')} and {counted(report.blobs_copied, 'blob')}"
    parts = [f"{copied} ({in_bytes(report.bytes_copied)}) copied in {report.seconds:.1f} s"]
    if report.blobs_mounted:
        parts.append(f"{counted(report.blobs_mounted, 'blob')} mounted")
    if report.blobs_skipped or report.manifests_skipped:
        there = f"{counted(report.blobs_skipped, 'blob')} and {counted(report.manifests_skipped, 'manifest')}"
        parts.append(f"there already: {there}")
    if report.foreign_skipped:
        parts.append(f"{counted(report.foreign_skipped, 'foreign layer')} left out: --foreign-layers copies them")
    return f"{report.destination}: {', '.join(parts)}"


# --- every tag of a repository ---------------------------------------------------------------------------------------


async def _all_tags(session: Session, copier: Copier, source: str, target: Place) -> None:
    if target.locator is not None:
        raise UsageError(f"{target.text} names one manifest, and --all-tags copies several")
    async with session.store(source) as store:
        if store.locator is not None:
            raise UsageError(f"{source[:200]!r} names one manifest: leave that out with --all-tags")
        job = _EveryTag(session, copier, store.repository, target)
        async for page in store.repository.tags.list().pages():
            await each(page.items, job.one, at_once=TAGS_AT_ONCE)
        value: Value = {
            "source": store.name,
            "destination": target.text,
            "copied": [report.to_json() for report in job.reports],
            "failed": job.failures,
        }
        if session.output.form is Format.JSON:
            await session.output.result("", value)
    if job.failures:
        tried = len(job.failures) + job.copied
        raise PartialFailureError(f"{len(job.failures)} of {tried} tags were not copied")


class _EveryTag:
    def __init__(self, session: Session, copier: Copier, source: protocols.Repository, target: Place) -> None:
        self._session = session
        self._copier = copier
        self._source = source
        self._target = target
        self.copied = 0
        self.reports: list[CopyReport] = []
        self.failures: list[Value] = []

    async def one(self, tag: Tag) -> None:
        from ocidist.transfer.places import open_place  # noqa: PLC0415 -- see cp

        target = attrs.evolve(self._target, locator=tag, text=self._target.name_of(tag))
        async with open_place((self._source, tag), client=None) as place:
            try:
                report = await self._copier.copy(place, target)
            except (OciError, OSError) as error:
                # One tag that is gone, or broken, keeps none of the others from being copied.
                self.failures.append({"tag": str(tag), "error": described(error, status=status_of(error))})
                self._session.voice.say(f"{tag}: {message_of(error)}")
                return
        await self._tell(tag, report)

    async def _tell(self, tag: Tag, report: CopyReport) -> None:
        self.copied += 1
        match self._session.output.form:
            case Format.TEXT:
                await self._session.output.write(encoded(f"{tag} {report.digest}\n"))
            case Format.JSONL:
                await self._session.output.write(encoded(f"{document(report.to_json())}\n"))
            case Format.JSON:
                self.reports.append(report)
