"""A mirror's plan: small frozen tasks that any machine can do, in any order, any number of times."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self
from zlib import crc32

import attrs

from ocidist import errors
from ocidist.errors import CopyError, OciError, ProtocolError, ResponseError, UsageError
from ocidist.errors._transfer import Side
from ocidist.model import strictjson
from ocidist.model.descriptor import Descriptor, check_size
from ocidist.model.digest import Digest
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.model.places import LAYOUT
from ocidist.model.reference import Reference, Tag
from ocidist.transfer.options import CopyOptions
from ocidist.transfer.plan_json import json_object, options_from_json, options_to_json, texts, typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ocidist.transfer.shard import Shard

VERSION: Final = 1
"""Version of the JSON form."""
MAX_AT_ONCE: Final = 1024
"""Most images or blobs that are on their way at any moment."""


@lru_cache(maxsize=4096)
def registry_of(repository: str) -> str:
    """Return which registry a repository's text (``host/repository``, ``oci:DIR``) belongs to.

    Raises:
        UsageError: It names no repository, or something in one.
    """
    if repository.startswith(LAYOUT):
        return repository
    found = Reference.parse(repository)
    if found.tag is not None or found.digest is not None:
        raise UsageError(f"{repository[:200]!r} is not a repository but something in one")
    return found.registry.identity


def check_at_once(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    """Check how many of something may be on their way.

    Raises:
        UsageError: It is not from 1 to ``MAX_AT_ONCE``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_AT_ONCE:
        raise UsageError(f"{attribute.name} must be a whole number from 1 to {MAX_AT_ONCE}")


@attrs.frozen
class PlannedBlob:
    """A blob that a task needs.

    Attributes:
        digest: Its digest.
        size: Its size in bytes.
    """

    digest: Digest = attrs.field(converter=Digest)
    size: int = attrs.field(converter=check_size)

    @property
    def descriptor(self) -> Descriptor:
        """The blob as a descriptor, its media type left open."""
        return Descriptor(OCTET_STREAM, self.digest, self.size)


@attrs.frozen(kw_only=True)
class CopyTask:
    """One thing to be copied: after it, the destination has what the source had when the plan was made.

    Doing it again does no harm and moves nothing.

    Attributes:
        repository: The repository to copy from: ``host/repository`` or ``oci:DIR``.
        source_digest: What the source's tag named when the plan was made; what is copied, whatever it names later.
        source_tag: That tag, or None if the source was named by digest.
        destination_repository: The repository to copy to.
        tag: The tag it gets there, or None to have it by digest only.
        digest: Digest of what the destination has afterwards; another one where only some platforms are wanted.
        options: What is copied along.
        blobs: The blobs that it needs, as far as they are known.
        present: Whether the destination had it when the plan was made; it is looked at again if that is a while ago.
    """

    repository: str
    source_digest: Digest
    source_tag: Tag | None = None
    destination_repository: str
    tag: Tag | None = None
    digest: Digest
    options: CopyOptions = attrs.field(factory=CopyOptions)
    blobs: tuple[PlannedBlob, ...] = ()
    present: bool = False

    @property
    def key(self) -> str:
        """What tells tasks apart: ``digest@destination``."""
        return f"{self.digest}@{self.destination}"

    @property
    def source(self) -> str:
        """The source for people to read: with the tag if there is one."""
        tag = "" if self.source_tag is None else f":{self.source_tag}"
        return f"{self.repository}{tag}@{self.source_digest}"

    @property
    def destination(self) -> str:
        """The destination: ``host/repository:tag``, or with a digest where there is no tag."""
        if self.tag is None:
            return f"{self.destination_repository}@{self.digest}"
        return f"{self.destination_repository}:{self.tag}"

    @property
    def registry(self) -> str:
        """The registry to copy to."""
        return registry_of(self.destination_repository)

    @property
    def size(self) -> int:
        """Bytes of the blobs that are known."""
        return sum(blob.size for blob in self.blobs)


@attrs.frozen
class DeleteTask:
    """A tag to be deleted, because the source has it no more.

    Attributes:
        repository: The repository it is in.
        tag: The tag.
        digest: What it named when the plan was made: naming something else, it stays. None deletes it all the same.
    """

    repository: str
    tag: Tag = attrs.field(converter=Tag)
    digest: Digest | None = None

    @property
    def key(self) -> str:
        """What tells tasks apart."""
        return f"delete@{self.repository}:{self.tag}"

    @property
    def destination(self) -> str:
        """The tag with its repository."""
        return f"{self.repository}:{self.tag}"


