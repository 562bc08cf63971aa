from __future__ import annotations

import json
import re
from typing import TypeAlias

import attrs
from hypothesis import given
from hypothesis import strategies as st

from ocidist.errors import InvalidDigestError, InvalidReferenceError, MalformedManifestError, ProtocolError, UsageError
from ocidist.model import converter, strictjson
from ocidist.model.builder import build_image, build_index
from ocidist.model.descriptor import MAX_SIZE, Descriptor
from ocidist.model.digest import Digest, Hasher
from ocidist.model.manifest import ArtifactManifest, ImageIndex, ImageManifest, Manifest, Schema1View
from ocidist.model.mediatype import OCI_INDEX, OCI_MANIFEST
from ocidist.model.platform import Platform
from ocidist.model.reference import Reference, RegistryName, RepositoryName, Tag, are_tags

ENDS_IN_NUMBER = re.compile(r"(^|\.)([0-9]+|0[xX][0-9a-fA-F]*)$")

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
DIGESTS = st.builds("sha256:{}".format, HEX) | st.from_regex(
    r"[a-z0-9]{1,6}([+._-][a-z0-9]{1,6}){1,3}:[a-zA-Z0-9=_-]{1,40}", fullmatch=True
)
PARTS = st.from_regex(r"[a-z0-9]{1,8}((\.|__?|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
REPOSITORIES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
LABELS = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join) | st.ip_addresses(v=6).map(str)
MEDIA_TYPES = st.from_regex(r"[a-z]{1,10}/[a-z0-9.+-]{1,20}", fullmatch=True)
ANNOTATIONS = st.dictionaries(TEXT, TEXT, max_size=3)
KNOWN = {converter.json_name(f.name) for cls in (Descriptor, Platform, ImageManifest) for f in attrs.fields(cls)}
FOLDED = {name.casefold() for name in KNOWN | {"manifests", "fsLayers", "history", "blobs"}}
EXTRA = st.dictionaries(TEXT.filter(lambda key: key.casefold() not in FOLDED), JSON, max_size=3)

PLATFORMS = st.builds(
    Platform,
    os=TEXT,
    architecture=TEXT,
    variant=st.none() | TEXT,
    os_version=st.none() | TEXT,
    os_features=st.lists(TEXT, max_size=2),
    extra=EXTRA,
)
DESCRIPTORS = st.builds(
    Descriptor,
    media_type=MEDIA_TYPES,
    digest=DIGESTS,
    size=st.integers(0, MAX_SIZE),
    urls=st.lists(TEXT, max_size=2),
    annotations=ANNOTATIONS,
    data=st.none() | st.binary(max_size=20),
    platform=st.none() | PLATFORMS,
    artifact_type=st.none() | MEDIA_TYPES,
    extra=EXTRA,
)


@given(
    host=HOSTS,
    port=st.none() | st.integers(1, 65535),
    repository=REPOSITORIES,
    tag=st.none() | TAGS,
    digest=st.none() | DIGESTS,
)
def test_a_reference_survives_being_written_and_read(
    host: str, port: int | None, repository: str, tag: str | None, digest: str | None
) -> None:
    try:
        reference = Reference(RegistryName(host, port), repository, tag, digest)
    except InvalidReferenceError:
        # Dots in an IPv6 address, or a name that ends in a number; everything else here is valid.
        assert (":" in host and "." in host) or not set(host) - set("0123456789-") or ENDS_IN_NUMBER.search(host)
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
    assert RegistryName.parse(str(reference.registry)) == reference.registry


@given(st.text(max_size=60) | st.text("aA0.:/@-_[]% \n\u0660\u017f", max_size=30))
def test_any_text_is_a_reference_or_an_invalid_reference(text: str) -> None:
    for parse in (Reference.parse, RegistryName.parse):
        try:
            value = parse(text)
        except InvalidReferenceError:
            continue
        assert str(value).isascii()
        assert str(value).isprintable()
        assert not set(str(value)) & set(" %?#\\")


@given(st.text(max_size=60) | st.text("aA0.:/@-_ \n\u0660\u017f", max_size=20))
def test_t40_any_text_is_a_plain_name_or_refused(text: str) -> None:
    for parse, error in (
        (Digest, InvalidDigestError),
        (RepositoryName, InvalidReferenceError),
        (Tag, InvalidReferenceError),
    ):
        try:
            value = parse(text)
        except error:
            continue
        assert value == text
        assert text.isascii()
        assert text.isprintable()


