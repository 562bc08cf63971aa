"""What a test wants a repository to hold, declared by names that it makes up; digests and sizes are filled in.

The same declarations give the same bytes, and so the same digests, on every machine and in every year. Nothing here
needs pytest, and ``push_to`` puts the content into any store: a remote repository, a layout, memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from ocidist.errors import UsageError
from ocidist.model.builder import EMPTY_BLOB, EMPTY_DESCRIPTOR, build_artifact, build_image, build_index
from ocidist.model.mediatype import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    OCTET_STREAM,
)
from ocidist.model.platform import Platform
from ocidist.model.reference import Tag
from ocidist.testing.pieces import Building, Built, Piece, blob_of, config_of, labelled, manifest_of, noise, tar_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocidist.model.descriptor import Descriptor
    from ocidist.storage import protocols
    from ocidist.testing.pieces import Make

DEFAULT_PLATFORM: Final = "linux/amd64"

_SIZE: Final = 1024
"""Bytes of a layer that nobody declared."""


class Content:
    """Declares blobs, images, indexes and artifacts by ids, in any order; every method returns the content itself.

    Ids are any strings of a test's own; they appear nowhere in the content. What an id refers to is looked up when the
    content is built, so what is used may be declared after its user.
    """

    def __init__(self) -> None:
        self._makers: dict[str, Make] = {}

    def __repr__(self) -> str:
        return f"<Content {', '.join(self._makers)}>"

    @classmethod
    def of(cls, declared: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return content that is declared as a mapping, for example read from a JSON file.

        The keys are ``blobs``, ``layers``, ``images``, ``indexes`` and ``artifacts``; each has a mapping from an id to
        the arguments of the method of that name, or to its one argument:
        ``{"blobs": {"base": b"..."}, "images": {"app": {"layers": ["base"], "tags": ["v1"]}}}``.

        Raises:
            UsageError: A key or an argument is unknown, or an id is declared twice.
        """
        found = cls()
        methods = {"blobs": "blob", "layers": "layer", "images": "image", "indexes": "index", "artifacts": "artifact"}
        for kind, entries in declared.items():
            if kind not in methods:
                raise UsageError(f"content has no {kind!r}, only {', '.join(methods)}")
            for name, given in entries.items():
                method = getattr(found, methods[kind])
                try:
                    if isinstance(given, Mapping) and kind != "layers":
                        method(name, **given)
                    else:
                        method(name, given)
                except TypeError as error:
                    raise UsageError(f"{kind}: {name!r}: {error}") from None
        return found

    def blob(
        self, name: str, data: bytes | str | None = None, *, size: int | None = None, media_type: str = OCTET_STREAM
    ) -> Self:
        """Declare a blob.

        Args:
            name: Its id.
            data: Its bytes; text is written as UTF-8.
            size: So many bytes that look random, and are the same ones each time, in the place of *data*.
            media_type: What they are; as a layer of an image, ``application/octet-stream`` becomes a layer's type.

        Raises:
            UsageError: The id is declared already, or there is not one of *data* and *size*.
        """
        if (data is None) == (size is None):
            raise UsageError(f"blob {name!r} needs either data or a size")
        raw = data.encode() if isinstance(data, str) else data
        return self._declare(name, lambda _, id_: blob_of(noise(id_, size or 0) if raw is None else raw, media_type))

    def layer(self, name: str, files: Mapping[str, bytes | str]) -> Self:
        """Declare a layer that holds files: an uncompressed tar archive, owned by root and dated 1970.

        Args:
            name: Its id.
            files: What is in them, by their paths.

        Raises:
            UsageError: The id is declared already.
        """
        packed = tar_of(files)
        return self._declare(name, lambda _, __: blob_of(packed, OCI_LAYER))

    def image(
        self,
        name: str,
        layers: Iterable[str] | None = None,
        *,
        tags: Iterable[str] = (),
        platform: str = DEFAULT_PLATFORM,
        config: Mapping[str, Any] | str | None = None,
        subject: str | Descriptor | None = None,
        annotations: Mapping[str, str] | None = None,
        media_type: str = OCI_MANIFEST,
    ) -> Self:
        """Declare an image.

        Args:
            name: Its id.
            layers: Ids of its layers, the base first; unless given it has one of a kilobyte that is its own.
            tags: Tags that name it.
            platform: What it runs on; indexes say so too.
            config: Fields of its configuration besides the platform and the layers; or the id of a blob that is the
                whole configuration.
            subject: Id of the manifest it refers to, or the descriptor of one that is elsewhere, or nowhere.
            annotations: Its annotations.
            media_type: ``OCI_MANIFEST`` or ``DOCKER_MANIFEST``, from ``ocidist.model.mediatype``.

        Raises:
            UsageError: The id is declared already, the platform is none, or a tag is none.
        """
        runs_on = Platform.parse(platform)
        used = None if layers is None else _ids(name, "layers", layers)
        wanted = _tags(tags)

        def make(building: Building, own: str) -> Piece:
            parts = [building.blob(own, layer) for layer in used or ()]
            if used is None:
                parts = [building.add(f".{own}.layer", blob_of(noise(own, _SIZE), OCI_LAYER))]
            docker = media_type == DOCKER_MANIFEST
            kind = DOCKER_CONFIG if docker else OCI_CONFIG
            if isinstance(config, str):
                settings = building.blob(own, config)
            else:
                settings = building.add(f".{own}.config", blob_of(config_of(runs_on, parts, config or {}), kind))
            manifest = build_image(
                labelled(settings.descriptor, kind),
                [labelled(part.descriptor, DOCKER_LAYER_GZIP if docker else OCI_LAYER) for part in parts],
                annotations=annotations,
                subject=building.subject(own, subject),
                media_type=media_type,
            )
            return manifest_of(manifest, wanted, runs_on)

        return self._declare(name, make)

    def index(
        self,
        name: str,
        manifests: Iterable[str],
        *,
        tags: Iterable[str] = (),
        subject: str | Descriptor | None = None,
        artifact_type: str | None = None,
        annotations: Mapping[str, str] | None = None,
        media_type: str = OCI_INDEX,
    ) -> Self:
        """Declare an index.

        Args:
            name: Its id.
            manifests: Ids of its images, artifacts and indexes, in order of preference.
            tags: Tags that name it.
            subject: Id of the manifest it refers to, or the descriptor of one that is elsewhere, or nowhere.
            artifact_type: Type of the artifact, if it is one.
            annotations: Its annotations.
            media_type: ``OCI_INDEX`` or ``DOCKER_LIST``, from ``ocidist.model.mediatype``.

        Raises:
            UsageError: The id is declared already, or a tag is none.
        """
        used = _ids(name, "manifests", manifests)
        wanted = _tags(tags)

        def make(building: Building, own: str) -> Piece:
            manifest = build_index(
                [building.manifest(own, each).descriptor for each in used],
                annotations=annotations,
                subject=building.subject(own, subject),
                artifact_type=artifact_type,
                media_type=media_type,
            )
            return manifest_of(manifest, wanted)

        return self._declare(name, make)

    def artifact(
        self,
        name: str,
        artifact_type: str = "application/vnd.example+json",
        *,
        subject: str | Descriptor | None = None,
        layers: Iterable[str] = (),
        tags: Iterable[str] = (),
        annotations: Mapping[str, str] | None = None,
    ) -> Self:
        """Declare an artifact; with a *subject* it is one of the subject's referrers.

        Args:
            name: Its id.
            artifact_type: What it is.
            subject: Id of the manifest it refers to, or the descriptor of one that is elsewhere, or nowhere.
            layers: Ids of its blobs; unless given it is empty.
            tags: Tags that name it.
            annotations: Its annotations.

        Raises:
            UsageError: The id is declared already, or a tag is none.
        """
        used = _ids(name, "layers", layers)
        wanted = _tags(tags)

        def make(building: Building, own: str) -> Piece:
            building.add(".empty", Piece(EMPTY_BLOB, EMPTY_DESCRIPTOR))
            manifest = build_artifact(
                artifact_type,
                [building.blob(own, layer).descriptor for layer in used],
                subject=building.subject(own, subject),
                annotations=annotations,
            )
            return manifest_of(manifest, wanted)

        return self._declare(name, make)

    def build(self) -> Built:
        """Return the pieces by their ids, each after what it refers to.

        Raises:
            UsageError: An id is not declared, is used for something it is not, or refers to itself in the end; or a
                manifest cannot be made of what was given.
        """
        building = Building(self._makers)
        for name in self._makers:
            building.piece(name)
        return Built(building.done)

    async def push_to(self, repository: protocols.Repository) -> Built:
        """Build the content and put it into a repository of any store.

        Args:
            repository: Where to: ``client.repository(...)``, ``MemoryRegistry().repository(...)``, or another store's.

        Returns:
            What was pushed, by its ids.

        Raises:
            UsageError: See ``build``.
            OciError: Whatever the store raises; what was pushed until then stays.
        """
        built = self.build()
        for piece in built.values():
            if piece.manifest is None:
                await repository.blobs.push(piece.data, piece.descriptor)
            else:
                await repository.manifests.push(piece.manifest, tags=piece.tags)
        return built

    def _declare(self, name: str, make: Make) -> Self:
        if not isinstance(name, str) or not name or name.startswith("."):
            raise UsageError(f"{name!r} is no id: a string that does not begin with a dot")
        if name in self._makers:
            raise UsageError(f"{name!r} is declared already")
        self._makers[name] = make
        return self


def _ids(user: str, what: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise UsageError(f"{what} of {user!r} is a collection of ids, not one string")
    return tuple(names)


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise UsageError("tags is a collection of tags, not one string")
    return tuple(str(Tag(tag)) for tag in tags)
