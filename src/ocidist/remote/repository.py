"""A remote repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.errors import UsageError
from ocidist.model.builder import EMPTY_BLOB, EMPTY_DESCRIPTOR, build_artifact
from ocidist.model.descriptor import Descriptor, check_media_type
from ocidist.model.manifest import Manifest
from ocidist.model.reference import Reference
from ocidist.remote._channel import Channel
from ocidist.remote._pull import fetch
from ocidist.remote._targets import digest_of, tag_or_digest
from ocidist.remote.blobs import Blobs
from ocidist.remote.manifests import Manifests
from ocidist.remote.referrers import list_referrers
from ocidist.remote.tags import Tags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocidist._io.pages import Paginator
    from ocidist.engine.inspection import DistributionInspect
    from ocidist.model.digest import Digest
    from ocidist.model.reference import RepositoryName, Tag
    from ocidist.model.result import PushResult
    from ocidist.remote.registry import Registry


class Repository:
    """A repository on a registry. Get it from ``Client.repository`` or ``Registry.repository``; making one does no I/O.

    Raises:
        InvalidReferenceError: Host and name together are too long.
    """

    def __init__(self, registry: Registry, channel: Channel, name: RepositoryName) -> None:
        self._registry = registry
        self._reference = Reference(channel.registry, name)
        # Not the name as it was given: on Docker Hub "alpine" is "library/alpine".
        full = self._reference.repository
        self._channel = Channel(channel.sender, channel.registry, full, channel.credential)
        self._blobs = Blobs(channel.sender, channel.registry, full, channel.credential)
        self._manifests = Manifests(self._channel)
        self._tags = Tags(self._channel, self._manifests, self._blobs)

    def __repr__(self) -> str:
        return f"<Repository {self._channel.name_of()}>"

    @property
    def name(self) -> RepositoryName:
        """Its name within its registry."""
        return self._reference.repository

    @property
    def reference(self) -> Reference:
        """Registry and repository, without tag and digest; see ``Reference.with_tag``."""
        return self._reference

    @property
    def registry(self) -> Registry:
        """The registry it is on."""
        return self._registry

    @property
    def blobs(self) -> Blobs:
        """Its blobs."""
        return self._blobs

    @property
    def manifests(self) -> Manifests:
        """Its manifests."""
        return self._manifests

    @property
    def tags(self) -> Tags:
        """Its tags."""
        return self._tags

    def referrers(
        self, subject: Digest | Descriptor | Manifest | str, *, artifact_type: str | None = None
    ) -> Paginator[Descriptor]:
        """List the manifests whose subject is *subject*: signatures, attestations, bills of materials.

        Where the registry does not serve the referrers API, they are read from the index that clients maintain.

        Args:
            subject: The manifest that is referred to, or its digest or descriptor; it need not exist.
            artifact_type: Only referrers of this type. Checked here in any case: registries may ignore it.

        Raises:
            InvalidDigestError: The subject is no digest.
            NameUnknownError: There is no such repository.
            LimitExceededError: An index is too large.
            LinkRefusedError: The registry sends the client elsewhere for the next page.
            PaginationLoopError: The pages do not end.
            ProtocolError: An answer cannot be read.
            OciError: Another failure, see the error's class. An outage is never taken for "no referrers".

        Spec: distribution-spec, "Listing Referrers".
        """
        return list_referrers(self._channel, digest_of(subject), artifact_type)

    async def attach(
        self,
        subject: Descriptor | Manifest | Digest | str,
        *,
        artifact_type: str,
        layers: Sequence[Descriptor | bytes] = (),
        annotations: Mapping[str, str] | None = None,
        config: Descriptor | None = None,
    ) -> PushResult:
        """Build an artifact that refers to a manifest, and push it.

        Args:
            subject: The manifest to refer to. Named by a descriptor it need not exist yet; named by a digest or a tag
                it is read first.
            artifact_type: Media type that says what the artifact is.
            layers: Its content: descriptors of blobs that are in the repository, or bytes, which are pushed and get the
                artifact's own type as media type. Without any, the empty blob takes their place.
            annotations: Arbitrary metadata.
            config: Descriptor of a blob in the repository; None for the empty blob.

        Returns:
            The artifact's descriptor; ``subject`` is set where the registry keeps the list of referrers itself.

        Raises:
            UsageError: The artifact type is not a media type, or the layers are not descriptors or bytes.
            ManifestUnknownError: The subject, named by digest or tag, does not exist.
            OciError: See ``Blobs.push`` and ``Manifests.push``.

        Spec: image-spec, "Image Manifest", section "Guidelines for Artifact Usage".
        """
        check_media_type(artifact_type)
        _check_layers(layers)
        target = await self._describe(subject)
        parts = [await self._layer(layer, artifact_type) for layer in layers]
        manifest = build_artifact(artifact_type, parts, subject=target, annotations=annotations, config=config)
        if EMPTY_DESCRIPTOR in manifest.references:
            await self._blobs.push(EMPTY_BLOB, EMPTY_DESCRIPTOR)
        return await self._manifests.push(manifest)

    async def inspect(self, reference: Tag | Digest | str) -> DistributionInspect:
        """Describe an image as the Docker Engine does for one that it did not pull: its manifest, and what it runs on.

        The platforms are those an index lists, else the one in the image's configuration, which is read for that.
        Artifacts have none.

        Args:
            reference: Tag or digest.

        Raises:
            ManifestUnknownError: There is no such manifest.
            OciError: See ``Manifests.get`` and ``Blobs.get``.

        Spec: Docker Engine API v1.44, "Get image information from the registry".
        """
        from ocidist.remote._inspect import inspect  # noqa: PLC0415 -- the Engine's types load on first use

        return await inspect(self._manifests, self._blobs, reference)

    async def _describe(self, subject: Descriptor | Manifest | Digest | str) -> Descriptor:
        if not isinstance(subject, Descriptor | Manifest):
            # What HEAD says is not proven, and would be written down for good.
            subject = (await fetch(self._channel, tag_or_digest(subject))).manifest
        if isinstance(subject, Manifest):
            subject = subject.descriptor
        return Descriptor(subject.media_type, subject.digest, subject.size)

    async def _layer(self, layer: Descriptor | bytes, artifact_type: str) -> Descriptor:
        if isinstance(layer, Descriptor):
            return layer
        described = Descriptor.of(layer, artifact_type)
        await self._blobs.push(layer, described)
        return described


def _check_layers(layers: Sequence[Descriptor | bytes]) -> None:
    if isinstance(layers, str | bytes) or not all(isinstance(layer, Descriptor | bytes) for layer in layers):
        raise UsageError("layers are given as a list of descriptors or bytes: layers=[b'...']")