@given(DIGESTS)
def test_q48_a_referrers_tag_is_always_a_tag(digest: str) -> None:
    assert Tag(Digest(digest).referrers_tag)


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_pieces_hash_like_the_whole(pieces: list[bytes]) -> None:
    hasher = Hasher()
    for piece in pieces:
        hasher.update(piece)
    whole = b"".join(pieces)
    assert (hasher.digest(), hasher.size) == (Digest.of(whole), len(whole))


@given(JSON)
def test_strict_json_reads_what_the_standard_library_writes(value: Json) -> None:
    for ascii_only in (True, False):
        assert (
            strictjson.loads(json.dumps(value, ensure_ascii=ascii_only).encode(), what="value", unique_keys=True)
            == value
        )


@given(st.binary(max_size=200) | st.text('[]{}",:\\ 10eE.+-ntfudD8', max_size=80).map(str.encode))
def test_t34_any_bytes_are_json_or_a_protocol_error(data: bytes) -> None:
    try:
        value = strictjson.loads(data, what="value", unique_keys=True)
    except ProtocolError:
        return
    assert value == json.loads(data)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@given(DESCRIPTORS)
def test_a_descriptor_survives_json_with_its_unknown_fields(descriptor: Descriptor) -> None:
    data = converter.dump(descriptor)
    again = converter.load(data, Descriptor, what="descriptor")
    assert again == descriptor
    assert converter.dump(again) == data


@given(config=DESCRIPTORS, layers=st.lists(DESCRIPTORS, max_size=3), annotations=ANNOTATIONS, extra=EXTRA)
def test_a_manifest_with_unknown_fields_is_read_and_its_bytes_are_kept(
    config: Descriptor, layers: list[Descriptor], annotations: dict[str, str], extra: dict[str, object]
) -> None:
    view = ImageManifest(media_type=OCI_MANIFEST, config=config, layers=layers, annotations=annotations, extra=extra)
    data = json.dumps(converter.unstructure(view), indent=3).encode()
    manifest = Manifest.of(data)
    assert manifest.parse() == view
    assert manifest.data == data
    assert manifest.digest == Digest.of(data)


@given(layers=st.lists(DESCRIPTORS, max_size=3), annotations=ANNOTATIONS, subject=st.none() | DESCRIPTORS)
def test_what_is_built_reads_back(
    layers: list[Descriptor], annotations: dict[str, str], subject: Descriptor | None
) -> None:
    index = build_index(layers, annotations=annotations, subject=subject)
    assert index.references == tuple(layers)
    assert (index.annotations, index.subject, index.media_type) == (annotations, subject, OCI_INDEX)
    image = build_image(
        Descriptor.of(b"{}"), layers, annotations=annotations, subject=subject, artifact_type="application/x"
    )
    assert Manifest.of(image.data, expected=image.digest) == image


@given(st.lists(TAGS | st.text("aZ9_.-\n\u0661/ ", max_size=3) | TEXT, max_size=6))
def test_many_tags_are_checked_at_once_exactly_as_one_by_one(texts: list[str]) -> None:
    def is_tag(text: str) -> bool:
        try:
            return isinstance(Tag(text), Tag)
        except InvalidReferenceError:
            return False

    assert are_tags(texts) == all(map(is_tag, texts))


@given(
    st.dictionaries(
        st.sampled_from(sorted(KNOWN | {"manifests", "fsLayers", "history", "blobs", "Layers", "x"})), JSON, max_size=6
    ),
    st.none() | st.sampled_from([OCI_MANIFEST, OCI_INDEX, "application/json", "text/html", "application/x"]) | TEXT,
)
def test_t34_any_json_object_is_a_manifest_or_malformed(body: dict[str, Json], content_type: str | None) -> None:
    try:
        manifest = Manifest.of(json.dumps(body).encode(), content_type)
        view = manifest.parse()
    except MalformedManifestError:
        return
    except UsageError as error:
        assert "no parser is registered" in str(error)  # noqa: PT017 -- one of two outcomes
        return
    assert isinstance(view, ImageManifest | ImageIndex | ArtifactManifest | Schema1View)
