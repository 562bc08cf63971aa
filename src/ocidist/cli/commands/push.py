"""``ocidist push``."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Final

import attrs
from cyclopts import Parameter

from ocidist._io.fanout import each
from ocidist.cli import naming, sources
from ocidist.cli.connecting import connected
from ocidist.cli.failure import hinted
from ocidist.cli.files import unfit
from ocidist.cli.options import DEFAULTS, FILE, Common, FileName, Texts
from ocidist.cli.output import descriptor_value
from ocidist.errors import UsageError
from ocidist.model.builder import EMPTY_BLOB, EMPTY_DESCRIPTOR, build_artifact, build_image
from ocidist.model.descriptor import Descriptor, check_media_type
from ocidist.model.mediatype import OCI_EMPTY, OCTET_STREAM

if TYPE_CHECKING:
    from ocidist.model.manifest import Manifest
    from ocidist.remote.blobs import Blobs
    from ocidist.remote.repository import Repository

TITLE: Final = "org.opencontainers.image.title"
"""The annotation that has the name of a file."""

ARTIFACT_TYPE: Final = "application/vnd.unknown.artifact.v1"
"""Type of an artifact of which nothing is said; the one that oras uses."""

AT_ONCE: Final = 4
"""Files that are sent at once."""


@attrs.frozen
class _File:
    path: Path
    title: str
    media_type: str


async def push(
    ref: str,
    /,
    *files: Annotated[FileName, Parameter(metavar=FILE)],
    artifact_type: str | None = None,
    annotation: Texts = (),
    artifact_config: Annotated[FileName | None, Parameter(metavar=FILE)] = None,
    subject: str | None = None,
    journal: Path | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Push files as an artifact, and print its digest.

    Args:
        ref: Where to: ghcr.io/acme/data:v1; without a tag it gets none.
        files: Files, each with its media type after a colon, if that matters: report.json:application/json.
        artifact_type: What the artifact is, as a media type; the type of its configuration says so as well.
        annotation: Annotation of the artifact, key=value; repeatable.
        artifact_config: File to use as its configuration, with its media type after a colon.
        subject: Tag or digest of a manifest of the same repository that it is about; it becomes a referrer of it.
        journal: Directory that keeps where uploads are: after an interruption, the same command goes on there.
        common: Options of every verb.
    """
    named = naming.remote(ref)
    if named.digest is not None:
        raise hinted(
            UsageError(f"{ref[:200]!r} names a digest, which nobody can know before the artifact is made"),
            f"To attach files to what it names: ocidist push {named.name} FILE --subject {named.digest}",
        )
    annotations = dict(_pair(text) for text in annotation)
    kind = None if artifact_type is None else check_media_type(artifact_type)
    wanted = [await _file(text, OCTET_STREAM) for text in files]
    settings = None if artifact_config is None else await _file(artifact_config, OCTET_STREAM)
    if (reason := unfit(file.title for file in wanted)) is not None:
        # Nobody could pull that.
        raise UsageError(f"the artifact would have {reason}")
    async with connected(common, ref) as session:
        repository = session.repository(named)
        about = None if subject is None else await _subject(repository, subject)
        pushing = _Pushing(repository.blobs, journal)
        layers = await each(wanted, pushing.layer, at_once=AT_ONCE)
        described = None if settings is None else await pushing.config(settings)
        if kind is None and described is not None and described.media_type != OCI_EMPTY:
            # The media type of its configuration says what it is, as of a Helm chart.
            content = tuple(layers) or (EMPTY_DESCRIPTOR,)
            manifest = build_image(described, content, subject=about, annotations=annotations)
        else:
            manifest = build_artifact(
                kind or ARTIFACT_TYPE, layers, subject=about, annotations=annotations, config=described
            )
        await pushing.empty(manifest)
        done = await repository.manifests.push(manifest, tags=[named.tag] if named.tag else [])
        for error in done.failed.values():
            raise error
        value = {
            "reference": f"{named.name}@{manifest.digest}",
            **descriptor_value(manifest.as_referrer()),
            "tags": [str(tag) for tag in done.tags],
            "files": [{"title": layer.annotations[TITLE], **descriptor_value(layer)} for layer in layers],
        }
        await session.output.result(str(manifest.digest), value)


class _Pushing:
    def __init__(self, blobs: Blobs, journal: Path | None) -> None:
        self._blobs = blobs
        self._journal = journal

    async def layer(self, file: _File) -> Descriptor:
        found = await self._blob(file)
        return Descriptor(file.media_type, found.digest, found.size, annotations={TITLE: file.title})

    async def config(self, file: _File) -> Descriptor:
        found = await self._blob(file)
        return Descriptor(file.media_type, found.digest, found.size)

    async def empty(self, manifest: Manifest) -> None:
        if EMPTY_DESCRIPTOR in manifest.references:
            await self._blobs.push(EMPTY_BLOB, EMPTY_DESCRIPTOR)

    async def _blob(self, file: _File) -> Descriptor:
        journal = None
        if self._journal is not None:
            key = hashlib.sha256(str(file.path.absolute()).encode(errors="surrogateescape")).hexdigest()[:16]
            journal = self._journal / f"{key}.upload"
        return await self._blobs.push(file.path, journal=journal)


async def _subject(repository: Repository, text: str) -> Descriptor:
    if "/" in text:
        raise hinted(UsageError(f"{text[:200]!r} is no tag and no digest"), "The subject is in the same repository")
    return (await repository.manifests.get(text)).descriptor


async def _file(text: str, media_type: str) -> _File:
    if text == sources.STDIN:
        raise UsageError("standard input has no name: ocidist blob put stores it, as a blob")
    name, colon, kind = text.rpartition(":")
    # A name may have a colon itself; what has a slash after it, and no file of the whole name, is a media type.
    if colon and "/" in kind and not await sources.exists(Path(text)):
        media_type = check_media_type(kind)
    else:
        name = text
    path = await sources.checked(Path(name))
    return _File(path, _title(name), media_type)


def _title(name: str) -> str:
    path = PurePath(name)
    # What leads elsewhere is nobody's business where the artifact is pulled.
    title = path.name if path.is_absolute() or ".." in path.parts else path.as_posix()
    try:
        title.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the name of {title!r} is not UTF-8, and cannot be kept in a manifest") from None
    return title


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"{text[:200]!r} is no annotation: key=value")
    return key, value