@attrs.frozen
class MirrorFailure:
    """Something that could not be mirrored.

    Attributes:
        source: What was to be read: an image, or a repository or registry of which nothing is known but its name.
        destination: Where it was to go.
        error: Why it did not.
        repository: The repository that it was to go to; empty where that is not known, or there are several.
    """

    source: str
    destination: str
    error: OciError = attrs.field(eq=lambda error: (type(error), str(error)))
    repository: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the failure as plain values."""
        side = getattr(self.error, "side", None)
        found: dict[str, object] = {
            "source": self.source,
            "destination": self.destination,
            "error": type(self.error).__name__,
            "message": str(self.error),
        }
        return found if side is None else found | {"side": side.value}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what ``to_json`` returned. The error has its class, and its text as its only argument.

        Raises:
            UsageError: It is something else.
        """
        names = ("source", "destination", "error", "message", "side", "repository")
        fields = {name: typed(text, str, name) for name, text in json_object(value, "a failure", names).items()}
        error = _error(fields.get("error", ""), fields.get("message", ""), fields.get("side"))
        return cls(fields.get("source", ""), fields.get("destination", ""), error, fields.get("repository", ""))

    def __str__(self) -> str:
        what = f"{self.source} -> {self.destination}" if self.source else self.destination
        return f"{what}: {self.error}"


def _error(name: str, message: str, side: str | None) -> OciError:
    """Return an error of a class that is named; of what it was about, the text alone is known."""
    kind = getattr(errors, name, OciError)
    if not isinstance(kind, type) or not issubclass(kind, OciError) or issubclass(kind, BaseExceptionGroup):
        kind = OciError
    if issubclass(kind, CopyError):
        made: OciError = OciError(message) if side is None else CopyError(message, Side(side))
    else:
        made = kind.__new__(kind)
        if isinstance(made, ResponseError):
            ResponseError.__init__(made, 0)
        OciError.__init__(made, message)
    # It is in the text already.
    made.hint = None
    return made


