"""What servers of version 1 say, as values: what is in there was checked when it was read.

Spec: Docker, "Registry & Index Spec"; "Docker Registry API v1".
"""

from __future__ import annotations

import enum
import json
import re
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import LimitExceededError, MalformedManifestError, ProtocolError, UsageError
from ocidist.legacy._line import MAX_SHOWN
from ocidist.model.digest import Digest
from ocidist.model.reference import HUB_INDEX, are_tags, known_tag
from ocidist.model.schema1 import V1Image, is_image_id
from ocidist.wire.redact import clean_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CONFIG_FILE: Final = ".dockercfg"
"""The file in the home directory that credentials were kept in; ``AuthFile.load`` reads it still."""

INDEX_SERVER: Final[str] = HUB_INDEX
"""Docker Hub's index: who there is, what repositories there are, and where they are kept."""

REGISTRY_SERVER: Final = "https://registry-1.docker.io/v1/"
"""Docker Hub's registry of version 1, which is not there any more."""

MAX_IMAGES: Final = 100_000
"""Images of one repository that are read."""

MAX_ANCESTRY: Final = 1024
"""Images, one upon the other, that are read; Docker itself never took more than 127."""

MAX_ENDPOINTS: Final = 16
"""Registries that an index may name."""

MAX_TOKEN: Final = 8192
"""Longest token that is taken, in characters, and longest field of cookies."""

_TOKEN_WORD: Final = "Token "  # noqa: S105 -- the name of a scheme
# Not the tarsum, "tarsum+sha256:...", which stands beside it where a client of before 0.10 pushed the layer.
_CHECKSUM: Final = re.compile(r"(?<![+\w])sha256:[0-9a-f]{64}(?!\w)", re.ASCII)


class APIVersion(enum.IntEnum):
    """A version of Docker's registry API; prints as it is written in URLs."""

    V1 = 1
    V2 = 2

    def __str__(self) -> str:
        return f"v{int(self)}"


DEFAULT_API_VERSION: Final = APIVersion.V1


@attrs.frozen
class RegistryInfo:
    """What a server of version 1 says of itself.

    Attributes:
        version: Its own version, empty if it does not say.
        standalone: Whether it is its own index: it knows users, or lets everybody in. Else an index gives out tokens.
    """

    version: str = ""
    standalone: bool = True


def check_image_id(value: str) -> str:
    """Return an identifier of an image.

    Raises:
        UsageError: It is not 64 hexadecimal digits.
    """
    if is_image_id(value):
        return value
    raise UsageError(f"an image is named by 64 hexadecimal digits, not {str(value)[:80]!r}")


@attrs.frozen(kw_only=True)
class ImageData:
    """An image of a repository, as an index lists it.

    Attributes:
        id: The image's identifier.
        checksum: Its tarsum, or empty: what Docker before 0.10 proved layers with.
        checksum_payload: Digest of image JSON and layer together, or empty; it is never in the list.
        tag: A tag that names it, or empty.

    Raises:
        UsageError: The identifier is not 64 hexadecimal digits.
    """

    id: str = attrs.field(converter=check_image_id)
    checksum: str = ""
    checksum_payload: str = ""
    tag: str = ""


@attrs.frozen(kw_only=True)
class RepositoryData:
    """What an index says about a repository: its images, which registries have it, and a token for those.

    Attributes:
        repository: The repository.
        index: Root of the index that said it. The token is good for the registries that came with it, and goes to none
            else.
        images: Its images, in no order; indexes list more than the repository has.
        endpoints: Roots of the registries, ``https://host/v1/``.
        tokens: What to show there; masked in ``repr``.
    """

    repository: str
    index: str
    images: tuple[ImageData, ...] = ()
    endpoints: tuple[str, ...] = attrs.field(repr=lambda urls: repr(tuple(map(redact_url, urls))))
    tokens: tuple[str, ...] = attrs.field(default=(), repr=lambda tokens: repr(("***",) * len(tokens)))


@attrs.frozen
class ImageJson:
    """The JSON of an image, as it came; nothing proves it.

    Attributes:
        data: The bytes.
        size: Size of the layer in bytes as the registry has it, or None.
        checksums: Digests of image JSON and layer together that the registry has.
    """

    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")
    size: int | None = None
    checksums: tuple[Digest, ...] = ()

    def parse(self) -> V1Image:
        """Return what it says.

        Raises:
            MalformedManifestError: It is no image JSON.
        """
        try:
            text = self.data.decode()
        except UnicodeDecodeError:
            raise MalformedManifestError("an image JSON is UTF-8") from None
        return V1Image.parse(text)


