"""The index of a layout: what ``index.json`` says, as a value. No file is touched here.

Whatever other tools wrote stays as it is: fields nobody knows, annotations, the order. A change makes a new index.

Spec: image-spec, "Image Layout", section "index.json file".
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

import attrs

from ocidist.errors import OciError, ProtocolError
from ocidist.model import strictjson
from ocidist.model.descriptor import Descriptor
from ocidist.model.mediatype import OCI_INDEX
from ocidist.model.reference import Tag
from ocidist.storage.layout_disk import broken

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocidist.model.digest import Digest

REF_NAME: Final = "org.opencontainers.image.ref.name"
"""The annotation that names an entry. Spec: image-spec, "Annotations"."""
LAYOUT_FILE: Final = b'{"imageLayoutVersion":"1.0.0"}'
"""What ``oci-layout`` says in a new layout."""


@attrs.frozen
class Entry:
    """A descriptor in the index.

    Attributes:
        digest: What it describes.
        media_type: Media type of that.
        size: Size of that in bytes, as the index has it.
        name: Its name, or None.
        text: The JSON object as text; there may be ten thousand, and objects take five times as much memory.
    """

    digest: Digest
    media_type: str = attrs.field(converter=sys.intern)
    size: int
    name: str | None
    text: str = attrs.field(repr=False)

    @classmethod
    def of(cls, value: Mapping[str, object]) -> Self:
        """Make an entry of a JSON object.

        Raises:
            OciError: Digest, media type or size are not as they have to be.
        """
        digest, media_type, size = (value.get(key) for key in ("digest", "mediaType", "size"))
        checked = Descriptor(media_type, digest, size)  # type: ignore[arg-type]  # that is what it checks
        annotations = value.get("annotations")
        name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        named = name if isinstance(name, str) else None
        return cls(checked.digest, checked.media_type, checked.size, named, text)

    @property
    def value(self) -> dict[str, object]:
        """The JSON object."""
        found: dict[str, object] = json.loads(self.text)
        return found

    @classmethod
    def made(cls, found: Descriptor, name: str | None = None) -> Self:
        """Make an entry for content."""
        value: dict[str, object] = {"mediaType": found.media_type, "digest": str(found.digest), "size": found.size}
        return cls.of(value).named(name)

    def named(self, name: str | None) -> Self:
        """Return the same entry with another name, or with none; it keeps its other annotations."""
        if name == self.name:
            return self
        value = self.value
        annotations = value.get("annotations")
        kept = {} if not isinstance(annotations, dict) else {k: v for k, v in annotations.items() if k != REF_NAME}
        if name is not None:
            kept[REF_NAME] = name
        rest = {key: field for key, field in value.items() if key != "annotations"}
        return self.of(rest | ({"annotations": kept} if kept else {}))

    def described_as(self, found: Descriptor) -> Self:
        """Return the same entry with this media type and size."""
        if (self.media_type, self.size) == (found.media_type, found.size):
            return self
        return self.of({**self.value, "mediaType": found.media_type, "size": found.size})


@attrs.frozen
class Index:
    """An index.

    Attributes:
        top: The JSON object.
        entries: Its descriptors, in their order.
    """

    top: Mapping[str, object] = attrs.field(repr=False)
    entries: tuple[Entry, ...] = attrs.field(repr=lambda entries: f"<{len(entries)} entries>")

    @classmethod
    def empty(cls) -> Self:
        """Return the index of a new layout."""
        return cls({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, ())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an index.

        Raises:
            StorageError: It is none, or one of its descriptors is not as it has to be.
        """
        try:
            top = strictjson.loads(data, what="index.json", unique_keys=True)
        except ProtocolError as error:
            raise broken(f"the layout is damaged: {error.message}") from None
        found = top.get("manifests") if isinstance(top, dict) else None
        # Go writes null for an empty list.
        values = [] if found is None else found
        if not isinstance(top, dict) or not isinstance(values, list) or top.get("schemaVersion", 2) != 2:
            raise broken("the layout is damaged: index.json is not an image index")
        entries = tuple(_entry(number, value) for number, value in enumerate(values))
        return cls({**top, "manifests": []}, entries)

    def dump(self) -> bytes:
        """Write the index."""
        lines = ",\n".join(entry.text for entry in self.entries)
        parts = [
            f'"manifests":[\n{lines}\n]' if key == "manifests" and lines else f"{_json(key)}:{_json(value)}"
            for key, value in (dict(self.top) | {"manifests": []}).items()
        ]
        return f"{{{','.join(parts)}}}\n".encode()

    @cached_property
    def by_digest(self) -> Mapping[Digest, Entry]:
        """The first entry of each digest."""
        return {entry.digest: entry for entry in reversed(self.entries)}

    @cached_property
    def by_name(self) -> Mapping[str, Entry]:
        """The first entry of each name."""
        return {entry.name: entry for entry in reversed(self.entries) if entry.name is not None}

    @cached_property
    def tags(self) -> Mapping[Tag, Entry]:
        """What each tag names.

        A name that is a tag is one. A name like ``app:v1``, which skopeo and podman write where they are told to, is
        the tag ``v1`` where nothing else has that name; not where two names end in it that mean different content.
        """
        found = {Tag(name): entry for name, entry in self.by_name.items() if is_tag(name)}
        derived: dict[Tag, Entry | None] = {}
        for name, entry in self.by_name.items():
            tag = tag_of(name)
            if tag is None or tag in found:
                continue
            other = derived.setdefault(tag, entry)
            if other is not None and other.digest != entry.digest:
                derived[tag] = None
        return found | {tag: entry for tag, entry in derived.items() if entry is not None}

    @cached_property
    def sorted_tags(self) -> tuple[Tag, ...]:
        """The tags in ASCII order."""
        return tuple(sorted(self.tags))

    def tags_after(self, last: str | None, limit: int) -> tuple[Tag, ...]:
        """Return at most *limit* tags, those after *last* only."""
        start = 0 if last is None else bisect_right(self.sorted_tags, last)
        return self.sorted_tags[start : start + limit]

    def set(self, found: Descriptor, names: Iterable[str] = ()) -> Self:
        """Return an index that has a manifest, and lets names mean it."""
        entries = list(self.entries)
        known = found.digest in self.by_digest
        if known:
            entries = [entry.described_as(found) if entry.digest == found.digest else entry for entry in entries]
        named = self.by_name.keys()
        for name in names:
            # There may be ten thousand entries, and most names are new.
            entries = _pointed(entries, found, name) if name in named else _added(entries, found, name, known=known)
            known = True
        if not known:
            entries.append(Entry.made(found))
        return attrs.evolve(self, entries=tuple(entries))

    def without_tag(self, tag: Tag) -> Self:
        """Return an index without a tag, and without the names that would be that tag in its place.

        What it named stays.
        """
        left = self
        while (entry := left.tags.get(tag)) is not None:
            left = attrs.evolve(left, entries=tuple(_unnamed(left.entries, entry.name)))
        return left

    def without(self, digest: Digest) -> Self:
        """Return an index that does not have a manifest."""
        return attrs.evolve(self, entries=tuple(entry for entry in self.entries if entry.digest != digest))


