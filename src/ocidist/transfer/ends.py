"""The two ends of a mirror rule: what its source names, and where its destination puts that."""

from __future__ import annotations

from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import attrs

from ocidist.errors import InvalidReferenceError, UsageError
from ocidist.model.places import ARCHIVE, DOCKER, LAYOUT, on_registry
from ocidist.model.reference import Reference, RegistryName, Tag
from ocidist.transfer.filters import is_glob, name_matcher
from ocidist.transfer.local import read_local

if TYPE_CHECKING:
    from ocidist.model.digest import Digest

MAX_TEXT: Final = 4096
"""Longest source or destination that is read, in characters: the longest path there is."""


@attrs.frozen
class Repositories:
    """One repository, or many of one registry.

    Attributes:
        registry: The registry; None for an image layout on disk.
        path: The layout's directory; in a destination for many repositories, the directory that theirs are in.
        repository: The repository; in a destination for many, what their names are put behind; empty for the registry.
        glob: What the names of the repositories match that are meant; empty where one is named.
        tag: The tag that is named, or None.
        digest: The digest that is named, or None.
    """

    registry: RegistryName | None = None
    path: str = ""
    repository: str = ""
    glob: str = ""
    tag: Tag | None = None
    digest: Digest | None = None

    @classmethod
    def source(cls, text: str) -> Self:
        """Read a source: an image, a repository, names of repositories with wildcards, a registry, or ``oci:DIR``.

        Raises:
            UsageError: It is none of these.
        """
        found = cls._read(_checked(text))
        if ":" in found.glob:
            raise UsageError("wildcards are for names of repositories: which tags are meant is said with 'tags'")
        if found.glob:
            name_matcher(found.glob)
        return attrs.evolve(found, glob="*") if found.is_registry else found

    @classmethod
    def destination(cls, text: str) -> Self:
        """Read a destination: a registry, what is put before names of repositories, a repository, or ``oci:DIR``.

        Raises:
            UsageError: It is none of these.
        """
        found = cls._read(_checked(text).rstrip("/"))
        if found.glob:
            raise UsageError("a destination has no wildcards: the names of the repositories are put behind it")
        if found.digest is not None:
            raise UsageError("a destination names no digest: it follows from the source")
        return found

    @classmethod
    def _read(cls, text: str) -> Self:
        if text.startswith(LAYOUT):
            local = read_local(text, LAYOUT)
            if "*" in local.path:
                raise UsageError("layouts have no wildcards: name one, or let ocidist.server serve their directory")
            return cls(path=local.path.rstrip("/") or "/", tag=local.tag, digest=local.digest)
        host, _, path = on_registry(text).partition("/")
        registry = _registry(host, text)
        if not path or is_glob(path):
            return cls(registry=registry, glob=path)
        found = Reference.parse(text)
        # As it is written: what is put before other names is not one of Docker Hub's own repositories.
        written = path.partition("@")[0].partition(":")[0]
        return cls(registry=registry, repository=written, tag=found.tag, digest=found.digest)

    @property
    def is_registry(self) -> bool:
        """Whether a registry is named, and nothing in it."""
        return self.registry is not None and not self.repository and not self.glob

    @property
    def is_image(self) -> bool:
        """Whether one image is named."""
        return self.tag is not None or self.digest is not None

    def __str__(self) -> str:
        if self.registry is None:
            base = f"{LAYOUT}{self.path}"
        elif self.glob or not self.repository:
            base = f"{self.registry}/{self.glob or self.repository}".removesuffix("/*").removesuffix("/")
        else:
            base = Reference(self.registry, self.repository).name
        return f"{base}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"

    @property
    def place(self) -> str:
        """What tells registries apart."""
        return (
            self.registry.identity if self.registry is not None else f"{LAYOUT}{normpath(Path(self.path).absolute())}"
        )

    def within(self, name: str) -> str:
        """Return where a repository of this name goes, for people to read and for ``Stores`` to open.

        Raises:
            InvalidReferenceError: The name is too long, there.
        """
        if self.registry is None:
            return f"{LAYOUT}{self.path}/{name}" if name else f"{LAYOUT}{self.path}"
        return Reference(self.registry, "/".join(part for part in (self.repository, name) if part)).name

    def holds(self, name: str) -> bool:
        """Return whether a repository's name is one that lies below this destination."""
        return not self.repository or name == self.repository or name.startswith(f"{self.repository}/")


def check_pair(source: Repositories, destination: Repositories) -> None:
    """Check that a destination can take what a source names.

    Raises:
        UsageError: It cannot: it names a tag for many images, or it is where the source is.
    """
    if destination.tag is not None and not source.is_image:
        raise UsageError("the destination names a tag, but the source is more than one image")
    if source.place != destination.place:
        return
    if source.glob:
        if destination.is_registry:
            raise UsageError("source and destination are the same registry: put something before the names")
        return
    here = attrs.evolve(source, registry=destination.registry)
    same = source.registry is None or here.within("") == destination.within("")
    if same and (not source.is_image or (destination.tag or source.tag) == source.tag):
        raise UsageError("source and destination are the same")


def _checked(text: str) -> str:
    if not isinstance(text, str):
        raise UsageError(f"it must be a string, not {type(text).__name__}")
    if not text or len(text) > MAX_TEXT:
        raise UsageError("it is empty" if not text else f"it has more than {MAX_TEXT} characters")
    if text.startswith(ARCHIVE):
        raise UsageError("archives are not mirrored, as each is written as a whole: copy images from and to them")
    text = text.removeprefix(DOCKER)
    if "://" in text:
        raise UsageError("a registry is named without a scheme: 'scheme' of its [hosts] table says which to use")
    return text


def _registry(host: str, text: str) -> RegistryName:
    if "." in host or ":" in host or host == "localhost" or host != host.lower():
        try:
            return RegistryName.parse(host)
        except InvalidReferenceError:
            if "/" in text:
                raise
    known = text if "/" in text else f"library/{text}"
    raise UsageError(f"it names no registry: write {f'docker.io/{known}'[:80]!r}, if that is meant")