@attrs.frozen
class LayerChecksums:
    """What proves a layer, computed while it was sent.

    Attributes:
        payload: Digest of image JSON and layer together.
        size: Bytes of the layer.
    """

    payload: Digest
    size: int


# --- reading ---------------------------------------------------------------------------------------------------------


def images_of(value: object) -> tuple[ImageData, ...]:
    """Read an index's list of images.

    Raises:
        ProtocolError: It is no such list.
        LimitExceededError: It is too long.
    """
    if not isinstance(value, list):
        raise ProtocolError("the images of a repository are a list")
    if len(value) > MAX_IMAGES:
        what = "list of images"
        raise LimitExceededError(what, MAX_IMAGES)
    return tuple(map(_image, value))


def _image(value: object) -> ImageData:
    if not isinstance(value, dict) or not is_image_id(value.get("id")):
        raise ProtocolError("an entry of a list of images has no id of 64 hexadecimal digits")
    checksum, tag = value.get("checksum") or "", value.get("Tag") or ""
    if not isinstance(checksum, str) or not isinstance(tag, str):
        raise ProtocolError("an entry of a list of images is malformed")
    return ImageData(id=value["id"], checksum=checksum, tag=tag)


def tags_of(value: object) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Read the images that tags name, and tell which names are no tags, as far as they can be shown.

    Raises:
        ProtocolError: It is no map from names to identifiers.
    """
    if not isinstance(value, dict) or not all(map(is_image_id, value.values())):
        raise ProtocolError("the tags of a repository name images of 64 hexadecimal digits")
    named: Mapping[str, str] = {known_tag(name): image for name, image in value.items() if are_tags((name,))}
    return named, tuple(clean_text(name, MAX_SHOWN) for name in value if name not in named)


def ancestry_of(value: object, image: str) -> tuple[str, ...]:
    """Read the identifiers of an image and all below it, the image first.

    Raises:
        ProtocolError: It is no such list, begins with another image, or goes in a circle.
        LimitExceededError: It is longer than any image is deep.
    """
    if isinstance(value, list) and len(value) > MAX_ANCESTRY:
        what = "ancestry of an image"
        raise LimitExceededError(what, MAX_ANCESTRY)
    if not isinstance(value, list) or not all(map(is_image_id, value)):
        raise ProtocolError("the ancestry of an image is a list of ids")
    if value[:1] != [image] or len(set(value)) != len(value):
        raise ProtocolError("the ancestry of an image begins with itself, and has each image once")
    return tuple(value)


def tokens_of(values: Sequence[str]) -> tuple[str, ...]:
    """Return the tokens of an answer, as they are shown to a registry.

    Raises:
        ProtocolError: One cannot be sent in a header. The message holds nothing of it.
        LimitExceededError: One is too long.
    """
    found = tuple(value.strip().removeprefix(_TOKEN_WORD) for value in values)
    if any(len(token) > MAX_TOKEN for token in found):
        what = "token"
        raise LimitExceededError(what, MAX_TOKEN)
    if not all(token and token.isascii() and token.isprintable() for token in found):
        raise ProtocolError("the index gives out a token that cannot be sent")
    return found


def cookies_of(values: Iterable[str]) -> str:
    """Return the cookies of an answer as they are shown again, empty for none; what cannot be sent is none.

    Spec: RFC 6265, "The Set-Cookie Header" and "The Cookie Header".
    """
    pairs = (value.partition(";")[0].strip() for value in values)
    found = "; ".join(pair for pair in pairs if pair.find("=") > 0)
    return found if len(found) <= MAX_TOKEN and found.isascii() and found.isprintable() else ""


def checksums_of(values: Iterable[str]) -> tuple[Digest, ...]:
    """Return the digests that stand in header fields, however they are written there."""
    return tuple(dict.fromkeys(Digest(found) for value in values for found in _CHECKSUM.findall(value)))


def info_of(data: bytes, version: str | None, standalone: str | None) -> RegistryInfo:
    """Read the answer to a ping: header fields go before the body, which may be anything.

    Args:
        data: The body.
        version: The header with the version, or None.
        standalone: The header that says whether it is its own index, or None.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    fields = body if isinstance(body, dict) else {}
    said = fields.get("version")
    alone = fields.get("standalone")
    return RegistryInfo(
        version if version is not None else said if isinstance(said, str) else "",
        alone is not False if standalone is None else standalone.strip().lower() in {"1", "true"},
    )