def is_tag(name: str) -> bool:
    """Return whether a name is a tag."""
    try:
        Tag(name)
    except OciError:
        return False
    return True


def tag_of(name: str) -> Tag | None:
    """Return the tag that a full reference ends in, or None."""
    before, colon, last = name.rpartition(":")
    return Tag(last) if before and colon and "/" not in last and is_tag(last) else None


def _entry(number: int, value: object) -> Entry:
    try:
        if isinstance(value, dict):
            return Entry.of(value)
        reason = "not an object"
    except OciError as error:
        reason = str(error)
    raise broken(f"the layout is damaged: entry {number} of index.json: {reason}")


def _pointed(entries: list[Entry], found: Descriptor, name: str) -> list[Entry]:
    """Let a name mean a manifest: in the place where it meant another one, else where the manifest has no name yet."""
    places = [number for number, entry in enumerate(entries) if entry.name == name]
    if places and entries[places[0]].digest == found.digest:
        # Others of that name could only mislead those who take the last one.
        first = places[0]
        return [*entries[: first + 1], *_unnamed(entries[first + 1 :], name, entries[: first + 1])]
    return _added(_unnamed(entries, name), found, name, known=True)


def _added(entries: list[Entry], found: Descriptor, name: str, *, known: bool) -> list[Entry]:
    """Let a new name mean a manifest: an entry of its that has no name yet gets it, else there is one more."""
    for number, entry in enumerate(entries if known else ()):
        if entry.digest == found.digest and entry.name is None:
            return [*entries[:number], entry.named(name), *entries[number + 1 :]]
    return [*entries, Entry.made(found, name)]


def _unnamed(entries: Iterable[Entry], name: str | None, before: Iterable[Entry] = ()) -> list[Entry]:
    """Take a name away, and entries that then say nothing any more: their content has another one."""
    entries = list(entries)
    there = {entry.digest for entry in (*before, *entries) if entry.name != name}
    result = []
    for entry in entries:
        if entry.name != name:
            result.append(entry)
        elif entry.digest not in there:
            there.add(entry.digest)
            result.append(entry.named(None))
    return result


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