@attrs.frozen(kw_only=True, getstate_setstate=False)
class MirrorPlan:
    """What has to be done for a mirror, as it was when the plan was made. It holds no credentials.

    Attributes:
        config: Which configuration it was made from, see ``MirrorConfig.digest``.
        images_at_once: Images that are on their way at any moment.
        blobs_at_once: Blobs of all of them together that are on their way at any moment.
        tasks: What to copy, in the order that is best: the largest first.
        deletions: Tags to delete.
        failures: What cannot be mirrored: it was not there, or could not be read.
        warnings: What somebody should look at.
        shared: Blobs that several repositories of a registry need, by registry and digest, with the repository that
            gets each first, so that the others can mount it from there.

    Raises:
        UsageError: A number is out of range.
    """

    config: Digest
    images_at_once: int = attrs.field(validator=check_at_once)
    blobs_at_once: int = attrs.field(validator=check_at_once)
    tasks: tuple[CopyTask, ...] = ()
    deletions: tuple[DeleteTask, ...] = ()
    failures: tuple[MirrorFailure, ...] = ()
    warnings: tuple[str, ...] = ()
    shared: Mapping[str, Mapping[Digest, str]] = attrs.field(factory=dict)
    # What was learned while it was made, for whoever does it in the same process; no part of the value.
    _memory: object = attrs.field(default=None, eq=False, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in attrs.fields(MirrorPlan) if field.name != "_memory"}

    def __setstate__(self, state: Mapping[str, object]) -> None:
        for name, value in {**state, "_memory": None}.items():
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """Bytes of all blobs that have to be at their destinations, those that are there already included."""
        found = {(task.registry, blob.digest): blob.size for task in self.tasks for blob in task.blobs}
        return sum(found.values())

    def part_of(self, shard: Shard) -> Self:
        """Return what of the plan a shard does, and what it reports.

        What failed and is about no repository may be about any shard's: whoever made the plan has it alone.
        """
        return attrs.evolve(
            self,
            tasks=tuple(task for task in self.tasks if shard.owns(task.destination_repository)),
            deletions=tuple(task for task in self.deletions if shard.owns(task.repository)),
            failures=tuple(each for each in self.failures if not each.repository or shard.owns(each.repository)),
        )

    def to_json(self) -> str:
        """Return the plan as JSON, for another process or machine."""
        blobs = {blob.digest: blob.size for task in self.tasks for blob in task.blobs}
        numbers = {digest: number for number, digest in enumerate(blobs)}
        return json.dumps(
            {
                "version": VERSION,
                "config": self.config,
                "images_at_once": self.images_at_once,
                "blobs_at_once": self.blobs_at_once,
                "blobs": list(blobs.items()),
                "tasks": [_task_to_json(task, numbers) for task in self.tasks],
                "deletions": [[task.repository, task.tag, task.digest] for task in self.deletions],
                "failures": [failure.to_json() | {"repository": failure.repository} for failure in self.failures],
                "warnings": list(self.warnings),
                "shared": self.shared,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            UsageError: It is something else.
        """
        try:
            return cls(**_fields(strictjson.loads(text, what="plan", unique_keys=True)))
        except ProtocolError as error:
            raise UsageError(error.message) from None
        except (ValueError, LookupError) as error:
            told = error.message if isinstance(error, OciError) else type(error).__name__
            raise UsageError(f"it is no plan of a mirror: {told}") from None


def _task_to_json(task: CopyTask, numbers: Mapping[Digest, int]) -> dict[str, object]:
    fields: dict[str, object] = {
        "from": [task.repository, task.source_digest, task.source_tag],
        "to": [task.destination_repository, task.digest, task.tag],
        "blobs": [numbers[blob.digest] for blob in task.blobs],
    }
    options = options_to_json(task.options)
    return fields | ({"options": options} if options else {}) | ({"present": True} if task.present else {})


def task_to_json(task: CopyTask) -> dict[str, object]:
    """Return one task as plain values, with all that is needed to do it."""
    blobs = [[blob.digest, blob.size] for blob in task.blobs]
    return _task_to_json(attrs.evolve(task, blobs=()), {}) | {"blobs": blobs}


def task_from_json(value: object) -> CopyTask:
    """Return the task that ``task_to_json`` wrote.

    Raises:
        UsageError: It is something else.
    """
    fields = dict(json_object(value, "a task", ("from", "to", "blobs", "options", "present")))
    blobs = tuple(_blobs(fields.pop("blobs", [])))
    return _task(fields | {"blobs": list(range(len(blobs)))}, blobs)


def _blobs(value: object) -> Iterator[PlannedBlob]:
    for pair in typed(value, list, "blobs"):
        digest, size = typed(pair, list, "a blob")
        yield PlannedBlob(Digest(digest), size)


def _task(value: object, blobs: tuple[PlannedBlob, ...]) -> CopyTask:
    fields = json_object(value, "a task", ("from", "to", "blobs", "options", "present"))
    repository, source_digest, source_tag = typed(fields["from"], list, "from")
    destination, digest, tag = typed(fields["to"], list, "to")
    return CopyTask(
        repository=_repository(repository),
        source_digest=Digest(source_digest),
        source_tag=None if source_tag is None else Tag(source_tag),
        destination_repository=_repository(destination),
        digest=Digest(digest),
        tag=None if tag is None else Tag(tag),
        options=options_from_json(fields.get("options", {})),
        blobs=tuple(blobs[_index(number)] for number in typed(fields["blobs"], list, "blobs")),
        present=typed(fields.get("present", False), bool, "present"),
    )


def _repository(value: object) -> str:
    found: str = typed(value, str, "a repository")
    registry_of(found)
    return found


def _index(value: object) -> int:
    number: int = typed(value, int, "a blob's number")
    if number < 0:
        raise UsageError("a blob's number is negative")
    return number


def _deletion(value: object) -> DeleteTask:
    repository, tag, digest = typed(value, list, "a deletion")
    return DeleteTask(_repository(repository), Tag(tag), None if digest is None else Digest(digest))


_NAMES: Final = (
    *("version", "config", "images_at_once", "blobs_at_once", "blobs"),
    *("tasks", "deletions", "failures", "warnings", "shared"),
)


def _fields(value: object) -> dict[str, Any]:
    # Before anything else: another version has other keys.
    if typed(value, dict, "it").get("version") != VERSION:
        raise UsageError("it was made by another version of ocidist, or is none")
    fields = json_object(value, "it", _NAMES)
    blobs = tuple(_blobs(fields["blobs"]))
    shared = {
        registry: {Digest(digest): typed(home, str, "a home") for digest, home in typed(homes, dict, "shared").items()}
        for registry, homes in typed(fields["shared"], dict, "shared").items()
    }
    return {
        "config": Digest(typed(fields["config"], str, "config")),
        "images_at_once": typed(fields["images_at_once"], int, "images_at_once"),
        "blobs_at_once": typed(fields["blobs_at_once"], int, "blobs_at_once"),
        "tasks": tuple(_task(task, blobs) for task in typed(fields["tasks"], list, "tasks")),
        "deletions": tuple(map(_deletion, typed(fields["deletions"], list, "deletions"))),
        "failures": tuple(MirrorFailure.from_json(each) for each in typed(fields["failures"], list, "failures")),
        "warnings": tuple(texts(fields["warnings"], "warnings")),
        "shared": shared,
    }


def shared_blobs(tasks: Iterable[CopyTask]) -> dict[str, dict[Digest, str]]:
    """Return the blobs that several repositories of a registry need, each with the repository that gets it first.

    One that has it already is taken if there is one; else they are spread over the repositories, and are the same
    wherever this is computed from the same tasks.
    """
    needed: dict[str, dict[Digest, dict[str, bool]]] = {}
    for task in tasks:
        if task.destination_repository.startswith(LAYOUT):
            continue
        registry = needed.setdefault(task.registry, {})
        for blob in task.blobs:
            homes = registry.setdefault(blob.digest, {})
            homes[task.destination_repository] = homes.get(task.destination_repository, False) or task.present
    return {
        registry: found
        for registry, blobs in needed.items()
        if (found := {digest: _home(digest, homes) for digest, homes in sorted(blobs.items()) if len(homes) > 1})
    }


def _home(digest: Digest, homes: Mapping[str, bool]) -> str:
    # The score only has to be the same everywhere, and to be had millions of times.
    return max(homes, key=lambda home: (homes[home], crc32(home.encode(), crc32(digest.encode())), home))
